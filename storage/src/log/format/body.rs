//! What a frame holds: records, or the word of a control frame.

use ironkeeper_proto::Zxid;

use super::bytes::{i64_at, put, u32_at, u64_at};
use super::{FrameHeader, RECORD_PREFIX_BYTES, RECORD_ZXID_OFFSET, body_offset};

/// The body of a whole frame.
#[must_use]
pub fn body<'a>(frame: &'a [u8], header: &FrameHeader) -> &'a [u8] {
    let from = body_offset(header.blocks as usize);
    frame
        .get(from..from + header.body_stored as usize)
        .unwrap_or(&[])
}

/// The records of a DATA body, with their zxids; an error at the first that is not one.
pub fn records(mut body: &[u8]) -> impl Iterator<Item = Result<(Zxid, &[u8]), &'static str>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let next = body
            .split_first_chunk::<RECORD_PREFIX_BYTES>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let Some((record, rest)) = next else {
            body = &[];
            return Some(Err("record length"));
        };
        body = rest;
        Some(
            record_zxid(record)
                .map(|zxid| (zxid, record))
                .ok_or("record too short"),
        )
    })
}

/// The zxid inside a record.
#[must_use]
pub fn record_zxid(record: &[u8]) -> Option<Zxid> {
    let bytes = record.get(RECORD_ZXID_OFFSET..)?.first_chunk::<8>()?;
    Some(Zxid(i64::from_be_bytes(*bytes)))
}

/// Whether `next` continues a log that ends with `last`: the next number of the epoch, or the first
/// of a higher one. (A lone server that uses up an epoch runs on into the next: also `last + 1`.)
#[must_use]
pub fn follows(last: Zxid, next: Zxid) -> bool {
    next == last.next() && next > last || (next.epoch() > last.epoch() && next.counter() == 1)
}

/// The body of a TRUNCATE frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateBody {
    /// Records above it are dead.
    pub to: Zxid,
    /// Why, for the reader of a dump.
    pub reason: u32,
    /// The leader's epoch.
    pub epoch: u32,
}

impl TruncateBody {
    /// 16 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        put(&mut bytes, 0, &self.to.0.to_le_bytes());
        put(&mut bytes, 8, &self.reason.to_le_bytes());
        put(&mut bytes, 12, &self.epoch.to_le_bytes());
        bytes
    }

    /// `None` if it is not one.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<TruncateBody> {
        let body = body.first_chunk::<16>()?;
        let to = Zxid(i64_at(body, 0));
        (to >= Zxid::ZERO).then(|| TruncateBody {
            to,
            reason: u32_at(body, 8),
            epoch: u32_at(body, 12),
        })
    }
}

/// The body of a BASE frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseBody {
    /// The log restarts above it.
    pub zxid: Zxid,
    /// The snapshot that covers it: its zxid.
    pub snapshot: Zxid,
    /// The tree's digest there, 0 if unknown.
    pub digest: u64,
}

impl BaseBody {
    /// 24 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        put(&mut bytes, 0, &self.zxid.0.to_le_bytes());
        put(&mut bytes, 8, &self.snapshot.0.to_le_bytes());
        put(&mut bytes, 16, &self.digest.to_le_bytes());
        bytes
    }

    /// `None` if it is not one.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<BaseBody> {
        let body = body.first_chunk::<24>()?;
        let zxid = Zxid(i64_at(body, 0));
        (zxid >= Zxid::ZERO).then(|| BaseBody {
            zxid,
            snapshot: Zxid(i64_at(body, 8)),
            digest: u64_at(body, 16),
        })
    }
}
