package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.plain;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;

/** Collects the events of one watcher. */
final class Events implements Watcher {
    private final LinkedBlockingQueue<WatchedEvent> queue = new LinkedBlockingQueue<>();

    @Override
    public void process(WatchedEvent event) {
        queue.add(event);
    }

    /** Takes what has come, without connection events: these depend on time alone. */
    List<Object> take() {
        List<WatchedEvent> all = new ArrayList<>();
        queue.drainTo(all);
        return all.stream().filter(e -> e.getType() != Event.EventType.None).map(Harness::plain)
            .collect(Collectors.toList());
    }

    /** Takes all that the client was told before now. */
    List<Object> upToNow(Client client) throws Exception {
        client.barrier();
        return take();
    }

    /** The same with connection events. */
    List<Object> allUpToNow(Client client) throws Exception {
        client.barrier();
        return drain();
    }

    /** Takes all that has come. */
    List<Object> drain() {
        List<WatchedEvent> all = new ArrayList<>();
        queue.drainTo(all);
        return all.stream().map(Harness::plain).collect(Collectors.toList());
    }

    /** Names of the states up to this one, for which it waits. */
    List<String> statesUntil(String name) throws Exception {
        List<String> states = new ArrayList<>();
        while (!states.contains(name)) {
            WatchedEvent event = queue.poll(DEADLINE_S, TimeUnit.SECONDS);
            if (event == null) {
                states.add("none until the deadline");
                break;
            }
            if (event.getType() == Event.EventType.None) {
                states.add(event.getState().name());
            }
        }
        return states;
    }

    /** Waits for this many events of one type; they come sorted, connection events are dropped. */
    List<String> sortedUntil(String type, int count) throws Exception {
        List<String> seen = new ArrayList<>();
        int missing = count;
        while (missing > 0) {
            WatchedEvent event = queue.poll(DEADLINE_S, TimeUnit.SECONDS);
            if (event == null) {
                seen.add("none until the deadline");
                break;
            }
            if (event.getType() != Event.EventType.None) {
                seen.add(event.getType() + " " + event.getPath());
            }
            if (event.getType().name().equals(type)) {
                missing--;
            }
        }
        Collections.sort(seen);
        return seen;
    }

    /** Waits for an event whose type or state has this name; others are dropped. */
    Object until(String name) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
        while (true) {
            WatchedEvent event = queue.poll(end - System.nanoTime(), TimeUnit.NANOSECONDS);
            if (event == null) {
                return "no " + name + " until the deadline";
            }
            boolean isState = event.getType() == Event.EventType.None
                && event.getState().name().equals(name);
            if (isState || event.getType().name().equals(name)) {
                return plain(event);
            }
        }
    }
}
