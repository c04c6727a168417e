package conformance;

import java.net.InetSocketAddress;
import java.util.Collection;
import org.apache.zookeeper.client.ConnectStringParser;
import org.apache.zookeeper.client.HostProvider;
import org.apache.zookeeper.client.StaticHostProvider;

/** Apache's list of addresses without its pause of a second once all have been tried. */
final class Hosts implements HostProvider {
    private final StaticHostProvider list;

    Hosts(String connect) {
        list = new StaticHostProvider(new ConnectStringParser(connect).getServerAddresses());
    }

    @Override
    public int size() {
        return list.size();
    }

    @Override
    public InetSocketAddress next(long pauseMs) {
        return list.next(0);
    }

    @Override
    public void onConnected() {
        list.onConnected();
    }

    @Override
    public boolean updateServerList(Collection<InetSocketAddress> addresses,
            InetSocketAddress current) {
        return list.updateServerList(addresses, current);
    }
}
