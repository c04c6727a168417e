//! Requests: an operation code and a body, without frame and header.

use crate::jute::{Cursor, Writer};

pub(crate) mod code {
    pub(crate) const CREATE: i32 = 1;
    pub(crate) const DELETE: i32 = 2;
    pub(crate) const EXISTS: i32 = 3;
    pub(crate) const GET_DATA: i32 = 4;
    pub(crate) const SET_DATA: i32 = 5;
    pub(crate) const GET_ACL: i32 = 6;
    pub(crate) const SET_ACL: i32 = 7;
    pub(crate) const GET_CHILDREN: i32 = 8;
    pub(crate) const SYNC: i32 = 9;
    pub(crate) const PING: i32 = 11;
    pub(crate) const GET_CHILDREN2: i32 = 12;
    pub(crate) const CHECK: i32 = 13;
    pub(crate) const MULTI: i32 = 14;
    pub(crate) const CREATE2: i32 = 15;
    pub(crate) const RECONFIG: i32 = 16;
    pub(crate) const CHECK_WATCHES: i32 = 17;
    pub(crate) const REMOVE_WATCHES: i32 = 18;
    pub(crate) const CREATE_CONTAINER: i32 = 19;
    pub(crate) const DELETE_CONTAINER: i32 = 20;
    pub(crate) const CREATE_TTL: i32 = 21;
    pub(crate) const MULTI_READ: i32 = 22;
    pub(crate) const AUTH: i32 = 100;
    pub(crate) const SET_WATCHES: i32 = 101;
    pub(crate) const SASL: i32 = 102;
    pub(crate) const GET_EPHEMERALS: i32 = 103;
    pub(crate) const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub(crate) const SET_WATCHES2: i32 = 105;
    pub(crate) const ADD_WATCH: i32 = 106;
    pub(crate) const WHO_AM_I: i32 = 107;
    pub(crate) const CREATE_SESSION: i32 = -10;
    pub(crate) const CLOSE_SESSION: i32 = -11;
}

/// One request, not yet on the wire.
#[derive(Clone)]
pub(crate) struct Op {
    pub(crate) code: i32,
    pub(crate) body: Vec<u8>,
}

impl Op {
    /// The path, where the body begins with one: what a reader of a report wants to know.
    pub(crate) fn hint(&self) -> String {
        match Cursor::new(&self.body).bytes() {
            Some(Some(path)) if path.first() == Some(&b'/') && path.len() < 100 => {
                format!(" {}", path.escape_ascii())
            }
            _ => String::new(),
        }
    }

    /// The same request with bytes after the end of its record.
    pub(crate) fn with_surplus(mut self, surplus: &[u8]) -> Op {
        self.body.extend_from_slice(surplus);
        self
    }

    /// The same request, cut after `length` bytes of its body.
    pub(crate) fn cut_to(mut self, length: usize) -> Op {
        self.body.truncate(length);
        self
    }
}

fn op(code: i32, writer: Writer) -> Op {
    Op {
        code,
        body: writer.finish(),
    }
}

/// An entry of an access control list as the request carries it; `None` is a null string.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a>(
    pub(crate) i32,
    pub(crate) Option<&'a str>,
    pub(crate) Option<&'a str>,
);

pub(crate) const ALL: i32 = 31;
pub(crate) const READ: i32 = 1;
pub(crate) const WRITE: i32 = 2;
pub(crate) const CREATE: i32 = 4;
pub(crate) const DELETE: i32 = 8;
pub(crate) const ADMIN: i32 = 16;

/// `world:anyone` with all permissions.
pub(crate) const OPEN: &[Entry<'static>] = &[world(ALL)];

/// `world:anyone` with these permissions.
pub(crate) const fn world(perms: i32) -> Entry<'static> {
    Entry(perms, Some("world"), Some("anyone"))
}

pub(crate) const PERSISTENT: i32 = 0;
pub(crate) const EPHEMERAL: i32 = 1;
pub(crate) const SEQUENTIAL: i32 = 2;
pub(crate) const EPHEMERAL_SEQUENTIAL: i32 = 3;
pub(crate) const CONTAINER: i32 = 4;
pub(crate) const WITH_TTL: i32 = 5;

