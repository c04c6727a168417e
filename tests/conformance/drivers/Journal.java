package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.plain;
import static conformance.Harness.sorted;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.Watcher;

/** What one client tells its callbacks and watchers, in the order in which it does. */
final class Journal {
    private final List<Object> lines = new ArrayList<>();

    /** Notes every event. */
    Watcher watcher(String name) {
        return event -> note(name, plain(event));
    }

    /** Notes events other than those of the connection, which come to all watchers in no order. */
    Watcher events(String name) {
        return event -> {
            if (event.getType() != Watcher.Event.EventType.None) {
                note(name, plain(event));
            }
        };
    }

    AsyncCallback.StringCallback text(String name) {
        return (rc, path, context, text) -> call(name, rc, path, context, text);
    }

    AsyncCallback.StatCallback stat(String name) {
        return (rc, path, context, stat) -> call(name, rc, path, context, stat);
    }

    AsyncCallback.DataCallback data(String name) {
        return (rc, path, context, data, stat) -> call(name, rc, path, context, data, stat);
    }

    AsyncCallback.ChildrenCallback children(String name) {
        return (rc, path, context, names) -> call(name, rc, path, context, sorted(names));
    }

    AsyncCallback.VoidCallback none(String name) {
        return (rc, path, context) -> call(name, rc, path, context);
    }

    AsyncCallback.MultiCallback results(String name) {
        return (rc, path, context, results) -> call(name, rc, path, context, results);
    }

    /** Waits until this many lines have come, and takes them. */
    synchronized List<Object> await(int count) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
        while (lines.size() < count) {
            long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
            if (left <= 0) {
                throw new IOException("not told until the deadline");
            }
            wait(left);
        }
        return take();
    }

    /** Takes all that the client was told before now. */
    List<Object> upToNow(Client client) throws Exception {
        client.barrier();
        return take();
    }

    synchronized List<Object> take() {
        List<Object> copy = new ArrayList<>(lines);
        lines.clear();
        return copy;
    }

    private void call(String name, int rc, String path, Object context, Object... values) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("rc", rc);
        line.put("path", path);
        line.put("context", context);
        line.put("values", Arrays.stream(values).map(Harness::plain).collect(Collectors.toList()));
        note(name, line);
    }

    private synchronized void note(String name, Object value) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put(name, value);
        lines.add(line);
        notifyAll();
    }
}
