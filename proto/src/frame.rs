//! Frames: a four-byte length, then as many bytes. The same in both directions, handshake included.

use crate::jute::{DecodeError, Record, Writer};
use crate::zxid::Xid;

/// Bytes of the length prefix.
pub const PREFIX_BYTES: usize = 4;

/// `jute.maxbuffer` unless configured: 1 048 575 bytes. A frame of exactly this length is accepted.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 0xf_ffff;

/// Bytes of a request header: after the handshake a shorter frame closes the connection.
pub const REQUEST_BYTES_MIN: usize = 8;

/// What the start of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// Not yet a whole frame. With `needed` bytes in the buffer (prefix included) the next call gets further.
    Incomplete {
        /// Length of the buffer with which it pays to try again.
        needed: usize,
    },
    /// A frame.
    Frame {
        /// Its content.
        body: &'a [u8],
        /// What follows it in the buffer.
        rest: &'a [u8],
    },
}

/// A length that no frame may have: the connection is closed without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame length {length} is not within 0..={frame_bytes_max}")]
pub struct BadLength {
    /// The four bytes as a number; a four-letter word shows up here.
    pub length: i32,
    /// The bound in force.
    pub frame_bytes_max: usize,
}

/// Looks at the start of `buffer`. The length is judged as soon as its four bytes are there.
///
/// # Errors
/// If the length is negative or above `frame_bytes_max`.
#[inline]
pub fn split(buffer: &[u8], frame_bytes_max: usize) -> Result<Split<'_>, BadLength> {
    let Some((prefix, tail)) = buffer.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(Split::Incomplete {
            needed: PREFIX_BYTES,
        });
    };
    let length = i32::from_be_bytes(*prefix);
    let count = match usize::try_from(length) {
        Ok(count) if count <= frame_bytes_max => count,
        _ => {
            return Err(BadLength {
                length,
                frame_bytes_max,
            });
        }
    };
    Ok(match tail.split_at_checked(count) {
        Some((body, rest)) => Split::Frame { body, rest },
        None => Split::Incomplete {
            needed: PREFIX_BYTES + count,
        },
    })
}

/// Goes through the frames of a buffer: everything that one read of a socket brought.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    frame_bytes_max: usize,
}

impl<'a> Frames<'a> {
    /// Starts at the beginning of `buffer`.
    pub fn new(buffer: &'a [u8], frame_bytes_max: usize) -> Frames<'a> {
        Frames {
            rest: buffer,
            frame_bytes_max,
        }
    }

    /// What has not been taken: an unfinished frame, to be kept in front of the next read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<&'a [u8], BadLength>;

    /// `None` when the rest is not a whole frame. After an error the rest stays where it was.
    fn next(&mut self) -> Option<Self::Item> {
        match split(self.rest, self.frame_bytes_max) {
            Ok(Split::Frame { body, rest }) => {
                self.rest = rest;
                Some(Ok(body))
            }
            Ok(Split::Incomplete { .. }) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Appends a frame whose content `fill` writes.
///
/// # Panics
/// If the content is 2 GiB or more.
pub fn write(out: &mut Vec<u8>, fill: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    let mut writer = Writer::new(out);
    writer.i32(0);
    fill(&mut writer);
    let count = writer.position() - start - PREFIX_BYTES;
    writer.patch_count(start, count);
}

/// Appends a frame that is one record: a handshake message.
pub fn write_record<'a>(out: &mut Vec<u8>, record: &impl Record<'a>) {
    write(out, |writer| record.encode(writer));
}

/// Appends the frame of a request.
pub fn write_request(out: &mut Vec<u8>, xid: Xid, request: &crate::Request<'_>) {
    write(out, |writer| {
        writer.i32(xid.0);
        writer.i32(request.op().to_i32());
        request.encode(writer);
    });
}

/// Appends the frame of a reply.
pub fn write_reply(out: &mut Vec<u8>, header: &crate::ReplyHeader, response: &crate::Response<'_>) {
    write(out, |writer| {
        header.encode(writer);
        response.encode(writer);
    });
}

/// Splits the content of a request frame into its header and the bytes of the operation.
///
/// # Errors
/// If it is shorter than a header.
pub fn split_request(body: &[u8]) -> Result<(crate::RequestHeader, &[u8]), DecodeError> {
    let mut reader = crate::Reader::new(body);
    let header = crate::RequestHeader::decode(&mut reader)?;
    Ok((header, reader.rest()))
}

/// Splits the content of a reply frame into its header and the bytes of the response.
///
/// # Errors
/// If it is shorter than a header.
pub fn split_reply(body: &[u8]) -> Result<(crate::ReplyHeader, &[u8]), DecodeError> {
    let mut reader = crate::Reader::new(body);
    let header = crate::ReplyHeader::decode(&mut reader)?;
    Ok((header, reader.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_judged_as_soon_as_they_are_known() {
        let max = FRAME_BYTES_MAX_DEFAULT;
        assert_eq!(max, 1_048_575);
        assert_eq!(split(&[], max), Ok(Split::Incomplete { needed: 4 }));
        assert_eq!(split(&[0, 0, 0], max), Ok(Split::Incomplete { needed: 4 }));
        let largest = Split::Incomplete { needed: 4 + max };
        assert_eq!(split(&[0, 0x0f, 0xff, 0xff], max), Ok(largest));
        for prefix in [
            *b"\x00\x10\x00\x00",
            *b"\xff\xff\xff\xff",
            *b"\x80\0\0\0",
            *b"ruok",
        ] {
            let length = i32::from_be_bytes(prefix);
            assert_eq!(
                split(&prefix, max),
                Err(BadLength {
                    length,
                    frame_bytes_max: max
                })
            );
        }
        let empty = Split::Frame {
            body: &[],
            rest: &[],
        };
        assert_eq!(split(&[0; 4], max), Ok(empty));
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames() {
        let bodies: [&[u8]; 4] = [b"one", b"", b"three", &[7; 300]];
        let mut stream = Vec::new();
        for body in bodies {
            write(&mut stream, |writer| writer.raw(body));
        }
        for piece in 1..=stream.len() {
            let (mut kept, mut seen) = (Vec::new(), Vec::new());
            for chunk in stream.chunks(piece) {
                kept.extend_from_slice(chunk);
                let mut frames = Frames::new(&kept, 300);
                seen.extend(frames.by_ref().map(|frame| frame.unwrap().to_vec()));
                kept = frames.rest().to_vec();
            }
            assert_eq!(seen, bodies);
            assert!(kept.is_empty());
        }
    }
}
