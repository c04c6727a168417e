//! Turns what a server sent into lines that two servers can agree on.
//!
//! Frames are decoded and every field is printed, so that whatever is not masked is compared. Only
//! these fields are masked, each as little as it allows:
//!
//! | field | printed as |
//! |---|---|
//! | zxid in headers and Stats | distance from the first zxid of the transcript, or of the part of it that it belongs to; 0 and -1 as they are |
//! | session id, `ephemeralOwner` | number of the session in order of appearance |
//! | session password | whether it is the one that the session had before |
//! | `ctime`, `mtime` | whether it is near now and the same wherever the same transaction shows |
//!
//! Order is given up by name only, see [`sorted`] and `What::AnyOrder`.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::jute::Cursor;
use crate::ops::code;
use crate::transcript::{Event, What};

/// A time stamp further from now than this is in the wrong unit or of the wrong event.
const NEAR_MS: u64 = 3_600_000;
/// Data longer than this is printed as its length and a hash.
const PRINTED_BYTES_MAX: usize = 120;

/// Lines, and where in the transcript the masked bytes are.
pub(crate) struct Normal {
    pub(crate) lines: Vec<String>,
    /// Event number and byte range inside its frame.
    pub(crate) masked: Vec<(usize, Range<usize>)>,
}

/// Normalises a whole transcript.
pub(crate) fn normalise(events: &[Event]) -> Normal {
    let mut normaliser = Normaliser::new();
    let mut lines: Vec<String> = Vec::new();
    let mut any_order_from = None;
    for (number, event) in events.iter().enumerate() {
        match &event.what {
            What::Part(zxid) => normaliser.masks.begin_part(*zxid),
            What::AnyOrder => any_order_from = Some(lines.len()),
            What::InOrder => {
                if let Some(from) = any_order_from.take() {
                    lines[from..].sort();
                }
            }
            _ => lines.push(normaliser.line(number, event)),
        }
    }
    Normal {
        lines,
        masked: normaliser.masked,
    }
}

/// What replies are awaited on one connection.
#[derive(Default)]
struct Expected {
    /// Whether the next frame is a ConnectResponse.
    hello: bool,
    requests: VecDeque<(i32, i32)>,
}

/// The memory that masking needs: the same for frames and for what the drivers print.
#[derive(Clone)]
pub(crate) struct Masks {
    /// The first zxid of each part of the transcript.
    bases: Vec<i64>,
    sessions: Vec<i64>,
    passwords: HashMap<i64, Vec<u8>>,
    times: HashMap<i64, i64>,
    now_ms: i64,
}

impl Masks {
    pub(crate) fn new() -> Masks {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Masks::at(i64::try_from(now.as_millis()).unwrap_or(0))
    }

    /// The same at another time.
    pub(crate) fn at(now_ms: i64) -> Masks {
        Masks {
            bases: Vec::new(),
            sessions: Vec::new(),
            passwords: HashMap::new(),
            times: HashMap::new(),
            now_ms,
        }
    }

    /// Counts zxids from the next one on.
    pub(crate) fn rebase(&mut self) {
        self.bases.clear();
    }

    /// Counts zxids from this one on; those before it are counted as they were.
    fn begin_part(&mut self, zxid: i64) {
        self.bases.push(zxid);
    }

    pub(crate) fn zxid(&mut self, zxid: i64) -> String {
        if zxid == 0 || zxid == -1 {
            return format!("z{zxid}");
        }
        if self.bases.is_empty() {
            self.bases.push(zxid);
        }
        let part = self.bases.iter().rposition(|&base| base <= zxid);
        let part = part.unwrap_or(0);
        let base = self.bases[part];
        format!("z{}{:+}", "'".repeat(part), zxid.wrapping_sub(base))
    }

    /// A session that a handshake announced.
    pub(crate) fn new_session(&mut self, id: i64) -> String {
        if id != 0 && !self.sessions.contains(&id) {
            self.sessions.push(id);
        }
        self.session(id)
    }

    /// A session that some record names.
    pub(crate) fn session(&self, id: i64) -> String {
        match self.sessions.iter().position(|known| *known == id) {
            _ if id == 0 => "none".to_owned(),
            Some(index) => format!("S{}", index + 1),
            None => format!("unknown-session-{id:#x}"),
        }
    }

    /// Whether the password is the one that the session had before.
    pub(crate) fn password(&mut self, session: i64, password: &[u8]) -> String {
        if session == 0 || password.len() != 16 {
            return password.escape_ascii().to_string();
        }
        let known = self
            .passwords
            .entry(session)
            .or_insert_with(|| password.to_vec());
        if known == password {
            "own".to_owned()
        } else {
            "other".to_owned()
        }
    }

