//! Operations that change no node: reads, and everything about watches.
//!
//! Each runs on the connection's own task against a tree that does not change meanwhile; a watch is registered under
//! the same guard, so nothing slips between the data and the watch on it. Checks come in ZooKeeper's order. Replies
//! are written straight into the connection's buffer.

use ironkeeper_proto::{
    AclListBuf, AddWatchMode, ErrorCode, EventType, MultiHeader, MultiRequest, MultiResult, OpCode,
    PathWatch, Perms, Record as _, Request, SessionId, SetWatches, StringList, Writer, Zxid,
};

use crate::acl::{self, AclRules, Identities};
use crate::watch::{WatchModes, WatchTable, WatcherId};
use crate::{NodeRef, Tree, utf16_len};

/// The connection that a request came from.
#[derive(Clone, Copy, Debug)]
pub struct ReadContext<'a> {
    /// Its session.
    pub session: SessionId,
    /// Its identities when it read the request.
    pub identities: &'a Identities,
    /// Its number in the watch table.
    pub watcher: WatcherId,
    /// Who may do what.
    pub rules: &'a AclRules,
}

/// The watch table, however it is kept from others: it is asked for only by requests that touch it.
pub trait WatchAccess {
    /// Runs `f` with the table.
    fn with<R>(&mut self, f: impl FnOnce(&mut WatchTable) -> R) -> R;
}

impl WatchAccess for WatchTable {
    fn with<R>(&mut self, f: impl FnOnce(&mut WatchTable) -> R) -> R {
        f(self)
    }
}

