//! Apache's tree digest, version 2: the sum, modulo 2^64, of a CRC-32 for each node.
//!
//! ```text
//! node digest = CRC-32( path | data, nothing if null | czxid mzxid pzxid ctime mtime   8 bytes each
//!                                                    | version cversion aversion       4 bytes each
//!                                                    | ephemeralOwner                  8 bytes       )
//! ```
//!
//! All numbers big-endian, the root's path empty. Nodes below `/zookeeper/` do not count; `/zookeeper` does.
//! A CRC can be continued, so a node keeps the CRC over path and data: a change of its stat, as a parent's at
//! every child's creation, costs 60 bytes of CRC and never the data again.

use ironkeeper_proto::StatPersisted;

/// The version that txns carry beside the digest.
pub const DIGEST_VERSION: i32 = 2;

/// Prefix of the paths that the digest leaves out.
const EXCLUDED: &str = "/zookeeper/";

/// Whether a node counts. Quota figures below `/zookeeper` are each server's own.
#[inline]
pub fn counts(path: &str) -> bool {
    !path.starts_with(EXCLUDED)
}

/// CRC-32 over path and data: what [`node_digest`] continues. The root is "" here; "/" is taken for it.
#[inline]
pub fn content_crc(path: &str, data: Option<&[u8]>) -> u32 {
    let path = if path == "/" { "" } else { path };
    extend_crc(extend_crc(0, path.as_bytes()), data.unwrap_or_default())
}

/// A CRC-32 continued over more bytes.
#[inline]
pub(crate) fn extend_crc(crc: u32, bytes: &[u8]) -> u32 {
    if bytes.is_empty() {
        return crc;
    }
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(bytes);
    hasher.finalize()
}

/// The digest of one node from its [`content_crc`] and its stat as stored.
#[inline]
pub fn node_digest(content_crc: u32, stat: &StatPersisted) -> u32 {
    let mut bytes = [0; 60];
    let longs = [
        stat.czxid.0,
        stat.mzxid.0,
        stat.pzxid.0,
        stat.ctime,
        stat.mtime,
    ];
    for (to, long) in bytes[..40].chunks_exact_mut(8).zip(longs) {
        to.copy_from_slice(&long.to_be_bytes());
    }
    for (to, int) in
        bytes[40..52]
            .chunks_exact_mut(4)
            .zip([stat.version, stat.cversion, stat.aversion])
    {
        to.copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    extend_crc(content_crc, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_tree_has_the_digest_that_apache_computes() {
        let stat = StatPersisted::default();
        let nodes = ["", "/zookeeper"];
        let sum: u64 = nodes
            .iter()
            .map(|path| u64::from(node_digest(content_crc(path, None), &stat)))
            .sum();
        assert_eq!(sum, 1_371_985_504);
    }

    #[test]
    fn a_crc_in_parts_is_the_crc_of_the_whole() {
        assert_eq!(extend_crc(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(
            content_crc("/1234", Some(b"56789")),
            extend_crc(0, b"/123456789")
        );
        assert_eq!(content_crc("/", None), content_crc("", Some(b"")));
    }

    #[test]
    fn what_does_not_count() {
        assert!(counts("") && counts("/zookeeper") && counts("/zookeeper2/a"));
        assert!(!counts("/zookeeper/quota") && !counts("/zookeeper/a/b"));
    }
}
