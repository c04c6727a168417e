package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.bytes;
import static conformance.Harness.section;
import static conformance.Harness.step;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** Callbacks and watchers run one after the other; the server alone decides in which order. */
public final class CallbackOrder {
    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("own changes", CallbackOrder::ownChanges);
        section("several hundred calls", CallbackOrder::manyCalls);
        section("changes of others", CallbackOrder::changesOfOthers);
        section("calls from callbacks", CallbackOrder::callsFromCallbacks);
        System.exit(0);
    }

    /** Each event comes before the answer to the write that caused it. */
    private static void ownChanges() throws Exception {
        Client c = new Client(server);
        ZooKeeper zk = c.zk;
        Journal j = new Journal();
        zk.exists("/own", j.events("exists"), j.stat("exists"), 1);
        zk.create("/own", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, j.text("create"), 2);
        zk.getData("/own", j.events("data"), j.data("get"), 3);
        zk.getChildren("/own", j.events("children"), j.children("children"), 4);
        zk.setData("/own", bytes("1"), 0, j.stat("set"), 5);
        zk.setData("/own", bytes("2"), 0, j.stat("set"), 6);
        zk.create("/own/c", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, j.text("create"), 7);
        zk.getData("/own/c", j.events("data"), j.data("get"), 8);
        zk.delete("/own/c", 0, j.none("delete"), 9);
        zk.getChildren("/own", j.events("children"), j.children("children"), 10);
        zk.getData("/own", j.events("data"), j.data("get"), 11);
        zk.multi(Arrays.asList(Op.setData("/own", bytes("3"), 1),
            Op.create("/own/m", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.delete("/own/m", 0)), j.results("multi"), 12);
        zk.exists("/own/m", j.events("exists"), j.stat("exists"), 13);
        zk.multi(Arrays.asList(Op.delete("/own", 2), Op.check("/own", 0)),
            j.results("multi"), 14);
        zk.addWatch("/own", j.events("stays"), AddWatchMode.PERSISTENT, j.none("add"), 15);
        zk.sync("/own", j.none("sync"), 16);
        zk.delete("/own", -1, j.none("delete"), 17);
        zk.delete("/own", -1, j.none("delete"), 18);
        step("in this order", () -> j.upToNow(c));
        c.close();
    }

    private static void manyCalls() throws Exception {
        Client c = new Client(server);
        Journal j = new Journal();
        c.zk.create("/hundreds", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (int n = 0; n < 300; n++) {
            String path = "/hundreds/" + n % 7;
            c.zk.exists(path, j.events("exists " + n), j.stat("exists"), n);
            if (n % 2 == 0) {
                c.zk.create(path, null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL,
                    j.text("create"), n);
                c.zk.setData(path, bytes("x"), n % 3, j.stat("set"), n);
            } else {
                c.zk.delete(path, -1, j.none("delete"), n);
            }
            if (n % 11 == 0) {
                c.zk.getChildren("/hundreds", j.events("children " + n), j.children("list"), n);
            }
        }
        for (Object line : oneWatcherEach(j, c)) {
            step("line", () -> line);
        }
        c.close();
    }

    /** One event for several watchers comes to them in no order: such runs are sorted. */
    private static List<Object> oneWatcherEach(Journal j, Client c) throws Exception {
        List<Object> lines = j.upToNow(c);
        int from = 0;
        while (from < lines.size()) {
            int to = from + 1;
            while (to < lines.size() && event(lines.get(from)) != null
                    && event(lines.get(from)).equals(event(lines.get(to)))) {
                to++;
            }
            lines.subList(from, to).sort((x, y) -> x.toString().compareTo(y.toString()));
            from = to;
        }
        return lines;
    }

    private static Object event(Object line) {
        Object value = ((Map<?, ?>) line).values().iterator().next();
        return ((Map<?, ?>) value).containsKey("type") ? value : null;
    }

    /** An event comes before any answer that shows the change. */
    private static void changesOfOthers() throws Exception {
        Client a = new Client(server);
        Client c = new Client(server);
        Journal j = new Journal();
        a.zk.create("/others", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (int n = 0; n < 20; n++) {
            int version = n;
            c.zk.getData("/others", j.events("data"), j.data("get"), n);
            c.barrier();
            a.zk.setData("/others", bytes("x" + version), version);
            c.zk.exists("/others", false, j.stat("exists"), n);
        }
        step("in this order", () -> j.upToNow(c));
        c.close();
        a.close();
    }

    private static void callsFromCallbacks() throws Exception {
        Client c = new Client(server);
        Journal j = new Journal();
        CountDownLatch done = new CountDownLatch(1);
        c.zk.exists("/chain", event -> {
            j.events("exists").process(event);
            c.zk.getData("/chain", e -> {
                j.events("data").process(e);
                c.zk.delete("/chain", -1, (rc, path, context) -> {
                    j.none("delete").processResult(rc, path, context);
                    done.countDown();
                }, 3);
            }, j.data("get"), 2);
            c.zk.setData("/chain", bytes("x"), 0, j.stat("set"), 2);
        });
        c.zk.create("/chain", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
            j.text("create"), 1);
        step("ended", () -> done.await(DEADLINE_S, TimeUnit.SECONDS));
        step("in this order", () -> j.upToNow(c));
        c.close();
    }
}
