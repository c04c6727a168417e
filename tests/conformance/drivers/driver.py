"""Drives kazoo through what scripts/*.txt do not reach.

Prints one JSON line for each step. The test that runs it masks zxids, times and session ids in
the lines and compares those of two servers. A line {"ask": "restart"} asks the test to kill and
restart the server; it answers with one line on the standard input when the server serves again.
"""

import json
import os
import queue
import sys
import threading
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException
from kazoo.protocol.states import WatchedEvent, ZnodeStat
from kazoo.recipe.cache import TreeCache
from kazoo.security import ACL, make_digest_acl, OPEN_ACL_UNSAFE

DEADLINE_S = 30
SERVER = sys.argv[1]


def emit(line):
    print(json.dumps(line), flush=True)


def report(name, value):
    emit({"step": name, "value": plain(value)})


def step(name, call):
    """Prints what the call returns or raises; returns what it returned."""
    try:
        value = call()
    except (KazooException, ValueError, TypeError) as error:
        report(name, {"error": type(error).__name__})
        return None
    report(name, value)
    return value


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, ZnodeStat):
        return {
            "czxid": value.czxid,
            "mzxid": value.mzxid,
            "pzxid": value.pzxid,
            "ctime": value.ctime,
            "mtime": value.mtime,
            "version": value.version,
            "cversion": value.cversion,
            "aversion": value.aversion,
            "ephemeralOwner": value.ephemeralOwner,
            "dataLength": value.dataLength,
            "numChildren": value.numChildren,
        }
    if isinstance(value, WatchedEvent):
        return {"type": value.type, "state": value.state, "path": value.path}
    if isinstance(value, ACL):
        return "%d %s:%s" % (value.perms, value.id.scheme, value.id.id)
    if isinstance(value, BaseException):
        return {"error": type(value).__name__}
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def ask(what):
    emit({"ask": what})
    sys.stdin.readline()


def client(timeout=10.0, **options):
    """A connected client."""
    zk = KazooClient(hosts=SERVER, timeout=timeout, **options)
    zk.start(timeout=DEADLINE_S)
    report("session", {"newSession": zk.client_id[0]})
    return zk


def stop(zk):
    zk.stop()
    zk.close()


