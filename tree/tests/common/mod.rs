//! A deliberately dumb model of the state machine, and histories for it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of several tests, each of which uses its part"
)]

pub mod history;
pub mod txns;

use ironkeeper_proto::{
    Acl, AclList, AclListBuf, AclRef, ErrorCode, Perms, Record, SessionId, StatPersisted, Txn,
    TxnHeader, Writer, Zxid,
};
use ironkeeper_tree::digest::node_digest;
use ironkeeper_tree::{CONTAINER_OWNER, NodeKind, NodeRef, ttl_owner};
use std::collections::{BTreeMap, BTreeSet};

/// A node of the model. The ACL is `None` where it is the open one that no table holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    pub acl: Option<Vec<Acl>>,
    pub stat: StatPersisted,
    pub kind: NodeKind,
}

/// Nodes by full path (the root's is ""), each rule written down as plainly as possible.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub nodes: BTreeMap<String, Node>,
    pub sessions: BTreeMap<i64, i32>,
    pub last_applied: Zxid,
}

pub fn acl_of(list: AclList<'_>) -> Option<Vec<Acl>> {
    (!list.is_null()).then(|| list.iter().map(|acl| acl.to_acl()).collect())
}

pub fn acl_buf(entries: &[Acl]) -> AclListBuf {
    entries.iter().map(Acl::as_ref).collect()
}

pub fn open_acl() -> AclListBuf {
    [AclRef::new(Perms::ALL, "world", "anyone")]
        .into_iter()
        .collect()
}

/// Parent and name, if the path is one of a node below the root.
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/').filter(|(_, name)| !name.is_empty())
}

/// What a txn came to: the error, or the path of the node whose stat the reply would hold.
type Done = Result<Option<String>, ErrorCode>;

impl Model {
    pub fn new() -> Model {
        let mut model = Model {
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_applied: Zxid(0),
        };
        for path in ["", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            let config = path.ends_with("config");
            let stat = StatPersisted {
                aversion: if config { -1 } else { 0 },
                ..StatPersisted::default()
            };
            let acl = if config {
                acl_of(AclList::READ_ONLY)
            } else {
                None
            };
            let node = Node {
                data: Some(Vec::new()),
                acl,
                stat,
                kind: NodeKind::Persistent,
            };
            model.nodes.insert(path.to_owned(), node);
        }
        model
    }

    pub fn children(&self, path: &str) -> BTreeSet<&str> {
        let path = if path == "/" { "" } else { path };
        self.nodes
            .keys()
            .filter_map(|other| split(other))
            .filter(|(parent, _)| *parent == path)
            .map(|(_, name)| name)
            .collect()
    }

    fn find(&mut self, path: &str) -> Result<(&mut Node, String), ErrorCode> {
        let path = if path == "/" { "" } else { path };
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        Ok((node, path.to_owned()))
    }

    /// The sum over all nodes, computed afresh.
    pub fn digest(&self) -> i64 {
        let mut sum = 0_u64;
        for (path, node) in &self.nodes {
            if path.starts_with("/zookeeper/") {
                continue;
            }
            let mut bytes = path.clone().into_bytes();
            bytes.extend_from_slice(node.data.as_deref().unwrap_or_default());
            let stat = &node.stat;
            for long in [
                stat.czxid.0,
                stat.mzxid.0,
                stat.pzxid.0,
                stat.ctime,
                stat.mtime,
            ] {
                bytes.extend_from_slice(&long.to_be_bytes());
            }
            for int in [stat.version, stat.cversion, stat.aversion] {
                bytes.extend_from_slice(&int.to_be_bytes());
            }
            bytes.extend_from_slice(&stat.ephemeral_owner.to_be_bytes());
            sum = sum.wrapping_add(u64::from(crc32fast::hash(&bytes)));
        }
        sum.cast_signed()
    }

