package conformance;

import static conformance.Harness.TIMEOUT_MS;
import static conformance.Harness.check;
import static conformance.Harness.restart;
import static conformance.Harness.section;
import static conformance.Harness.sorted;
import static conformance.Harness.step;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** What client and server agree on when they meet: timeouts, the read-only flag, which address. */
public final class Handshakes {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("timeouts", Handshakes::timeouts);
        section("timeouts of an heir", Handshakes::timeoutsOfAnHeir);
        section("a client content with reading", Handshakes::readOnly);
        section("another address", Handshakes::anotherAddress);
        section("several addresses", Handshakes::severalAddresses);
        System.exit(0);
    }

    private static void timeouts() throws Exception {
        for (int timeout : new int[] {999, 1000, 1001, 7777, 40_000, 40_001, 3_600_000}) {
            Client c = new Client(server, timeout, 0, null);
            step("asked for " + timeout, () -> c.zk.getSessionTimeout());
            c.close();
        }
    }

    private static void timeoutsOfAnHeir() throws Exception {
        Proxy origin = new Proxy(server);
        Client first = new Client(origin.address(), 40_000, 0, null);
        long id = first.zk.getSessionId();
        byte[] password = first.zk.getSessionPasswd();
        origin.cut();
        for (int timeout : new int[] {35_000, 50_000, 30_000}) {
            Proxy wire = new Proxy(server);
            Client c = new Client(wire.address(), timeout, id, password);
            step("asked for " + timeout, () -> c.zk.getSessionTimeout());
            wire.cut();
            step("cut", () -> c.events.statesUntil("Disconnected"));
            wire.mend();
            step("mended", () -> c.events.statesUntil("SyncConnected"));
            step("the same again", () -> c.zk.getSessionTimeout());
            wire.refuse();
            if (timeout == 30_000) {
                restart(wire);
                step("restarted", () -> c.events.statesUntil("SyncConnected"));
                step("and again", () -> c.zk.getSessionTimeout());
                c.close();
            }
        }
        origin.mend();
        step("nothing left", () -> first.events.until("Expired"));
        first.close();
        origin.cut();
    }

    /** A server that is not read-only makes no difference between the two. */
    private static void readOnly() throws Exception {
        Proxy proxy = new Proxy(server);
        Client c = new Client(
            watcher -> new ZooKeeper(proxy.address(), TIMEOUT_MS, watcher, true,
                new Hosts(proxy.address())),
            "SyncConnected");
        step("state", () -> c.zk.getState().toString());
        step("write", () -> c.zk.create("/read-only", null, Ids.OPEN_ACL_UNSAFE,
            CreateMode.EPHEMERAL));
        long id = c.zk.getSessionId();
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        proxy.mend();
        step("mended", () -> c.events.statesUntil("SyncConnected"));
        check("same session", () -> c.zk.getSessionId() == id);
        step("own ephemerals", () -> c.zk.getEphemerals());
        proxy.cut();
        step("cut again", () -> c.events.statesUntil("Disconnected"));
        Client heir = new Client(watcher -> new ZooKeeper(server, TIMEOUT_MS, watcher, id,
            c.zk.getSessionPasswd(), true), "SyncConnected");
        step("its ephemerals", () -> heir.zk.getEphemerals());
        heir.close();
        proxy.mend();
        step("closed", () -> c.events.statesUntil("Expired"));
        c.close();
        proxy.cut();
    }

    /** The client leaves an address that is no longer in its list. */
    private static void anotherAddress() throws Exception {
        Proxy first = new Proxy(server);
        Proxy second = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(first.address());
        Watches.makeNodes(a.zk, "/addresses");
        c.zk.create("/addresses/e", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Watches watches = new Watches(c, "/addresses");
        long id = c.zk.getSessionId();
        c.zk.updateServerList(second.address());
        step("another", () -> c.events.statesUntil("SyncConnected"));
        step("requests there", () -> {
            c.barrier();
            return second.takeRequests();
        });
        check("same session", () -> c.zk.getSessionId() == id);
        step("own ephemerals", () -> sorted(c.zk.getEphemerals()));
        Watches.change(a.zk, "/addresses");
        watches.print("changed", c);
        first.cut();
        step("the first does not matter", () -> c.zk.exists("/addresses/e", false));
        c.close();
        a.close();
        second.cut();
    }

    private static void severalAddresses() throws Exception {
        Proxy first = new Proxy(server);
        Proxy second = new Proxy(server);
        second.cut();
        Client c = new Client(first.address() + "," + second.address());
        c.zk.create("/several-addresses", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        for (int round = 0; round < 2; round++) {
            second.mend();
            first.cut();
            step("to the second", () -> c.events.statesUntil("SyncConnected"));
            step("own ephemerals", () -> c.zk.getEphemerals());
            first.mend();
            second.cut();
            step("to the first", () -> c.events.statesUntil("SyncConnected"));
            step("own ephemerals again", () -> c.zk.getEphemerals());
        }
        c.close();
        first.cut();
    }
}
