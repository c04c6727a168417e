package conformance;

import static conformance.Harness.DEADLINE_S;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Stands between a client and the server; can cut the wire, hold it, and say what went over it. */
final class Proxy {
    private final InetSocketAddress target;
    private final int port;
    private final List<Socket> sockets = new ArrayList<>();
    private final List<String> requests = new ArrayList<>();
    private boolean open = true;
    /** Connections since the last cut. */
    private int accepted;
    private boolean requestsHeld;
    private boolean repliesHeld;

    Proxy(String server) throws IOException {
        int colon = server.lastIndexOf(':');
        target = new InetSocketAddress(
            InetAddress.getLoopbackAddress(), Integer.parseInt(server.substring(colon + 1)));
        ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        port = listener.getLocalPort();
        thread(() -> accept(listener));
    }

    String address() {
        return "127.0.0.1:" + port;
    }

    /** Ends all connections and refuses new ones. */
    synchronized void cut() throws IOException {
        refuse();
        for (Socket socket : sockets) {
            socket.close();
        }
        sockets.clear();
        accepted = 0;
    }

    /**
     * Refuses new connections; those that are there go on. Refused ones are accepted and ended: the
     * port must stay ours.
     */
    synchronized void refuse() {
        open = false;
    }

    /** Accepts connections again. */
    synchronized void mend() {
        open = true;
    }

    /** Keeps back what the client sends. */
    synchronized void holdRequests() {
        requestsHeld = true;
    }

    /** Keeps back what the server sends. */
    synchronized void holdReplies() {
        repliesHeld = true;
    }

    /** Keeps back nothing more. */
    synchronized void release() {
        requestsHeld = false;
        repliesHeld = false;
        notifyAll();
    }

    /** Waits until a client has connected since the last cut. */
    synchronized void awaitConnection() throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
        while (accepted == 0) {
            long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
            if (left <= 0) {
                throw new IOException("no connection until the deadline");
            }
            wait(left);
        }
    }

    /** Takes the names of the requests that the server was given, without pings. */
    List<String> takeRequests() {
        synchronized (requests) {
            List<String> copy = new ArrayList<>(requests);
            requests.clear();
            return copy;
        }
    }

    private void accept(ServerSocket listener) throws IOException {
        while (true) {
            Socket client = listener.accept();
            client.setTcpNoDelay(true);
            synchronized (this) {
                Socket server = open ? connect() : null;
                if (server == null) {
                    client.close();
                    continue;
                }
                sockets.add(client);
                sockets.add(server);
                accepted++;
                notifyAll();
                thread(() -> copy(client, server, new Requests(requests)));
                thread(() -> copy(server, client, null));
            }
        }
    }

    /** Null where nobody listens: then the client finds it as it would without a proxy. */
    private Socket connect() throws IOException {
        try {
            Socket server = new Socket(target.getAddress(), target.getPort());
            server.setTcpNoDelay(true);
            return server;
        } catch (ConnectException e) {
            return null;
        }
    }

    private void copy(Socket from, Socket to, Requests seen)
            throws IOException, InterruptedException {
        byte[] buffer = new byte[65536];
        try (InputStream in = from.getInputStream(); OutputStream out = to.getOutputStream()) {
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                synchronized (this) {
                    while (seen == null ? repliesHeld : requestsHeld) {
                        wait();
                    }
                }
                if (seen != null) {
                    // Before the server can answer, so that a client that has its answer finds it.
                    seen.read(buffer, count);
                }
                out.write(buffer, 0, count);
                out.flush();
            }
        }
    }

    private interface Work {
        void run() throws IOException, InterruptedException;
    }

    private static void thread(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (IOException | InterruptedException e) {
                // The wire was cut.
            }
        });
        thread.setDaemon(true);
        thread.start();
    }
}
