//! From requests to txns: validation against the tree as it will be, and the record of the log.
//!
//! A request is checked against the committed tree plus all that was accepted before it and is not applied yet, in
//! the order of checks that ZooKeeper has; clients see that order in which error they get. Accepted or refused, it
//! becomes one record (header, body, digest trailer), appended to the caller's buffer: encoded once, for the log, for
//! peers and for apply. A refused request is an error txn and takes a zxid all the same.
//!
//! The digest trailer is the digest of the whole tree after the txn, predicted from the outstanding changes; apply
//! arrives at the same number, or something is broken. (Of a setData it takes the node's over: [`Foreseen`].)
//!
//! Nothing here knows sessions: whether one is live, closing or elsewhere is the caller's to say, in
//! [`RequestContext::session_error`], because the place of that check among the others is visible to clients.

mod change;
mod create;
mod multi;
mod outstanding;
mod session;
mod state;

use ironkeeper_proto::txn::{DIGEST_BYTES, DIGEST_VERSION, HEADER_BYTES};
use ironkeeper_proto::{
    AclList, AclListBuf, ErrorCode, MultiRequest, OpCode, Perms, Record as _, Request, SessionId,
    Txn, TxnDigest, TxnHeader, Writer, Xid, Zxid, encode_record,
};

use crate::acl::{self, AclRules, Expanded, Identities};
use crate::digest;
use crate::{NodeId, QuotaExceeded, Tree};
use outstanding::{Key, Outstanding};
use state::{Found, State};

/// Settings of [`Prep`].
#[derive(Clone, Debug)]
pub struct PrepOptions {
    /// `zookeeper.digest.enabled`: records carry the digest of the tree.
    pub digest: bool,
    /// `zookeeper.extendedTypesEnabled`: TTL nodes may be created.
    pub extended_types: bool,
    /// `reconfigEnabled`. (On a standalone server reconfig is then unimplemented instead of disabled.)
    pub reconfig: bool,
    /// `zookeeper.closeSessionTxn.enabled`: the closing of a session names the nodes it deletes.
    pub close_session_paths: bool,
    /// No record becomes longer: a request that would make one is refused, and a session that leaves more ephemerals
    /// than it could name leaves them unnamed.
    pub record_bytes_max: usize,
    /// `zookeeper.enforceQuota`: hard quotas refuse what they have no room for.
    pub enforce_quota: bool,
    /// Who may do what.
    pub acl: AclRules,
    /// Keeps clients from choosing paths that collide in hash tables; any value is correct.
    pub hash_seed: u64,
}

impl Default for PrepOptions {
    fn default() -> Self {
        PrepOptions {
            digest: true,
            extended_types: false,
            reconfig: false,
            close_session_paths: true,
            record_bytes_max: 16 << 20,
            enforce_quota: false,
            acl: AclRules::default(),
            hash_seed: 0,
        }
    }
}

/// What a request is validated with, beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    /// Who asks. New ephemeral nodes become this session's.
    pub session: SessionId,
    /// The request's own number.
    pub cxid: Xid,
    /// The zxid that the record gets, accepted or not: one above the last one given out.
    pub zxid: Zxid,
    /// Wall clock, ms since 1970.
    pub time_ms: i64,
    /// Those of the connection when it read the request.
    pub identities: &'a Identities,
    /// The session is local and may not be made global: it can have no ephemeral nodes.
    pub local_session: bool,
    /// What the session check said: -112 if the session is closing or unknown, -118 if it has moved.
    pub session_error: Option<ErrorCode>,
}

impl<'a> RequestContext<'a> {
    fn header(&self, kind: OpCode) -> TxnHeader {
        TxnHeader {
            session: self.session,
            cxid: self.cxid,
            zxid: self.zxid,
            time_ms: self.time_ms,
            kind,
        }
    }

    fn check_session(&self) -> Result<(), ErrorCode> {
        self.session_error.map_or(Ok(()), Err)
    }
}

/// What became of a request. The rest of its reply comes from applying the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The type of the txn written.
    pub kind: OpCode,
    /// For the reply header. 0 for a failed multi: it tells its failure in its results.
    pub err: ErrorCode,
    /// Of a multi: the error of the part that failed. (-118 there closes the connection, like at top level.)
    pub multi_err: ErrorCode,
    /// The bytes are no such request at all: no zxid is taken, and the record is to be dropped.
    pub unparsable: bool,
}

/// What validation found out and apply may take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// Where the node is.
    pub node: NodeId,
    pub(crate) digests: Option<Digests>,
}

/// The digest of a node that is given other data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) before: u32,
    pub(crate) after: u32,
}

/// Validates write requests. One for a leader or a standalone server, for as long as it is one.
pub struct Prep {
    options: PrepOptions,
    outstanding: Outstanding,
    /// Digest of the tree with all outstanding changes.
    digest: u64,
    acl_buffer: AclListBuf,
    /// Bytes that a list of the request at hand may become.
    acl_bytes_max: usize,
    path_buffer: String,
    /// Of the setData at hand.
    foreseen: Option<Foreseen>,
    quotas: QuotasMet,
}