impl WatchAccess for &std::sync::Mutex<WatchTable> {
    /// A poisoned table is used on: a panic elsewhere ends the process anyway.
    fn with<R>(&mut self, f: impl FnOnce(&mut WatchTable) -> R) -> R {
        f(&mut self
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// What a read leads to beside its reply.
pub trait ReadSink {
    /// An event that setWatches makes up: with zxid -1, to be sent before the reply.
    fn event(&mut self, kind: EventType, path: &str);
    /// A node was shown to a client, with `length` of data or of its children's names, as
    /// [`utf16_len`] counts: for statistics. Parts of a multiRead tell one by one.
    fn shown(&mut self, path: &str, length: u64);
}

/// Serves one request. The record of the reply is appended to `out`, without a header; after an error nothing is.
pub fn serve_read(
    tree: &Tree,
    watches: &mut impl WatchAccess,
    context: &ReadContext<'_>,
    op: OpCode,
    body: &[u8],
    out: &mut Vec<u8>,
    sink: &mut impl ReadSink,
) -> ErrorCode {
    let start = out.len();
    let result = match Request::decode(op, body) {
        Ok(request) => serve(tree, watches, context, &request, out, sink),
        Err(_) => Err(ErrorCode::MarshallingError),
    };
    match result {
        Ok(()) => ErrorCode::Ok,
        Err(code) => {
            out.truncate(start);
            code
        }
    }
}

type Served = Result<(), ErrorCode>;

fn serve(
    tree: &Tree,
    watches: &mut impl WatchAccess,
    context: &ReadContext<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
    sink: &mut impl ReadSink,
) -> Served {
    match request {
        Request::GetData(request) => {
            let (path, node) = readable(tree, context, request.path.as_deref())?;
            watch(watches, context, request, path, WatchModes::DATA);
            write_data(path, node, out, sink);
        }
        Request::Exists(request) => exists(tree, watches, context, request, out, sink)?,
        Request::GetChildren(request) => {
            let (path, node) = readable(tree, context, request.path.as_deref())?;
            watch(watches, context, request, path, WatchModes::CHILD);
            write_children(path, node, out, sink);
        }
        Request::GetChildren2(request) => {
            let (path, node) = readable(tree, context, request.path.as_deref())?;
            watch(watches, context, request, path, WatchModes::CHILD);
            write_children(path, node, out, sink);
            node.stat().encode(&mut Writer::new(out));
        }
        Request::GetAcl { path } => get_acl(tree, context, path.as_deref(), out)?,
        Request::GetAllChildrenNumber { path } => {
            let (path, _) = readable(tree, context, path.as_deref())?;
            let count = tree.all_children_number(path).ok_or(ErrorCode::NoNode)?;
            Writer::new(out).count(count);
        }
        Request::GetEphemerals { prefix } => ephemerals(tree, context, prefix.as_deref(), out),
        Request::Sync { path } => Writer::new(out).text(path.as_deref()),
        Request::Ping => {}
        Request::WhoAmI => who_am_i(context, out),
        Request::MultiRead(multi) => multi_read(tree, context, multi, out, sink),
        Request::CheckWatches { path, kind } => {
            let path = path.as_deref().unwrap_or_default();
            if !watches.with(|table| table.contains(context.watcher, path, *kind)) {
                return Err(ErrorCode::NoWatcher);
            }
        }
        Request::RemoveWatches { path, kind } => {
            let path = path.as_deref().unwrap_or_default();
            if !watches.with(|table| table.remove(context.watcher, path, *kind)) {
                return Err(ErrorCode::NoWatcher);
            }
        }
        Request::AddWatch { path, mode } => {
            let modes = match mode {
                AddWatchMode::Persistent => WatchModes::PERSISTENT,
                AddWatchMode::PersistentRecursive => WatchModes::RECURSIVE,
            };
            // A watch on no path is accepted, and can be asked for and removed by no path.
            let path = path.as_deref().unwrap_or_default();
            watches.with(|table| table.add(context.watcher, path, modes));
            // Without this number the Java client takes the connection for broken.
            Writer::new(out).i32(0);
        }
        Request::SetWatches(lists) | Request::SetWatches2(lists) => {
            set_watches(tree, watches, context, lists, sink)?;
        }
        // A write does not come here.
        _ => return Err(ErrorCode::Unimplemented),
    }
    Ok(())
}

/// A node that is there and may be read.
fn readable<'t, 'p>(
    tree: &'t Tree,
    context: &ReadContext<'_>,
    path: Option<&'p str>,
) -> Result<(&'p str, NodeRef<'t>), ErrorCode> {
    let path = path.ok_or(ErrorCode::MarshallingError)?;
    let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
    check(context, node, Perms::READ)?;
    Ok((path, node))
}

fn check(context: &ReadContext<'_>, node: NodeRef<'_>, wanted: Perms) -> Served {
    if acl::allows(context.rules, node.acl(), wanted, context.identities) {
        Ok(())
    } else {
        Err(ErrorCode::NoAuth)
    }
}

fn watch(
    watches: &mut impl WatchAccess,
    context: &ReadContext<'_>,
    request: &PathWatch<'_>,
    path: &str,
    modes: WatchModes,
) {
    if request.watch {
        watches.with(|table| table.add(context.watcher, path, modes));
    }
}

/// The watch is left even if there is no such node, but not if it must not be read.
fn exists(
    tree: &Tree,
    watches: &mut impl WatchAccess,
    context: &ReadContext<'_>,
    request: &PathWatch<'_>,
    out: &mut Vec<u8>,
    sink: &mut impl ReadSink,
) -> Served {
    let path = request.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    let node = tree.get(path);
    if let Some(node) = node {
        check(context, node, Perms::READ)?;
    }
    watch(watches, context, request, path, WatchModes::DATA);
    let node = node.ok_or(ErrorCode::NoNode)?;
    node.stat().encode(&mut Writer::new(out));
    sink.shown(path, 0);
    Ok(())
}

/// One entry with READ or ADMIN is enough; without ADMIN password hashes are cut off.
fn get_acl(
    tree: &Tree,
    context: &ReadContext<'_>,
    path: Option<&str>,
    out: &mut Vec<u8>,
) -> Served {
    let path = path.ok_or(ErrorCode::MarshallingError)?;
    let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
    check(context, node, Perms(Perms::READ.0 | Perms::ADMIN.0))?;
    let mut writer = Writer::new(out);
    if check(context, node, Perms::ADMIN).is_ok() {
        writer.raw(node.acl().as_bytes());
    } else {
        let mut redacted = AclListBuf::new();
        acl::redact(node.acl(), &mut redacted);
        writer.raw(redacted.as_list().as_bytes());
    }
    node.stat().encode(&mut writer);
    Ok(())
}

/// Null, blank and "/" mean all; anything else is a prefix of text, not of path components.
fn ephemerals(tree: &Tree, context: &ReadContext<'_>, prefix: Option<&str>, out: &mut Vec<u8>) {
    let prefix = prefix.unwrap_or_default();
    let prefix = match prefix.trim_matches(|c| c <= ' ') {
        "" | "/" => "",
        _ => prefix,
    };
    let count_at = out.len();
    let mut writer = Writer::new(out);
    writer.count(0);
    let mut count: i32 = 0;
    let mut path = String::new();
    for node in tree.ephemerals(context.session) {
        path.clear();
        node.push_path(&mut path);
        if path.starts_with(prefix) {
            writer.str(&path);
            count += 1;
        }
    }
    out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
}

fn who_am_i(context: &ReadContext<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    writer.count(context.identities.iter().count());
    for identity in context.identities.iter() {
        writer.str(identity.scheme());
        writer.str(identity.user());
    }
}

/// The length of a reply to multiRead beyond which its further parts are refused: a request of a megabyte could ask
/// for one node of a megabyte tens of thousands of times.
const MULTI_READ_BYTES_MAX: usize = 16 << 20;

/// Parts are independent and set no watches.
fn multi_read(
    tree: &Tree,
    context: &ReadContext<'_>,
    multi: &MultiRequest<'_>,
    out: &mut Vec<u8>,
    sink: &mut impl ReadSink,
) {
    let start = out.len();
    for part in multi.iter() {
        let header = MultiHeader {
            kind: part.op().to_i32(),
            done: false,
            err: 0,
        };
        let node = if out.len() - start > MULTI_READ_BYTES_MAX {
            Err(ErrorCode::MarshallingError)
        } else {
            readable(tree, context, part.path().flatten())
        };
        match node {
            Ok((path, node)) => {
                header.encode(&mut Writer::new(out));
                match part {
                    Request::GetChildren(_) => write_children(path, node, out, sink),
                    _ => write_data(path, node, out, sink),
                }
            }
            Err(code) => {
                MultiResult::Error {
                    code: code.to_i32(),
                }
                .encode(&mut Writer::new(out));
            }
        }
    }
    MultiHeader::END.encode(&mut Writer::new(out));
}

fn write_data(path: &str, node: NodeRef<'_>, out: &mut Vec<u8>, sink: &mut impl ReadSink) {
    let (mut writer, data) = (Writer::new(out), node.data());
    writer.buffer(data);
    node.stat().encode(&mut writer);
    sink.shown(path, data.map_or(0, |data| data.len() as u64));
}

fn write_children(path: &str, node: NodeRef<'_>, out: &mut Vec<u8>, sink: &mut impl ReadSink) {
    let children = node.children();
    let mut writer = Writer::new(out);
    writer.count(children.len());
    let mut length = 0;
    for child in children {
        let name = child.name_bytes();
        writer.buffer(Some(name));
        length += if name.is_ascii() {
            name.len() as u64
        } else {
            utf16_len(child.name())
        };
    }
    sink.shown(path, length);
}

/// A null list or a null path in it ends it where it is met: what came before has taken effect.
fn set_watches(
    tree: &Tree,
    watches: &mut impl WatchAccess,
    context: &ReadContext<'_>,
    lists: &SetWatches<'_>,
    sink: &mut impl ReadSink,
) -> Served {
    let since = lists.relative_zxid;
    let mut each = |list: StringList<'_>,
                    verdict: &dyn Fn(Option<NodeRef<'_>>) -> Option<EventType>,
                    modes: WatchModes|
     -> Served {
        if list.is_null() {
            return Err(ErrorCode::MarshallingError);
        }
        for path in list.iter() {
            let path = path.ok_or(ErrorCode::MarshallingError)?;
            match verdict(tree.get(&path)) {
                Some(kind) => sink.event(kind, &path),
                None => {
                    watches.with(|table| table.add(context.watcher, &path, modes));
                }
            }
        }
        Ok(())
    };
    let changed =
        |node: Option<NodeRef<'_>>, at: fn(NodeRef<'_>) -> Zxid, kind: EventType| match node {
            None => Some(EventType::NodeDeleted),
            Some(node) => (at(node) > since).then_some(kind),
        };
    each(
        lists.data,
        &|node| changed(node, |n| n.stored_stat().mzxid, EventType::NodeDataChanged),
        WatchModes::DATA,
    )?;
    each(
        lists.exist,
        &|node| node.map(|_| EventType::NodeCreated),
        WatchModes::DATA,
    )?;
    each(
        lists.child,
        &|node| {
            changed(
                node,
                |n| n.stored_stat().pzxid,
                EventType::NodeChildrenChanged,
            )
        },
        WatchModes::CHILD,
    )?;
    each(lists.persistent, &|_| None, WatchModes::PERSISTENT)?;
    each(lists.persistent_recursive, &|_| None, WatchModes::RECURSIVE)
}
