//! Apache's tree digest, version 2: the sum, modulo 2^64, of a CRC-32 for each node.
//!
//! ```text
//! node digest = CRC-32( path | data, nothing if null | czxid mzxid pzxid ctime mtime   8 bytes each
//!                                                    | version cversion aversion       4 bytes each
//!                                                    | ephemeralOwner                  8 bytes       )
//! ```
//!
//! All numbers big-endian, the root's path empty. Nodes below `/zookeeper/` do not count; `/zookeeper` does.
//! Every node keeps its own CRC. The difference that a change of the stat makes does not depend on what stands before
//! it, so that a parent at every child's creation costs 60 bytes of CRC and never its data again.

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

/// The digest of one node, its stat as stored. The root is "" here; "/" is taken for it.
pub fn node_digest(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    continued_digest(path_crc(path), data, stat)
}

/// CRC-32 over a path: what [`continued_digest`] continues.
pub(crate) fn path_crc(path: &str) -> u32 {
    let path = if path == "/" { "" } else { path };
    extend_crc(0, path.as_bytes())
}

/// As [`node_digest`], from [`path_crc`].
pub(crate) fn continued_digest(path_crc: u32, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    extend_crc(
        extend_crc(path_crc, data.unwrap_or_default()),
        &stat_bytes(stat),
    )
}

/// The digest of a node that had `digest` when its stat was `before`, and has nothing else changed.
pub(crate) fn restated(digest: u32, before: &StatPersisted, after: &StatPersisted) -> u32 {
    let mut difference = stat_bytes(before);
    for (byte, after) in difference.iter_mut().zip(stat_bytes(after)) {
        *byte ^= after;
    }
    // A CRC is linear but for the ones that it begins and ends with.
    digest ^ !extend_crc(!0, &difference)
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

/// Bytes of a stat as the digest takes it.
const STAT_BYTES: usize = 60;

#[inline]
fn stat_bytes(stat: &StatPersisted) -> [u8; STAT_BYTES] {
    let mut bytes = [0; STAT_BYTES];
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
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironkeeper_proto::Zxid;

    #[test]
    fn a_fresh_tree_has_the_digest_that_apache_computes() {
        let stat = StatPersisted::default();
        let nodes = ["", "/zookeeper"];
        let sum: u64 = nodes
            .iter()
            .map(|path| u64::from(node_digest(path, None, &stat)))
            .sum();
        assert_eq!(sum, 1_371_985_504);
    }

    #[test]
    fn a_crc_in_parts_is_the_crc_of_the_whole() {
        assert_eq!(extend_crc(0, b"123456789"), 0xcbf4_3926);
        let stat = stat();
        let whole = [&b"/node"[..], b"data", &stat_bytes(&stat)].concat();
        assert_eq!(
            node_digest("/node", Some(b"data"), &stat),
            extend_crc(0, &whole)
        );
        assert_eq!(
            node_digest("/", None, &stat),
            node_digest("", Some(b""), &stat)
        );
    }

    #[test]
    fn a_new_stat_moves_the_digest_to_that_of_the_whole() {
        let (mut before, after) = (StatPersisted::default(), stat());
        for data in [None, Some(&[9; 700][..])] {
            let digest = node_digest("/node", data, &before);
            assert_eq!(
                restated(digest, &before, &after),
                node_digest("/node", data, &after)
            );
            before.ephemeral_owner = i64::MIN;
        }
    }

    fn stat() -> StatPersisted {
        StatPersisted {
            czxid: Zxid(0x1_0000_0003),
            mzxid: Zxid(-1),
            ctime: 1_700_000_000_000,
            mtime: i64::MAX,
            version: 3,
            cversion: -1,
            aversion: i32::MIN,
            ephemeral_owner: 0x0100_0000_0000_0001,
            pzxid: Zxid(77),
        }
    }

    #[test]
    fn what_does_not_count() {
        assert!(counts("") && counts("/zookeeper") && counts("/zookeeper2/a"));
        assert!(!counts("/zookeeper/quota") && !counts("/zookeeper/a/b"));
    }
}
