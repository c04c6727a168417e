package conformance;

import static conformance.Harness.bytes;
import static conformance.Harness.restart;
import static conformance.Harness.section;
import static conformance.Harness.sortedText;
import static conformance.Harness.step;

import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;

/** Who a client is belongs to its connection; the library says it again on each new one. */
public final class Identities {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("said again", Identities::saidAgain);
        section("watches of protected nodes", Identities::protectedWatches);
        section("said while away", Identities::saidWhileAway);
        section("refused while away", Identities::refusedWhileAway);
        section("an heir has none", Identities::heir);
        section("after a restart", Identities::afterRestart);
        System.exit(0);
    }

    private static void saidAgain() throws Exception {
        Proxy proxy = new Proxy(server);
        Client c = new Client(proxy.address());
        c.zk.addAuthInfo("digest", bytes("bob:pw"));
        c.zk.addAuthInfo("digest", bytes("eve:pw"));
        c.zk.create("/said", bytes("s"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        step("acl", () -> c.zk.getACL("/said", null));
        step("who am i", () -> sortedText(c.zk.whoAmI()));
        proxy.takeRequests();
        for (int round = 0; round < 2; round++) {
            proxy.cut();
            step("cut", () -> c.events.statesUntil("Disconnected"));
            proxy.mend();
            step("mended", () -> c.events.statesUntil("SyncConnected"));
            step("who am i now", () -> sortedText(c.zk.whoAmI()));
            step("read", () -> c.zk.getData("/said", false, null));
            step("write", () -> c.zk.setData("/said", bytes("t"), -1));
            step("create", () -> c.zk.create("/said/e", null, Ids.CREATOR_ALL_ACL,
                CreateMode.EPHEMERAL));
            step("requests", proxy::takeRequests);
        }
        Client stranger = new Client(server);
        step("a stranger", () -> stranger.zk.getData("/said", false, null));
        stranger.close();
        c.close();
        proxy.cut();
    }

    /** Events need the right to read, of the new connection as of the old one. */
    private static void protectedWatches() throws Exception {
        Proxy proxy = new Proxy(server);
        Client bob = new Client(proxy.address());
        Proxy otherProxy = new Proxy(server);
        Client stranger = new Client(otherProxy.address());
        Client a = new Client(server);
        a.zk.addAuthInfo("digest", bytes("bob:pw"));
        bob.zk.addAuthInfo("digest", bytes("bob:pw"));
        Watches.makeNodes(a.zk, "/protected");
        for (String name : new String[] {
                "/data", "/here", "/children", "/persistent", "/recursive"}) {
            a.zk.setACL("/protected" + name, Ids.CREATOR_ALL_ACL, -1);
        }
        Watches watches = new Watches(bob, "/protected");
        Events seen = new Events();
        stranger.zk.addWatch("/protected", seen, AddWatchMode.PERSISTENT_RECURSIVE);
        stranger.zk.addWatch("/protected/persistent", seen, AddWatchMode.PERSISTENT);
        step("the stranger may not look", () -> stranger.zk.exists("/protected/data", seen));
        proxy.cut();
        otherProxy.cut();
        step("cut", () -> bob.events.statesUntil("Disconnected"));
        step("cut as well", () -> stranger.events.statesUntil("Disconnected"));
        proxy.mend();
        otherProxy.mend();
        step("mended", () -> bob.events.statesUntil("SyncConnected"));
        step("mended as well", () -> stranger.events.statesUntil("SyncConnected"));
        bob.barrier();
        stranger.barrier();
        Watches.change(a.zk, "/protected");
        watches.print("told", bob);
        step("the stranger", () -> seen.upToNow(stranger));
        bob.close();
        stranger.close();
        a.close();
        proxy.cut();
        otherProxy.cut();
    }

    private static void saidWhileAway() throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        a.zk.addAuthInfo("digest", bytes("bob:pw"));
        a.zk.create("/bobs", bytes("s"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        Client c = new Client(proxy.address());
        step("not yet", () -> c.zk.getData("/bobs", false, null));
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        c.zk.addAuthInfo("digest", bytes("bob:pw"));
        proxy.mend();
        step("mended", () -> c.events.statesUntil("SyncConnected"));
        step("now", () -> c.zk.getData("/bobs", false, null));
        c.close();
        a.close();
        proxy.cut();
    }

    private static void refusedWhileAway() throws Exception {
        Proxy proxy = new Proxy(server);
        Client c = new Client(proxy.address());
        c.zk.create("/refused", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        proxy.cut();
        step("cut", () -> c.events.statesUntil("Disconnected"));
        c.zk.addAuthInfo("nonsense", bytes("x"));
        proxy.mend();
        step("refused", () -> c.events.until("AuthFailed"));
        step("call", () -> c.zk.exists("/refused", false));
        step("state", () -> c.zk.getState().toString());
        c.close();
        Client heir = Client.heir(server, c);
        step("the session lives", () -> heir.zk.getEphemerals());
        heir.close();
        proxy.cut();
    }

    private static void heir() throws Exception {
        Proxy proxy = new Proxy(server);
        Client first = new Client(proxy.address());
        first.zk.addAuthInfo("digest", bytes("bob:pw"));
        first.zk.create("/inherited", bytes("s"), Ids.CREATOR_ALL_ACL, CreateMode.EPHEMERAL);
        proxy.cut();
        Client second = Client.heir(server, first);
        step("who am i", () -> sortedText(second.zk.whoAmI()));
        step("its own ephemeral", () -> second.zk.getData("/inherited", false, null));
        second.zk.addAuthInfo("digest", bytes("bob:pw"));
        step("with identity", () -> second.zk.getData("/inherited", false, null));
        second.close();
        first.close();
        proxy.cut();
    }

    private static void afterRestart() throws Exception {
        Proxy wire = new Proxy(server);
        Client c = new Client(wire.address());
        c.zk.addAuthInfo("digest", bytes("bob:pw"));
        c.zk.create("/rebuilt", bytes("s"), Ids.CREATOR_ALL_ACL, CreateMode.EPHEMERAL);
        Events events = new Events();
        c.zk.getData("/rebuilt", events, null);
        restart(wire);
        step("states", () -> c.events.statesUntil("SyncConnected"));
        step("read", () -> c.zk.getData("/rebuilt", false, null));
        step("write", () -> c.zk.setData("/rebuilt", bytes("t"), 0));
        step("told", () -> events.allUpToNow(c));
        c.close();
    }
}
