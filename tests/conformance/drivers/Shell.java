package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.print;
import static conformance.Harness.sorted;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.ZooKeeperMain;

/** zkCli without a terminal: each command's output by itself. */
final class Shell {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();
    private final Main main;

    static final class Main extends ZooKeeperMain {
        Main(String[] args) throws Exception {
            super(args);
        }

        ZooKeeper client() {
            return zk;
        }
    }

    Shell(String server) throws Exception {
        System.setOut(new PrintStream(out, true));
        System.setErr(new PrintStream(err, true));
        main = new Main(new String[] {"-waitforconnection", "-server", server});
        settle();
        print("session",
            Collections.singletonMap("newSession", main.client().getSessionId()));
        out.reset();
        err.reset();
    }

    void run(String command) throws Exception {
        String failure = null;
        try {
            main.executeLine(command);
        } catch (Exception e) {
            failure = e.toString();
        }
        settle();
        List<String> lines = new ArrayList<>();
        List<String> events = new ArrayList<>();
        for (String line : out.toString("UTF-8").split("\n")) {
            // The watcher's lines come from another thread, between those of the command.
            if (line.startsWith("WatchedEvent")) {
                events.add(line);
            } else if (!line.isEmpty() && !line.startsWith("WATCHER::")) {
                lines.add(line);
            }
        }
        if (command.equals("whoami")) {
            Collections.sort(lines);
        }
        if (command.startsWith("getEphemerals")) {
            lines.replaceAll(Shell::sortedList);
        }
        Map<String, Object> value = new LinkedHashMap<>();
        value.put("out", lines);
        value.put("events", events);
        value.put("err", Arrays.asList(err.toString("UTF-8").split("\n")));
        value.put("failure", failure);
        out.reset();
        err.reset();
        print("zk: " + command, value);
    }

    /** {@code [b, a]} as {@code [a, b]}. */
    private static String sortedList(String line) {
        if (!line.startsWith("[") || !line.endsWith("]")) {
            return line;
        }
        return sorted(Arrays.asList(line.substring(1, line.length() - 1).split(", ")))
            .toString();
    }

    private void settle() throws Exception {
        CountDownLatch latch = new CountDownLatch(1);
        main.client().exists("/", false, (rc, path, x, stat) -> latch.countDown(), null);
        latch.await(DEADLINE_S, TimeUnit.SECONDS);
    }

    /** The streams stay as they are: the watcher's thread may still have something to say. */
    void close() throws Exception {
        main.client().close();
    }
}
