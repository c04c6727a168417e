//! What one session has done, and what may be left of it after a crash.
//!
//! A session's operations take effect in the order in which they were sent. So whatever a crash
//! takes away, what is left of a session must be the outcome of its first `p` operations, with `p`
//! at least the number of operations that were answered. This one sentence holds four promises:
//! nothing acknowledged is lost, nothing is half there (a multi is one operation), nothing is there
//! without what went before it, and nothing is there twice (versions count).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use ironkeeper_client::Session;
use ironkeeper_client::requests::{self, Multi};
use ironkeeper_proto::{CreateFlags, Request, Zxid};

/// Parent of all sequential nodes, shared by all sessions.
pub(crate) const QUEUE: &str = "/q";
/// Names of sequential nodes before their number.
const SEQUENCE_PREFIX: &str = "/q/n-";
/// A node that is never made: a delete of it makes a multi fail.
const NOWHERE: &str = "/nowhere";

/// One change of a node. Sequential nodes, whose names are not known beforehand, are called by
/// their data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Create {
        path: String,
        data: Vec<u8>,
        ephemeral: bool,
    },
    Sequence {
        key: String,
        ephemeral: bool,
    },
    Set {
        path: String,
        data: Vec<u8>,
    },
    Delete {
        key: String,
        path: String,
    },
    CloseSession,
}

/// One request: a change alone, or several as a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) changes: Vec<Change>,
    /// The multi ends with an operation that must fail, so nothing of it may happen.
    pub(crate) fails: bool,
}

impl Operation {
    pub(crate) fn of(changes: Vec<Change>) -> Self {
        Self {
            changes,
            fails: false,
        }
    }

    /// Calls `send` with the request.
    pub(crate) fn with_request<T>(&self, send: impl FnOnce(&Request<'_>) -> T) -> T {
        let mut requests: Vec<Request<'_>> = self.changes.iter().map(request_of).collect();
        if self.fails {
            requests.push(requests::delete(NOWHERE, -1));
        }
        match requests.as_slice() {
            [request] => send(request),
            several => send(&Multi::new(several).request()),
        }
    }
}

fn request_of(change: &Change) -> Request<'_> {
    let flags = |ephemeral, sequential| match (ephemeral, sequential) {
        (false, false) => CreateFlags::Persistent,
        (true, false) => CreateFlags::Ephemeral,
        (false, true) => CreateFlags::PersistentSequential,
        (true, true) => CreateFlags::EphemeralSequential,
    };
    match change {
        Change::Create {
            path,
            data,
            ephemeral,
        } => requests::create(path, data, flags(*ephemeral, false)),
        Change::Sequence { key, ephemeral } => {
            requests::create(SEQUENCE_PREFIX, key.as_bytes(), flags(*ephemeral, true))
        }
        Change::Set { path, data } => requests::set(path, data, -1),
        Change::Delete { path, .. } => requests::delete(path, -1),
        Change::CloseSession => Request::CloseSession,
    }
}

/// A node as a session left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) data: Vec<u8>,
    pub(crate) version: i32,
    pub(crate) ephemeral: bool,
    /// Known once the change was answered, or seen.
    pub(crate) czxid: Option<Zxid>,
    pub(crate) mzxid: Option<Zxid>,
    /// The name of a sequential node, once known.
    pub(crate) name: Option<String>,
}

/// A session and its nodes: what is left of it, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) alive: bool,
    /// By path; sequential nodes by their data.
    pub(crate) nodes: BTreeMap<String, Node>,
}

impl State {
    /// Carries out `operation`. `zxid` and the `names` of sequential nodes are known of answered
    /// operations only.
    pub(crate) fn apply(&mut self, operation: &Operation, zxid: Option<Zxid>, names: &[String]) {
        if operation.fails {
            return;
        }
        // The reply to a multi gives the paths of all nodes created, in order.
        let mut created = names.iter();
        for change in &operation.changes {
            match change {
                Change::Create {
                    path,
                    data,
                    ephemeral,
                } => {
                    created.next();
                    let node = new_node(data.clone(), *ephemeral, zxid, None);
                    self.nodes.insert(path.clone(), node);
                }
                Change::Sequence { key, ephemeral } => {
                    let name = created.next().cloned();
                    let node = new_node(key.as_bytes().to_vec(), *ephemeral, zxid, name);
                    self.nodes.insert(key.clone(), node);
                }
                Change::Set { path, data } => {
                    let node = self
                        .nodes
                        .get_mut(path)
                        .expect("only nodes that exist are set");
                    node.data.clone_from(data);
                    node.version += 1;
                    node.mzxid = zxid;
                }
                Change::Delete { key, .. } => {
                    self.nodes
                        .remove(key)
                        .expect("only nodes that exist are deleted");
                }
                Change::CloseSession => {
                    self.alive = false;
                    self.nodes.retain(|_, node| !node.ephemeral);
                }
            }
        }
    }
}

fn new_node(data: Vec<u8>, ephemeral: bool, zxid: Option<Zxid>, name: Option<String>) -> Node {
    Node {
        data,
        version: 0,
        ephemeral,
        czxid: zxid,
        mzxid: zxid,
        name,
    }
}

/// A node as a server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) data: Vec<u8>,
    pub(crate) version: i32,
    pub(crate) owner: i64,
    pub(crate) czxid: Zxid,
    pub(crate) mzxid: Zxid,
    pub(crate) path: String,
}

/// What a server shows of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Whether it gave the session back.
    pub(crate) alive: bool,
    /// By path; sequential nodes by their data.
    pub(crate) nodes: BTreeMap<String, Seen>,
}

