"""Carries out the steps of scripts/*.txt with kazoo.

Each line of the standard input is a job: a script, the server's address, and the node below which
the script works. Each step is answered with one JSON line, the end of a script with {"end": true},
whatever is no step of a script with {"failed": ...}. docs/conformance.md describes the format.
"""

import json
import os
import queue
import re
import socket
import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import AuthFailedError, KazooException, ZookeeperError
from kazoo.protocol.serialization import CloseInstance
from kazoo.protocol.states import Callback, ZnodeStat
from kazoo.security import ACL, Id

DEADLINE_S = 30
CLIENT = "kazoo"
CLIENTS = ["raw", "java", "kazoo"]
TIMEOUT_MS = 30_000

VERBS = {
    "open": "timeout?",
    "again": "timeout?",
    "drop": "",
    "close": "",
    "create": "path data mode acl",
    "create2": "path data mode acl",
    "delete": "path int",
    "exists": "path 'watch'?",
    "get": "path 'watch'?",
    "children": "path 'watch'?",
    "children2": "path 'watch'?",
    "set": "path data int",
    "getacl": "path",
    "setacl": "path acl int",
    "sync": "path",
    "auth": "text text",
    "multi": "parts",
    "multiread": "parts",
    "ephemerals": "path?",
    "count": "path",
    "whoami": "",
    "watch": "path mode-of-watch",
    "checkwatch": "path kind-of-watch",
    "unwatch": "path kind-of-watch",
    "event": "'zxid'?",
    "events": "'sorted'? 'zxid'?",
}
PARTS = {
    "multi": {
        "create": "path data mode acl",
        "delete": "path int",
        "set": "path data int",
        "check": "path int",
    },
    "multiread": {"get": "path", "children": "path"},
}
WORDS = {
    "mode": [
        "persistent",
        "ephemeral",
        "sequential",
        "ephemeral-sequential",
        "container",
        r"ttl:-?\d+",
        r"sequential-ttl:-?\d+",
    ],
    "mode-of-watch": ["persistent", "recursive"],
    "kind-of-watch": ["children", "data", "any", "persistent", "recursive"],
}
PERMISSIONS = {"r": 1, "w": 2, "c": 4, "d": 8, "a": 16}
EVENTS = {
    "CREATED": "NodeCreated",
    "DELETED": "NodeDeleted",
    "CHANGED": "NodeDataChanged",
    "CHILD": "NodeChildrenChanged",
}


class ScriptError(Exception):
    """A script that cannot be read, or asks what kazoo cannot do."""


# ---- the format -------------------------------------------------------------------------------


def require(holds, message):
    if not holds:
        raise ScriptError(message)


def read_script(path):
    """The steps of a script: line, clients, session, verb and arguments."""
    steps = []
    servers = None
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            try:
                if not text or text.startswith("#"):
                    continue
                if text.startswith("servers "):
                    require(servers is None and not steps, "servers are named once, before the steps")
                    servers = text
                    continue
                steps.append((number, *read_step(text)))
            except (ScriptError, ValueError) as error:
                raise ScriptError("%s:%d: %s" % (path, number, error)) from error
    require(servers and steps, "%s: no servers or no steps" % path)
    return steps


def read_step(text):
    clients = CLIENTS
    if text.startswith("["):
        names, _, text = text[1:].partition("] ")
        clients = names.split(" ")
        known = set(clients) <= set(CLIENTS) and clients[0] == "raw"
        require(known and len(clients) < len(CLIENTS), "%s: raw, and one or none" % names)
    session, colon, rest = text.partition(": ")
    require(colon and re.fullmatch("[a-z]+", session), "%s is no name of a session" % session)
    return (clients, session, *read_call(VERBS, tokens(rest)))


def tokens(text):
    """Words between spaces with whether they were quoted; a quoted one is a JSON string."""
    found = []
    for match in re.finditer(r'("(?:[^"\\]|\\.)*")(?= |$)|([^ "][^ ]*)| +|(.)', text):
        require(match[3] is None, "no end of a quoted string, or no space behind it")
        if match[1] is not None:
            found.append((json.loads(match[1]), True))
        elif match[2] is not None:
            found.append((match[2], False))
    return found


def read_call(verbs, found):
    require(found, "no step")
    verb, quoted = found[0]
    require(not quoted and verb in verbs, "%s is no step here" % verb)
    args = []
    at = 1
    for kind in verbs[verb].split():
        if kind == "parts":
            args.append(read_parts(PARTS[verb], found[at:]))
            at = len(found)
            continue
        token = found[at] if at < len(found) else None
        if kind.startswith("'"):
            args.append(token == (kind[1:-2], False))
            at += args[-1]
        elif token is None:
            require(kind.endswith("?"), "no " + kind)
            args.append(TIMEOUT_MS if kind == "timeout?" else None)
        else:
            args.append(argument(kind, *token))
            at += 1
    require(at == len(found), "more than %s takes" % verb)
    return verb, args


