package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.TIMEOUT_MS;
import static conformance.Harness.print;

import java.io.IOException;
import java.util.Collections;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;

/** A client that has been told that it is connected, or whatever else was to be awaited. */
final class Client {
    final ZooKeeper zk;
    final Events events = new Events();

    /** Any of the ways to make a ZooKeeper object. */
    interface Maker {
        ZooKeeper make(Watcher watcher) throws Exception;
    }

    Client(String connect) throws Exception {
        this(connect, TIMEOUT_MS, 0, null);
    }

    Client(String connect, int timeout, long id, byte[] password) throws Exception {
        this(connect, timeout, id, password, "SyncConnected");
    }

    Client(String connect, int timeout, long id, byte[] password, String state)
            throws Exception {
        this(watcher -> id == 0
            ? new ZooKeeper(connect, timeout, watcher, false, new Hosts(connect))
            : new ZooKeeper(connect, timeout, watcher, id, password, false, new Hosts(connect)),
            state);
    }

    Client(Maker maker, String state) throws Exception {
        zk = maker.make(events);
        Object told = events.until(state);
        if (told instanceof String) {
            throw new IOException((String) told);
        }
        if (state.equals("SyncConnected")) {
            print("session", Collections.singletonMap("newSession", zk.getSessionId()));
        }
    }

    /**
     * All that the server had sent before this call has reached the watchers afterwards. On a new
     * connection the watches are set again by then, which they need not be when it is announced.
     */
    void barrier() throws Exception {
        CountDownLatch latch = new CountDownLatch(1);
        zk.exists("/", false, (rc, path, x, stat) -> latch.countDown(), null);
        latch.await(DEADLINE_S, TimeUnit.SECONDS);
    }

    /** Takes up the session of another. */
    static Client heir(String connect, Client of) throws Exception {
        return heir(connect, of, "SyncConnected");
    }

    static Client heir(String connect, Client of, String state) throws Exception {
        long id = of.zk.getSessionId();
        return new Client(connect, TIMEOUT_MS, id, of.zk.getSessionPasswd(), state);
    }

    /** Closes, and waits until the last watcher and callback have had their say. */
    void close() throws Exception {
        zk.close(DEADLINE_S * 1000);
    }
}
