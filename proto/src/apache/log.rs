//! Entries of a transaction log.
//!
//! ```text
//! 0           8       12           12+N   13+N
//! | checksum  | N     | payload ... | 0x42 |     long, int, N bytes, byte; then the next entry
//! ```
//!
//! The checksum covers the payload alone: neither the length nor the end mark. N = 0 begins the padding.

use super::adler32;
use crate::jute::{Reader, Writer};

/// `ZKLG`.
pub const LOG_MAGIC: i32 = 0x5a4b_4c47;
/// After every payload; a payload without it was not written to its end.
pub const END_MARK: u8 = 0x42;

/// An entry as it lies in the file; nothing of it has been judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Where it begins.
    pub offset: usize,
    /// The stored checksum.
    pub checksum: i64,
    /// Header, body and digest of a txn: a record for [`crate::decode_record`].
    pub payload: &'a [u8],
    /// The byte after the payload: [`END_MARK`], or the entry is unfinished.
    pub end_mark: u8,
}

impl LogEntry<'_> {
    /// Whether the payload is what the writer summed.
    pub fn is_checksum_right(&self) -> bool {
        self.checksum == adler32(self.payload)
    }

    /// Whether the entry was written to its end.
    pub fn is_finished(&self) -> bool {
        self.end_mark == END_MARK
    }

    /// Where the next entry begins.
    pub fn next_offset(&self) -> usize {
        self.offset + 13 + self.payload.len()
    }
}

/// Why there is no entry at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStop {
    /// The file ends here, between two entries.
    EndOfFile,
    /// The length is 0: nothing was written from here on, or what follows is no longer a log.
    Padding,
    /// The file ends inside the entry, of which `missing` bytes are not there (as far as its length is known).
    Short {
        /// Bytes missing.
        missing: usize,
    },
    /// A length below zero.
    BadLength {
        /// The length.
        length: i32,
    },
}

/// Looks at the entry that begins at `offset` of a log's bytes, file header included.
///
/// # Errors
/// If no whole entry is there.
pub fn read_entry(file: &[u8], offset: usize) -> Result<LogEntry<'_>, LogStop> {
    let tail = file.get(offset..).unwrap_or_default();
    if tail.is_empty() {
        return Err(LogStop::EndOfFile);
    }
    let mut reader = Reader::new(tail);
    let short = |needed: usize| LogStop::Short {
        missing: needed - tail.len(),
    };
    let checksum = reader.i64().map_err(|_| short(12))?;
    let length = reader.i32().map_err(|_| short(12))?;
    if length == 0 {
        return Err(LogStop::Padding);
    }
    let count = usize::try_from(length).map_err(|_| LogStop::BadLength { length })?;
    let payload = reader.bytes(count).map_err(|_| short(count + 13))?;
    let end_mark = reader.u8().map_err(|_| short(count + 13))?;
    Ok(LogEntry {
        offset,
        checksum,
        payload,
        end_mark,
    })
}

/// Appends an entry.
pub fn encode_entry(out: &mut Vec<u8>, payload: &[u8]) {
    let mut writer = Writer::new(out);
    writer.i64(adler32(payload));
    writer.buffer(Some(payload));
    writer.u8(END_MARK);
}

/// The entries of a log, one after the other. It goes on behind an entry with a wrong checksum (its length may be
/// right all the same) and ends with the reason why there is no further one.
#[derive(Clone, Debug)]
pub struct LogEntries<'a> {
    file: &'a [u8],
    offset: Option<usize>,
}

impl<'a> LogEntries<'a> {
    /// Starts at `offset` of a log's bytes; the first entry is behind the file header.
    pub fn new(file: &'a [u8], offset: usize) -> LogEntries<'a> {
        LogEntries {
            file,
            offset: Some(offset),
        }
    }
}

impl<'a> Iterator for LogEntries<'a> {
    type Item = Result<LogEntry<'a>, LogStop>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = read_entry(self.file, self.offset?);
        self.offset = entry.ok().map(|entry| entry.next_offset());
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cut_anywhere_stops_for_a_reason() {
        let mut log = Vec::new();
        encode_entry(&mut log, b"first");
        encode_entry(&mut log, b"second one");
        assert_eq!(log.len(), 13 + 5 + 13 + 10);
        for length in 0..=log.len() {
            let mut entries = LogEntries::new(&log[..length], 0);
            let stop = entries.by_ref().find_map(Result::err);
            let expected = match length {
                0 | 18 | 41 => LogStop::EndOfFile,
                1..12 => LogStop::Short {
                    missing: 12 - length,
                },
                12..18 => LogStop::Short {
                    missing: 18 - length,
                },
                19..30 => LogStop::Short {
                    missing: 30 - length,
                },
                _ => LogStop::Short {
                    missing: 41 - length,
                },
            };
            assert_eq!(stop, Some(expected), "{length}");
            assert_eq!(entries.next(), None);
        }
    }

    #[test]
    fn odd_lengths() {
        for (length, expected) in [
            (0, LogStop::Padding),
            (-1, LogStop::BadLength { length: -1 }),
            (i32::MIN, LogStop::BadLength { length: i32::MIN }),
            (
                i32::MAX,
                LogStop::Short {
                    missing: 0x7fff_ffff + 13 - 112,
                },
            ),
        ] {
            let mut log = vec![0; 112];
            log[8..12].copy_from_slice(&length.to_be_bytes());
            assert_eq!(read_entry(&log, 0), Err(expected));
        }
        assert_eq!(read_entry(&[], 5), Err(LogStop::EndOfFile));
    }

    #[test]
    fn damage_shows_where_it_is() {
        let mut log = Vec::new();
        encode_entry(&mut log, b"payload");
        let entry = read_entry(&log, 0).unwrap();
        assert!(entry.is_checksum_right() && entry.is_finished());
        for (place, checksum_right, finished) in [
            (0, false, true),
            (7, false, true),
            (12, false, true),
            (19, true, false),
        ] {
            let mut log = log.clone();
            log[place] ^= 1;
            let entry = read_entry(&log, 0).unwrap();
            assert_eq!(entry.is_checksum_right(), checksum_right, "{place}");
            assert_eq!(entry.is_finished(), finished, "{place}");
        }
    }
}