def read_parts(allowed, found):
    """Calls with semicolons between them, or none at all."""
    parts = [[]]
    for token in found:
        if token == (";", False):
            parts.append([])
        else:
            parts[-1].append(token)
    return [read_call(allowed, part) for part in parts] if found else []


def argument(kind, text, quoted):
    if kind in ("path", "path?", "text"):
        return text
    if kind == "acl":
        return [] if text == "none" else [acl_entry(entry) for entry in text.split(",")]
    if kind == "data":
        return text.encode("utf-8") if quoted else data(text)
    require(not quoted, "%s is no %s" % (text, kind))
    if kind in ("int", "timeout?"):
        return int(text)
    require(any(re.fullmatch(word, text) for word in WORDS[kind]), "%s is no %s" % (text, kind))
    return text


def data(word):
    """Data that is no quoted string: null, bytes in hex, or a number of the letter x."""
    if word == "null":
        return None
    if word.startswith("fill:"):
        return b"x" * int(word[5:])
    require(word.startswith("hex:"), "%s is no data" % word)
    return bytes.fromhex(word[4:])


def acl_entry(entry):
    """scheme:id:permissions"""
    scheme, colon, rest = entry.partition(":")
    identity, last, letters = rest.rpartition(":")
    require(colon and last and set(letters) <= set(PERMISSIONS), "%s is no entry of a list" % entry)
    perms = 0
    for letter in letters:
        perms |= PERMISSIONS[letter]
    return ACL(perms, Id(scheme, identity))


# ---- sessions ---------------------------------------------------------------------------------


class Session:
    """A client whose watchers are one, and which can lose its connection without being closed."""

    def __init__(self, server, timeout_ms, identity=None):
        self.events = queue.Queue()
        self.last_event = None
        self.negotiated_ms = 0
        self.zk = KazooClient(hosts=server, timeout=timeout_ms / 1000, client_id=identity)
        connect = self.zk._connection._connect

        def noting_the_timeout(*args):
            # kazoo keeps the timeout that the server grants to itself.
            result = connect(*args)
            self.negotiated_ms = int(result[1])
            return result

        self.zk._connection._connect = noting_the_timeout
        connected = threading.Event()
        self.zk.add_listener(lambda s: connected.set() if s == KazooState.CONNECTED else None)
        self.zk.start_async()
        require(connected.wait(DEADLINE_S), "no connection until the deadline")
        # kazoo forgets it when the connection has ended.
        self.identity = self.zk.client_id

    def watcher(self, event):
        """Is called once for each kind of watch that an event ends, with the same event."""
        if event is not self.last_event:
            self.last_event = event
            self.events.put({"type": EVENTS[event.type], "path": event.path})

    def up_to_now(self, path):
        """All that had been sent before this call: kazoo hands out events and answers in order."""
        self.zk.exists(path)
        # Watchers run on a queue of their own; an item behind them is the end of theirs.
        last = threading.Event()
        self.zk.handler.dispatch_callback(Callback("watch", last.set, ()))
        require(last.wait(DEADLINE_S), "no end of the events until the deadline")
        events = []
        while not self.events.empty():
            events.append(self.events.get())
        return events

    def auth(self, scheme, credential):
        try:
            self.zk.add_auth(scheme, credential)
        except AuthFailedError:
            # kazoo would come back, to be refused once more.
            self.zk._stopped.set()
            self.until_stopped()
            raise
        return {}

    def drop(self):
        """Ends the connection without a word, as a lost process would."""
        self.zk._stopped.set()
        self.zk._connection._socket.shutdown(socket.SHUT_RDWR)
        self.until_stopped()

    def close(self):
        """Closes the session; kazoo's own stop neither waits for the answer nor always asks."""
        self.zk._call(CloseInstance, self.zk.handler.async_result())
        self.until_stopped()

    def until_stopped(self):
        stopped = self.zk._connection.connection_stopped
        require(stopped.wait(DEADLINE_S), "the connection did not end until the deadline")


