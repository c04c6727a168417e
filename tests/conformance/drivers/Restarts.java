package conformance;

import static conformance.Harness.both;
import static conformance.Harness.bytes;
import static conformance.Harness.check;
import static conformance.Harness.restart;
import static conformance.Harness.section;
import static conformance.Harness.sorted;
import static conformance.Harness.step;

import java.util.Arrays;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.ZooDefs.Ids;

/** The server is killed under connected clients, and comes back. */
public final class Restarts {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("killed under a client", Restarts::killed);
        section("killed while a client is away", Restarts::killedWhileAway);
        System.exit(0);
    }

    private static void killed() throws Exception {
        Proxy wire = new Proxy(server);
        Client a = new Client(wire.address());
        Client c = new Client(wire.address());
        Watches.makeNodes(a.zk, "/killed");
        c.zk.create("/killed/e", bytes("e"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        c.zk.create("/killed/s-", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL);
        Watches watches = new Watches(c, "/killed");
        watches.print("before", c);
        long id = c.zk.getSessionId();
        byte[] password = c.zk.getSessionPasswd();
        restart(wire);
        step("states", () -> c.events.statesUntil("SyncConnected"));
        step("states of the other", () -> a.events.statesUntil("SyncConnected"));
        check("same session", () -> c.zk.getSessionId() == id);
        check("same password", () -> Arrays.equals(c.zk.getSessionPasswd(), password));
        step("timeout", () -> c.zk.getSessionTimeout());
        watches.print("after the restart", c);
        step("own ephemerals", () -> sorted(c.zk.getEphemerals()));
        step("ephemeral", () -> a.zk.exists("/killed/e", false));
        step("node", () -> a.zk.exists("/killed", false));
        step("next number", () -> c.zk.create("/killed/s-", null, Ids.OPEN_ACL_UNSAFE,
            CreateMode.EPHEMERAL_SEQUENTIAL));
        Watches.change(a.zk, "/killed");
        watches.print("changed", c);
        Watches.undo(a.zk, "/killed");
        watches.print("changed back", c);
        step("multi", () -> c.zk.multi(Arrays.asList(
            Op.setData("/killed/e", bytes("E"), 0), Op.check("/killed", 0),
            Op.delete("/killed/e", 1))));
        c.close();
        step("after the close", () -> sorted(a.zk.getChildren("/killed", false)));
        a.close();
    }

    private static void killedWhileAway() throws Exception {
        Proxy proxy = new Proxy(server);
        Proxy wire = new Proxy(server);
        Client a = new Client(wire.address());
        Client c = new Client(proxy.address());
        Watches.makeNodes(a.zk, "/away");
        Watches.makeNodes(a.zk, "/away/quiet");
        c.zk.create("/away/e", bytes("e"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        step("version of the node", () -> both(c.zk.getData("/away/data", false, null),
            c.zk.setData("/away/data", bytes("x"), 0)));
        Watches watches = new Watches(c, "/away");
        Watches quiet = new Watches(c, "/away/quiet");
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        a.zk.setData("/away/data", bytes("before"), 1);
        restart(wire);
        step("states of the other", () -> a.events.statesUntil("SyncConnected"));
        Watches.change(a.zk, "/away");
        proxy.mend();
        step("mended", () -> c.events.statesUntil("SyncConnected"));
        watches.print("changed while away", c);
        quiet.print("not changed while away", c);
        step("wrong version", () -> c.zk.setData("/away/data", null, 1));
        step("ephemeral", () -> c.zk.exists("/away/e", false));
        Watches.undo(a.zk, "/away");
        Watches.change(a.zk, "/away/quiet");
        watches.print("changed back", c);
        quiet.print("changed", c);
        c.close();
        a.close();
    }
}
