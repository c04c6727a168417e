//! The deliberately dumb model: one map from path to node, changed at once; sums and lists are made from nothing each
//! time. It shares with the code under test the rules for paths and for ACLs, which have tests of their own.

use std::collections::BTreeMap;

use ironkeeper_proto::{
    AclList, AclListBuf, CreateRequest, ErrorCode, OpCode, PathVersion, Perms, Request, SetAcl,
    SetData, Zxid, path,
};
use ironkeeper_tree::acl::{self, AclRules, Expanded};
use ironkeeper_tree::{NodeKind, Tree};

use super::harness::Client;
use ErrorCode::{
    BadArguments, BadVersion, EphemeralOnLocalSession, MarshallingError, NoAuth,
    NoChildrenForEphemerals, NoNode, NodeExists, NotEmpty, Ok as Fine, Unimplemented,
};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    data: Option<Vec<u8>>,
    acl: Vec<u8>,
    owner: i64,
    kind: NodeKind,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    cversion: i32,
    aversion: i32,
}

#[derive(Clone)]
pub(crate) struct Model {
    nodes: BTreeMap<String, Node>,
    extended: bool,
    rules: AclRules,
}

type Outcome = Result<(), ErrorCode>;

impl Model {
    pub(crate) fn new(extended: bool, rules: AclRules) -> Model {
        let node = Node {
            data: Some(Vec::new()),
            acl: AclList::OPEN.as_bytes().to_vec(),
            owner: 0,
            kind: NodeKind::Persistent,
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
        };
        let mut nodes = BTreeMap::new();
        for path in ["/", "/zookeeper", "/zookeeper/quota"] {
            nodes.insert(path.to_owned(), node.clone());
        }
        let acl = AclList::READ_ONLY.as_bytes().to_vec();
        nodes.insert(
            "/zookeeper/config".to_owned(),
            Node {
                acl,
                aversion: -1,
                ..node
            },
        );
        Model {
            nodes,
            extended,
            rules,
        }
    }

    pub(crate) fn single(
        &mut self,
        client: &Client,
        request: &Request<'_>,
        zxid: Zxid,
        time: i64,
    ) -> ErrorCode {
        self.op(client, request, request.op(), zxid, time)
            .err()
            .unwrap_or(Fine)
    }

