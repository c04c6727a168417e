//! Whole request frames, appended to a buffer.

use ironkeeper_proto::{OpCode, SessionId, Writer, Zxid};

const LENGTH_BYTES: usize = 4;

/// The only ACL this client creates nodes with: world:anyone, all permissions.
const OPEN_ACL_PERMS: i32 = 31;

/// Flags of a created node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CreateMode {
    /// Stays until it is deleted.
    Persistent = 0,
    /// Goes with its session.
    Ephemeral = 1,
    /// The server appends a number to the name.
    PersistentSequential = 2,
    /// Both.
    EphemeralSequential = 3,
}

/// One operation of a multi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// Create a node.
    Create(&'a str, &'a [u8], CreateMode),
    /// Delete a node of this version (-1: any).
    Delete(&'a str, i32),
    /// Replace the data of a node of this version (-1: any).
    Set(&'a str, &'a [u8], i32),
    /// Assert a version (-1: any).
    Check(&'a str, i32),
}

/// Appends a frame whose body `put` writes.
pub fn frame(out: &mut Vec<u8>, put: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    put(&mut Writer::new(out));
    let length = out.len() - start - LENGTH_BYTES;
    let length = i32::try_from(length).expect("a frame of a test is below 2 GiB");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Appends a request frame: header, then the body that `put` writes.
pub fn request(out: &mut Vec<u8>, xid: i32, op: OpCode, put: impl FnOnce(&mut Writer<'_>)) {
    frame(out, |writer| {
        writer.i32(xid);
        writer.i32(op.to_i32());
        put(writer);
    });
}

/// The first frame of a connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectFrame<'a> {
    /// Highest zxid seen in a reply.
    pub last_zxid_seen: Zxid,
    /// Requested session timeout.
    pub timeout_ms: i32,
    /// Zero asks for a new session.
    pub session: SessionId,
    /// Of the session; zeros for a new one.
    pub password: &'a [u8],
    /// Old clients leave it out.
    pub read_only: Option<bool>,
}

/// Appends the first frame of a connection.
pub fn connect(out: &mut Vec<u8>, connect: &ConnectFrame<'_>) {
    frame(out, |writer| {
        writer.i32(0);
        writer.i64(connect.last_zxid_seen.0);
        writer.i32(connect.timeout_ms);
        writer.i64(connect.session.0);
        writer.buffer(Some(connect.password));
        if let Some(read_only) = connect.read_only {
            writer.bool(read_only);
        }
    });
}

fn create_body(writer: &mut Writer<'_>, path: &str, data: &[u8], mode: CreateMode) {
    writer.str(path);
    writer.buffer(Some(data));
    writer.count(1);
    writer.i32(OPEN_ACL_PERMS);
    writer.str("world");
    writer.str("anyone");
    writer.i32(mode as i32);
}

/// Appends `create`.
pub fn create(out: &mut Vec<u8>, xid: i32, path: &str, data: &[u8], mode: CreateMode) {
    request(out, xid, OpCode::Create, |writer| {
        create_body(writer, path, data, mode)
    });
}

/// Appends `delete`.
pub fn delete(out: &mut Vec<u8>, xid: i32, path: &str, version: i32) {
    request(out, xid, OpCode::Delete, |writer| {
        writer.str(path);
        writer.i32(version);
    });
}

/// Appends `setData`.
pub fn set(out: &mut Vec<u8>, xid: i32, path: &str, data: &[u8], version: i32) {
    request(out, xid, OpCode::SetData, |writer| {
        writer.str(path);
        writer.buffer(Some(data));
        writer.i32(version);
    });
}

fn path_watch(out: &mut Vec<u8>, xid: i32, op: OpCode, path: &str, watch: bool) {
    request(out, xid, op, |writer| {
        writer.str(path);
        writer.bool(watch);
    });
}

/// Appends `exists`.
pub fn exists(out: &mut Vec<u8>, xid: i32, path: &str, watch: bool) {
    path_watch(out, xid, OpCode::Exists, path, watch);
}

/// Appends `getData`.
pub fn get(out: &mut Vec<u8>, xid: i32, path: &str, watch: bool) {
    path_watch(out, xid, OpCode::GetData, path, watch);
}

/// Appends `getChildren2`.
pub fn children(out: &mut Vec<u8>, xid: i32, path: &str, watch: bool) {
    path_watch(out, xid, OpCode::GetChildren2, path, watch);
}

/// Appends `multi`.
pub fn multi(out: &mut Vec<u8>, xid: i32, operations: &[MultiOp<'_>]) {
    request(out, xid, OpCode::Multi, |writer| {
        let header = |writer: &mut Writer<'_>, kind: i32, done: bool| {
            writer.i32(kind);
            writer.bool(done);
            writer.i32(-1);
        };
        for operation in operations {
            let op = match operation {
                MultiOp::Create(..) => OpCode::Create,
                MultiOp::Delete(..) => OpCode::Delete,
                MultiOp::Set(..) => OpCode::SetData,
                MultiOp::Check(..) => OpCode::Check,
            };
            header(writer, op.to_i32(), false);
            match *operation {
                MultiOp::Create(path, data, mode) => create_body(writer, path, data, mode),
                MultiOp::Delete(path, version) | MultiOp::Check(path, version) => {
                    writer.str(path);
                    writer.i32(version);
                }
                MultiOp::Set(path, data, version) => {
                    writer.str(path);
                    writer.buffer(Some(data));
                    writer.i32(version);
                }
            }
        }
        header(writer, -1, true);
    });
}

/// Appends `ping`.
pub fn ping(out: &mut Vec<u8>) {
    request(out, -2, OpCode::Ping, |_| ());
}

/// Appends `sync`.
pub fn sync(out: &mut Vec<u8>, xid: i32, path: &str) {
    request(out, xid, OpCode::Sync, |writer| writer.str(path));
}

/// Appends `closeSession`.
pub fn close(out: &mut Vec<u8>, xid: i32) {
    request(out, xid, OpCode::CloseSession, |_| ());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_ascii_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    fn check(put: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        put(&mut out);
        assert_eq!(out, hex(expected));
    }

    /// The frames written out in the protocol reference, which a real server was given.
    #[test]
    fn frames_match_the_protocol_reference() {
        check(
            |out| create(out, 1, "/a", b"hi", CreateMode::Persistent),
            "00 00 00 33 00 00 00 01 00 00 00 01 00 00 00 02 2f 61 00 00 00 02 68 69 \
             00 00 00 01 00 00 00 1f 00 00 00 05 77 6f 72 6c 64 00 00 00 06 61 6e 79 6f 6e 65 \
             00 00 00 00",
        );
        check(
            |out| get(out, 2, "/a", true),
            "00 00 00 0f 00 00 00 02 00 00 00 04 00 00 00 02 2f 61 01",
        );
        check(ping, "00 00 00 08 ff ff ff fe 00 00 00 0b");
        check(|out| close(out, 4), "00 00 00 08 00 00 00 04 ff ff ff f5");
        check(
            |out| {
                multi(
                    out,
                    3,
                    &[MultiOp::Delete("/a", -1), MultiOp::Check("/b", 0)],
                )
            },
            "00 00 00 37 00 00 00 03 00 00 00 0e \
             00 00 00 02 00 ff ff ff ff 00 00 00 02 2f 61 ff ff ff ff \
             00 00 00 0d 00 ff ff ff ff 00 00 00 02 2f 62 00 00 00 00 \
             ff ff ff ff 01 ff ff ff ff",
        );
        let new_session = ConnectFrame {
            last_zxid_seen: Zxid(0),
            timeout_ms: 10_000,
            session: SessionId(0),
            password: &[0; 16],
            read_only: Some(false),
        };
        check(
            |out| connect(out, &new_session),
            "00 00 00 2d 00 00 00 00 00 00 00 00 00 00 00 00 00 00 27 10 00 00 00 00 00 00 00 00 \
             00 00 00 10 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
        );
    }
}
