//! The words about connections: the list in `stat`, `cons`, and their part of `dump`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use ironkeeper_replica::ConnId;

use super::{Moment, write_buckets};
use crate::connection::Shared;
use crate::connection::figures::Reading;
use crate::state::Server;

/// One line a connection, short in `stat` and long in `cons`, without the end of the line.
pub(super) fn line(out: &mut String, conn: &Shared, asker: ConnId, is_brief: bool) {
    let session = conn.session().map_or(0, |session| session.0);
    let reading = conn.figures.read();
    // Who asks is not polled any more.
    let interest = if conn.id == asker {
        0
    } else {
        reading.interest
    };
    write_line(out, conn.peer, session, interest, &reading, is_brief);
}

fn write_line(
    out: &mut String,
    peer: SocketAddr,
    session: i64,
    interest: u8,
    reading: &Reading,
    is_brief: bool,
) {
    let Reading {
        queued,
        received,
        sent,
        ..
    } = reading;
    let _ = write!(
        out,
        " {}[{interest:x}](queued={queued},recved={received},sent={sent}",
        Peer(peer)
    );
    if !is_brief && session != 0 {
        let _ = write!(
            out,
            ",sid=0x{session:x},lop={},est={},to={}",
            reading.last_op, reading.established_ms, reading.timeout_ms
        );
        if reading.last_cxid >= 0 {
            let _ = write!(out, ",lcxid=0x{:x}", reading.last_cxid);
        }
        let _ = write!(
            out,
            ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
            reading.last_zxid,
            reading.last_response_ms,
            reading.last_latency_ms,
            reading.latency_min_ms,
            reading.latency_avg_ms,
            reading.latency_max_ms
        );
    }
    out.push(')');
}

pub(super) fn cons(server: &Server, asker: ConnId) -> String {
    let mut out = String::new();
    for conn in server.connections() {
        line(&mut out, &conn, asker, false);
        out.push('\n');
    }
    out.push('\n');
    out
}

/// When each connection is closed for its silence, as Apache keeps it: in buckets as long as a
/// connection may go without a session.
pub(super) fn expiry(server: &Server, out: &mut String) {
    let bucket = server.options.sessionless_timeout.as_millis();
    let bucket_ms = u64::try_from(bucket).unwrap_or(u64::MAX).max(1);
    let mut buckets: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for conn in server.connections() {
        let reading = conn.figures.read();
        let session = conn.session().map_or(0, |session| session.0);
        let timeout_ms = match session {
            0 => bucket_ms,
            _ => u64::from(reading.timeout_ms),
        };
        let due_ms = (reading.heard_ms.saturating_add(timeout_ms) / bucket_ms + 1) * bucket_ms;
        let text = format!("ip: {} sessionId: 0x{session:x}", Peer(conn.peer));
        buckets.entry(due_ms).or_default().push(text);
    }
    out.push_str("Connections ");
    write_buckets(out, &Moment::now(server), &buckets);
}

/// An address as Java prints it.
struct Peer(SocketAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip() {
            IpAddr::V4(ip) => write!(f, "/{ip}:{}", self.0.port()),
            IpAddr::V6(ip) => {
                f.write_str("/[")?;
                for (at, group) in ip.segments().into_iter().enumerate() {
                    let colon = if at == 0 { "" } else { ":" };
                    write!(f, "{colon}{group:x}")?;
                }
                write!(f, "]:{}", self.0.port())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::figures::Figures;

    #[test]
    fn addresses_look_like_javas() {
        let show = |text: &str| Peer(text.parse().unwrap()).to_string();
        assert_eq!(show("127.0.0.1:45888"), "/127.0.0.1:45888");
        assert_eq!(show("[::1]:45888"), "/[0:0:0:0:0:0:0:1]:45888");
        assert_eq!(show("[2001:db8::ff]:1"), "/[2001:db8:0:0:0:0:0:ff]:1");
    }

    #[test]
    fn a_connection_is_one_line() {
        let peer = "127.0.0.1:45888".parse().unwrap();
        let reading = Reading {
            established_ms: 1_795_226_213_829,
            received: 7,
            sent: 6,
            queued: 1,
            interest: 5,
            timeout_ms: 30_000,
            heard_ms: 0,
            last_op: "ADDW",
            last_cxid: 5,
            last_zxid: 0xeb,
            last_response_ms: 1_127_657,
            last_latency_ms: 0,
            latency_min_ms: 0,
            latency_avg_ms: 1,
            latency_max_ms: 7,
        };
        let show = |session, reading: &Reading, is_brief| {
            let mut out = String::new();
            write_line(&mut out, peer, session, reading.interest, reading, is_brief);
            out
        };
        let brief = " /127.0.0.1:45888[5](queued=1,recved=7,sent=6";
        let full = format!(
            "{brief},sid=0x100000c9ec30057,lop=ADDW,est=1795226213829,to=30000,lcxid=0x5,\
             lzxid=0xeb,lresp=1127657,llat=0,minlat=0,avglat=1,maxlat=7)"
        );
        assert_eq!(show(0x0100_000c_9ec3_0057, &reading, false), full);
        assert_eq!(
            show(0x0100_000c_9ec3_0057, &reading, true),
            format!("{brief})")
        );
        assert_eq!(show(0, &reading, false), format!("{brief})"));
        let reset = Reading {
            last_cxid: -1,
            last_zxid: -1,
            ..reading
        };
        let text = show(-2, &reset, false);
        assert!(text.contains(",sid=0xfffffffffffffffe,"), "{text}");
        assert!(!text.contains("lcxid"), "{text}");
        assert!(text.contains(",lzxid=0xffffffffffffffff,"), "{text}");
    }

    #[test]
    fn a_new_connection_has_no_operation_yet() {
        let reading = Figures::new(0).read();
        assert_eq!(reading.last_op, "null");
        assert_eq!((reading.last_cxid, reading.last_zxid), (0, 0));
    }
}