/// One session over the whole run, from its first request on.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) number: usize,
    pub(crate) session: Session,
    pub(crate) last_zxid: Zxid,
    /// After all answered operations.
    pub(crate) state: State,
    /// After all operations sent: what the next one may build on.
    pub(crate) projected: State,
    /// Sent and not answered, in order.
    pub(crate) pending: VecDeque<Operation>,
    /// Operations made so far; part of names.
    pub(crate) made: usize,
}

impl History {
    pub(crate) fn new(number: usize, session: Session, last_zxid: Zxid) -> Self {
        let state = State {
            alive: true,
            nodes: BTreeMap::new(),
        };
        Self {
            number,
            session,
            last_zxid,
            projected: state.clone(),
            state,
            pending: VecDeque::new(),
            made: 0,
        }
    }

    /// The node above all nodes of this session but the sequential ones.
    pub(crate) fn directory(&self) -> String {
        format!("/s{}", self.number)
    }

    /// Notes that `operation` has been sent.
    pub(crate) fn sent(&mut self, operation: Operation) {
        self.made += 1;
        self.projected.apply(&operation, None, &[]);
        self.pending.push_back(operation);
    }

    /// Notes that the oldest pending operation was answered with success.
    pub(crate) fn answered(&mut self, zxid: Zxid, names: &[String]) -> Operation {
        let operation = self
            .pending
            .pop_front()
            .expect("an answer to something sent");
        self.state.apply(&operation, Some(zxid), names);
        for change in &operation.changes {
            let Change::Sequence { key, .. } = change else {
                continue;
            };
            let name = self.state.nodes.get(key).and_then(|node| node.name.clone());
            // It may have gone again with its session, by an operation behind this one.
            if let Some(projected) = self.projected.nodes.get_mut(key) {
                projected.name = name;
            }
        }
        self.last_zxid = self.last_zxid.max(zxid);
        operation
    }

    /// Judges what is left of the session. If it is the outcome of the answered operations and some
    /// of those behind them, the history goes on from there, and the number of the latter is
    /// returned.
    pub(crate) fn judge(&mut self, observed: &Observed) -> Result<usize, String> {
        let mut candidate = self.state.clone();
        let mut nearest: Option<Vec<String>> = None;
        for taken in 0..=self.pending.len() {
            if taken > 0 {
                candidate.apply(&self.pending[taken - 1], None, &[]);
            }
            let differences = self.differences(&candidate, observed);
            if differences.is_empty() {
                self.go_on_from(candidate, observed);
                return Ok(taken);
            }
            if nearest
                .as_ref()
                .is_none_or(|best| differences.len() < best.len())
            {
                nearest = Some(differences);
            }
        }
        let nearest = nearest.unwrap_or_default();
        let mut text = format!(
            "session {} ({}): what is left is not the outcome of its {} answered operations and \
             any of the {} behind them; {} differences to the nearest one:",
            self.number,
            self.session.id,
            self.made - self.pending.len(),
            self.pending.len(),
            nearest.len()
        );
        for difference in nearest.iter().take(6) {
            let _ = write!(text, "\n    {difference}");
        }
        Err(text)
    }

    fn go_on_from(&mut self, mut state: State, observed: &Observed) {
        for (key, node) in &mut state.nodes {
            let seen = &observed.nodes[key];
            node.czxid = Some(seen.czxid);
            node.mzxid = Some(seen.mzxid);
            if node.name.is_none() && !key.starts_with('/') {
                node.name = Some(seen.path.clone());
            }
        }
        self.pending.clear();
        self.projected = state.clone();
        self.state = state;
    }

    fn differences(&self, expected: &State, observed: &Observed) -> Vec<String> {
        let mut list = Vec::new();
        if expected.alive != observed.alive {
            let state = |alive| if alive { "alive" } else { "gone" };
            let (expected, observed) = (state(expected.alive), state(observed.alive));
            list.push(format!("the session is {observed}, expected {expected}"));
        }
        for (key, node) in &expected.nodes {
            let Some(seen) = observed.nodes.get(key) else {
                list.push(format!("{key} is missing"));
                continue;
            };
            let owner = if node.ephemeral { self.session.id.0 } else { 0 };
            let mut differ = |what: &str, expected: String, found: String| {
                if expected != found {
                    list.push(format!("{key}: {what} is {found}, expected {expected}"));
                }
            };
            if node.data != seen.data {
                let head = |data: &[u8]| {
                    let head = String::from_utf8_lossy(&data[..data.len().min(20)]).into_owned();
                    format!("{} bytes {head:?}", data.len())
                };
                differ(
                    "data",
                    head(&node.data),
                    format!("{} (or differs later)", head(&seen.data)),
                );
            }
            differ(
                "version",
                node.version.to_string(),
                seen.version.to_string(),
            );
            differ("owner", format!("{owner:#x}"), format!("{:#x}", seen.owner));
            if let Some(zxid) = node.czxid {
                differ("czxid", zxid.to_string(), seen.czxid.to_string());
            }
            if let Some(zxid) = node.mzxid {
                differ("mzxid", zxid.to_string(), seen.mzxid.to_string());
            }
            if let Some(name) = &node.name {
                differ("name", name.clone(), seen.path.clone());
            }
        }
        for key in observed
            .nodes
            .keys()
            .filter(|key| !expected.nodes.contains_key(*key))
        {
            list.push(format!("{key} is there and should not be"));
        }
        list
    }
}

#[cfg(test)]
mod tests;
