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
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * Drives Apache's own client through everything it can ask of a server, and prints one JSON line
 * for each step. The test that runs it masks zxids, times and session ids in the lines and
 * compares those of two servers.
 */
public final class Driver {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("basics", Driver::basics);
        section("asynchronous", Driver::asynchronous);
        section("multi", Driver::multi);
        section("one-shot watches", Driver::oneShotWatches);
        section("watches that stay", Driver::standingWatches);
        section("access control", Driver::accessControl);
        section("chroot", Driver::chroot);
        section("missed changes", Driver::missedChanges);
        section("taken up again", Driver::takenUpAgain);
        section("restart", Driver::restarted);
        section("expiry", Driver::expiry);
        section("command line", Driver::commandLine);
        System.exit(0);
    }

    // ---- sections -----------------------------------------------------------------------------

    private static void basics() throws Exception {
        Client c = new Client(server);
        ZooKeeper zk = c.zk;
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        step("create persistent", () -> zk.create("/a", bytes("one"), open, CreateMode.PERSISTENT));
        step("create again", () -> zk.create("/a", bytes("x"), open, CreateMode.PERSISTENT));
        step("create below nothing",
            () -> zk.create("/none/x", bytes("x"), open, CreateMode.PERSISTENT));
        step("create ephemeral", () -> zk.create("/a/e", null, open, CreateMode.EPHEMERAL));
        step("create below ephemeral",
            () -> zk.create("/a/e/x", bytes("x"), open, CreateMode.PERSISTENT));
        step("create sequential",
            () -> zk.create("/a/s-", bytes(""), open, CreateMode.PERSISTENT_SEQUENTIAL));
        step("create ephemeral sequential",
            () -> zk.create("/a/s-", bytes(""), open, CreateMode.EPHEMERAL_SEQUENTIAL));
        step("create container", () -> zk.create("/a/c", bytes("c"), open, CreateMode.CONTAINER));
        for (CreateMode mode : Arrays.asList(CreateMode.PERSISTENT, CreateMode.EPHEMERAL,
                CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL,
                CreateMode.CONTAINER)) {
            step("create with stat " + mode, () -> {
                Stat stat = new Stat();
                String path = zk.create("/a/with-" + mode, bytes("12345"), open, mode, stat);
                return both(path, stat);
            });
        }
        step("create with ttl", () -> zk.create("/a/ttl", bytes(""), open,
            CreateMode.PERSISTENT_WITH_TTL, new Stat(), 1000));
        step("create sequential with ttl", () -> zk.create("/a/ttl", bytes(""), open,
            CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, new Stat(), 1000));
        for (String path : Arrays.asList(
                "/a", "/a/e", "/a/c", "/a/none", "/", "/zookeeper/quota")) {
            step("exists " + path, () -> zk.exists(path, false));
            step("get data " + path, () -> {
                Stat stat = new Stat();
                return both(zk.getData(path, false, stat), stat);
            });
        }
        for (String path : Arrays.asList("/a", "/a/e", "/none")) {
            step("children " + path, () -> sorted(zk.getChildren(path, false)));
            step("children with stat " + path, () -> {
                Stat stat = new Stat();
                return both(sorted(zk.getChildren(path, false, stat)), stat);
            });
            step("all children number " + path, () -> zk.getAllChildrenNumber(path));
            step("acl " + path, () -> {
                Stat stat = new Stat();
                return both(zk.getACL(path, stat), stat);
            });
        }
        step("set", () -> zk.setData("/a", bytes("two"), 0));
        step("set wrong version", () -> zk.setData("/a", bytes("three"), 0));
        step("set any version", () -> zk.setData("/a", null, -1));
        step("set null read back", () -> zk.getData("/a", false, null));
        step("set nothing there", () -> zk.setData("/none", null, -1));
        step("set ephemeral", () -> zk.setData("/a/e", bytes("kept"), -1));
        step("ephemerals", () -> sorted(zk.getEphemerals()));
        step("ephemerals below", () -> sorted(zk.getEphemerals("/a/s")));
        step("delete with children", () -> { zk.delete("/a", -1); return "done"; });
        step("delete wrong version", () -> { zk.delete("/a/c", 3); return "done"; });
        step("delete", () -> { zk.delete("/a/c", 0); return "done"; });
        step("delete nothing there", () -> { zk.delete("/a/c", -1); return "done"; });
        step("delete system node", () -> { zk.delete("/zookeeper/quota", -1); return "done"; });
        step("stat of the parent", () -> zk.exists("/a", false));
        step("who am i", () -> zk.whoAmI());
        step("config", () -> {
            Stat stat = new Stat();
            return both(zk.getConfig(false, stat), stat);
        });
        step("big", () -> {
            byte[] big = new byte[900_000];
            Arrays.fill(big, (byte) 'x');
            zk.setData("/a", big, -1);
            return zk.getData("/a", false, null).length;
        });
        c.close();
        Client after = new Client(server);
        step("after the close", () -> sorted(after.zk.getChildren("/a", false)));
        after.close();
    }

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

    private static void multi() throws Exception {
        Client c = new Client(server);
        ZooKeeper zk = c.zk;
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        step("all kinds", () -> zk.multi(Arrays.asList(
            Op.create("/m", bytes("0"), open, CreateMode.PERSISTENT),
            Op.create("/m/e", bytes("e"), open, CreateMode.EPHEMERAL),
            Op.create("/m/s-", bytes("e"), open, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.create("/m/s-", bytes("e"), open, CreateMode.EPHEMERAL_SEQUENTIAL),
            Op.create("/m/c", bytes("e"), open, CreateMode.CONTAINER),
            Op.check("/m", 0),
            Op.setData("/m", bytes("1"), 0),
            Op.delete("/m/c", 0))));
        step("failing", () -> zk.multi(Arrays.asList(
            Op.setData("/m", bytes("2"), -1),
            Op.check("/m", 7),
            Op.delete("/m", -1))));
        step("nothing of it done",
            () -> both(zk.getData("/m", false, null), zk.exists("/m", false)));
        step("transaction", () -> zk.transaction()
            .create("/m/t", bytes("t"), open, CreateMode.PERSISTENT)
            .check("/m/t", 0).setData("/m/t", bytes("u"), 0).delete("/m/t", 1).commit());
        step("failing transaction",
            () -> zk.transaction().delete("/m", -1).setData("/m", null, -1).commit());
        step("ttl in it", () -> zk.multi(Arrays.asList(
            Op.create("/m/ttl", bytes(""), open, CreateMode.PERSISTENT_WITH_TTL, 1000))));
        step("empty", () -> zk.multi(Collections.emptyList()));
        step("reads", () -> zk.multi(Arrays.asList(
            Op.getData("/m"), Op.getChildren("/m"), Op.getData("/none"), Op.getChildren("/none"))));
        step("reads and writes", () -> zk.multi(Arrays.asList(
            Op.getData("/m"), Op.setData("/m", null, -1))));
        step("children", () -> sorted(zk.getChildren("/m", false)));
        c.close();
    }

    private static void oneShotWatches() throws Exception {
        Client a = new Client(server);
        Client b = new Client(server);
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        Events events = new Events();
        step("exists, nothing there", () -> b.zk.exists("/w", events));
        a.zk.create("/w", null, open, CreateMode.PERSISTENT);
        step("created", () -> events.upToNow(b));
        b.zk.getData("/w", events, null);
        b.zk.getChildren("/w", events);
        a.zk.setData("/w", bytes("1"), -1);
        a.zk.setData("/w", bytes("2"), -1);
        a.zk.create("/w/c", null, open, CreateMode.PERSISTENT);
        a.zk.delete("/w/c", -1);
        step("changed", () -> events.upToNow(b));
        b.zk.getData("/w", events, null);
        b.zk.getChildren("/w", events);
        b.zk.getChildren("/", events);
        a.zk.delete("/w", -1);
        step("deleted", () -> events.upToNow(b));
        b.zk.exists("/w", true);
        a.zk.create("/w", null, open, CreateMode.PERSISTENT);
        step("default watcher", () -> b.events.upToNow(b));
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
        Client owner = new Client(server);
        owner.zk.create("/w", null, open, CreateMode.EPHEMERAL);
        b.zk.getData("/w", events, null);
        owner.close();
        step("owner closed", () -> events.upToNow(b));
        b.zk.exists("/w-own", events);
        step("own change", () -> {
            b.zk.create("/w-own", null, open, CreateMode.EPHEMERAL);
            return events.upToNow(b);
        });
        a.close();
        b.close();
    }

    private static void standingWatches() throws Exception {
        Client a = new Client(server);
        Client b = new Client(server);
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        Events stays = new Events();
        Events recursive = new Events();
        step("add", () -> {
            b.zk.addWatch("/p", stays, AddWatchMode.PERSISTENT);
            b.zk.addWatch("/p", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
            return "done";
        });
        for (int round = 0; round < 2; round++) {
            a.zk.create("/p", null, open, CreateMode.PERSISTENT);
            a.zk.setData("/p", bytes("1"), -1);
            a.zk.create("/p/c", null, open, CreateMode.PERSISTENT);
            a.zk.create("/p/c/d", null, open, CreateMode.EPHEMERAL);
            a.zk.setData("/p/c/d", bytes("1"), -1);
            a.zk.setACL("/p/c", open, -1);
            a.zk.multi(Arrays.asList(Op.delete("/p/c/d", -1), Op.delete("/p/c", -1)));
            a.zk.delete("/p", -1);
            step("stays", () -> stays.upToNow(b));
            step("recursive", () -> recursive.upToNow(b));
        }
        step("remove one", () -> {
            b.zk.removeWatches("/p", stays, WatcherType.Persistent, false);
            return stays.upToNow(b);
        });
        step("remove it again", () -> {
            b.zk.removeWatches("/p", stays, WatcherType.Persistent, false);
            return "done";
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
        Events root = new Events();
        b.zk.addWatch("/", root, AddWatchMode.PERSISTENT_RECURSIVE);
        a.zk.create("/p", null, open, CreateMode.PERSISTENT);
        a.zk.delete("/p", -1);
        step("from the root", () -> root.upToNow(b));
        a.close();
        b.close();
    }

    private static void accessControl() throws Exception {
        Client a = new Client(server);
        Client b = new Client(server);
        a.zk.addAuthInfo("digest", bytes("bob:pw"));
        step("who am i", () -> sortedText(a.zk.whoAmI()));
        step("creator all", () -> a.zk.create("/acl", bytes("s"), Ids.CREATOR_ALL_ACL,
            CreateMode.PERSISTENT));
        step("creator without identity", () -> b.zk.create("/acl-b", bytes("s"),
            Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        step("read only", () -> a.zk.create("/acl-read", bytes("s"), Ids.READ_ACL_UNSAFE,
            CreateMode.PERSISTENT));
        for (Client c : Arrays.asList(a, b)) {
            step("get", () -> c.zk.getData("/acl", false, null));
            step("set", () -> c.zk.setData("/acl", bytes("t"), -1));
            step("exists", () -> c.zk.exists("/acl", false));
            step("children", () -> c.zk.getChildren("/acl", false));
            step("acl", () -> c.zk.getACL("/acl", null));
            step("create below", () -> c.zk.create("/acl/x", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.EPHEMERAL));
            step("delete below", () -> { c.zk.delete("/acl/x", -1); return "done"; });
            step("set acl", () -> c.zk.setACL("/acl", Arrays.asList(
                new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE), new ACL(Perms.ALL, Ids.AUTH_IDS)), -1));
            step("set read only", () -> c.zk.setData("/acl-read", null, -1));
        }
        step("redacted", () -> b.zk.getACL("/acl", null));
        step("wrong acl version", () -> a.zk.setACL("/acl", Ids.OPEN_ACL_UNSAFE, 7));
        step("invalid acl", () -> a.zk.setACL("/acl",
            Arrays.asList(new ACL(Perms.ALL, new Id("nonsense", "x"))), -1));
        step("address", () -> a.zk.create("/acl-ip", null,
            Arrays.asList(new ACL(Perms.ALL, new Id("ip", "127.0.0.0/8"))), CreateMode.PERSISTENT));
        step("by address", () -> b.zk.getData("/acl-ip", false, null));
        b.zk.addAuthInfo("digest", bytes("bob:pw"));
        step("now with identity", () -> b.zk.getACL("/acl", null));
        Client root = new Client(server);
        root.zk.addAuthInfo("digest", bytes("super:secret"));
        step("super", () -> root.zk.setData("/acl-read", bytes("super"), -1));
        step("who is super", () -> sortedText(root.zk.whoAmI()));
        root.close();
        Client failing = new Client(server);
        failing.zk.addAuthInfo("nonsense", bytes("x"));
        step("refused auth", () -> failing.events.until("AuthFailed"));
        step("after refused auth", () -> failing.zk.exists("/acl", false));
        failing.close();
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
