"""Runs test modules of kazoo's own suite and writes one line a test: its verdict and its name.

usage: run_kazoo.py VERDICTS MODULE...
"""

import os
import sys

import pytest

SECONDS_MAX = 120


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
