package conformance;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;

/** The format of {@code scripts/*.txt}, which {@code docs/conformance.md} describes. */
final class ScriptFile {
    private static final List<String> CLIENTS = Arrays.asList("raw", "java", "kazoo");
    private static final int TIMEOUT_MS = 30_000;
    private static final Map<String, String> VERBS = verbs(
        "open timeout?", "again timeout?", "drop", "close", "create path data mode acl",
        "create2 path data mode acl", "delete path int", "exists path 'watch'?",
        "get path 'watch'?", "children path 'watch'?", "children2 path 'watch'?",
        "set path data int", "getacl path", "setacl path acl int", "sync path", "auth text text",
        "multi parts", "multiread parts", "ephemerals path?", "count path", "whoami",
        "watch path mode-of-watch", "checkwatch path kind-of-watch", "unwatch path kind-of-watch",
        "event 'zxid'?", "events 'sorted'? 'zxid'?");
    private static final Map<String, String> MULTI_PARTS = verbs(
        "create path data mode acl", "delete path int", "set path data int", "check path int");
    private static final Map<String, String> MULTI_READ_PARTS =
        verbs("get path", "children path");

    /** What a session is asked for, or a part of a multi. */
    static final class Call {
        final String verb;
        final List<Object> args = new ArrayList<>();

        Call(String verb) {
            this.verb = verb;
        }

        String path() {
            return (String) args.get(0);
        }

        byte[] data() {
            return (byte[]) args.get(1);
        }

        int number(int at) {
            return (Integer) args.get(at);
        }

        boolean flag(int at) {
            return (Boolean) args.get(at);
        }

        Mode mode() {
            return (Mode) args.get(2);
        }

        @SuppressWarnings("unchecked")
        List<ACL> acl(int at) {
            return (List<ACL>) args.get(at);
        }

        @SuppressWarnings("unchecked")
        List<Call> parts() {
            return (List<Call>) args.get(0);
        }
    }

    /** How a node is made; the time to live is -1 for nodes that have none. */
    static final class Mode {
        final CreateMode create;
        final long ttlMs;

        Mode(CreateMode create, long ttlMs) {
            this.create = create;
            this.ttlMs = ttlMs;
        }
    }

    static final class Step {
        final int line;
        final List<String> clients;
        final String session;
        final Call call;

        Step(int line, List<String> clients, String session, Call call) {
            this.line = line;
            this.clients = clients;
            this.session = session;
            this.call = call;
        }
    }

    private static final class Token {
        final String text;
        final boolean quoted;

        Token(String text, boolean quoted) {
            this.text = text;
            this.quoted = quoted;
        }
    }

    private String servers;
    final List<Step> steps = new ArrayList<>();

    ScriptFile(Path path) throws IOException {
        int line = 0;
        for (String text : Files.readAllLines(path, StandardCharsets.UTF_8)) {
            line++;
            try {
                takeLine(line, text.trim());
            } catch (IllegalArgumentException e) {
                throw new IllegalArgumentException(path + ":" + line + ": " + e.getMessage(), e);
            }
        }
        if (servers == null || steps.isEmpty()) {
            throw new IllegalArgumentException(path + ": no servers or no steps");
        }
    }

    private void takeLine(int line, String text) {
        if (text.isEmpty() || text.startsWith("#")) {
            return;
        }
        if (text.startsWith("servers ")) {
            require(servers == null && steps.isEmpty(), "servers are named once, before the steps");
            servers = text.substring("servers ".length());
            return;
        }
        List<String> clients = CLIENTS;
        String rest = text;
        if (text.startsWith("[")) {
            int end = text.indexOf("] ");
            require(end > 0, "no end of the clients");
            clients = Arrays.asList(text.substring(1, end).split(" ", -1));
            boolean known = CLIENTS.containsAll(clients) && clients.get(0).equals("raw");
            require(known && clients.size() < CLIENTS.size(), clients + ": raw, and one or none");
            rest = text.substring(end + 2);
        }
        int colon = rest.indexOf(": ");
        require(colon > 0, "no session");
        String session = rest.substring(0, colon);
        require(session.matches("[a-z]+"), session + " is no name of a session");
        steps.add(new Step(line, clients, session, call(VERBS, tokens(rest.substring(colon + 2)))));
    }

