//! Makes the checksums of changed files right, and nothing else, as far as lengths lead inside the file.

use crc32c::{crc32c, crc32c_append};
use ironkeeper_storage::format::{
    BLOCK_BYTES, FRAME_BLOCK_FIRST, FRAME_HEADER_BYTES, FrameHeader, Identity, Link, Sight,
    body_offset, look, seal_frame,
};
use ironkeeper_storage::snapshot::format::{BLOCK_HEADER_BYTES, HEADER_BYTES, TRAILER_BYTES};

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

/// A block of which the last four bytes are the checksum of the others.
fn block(bytes: &mut [u8]) -> u32 {
    let at = bytes.len() - 4;
    let sum = crc32c(&bytes[..at]);
    put(bytes, at, sum);
    sum
}

/// Both copies of META or of a segment's header: the second becomes the first, since two that differ say nothing.
pub(super) fn copies(bytes: &mut [u8]) {
    let Some((first, rest)) = bytes.split_first_chunk_mut::<BLOCK_BYTES>() else {
        return;
    };
    block(first);
    if let Some(second) = rest.first_chunk_mut() {
        *second = *first;
    }
}

/// Both headers and every frame, each linked to the one before it.
pub(super) fn segment(bytes: &mut [u8]) {
    copies(bytes);
    let mut link: Option<Link> = None;
    let mut at = FRAME_BLOCK_FIRST as usize * BLOCK_BYTES;
    while at + BLOCK_BYTES <= bytes.len() {
        let rest = &mut bytes[at..];
        let blocks = match frame_header(rest) {
            Some(mut header) => {
                header.link = link.unwrap_or(header.link);
                let blocks = header.blocks as usize;
                link = Some(seal_frame(&mut rest[..blocks * BLOCK_BYTES], &header));
                blocks
            }
            None => 1,
        };
        at += blocks * BLOCK_BYTES;
    }
}

/// The header that stands here, its own checksum made right, if its lengths are those of a frame.
fn frame_header(bytes: &mut [u8]) -> Option<FrameHeader> {
    if bytes[..4] != ironkeeper_storage::format::FRAME_MAGIC {
        return None;
    }
    let sum = crc32c(&bytes[8..FRAME_HEADER_BYTES]);
    put(bytes, 4, sum);
    // Of no segment: whatever it names, the header comes back.
    let nobody = Identity {
        segment: u64::MAX,
        nonce: [0xff; 16],
        blocks: u32::MAX,
    };
    let (Sight::Foreign(_, header) | Sight::Frame(header, _)) = look(bytes, 0, &nobody) else {
        return None;
    };
    let blocks = header.blocks as usize;
    let fits = blocks > 0
        && blocks <= bytes.len() / BLOCK_BYTES
        && body_offset(blocks) + header.body_stored as usize <= blocks * BLOCK_BYTES;
    fits.then_some(header)
}

/// Header, stored bytes and header of each block, footer, trailer.
pub(super) fn snapshot(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES + TRAILER_BYTES {
        return;
    }
    let length = bytes.len() as u64;
    let header_crc = block(&mut bytes[..HEADER_BYTES]);
    let (front, trailer) = bytes.split_at_mut(bytes.len() - TRAILER_BYTES);
    let footer = u64::from_le_bytes(*trailer.first_chunk().unwrap());
    let Some(footer) = usize::try_from(footer)
        .ok()
        .filter(|at| (HEADER_BYTES..front.len().saturating_sub(76)).contains(at))
    else {
        return;
    };
    let (blocks, footer) = front[HEADER_BYTES..].split_at_mut(footer - HEADER_BYTES);
    let sums = snapshot_blocks(blocks);
    let mut chain = crc32c(&header_crc.to_le_bytes());
    let mut at = 72;
    for index in 0..u32_at(footer, 4) {
        if at + 36 > footer.len() {
            break;
        }
        if let Some(sum) = sums.get(index as usize) {
            put(footer, at + 28, *sum);
        }
        chain = crc32c_append(chain, &footer[at + 28..at + 32]);
        at += 36 + usize::from(u16::from_le_bytes([footer[at + 34], footer[at + 35]]));
    }
    let footer_crc = block(footer);
    trailer[8..16].copy_from_slice(&(footer.len() as u64).to_le_bytes());
    put(trailer, 16, footer_crc);
    put(trailer, 20, chain);
    trailer[32..40].copy_from_slice(&length.to_le_bytes());
    let sum = crc32c(&trailer[..52]);
    put(trailer, 52, sum);
}

/// The header checksums of the blocks that stand one behind the other here.
fn snapshot_blocks(mut rest: &mut [u8]) -> Vec<u32> {
    let mut sums = Vec::new();
    while rest.len() >= BLOCK_HEADER_BYTES {
        let stored = u32_at(rest, 28) as usize;
        let end = BLOCK_HEADER_BYTES + stored;
        if end > rest.len() {
            break;
        }
        let sum = crc32c(&rest[BLOCK_HEADER_BYTES..end]);
        put(rest, 32, sum);
        sums.push(block(&mut rest[..BLOCK_HEADER_BYTES]));
        let next = end.next_multiple_of(8).min(rest.len());
        rest = &mut rest[next..];
    }
    sums
}