    /// Whether a time is near enough to now to be masked.
    pub(crate) fn is_near(&self, time_ms: i64) -> bool {
        time_ms.abs_diff(self.now_ms) <= NEAR_MS
    }

    /// The time of the transaction `zxid`.
    pub(crate) fn time(&mut self, zxid: i64, time_ms: i64) -> String {
        if zxid == 0 || !self.is_near(time_ms) {
            return format!("{time_ms}ms");
        }
        let known = *self.times.entry(zxid).or_insert(time_ms);
        if known == time_ms {
            "near".to_owned()
        } else {
            format!("{}ms apart", time_ms.wrapping_sub(known))
        }
    }
}

struct Normaliser {
    masks: Masks,
    connections: HashMap<String, Expected>,
    masked: Vec<(usize, Range<usize>)>,
    event: usize,
}

impl Normaliser {
    fn new() -> Normaliser {
        Normaliser {
            masks: Masks::new(),
            connections: HashMap::new(),
            masked: Vec::new(),
            event: 0,
        }
    }

    fn line(&mut self, number: usize, event: &Event) -> String {
        self.event = number;
        let expected = self
            .connections
            .entry(event.connection.clone())
            .or_default();
        let text = match &event.what {
            What::Opened => "opened".to_owned(),
            What::Hello => {
                expected.hello = true;
                "> connect".to_owned()
            }
            What::Sent { xid, op, hint } => {
                expected.requests.push_back((*xid, *op));
                format!("> xid {xid} op {op}{hint}")
            }
            What::Frame(bytes) => {
                let taken = std::mem::take(expected);
                self.frame(&event.connection, taken, bytes)
            }
            What::Text(bytes) => format!("< text {}", bytes.escape_ascii()),
            What::Closed => "< closed".to_owned(),
            What::Silence => "< silence until the deadline".to_owned(),
            What::Note(text) => text.clone(),
            What::AnyOrder | What::InOrder | What::Part(_) => String::new(),
        };
        format!("{} {text}", event.connection)
    }

    fn frame(&mut self, connection: &str, mut expected: Expected, bytes: &[u8]) -> String {
        let mut out = String::from("< ");
        let mut cursor = Cursor::new(bytes);
        let length = cursor.int().unwrap_or(-1);
        if usize::try_from(length).ok() != bytes.len().checked_sub(4) {
            let _ = write!(out, "LENGTH {length} ");
        }
        let decoded = if expected.hello {
            expected.hello = false;
            self.connect_response(&mut cursor, &mut out)
        } else {
            self.reply(&mut cursor, &mut expected, &mut out)
        };
        if decoded.is_none() {
            let _ = write!(out, " UNDECODABLE {}", bytes.escape_ascii());
        } else if !cursor.rest().is_empty() {
            let _ = write!(out, " SURPLUS {}", cursor.rest().escape_ascii());
        }
        self.connections.insert(connection.to_owned(), expected);
        out
    }

    fn connect_response(&mut self, cursor: &mut Cursor<'_>, out: &mut String) -> Option<()> {
        let version = cursor.int()?;
        let timeout = cursor.int()?;
        let id = self.masked(cursor, 8, Cursor::long)?;
        let length = cursor.int()?;
        let password = self.masked(cursor, 16, |c| c.take(16))?;
        let session = self.masks.new_session(id);
        let password = self.masks.password(id, password);
        let _ = write!(
            out,
            "connected version {version} timeout {timeout} session {session} "
        );
        let _ = write!(out, "password {length} {password} ");
        let _ = match cursor.byte() {
            Some(byte) => write!(out, "readOnly {byte}"),
            None => write!(out, "no readOnly"),
        };
        Some(())
    }

    fn reply(
        &mut self,
        cursor: &mut Cursor<'_>,
        expected: &mut Expected,
        out: &mut String,
    ) -> Option<()> {
        let xid = cursor.int()?;
        let zxid = cursor.long()?;
        let err = cursor.int()?;
        let zxid = self.masks.zxid(zxid);
        let _ = write!(out, "xid {xid} {zxid} err {err}");
        if xid == -1 {
            let _ = write!(
                out,
                " event type {} state {} ",
                cursor.int()?,
                cursor.int()?
            );
            return string(cursor, out);
        }
        let is_answered =
            |(sent, op): &(i32, i32)| *sent == xid || (xid == -2 && *op == code::PING);
        let Some(at) = expected.requests.iter().position(is_answered) else {
            let _ = write!(out, " UNASKED");
            return Some(());
        };
        let op = expected.requests.remove(at).map_or(0, |(_, op)| op);
        let _ = write!(out, " op {op}");
        // A failed SASL or multiRead has a body all the same; it shows as surplus bytes.
        if err == 0 {
            self.body(op, cursor, out)
        } else {
            Some(())
        }
    }