    /// Applies a txn; one result for each operation, a single one if it is no multi.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Vec<Done> {
        let mut results = Vec::new();
        match txn {
            Txn::Multi(multi) if multi.is_failed() => {
                let mut after = false;
                for part in multi.iter() {
                    let code = match part {
                        Txn::Error { code } => {
                            after = true;
                            ErrorCode::from_i32(code).unwrap()
                        }
                        _ if after => ErrorCode::RuntimeInconsistency,
                        _ => ErrorCode::Ok,
                    };
                    results.push(Err(code));
                }
            }
            Txn::Multi(multi) => results.extend(multi.iter().map(|part| self.op(header, &part))),
            op => results.push(self.op(header, op)),
        }
        self.last_applied = self.last_applied.max(header.zxid);
        results
    }

    fn op(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Done {
        let session = header.session.0;
        match *txn {
            Txn::Create(t) | Txn::Create2(t) => {
                let (owner, kind) = match t.ephemeral {
                    true => (session, NodeKind::Ephemeral),
                    false => (0, NodeKind::Persistent),
                };
                let mends = matches!(txn, Txn::Create(_));
                let cversion = t.parent_cversion.unwrap_or(-1);
                self.create(header, t.path, t.data, t.acl, owner, kind, cversion, mends)
            }
            Txn::CreateContainer(t) => {
                let (owner, kind) = (CONTAINER_OWNER, NodeKind::Container);
                self.create(
                    header,
                    t.path,
                    t.data,
                    t.acl,
                    owner,
                    kind,
                    t.parent_cversion,
                    false,
                )
            }
            Txn::CreateTtl(t) => {
                let (owner, kind) = (ttl_owner(t.ttl_ms), NodeKind::Ttl);
                self.create(
                    header,
                    t.path,
                    t.data,
                    t.acl,
                    owner,
                    kind,
                    t.parent_cversion,
                    false,
                )
            }
            Txn::Delete { path } | Txn::DeleteContainer { path } => self.delete(header, path),
            Txn::SetData(t) | Txn::Reconfig(t) => {
                let (node, path) = self.find(t.path)?;
                node.data = t.data.map(<[u8]>::to_vec);
                node.stat.version = t.version;
                node.stat.mzxid = header.zxid;
                node.stat.mtime = header.time_ms;
                Ok(Some(path))
            }
            Txn::SetAcl(t) => {
                let (node, path) = self.find(t.path)?;
                node.acl = acl_of(t.acl);
                node.stat.aversion = t.version;
                Ok(Some(path))
            }
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(session, timeout_ms);
                Ok(None)
            }
            Txn::CloseSession { paths } => {
                for path in paths.iter().flat_map(|paths| paths.iter()) {
                    let _ = self.delete(header, path);
                }
                let mine = |(_, node): &(&String, &Node)| {
                    node.kind == NodeKind::Ephemeral && node.stat.ephemeral_owner == session
                };
                let rest: Vec<String> = self
                    .nodes
                    .iter()
                    .filter(mine)
                    .map(|(path, _)| path.clone())
                    .collect();
                for path in rest {
                    let _ = self.delete(header, &path);
                }
                self.sessions.remove(&session);
                Ok(None)
            }
            Txn::Error { code } => Err(ErrorCode::from_i32(code).unwrap()),
            _ => Ok(None),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn create(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        acl: AclList<'_>,
        owner: i64,
        kind: NodeKind,
        cversion: i32,
        mends_parent: bool,
    ) -> Done {
        if path == "/" {
            self.nodes.get_mut("").unwrap().acl = acl_of(acl);
            return Err(ErrorCode::NodeExists);
        }
        let (parent, _) = split(path).ok_or(ErrorCode::NoNode)?;
        let above = self.nodes.get_mut(parent).ok_or(ErrorCode::NoNode)?.clone();
        let cversion = if cversion == -1 {
            above.stat.cversion.wrapping_add(1)
        } else {
            cversion
        };
        let exists = self.nodes.contains_key(path);
        if cversion > above.stat.cversion && (!exists || mends_parent) {
            let stat = &mut self.nodes.get_mut(parent).unwrap().stat;
            stat.cversion = cversion;
            stat.pzxid = header.zxid;
        }
        if let Some(node) = self.nodes.get_mut(path) {
            node.acl = acl_of(acl);
            return Err(ErrorCode::NodeExists);
        }
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time_ms,
            mtime: header.time_ms,
            ephemeral_owner: owner,
            ..StatPersisted::default()
        };
        let node = Node {
            data: data.map(<[u8]>::to_vec),
            acl: acl_of(acl),
            stat,
            kind,
        };
        self.nodes.insert(path.to_owned(), node);
        Ok(Some(path.to_owned()))
    }

    fn delete(&mut self, header: &TxnHeader, path: &str) -> Done {
        let (parent, _) = split(path).ok_or(ErrorCode::NoNode)?;
        let above = self.nodes.get_mut(parent).ok_or(ErrorCode::NoNode)?;
        above.stat.pzxid = above.stat.pzxid.max(header.zxid);
        self.nodes.remove(path).ok_or(ErrorCode::NoNode)?;
        let below = format!("{path}/");
        self.nodes.retain(|other, _| !other.starts_with(&below));
        Ok(None)
    }

    /// What a client would see of a node.
    pub fn client_stat(&self, path: &str) -> ironkeeper_proto::Stat {
        let node = &self.nodes[path];
        let owner = if node.kind == NodeKind::Ephemeral {
            node.stat.ephemeral_owner
        } else {
            0
        };
        let data_len = node.data.as_ref().map_or(0, Vec::len) as i32;
        node.stat
            .to_stat(owner, data_len, self.children(path).len() as i32)
    }

    /// Compares everything with a tree or an image, given by its root.
    pub fn check(&self, root: NodeRef<'_>) {
        let mut seen = 0;
        for node in root.subtree() {
            let path = node.path();
            let key = if path == "/" { "" } else { &path };
            let expected = self
                .nodes
                .get(key)
                .unwrap_or_else(|| panic!("{path} is not there"));
            assert_eq!(node.data(), expected.data.as_deref(), "{path}");
            assert_eq!(node.stored_stat(), expected.stat, "{path}");
            assert_eq!(node.stat(), self.client_stat(key), "{path}");
            let digest = node_digest(&path, node.data(), &node.stored_stat());
            assert_eq!(node.digest(), digest, "{path}");
            assert_eq!(node.kind(), expected.kind, "{path}");
            let is_open = node.acl_id() == ironkeeper_tree::AclId::OPEN;
            assert_eq!(is_open, expected.acl.is_none(), "{path}");
            if !is_open {
                assert_eq!(acl_of(node.acl()), expected.acl, "{path}");
            }
            let names: BTreeSet<&str> = node.children().map(NodeRef::name).collect();
            assert_eq!(names, self.children(key), "{path}");
            assert_eq!(node.children().len(), names.len(), "{path}");
            seen += 1;
        }
        assert_eq!(seen, self.nodes.len());
    }

    /// The same with a live tree, which has more ways to be asked.
    pub fn check_tree(&self, tree: &ironkeeper_tree::Tree) {
        self.check(tree.root());
        assert_eq!(tree.digest(), self.digest());
        assert_eq!(tree.last_applied(), self.last_applied);
        let sessions: BTreeMap<i64, i32> = tree
            .sessions()
            .map(|session| (session.id.0, session.timeout_ms))
            .collect();
        assert_eq!(sessions, self.sessions);
        let counters = tree.counters();
        let of_kind = |kind| self.nodes.values().filter(move |node| node.kind == kind);
        assert_eq!(counters.ephemerals, of_kind(NodeKind::Ephemeral).count());
        assert_eq!(counters.containers, of_kind(NodeKind::Container).count());
        assert_eq!(counters.ttls, of_kind(NodeKind::Ttl).count());
        assert_eq!(tree.containers().count(), counters.containers);
        assert_eq!(tree.ttls().count(), counters.ttls);
        let data: usize = self
            .nodes
            .values()
            .filter_map(|node| node.data.as_ref())
            .map(Vec::len)
            .sum();
        assert_eq!(counters.data_bytes, data as u64);
        let units: usize = self
            .nodes
            .keys()
            .map(|path| path.encode_utf16().count())
            .sum();
        let root = self.nodes[""].data.as_ref().map_or(0, Vec::len);
        assert_eq!(
            counters.approximate_data_size,
            (data + units + 1 + root) as u64
        );
        let lists: BTreeSet<Vec<u8>> = self
            .nodes
            .values()
            .filter_map(|node| Some(acl_buf(node.acl.as_ref()?).into_bytes()))
            .collect();
        assert_eq!(counters.acls, lists.len());
        for (path, node) in &self.nodes {
            assert_eq!(tree.get(path).unwrap().stored_stat(), node.stat, "{path}");
            let below = format!("{path}/");
            let descendants = self
                .nodes
                .keys()
                .filter(|other| other.starts_with(&below))
                .count();
            let asked = if path.is_empty() { "/" } else { path };
            assert_eq!(tree.all_children_number(asked), Some(descendants), "{path}");
        }
        let mut owners: BTreeSet<i64> = self.sessions.keys().copied().collect();
        owners.extend(of_kind(NodeKind::Ephemeral).map(|node| node.stat.ephemeral_owner));
        for owner in owners {
            let found: BTreeSet<String> = tree
                .ephemerals(SessionId(owner))
                .map(NodeRef::path)
                .collect();
            let expected: BTreeSet<String> = self
                .nodes
                .iter()
                .filter(|(_, node)| node.kind == NodeKind::Ephemeral)
                .filter(|(_, node)| node.stat.ephemeral_owner == owner)
                .map(|(path, _)| path.clone())
                .collect();
            assert_eq!(found, expected, "session {owner:#x}");
        }
    }
}

/// The bytes of an Apache snapshot with these parts, seals left zero.
pub fn apache_snapshot(
    sessions: &BTreeMap<i64, i32>,
    acls: &[(i64, Vec<Acl>)],
    nodes: &[(String, Option<Vec<u8>>, i64, StatPersisted)],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    ironkeeper_proto::apache::FileHeader::SNAPSHOT.encode(&mut writer);
    writer.count(sessions.len());
    for (&id, &timeout_ms) in sessions {
        writer.i64(id);
        writer.i32(timeout_ms);
    }
    writer.count(acls.len());
    for (id, list) in acls {
        writer.i64(*id);
        acl_buf(list).as_list().encode(&mut writer);
    }
    for (path, data, acl, stat) in nodes {
        writer.str(path);
        writer.buffer(data.as_deref());
        writer.i64(*acl);
        stat.encode(&mut writer);
    }
    writer.str("/");
    writer.i64(0);
    writer.str("/");
    out
}
