package conformance;

import static conformance.Harness.DEADLINE_S;
import static conformance.Harness.bytes;
import static conformance.Harness.plain;

import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Carries out the steps of {@code scripts/*.txt} with Apache's own client.
 *
 * <p>Each line of the standard input is a job: a script, the server's address, and the node below
 * which the script works. Each step is answered with one JSON line, the end of a script with
 * {@code {"end":true}}, whatever is no step of a script with {@code {"failed":...}}.
 */
public final class Scripts {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String CLIENT = "java";

    private final String server;
    private final String prefix;
    private final Map<String, Session> sessions = new HashMap<>();

    private Scripts(String server, String prefix) {
        this.server = server;
        this.prefix = prefix;
    }

    public static void main(String[] args) throws Exception {
        BufferedReader jobs =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = jobs.readLine(); line != null; line = jobs.readLine()) {
            JsonNode job = JSON.readTree(line);
            try {
                ScriptFile script = new ScriptFile(Paths.get(job.get("script").asText()));
                new Scripts(job.get("server").asText(), job.get("prefix").asText()).run(script);
                print(Collections.singletonMap("end", true));
            } catch (Exception e) {
                print(Collections.singletonMap("failed", e.toString()));
            }
        }
        System.exit(0);
    }

    private static void print(Object value) throws IOException {
        // Whatever the machine takes for the encoding of its standard output.
        System.out.println(JSON.writer().with(JsonWriteFeature.ESCAPE_NON_ASCII)
            .writeValueAsString(value));
        System.out.flush();
    }

    private void run(ScriptFile script) throws Exception {
        for (ScriptFile.Step step : script.steps) {
            if (step.clients.contains(CLIENT)) {
                Map<String, Object> line = new LinkedHashMap<>();
                line.put("line", step.line);
                line.put("answer", answer(step));
                print(line);
            }
        }
        for (Session session : sessions.values()) {
            session.drop();
        }
    }

    private Map<String, Object> answer(ScriptFile.Step step) throws Exception {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("code", 0);
        try {
            carryOut(step, answer);
        } catch (KeeperException e) {
            answer.clear();
            answer.put("code", e.code().intValue());
            if (e.getResults() != null) {
                answer.put("results", results(e.getResults()));
            }
        }
        return answer;
    }

    private void carryOut(ScriptFile.Step step, Map<String, Object> answer) throws Exception {
        ScriptFile.Call call = step.call;
        String name = step.session;
        switch (call.verb) {
            case "open":
                connect(name, new Session(server, call.number(0), 0, null), answer);
                return;
            case "again":
                Session before = session(name);
                connect(name, new Session(server, call.number(0), before.getSessionId(),
                    before.getSessionPasswd()), answer);
                return;
            default:
                session(name).carryOut(this, call, answer);
        }
    }

    private void connect(String name, Session session, Map<String, Object> answer)
            throws Exception {
        session.awaitConnection();
        sessions.put(name, session);
        StringBuilder password = new StringBuilder();
        for (byte b : session.getSessionPasswd()) {
            password.append(String.format("%02x", b));
        }
        answer.put("timeout", session.getSessionTimeout());
        answer.put("newSession", session.getSessionId());
        answer.put("password", password.toString());
    }

    private Session session(String name) {
        Session session = sessions.get(name);
        if (session == null) {
            throw new IllegalArgumentException(name + " is not open");
        }
        return session;
    }

    /** The script's root is the node {@code prefix}; the server's own nodes are as they are. */
    private String full(String path) {
        if (path == null) {
            return "/";
        }
        if (path.equals("/")) {
            return prefix;
        }
        return path.startsWith("/") && !path.startsWith("/zookeeper") ? prefix + path : path;
    }

    private Op op(ScriptFile.Call call) {
        String path = full(call.path());
        switch (call.verb) {
            case "create":
                ScriptFile.Mode mode = call.mode();
                return mode.ttlMs < 0 ? Op.create(path, call.data(), call.acl(3), mode.create)
                    : Op.create(path, call.data(), call.acl(3), mode.create, mode.ttlMs);
            case "delete":
                return Op.delete(path, call.number(1));
            case "set":
                return Op.setData(path, call.data(), call.number(2));
            case "check":
                return Op.check(path, call.number(1));
            case "get":
                return Op.getData(path);
            case "children":
                return Op.getChildren(path);
            default:
                throw new IllegalArgumentException(call.verb + " is no part of a multi");
        }
    }

    private static List<Object> results(List<OpResult> results) {
        List<Object> all = new ArrayList<>();
        for (OpResult result : results) {
            Map<String, Object> one = new LinkedHashMap<>();
            if (result instanceof OpResult.CreateResult) {
                one.put("path", ((OpResult.CreateResult) result).getPath());
                Stat stat = ((OpResult.CreateResult) result).getStat();
                if (stat != null) {
                    one.put("stat", plain(stat));
                }
            } else if (result instanceof OpResult.SetDataResult) {
                one.put("stat", plain(((OpResult.SetDataResult) result).getStat()));
            } else if (result instanceof OpResult.GetDataResult) {
                one.put("data", plain(((OpResult.GetDataResult) result).getData()));
                one.put("stat", plain(((OpResult.GetDataResult) result).getStat()));
            } else if (result instanceof OpResult.GetChildrenResult) {
                one.put("names", ((OpResult.GetChildrenResult) result).getChildren());
            } else if (result instanceof OpResult.ErrorResult) {
                one.put("code", ((OpResult.ErrorResult) result).getErr());
            }
            all.add(one);
        }
        return all;
    }

    /** Collects what one session is told. */
    private static final class Inbox implements Watcher {
        final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        final BlockingQueue<Event.KeeperState> states = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            switch (event.getType()) {
                case NodeCreated:
                case NodeDeleted:
                case NodeDataChanged:
                case NodeChildrenChanged:
                    events.add(event);
                    break;
                case None:
                    states.add(event.getState());
                    break;
                default:
                    // The library tells itself of watches that it has removed.
                    break;
            }
        }
    }

    /** A session that can lose its connection without being closed. */
    private static final class Session extends ZooKeeper {
        private final Inbox inbox;

        Session(String server, int timeoutMs, long id, byte[] password) throws IOException {
            this(server, timeoutMs, id, password, new Inbox());
        }

        private Session(String server, int timeoutMs, long id, byte[] password, Inbox inbox)
                throws IOException {
            super(server, timeoutMs, inbox, id, password == null ? new byte[16] : password, false,
                new Hosts(server));
            this.inbox = inbox;
        }

        void awaitConnection() throws Exception {
            Watcher.Event.KeeperState state = inbox.states.poll(DEADLINE_S, TimeUnit.SECONDS);
            if (state == Watcher.Event.KeeperState.Expired) {
                throw new KeeperException.SessionExpiredException();
            }
            if (state != Watcher.Event.KeeperState.SyncConnected) {
                throw new IOException("no connection, but " + state);
            }
        }

        void drop() {
            cnxn.disconnect();
        }

        void carryOut(Scripts in, ScriptFile.Call call, Map<String, Object> answer)
                throws Exception {
            switch (call.verb) {
                case "drop":
                    drop();
                    return;
                case "close":
                    close();
                    return;
                case "auth":
                    addAuthInfo(call.path(), bytes((String) call.args.get(1)));
                    // The answer shows in what becomes of the next request.
                    exists(in.prefix, false);
                    return;
                case "event":
                    answer.put("event", shown(next(), call.flag(0)));
                    return;
                case "events":
                    answer.put("events", upToNow(in.prefix, call.flag(1)));
                    return;
                case "multi":
                case "multiread":
                    List<Op> ops = new ArrayList<>();
                    for (ScriptFile.Call part : call.parts()) {
                        ops.add(in.op(part));
                    }
                    answer.put("results", results(multi(ops)));
                    return;
                case "whoami":
                    answer.put("names", plain(whoAmI()));
                    return;
                default:
                    request(call, in.full(call.path()), answer);
            }
        }

        private void request(ScriptFile.Call call, String path, Map<String, Object> answer)
                throws Exception {
            Stat stat = new Stat();
            switch (call.verb) {
                case "create":
                    answer.put("path", call.mode().ttlMs < 0
                        ? create(path, call.data(), call.acl(3), call.mode().create)
                        : create(path, call.data(), call.acl(3), call.mode().create, null,
                            call.mode().ttlMs));
                    return;
                case "create2":
                    answer.put("path", create(path, call.data(), call.acl(3), call.mode().create,
                        stat, call.mode().ttlMs));
                    break;
                case "delete":
                    delete(path, call.number(1));
                    return;
                case "exists":
                    stat = exists(path, call.flag(1));
                    if (stat == null) {
                        throw new KeeperException.NoNodeException(path);
                    }
                    break;
                case "get":
                    answer.put("data", plain(getData(path, call.flag(1), stat)));
                    break;
                case "children":
                    answer.put("names", getChildren(path, call.flag(1)));
                    return;
                case "children2":
                    answer.put("names", getChildren(path, call.flag(1), stat));
                    break;
                case "set":
                    stat = setData(path, call.data(), call.number(2));
                    break;
                case "getacl":
                    answer.put("acl", plain(getACL(path, stat)));
                    break;
                case "setacl":
                    stat = setACL(path, call.acl(1), call.number(2));
                    break;
                case "sync":
                    sync(path);
                    answer.put("path", path);
                    return;
                case "ephemerals":
                    answer.put("names", getEphemerals(path));
                    return;
                case "count":
                    answer.put("count", getAllChildrenNumber(path));
                    return;
                case "watch":
                    addWatch(path, inbox, (AddWatchMode) call.args.get(1));
                    return;
                case "checkwatch":
                    removeWatches(path, inbox, (WatcherType) call.args.get(1), false);
                    return;
                case "unwatch":
                    removeAllWatches(path, (WatcherType) call.args.get(1), false);
                    return;
                default:
                    throw new IllegalArgumentException(call.verb + " is not known here");
            }
            answer.put("stat", plain(stat));
        }

        private WatchedEvent next() throws Exception {
            WatchedEvent event = inbox.events.poll(DEADLINE_S, TimeUnit.SECONDS);
            if (event == null) {
                throw new IOException("no event until the deadline");
            }
            return event;
        }

        /** All that the server sent before now: callbacks and events come in one order. */
        private List<Object> upToNow(String path, boolean withZxid) throws Exception {
            CountDownLatch latch = new CountDownLatch(1);
            exists(path, false, (rc, p, x, stat) -> latch.countDown(), null);
            if (!latch.await(DEADLINE_S, TimeUnit.SECONDS)) {
                throw new IOException("no answer until the deadline");
            }
            List<WatchedEvent> taken = new ArrayList<>();
            inbox.events.drainTo(taken);
            List<Object> events = new ArrayList<>();
            for (WatchedEvent event : taken) {
                events.add(shown(event, withZxid));
            }
            return events;
        }

        private static Object shown(WatchedEvent event, boolean withZxid) {
            Map<String, Object> map = new LinkedHashMap<>();
            map.put("path", event.getPath());
            map.put("type", event.getType().name());
            if (withZxid) {
                map.put("zxid", event.getZxid());
            }
            return map;
        }
    }
}