    /// The error of the part that fails.
    pub(crate) fn multi(
        &mut self,
        client: &Client,
        parts: &[Request<'_>],
        zxid: Zxid,
        time: i64,
    ) -> ErrorCode {
        let before = self.nodes.clone();
        for part in parts {
            let op = match part {
                Request::Create(c) | Request::Create2(c) | Request::CreateTtl(c)
                    if c.flags == 4 =>
                {
                    OpCode::CreateContainer
                }
                Request::CreateTtl(c) if c.flags < 5 => OpCode::Create,
                part => part.op(),
            };
            if let Err(code) = self.op(client, part, op, zxid, time) {
                self.nodes = before;
                return code;
            }
        }
        Fine
    }

    pub(crate) fn close(&mut self, client: &Client, zxid: Zxid) {
        let owned = |n: &Node| n.kind == NodeKind::Ephemeral && n.owner == client.session.0;
        let paths: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, n)| owned(n))
            .map(|(p, _)| p.clone())
            .collect();
        for path in paths {
            self.nodes.remove(&path);
            self.node_mut(&parent_of(&path)).unwrap().pzxid = zxid.0;
        }
    }

    fn op(
        &mut self,
        client: &Client,
        request: &Request<'_>,
        op: OpCode,
        zxid: Zxid,
        time: i64,
    ) -> Outcome {
        match request {
            Request::Create(create)
            | Request::Create2(create)
            | Request::CreateContainer(create)
            | Request::CreateTtl(create) => self.create(client, create, op, zxid, time),
            Request::Delete(delete) => self.delete(client, delete, zxid),
            Request::SetData(set) => self.set_data(client, set, zxid, time),
            Request::SetAcl(set) => self.set_acl(client, set),
            Request::Check(check) => {
                session(client)?;
                let path = valid(check.path.as_deref())?;
                let node = self.nodes.get(path).ok_or(NoNode)?;
                self.may(client, node, Perms::READ)?;
                version(node.version, check.version)
            }
            other => panic!("{other:?}"),
        }
    }

    fn create(
        &mut self,
        client: &Client,
        request: &CreateRequest<'_>,
        op: OpCode,
        zxid: Zxid,
        time: i64,
    ) -> Outcome {
        let ttl_flags = matches!(request.flags, 5 | 6);
        if !(0..=6).contains(&request.flags) {
            return Err(BadArguments);
        }
        if ttl_flags && !self.extended {
            return Err(Unimplemented);
        }
        if (op == OpCode::CreateTtl) != ttl_flags || ttl_flags && request.ttl_ms < 1 {
            return Err(BadArguments);
        }
        let ephemeral = matches!(request.flags, 1 | 3);
        if ephemeral && client.local {
            return Err(EphemeralOnLocalSession);
        }
        session(client)?;
        let mut path = request.path.as_deref().ok_or(MarshallingError)?.to_owned();
        if !path.contains('/') || path.contains('\0') {
            return Err(BadArguments);
        }
        let acl = self.expand(client, request.acl)?;
        let parent_path = parent_of(&path);
        let parent = self.nodes.get(&parent_path).ok_or(NoNode)?.clone();
        self.may(client, &parent, Perms::CREATE)?;
        if matches!(request.flags, 2 | 3 | 6) {
            path += &format!("{:010}", parent.cversion);
        }
        if !path::is_valid(&path) {
            return Err(BadArguments);
        }
        if self.nodes.contains_key(&path) {
            return Err(NodeExists);
        }
        if parent.kind == NodeKind::Ephemeral {
            return Err(NoChildrenForEphemerals);
        }
        let (kind, owner) = match op {
            OpCode::CreateContainer => (NodeKind::Container, i64::MIN),
            OpCode::CreateTtl => (NodeKind::Ttl, -0x0100_0000_0000_0000 + request.ttl_ms),
            _ if ephemeral => (NodeKind::Ephemeral, client.session.0),
            _ => (NodeKind::Persistent, 0),
        };
        let node = Node {
            data: request.data.map(<[u8]>::to_vec),
            acl,
            owner,
            kind,
            czxid: zxid.0,
            mzxid: zxid.0,
            pzxid: zxid.0,
            ctime: time,
            mtime: time,
            version: 0,
            cversion: 0,
            aversion: 0,
        };
        self.nodes.insert(path, node);
        let parent = self.node_mut(&parent_path)?;
        parent.cversion += 1;
        parent.pzxid = zxid.0;
        Ok(())
    }

    fn delete(&mut self, client: &Client, request: &PathVersion<'_>, zxid: Zxid) -> Outcome {
        session(client)?;
        let path = request.path.as_deref().ok_or(MarshallingError)?;
        let built_in = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
        if !path.contains('/') || built_in.contains(&path) {
            return Err(BadArguments);
        }
        let parent = self.nodes.get(&parent_of(path)).ok_or(NoNode)?;
        self.may(client, parent, Perms::DELETE)?;
        let node = self.nodes.get(path).ok_or(NoNode)?;
        version(node.version, request.version)?;
        if self.children_of(path) > 0 {
            return Err(NotEmpty);
        }
        self.nodes.remove(path);
        self.node_mut(&parent_of(path))?.pzxid = zxid.0;
        Ok(())
    }

    fn set_data(&mut self, client: &Client, set: &SetData<'_>, zxid: Zxid, time: i64) -> Outcome {
        session(client)?;
        let path = valid(set.path.as_deref())?;
        let node = self.nodes.get(path).ok_or(NoNode)?;
        self.may(client, node, Perms::WRITE)?;
        version(node.version, set.version)?;
        let node = self.node_mut(path)?;
        node.data = set.data.map(<[u8]>::to_vec);
        node.version += 1;
        (node.mzxid, node.mtime) = (zxid.0, time);
        Ok(())
    }

    fn set_acl(&mut self, client: &Client, set: &SetAcl<'_>) -> Outcome {
        session(client)?;
        let path = valid(set.path.as_deref())?;
        let acl = self.expand(client, set.acl)?;
        let node = self.nodes.get(path).ok_or(NoNode)?;
        self.may(client, node, Perms::ADMIN)?;
        version(node.aversion, set.version)?;
        let node = self.node_mut(path)?;
        node.acl = acl;
        node.aversion += 1;
        Ok(())
    }

    fn expand(&self, client: &Client, list: AclList<'_>) -> Result<Vec<u8>, ErrorCode> {
        let mut buffer = AclListBuf::new();
        Ok(
            match acl::expand(
                &self.rules,
                list,
                &client.identities,
                usize::MAX,
                &mut buffer,
            )? {
                Expanded::AsSent => list.as_bytes().to_vec(),
                Expanded::InBuffer => buffer.into_bytes(),
            },
        )
    }

    fn may(&self, client: &Client, node: &Node, wanted: Perms) -> Outcome {
        let list = AclList::from_bytes(&node.acl).unwrap();
        let fine = acl::allows(&self.rules, list, wanted, &client.identities);
        if fine { Ok(()) } else { Err(NoAuth) }
    }

    fn node_mut(&mut self, path: &str) -> Result<&mut Node, ErrorCode> {
        self.nodes.get_mut(path).ok_or(NoNode)
    }

    fn children_of(&self, path: &str) -> usize {
        self.nodes
            .keys()
            .filter(|p| p.as_str() != "/" && parent_of(p) == path)
            .count()
    }

    /// The sum over all nodes that count.
    pub(crate) fn digest(&self) -> i64 {
        let counted = self
            .nodes
            .iter()
            .filter(|(path, _)| !path.starts_with("/zookeeper/"));
        counted.fold(0_i64, |sum, (path, node)| {
            let mut bytes = if path == "/" {
                Vec::new()
            } else {
                path.as_bytes().to_vec()
            };
            bytes.extend(node.data.iter().flatten());
            for long in [node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime] {
                bytes.extend(long.to_be_bytes());
            }
            for int in [node.version, node.cversion, node.aversion] {
                bytes.extend(int.to_be_bytes());
            }
            bytes.extend(node.owner.to_be_bytes());
            sum.wrapping_add(i64::from(crc32(&bytes)))
        })
    }

    /// Every node of the tree is one of the model's, and the other way round.
    pub(crate) fn compare(&self, tree: &Tree) {
        assert_eq!(tree.node_count(), self.nodes.len());
        for (path, want) in &self.nodes {
            let node = tree
                .get(path)
                .unwrap_or_else(|| panic!("{path} is missing"));
            let stat = node.stored_stat();
            let got = Node {
                data: node.data().map(<[u8]>::to_vec),
                acl: node.acl().as_bytes().to_vec(),
                owner: stat.ephemeral_owner,
                kind: node.kind(),
                czxid: stat.czxid.0,
                mzxid: stat.mzxid.0,
                pzxid: stat.pzxid.0,
                ctime: stat.ctime,
                mtime: stat.mtime,
                version: stat.version,
                cversion: stat.cversion,
                aversion: stat.aversion,
            };
            assert_eq!(&got, want, "{path}");
            assert_eq!(
                node.child_count() as usize,
                self.children_of(path),
                "{path}"
            );
        }
        assert_eq!(tree.digest(), self.digest());
    }
}

fn session(client: &Client) -> Outcome {
    client.session_error.map_or(Ok(()), Err)
}

fn valid(path: Option<&str>) -> Result<&str, ErrorCode> {
    path.filter(|path| path::is_valid(path)).ok_or(BadArguments)
}

fn version(current: i32, expected: i32) -> Outcome {
    if expected == -1 || expected == current {
        Ok(())
    } else {
        Err(BadVersion)
    }
}

fn parent_of(path: &str) -> String {
    match path.rfind('/').unwrap() {
        0 => "/".to_owned(),
        slash => path[..slash].to_owned(),
    }
}

/// CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}
