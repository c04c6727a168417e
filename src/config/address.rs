//! Host names and ports to bind to, read as Java reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// Resolves what `clientPortAddress` or a `;host:port` part says.
///
/// Either wildcard means every address of both families, as in Apache, where the Java machine
/// binds one dual-stack socket for both; `ipv4_only` is `java.net.preferIPv4Stack`. Of a name's
/// addresses the first IPv4 one is taken, as Java does.
///
/// # Errors
/// A sentence, where the name has no address.
pub(super) fn resolve(host: &str, port: u16, ipv4_only: bool) -> Result<SocketAddr, String> {
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(if ip.is_unspecified() {
            wildcard(port, ipv4_only)
        } else {
            (ip, port).into()
        });
    }
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("UnknownHostException: {host}: {error}"))?
        .collect();
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .copied()
        .ok_or_else(|| format!("UnknownHostException: {host}: it has no address"))
}

/// Every address: of both families where the system has IPv6.
pub(super) fn wildcard(port: u16, ipv4_only: bool) -> SocketAddr {
    let dual_stack = !ipv4_only && UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    if dual_stack {
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, port).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |host: &str, expected: &str| {
            assert_eq!(
                resolve(host, 7, false),
                Ok(expected.parse().unwrap()),
                "{host}"
            );
        };
        check("127.0.0.1", "127.0.0.1:7");
        check("[::1]", "[::1]:7");
        check("::1", "[::1]:7");
        check("localhost", "127.0.0.1:7");
        assert_eq!(
            resolve("0.0.0.0", 7, true),
            Ok("0.0.0.0:7".parse().unwrap())
        );
        assert_eq!(resolve("0.0.0.0", 7, false), Ok(wildcard(7, false)));
        assert!(wildcard(7, false).ip().is_unspecified());
    }
}
