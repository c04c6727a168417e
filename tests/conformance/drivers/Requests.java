package conformance;

import java.nio.ByteBuffer;
import java.util.List;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.server.Request;

/** Reads the names of requests from the bytes of one connection. */
final class Requests {
    /** Length, xid and type. */
    private static final int HEAD_BYTES = 12;

    private final List<String> names;
    private final ByteBuffer head = ByteBuffer.allocate(HEAD_BYTES);
    private long skip;
    private boolean connected;

    Requests(List<String> names) {
        this.names = names;
    }

    void read(byte[] bytes, int count) {
        for (int at = 0; at < count; at++) {
            if (skip > 0) {
                skip--;
                continue;
            }
            head.put(bytes[at]);
            if (!head.hasRemaining()) {
                head.clear();
                note(head.getInt(0), head.getInt(8));
            }
        }
    }

    private void note(int length, int type) {
        skip = length - (HEAD_BYTES - 4);
        String name = connected ? Request.op2String(type) : "connect";
        boolean isPing = connected && type == OpCode.ping;
        connected = true;
        if (!isPing) {
            synchronized (names) {
                names.add(name);
            }
        }
    }
}