    private static Map<String, String> verbs(String... lines) {
        Map<String, String> verbs = new HashMap<>();
        for (String line : lines) {
            String[] parts = line.split(" ", 2);
            verbs.put(parts[0], parts.length == 1 ? "" : parts[1]);
        }
        return verbs;
    }

    private static void require(boolean holds, String message) {
        if (!holds) {
            throw new IllegalArgumentException(message);
        }
    }

    /** Words between spaces; one that begins with a quote is a JSON string. */
    private static List<Token> tokens(String text) {
        List<Token> tokens = new ArrayList<>();
        int at = 0;
        while (at < text.length()) {
            if (text.charAt(at) == ' ') {
                at++;
                continue;
            }
            boolean quoted = text.charAt(at) == '"';
            int end = quoted ? quotedEnd(text, at) : text.indexOf(' ', at);
            end = end < 0 ? text.length() : end;
            require(end == text.length() || text.charAt(end) == ' ', "no space behind a string");
            String token = text.substring(at, end);
            tokens.add(new Token(quoted ? unquoted(token) : token, quoted));
            at = end;
        }
        return tokens;
    }

    private static int quotedEnd(String text, int from) {
        boolean escaped = false;
        for (int at = from + 1; at < text.length(); at++) {
            if (text.charAt(at) == '"' && !escaped) {
                return at + 1;
            }
            escaped = text.charAt(at) == '\\' && !escaped;
        }
        throw new IllegalArgumentException("no end of a quoted string");
    }

    private static String unquoted(String token) {
        try {
            return new ObjectMapper().readValue(token, String.class);
        } catch (JsonProcessingException e) {
            throw new IllegalArgumentException(token + " is no JSON string", e);
        }
    }

    private static Call call(Map<String, String> verbs, List<Token> tokens) {
        require(!tokens.isEmpty(), "no step");
        Token verb = tokens.get(0);
        String signature = verb.quoted ? null : verbs.get(verb.text);
        require(signature != null, verb.text + " is no step here");
        Call call = new Call(verb.text);
        int at = 1;
        for (String kind : signature.isEmpty() ? new String[0] : signature.split(" ")) {
            if (kind.equals("parts")) {
                call.args.add(parts(verb.text.equals("multi") ? MULTI_PARTS : MULTI_READ_PARTS,
                    tokens.subList(at, tokens.size())));
                at = tokens.size();
                continue;
            }
            Token token = at < tokens.size() ? tokens.get(at) : null;
            if (kind.startsWith("'")) {
                String literal = kind.substring(1, kind.length() - 2);
                boolean there = token != null && !token.quoted && token.text.equals(literal);
                call.args.add(there);
                at += there ? 1 : 0;
            } else if (token == null) {
                require(kind.endsWith("?"), "no " + kind);
                call.args.add(kind.equals("timeout?") ? (Object) TIMEOUT_MS : null);
            } else {
                call.args.add(argument(kind, token));
                at++;
            }
        }
        require(at == tokens.size(), "more than " + call.verb + " takes");
        return call;
    }

    /** Calls with semicolons between them, or none at all. */
    private static List<Call> parts(Map<String, String> allowed, List<Token> tokens) {
        List<Call> calls = new ArrayList<>();
        if (tokens.isEmpty()) {
            return calls;
        }
        int from = 0;
        for (int at = 0; at <= tokens.size(); at++) {
            boolean isEnd = at == tokens.size()
                || tokens.get(at).text.equals(";") && !tokens.get(at).quoted;
            if (isEnd) {
                calls.add(call(allowed, tokens.subList(from, at)));
                from = at + 1;
            }
        }
        return calls;
    }

