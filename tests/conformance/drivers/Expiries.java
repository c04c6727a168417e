package conformance;

import static conformance.Harness.TIMEOUT_MS;
import static conformance.Harness.bytes;
import static conformance.Harness.restart;
import static conformance.Harness.section;
import static conformance.Harness.sorted;
import static conformance.Harness.step;

import java.util.Arrays;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.ZooDefs.Ids;

/** Sessions whose clients are not heard of for longer than their timeout. */
public final class Expiries {
    private static final int SHORT_MS = 2000;
    private static final List<String> NAMES = Arrays.asList("a", "b", "c");

    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("a client that is held", Expiries::held);
        section("the next in line", Expiries::nextInLine);
        section("nobody comes back after a restart", Expiries::afterRestart);
        section("away for a shorter time", Expiries::shorter);
        System.exit(0);
    }

    private static void held() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address(), SHORT_MS, 0, null);
        step("timeout", () -> c.zk.getSessionTimeout());
        a.zk.create("/held", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Events recursive = new Events();
        Events persistent = new Events();
        Events children = new Events();
        Events data = new Events();
        Events own = new Events();
        for (String name : NAMES) {
            c.zk.create("/held/" + name, null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        }
        c.zk.getData("/held/a", own, null);
        c.zk.addWatch("/held", own, AddWatchMode.PERSISTENT);
        a.zk.addWatch("/held", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        a.zk.addWatch("/held", persistent, AddWatchMode.PERSISTENT);
        a.zk.getChildren("/held", children);
        a.zk.getData("/held/b", data, null);
        a.zk.exists("/held/c", data);
        a.zk.getChildren("/held/b", data);
        proxy.holdRequests();
        proxy.holdReplies();
        step("gone", () -> recursive.sortedUntil("NodeDeleted", NAMES.size()));
        step("no more of them", () -> recursive.upToNow(a));
        step("persistent", () -> persistent.sortedUntil("NodeChildrenChanged", NAMES.size()));
        step("children", () -> children.upToNow(a));
        step("data", () -> data.sortedUntil("NodeDeleted", 2));
        step("data, no more", () -> data.upToNow(a));
        step("parent", () -> a.zk.exists("/held", false));
        proxy.release();
        step("told so", () -> c.events.until("Expired"));
        step("its watchers as well", () -> own.until("Expired"));
        step("nothing else", () -> own.drain());
        step("state", () -> c.zk.getState().toString());
        step("read", () -> c.zk.exists("/held", false));
        step("write", () -> c.zk.multi(Arrays.asList(Op.delete("/held", -1))));
        c.close();
        Client late = Client.heir(server, c, "Expired");
        step("one more who asks", () -> late.zk.getState().toString());
        late.close();
        a.close();
        proxy.cut();
    }

    /** What a lock does: the one who waits has it as soon as the holder's session is over. */
    private static void nextInLine() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address(), SHORT_MS, 0, null);
        c.zk.create("/lock", bytes("c"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events gone = new Events();
        a.zk.exists("/lock", gone);
        step("taken", () -> a.zk.create("/lock", bytes("a"), Ids.OPEN_ACL_UNSAFE,
            CreateMode.EPHEMERAL));
        proxy.cut();
        step("free", () -> gone.until("NodeDeleted"));
        step("mine", () -> a.zk.create("/lock", bytes("a"), Ids.OPEN_ACL_UNSAFE,
            CreateMode.EPHEMERAL));
        step("owner", () -> a.zk.exists("/lock", false));
        Client late = Client.heir(server, c, "Expired");
        late.close();
        step("still mine", () -> a.zk.setData("/lock", bytes("A"), 0));
        c.close();
        a.close();
    }

    /** Ephemerals outlive the server, but not the timeout after its return. */
    private static void afterRestart() throws Exception {
        Proxy proxy = new Proxy(server);
        Proxy wire = new Proxy(server);
        Client a = new Client(wire.address());
        Client c = new Client(proxy.address(), SHORT_MS, 0, null);
        c.zk.create("/orphan", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events gone = new Events();
        a.zk.exists("/orphan", gone);
        proxy.cut();
        restart(wire);
        step("connected again", () -> a.events.statesUntil("SyncConnected"));
        // Before or after the watch was set again: its zxid depends on that.
        step("gone", () -> gone.sortedUntil("NodeDeleted", 1));
        Client late = Client.heir(server, c, "Expired");
        step("refused", () -> late.zk.getState().toString());
        late.close();
        c.close();
        a.close();
    }

    private static void shorter() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address(), TIMEOUT_MS, 0, null);
        c.zk.create("/kept", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events kept = new Events();
        a.zk.exists("/kept", kept);
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        step("its ephemeral", () -> a.zk.exists("/kept", false));
        proxy.mend();
        step("back", () -> c.events.statesUntil("SyncConnected"));
        step("its ephemerals", () -> sorted(c.zk.getEphemerals()));
        step("nobody was told", () -> kept.upToNow(a));
        c.close();
        step("now they are", () -> kept.upToNow(a));
        a.close();
        proxy.cut();
    }
}
