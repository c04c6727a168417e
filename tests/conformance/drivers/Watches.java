package conformance;

import static conformance.Harness.bytes;
import static conformance.Harness.step;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** A watcher of every kind, each on a node of its own below one root. */
final class Watches {
    private static final List<String> NODES =
        Arrays.asList("", "/data", "/here", "/children", "/persistent", "/recursive");

    private final Map<String, Events> all = new LinkedHashMap<>();

    /** Sets the watches; the nodes must be there. */
    Watches(Client c, String root) throws Exception {
        c.zk.getData(root + "/data", named("data"), null);
        c.zk.exists(root + "/here", named("exists, and it does"));
        c.zk.exists(root + "/absent", named("exists, and it does not"));
        c.zk.getChildren(root + "/children", named("children"));
        c.zk.addWatch(root + "/persistent", named("persistent"), AddWatchMode.PERSISTENT);
        c.zk.addWatch(root + "/recursive", named("recursive"), AddWatchMode.PERSISTENT_RECURSIVE);
    }

    Events named(String name) {
        return all.computeIfAbsent(name, n -> new Events());
    }

    static void makeNodes(ZooKeeper zk, String root) throws Exception {
        for (String node : NODES) {
            create(zk, root + node);
        }
    }

    /** Changes each node in the way that its watcher waits for, and some in several. */
    static void change(ZooKeeper zk, String root) throws Exception {
        zk.setData(root + "/data", bytes("changed"), -1);
        zk.delete(root + "/here", -1);
        create(zk, root + "/absent");
        create(zk, root + "/children/c");
        zk.setData(root + "/persistent", bytes("changed"), -1);
        create(zk, root + "/persistent/c");
        create(zk, root + "/recursive/c");
        create(zk, root + "/recursive/c/d");
        zk.setData(root + "/recursive/c/d", bytes("changed"), -1);
    }

    /** Makes {@link #change} possible once more; another change for those who watch. */
    static void undo(ZooKeeper zk, String root) throws Exception {
        create(zk, root + "/here");
        zk.delete(root + "/absent", -1);
        zk.delete(root + "/children/c", -1);
        zk.delete(root + "/persistent/c", -1);
        zk.delete(root + "/recursive/c/d", -1);
        zk.delete(root + "/recursive/c", -1);
    }

    /** Prints what each watcher has been told, the changes of the connection among it. */
    void print(String when, Client c) throws Exception {
        for (Map.Entry<String, Events> watch : all.entrySet()) {
            step(when + ": " + watch.getKey(), () -> watch.getValue().allUpToNow(c));
        }
    }

    private static void create(ZooKeeper zk, String path) throws Exception {
        zk.create(path, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }
}
