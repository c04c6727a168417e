//! A replica without clock, disk and network, and what leaves it.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use ironkeeper_proto::{
    AclListBuf, AclRef, CreateRequest, ErrorCode, OpCode, Perms, Reader, Record, ReplyHeader,
    Request as Ask, SessionId, SetData, Writer, Xid, Zxid,
};
use ironkeeper_replica::{
    Asked, ConnId, Heartbeat, Now, Outlet, ReaperOptions, RecordSink, Replica, ReplicaOptions,
    Request,
};
use ironkeeper_tree::Tree;
use ironkeeper_tree::acl::Identities;
use ironkeeper_tree::prep::PrepOptions;
use ironkeeper_tree::watch::{WatchTable, WatcherId};

/// What left the replica, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Reply {
        conn: u32,
        xid: i32,
        zxid: i64,
        err: i32,
    },
    Event {
        conn: u32,
        zxid: i64,
    },
    Established {
        conn: u32,
        session: SessionId,
    },
    Refused {
        conn: u32,
    },
    Closed {
        conn: u32,
    },
    Aborted {
        conn: u32,
    },
}

#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) told: Vec<Told>,
    pub(crate) logged: Vec<Zxid>,
    pub(crate) digests: Vec<(Zxid, i64)>,
    pub(crate) written: Vec<(String, usize)>,
    pub(crate) shown: Vec<(String, u64)>,
    pub(crate) over_quota: Vec<String>,
}

impl RecordSink for Ends {
    fn append(&mut self, zxid: Zxid, record: &[u8]) {
        let in_record: [u8; 8] = record[12..20].try_into().unwrap();
        assert_eq!(i64::from_be_bytes(in_record), zxid.0);
        self.logged.push(zxid);
    }
}

impl Outlet for Ends {
    fn reply(
        &mut self,
        conn: ConnId,
        _received_us: u64,
        asked: Option<Asked>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let header = header(encode);
        if let Some(asked) = asked {
            assert_eq!(asked.zxid, header.zxid);
            let is_refused_write = asked.op == OpCode::Error;
            assert!(!is_refused_write || header.err != 0);
        }
        self.told.push(Told::Reply {
            conn: conn.watcher.0,
            xid: header.xid.0,
            zxid: header.zxid.0,
            err: header.err,
        });
    }
    fn event(&mut self, watcher: WatcherId, encode: impl FnOnce(&mut Vec<u8>)) {
        let header = header(encode);
        assert_eq!(header.xid, Xid::NOTIFICATION);
        self.told.push(Told::Event {
            conn: watcher.0,
            zxid: header.zxid.0,
        });
    }
    fn is_connected(&self, _: ConnId) -> bool {
        true
    }
    fn may_see(&self, _: WatcherId, permitted: impl FnOnce(&Identities) -> bool) -> bool {
        permitted(&Identities::NONE)
    }
    fn established(&mut self, conn: ConnId, session: SessionId, _: u32, _: Heartbeat) {
        self.told.push(Told::Established {
            conn: conn.watcher.0,
            session,
        });
    }
    fn refused(&mut self, conn: ConnId) {
        self.told.push(Told::Refused {
            conn: conn.watcher.0,
        });
    }
    fn close(&mut self, conn: ConnId) {
        self.told.push(Told::Closed {
            conn: conn.watcher.0,
        });
    }
    fn abort(&mut self, conn: ConnId) {
        self.told.push(Told::Aborted {
            conn: conn.watcher.0,
        });
    }
    fn discard(&mut self, request: &Request<'_>) {
        self.told.push(Told::Aborted {
            conn: request.conn.watcher.0,
        });
    }
    fn written(&mut self, path: &str, bytes: usize) {
        self.written.push((path.to_owned(), bytes));
    }
    fn shown(&mut self, path: &str, length: u64) {
        self.shown.push((path.to_owned(), length));
    }
    fn over_quota(&mut self, path: &str) {
        self.over_quota.push(path.to_owned());
    }
    fn digest(&mut self, zxid: Zxid, digest: i64) {
        self.digests.push((zxid, digest));
    }
}