class Run:
    """One run of one script."""

    def __init__(self, server, prefix):
        self.server = server
        self.prefix = prefix
        self.sessions = {}

    def answer(self, name, verb, args):
        try:
            if verb == "open":
                return self.connect(name, Session(self.server, args[0]))
            require(name in self.sessions, "%s is not open" % name)
            session = self.sessions[name]
            if verb == "again":
                return self.connect(name, Session(self.server, args[0], session.identity))
            return {"code": 0, **self.carry_out(session, verb, args)}
        except ZookeeperError as error:
            return {"code": error.code}

    def connect(self, name, session):
        self.sessions[name] = session
        number, password = session.identity
        return {
            "code": 0,
            "timeout": session.negotiated_ms,
            "newSession": number,
            "password": password.hex(),
        }

    def full(self, path):
        """The script's root is the node `prefix`; the server's own nodes are as they are."""
        if path == "/":
            return self.prefix
        if path.startswith("/") and not path.startswith("/zookeeper"):
            return self.prefix + path
        return path

    def carry_out(self, session, verb, args):
        zk = session.zk
        if verb in ("drop", "close"):
            getattr(session, verb)()
            return {}
        if verb == "event":
            return {"event": session.events.get(timeout=DEADLINE_S)}
        if verb == "events":
            return {"events": session.up_to_now(self.prefix)}
        if verb == "auth":
            return session.auth(*args)
        if verb == "multi":
            return self.multi(zk, args[0])
        path, *args = args
        path = self.full(path)
        if verb in ("exists", "get", "children", "children2"):
            return self.read(session, verb, path, session.watcher if args[0] else None)
        if verb == "create":
            return {"path": zk.create(path, args[0], acl=args[2], **flags(args[1]))}
        if verb == "create2":
            made = zk.create(path, args[0], acl=args[2], include_data=True, **flags(args[1]))
            return {"path": made[0], "stat": stat(made[1])}
        if verb == "delete":
            zk.delete(path, args[0])
            return {}
        if verb == "set":
            return {"stat": stat(zk.set(path, *args))}
        if verb == "getacl":
            acl, about = zk.get_acls(path)
            lines = ["%d %s:%s" % (entry.perms, entry.id.scheme, entry.id.id) for entry in acl]
            return {"acl": lines, "stat": stat(about)}
        if verb == "setacl":
            return {"stat": stat(zk.set_acls(path, *args))}
        if verb == "sync":
            return {"path": zk.sync(path)}
        raise ScriptError("kazoo has no %s" % verb)

    def read(self, session, verb, path, watcher):
        zk = session.zk
        if verb == "exists":
            found = zk.exists(path, watch=watcher)
            return {"stat": stat(found)} if found else {"code": -101}
        if verb == "get":
            content, about = zk.get(path, watch=watcher)
            return {"data": None if content is None else content.decode("latin-1"), "stat": stat(about)}
        if verb == "children":
            return {"names": zk.get_children(path, watch=watcher)}
        names, about = zk.get_children(path, watch=watcher, include_data=True)
        return {"names": names, "stat": stat(about)}

    def multi(self, zk, parts):
        transaction = zk.transaction()
        for verb, (path, *args) in parts:
            path = self.full(path)
            if verb == "create":
                transaction.create(path, args[0], acl=args[2], **flags(args[1]))
            elif verb == "delete":
                transaction.delete(path, *args)
            elif verb == "set":
                transaction.set_data(path, *args)
            else:
                transaction.check(path, *args)
        results = [plain(result) for result in transaction.commit()]
        failures = [result["code"] for result in results if result.get("code")]
        return {"code": failures[0] if failures else 0, "results": results}


def flags(mode):
    """The arguments of kazoo's create; it knows neither containers nor nodes that live for a time."""
    require(mode in WORDS["mode"][:4], "kazoo has no %s" % mode)
    return {"ephemeral": "ephemeral" in mode, "sequence": "sequential" in mode}


def plain(result):
    """A result of a multi: those of a check and a delete say nothing."""
    if isinstance(result, ZnodeStat):
        return {"stat": stat(result)}
    if isinstance(result, str):
        return {"path": result}
    if isinstance(result, ZookeeperError):
        return {"code": result.code}
    return {}


def stat(of):
    names = (
        "czxid mzxid pzxid ctime mtime version cversion aversion ephemeralOwner dataLength numChildren"
    )
    return {name: getattr(of, name) for name in names.split()}


# ---- jobs -------------------------------------------------------------------------------------


def emit(line):
    print(json.dumps(line), flush=True)


def run(job):
    script = Run(job["server"], job["prefix"])
    for line, clients, session, verb, args in read_script(job["script"]):
        if CLIENT in clients:
            emit({"line": line, "answer": script.answer(session, verb, args)})
    for session in script.sessions.values():
        if not session.zk._stopped.is_set() and session.zk.connected:
            session.drop()


for text in sys.stdin:
    try:
        run(json.loads(text))
        emit({"end": True})
    except (ScriptError, KazooException, ValueError, TypeError, OSError, queue.Empty) as failure:
        emit({"failed": repr(failure)})
# Threads of clients that were cut off must not keep the process.
os._exit(0)
