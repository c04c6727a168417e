"""Runs test modules of kazoo's own suite and writes one line a test: its verdict and its name.

usage: run_kazoo.py VERDICTS MODULE...
"""

import functools
import importlib
import os
import sys
import time

import pytest
from kazoo.exceptions import ConnectionDropped
from kazoo.protocol.serialization import SASL

SECONDS_MAX = 120


def one_after_the_other(test):
    """A test that starts a reader, then a writer, and expects them in that order at the lock, with nothing to see to
    it: here a thread has started when it stands in line."""

    @functools.wraps(test)
    def ordered(self):
        make_thread = self.make_thread

        def make_waiting_thread(target, args):
            thread = make_thread(target=target, args=args)
            start = thread.start
            name, lock, _ = args

            def start_and_line_up():
                start()
                deadline = time.monotonic() + SECONDS_MAX
                while name not in lock.contenders():
                    assert time.monotonic() < deadline, f"{name} never lined up"

            thread.start = start_and_line_up
            return thread

        self.make_thread = make_waiting_thread
        test(self)

    return ordered


def ended_without_a_token(deserialize):
    """kazoo sends its first SASL token again and again to a server that answers with none, in a thread that nothing
    stops: here such an answer is the end of the connection."""

    def deserialize_token(data, offset):
        token, offset = deserialize(data, offset)
        if not token:
            raise ConnectionDropped("a SASL answer without a token")
        return token, offset

    return deserialize_token


class Recorder:
    """Keeps the worst verdict of a test's phases: set-up, call, tear-down."""

    RANK = {"passed": 0, "skipped": 1, "failed": 2}

    def __init__(self):
        self.verdicts = {}

    def note(self, module, nodeid, verdict):
        name = "::".join([os.path.basename(module), *nodeid.split("::")[1:]])
        before = self.verdicts.get(name, "passed")
        self.verdicts[name] = max(before, verdict, key=self.RANK.get)

    def pytest_runtest_logreport(self, report):
        self.note(report.location[0], report.nodeid, report.outcome)

    def pytest_collectreport(self, report):
        if report.outcome != "passed":
            self.note(str(report.fspath), report.nodeid, report.outcome)


def main():
    verdicts, *modules = sys.argv[1:]
    if "kazoo.tests.test_lock" in modules:
        locks = importlib.import_module("kazoo.tests.test_lock").KazooLockTests
        locks.test_rw_lock = one_after_the_other(locks.test_rw_lock)
    SASL.deserialize = ended_without_a_token(SASL.deserialize)
    recorder = Recorder()
    options = ["-p", "no:cacheprovider", "--tb=short", f"--timeout={SECONDS_MAX}", "--pyargs"]
    status = pytest.main([*options, *modules], plugins=[recorder])
    # 0: all passed, 1: some failed. Anything else is no verdict.
    if status not in (0, 1):
        sys.exit(int(status) or 1)
    with open(verdicts, "w", encoding="utf-8") as out:
        for name, verdict in sorted(recorder.verdicts.items()):
            out.write(f"{verdict} {name}\n")


main()
