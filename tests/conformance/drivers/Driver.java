package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.TIMEOUT_MS;
import static conformance.Harness.both;
import static conformance.Harness.bytes;
import static conformance.Harness.print;
import static conformance.Harness.restart;
import static conformance.Harness.section;
import static conformance.Harness.sorted;
import static conformance.Harness.sortedText;
import static conformance.Harness.step;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;

/**
 * Drives Apache's own client through what {@code scripts/*.txt} do not reach, and prints one JSON
 * line for each step. The test that runs it masks zxids, times and session ids in the lines and
 * compares those of two servers.
 */
public final class Driver {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("asynchronous", Driver::asynchronous);
        section("conveniences", Driver::conveniences);
        section("watchers", Driver::watchers);
        section("chroot", Driver::chroot);
        section("missed changes", Driver::missedChanges);
        section("taken up again", Driver::takenUpAgain);
        section("restart", Driver::restarted);
        section("expiry", Driver::expiry);
        section("command line", Driver::commandLine);
        System.exit(0);
    }

    // ---- sections -----------------------------------------------------------------------------

    private static void asynchronous() throws Exception {
        Client c = new Client(server);
        ZooKeeper zk = c.zk;
        List<Object> calls = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch done = new CountDownLatch(34);
        class Note {
            void put(String what, int rc, String path, Object... values) {
                Map<String, Object> line = new LinkedHashMap<>();
                line.put("call", what);
                line.put("rc", rc);
                line.put("path", path);
                line.put("values", Arrays.stream(values).map(Harness::plain)
                    .collect(Collectors.toList()));
                calls.add(line);
                done.countDown();
            }
        }
        Note note = new Note();
        AsyncCallback.StringCallback created =
            (rc, path, x, name) -> note.put("create", rc, path, name);
        AsyncCallback.Create2Callback created2 =
            (rc, path, x, name, stat) -> note.put("create2", rc, path, name, stat);
        AsyncCallback.StatCallback stated = (rc, path, x, stat) -> note.put("stat", rc, path, stat);
        AsyncCallback.DataCallback got =
            (rc, path, x, data, stat) -> note.put("data", rc, path, data, stat);
        AsyncCallback.ChildrenCallback listed =
            (rc, path, x, names) -> note.put("children", rc, path, sorted(names));
        AsyncCallback.Children2Callback listed2 =
            (rc, path, x, names, stat) -> note.put("children2", rc, path, sorted(names), stat);
        AsyncCallback.ACLCallback acls =
            (rc, path, x, acl, stat) -> note.put("acl", rc, path, acl, stat);
        AsyncCallback.VoidCallback ended = (rc, path, x) -> note.put("void", rc, path);
        AsyncCallback.MultiCallback several =
            (rc, path, x, results) -> note.put("multi", rc, path, results);
        AsyncCallback.AllChildrenNumberCallback number =
            (rc, path, x, count) -> note.put("number", rc, path, count);
        AsyncCallback.EphemeralsCallback ephemerals =
            (rc, x, paths) -> note.put("ephemerals", rc, null, sorted(paths));
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        zk.create("/b", bytes("b"), open, CreateMode.PERSISTENT, created, null);
        zk.create("/b", bytes("b"), open, CreateMode.PERSISTENT, created, null);
        zk.create("/b/c", bytes("c"), open, CreateMode.EPHEMERAL, created2, null);
        zk.create("/b/c", bytes("c"), open, CreateMode.EPHEMERAL, created2, null);
        zk.create("/b/k", bytes("c"), open, CreateMode.CONTAINER, created2, null);
        zk.create("/b/t", bytes("c"), open, CreateMode.PERSISTENT_WITH_TTL, created2, null, 1000);
        zk.create("/b/s-", bytes("c"), open, CreateMode.PERSISTENT_SEQUENTIAL, created, null);
        zk.exists("/b", false, stated, null);
        zk.exists("/none", false, stated, null);
        zk.getData("/b", false, got, null);
        zk.getData("/none", false, got, null);
        zk.setData("/b", bytes("B"), 0, stated, null);
        zk.setData("/b", bytes("B"), 0, stated, null);
        zk.getChildren("/b", false, listed, null);
        zk.getChildren("/b", false, listed2, null);
        zk.getChildren("/none", false, listed, null);
        zk.getChildren("/none", false, listed2, null);
        zk.getACL("/b", new Stat(), acls, null);
        zk.getACL("/none", new Stat(), acls, null);
        zk.setACL("/b", open, 0, stated, null);
        zk.setACL("/b", open, 0, stated, null);
        zk.sync("/b", ended, null);
        zk.sync("/none", ended, null);
        zk.getAllChildrenNumber("/b", number, null);
        zk.getAllChildrenNumber("/none", number, null);
        zk.getEphemerals(ephemerals, null);
        zk.getEphemerals("/b", ephemerals, null);
        zk.multi(Arrays.asList(Op.check("/b", 1), Op.setData("/b", bytes("C"), 1)), several, null);
        zk.multi(Arrays.asList(Op.check("/b", 1), Op.setData("/b", bytes("D"), 1)), several, null);
        zk.addWatch("/b", AddWatchMode.PERSISTENT, ended, null);
        zk.removeAllWatches("/b", WatcherType.Any, false, ended, null);
        zk.delete("/b/k", -1, ended, null);
        zk.delete("/b/k", -1, ended, null);
        zk.getConfig(false, got, null);
        done.await(DEADLINE_S, TimeUnit.SECONDS);
        for (Object call : calls) {
            print("asynchronous", call);
        }
        c.close();
    }

    /** Calls that the library makes of several requests, or of none. */
    private static void conveniences() throws Exception {
        Client c = new Client(server);
        ZooKeeper zk = c.zk;
        step("config", () -> {
            Stat stat = new Stat();
            return both(zk.getConfig(false, stat), stat);
        });
        zk.create("/m", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        step("transaction", () -> zk.transaction()
            .create("/m/t", bytes("t"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)
            .check("/m/t", 0).setData("/m/t", bytes("u"), 0).delete("/m/t", 1).commit());
        step("failing transaction",
            () -> zk.transaction().delete("/m", -1).setData("/m", null, 7).commit());
        step("reads and writes", () -> zk.multi(Arrays.asList(
            Op.getData("/m"), Op.setData("/m", null, -1))));
        Client failing = new Client(server);
        failing.zk.addAuthInfo("nonsense", bytes("x"));
        step("refused auth", () -> failing.events.until("AuthFailed"));
        failing.close();
        c.close();
    }

    /** Several watchers of one session, and what the library tells those that it takes away. */
    private static void watchers() throws Exception {
        Client a = new Client(server);
        Client b = new Client(server);
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        b.zk.exists("/w", true);
        a.zk.create("/w", null, open, CreateMode.PERSISTENT);
        step("default watcher", () -> b.events.upToNow(b));
        Events events = new Events();
        b.zk.getData("/w", events, null);
        b.zk.getChildren("/w", events);
        step("remove data watch", () -> {
            b.zk.removeWatches("/w", events, WatcherType.Data, false);
            return events.upToNow(b);
        });
        step("remove it again", () -> {
            b.zk.removeWatches("/w", events, WatcherType.Data, false);
            return "done";
        });
        step("remove all", () -> {
            b.zk.removeAllWatches("/w", WatcherType.Any, false);
            return events.upToNow(b);
        });
        a.zk.delete("/w", -1);
        step("nothing left", () -> events.upToNow(b));
        step("config watched", () -> b.zk.getConfig(events, null));
        Events stays = new Events();
        Events recursive = new Events();
        b.zk.addWatch("/p", stays, AddWatchMode.PERSISTENT);
        b.zk.addWatch("/p", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        for (int round = 0; round < 2; round++) {
            a.zk.create("/p", null, open, CreateMode.PERSISTENT);
            a.zk.create("/p/c", null, open, CreateMode.PERSISTENT);
            a.zk.setData("/p/c", bytes("1"), -1);
            a.zk.multi(Arrays.asList(Op.delete("/p/c", -1), Op.delete("/p", -1)));
            step("stays", () -> stays.upToNow(b));
            step("recursive", () -> recursive.upToNow(b));
        }
        step("remove one", () -> {
            b.zk.removeWatches("/p", stays, WatcherType.Persistent, false);
            return stays.upToNow(b);
        });
        a.zk.create("/p", null, open, CreateMode.PERSISTENT);
        step("stays no more", () -> stays.upToNow(b));
        step("still recursive", () -> recursive.upToNow(b));
        step("remove the other", () -> {
            b.zk.removeAllWatches("/p", WatcherType.PersistentRecursive, false);
            return recursive.upToNow(b);
        });
        a.zk.delete("/p", -1);
        step("all quiet", () -> Arrays.asList(stays.upToNow(b), recursive.upToNow(b)));
        a.close();
        b.close();
    }

    private static void chroot() throws Exception {
        Client plain = new Client(server);
        plain.zk.create("/jail", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Client c = new Client(server + "/jail");
        Events events = new Events();
        step("exists", () -> c.zk.exists("/x", events));
        step("create", () -> c.zk.create("/x", bytes("in"), Ids.OPEN_ACL_UNSAFE,
            CreateMode.PERSISTENT));
        step("sequential", () -> c.zk.create("/s-", bytes("in"), Ids.OPEN_ACL_UNSAFE,
            CreateMode.EPHEMERAL_SEQUENTIAL));
        step("event", () -> events.upToNow(c));
        step("children", () -> sorted(c.zk.getChildren("/", false)));
        step("outside", () -> sorted(plain.zk.getChildren("/jail", false)));
        step("multi", () -> c.zk.multi(Arrays.asList(
            Op.create("/y", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.delete("/x", -1))));
        step("ephemerals", () -> sorted(c.zk.getEphemerals()));
        step("number", () -> c.zk.getAllChildrenNumber("/"));
        c.close();
        plain.close();
        Client lost = new Client(server + "/not-there");
        step("chroot without a node", () -> lost.zk.create("/x", null, Ids.OPEN_ACL_UNSAFE,
            CreateMode.PERSISTENT));
        lost.close();
    }

    /** What a client missed while it was cut off reaches it when it comes back. */
    private static void missedChanges() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client b = new Client(proxy.address());
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        a.zk.create("/d", null, open, CreateMode.PERSISTENT);
        for (String name : Arrays.asList("changed", "gone", "same", "parent")) {
            a.zk.create("/d/" + name, null, open, CreateMode.PERSISTENT);
        }
        b.zk.addAuthInfo("digest", bytes("bob:pw"));
        b.zk.create("/d/own", null, Ids.CREATOR_ALL_ACL, CreateMode.EPHEMERAL);
        Map<String, Events> watches = new LinkedHashMap<>();
        for (String name : Arrays.asList("changed", "gone", "same", "parent")) {
            Events data = new Events();
            Events children = new Events();
            b.zk.getData("/d/" + name, data, null);
            b.zk.getChildren("/d/" + name, children);
            watches.put("data of " + name, data);
            watches.put("children of " + name, children);
        }
        Events created = new Events();
        Events never = new Events();
        Events stays = new Events();
        Events recursive = new Events();
        b.zk.exists("/d/new", created);
        b.zk.exists("/d/never", never);
        b.zk.addWatch("/d", stays, AddWatchMode.PERSISTENT);
        b.zk.addWatch("/d", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        watches.put("exists new", created);
        watches.put("exists never", never);
        watches.put("stays", stays);
        watches.put("recursive", recursive);
        b.barrier();
        proxy.cut();
        a.zk.setData("/d/changed", bytes("x"), -1);
        a.zk.delete("/d/gone", -1);
        a.zk.create("/d/parent/c", null, open, CreateMode.PERSISTENT);
        a.zk.create("/d/new", null, open, CreateMode.PERSISTENT);
        proxy.mend();
        step("connected again", () -> b.events.until("SyncConnected"));
        step("own ephemeral, own identity", () -> b.zk.getData("/d/own", false, null));
        for (Map.Entry<String, Events> watch : watches.entrySet()) {
            step(watch.getKey(), () -> watch.getValue().upToNow(b));
        }
        a.zk.setData("/d/same", bytes("x"), -1);
        a.zk.create("/d/same/c", null, open, CreateMode.PERSISTENT);
        a.zk.create("/d/never", null, open, CreateMode.PERSISTENT);
        a.zk.delete("/d/never", -1);
        for (Map.Entry<String, Events> watch : watches.entrySet()) {
            step("later, " + watch.getKey(), () -> watch.getValue().upToNow(b));
        }
        a.close();
        b.close();
        proxy.cut();
    }

    /** A session handed from one client object to another. */
    private static void takenUpAgain() throws Exception {
        Proxy proxy = new Proxy(server);
        Client first = new Client(proxy.address());
        first.zk.create("/t", bytes("t"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        long id = first.zk.getSessionId();
        byte[] password = first.zk.getSessionPasswd();
        proxy.cut();
        Client second = new Client(server, TIMEOUT_MS, id, password);
        step("same session", () -> second.zk.getSessionId() == id);
        step("timeout", () -> second.zk.getSessionTimeout());
        step("its ephemeral", () -> second.zk.exists("/t", false));
        step("its ephemerals", () -> second.zk.getEphemerals());
        second.close();
        Client third = new Client(server, TIMEOUT_MS, id, password, "Expired");
        step("closed session", () -> third.zk.getState().toString());
        Client wrong = new Client(server, TIMEOUT_MS, id + 1, password, "Expired");
        step("wrong session", () -> wrong.zk.getState().toString());
        first.zk.close();
    }

    private static void restarted() throws Exception {
        Proxy wire = new Proxy(server);
        Client c = new Client(wire.address());
        ZooKeeper zk = c.zk;
        long id = zk.getSessionId();
        Events events = new Events();
        zk.create("/r", bytes("r"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create("/r/e", bytes("e"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        zk.create("/r/s-", bytes("s"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL);
        zk.getData("/r", events, null);
        zk.addWatch("/r", events, AddWatchMode.PERSISTENT_RECURSIVE);
        c.barrier();
        c.events.take();
        restart(wire);
        step("connected again", () -> c.events.until("SyncConnected"));
        step("same session", () -> zk.getSessionId() == id);
        step("ephemeral", () -> zk.exists("/r/e", false));
        step("children", () -> sorted(zk.getChildren("/r", false)));
        step("next number", () -> zk.create("/r/s-", null, Ids.OPEN_ACL_UNSAFE,
            CreateMode.PERSISTENT_SEQUENTIAL));
        step("set", () -> zk.setData("/r", bytes("R"), 0));
        step("events", () -> events.upToNow(c));
        step("who am i", () -> sortedText(zk.whoAmI()));
        c.close();
    }

    private static void expiry() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client b = new Client(proxy.address(), 1000, 0, null);
        step("timeout", () -> b.zk.getSessionTimeout());
        b.zk.create("/x", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events events = new Events();
        a.zk.exists("/x", events);
        proxy.cut();
        step("ephemeral gone", () -> events.until("NodeDeleted"));
        proxy.mend();
        step("told so", () -> b.events.until("Expired"));
        step("unusable", () -> b.zk.exists("/x", false));
        b.zk.close();
        a.close();
        proxy.cut();
    }

    private static void commandLine() throws Exception {
        Shell shell = new Shell(server);
        for (String command : Arrays.asList(
                "ls /", "ls -s /", "ls /none", "create /cli data", "create /cli data",
                "create -s /cli/s- 1", "create -e /cli/e 1", "create -s -e /cli/se- 1",
                "create -c /cli/c 1", "create -t 1000 /cli/t 1", "create /cli/none/x",
                "create /cli/acl text world:anyone:r", "create /cli/bad text nonsense:x:r",
                "ls /cli", "ls -s /cli", "ls -R /cli", "ls -w /cli", "get /cli", "get -s /cli",
                "get -w /cli", "get /none", "set /cli new", "set -s /cli newer",
                "set -v 7 /cli no", "set -v 2 /cli yes", "set /none x", "stat /cli",
                "stat -w /cli/e", "stat /none", "getAcl /cli", "getAcl -s /cli", "getAcl /none",
                "setAcl /cli world:anyone:crwa", "setAcl -s /cli world:anyone:cdrwa",
                "setAcl -v 9 /cli world:anyone:r", "setAcl -R /cli world:anyone:cdrwa",
                "addauth digest bob:pw", "whoami",
                "create /cli/mine x auth::cdrwa", "getAcl /cli/mine",
                "getAllChildrenNumber /cli", "getAllChildrenNumber /none",
                "getEphemerals", "getEphemerals /cli", "getEphemerals /none",
                "sync /cli", "config", "config -s", "version",
                "addWatch -m PERSISTENT /cli/w", "addWatch /cli/r", "create /cli/w",
                "removewatches /cli/w", "removewatches /cli/w",
                "delete -v 9 /cli/w", "delete /cli/w", "delete /cli", "delete /none",
                "deleteall /cli", "ls /", "deleteall /none", "delete /zookeeper",
                "reconfig -remove 1", "nonsense", "")) {
            shell.run(command);
        }
        shell.close();
    }
}