/// What quotas had no room for, until somebody asks.
#[derive(Debug, Default)]
struct QuotasMet {
    /// The first such write, refused or not.
    exceeded: Option<QuotaExceeded>,
    /// Path of the last one that was refused.
    refused: Option<String>,
}

impl Prep {
    /// With nothing outstanding: the tree must hold all that was accepted before.
    pub fn new(options: PrepOptions) -> Self {
        Prep {
            outstanding: Outstanding::new(options.hash_seed),
            options,
            digest: 0,
            acl_buffer: AclListBuf::new(),
            acl_bytes_max: 0,
            path_buffer: String::new(),
            foreseen: None,
            quotas: QuotasMet::default(),
        }
    }

    /// The first write since the last call that a quota had no room for, refused or not: for the operator.
    pub fn take_exceeded_quota(&mut self) -> Option<QuotaExceeded> {
        self.quotas.exceeded.take()
    }

    /// The path that the last request was refused for by a quota, if it was.
    pub fn take_refused_by_quota(&mut self) -> Option<String> {
        self.quotas.refused.take()
    }

    /// Of the last request, if it was a setData: what apply would otherwise find out again, for
    /// [`Tree::apply_foreseen`].
    pub fn take_foreseen(&mut self) -> Option<Foreseen> {
        self.foreseen.take()
    }

    /// Settings.
    pub fn options(&self) -> &PrepOptions {
        &self.options
    }

    /// Paths with a change that is not applied yet.
    pub fn outstanding_len(&self) -> usize {
        self.outstanding.len()
    }

    /// Forgets what the tree holds by now. [`Self::prepare`] and its like do it by themselves; on an idle server
    /// this gives the memory back earlier.
    pub fn applied(&mut self, zxid: Zxid) {
        self.outstanding.applied(zxid);
    }

    /// Validates a client's write request and appends its record. `body` is what follows the request header. The
    /// caller has refused what is no client request at all.
    pub fn prepare(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        op: OpCode,
        body: &[u8],
        record: &mut Vec<u8>,
    ) -> Prepared {
        if op == OpCode::CloseSession {
            return self.close_session(tree, context, record);
        }
        self.catch_up(tree);
        let start = record.len();
        let decoded = Request::decode(op, body);
        let Ok(request) = &decoded else {
            // Apache numbers a multi before it reads its parts, unless a list of it is null.
            let unparsable = op != OpCode::Multi || MultiRequest::has_null_acl(body);
            let refused = refuse(context, ErrorCode::MarshallingError, start, record);
            return Prepared {
                unparsable,
                ..refused
            };
        };
        record.resize(start + HEADER_BYTES, 0);
        self.foreseen = None;
        // Of a single write nothing else grows but for a few numbers.
        self.acl_bytes_max = self.record_room().saturating_sub(body.len());
        let result = match request {
            Request::Multi(multi) => return self.multi(tree, context, multi, start, record),
            Request::Create(create)
            | Request::Create2(create)
            | Request::CreateContainer(create) => self.create(tree, context, op, create, record),
            Request::CreateTtl(create) => self.create(tree, context, op, create, record),
            Request::Delete(delete) => self.delete(tree, context, delete, record),
            Request::SetData(set) => self.set_data(tree, context, set, record),
            Request::SetAcl(set) => self.set_acl(tree, context, set, record),
            Request::Reconfig(_) if !self.options.reconfig => Err(ErrorCode::ReconfigDisabled),
            Request::Reconfig(_) => context.check_session().and(Err(ErrorCode::Unimplemented)),
            // A read or an unknown kind does not come here; if it does, nothing is changed.
            _ => Err(ErrorCode::Unimplemented),
        };
        match result {
            Ok(()) => self.finish(context, op, start, record),
            Err(code) => refuse(context, code, start, record),
        }
    }

    /// Appends the record of a request that the caller refuses for reasons of its own.
    pub fn refuse(
        &mut self,
        context: &RequestContext<'_>,
        code: ErrorCode,
        record: &mut Vec<u8>,
    ) -> Prepared {
        let start = record.len();
        refuse(context, code, start, record)
    }

    /// What a record may hold beside its header, its trailer, and what requests do not have.
    fn record_room(&self) -> usize {
        self.options
            .record_bytes_max
            .saturating_sub(RECORD_OVERHEAD_BYTES)
    }

    /// Forgets what was applied. With nothing outstanding the tree's own digest is the truth.
    fn catch_up(&mut self, tree: &Tree) {
        self.outstanding.applied(tree.last_applied());
        if self.outstanding.is_empty() {
            self.digest = tree.digest().cast_unsigned();
        }
    }

