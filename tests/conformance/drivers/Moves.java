package conformance;

import static conformance.Harness.TIMEOUT_MS;
import static conformance.Harness.bytes;
import static conformance.Harness.check;
import static conformance.Harness.section;
import static conformance.Harness.sorted;
import static conformance.Harness.step;

import java.util.ArrayList;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;

/** One session and several clients that know its id and password. */
public final class Moves {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("to a second client and back", Moves::thereAndBack);
        section("from one to the next", Moves::inTurn);
        section("closed by another", Moves::closedByAnother);
        section("a wrong password", Moves::wrongPassword);
        System.exit(0);
    }

    private static void thereAndBack() throws Exception {
        Client a = new Client(server);
        Events ephemeral = new Events();
        Proxy wire1 = new Proxy(server);
        Proxy wire2 = new Proxy(server);
        Client first = new Client(wire1.address());
        first.zk.addAuthInfo("digest", bytes("bob:pw"));
        first.zk.create("/moved", bytes("1"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        first.zk.create("/moved-e", bytes("e"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        a.zk.addWatch("/moved-e", ephemeral, AddWatchMode.PERSISTENT);
        Watches.makeNodes(first.zk, "/moved-w");
        Watches watches = new Watches(first, "/moved-w");
        step("timeout", () -> first.zk.getSessionTimeout());
        // Whoever loses the session would come back for it at once.
        wire1.refuse();
        Client second = new Client(wire2.address(), 5000, first.zk.getSessionId(),
            first.zk.getSessionPasswd());
        step("the first", () -> first.events.statesUntil("Disconnected"));
        check("same session", () -> first.zk.getSessionId() == second.zk.getSessionId());
        step("another timeout", () -> second.zk.getSessionTimeout());
        step("its ephemerals", () -> second.zk.getEphemerals());
        step("its ephemeral", () -> second.zk.setData("/moved-e", bytes("f"), 0));
        step("not its identity", () -> second.zk.getData("/moved", false, null));
        Watches.change(second.zk, "/moved-w");
        step("not its watches", () -> second.events.allUpToNow(second));
        wire2.refuse();
        wire1.mend();
        step("back", () -> first.events.statesUntil("SyncConnected"));
        step("the second", () -> second.events.statesUntil("Disconnected"));
        step("timeout again", () -> first.zk.getSessionTimeout());
        watches.print("changed by itself", first);
        step("its identity", () -> first.zk.getData("/moved", false, null));
        step("told of the change alone", () -> ephemeral.upToNow(a));
        first.close();
        step("told of its end", () -> ephemeral.upToNow(a));
        wire2.mend();
        step("closed for both", () -> second.events.statesUntil("Expired"));
        second.close();
        a.close();
        wire1.cut();
        wire2.cut();
    }

    private static void inTurn() throws Exception {
        List<Client> clients = new ArrayList<>();
        List<Proxy> wires = new ArrayList<>();
        wires.add(new Proxy(server));
        clients.add(new Client(wires.get(0).address()));
        clients.get(0).zk.create("/turns", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        clients.get(0).zk.create("/turns/e", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        for (int turn = 1; turn < 5; turn++) {
            Client before = clients.get(turn - 1);
            wires.get(turn - 1).refuse();
            wires.add(new Proxy(server));
            Client next = Client.heir(wires.get(turn).address(), before);
            clients.add(next);
            step("the one before", () -> before.events.statesUntil("Disconnected"));
            step("the next", () -> next.zk.create("/turns/s-", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.EPHEMERAL_SEQUENTIAL));
        }
        Client last = clients.get(clients.size() - 1);
        step("all of one session", () -> sorted(last.zk.getEphemerals("/turns")));
        step("owner", () -> last.zk.exists("/turns/e", false));
        last.close();
        for (int turn = 0; turn < 4; turn++) {
            Client before = clients.get(turn);
            wires.get(turn).mend();
            step("the end for all", () -> before.events.statesUntil("Expired"));
            before.close();
        }
    }

    private static void closedByAnother() throws Exception {
        Proxy wire = new Proxy(server);
        Client first = new Client(wire.address());
        first.zk.create("/heir", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Watches.makeNodes(first.zk, "/heir-w");
        Watches watches = new Watches(first, "/heir-w");
        wire.cut();
        step("cut", () -> first.events.statesUntil("Disconnected"));
        Client second = Client.heir(server, first);
        second.close();
        Client a = new Client(server);
        step("ephemeral gone", () -> a.zk.exists("/heir", false));
        wire.mend();
        step("told so", () -> first.events.statesUntil("Expired"));
        watches.print("told as well", first);
        step("state", () -> first.zk.getState().toString());
        step("unusable", () -> first.zk.exists("/heir", false));
        first.close();
        step("closed after that", () -> first.events.drain());
        a.close();
        wire.cut();
    }

    private static void wrongPassword() throws Exception {
        Proxy wire = new Proxy(server);
        Client first = new Client(wire.address());
        first.zk.create("/wrong", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        byte[] password = first.zk.getSessionPasswd().clone();
        password[3] ^= 1;
        long id = first.zk.getSessionId();
        // Apache's server ends the connection of the session even so, unless there is none.
        wire.cut();
        step("cut", () -> first.events.statesUntil("Disconnected"));
        for (byte[] wrong : new byte[][] {password, new byte[16], new byte[0], new byte[40]}) {
            Client thief = new Client(server, TIMEOUT_MS, id, wrong, "Expired");
            step("refused", () -> thief.zk.getState().toString());
            thief.close();
        }
        wire.mend();
        step("the owner", () -> first.events.statesUntil("SyncConnected"));
        step("its ephemerals", () -> first.zk.getEphemerals());
        first.close();
        wire.cut();
    }
}
