//! Whether a whole frame is the one that belongs here, and words for what stands there instead.

use ironkeeper_proto::Zxid;

use crate::log::format::{self, Foreign, FrameHeader, Sight};

pub(super) fn check_records(
    body: &[u8],
    header: &FrameHeader,
    last: Zxid,
    linked: bool,
) -> Result<Zxid, String> {
    if header.flags & format::FRAME_COMPRESSION_MASK != 0 {
        return Err("a compressed frame, which this version does not write".to_owned());
    }
    let mut previous = last;
    let mut count = 0u32;
    let mut first = None;
    for record in format::records(body) {
        let (zxid, _) = record
            .map_err(|what| format!("record {count} of frame {}: {what}", header.sequence))?;
        let chained = linked || first.is_some();
        let good = if chained {
            format::follows(previous, zxid)
        } else {
            zxid > previous
        };
        if !good {
            return Err(format!(
                "zxid {:#x} does not follow {:#x}",
                zxid.0, previous.0
            ));
        }
        first.get_or_insert(zxid);
        previous = zxid;
        count += 1;
    }
    let agrees = count == header.records
        && first.unwrap_or(Zxid(0)) == header.first_zxid
        && header.last_zxid == if count == 0 { Zxid(0) } else { previous };
    match agrees {
        true => Ok(previous),
        false => Err(format!(
            "the records of frame {} are not those its header names",
            header.sequence
        )),
    }
}

/// What was expected and found, and where inside the frame.
pub(super) fn describe(sight: &Sight, unreadable: bool, expected: u64) -> (String, u64) {
    match sight {
        Sight::Blank => (format!("expected frame {expected}, found a blank block"), 0),
        Sight::Foreign(Foreign::Stale, header) => (
            format!(
                "expected frame {expected}, found a stale frame {} of segment {}",
                header.sequence, header.segment
            ),
            0,
        ),
        Sight::Foreign(Foreign::Misdirected, header) => (
            format!(
                "expected frame {expected}, found a misdirected frame {} that belongs in block {} of segment {}",
                header.sequence, header.block_index, header.segment
            ),
            0,
        ),
        Sight::Damaged(damage) => {
            let what = if unreadable {
                "a sector that cannot be read"
            } else {
                damage.what
            };
            (
                format!(
                    "frame {expected}: {what} does not match ({} zeroed and {} changed units of 512 bytes)",
                    damage.units_zero, damage.units_wrong
                ),
                damage.offset as u64,
            )
        }
        Sight::Frame(..) | Sight::Longer(_) => (
            format!("frame {expected} is cut off by the end of the file"),
            0,
        ),
    }
}