pub(crate) fn acl_vector(writer: Writer, entries: &[Entry<'_>]) -> Writer {
    let count = i32::try_from(entries.len()).expect("test data is small");
    entries
        .iter()
        .fold(writer.int(count), |writer, Entry(perms, scheme, id)| {
            writer
                .int(*perms)
                .optional(scheme.map(str::as_bytes))
                .optional(id.map(str::as_bytes))
        })
}

/// The body that all forms of create share.
pub(crate) fn create_with(
    code: i32,
    path: Option<&[u8]>,
    data: Option<&[u8]>,
    acl: &[Entry<'_>],
    flags: i32,
) -> Op {
    let writer = Writer::new().optional(path).optional(data);
    op(code, acl_vector(writer, acl).int(flags))
}

pub(crate) fn create(path: &str, data: &str, acl: &[Entry<'_>], flags: i32) -> Op {
    create_with(
        code::CREATE,
        Some(path.as_bytes()),
        Some(data.as_bytes()),
        acl,
        flags,
    )
}

pub(crate) fn create2(path: &str, data: &str, acl: &[Entry<'_>], flags: i32) -> Op {
    create_with(
        code::CREATE2,
        Some(path.as_bytes()),
        Some(data.as_bytes()),
        acl,
        flags,
    )
}

pub(crate) fn create_container(path: &str, flags: i32) -> Op {
    create_with(
        code::CREATE_CONTAINER,
        Some(path.as_bytes()),
        Some(b""),
        OPEN,
        flags,
    )
}

pub(crate) fn create_ttl(path: &str, flags: i32, ttl: i64) -> Op {
    let mut op = create_with(
        code::CREATE_TTL,
        Some(path.as_bytes()),
        Some(b""),
        OPEN,
        flags,
    );
    op.body.extend_from_slice(&ttl.to_be_bytes());
    op
}

/// A body that is one path.
pub(crate) fn path_only(code: i32, path: Option<&str>) -> Op {
    op(code, Writer::new().optional(path.map(str::as_bytes)))
}

/// A body that is a path and a watch flag.
pub(crate) fn read(code: i32, path: &str, watch: bool) -> Op {
    op(code, Writer::new().string(path).byte(u8::from(watch)))
}

/// A body that is a path and an int: delete, check, watch operations.
pub(crate) fn path_int(code: i32, path: &str, value: i32) -> Op {
    op(code, Writer::new().string(path).int(value))
}

pub(crate) fn delete(path: &str, version: i32) -> Op {
    path_int(code::DELETE, path, version)
}

pub(crate) fn check(path: &str, version: i32) -> Op {
    path_int(code::CHECK, path, version)
}

pub(crate) fn exists(path: &str, watch: bool) -> Op {
    read(code::EXISTS, path, watch)
}

pub(crate) fn get_data(path: &str, watch: bool) -> Op {
    read(code::GET_DATA, path, watch)
}

pub(crate) fn get_children(path: &str, watch: bool) -> Op {
    read(code::GET_CHILDREN, path, watch)
}

pub(crate) fn get_children2(path: &str, watch: bool) -> Op {
    read(code::GET_CHILDREN2, path, watch)
}

pub(crate) fn set_data_to(path: &str, data: Option<&[u8]>, version: i32) -> Op {
    op(
        code::SET_DATA,
        Writer::new().string(path).optional(data).int(version),
    )
}

pub(crate) fn set_data(path: &str, data: &str, version: i32) -> Op {
    set_data_to(path, Some(data.as_bytes()), version)
}

pub(crate) fn get_acl(path: &str) -> Op {
    path_only(code::GET_ACL, Some(path))
}

pub(crate) fn set_acl(path: &str, acl: &[Entry<'_>], version: i32) -> Op {
    op(
        code::SET_ACL,
        acl_vector(Writer::new().string(path), acl).int(version),
    )
}

pub(crate) fn sync(path: Option<&str>) -> Op {
    path_only(code::SYNC, path)
}

/// An operation without a body.
pub(crate) fn bare(code: i32) -> Op {
    op(code, Writer::new())
}

pub(crate) fn auth(scheme: Option<&str>, data: Option<&[u8]>) -> Op {
    op(
        code::AUTH,
        Writer::new()
            .int(0)
            .optional(scheme.map(str::as_bytes))
            .optional(data),
    )
}

pub(crate) fn digest(user_and_password: &str) -> Op {
    auth(Some("digest"), Some(user_and_password.as_bytes()))
}

pub(crate) fn set_watches(relative: i64, lists: &[&[String]]) -> Op {
    let code = if lists.len() == 3 {
        code::SET_WATCHES
    } else {
        code::SET_WATCHES2
    };
    let writer = lists
        .iter()
        .fold(Writer::new().long(relative), |w, list| w.strings(list));
    op(code, writer)
}

pub(crate) fn add_watch(path: &str, mode: i32) -> Op {
    path_int(code::ADD_WATCH, path, mode)
}

pub(crate) fn remove_watches(path: &str, kind: i32) -> Op {
    path_int(code::REMOVE_WATCHES, path, kind)
}

pub(crate) fn check_watches(path: &str, kind: i32) -> Op {
    path_int(code::CHECK_WATCHES, path, kind)
}

/// A reconfig that names nobody.
pub(crate) fn reconfig() -> Op {
    op(code::RECONFIG, Writer::new().null().null().null().long(-1))
}

fn several(code: i32, ops: &[Op]) -> Op {
    let writer = ops.iter().fold(Writer::new(), |writer, sub| {
        writer.int(sub.code).byte(0).int(-1).raw(&sub.body)
    });
    op(code, writer.int(-1).byte(1).int(-1))
}

pub(crate) fn multi(ops: &[Op]) -> Op {
    several(code::MULTI, ops)
}

pub(crate) fn multi_read(ops: &[Op]) -> Op {
    several(code::MULTI_READ, ops)
}
