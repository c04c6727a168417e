package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.TIMEOUT_MS;
import static conformance.Harness.print;

import java.util.Collections;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.ZooKeeper;

/** A client that has been told that it is connected, or whatever else was to be awaited. */
final class Client {
    final ZooKeeper zk;
    final Events events = new Events();

    Client(String connect) throws Exception {
        this(connect, TIMEOUT_MS, 0, null);
    }

    Client(String connect, int timeout, long id, byte[] password) throws Exception {
        this(connect, timeout, id, password, "SyncConnected");
    }

    Client(String connect, int timeout, long id, byte[] password, String state)
            throws Exception {
        zk = id == 0 ? new ZooKeeper(connect, timeout, events)
            : new ZooKeeper(connect, timeout, events, id, password);
        events.until(state);
        if (state.equals("SyncConnected")) {
            print("session", Collections.singletonMap("newSession", zk.getSessionId()));
        }
    }

    /** All that the server had sent before this call has reached the watchers afterwards. */
    void barrier() throws Exception {
        CountDownLatch latch = new CountDownLatch(1);
        zk.exists("/", false, (rc, path, x, stat) -> latch.countDown(), null);
        latch.await(DEADLINE_S, TimeUnit.SECONDS);
    }

    void close() throws Exception {
        zk.close();
    }
}
