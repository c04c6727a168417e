package conformance;

import static conformance.Harness.bytes;
import static conformance.Harness.section;
import static conformance.Harness.step;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** More watches than the client puts into one request: it sends pieces of 128 KB. */
public final class ManyWatches {
    /** Of each kind. */
    private static final int WATCHES = 1000;
    /** So that a thousand paths are more than one piece. */
    private static final String LONG =
        String.join("", Collections.nCopies(150, "x"));
    /** One in so many is changed while the client is away. */
    private static final int MISSED = 10;

    private static String server;

    public static void main(String[] args) throws Exception {
        server = args[0];
        section("one-shot watches", () -> run("/many", false));
        section("watches of every kind", () -> run("/more", true));
        System.exit(0);
    }

    private static void run(String root, boolean standing) throws Exception {
        Proxy proxy = new Proxy(server);
        Client a = new Client(server);
        Client c = new Client(proxy.address());
        a.zk.create(root, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        List<Op> creates = new ArrayList<>();
        for (int n = 0; n < WATCHES; n++) {
            creates.add(create(path(root, "data", n)));
            creates.add(create(path(root, "children", n)));
        }
        inParts(a.zk, creates);
        Map<String, Events> watches = new LinkedHashMap<>();
        for (String kind : Arrays.asList("data", "absent", "children", "stays", "recursive")) {
            watches.put(kind, new Events());
        }
        Journal journal = new Journal();
        int asked = 0;
        for (int n = 0; n < WATCHES; n++) {
            c.zk.getData(path(root, "data", n), watches.get("data"), journal.data("get"), n);
            c.zk.exists(path(root, "absent", n), watches.get("absent"), journal.stat("exists"), n);
            c.zk.getChildren(path(root, "children", n), watches.get("children"),
                journal.children("children"), n);
            asked += 3;
            if (standing) {
                c.zk.addWatch(path(root, "stays", n), watches.get("stays"),
                    AddWatchMode.PERSISTENT, journal.none("add"), n);
                c.zk.addWatch(path(root, "recursive", n), watches.get("recursive"),
                    AddWatchMode.PERSISTENT_RECURSIVE, journal.none("add"), n);
                asked += 2;
            }
        }
        int expected = asked;
        step("set", () -> journal.await(expected).size());
        proxy.takeRequests();
        proxy.cut();
        changeAll(a.zk, root, standing, true);
        proxy.mend();
        step("states", () -> c.events.statesUntil("SyncConnected"));
        print("missed", watches, c);
        step("requests", proxy::takeRequests);
        changeAll(a.zk, root, standing, false);
        print("later", watches, c);
        c.close();
        a.close();
        proxy.cut();
    }

    /** Changes those that the client misses, or all others. */
    private static void changeAll(ZooKeeper zk, String root, boolean standing, boolean missed)
            throws Exception {
        List<Op> changes = new ArrayList<>();
        for (int n = 0; n < WATCHES; n++) {
            if ((n % MISSED == 0) != missed) {
                continue;
            }
            changes.add(Op.setData(path(root, "data", n), bytes("x"), -1));
            changes.add(create(path(root, "absent", n)));
            changes.add(create(path(root, "children", n) + "/c"));
            if (standing) {
                changes.add(create(path(root, "stays", n)));
                changes.add(create(path(root, "recursive", n)));
                changes.add(create(path(root, "recursive", n) + "/c"));
            }
        }
        inParts(zk, changes);
    }

    /** A multi of them all would not fit into one frame. */
    private static void inParts(ZooKeeper zk, List<Op> all) throws Exception {
        for (int from = 0; from < all.size(); from += 500) {
            zk.multi(all.subList(from, Math.min(from + 500, all.size())));
        }
    }

    private static Op create(String path) {
        return Op.create(path, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    private static String path(String root, String kind, int n) {
        return root + "/" + kind + "-" + n + "-" + LONG;
    }

    /** Sorted, because the client sends the paths in the order of its hash table. */
    private static void print(String when, Map<String, Events> watches, Client c)
            throws Exception {
        for (Map.Entry<String, Events> watch : watches.entrySet()) {
            step(when + ": " + watch.getKey(), () -> {
                List<String> lines = new ArrayList<>();
                for (Object event : watch.getValue().upToNow(c)) {
                    Map<?, ?> map = (Map<?, ?>) event;
                    String path = map.get("path").toString();
                    lines.add(map.get("type") + " " + path.replace(LONG, "")
                        + (map.get("zxid").equals(-1L) ? " missed" : ""));
                }
                Collections.sort(lines);
                return Arrays.asList(lines.size(), lines.hashCode(),
                    lines.subList(0, Math.min(3, lines.size())));
            });
        }
    }
}