pub(crate) fn header(encode: impl FnOnce(&mut Vec<u8>)) -> ReplyHeader {
    let mut frame = Vec::new();
    encode(&mut frame);
    let length: [u8; 4] = frame[..4].try_into().unwrap();
    assert_eq!(
        usize::try_from(i32::from_be_bytes(length)).unwrap(),
        frame.len() - 4
    );
    ReplyHeader::decode(&mut Reader::new(&frame[4..])).unwrap()
}

/// A server without clock, disk and network.
pub(crate) struct World {
    pub(crate) replica: Replica,
    pub(crate) tree: Tree,
    pub(crate) watches: WatchTable,
    pub(crate) ends: Ends,
    pub(crate) now_ms: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let tree = Tree::new();
        let options = ReplicaOptions {
            tick_ms: 100,
            server_id: 1,
            prep: PrepOptions::default(),
            reaper: ReaperOptions::default(),
        };
        let now = Now {
            mono_ms: 0,
            wall_ms: 1_700_000_000_000,
        };
        Self {
            replica: Replica::new(options, &tree, now),
            tree,
            watches: WatchTable::new(0),
            ends: Ends::default(),
            now_ms: 0,
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            mono_ms: self.now_ms,
            wall_ms: 1_700_000_000_000,
        }
    }

    pub(crate) fn connect(&mut self, conn: u32, session: Option<SessionId>, timeout_ms: u32) {
        let now = self.now();
        let mut log = Ends::default();
        self.replica.connect(
            now,
            &self.tree,
            conn_id(conn),
            session,
            timeout_ms,
            &mut log,
            &mut self.ends,
        );
        self.ends.logged.extend(log.logged);
    }

    pub(crate) fn session(&mut self, conn: u32, timeout_ms: u32) -> SessionId {
        self.connect(conn, None, timeout_ms);
        self.settle();
        match self.take().last() {
            Some(Told::Established { session, .. }) => *session,
            other => panic!("no session but {other:?}"),
        }
    }

    pub(crate) fn ask(&mut self, conn: u32, session: SessionId, xid: i32, ask: &Ask<'_>) {
        let mut body = Vec::new();
        ask.encode(&mut Writer::new(&mut body));
        let request = Request {
            conn: conn_id(conn),
            session,
            xid: Xid(xid),
            op: ask.op(),
            body: &body,
            identities: &Arc::new(Identities::NONE),
            received_us: 0,
        };
        let now = self.now();
        let mut log = Ends::default();
        self.replica
            .propose(now, &self.tree, &request, &mut log, &mut self.ends);
        self.ends.logged.extend(log.logged);
    }

    pub(crate) fn apply(&mut self) {
        self.replica.apply(
            &mut self.tree,
            &mut self.watches,
            &mut self.ends,
            usize::MAX,
        );
        assert_eq!(self.replica.divergence(), None);
    }

    /// Everything proposed becomes durable, committed and applied.
    pub(crate) fn settle(&mut self) {
        let last = self.replica.last_proposed();
        self.replica.handle_durable(last);
        self.replica.handle_committed(last);
        self.apply();
    }

    pub(crate) fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.ends.told)
    }
}

pub(crate) fn conn_id(conn: u32) -> ConnId {
    ConnId {
        watcher: WatcherId(conn),
        generation: 1,
    }
}

pub(crate) fn open_acl() -> AclListBuf {
    let mut acl = AclListBuf::new();
    acl.push(AclRef::new(Perms::ALL, "world", "anyone"));
    acl
}

pub(crate) fn create<'a>(path: &'a str, acl: &'a AclListBuf, flags: i32) -> Ask<'a> {
    Ask::Create(CreateRequest {
        path: Some(path.into()),
        data: Some(b"x"),
        acl: acl.as_list(),
        flags,
        ttl_ms: -1,
    })
}

pub(crate) fn set_data(path: &str) -> Ask<'_> {
    Ask::SetData(SetData {
        path: Some(path.into()),
        data: Some(b"y"),
        version: -1,
    })
}

pub(crate) fn reply(conn: u32, xid: i32, zxid: i64, err: ErrorCode) -> Told {
    Told::Reply {
        conn,
        xid,
        zxid,
        err: err.to_i32(),
    }
}
