//! A server without sockets, disk and peers: requests in, replies and events out, through the real prep, apply, watch
//! table and reads. Every record is decoded again before it is applied, and its digest compared.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, VecDeque};

use ironkeeper_proto::{
    AclList, CreateRequest, ErrorCode, EventType, OpCode, PathVersion, PathWatch, Request,
    Response, SessionId, SetAcl, SetData, Stat, Text, Txn, Writer, Xid, Zxid, decode_record,
};
use ironkeeper_tree::acl::{AclRules, AuthOutcome, Identities, allows};
use ironkeeper_tree::prep::{Foreseen, Prep, PrepOptions, Prepared, RequestContext};
use ironkeeper_tree::read::{ReadContext, ReadSink, serve_read};
use ironkeeper_tree::reply::write_reply;
use ironkeeper_tree::watch::{WatchEffects, WatchSink, WatchTable, WatcherId};
use ironkeeper_tree::{DigestCheck, Tree};

/// One connection with its session.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) session: SessionId,
    pub(crate) watcher: WatcherId,
    pub(crate) identities: Identities,
    pub(crate) local: bool,
    pub(crate) session_error: Option<ErrorCode>,
}

/// What a client gets back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) err: i32,
    pub(crate) zxid: Zxid,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn code(&self) -> ErrorCode {
        ErrorCode::from_i32(self.err).unwrap()
    }

    pub(crate) fn response(&self, op: OpCode) -> Response<'_> {
        assert_eq!(self.err, 0);
        Response::decode(op, &self.body).unwrap()
    }
}

pub(crate) type Event = (WatcherId, EventType, String);

/// See the module's text.
pub(crate) struct Server {
    pub(crate) tree: Tree,
    pub(crate) prep: Prep,
    pub(crate) watches: WatchTable,
    pub(crate) rules: AclRules,
    pub(crate) zxid: Zxid,
    pub(crate) time_ms: i64,
    pub(crate) events: Vec<Event>,
    /// What reads said that they showed.
    pub(crate) shown: Vec<(String, u64)>,
    pub(crate) clients: Vec<Client>,
    pub(crate) records: VecDeque<Vec<u8>>,
    /// What validation foresaw of a record.
    foreseen: BTreeMap<Zxid, Foreseen>,
}

struct Sink<'a> {
    events: &'a mut Vec<Event>,
    clients: &'a [Client],
    rules: &'a AclRules,
}

impl<'l> WatchSink<AclList<'l>> for Sink<'_> {
    fn may_read(&mut self, watcher: WatcherId, acl: AclList<'l>) -> bool {
        let client = self.clients.iter().find(|c| c.watcher == watcher).unwrap();
        allows(
            self.rules,
            acl,
            ironkeeper_proto::Perms::READ,
            &client.identities,
        )
    }

    fn event(&mut self, watcher: WatcherId, kind: EventType, path: &str) {
        self.events.push((watcher, kind, path.to_owned()));
    }
}

impl Default for Server {
    fn default() -> Self {
        Server::new(PrepOptions::default())
    }
}

impl Server {
    pub(crate) fn new(options: PrepOptions) -> Self {
        Server {
            tree: Tree::new(),
            rules: options.acl.clone(),
            prep: Prep::new(options),
            watches: WatchTable::new(7),
            zxid: Zxid::ZERO,
            time_ms: 1_700_000_000_000,
            events: Vec::new(),
            shown: Vec::new(),
            clients: Vec::new(),
            records: VecDeque::new(),
            foreseen: BTreeMap::new(),
        }
    }

    /// A new session from 10.0.0.n.
    pub(crate) fn connect(&mut self) -> Client {
        let n = self.clients.len() as i64 + 1;
        let client = Client {
            session: SessionId(0x0100_0000_0000_0000 + n),
            watcher: WatcherId(n as u32),
            identities: Identities::of_peer([10, 0, 0, n as u8].into()),
            local: false,
            session_error: None,
        };
        self.clients.push(client.clone());
        let mut record = Vec::new();
        let zxid = self.next_zxid();
        let context = context(&client, zxid, self.time_ms);
        self.prep
            .create_session(&self.tree, &context, 30_000, &mut record);
        self.records.push_back(record);
        self.apply_all();
        client
    }

