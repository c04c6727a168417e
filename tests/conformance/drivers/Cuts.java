package conformance;

import static conformance.Harness.TIMEOUT_MS;
import static conformance.Harness.bytes;
import static conformance.Harness.check;
import static conformance.Harness.section;
import static conformance.Harness.sorted;
import static conformance.Harness.step;

import java.util.Arrays;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Transaction;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;

/** Connections end while the server goes on: what a client misses, and what it has again. */
public final class Cuts {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("missed changes", Cuts::missed);
        section("blind spots", Cuts::blindSpots);
        section("cut three times", Cuts::threeTimes);
        section("without persistent watches", Cuts::oneShotsOnly);
        section("watches not set again", Cuts::notSetAgain);
        section("watches removed while away", Cuts::removedWhileAway);
        section("multi and transaction", Cuts::multi);
        System.exit(0);
    }

    private static void missed() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address());
        Watches.makeNodes(a.zk, "/missed");
        Watches watches = new Watches(c, "/missed");
        step("requests", proxy::takeRequests);
        proxy.cut();
        Watches.change(a.zk, "/missed");
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        watches.print("missed", c);
        step("requests of the new connection", proxy::takeRequests);
        Watches.undo(a.zk, "/missed");
        watches.print("changed back", c);
        c.close();
        a.close();
        proxy.cut();
    }

    /** What setWatches cannot tell apart. */
    private static void blindSpots() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address());
        Watches.makeNodes(a.zk, "/blind");
        Watches watches = new Watches(c, "/blind");
        proxy.cut();
        for (String name : Arrays.asList("data", "here", "children", "persistent", "recursive")) {
            a.zk.delete("/blind/" + name, -1);
            a.zk.create("/blind/" + name, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        a.zk.create("/blind/absent", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        a.zk.delete("/blind/absent", -1);
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        watches.print("made anew while away", c);
        Watches.change(a.zk, "/blind");
        watches.print("later", c);
        c.close();
        a.close();
        proxy.cut();
    }

    /** Watches that are set again and again are still one each. */
    private static void threeTimes() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address());
        Watches.makeNodes(a.zk, "/thrice");
        Watches watches = new Watches(c, "/thrice");
        long id = c.zk.getSessionId();
        for (int round = 0; round < 3; round++) {
            proxy.cut();
            step("cut", () -> c.events.statesUntil("Disconnected"));
            proxy.mend();
            step("mended", () -> c.events.statesUntil("SyncConnected"));
        }
        check("same session", () -> c.zk.getSessionId() == id);
        watches.print("nothing changed", c);
        Watches.change(a.zk, "/thrice");
        watches.print("changed", c);
        c.close();
        a.close();
        proxy.cut();
    }

    /** Then the client sets them with the older of two requests. */
    private static void oneShotsOnly() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address());
        Watches.makeNodes(a.zk, "/once");
        Events events = new Events();
        c.zk.getData("/once/data", events, null);
        c.zk.exists("/once/absent", events);
        c.zk.getChildren("/once/children", events);
        c.zk.getChildren("/once", true);
        proxy.takeRequests();
        proxy.cut();
        a.zk.setData("/once/data", bytes("changed"), -1);
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        step("missed", () -> events.allUpToNow(c));
        step("requests", proxy::takeRequests);
        a.zk.setData("/once/data", bytes("again"), -1);
        a.zk.create("/once/absent", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        a.zk.create("/once/children/c", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        step("later", () -> events.allUpToNow(c));
        step("later, by the default watcher", () -> c.events.allUpToNow(c));
        c.close();
        a.close();
        proxy.cut();
    }

    /** The server must not remember what belonged to the connection that ended. */
    private static void notSetAgain() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        ZKClientConfig config = new ZKClientConfig();
        config.setProperty(ZKClientConfig.DISABLE_AUTO_WATCH_RESET, "true");
        Client c = new Client(watcher -> new ZooKeeper(proxy.address(), TIMEOUT_MS, watcher,
            false, new Hosts(proxy.address()), config), "SyncConnected");
        Watches.makeNodes(a.zk, "/forgotten");
        Watches watches = new Watches(c, "/forgotten");
        proxy.takeRequests();
        proxy.cut();
        Watches.change(a.zk, "/forgotten");
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        Watches.undo(a.zk, "/forgotten");
        watches.print("nothing but states", c);
        step("requests", proxy::takeRequests);
        c.close();
        a.close();
        proxy.cut();
    }

    /** The client alone knows that it no longer wants these. */
    private static void removedWhileAway() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address());
        Watches.makeNodes(a.zk, "/removed");
        Watches watches = new Watches(c, "/removed");
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        step("remove, and let the server know", () -> {
            c.zk.removeAllWatches("/removed/data", WatcherType.Data, false);
            return "done";
        });
        step("remove here alone", () -> {
            c.zk.removeAllWatches("/removed/children", WatcherType.Children, true);
            c.zk.removeAllWatches("/removed/persistent", WatcherType.Any, true);
            c.zk.removeAllWatches("/removed/recursive", WatcherType.Any, true);
            return "done";
        });
        proxy.mend();
        step("mended", () -> c.events.statesUntil("SyncConnected"));
        watches.print("removed", c);
        Watches.change(a.zk, "/removed");
        watches.print("changed", c);
        step("remove again", () -> {
            c.zk.removeAllWatches("/removed/children", WatcherType.Children, false);
            return "done";
        });
        c.close();
        a.close();
        proxy.cut();
    }

    private static void multi() throws Exception {
        Proxy proxy = new Proxy(server);
        Client c = new Client(proxy.address());
        c.zk.create("/several", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Transaction begun = c.zk.transaction()
            .create("/several/t", bytes("t"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL)
            .setData("/several", bytes("1"), 0);
        proxy.cut();
        step("commit while away", begun::commit);
        step("multi while away", () -> c.zk.multi(Arrays.asList(Op.delete("/several", -1))));
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        step("commit", begun::commit);
        step("commit again", begun::commit);
        step("multi", () -> c.zk.multi(Arrays.asList(
            Op.check("/several", 1), Op.setData("/several/t", bytes("u"), 0),
            Op.create("/several/s-", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.EPHEMERAL_SEQUENTIAL))));
        step("failing multi", () -> c.zk.multi(Arrays.asList(
            Op.setData("/several", bytes("2"), 1), Op.check("/several/t", 0))));
        step("reads", () -> c.zk.multi(Arrays.asList(
            Op.getData("/several"), Op.getChildren("/several"), Op.getData("/several/none"))));
        step("own ephemerals", () -> sorted(c.zk.getEphemerals()));
        c.close();
        proxy.cut();
    }
}