    fn body(&mut self, op: i32, cursor: &mut Cursor<'_>, out: &mut String) -> Option<()> {
        match op {
            code::CREATE | code::SYNC => string(cursor, out),
            code::CREATE2 | code::CREATE_CONTAINER | code::CREATE_TTL => {
                string(cursor, out)?;
                self.stat(cursor, out)
            }
            code::EXISTS | code::SET_DATA | code::SET_ACL => self.stat(cursor, out),
            code::GET_DATA | code::RECONFIG => {
                string(cursor, out)?;
                self.stat(cursor, out)
            }
            code::GET_ACL => {
                acl(cursor, out)?;
                self.stat(cursor, out)
            }
            code::GET_CHILDREN | code::GET_EPHEMERALS => sorted(cursor, out, string),
            code::GET_CHILDREN2 => {
                sorted(cursor, out, string)?;
                self.stat(cursor, out)
            }
            code::WHO_AM_I => sorted(cursor, out, |cursor, out| {
                string(cursor, out)?;
                string(cursor, out)
            }),
            code::MULTI | code::MULTI_READ => self.results(cursor, out),
            code::ADD_WATCH | code::GET_ALL_CHILDREN_NUMBER => {
                let _ = write!(out, " int {}", cursor.int()?);
                Some(())
            }
            code::SASL => string(cursor, out),
            _ => Some(()),
        }
    }

    fn results(&mut self, cursor: &mut Cursor<'_>, out: &mut String) -> Option<()> {
        loop {
            let (kind, done, err) = (cursor.int()?, cursor.byte()?, cursor.int()?);
            let _ = write!(out, " [type {kind} done {done} err {err}");
            if done != 0 {
                out.push(']');
                return Some(());
            }
            if kind == -1 {
                let _ = write!(out, " code {}", cursor.int()?);
            } else {
                self.body(kind, cursor, out)?;
            }
            out.push(']');
        }
    }

    fn stat(&mut self, cursor: &mut Cursor<'_>, out: &mut String) -> Option<()> {
        let (czxid, mzxid) = (cursor.long()?, cursor.long()?);
        let ctime = self.masked(cursor, 8, Cursor::long)?;
        let mtime = self.masked(cursor, 8, Cursor::long)?;
        let (version, cversion, aversion) = (cursor.int()?, cursor.int()?, cursor.int()?);
        let owner = self.masked(cursor, 8, Cursor::long)?;
        let (length, children) = (cursor.int()?, cursor.int()?);
        let pzxid = cursor.long()?;
        let masks = &mut self.masks;
        let _ = write!(
            out,
            " stat{{c {} m {} p {} ctime {} mtime {} v {version} cv {cversion} av {aversion} \
             owner {} length {length} children {children}}}",
            masks.zxid(czxid),
            masks.zxid(mzxid),
            masks.zxid(pzxid),
            masks.time(czxid, ctime),
            masks.time(mzxid, mtime),
            masks.session(owner),
        );
        Some(())
    }

    /// Reads a field and remembers that its bytes are not printed as they are.
    fn masked<'a, T>(
        &mut self,
        cursor: &mut Cursor<'a>,
        length: usize,
        read: impl FnOnce(&mut Cursor<'a>) -> Option<T>,
    ) -> Option<T> {
        let from = cursor.position();
        self.masked.push((self.event, from..from + length));
        read(cursor)
    }
}

/// A ustring or a buffer, told apart from null.
fn string(cursor: &mut Cursor<'_>, out: &mut String) -> Option<()> {
    let _ = match cursor.bytes()? {
        None => write!(out, " null"),
        Some(bytes) => write!(out, " {}", printed(bytes)),
    };
    Some(())
}

/// Bytes in a form that differs wherever the bytes differ.
pub(crate) fn printed(bytes: &[u8]) -> String {
    if bytes.len() <= PRINTED_BYTES_MAX {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("({} bytes, hash {hash:016x})", bytes.len())
}

fn acl(cursor: &mut Cursor<'_>, out: &mut String) -> Option<()> {
    out.push_str(" acl");
    for _ in 0..cursor.count()? {
        let _ = write!(out, " ({}", cursor.int()?);
        string(cursor, out)?;
        string(cursor, out)?;
        out.push(')');
    }
    Some(())
}

/// A list that the protocol leaves unordered: children, ephemerals, identities.
fn sorted(
    cursor: &mut Cursor<'_>,
    out: &mut String,
    element: fn(&mut Cursor<'_>, &mut String) -> Option<()>,
) -> Option<()> {
    let mut elements = Vec::new();
    for _ in 0..cursor.count()? {
        let mut text = String::new();
        element(cursor, &mut text)?;
        elements.push(text);
    }
    elements.sort();
    let _ = write!(out, " {} sorted:{}", elements.len(), elements.concat());
    Some(())
}