    pub(crate) fn authenticate(&mut self, client: &mut Client, auth: &str) {
        let peer = [10, 0, 0, client.watcher.0 as u8].into();
        let outcome = client.identities.authenticate(
            &self.rules,
            peer,
            Some("digest"),
            Some(auth.as_bytes()),
        );
        assert_eq!(outcome, AuthOutcome::Accepted);
        let known = self
            .clients
            .iter_mut()
            .find(|c| c.watcher == client.watcher)
            .unwrap();
        known.identities = client.identities.clone();
    }

    pub(crate) fn next_zxid(&mut self) -> Zxid {
        self.zxid = self.zxid.next();
        self.time_ms += 3;
        self.zxid
    }

    /// Validates a write and queues its record.
    pub(crate) fn prepare(&mut self, client: &Client, op: OpCode, body: &[u8]) -> Prepared {
        let zxid = self.next_zxid();
        let mut record = b"before".to_vec();
        let context = context(client, zxid, self.time_ms);
        let prepared = self
            .prep
            .prepare(&self.tree, &context, op, body, &mut record);
        assert_eq!(record.drain(..6).as_slice(), b"before");
        self.foreseen
            .extend(self.prep.take_foreseen().map(|foreseen| (zxid, foreseen)));
        self.records.push_back(record);
        prepared
    }

    /// Applies the oldest record and returns its reply.
    pub(crate) fn apply_one(&mut self) -> Option<Reply> {
        let record = self.records.pop_front()?;
        let (header, txn, digest) = decode_record(&record).unwrap();
        let mut sink = Sink {
            events: &mut self.events,
            clients: &self.clients,
            rules: &self.rules,
        };
        let mut effects = WatchEffects::new(&mut self.watches, &mut sink);
        let foreseen = self.foreseen.remove(&header.zxid);
        if let (Some(foreseen), Txn::SetData(set)) = (foreseen, &txn) {
            assert_eq!(self.tree.lookup(set.path), Some(foreseen.node), "{txn:?}");
        }
        let applied =
            self.tree
                .apply_foreseen(&header, &txn, digest.as_ref(), foreseen, &mut effects);
        assert_eq!(applied.anomaly, None, "{txn:?}");
        let want = if digest.is_some() {
            DigestCheck::Equal
        } else {
            DigestCheck::Absent
        };
        assert_eq!(applied.digest, want, "{header:?} {txn:?}");
        let mut body = Vec::new();
        let err = write_reply(&txn, &applied, None, &mut body).expect("not moved");
        Some(Reply {
            err,
            zxid: header.zxid,
            body,
        })
    }

    pub(crate) fn apply_all(&mut self) -> Option<Reply> {
        let mut last = None;
        while let Some(reply) = self.apply_one() {
            last = Some(reply);
        }
        last
    }

    /// A request to its end.
    pub(crate) fn send_raw(&mut self, client: &Client, op: OpCode, body: &[u8]) -> Reply {
        if op.is_write() {
            let prepared = self.prepare(client, op, body);
            let reply = self.apply_all().unwrap();
            assert_eq!(reply.err, prepared.err.to_i32());
            return reply;
        }
        let context = ReadContext {
            session: client.session,
            identities: &client.identities,
            watcher: client.watcher,
            rules: &self.rules,
        };
        let mut body_out = Vec::new();
        let mut seen = Seen {
            watcher: client.watcher,
            events: &mut self.events,
            shown: &mut self.shown,
        };
        let code = serve_read(
            &self.tree,
            &mut self.watches,
            &context,
            op,
            body,
            &mut body_out,
            &mut seen,
        );
        Reply {
            err: code.to_i32(),
            zxid: self.tree.last_applied(),
            body: body_out,
        }
    }

    pub(crate) fn send(&mut self, client: &Client, request: &Request<'_>) -> Reply {
        self.send_raw(client, request.op(), &encode(request))
    }

    pub(crate) fn code(&mut self, client: &Client, request: &Request<'_>) -> ErrorCode {
        self.send(client, request).code()
    }

    pub(crate) fn ok(&mut self, client: &Client, request: &Request<'_>) -> Reply {
        let reply = self.send(client, request);
        assert_eq!(reply.err, 0, "{request:?}");
        reply
    }