def until(what, condition):
    """Polls until the condition holds."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            return "%s: not until the deadline" % what
        time.sleep(0.01)
    return what


class Events:
    """Collects the events of one watcher."""

    def __init__(self):
        self.queue = queue.Queue()

    def __call__(self, event):
        self.queue.put(event)

    def take(self, count):
        """Waits for this many events."""
        events = []
        for _ in range(count):
            try:
                events.append(self.queue.get(timeout=DEADLINE_S))
            except queue.Empty:
                events.append("missing")
        return events


def children(result):
    """Children come in no order."""
    return sorted(result)


def conveniences():
    """Calls that kazoo makes of several requests, or of none."""
    zk = client()
    step("create makepath", lambda: zk.create("/a/deep/er/est", b"", makepath=True))
    step("create slash sequence", lambda: zk.create("/a/seq/", b"", sequence=True, makepath=True))
    step("ensure path", lambda: zk.ensure_path("/a/deep/other"))
    step("ensure path again", lambda: zk.ensure_path("/a/deep/other"))
    step("children", lambda: children(zk.get_children("/a/deep")))
    step("delete recursive", lambda: zk.delete("/a/deep", recursive=True))
    step("parent", lambda: zk.get("/a"))
    step("empty transaction", lambda: zk.transaction().commit())
    step("ruok", lambda: zk.command(b"ruok"))
    step("isro", lambda: zk.command(b"isro"))
    step("server version", lambda: list(zk.server_version()))
    step("client state", lambda: str(zk.client_state))
    bob = make_digest_acl("bob", "pw", all=True)
    report("digest", bob)
    early = client(auth_data=[("digest", "bob:pw")])
    step("by digest", lambda: early.create("/acl", b"s", acl=[bob]))
    step("early identity", lambda: early.set("/acl", b"v"))
    step("no identity", lambda: zk.set("/acl", b"v"))
    stop(early)
    stop(zk)


def asynchronous():
    zk = client()
    calls = [
        ("create", zk.create_async("/b", b"b")),
        ("create again", zk.create_async("/b", b"b")),
        ("create ephemeral", zk.create_async("/b/e", b"b", ephemeral=True, include_data=True)),
        ("get", zk.get_async("/b")),
        ("get nothing", zk.get_async("/none")),
        ("set", zk.set_async("/b", b"B", version=0)),
        ("set again", zk.set_async("/b", b"B", version=0)),
        ("exists", zk.exists_async("/b")),
        ("exists nothing", zk.exists_async("/none")),
        ("children", zk.get_children_async("/b")),
        ("acls", zk.get_acls_async("/b")),
        ("set acls", zk.set_acls_async("/b", OPEN_ACL_UNSAFE, version=0)),
        ("sync", zk.sync_async("/b")),
        ("delete", zk.delete_async("/b/e")),
        ("delete again", zk.delete_async("/b/e")),
    ]
    for name, call in calls:
        step(name, lambda call=call: call.get(timeout=DEADLINE_S))
    many = [zk.create_async("/b/n-", b"", sequence=True) for _ in range(200)]
    step("many", lambda: [call.get(timeout=DEADLINE_S) for call in many])
    stop(zk)


def identity_in_flight():
    """kazoo takes an auth answer for that of its oldest request, so it must wait for its turn."""
    zk = client()
    zk.create("/flight", b"")
    stop(zk)
    report("auth in flight keeps its turn", [auth_among_writes() for _ in range(4)].count(True) == 4)


def auth_among_writes():
    zk = KazooClient(hosts=SERVER, timeout=10.0)
    zk.start(timeout=DEADLINE_S)
    flying = [zk.set_async("/flight", b"x") for _ in range(400)]
    flying.append(zk.add_auth_async("digest", "ann:pw"))
    flying += [zk.set_async("/flight", b"y") for _ in range(10)]
    try:
        answers = [call.get(timeout=DEADLINE_S) for call in flying]
        return all(answer for answer in answers)
    except Exception:
        return False
    finally:
        stop(zk)


def watchers():
    zk = client()
    other = client()
    zk.create("/dw", b"0")
    data = queue.Queue()
    names = queue.Queue()
    # Each call is waited for before the next change: these recipes skip what comes too fast.

    @zk.DataWatch("/dw/x")
    def on_data(value, stat, event):
        data.put([value, stat.version if stat else None, event])

    @zk.ChildrenWatch("/dw", send_event=True)
    def on_children(found, event):
        names.put([sorted(found), event])

    def got(calls):
        return calls.get(timeout=DEADLINE_S)

    step("data first", lambda: got(data))
    step("children first", lambda: got(names))
    other.create("/dw/x", b"1")
    step("data created", lambda: got(data))
    step("children created", lambda: got(names))
    other.set("/dw/x", b"2")
    step("data set", lambda: got(data))
    other.delete("/dw/x")
    step("data deleted", lambda: got(data))
    step("children deleted", lambda: got(names))
    other.create("/dw/x", b"3")
    step("data created again", lambda: got(data))
    step("children created again", lambda: got(names))
    stop(zk)
    stop(other)


def recipes():
    first = client()
    second = client()
    lock = first.Lock("/lock", "first")
    rival = second.Lock("/lock", "second")
    step("lock", lambda: lock.acquire(timeout=DEADLINE_S))
    step("held", lambda: rival.acquire(blocking=False))
    step("contenders", lambda: lock.contenders())
    thread = threading.Thread(target=rival.acquire)
    thread.start()
    report("waits", until("two contenders", lambda: len(lock.contenders()) == 2))
    report("in order", lock.contenders())
    step("release", lambda: lock.release())
    thread.join(DEADLINE_S)
    report("taken over", rival.is_acquired)
    rival.release()

    semaphore = first.Semaphore("/semaphore", max_leases=1)
    step("semaphore", lambda: semaphore.acquire(timeout=DEADLINE_S))
    step("no lease left", lambda: second.Semaphore("/semaphore", max_leases=1).acquire(False))
    semaphore.release()

    read, write = first.ReadLock("/rw"), second.WriteLock("/rw")
    step("read lock", lambda: read.acquire(timeout=DEADLINE_S))
    step("write lock refused", lambda: write.acquire(blocking=False))
    read.release()
    step("write lock", lambda: write.acquire(timeout=DEADLINE_S))
    write.release()

    led = queue.Queue()
    stay = threading.Event()

    def lead(name):
        led.put(name)
        stay.wait(DEADLINE_S)

    elections = [first.Election("/election", "first"), second.Election("/election", "second")]
    threads = []
    for election, name in zip(elections, ("first", "second")):
        threads.append(threading.Thread(target=election.run, args=(lead, name)))
        threads[-1].start()
        until("contends", lambda: len(elections[0].contenders()) == len(threads))
    report("leader", led.get(timeout=DEADLINE_S))
    report("election", elections[0].contenders())
    stay.set()
    report("next leader", led.get(timeout=DEADLINE_S))
    for thread in threads:
        thread.join(DEADLINE_S)

    fifo = first.Queue("/queue")
    fifo.put(b"one")
    fifo.put(b"two")
    fifo.put(b"urgent", priority=1)
    report("queue", [len(fifo), fifo.get(), fifo.get(), fifo.get(), fifo.get()])
    locking = first.LockingQueue("/locking-queue")
    locking.put_all([b"one", b"two"])
    report("locked", locking.get(timeout=DEADLINE_S))
    report("consumed", locking.consume())
    report("left", len(locking))

    counter = first.Counter("/counter")
    counter += 2
    counter -= 1
    rival_counter = second.Counter("/counter")
    rival_counter += 5
    report("counter", counter.value)

    barrier = first.Barrier("/barrier")
    barrier.create()
    released = queue.Queue()
    waiter = threading.Thread(
        target=lambda: released.put(second.Barrier("/barrier").wait(DEADLINE_S))
    )
    waiter.start()
    report("removed", barrier.remove())
    waiter.join(DEADLINE_S)
    report("released", released.get(timeout=DEADLINE_S))
    entered = []
    double = [
        threading.Thread(target=lambda zk=zk: entered.append(double_barrier(zk)))
        for zk in (first, second)
    ]
    for thread in double:
        thread.start()
    for thread in double:
        thread.join(DEADLINE_S)
    report("double barrier", entered)

    party = [first.Party("/party", "first"), second.Party("/party", "second")]
    for member in party:
        member.join()
    report("party", sorted(party[0]))
    party[1].leave()
    report("party left", sorted(party[0]))
    stop(first)
    stop(second)


def double_barrier(zk):
    barrier = zk.DoubleBarrier("/double", 2)
    barrier.enter()
    barrier.leave()
    return not barrier.participating


def tree_cache():
    zk = client()
    other = client()
    zk.ensure_path("/tree/a")
    seen = queue.Queue()
    cache = TreeCache(zk, "/tree")
    cache.listen(lambda event: seen.put(event))
    cache.start()

    def until_seen(wanted):
        """The events up to the wanted one, in an order that several requests in flight allow."""
        lines = []
        while True:
            event = seen.get(timeout=DEADLINE_S)
            kind = event.event_type
            path = event.event_data.path if event.event_data else None
            lines.append([kind, path])
            if kind == wanted:
                return sorted(lines, key=str)

    # NODE_ADDED 0, NODE_UPDATED 1, NODE_REMOVED 2, INITIALIZED 6.
    step("initialized", lambda: until_seen(6))
    other.create("/tree/b", b"1")
    step("added", lambda: until_seen(0))
    other.set("/tree/b", b"2")
    step("updated", lambda: until_seen(1))
    report("cached", cache.get_data("/tree/b").data)
    report("cached children", sorted(cache.get_children("/tree")))
    other.delete("/tree/b")
    step("removed", lambda: until_seen(2))
    cache.close()
    stop(zk)
    stop(other)


def restart():
    zk = client()
    states = queue.Queue()
    zk.add_listener(lambda state: states.put(state))
    zk.create("/r", b"r")
    zk.create("/r/e", b"e", ephemeral=True)
    zk.create("/r/s-", b"", sequence=True)
    data = queue.Queue()
    zk.DataWatch("/r", lambda value, stat: data.put(value))
    report("watched", data.get(timeout=DEADLINE_S))
    before = zk.client_id
    ask("restart")
    report("suspended", states.get(timeout=DEADLINE_S))
    report("connected", states.get(timeout=DEADLINE_S))
    report("same session", zk.client_id[0] == before[0])
    step("ephemeral", lambda: zk.exists("/r/e"))
    step("children", lambda: children(zk.get_children("/r")))
    step("next number", lambda: zk.create("/r/s-", b"", sequence=True))
    # Sessions that earlier sections left behind may expire meanwhile, and take zxids.
    step("set", lambda: zk.set("/r", b"R").version)
    report("watch set again", until_value(data, b"R"))
    stop(zk)


def until_value(values, wanted):
    """kazoo calls a DataWatch after a reconnect as well, with the value of that moment."""
    while True:
        value = values.get(timeout=DEADLINE_S)
        if value == wanted:
            return value


def taken_up_again():
    zk = client()
    zk.create("/t", b"", ephemeral=True)
    identity = zk.client_id
    # Whoever takes the session up cuts the first connection off.
    second = client(client_id=identity)
    report("same session", second.client_id[0] == identity[0])
    report("same password", second.client_id[1] == identity[1])
    step("its ephemeral", lambda: second.exists("/t"))
    stop(second)
    zk.stop()
    third = KazooClient(hosts=SERVER, timeout=10.0, client_id=identity)
    lost = threading.Event()
    third.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
    third.start(timeout=DEADLINE_S)
    report("another session", third.client_id[0] != identity[0])
    report("session", {"newSession": third.client_id[0]})
    step("its ephemeral is gone", lambda: third.exists("/t"))
    stop(third)


def expiry():
    zk = client(timeout=1.0)
    watcher = client()
    zk.create("/x", b"", ephemeral=True)
    events = Events()
    watcher.exists("/x", watch=events)
    silence(zk)
    step("ephemeral gone", lambda: events.take(1))
    step("nothing there", lambda: watcher.exists("/x"))
    stop(watcher)


def silence(zk):
    """Ends a client's connection without a word, as a lost process would."""
    zk._stopped.set()
    zk._connection._socket.close()


SECTIONS = [
    ("conveniences", conveniences),
    ("asynchronous", asynchronous),
    ("identity in flight", identity_in_flight),
    ("watchers", watchers),
    ("recipes", recipes),
    ("tree cache", tree_cache),
    ("restart", restart),
    ("taken up again", taken_up_again),
    ("expiry", expiry),
]

for title, body in SECTIONS:
    report("section", title)
    try:
        body()
    except Exception as failure:  # Whatever it is, the other server's answer decides.
        report("section failed", {"exception": repr(failure)})
sys.stdout.flush()
# Threads of clients that were cut off must not keep the process.
os._exit(0)