    private static Object argument(String kind, Token token) {
        switch (kind) {
            case "path":
            case "path?":
            case "text":
                return token.text;
            case "acl":
                return acl(token.text);
            case "data":
                return token.quoted ? token.text.getBytes(StandardCharsets.UTF_8)
                    : data(token.text);
            default:
                require(!token.quoted, token.text + " is no " + kind);
                return word(kind, token.text);
        }
    }

    private static Object word(String kind, String word) {
        switch (kind + " " + word) {
            case "mode-of-watch persistent":
                return AddWatchMode.PERSISTENT;
            case "mode-of-watch recursive":
                return AddWatchMode.PERSISTENT_RECURSIVE;
            case "kind-of-watch children":
                return WatcherType.Children;
            case "kind-of-watch data":
                return WatcherType.Data;
            case "kind-of-watch any":
                return WatcherType.Any;
            case "kind-of-watch persistent":
                return WatcherType.Persistent;
            case "kind-of-watch recursive":
                return WatcherType.PersistentRecursive;
            default:
                break;
        }
        switch (kind) {
            case "int":
            case "timeout?":
                return Integer.valueOf(word);
            case "mode":
                return mode(word);
            default:
                throw new IllegalArgumentException(word + " is no " + kind);
        }
    }

    /** Data that is no quoted string: null, bytes in hex, or a number of the letter x. */
    private static byte[] data(String word) {
        if (word.equals("null")) {
            return null;
        }
        if (word.startsWith("fill:")) {
            byte[] bytes = new byte[Integer.parseInt(word.substring(5))];
            Arrays.fill(bytes, (byte) 'x');
            return bytes;
        }
        require(word.startsWith("hex:") && word.length() % 2 == 0, word + " is no data");
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (int at = 4; at < word.length(); at += 2) {
            bytes.write(Integer.parseInt(word.substring(at, at + 2), 16));
        }
        return bytes.toByteArray();
    }

    private static Mode mode(String word) {
        int colon = word.indexOf(':');
        if (colon >= 0) {
            long ttlMs = Long.parseLong(word.substring(colon + 1));
            switch (word.substring(0, colon)) {
                case "ttl":
                    return new Mode(CreateMode.PERSISTENT_WITH_TTL, ttlMs);
                case "sequential-ttl":
                    return new Mode(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, ttlMs);
                default:
                    throw new IllegalArgumentException(word + " is no mode");
            }
        }
        switch (word) {
            case "persistent":
                return new Mode(CreateMode.PERSISTENT, -1);
            case "ephemeral":
                return new Mode(CreateMode.EPHEMERAL, -1);
            case "sequential":
                return new Mode(CreateMode.PERSISTENT_SEQUENTIAL, -1);
            case "ephemeral-sequential":
                return new Mode(CreateMode.EPHEMERAL_SEQUENTIAL, -1);
            case "container":
                return new Mode(CreateMode.CONTAINER, -1);
            default:
                throw new IllegalArgumentException(word + " is no mode");
        }
    }

    /** {@code scheme:id:permissions}, several with commas between them, or {@code none}. */
    private static List<ACL> acl(String text) {
        List<ACL> acl = new ArrayList<>();
        if (text.equals("none")) {
            return acl;
        }
        for (String entry : text.split(",", -1)) {
            int first = entry.indexOf(':');
            int last = entry.lastIndexOf(':');
            require(first >= 0 && first < last, entry + " is no entry of a list");
            int perms = 0;
            for (char letter : entry.substring(last + 1).toCharArray()) {
                perms |= permission(letter);
            }
            acl.add(new ACL(perms,
                new Id(entry.substring(0, first), entry.substring(first + 1, last))));
        }
        return acl;
    }

    private static int permission(char letter) {
        switch (letter) {
            case 'c':
                return Perms.CREATE;
            case 'd':
                return Perms.DELETE;
            case 'r':
                return Perms.READ;
            case 'w':
                return Perms.WRITE;
            case 'a':
                return Perms.ADMIN;
            default:
                throw new IllegalArgumentException(letter + " is no permission");
        }
    }
}