    /// Creates and returns the final path.
    pub(crate) fn create(
        &mut self,
        client: &Client,
        path: &str,
        flags: i32,
    ) -> Result<String, ErrorCode> {
        let reply = self.send(client, &create(path, flags));
        if reply.err != 0 {
            return Err(reply.code());
        }
        match reply.response(OpCode::Create) {
            Response::Create { path } => Ok(path.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn stat(&mut self, client: &Client, path: &str) -> Stat {
        match self
            .ok(client, &exists(path, false))
            .response(OpCode::Exists)
        {
            Response::Stat(stat) => stat,
            other => panic!("{other:?}"),
        }
    }

    /// The events since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    #[track_caller]
    pub(crate) fn expect_events(&mut self, want: &[(&Client, EventType, &str)]) {
        let want: Vec<Event> = want
            .iter()
            .map(|(c, kind, path)| (c.watcher, *kind, (*path).to_owned()))
            .collect();
        assert_eq!(self.events(), want);
    }
}

fn context(client: &Client, zxid: Zxid, time_ms: i64) -> RequestContext<'_> {
    RequestContext {
        session: client.session,
        cxid: Xid(5),
        zxid,
        time_ms,
        identities: &client.identities,
        local_session: client.local,
        session_error: client.session_error,
    }
}

pub(crate) fn encode(request: &Request<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    request.encode(&mut Writer::new(&mut body));
    body
}

fn text(path: &str) -> Text<'_> {
    Some(path.into())
}

fn record<'a>(path: &'a str, flags: i32) -> CreateRequest<'a> {
    CreateRequest {
        path: text(path),
        data: Some(b"x"),
        acl: AclList::OPEN,
        flags,
        ttl_ms: -1,
    }
}

pub(crate) fn create(path: &str, flags: i32) -> Request<'_> {
    Request::Create(record(path, flags))
}

pub(crate) fn create2(path: &str, flags: i32) -> Request<'_> {
    Request::Create2(record(path, flags))
}

pub(crate) fn create_acl<'a>(path: &'a str, acl: AclList<'a>) -> Request<'a> {
    Request::Create(CreateRequest {
        acl,
        ..record(path, 0)
    })
}

pub(crate) fn create_data<'a>(path: &'a str, data: Option<&'a [u8]>) -> Request<'a> {
    Request::Create(CreateRequest {
        data,
        ..record(path, 0)
    })
}

pub(crate) fn create_container(path: &str, flags: i32) -> Request<'_> {
    Request::CreateContainer(record(path, flags))
}

pub(crate) fn create_ttl(path: &str, flags: i32, ttl_ms: i64) -> Request<'_> {
    Request::CreateTtl(CreateRequest {
        ttl_ms,
        ..record(path, flags)
    })
}

pub(crate) fn delete(path: &str, version: i32) -> Request<'_> {
    Request::Delete(PathVersion {
        path: text(path),
        version,
    })
}

pub(crate) fn check(path: &str, version: i32) -> Request<'_> {
    Request::Check(PathVersion {
        path: text(path),
        version,
    })
}

pub(crate) fn set_data<'a>(path: &'a str, data: &'a [u8], version: i32) -> Request<'a> {
    Request::SetData(SetData {
        path: text(path),
        data: Some(data),
        version,
    })
}

pub(crate) fn set_acl<'a>(path: &'a str, acl: AclList<'a>, version: i32) -> Request<'a> {
    Request::SetAcl(SetAcl {
        path: text(path),
        acl,
        version,
    })
}

pub(crate) fn exists(path: &str, watch: bool) -> Request<'_> {
    Request::Exists(PathWatch {
        path: text(path),
        watch,
    })
}

pub(crate) fn get_data(path: &str, watch: bool) -> Request<'_> {
    Request::GetData(PathWatch {
        path: text(path),
        watch,
    })
}

pub(crate) fn get_children(path: &str, watch: bool) -> Request<'_> {
    Request::GetChildren(PathWatch {
        path: text(path),
        watch,
    })
}

pub(crate) fn get_acl(path: &str) -> Request<'_> {
    Request::GetAcl { path: text(path) }
}

/// What a read leads to beside its reply.
struct Seen<'a> {
    watcher: WatcherId,
    events: &'a mut Vec<Event>,
    shown: &'a mut Vec<(String, u64)>,
}

impl ReadSink for Seen<'_> {
    fn event(&mut self, kind: EventType, path: &str) {
        self.events.push((self.watcher, kind, path.to_owned()));
    }

    fn shown(&mut self, path: &str, length: u64) {
        self.shown.push((path.to_owned(), length));
    }
}