    /// Fills in the header in front of a body and appends the trailer.
    fn finish(
        &self,
        context: &RequestContext<'_>,
        kind: OpCode,
        start: usize,
        record: &mut Vec<u8>,
    ) -> Prepared {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&context.session.0.to_be_bytes());
        header[8..12].copy_from_slice(&context.cxid.0.to_be_bytes());
        header[12..20].copy_from_slice(&context.zxid.0.to_be_bytes());
        header[20..28].copy_from_slice(&context.time_ms.to_be_bytes());
        header[28..].copy_from_slice(&kind.to_i32().to_be_bytes());
        record[start..start + HEADER_BYTES].copy_from_slice(&header);
        if self.options.digest {
            record.reserve(DIGEST_BYTES);
            TxnDigest {
                version: DIGEST_VERSION,
                tree_digest: self.digest.cast_signed(),
            }
            .encode(&mut Writer::new(record));
        }
        Prepared {
            kind,
            err: ErrorCode::Ok,
            multi_err: ErrorCode::Ok,
            unparsable: false,
        }
    }

    /// Changes the stat of a node that exists and stays. `unchanged` is what [`Found::unchanged`] said of it.
    fn change(
        &mut self,
        tree: &Tree,
        (path, key): (&str, Key),
        zxid: Zxid,
        unchanged: Option<NodeId>,
        change: impl FnOnce(&mut State),
    ) {
        let state = self.outstanding.change(tree, path, key, zxid, unchanged);
        let (stat, digest) = (state.stat, state.digest);
        change(state);
        if self.options.digest {
            state.digest = digest::restated(digest, &stat, &state.stat);
            if digest::counts(path) {
                self.digest = moved(self.digest, digest, state.digest);
            }
        }
    }

    /// Notes a node that will be gone, and its digest.
    fn remove(&mut self, path: &str, key: Key, zxid: Zxid, digest: u32) {
        if self.options.digest && digest::counts(path) {
            self.digest = moved(self.digest, digest, 0);
        }
        self.outstanding.put(path, key, zxid, None);
    }

    /// Notes that a node will have lost a child.
    fn remove_child(
        &mut self,
        tree: &Tree,
        parent: (&str, Key),
        zxid: Zxid,
        unchanged: Option<NodeId>,
    ) {
        self.change(tree, parent, zxid, unchanged, |parent| {
            parent.child_count = parent.child_count.saturating_sub(1);
            parent.stat.pzxid = parent.stat.pzxid.max(zxid);
        });
    }
}

/// The tree's digest when that of a node changes.
fn moved(digest: u64, before: u32, after: u32) -> u64 {
    digest
        .wrapping_sub(u64::from(before))
        .wrapping_add(u64::from(after))
}

/// Above what header, digest, a sequence number and the like come to.
const RECORD_OVERHEAD_BYTES: usize = 1024;

/// The open ACL, which nearly all nodes have, costs nothing.
fn check_acl(
    rules: &AclRules,
    tree: &Tree,
    context: &RequestContext<'_>,
    node: Found<'_>,
    wanted: Perms,
) -> Result<(), ErrorCode> {
    if node.is_open() || acl::allows(rules, node.acl(tree), wanted, context.identities) {
        Ok(())
    } else {
        Err(ErrorCode::NoAuth)
    }
}

/// Whether the quota around a path has room. Soft limits, and hard ones that are not enforced, refuse nothing. The
/// change in bytes is asked for only where there is a quota.
fn check_quota(
    tree: &Tree,
    enforced: bool,
    met: &mut QuotasMet,
    (path, count): (&str, i64),
    bytes: impl FnOnce() -> i64,
) -> Result<(), ErrorCode> {
    if !tree.has_quotas() {
        return Ok(());
    }
    let Some(found) = tree.exceeded_quota(path, count, bytes()) else {
        return Ok(());
    };
    let is_refused = enforced && found.is_hard;
    met.exceeded.get_or_insert(found);
    if is_refused {
        met.refused = Some(path.to_owned());
        Err(ErrorCode::QuotaExceeded)
    } else {
        Ok(())
    }
}

/// A list to store: checked, expanded, and in the buffer unless it may be stored as it came.
fn expand<'l>(
    rules: &AclRules,
    list: AclList<'l>,
    identities: &Identities,
    bytes_max: usize,
    buffer: &'l mut AclListBuf,
) -> Result<AclList<'l>, ErrorCode> {
    match acl::expand(rules, list, identities, bytes_max, buffer)? {
        Expanded::AsSent => Ok(list),
        Expanded::InBuffer => Ok(buffer.as_list()),
    }
}

/// Replaces whatever stands behind `start` by an error txn. It has no trailer, like Apache's.
fn refuse(
    context: &RequestContext<'_>,
    code: ErrorCode,
    start: usize,
    record: &mut Vec<u8>,
) -> Prepared {
    record.truncate(start);
    encode_record(
        record,
        &context.header(OpCode::Error),
        &Txn::error(code),
        None,
    );
    Prepared {
        kind: OpCode::Error,
        err: code,
        multi_err: ErrorCode::Ok,
        unparsable: false,
    }
}
