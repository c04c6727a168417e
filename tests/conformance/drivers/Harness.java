package conformance;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Stat;

/**
 * What the drivers are made of: sections, steps, and values as one JSON line each.
 *
 * <p>A line {@code {"ask":"restart"}} asks the test to kill and restart the server; it answers
 * with one line on the standard input when the server serves again.
 */
final class Harness {
    static final int DEADLINE_S = 30;
    static final int TIMEOUT_MS = 30_000;
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream OUT = System.out;
    private static final BufferedReader IN =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    private Harness() {}

    interface Section {
        void run() throws Exception;
    }

    static void section(String name, Section body) throws Exception {
        print("section", name);
        try {
            body.run();
        } catch (Exception e) {
            print("section failed", error(e));
        }
    }

    static void step(String name, Callable<Object> body) throws IOException {
        try {
            print(name, plain(body.call()));
        } catch (Exception e) {
            print(name, error(e));
        }
    }

    /** A step whose value is whether something holds. */
    static void check(String name, Callable<Boolean> body) throws IOException {
        step(name, body::call);
    }

    static Object error(Exception e) {
        Map<String, Object> map = new LinkedHashMap<>();
        if (e instanceof KeeperException) {
            KeeperException keeper = (KeeperException) e;
            map.put("error", keeper.code().name());
            map.put("path", keeper.getPath());
            map.put("results", plain(keeper.getResults()));
        } else {
            map.put("exception", e.toString());
        }
        return map;
    }

    static synchronized void print(String step, Object value) throws IOException {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("step", step);
        line.put("value", value);
        OUT.println(JSON.writeValueAsString(line));
        OUT.flush();
    }

    /** Asks the test for something and waits until it is done. */
    private static void ask(String what) throws IOException {
        OUT.println(JSON.writeValueAsString(Collections.singletonMap("ask", what)));
        OUT.flush();
        IN.readLine();
    }

    /**
     * Kills the server under its clients and starts it again. Clients come back when it serves: to
     * one that knocks earlier, Apache's server now and then gives no answer at all.
     */
    static void restart(Proxy... wires) throws IOException {
        for (Proxy wire : wires) {
            wire.refuse();
        }
        ask("restart");
        for (Proxy wire : wires) {
            wire.mend();
        }
    }

    /** A value as JSON has it. */
    static Object plain(Object value) {
        if (value instanceof byte[]) {
            return new String((byte[]) value, StandardCharsets.ISO_8859_1);
        }
        if (value instanceof Stat) {
            Stat s = (Stat) value;
            Map<String, Object> map = new LinkedHashMap<>();
            map.put("czxid", s.getCzxid());
            map.put("mzxid", s.getMzxid());
            map.put("pzxid", s.getPzxid());
            map.put("ctime", s.getCtime());
            map.put("mtime", s.getMtime());
            map.put("version", s.getVersion());
            map.put("cversion", s.getCversion());
            map.put("aversion", s.getAversion());
            map.put("ephemeralOwner", s.getEphemeralOwner());
            map.put("dataLength", s.getDataLength());
            map.put("numChildren", s.getNumChildren());
            return map;
        }
        if (value instanceof WatchedEvent) {
            WatchedEvent e = (WatchedEvent) value;
            Map<String, Object> map = new LinkedHashMap<>();
            map.put("type", e.getType().name());
            map.put("state", e.getState().name());
            map.put("path", e.getPath());
            map.put("zxid", e.getZxid());
            return map;
        }
        if (value instanceof ACL) {
            ACL acl = (ACL) value;
            return acl.getPerms() + " " + acl.getId().getScheme() + ":" + acl.getId().getId();
        }
        if (value instanceof ClientInfo) {
            ClientInfo info = (ClientInfo) value;
            return info.getAuthScheme() + ":" + info.getUser();
        }
        if (value instanceof OpResult) {
            return result((OpResult) value);
        }
        if (value instanceof List) {
            return ((List<?>) value).stream().map(Harness::plain).collect(Collectors.toList());
        }
        return value;
    }

    static Object result(OpResult value) {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("type", value.getType());
        if (value instanceof OpResult.CreateResult) {
            map.put("path", ((OpResult.CreateResult) value).getPath());
            map.put("stat", plain(((OpResult.CreateResult) value).getStat()));
        } else if (value instanceof OpResult.SetDataResult) {
            map.put("stat", plain(((OpResult.SetDataResult) value).getStat()));
        } else if (value instanceof OpResult.GetDataResult) {
            map.put("data", plain(((OpResult.GetDataResult) value).getData()));
            map.put("stat", plain(((OpResult.GetDataResult) value).getStat()));
        } else if (value instanceof OpResult.GetChildrenResult) {
            map.put("children", sorted(((OpResult.GetChildrenResult) value).getChildren()));
        } else if (value instanceof OpResult.ErrorResult) {
            map.put("err", ((OpResult.ErrorResult) value).getErr());
        }
        return map;
    }

    /** Children and ephemerals come in no order. */
    static List<String> sorted(List<String> names) {
        if (names == null) {
            return null;
        }
        List<String> copy = new ArrayList<>(names);
        Collections.sort(copy);
        return copy;
    }

    /** Identities come in no order. */
    static List<String> sortedText(List<ClientInfo> infos) {
        return infos.stream().map(i -> (String) plain(i)).sorted().collect(Collectors.toList());
    }

    static List<Object> both(Object first, Object second) {
        return Arrays.asList(plain(first), plain(second));
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
