//! The two header copies at the front of a segment file.

use std::path::Path;

use super::window::Window;
use crate::error::{Result, StorageError};
use crate::io::{AlignedBuf, Disk};
use crate::log::format::{self, BLOCK_BYTES, FRAME_BLOCK_FIRST, HeaderFault, SegmentHeader};

/// What the two header copies of a segment file say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Headers {
    /// At least one whole copy; the damaged one, if any.
    Good(SegmentHeader, Option<u8>),
    /// Both copies blank, or torn by an interrupted activation, and nothing behind them: a spare.
    Spare,
    /// Neither copy can be used: what is wrong with each.
    Bad(String),
}

/// Reads the headers of a segment file.
pub(crate) fn read_headers(disk: &dyn Disk, path: &Path) -> Result<Headers> {
    let mut window = Window::open(disk, path)?;
    let mut copies = Vec::new();
    for copy in 0..2u64 {
        // Only what is asked for: a megabyte a segment would make an open slow.
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        copies.push(
            match window.file.read_at(&mut buf, copy * BLOCK_BYTES as u64) {
                Ok(count) => SegmentHeader::decode(buf.get(..count).unwrap_or(&[])),
                Err(_) => Err(HeaderFault::Wrong("cannot be read")),
            },
        );
    }
    let mut copies = copies.into_iter();
    let (first, second) = (copies.next(), copies.next());
    match (first, second) {
        (Some(Err(HeaderFault::TooNew(found))), _) | (_, Some(Err(HeaderFault::TooNew(found)))) => {
            Err(StorageError::TooNew {
                path: path.to_owned(),
                found,
                supported: format::VERSION_MAJOR,
            })
        }
        (Some(Ok(a)), Some(Ok(b))) if a != b => {
            Ok(Headers::Bad("both copies are whole and differ".to_owned()))
        }
        (Some(Ok(a)), Some(b)) => Ok(Headers::Good(a, b.is_err().then_some(1))),
        (Some(Err(_)), Some(Ok(b))) => Ok(Headers::Good(b, Some(0))),
        (Some(Err(a)), Some(Err(b))) => {
            let incomplete =
                |fault: &HeaderFault| matches!(fault, HeaderFault::Blank | HeaderFault::Torn);
            // No frame is written before the header is durable, so an unfinished activation has
            // nothing behind it. Blank headers before frames are damage, not a spare.
            if incomplete(&a)
                && incomplete(&b)
                && is_zero_from(&mut window, u64::from(FRAME_BLOCK_FIRST))?
            {
                return Ok(Headers::Spare);
            }
            Ok(Headers::Bad(format!(
                "copy 1: {}; copy 2: {}",
                fault_name(&a),
                fault_name(&b)
            )))
        }
        _ => Ok(Headers::Bad("unread".to_owned())),
    }
}

fn fault_name(fault: &HeaderFault) -> &'static str {
    match fault {
        HeaderFault::Blank => "blank",
        HeaderFault::Torn => "torn",
        HeaderFault::TooNew(_) => "too new",
        HeaderFault::Wrong(what) => what,
    }
}

fn is_zero_from(window: &mut Window, block: u64) -> Result<bool> {
    let mut offset = block * BLOCK_BYTES as u64;
    while offset < window.len() {
        let bytes = window.get(offset, BLOCK_BYTES)?;
        if bytes.is_empty() {
            break;
        }
        if !format::is_zero(bytes) {
            return Ok(false);
        }
        offset = (offset + bytes.len() as u64).next_multiple_of(BLOCK_BYTES as u64);
    }
    Ok(true)
}
