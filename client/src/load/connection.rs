//! One session of the load generator: what is outstanding, what is to be written, what came in.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;

use super::LoadError;

/// Holds the replies of any sensible depth and value, so that one read takes them all.
const READ_BYTES: usize = 256 << 10;
const LENGTH_BYTES: usize = 4;
const REPLY_HEADER_BYTES: usize = 16;

/// Requests as they go out, but for the xid.
#[derive(Debug)]
pub(super) struct Templates {
    /// One `setData` for each node.
    pub(super) writes: Vec<Vec<u8>>,
    /// One `getData` for each node.
    pub(super) reads: Vec<Vec<u8>>,
    /// Ends the session.
    pub(super) close: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at_ns: u64,
    write: bool,
}

/// An answered request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// Nanoseconds from the write of the request to the read of its reply.
    pub(super) latency_ns: u64,
    /// Whether it was a write.
    pub(super) write: bool,
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    templates: Arc<Templates>,
    write_percent: u32,
    random: u64,
    next_xid: i32,
    sent: VecDeque<Sent>,
    output: Vec<u8>,
    output_start: usize,
    input: Box<[u8]>,
    input_end: usize,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        templates: Arc<Templates>,
        write_percent: u8,
        seed: u64,
    ) -> Self {
        Self {
            stream,
            templates,
            write_percent: u32::from(write_percent),
            // Spread neighbouring seeds; xorshift must not start at zero.
            random: seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            next_xid: 1,
            sent: VecDeque::new(),
            output: Vec::new(),
            output_start: 0,
            input: vec![0; READ_BYTES].into_boxed_slice(),
            input_end: 0,
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.sent.len()
    }

    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }

    /// Puts one request of the mix into the output.
    pub(super) fn request(&mut self, now_ns: u64) {
        let write = match self.write_percent {
            0 => false,
            100 => true,
            percent => self.random() % 100 < percent,
        };
        let index = self.random() as usize;
        let templates = Arc::clone(&self.templates);
        let frames = if write {
            &templates.writes
        } else {
            &templates.reads
        };
        self.put(
            &frames[index % frames.len()],
            Sent {
                at_ns: now_ns,
                write,
            },
        );
    }

    /// Puts the end of the session into the output.
    pub(super) fn request_close(&mut self, now_ns: u64) {
        let templates = Arc::clone(&self.templates);
        self.put(
            &templates.close,
            Sent {
                at_ns: now_ns,
                write: true,
            },
        );
    }

    fn put(&mut self, frame: &[u8], sent: Sent) {
        let start = self.output.len();
        self.output.extend_from_slice(frame);
        let xid = start + LENGTH_BYTES;
        self.output[xid..xid + 4].copy_from_slice(&self.next_xid.to_be_bytes());
        // 0 and negative numbers have meanings of their own.
        self.next_xid = if self.next_xid == i32::MAX {
            1
        } else {
            self.next_xid + 1
        };
        self.sent.push_back(sent);
    }

    /// Writes what the socket takes; the rest waits until it is writable again.
    pub(super) fn flush(&mut self) -> Result<(), LoadError> {
        while self.output_start < self.output.len() {
            match self.stream.write(&self.output[self.output_start..]) {
                Ok(0) => return Err(LoadError::Closed),
                Ok(count) => self.output_start += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.output_start = 0;
        Ok(())
    }

    /// Reads what is there and passes each reply to `answered`. Returns whether the socket may
    /// hold more: a read that leaves room in the buffer has emptied it, and what comes later
    /// raises a new edge, so that no second read is needed to be told so.
    pub(super) fn receive(
        &mut self,
        now_ns: impl Fn() -> u64,
        mut answered: impl FnMut(Answered),
    ) -> Result<bool, LoadError> {
        let room = self.input.len() - self.input_end;
        let count = match self.stream.read(&mut self.input[self.input_end..]) {
            Ok(0) => return Err(LoadError::Closed),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        self.input_end += count;
        let now = now_ns();
        let mut start = 0;
        while let Some(frame_end) = self.frame_end(start)? {
            let answer = self.reply(start + LENGTH_BYTES, now)?;
            answered(answer);
            start = frame_end;
        }
        self.input.copy_within(start..self.input_end, 0);
        self.input_end -= start;
        Ok(count == room)
    }

    fn frame_end(&mut self, start: usize) -> Result<Option<usize>, LoadError> {
        let bytes = &self.input[start..self.input_end];
        let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if !(REPLY_HEADER_BYTES..64 << 20).contains(&length) {
            return Err(io::Error::other(format!("a reply of {length} bytes")).into());
        }
        let total = LENGTH_BYTES + length;
        if total > self.input.len() {
            let mut larger = vec![0; total.next_power_of_two()];
            larger[..self.input_end].copy_from_slice(&self.input[..self.input_end]);
            self.input = larger.into_boxed_slice();
            return Ok(None);
        }
        Ok((bytes.len() >= total).then_some(start + total))
    }

    fn reply(&mut self, header: usize, now_ns: u64) -> Result<Answered, LoadError> {
        let int = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&self.input[at..at + 4]);
            i32::from_be_bytes(bytes)
        };
        let (found, error) = (int(header), int(header + 12));
        let mut expected = self.next_xid.wrapping_sub(self.sent.len() as i32);
        if expected <= 0 {
            expected = expected.wrapping_add(i32::MAX);
        }
        let sent = self.sent.pop_front().filter(|_| found == expected);
        let sent = sent.ok_or(LoadError::Order { expected, found })?;
        if error != 0 {
            return Err(LoadError::Refused(error));
        }
        Ok(Answered {
            latency_ns: now_ns.saturating_sub(sent.at_ns),
            write: sent.write,
        })
    }
}
