package conformance;

import static conformance.Harness.both;
import static conformance.Harness.bytes;
import static conformance.Harness.section;
import static conformance.Harness.sorted;
import static conformance.Harness.step;

import java.util.Arrays;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;

/** Clients whose root is a node: what they send is longer, and what they see is shorter. */
public final class Chroots {
    private static final List<ACL> OPEN = Ids.OPEN_ACL_UNSAFE;

    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("every call", Chroots::everyCall);
        section("callbacks and events", Chroots::callbacks);
        section("watches set again", Chroots::watchesSetAgain);
        section("the node is missing", Chroots::missing);
        section("the node goes and comes", Chroots::goesAndComes);
        section("the configuration is nobody's child", Chroots::configuration);
        System.exit(0);
    }

    private static void everyCall() throws Exception {
        Client plain = new Client(server);
        plain.zk.create("/calls", null, OPEN, CreateMode.PERSISTENT);
        plain.zk.create("/calls/in", null, OPEN, CreateMode.PERSISTENT);
        Client c = new Client(server + "/calls/in");
        ZooKeeper zk = c.zk;
        step("create", () -> zk.create("/x", bytes("x"), OPEN, CreateMode.PERSISTENT));
        step("create again", () -> zk.create("/x", null, OPEN, CreateMode.PERSISTENT));
        step("create the root", () -> zk.create("/", null, OPEN, CreateMode.PERSISTENT));
        Stat stat = new Stat();
        step("create with stat", () -> both(
            zk.create("/e", null, OPEN, CreateMode.EPHEMERAL, stat), stat));
        step("create sequential", () -> zk.create("/", null, OPEN,
            CreateMode.EPHEMERAL_SEQUENTIAL));
        step("create container", () -> zk.create("/c", null, OPEN, CreateMode.CONTAINER));
        step("set", () -> zk.setData("/x", bytes("y"), 0));
        step("set the root", () -> zk.setData("/", bytes("root"), -1));
        step("get the root", () -> both(zk.getData("/", false, stat), stat));
        step("exists", () -> zk.exists("/none", false));
        step("children", () -> sorted(zk.getChildren("/", false)));
        step("number", () -> zk.getAllChildrenNumber("/"));
        step("ephemerals", () -> sorted(zk.getEphemerals()));
        step("ephemerals below", () -> sorted(zk.getEphemerals("/e")));
        step("acl", () -> zk.getACL("/x", null));
        step("set acl", () -> zk.setACL("/x", Ids.READ_ACL_UNSAFE, 0));
        step("forbidden", () -> zk.setData("/x", null, -1));
        step("delete the root", () -> { zk.delete("/", -1); return "done"; });
        step("delete", () -> { zk.delete("/none", -1); return "done"; });
        step("multi", () -> zk.multi(Arrays.asList(
            Op.create("/m", null, OPEN, CreateMode.PERSISTENT),
            Op.create("/m/s-", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.setData("/m", bytes("m"), 0), Op.check("/m", 1), Op.delete("/c", -1))));
        step("failing multi", () -> zk.multi(Arrays.asList(
            Op.check("/m", 1), Op.delete("/none", -1))));
        step("reads", () -> zk.multi(Arrays.asList(
            Op.getData("/m"), Op.getChildren("/"), Op.getData("/none"))));
        step("transaction", () -> zk.transaction().delete("/m/s-0000000000", -1)
            .delete("/m", -1).create("/t", null, OPEN, CreateMode.EPHEMERAL).commit());
        step("from outside", () -> sorted(plain.zk.getChildren("/calls/in", false)));
        step("the root from outside", () -> plain.zk.getData("/calls/in", false, null));
        c.close();
        step("after the close", () -> sorted(plain.zk.getChildren("/calls/in", false)));
        plain.close();
    }

    private static void callbacks() throws Exception {
        Client plain = new Client(server);
        plain.zk.create("/backs", null, OPEN, CreateMode.PERSISTENT);
        Client c = new Client(server + "/backs");
        Journal j = new Journal();
        c.zk.getChildren("/", j.events("children of the root"));
        c.zk.exists("/x", j.events("exists"));
        c.zk.addWatch("/", j.events("recursive"), AddWatchMode.PERSISTENT_RECURSIVE);
        c.zk.create("/x", null, OPEN, CreateMode.PERSISTENT, j.text("create"), 1);
        c.zk.create("/x/s-", null, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL, j.text("create"), 2);
        c.zk.sync("/x", j.none("sync"), 3);
        c.zk.delete("/none", -1, j.none("delete"), 4);
        c.zk.getData("/x", j.events("data"), j.data("get"), 5);
        c.zk.multi(Arrays.asList(Op.create("/y", null, OPEN, CreateMode.PERSISTENT),
            Op.setData("/x", null, -1)), j.results("multi"), 6);
        step("sorted, since one event has several watchers", () -> {
            List<Object> lines = j.upToNow(c);
            lines.sort((a, b) -> a.toString().compareTo(b.toString()));
            return lines;
        });
        plain.zk.setData("/backs", bytes("root"), -1);
        plain.zk.delete("/backs/y", -1);
        step("by others", () -> j.upToNow(c));
        c.zk.removeAllWatches("/", WatcherType.PersistentRecursive, false);
        plain.zk.setData("/backs", null, -1);
        step("removed", () -> j.upToNow(c));
        c.close();
        plain.close();
    }

    private static void watchesSetAgain() throws Exception {
        Proxy proxy = new Proxy(server);
        Client plain = new Client(server);
        plain.zk.create("/again", null, OPEN, CreateMode.PERSISTENT);
        Watches.makeNodes(plain.zk, "/again/in");
        Watches.makeNodes(plain.zk, "/again/quiet");
        Client c = new Client(proxy.address() + "/again");
        Watches watches = new Watches(c, "/in");
        Watches quiet = new Watches(c, "/quiet");
        Events root = new Events();
        c.zk.getData("/", root, null);
        c.zk.addWatch("/", root, AddWatchMode.PERSISTENT);
        proxy.cut();
        Watches.change(plain.zk, "/again/in");
        plain.zk.setData("/again", bytes("root"), -1);
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        watches.print("missed", c);
        quiet.print("not missed", c);
        step("missed at the root", () -> root.allUpToNow(c));
        Watches.undo(plain.zk, "/again/in");
        Watches.change(plain.zk, "/again/quiet");
        plain.zk.create("/again/new", null, OPEN, CreateMode.EPHEMERAL);
        watches.print("later", c);
        quiet.print("changed", c);
        step("later at the root", () -> root.allUpToNow(c));
        c.close();
        plain.close();
        proxy.cut();
    }

    private static void missing() throws Exception {
        Client plain = new Client(server);
        Client c = new Client(server + "/miss/ing");
        Events events = new Events();
        step("exists", () -> c.zk.exists("/", events));
        step("get", () -> c.zk.getData("/", false, null));
        step("children", () -> c.zk.getChildren("/", false));
        step("create below", () -> c.zk.create("/x", null, OPEN, CreateMode.PERSISTENT));
        step("create the root", () -> c.zk.create("/", null, OPEN, CreateMode.PERSISTENT));
        step("ephemerals", () -> c.zk.getEphemerals());
        c.zk.addWatch("/x", events, AddWatchMode.PERSISTENT);
        plain.zk.create("/miss", null, OPEN, CreateMode.PERSISTENT);
        step("not yet", () -> events.allUpToNow(c));
        step("the client makes its root", () -> c.zk.create("/", null, OPEN,
            CreateMode.PERSISTENT));
        step("there", () -> events.allUpToNow(c));
        step("create", () -> c.zk.create("/x", null, OPEN, CreateMode.PERSISTENT));
        step("below", () -> events.allUpToNow(c));
        step("from outside", () -> plain.zk.getChildren("/miss/ing", false));
        c.close();
        plain.close();
    }

    private static void goesAndComes() throws Exception {
        Client plain = new Client(server);
        plain.zk.create("/goes", null, OPEN, CreateMode.PERSISTENT);
        Client c = new Client(server + "/goes");
        Events events = new Events();
        Events recursive = new Events();
        step("get", () -> c.zk.getData("/", events, null));
        step("children", () -> c.zk.getChildren("/", events));
        c.zk.addWatch("/", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        plain.zk.delete("/goes", -1);
        step("gone", () -> events.allUpToNow(c));
        step("create", () -> c.zk.create("/x", null, OPEN, CreateMode.PERSISTENT));
        plain.zk.create("/goes", null, OPEN, CreateMode.PERSISTENT);
        step("create again", () -> c.zk.create("/x", null, OPEN, CreateMode.PERSISTENT));
        step("recursive", () -> recursive.allUpToNow(c));
        c.close();
        plain.close();
    }

    /** It is read and watched under its own path. */
    private static void configuration() throws Exception {
        Proxy proxy = new Proxy(server);
        Client plain = new Client(server);
        plain.zk.create("/confined", null, OPEN, CreateMode.PERSISTENT);
        Client c = new Client(proxy.address() + "/confined");
        Events events = new Events();
        step("config", () -> c.zk.getConfig(events, null));
        step("the path as any other", () -> c.zk.exists("/zookeeper/config", events));
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        proxy.mend();
        step("mended", () -> c.events.statesUntil("SyncConnected"));
        step("told", () -> events.allUpToNow(c));
        c.close();
        plain.close();
        proxy.cut();
    }
}
