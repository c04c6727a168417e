package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.TIMEOUT_MS;
import static conformance.Harness.bytes;
import static conformance.Harness.section;
import static conformance.Harness.sorted;
import static conformance.Harness.step;

import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** Calls that wait for their answers when the connection ends, and calls made without one. */
public final class PendingCalls {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("answers lost", PendingCalls::answersLost);
        section("requests lost", PendingCalls::requestsLost);
        section("asked while away", PendingCalls::askedWhileAway);
        section("a thread that waits", PendingCalls::aThreadThatWaits);
        section("asked before a close", PendingCalls::askedBeforeClose);
        section("closed while away", PendingCalls::closedWhileAway);
        System.exit(0);
    }

    /** One of each kind that leaves a trace, and a node at the end that shows all were done. */
    private static void ask(ZooKeeper zk, String root, Journal j, Events watcher) {
        zk.create(root, bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
            j.text("create"), 1);
        zk.create(root, bytes("2"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
            j.text("create"), 2);
        zk.setData(root, bytes("3"), 0, j.stat("set"), 3);
        zk.getData(root, watcher, j.data("get"), 4);
        zk.exists(root + "/last", watcher, j.stat("exists"), 5);
        zk.getChildren(root, watcher, j.children("children"), 6);
        zk.addWatch(root, watcher, AddWatchMode.PERSISTENT, j.none("watch"), 7);
        zk.multi(Arrays.asList(Op.check(root, 1), Op.setData(root, bytes("4"), 1)),
            j.results("multi"), 8);
        zk.sync(root, j.none("sync"), 9);
        zk.delete(root + "/none", -1, j.none("delete"), 10);
        zk.create(root + "/e", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL,
            j.text("ephemeral"), 11);
        zk.create(root + "/last", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
            j.text("last"), 12);
    }

    private static final int ASKED = 12;

    private static void answersLost() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address());
        Events last = new Events();
        a.zk.exists("/answers/last", last);
        proxy.holdReplies();
        Journal journal = new Journal();
        Events watcher = new Events();
        ask(c.zk, "/answers", journal, watcher);
        step("all done", () -> last.until("NodeCreated"));
        proxy.cut();
        step("all lost", () -> journal.await(ASKED));
        proxy.release();
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        step("done once", () -> c.zk.exists("/answers", false));
        step("own ephemerals", () -> sorted(c.zk.getEphemerals()));
        a.zk.setData("/answers", bytes("5"), -1);
        a.zk.delete("/answers/last", -1);
        step("nothing watched", () -> watcher.upToNow(c));
        ask(c.zk, "/answers", journal, watcher);
        step("asked again", () -> journal.await(ASKED));
        step("watched", () -> watcher.allUpToNow(c));
        c.close();
        a.close();
        proxy.cut();
    }

    private static void requestsLost() throws Exception {
        Proxy proxy = new Proxy(server);
        Client c = new Client(proxy.address());
        proxy.holdRequests();
        Journal journal = new Journal();
        ask(c.zk, "/requests", journal, new Events());
        proxy.cut();
        step("all lost", () -> journal.await(ASKED));
        proxy.release();
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        step("nothing done", () -> c.zk.exists("/requests", false));
        ask(c.zk, "/requests", journal, new Events());
        step("asked again", () -> journal.await(ASKED));
        c.close();
        proxy.cut();
    }

    /** They wait for the next connection; what was missed comes before their answers. */
    private static void askedWhileAway() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Journal journal = new Journal();
        Client c = new Client(
            watcher -> new ZooKeeper(proxy.address(), TIMEOUT_MS, event -> {
                journal.watcher("default").process(event);
                watcher.process(event);
            }, false, new Hosts(proxy.address())), "SyncConnected");
        c.zk.addAuthInfo("digest", bytes("bob:pw"));
        a.zk.create("/asked", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        a.zk.create("/asked/w", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        c.zk.getData("/asked/w", journal.events("data"), null);
        c.zk.getChildren("/asked/w", journal.events("children"));
        step("before", () -> journal.upToNow(c));
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        a.zk.setData("/asked/w", bytes("x"), -1);
        proxy.holdRequests();
        proxy.mend();
        proxy.awaitConnection();
        ask(c.zk, "/asked/own", journal, new Events());
        a.zk.create("/asked/w/c", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        proxy.takeRequests();
        proxy.release();
        step("mended", () -> c.events.statesUntil("SyncConnected"));
        step("in this order", () -> journal.upToNow(c));
        step("requests", proxy::takeRequests);
        c.close();
        a.close();
        proxy.cut();
    }

    private static void aThreadThatWaits() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address());
        Events created = new Events();
        a.zk.exists("/waits", created);
        proxy.holdReplies();
        FutureTask<Object> create = inThread(() -> c.zk.create(
            "/waits", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL));
        step("done", () -> created.until("NodeCreated"));
        FutureTask<Object> read = inThread(() -> c.zk.getData("/waits", false, null));
        proxy.cut();
        step("create", () -> outcome(create));
        step("read", () -> outcome(read));
        proxy.release();
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        step("own ephemerals", () -> sorted(c.zk.getEphemerals()));
        c.close();
        a.close();
        proxy.cut();
    }

    private static FutureTask<Object> inThread(Callable<Object> body) {
        FutureTask<Object> task = new FutureTask<>(body);
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        thread.start();
        return task;
    }

    private static Object outcome(FutureTask<Object> task) throws Exception {
        try {
            return task.get(DEADLINE_S, TimeUnit.SECONDS);
        } catch (ExecutionException e) {
            throw (Exception) e.getCause();
        }
    }

    /** What was asked before a close is answered; what is asked after it is not. */
    private static void askedBeforeClose() throws Exception {
        Journal journal = new Journal();
        Client c = new Client(watcher -> new ZooKeeper(server, TIMEOUT_MS, event -> {
            journal.watcher("default").process(event);
            watcher.process(event);
        }), "SyncConnected");
        ask(c.zk, "/before", journal, new Events());
        c.zk.getChildren("/before", journal.events("children"));
        c.close();
        step("in this order", journal::take);
        step("state", () -> c.zk.getState().toString());
        ask(c.zk, "/before", journal, new Events());
        step("too late", () -> journal.await(ASKED));
        step("call", () -> c.zk.exists("/before", false));
        step("close again", () -> {
            c.close();
            return journal.take();
        });
        Client after = new Client(server);
        step("ephemeral gone", () -> sorted(after.zk.getChildren("/before", false)));
        after.close();
    }

    /** The server is never told: the session lives until somebody takes it up. */
    private static void closedWhileAway() throws Exception {
        Proxy proxy = new Proxy(server);
        Client c = new Client(proxy.address());
        c.zk.create("/unclosed", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        c.close();
        step("states", () -> c.events.statesUntil("Closed"));
        Client heir = Client.heir(server, c);
        step("own ephemerals", () -> heir.zk.getEphemerals());
        heir.close();
        step("no session any more", () -> {
            Client late = Client.heir(server, c, "Expired");
            late.close();
            return late.zk.getState().toString();
        });
    }
}
