//! Blocks as nodes, ACLs and sessions. Pure and total: any bytes yield a block or an error, in time and memory
//! linear in their length, so blocks may be decoded on as many threads as there are.

use super::{
    BlockKind, CodecError, FLAG_DATA, FLAGS_KNOWN, KIND_SHIFT, NODE_BYTES_MIN, TAG_SESSION_IDS,
    TAG_SKIPPABLE,
};
use crate::digest::{self, extend_crc};
use crate::node::index::hash_name;
use crate::node::record::{Blob, make_blob};
use crate::node::{NodeId, NodeKind};
use crate::tree::utf16_len;
use ironkeeper_proto::{AclList, SessionId, StatPersisted, Zxid};

/// A block taken apart, ready to be merged by a [`crate::load::Builder`]. It owns what it holds.
#[derive(Debug)]
pub struct DecodedBlock {
    pub(crate) base_ordinal: u64,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Sessions(Vec<(SessionId, i32)>),
    Acls(Vec<NumberedAcl>),
    Nodes(DecodedNodes),
    Auxiliary(DecodedAux),
}

/// A list's number in the file, and the list as it is encoded.
pub(crate) type NumberedAcl = (u32, Box<[u8]>);

#[derive(Debug, Default)]
pub(crate) struct DecodedAux {
    pub(crate) session_ids: Vec<SessionId>,
    /// Entries, known or not.
    pub(crate) records: usize,
}

/// A stretch of nodes, with what it adds to the sums.
#[derive(Debug, Default)]
pub(crate) struct DecodedNodes {
    pub(crate) nodes: Vec<DecodedNode>,
    pub(crate) digest: u64,
    pub(crate) data_bytes: u64,
    pub(crate) path_units: u64,
    /// The seed that the hashes were made with.
    pub(crate) hash_seed: u64,
    /// Ordinals and names of the first node's ancestors below the root, as the block states them.
    pub(crate) ancestors: Vec<(u64, Box<str>)>,
}

/// All of a node that can be known without the rest of the tree.
#[derive(Debug)]
pub(crate) struct DecodedNode {
    pub(crate) blob: Blob,
    pub(crate) parent: u32,
    pub(crate) hash: u32,
    pub(crate) acl: u32,
    pub(crate) digest: u32,
    pub(crate) kind: NodeKind,
    pub(crate) stat: StatPersisted,
}

/// Decodes a block's payload. `base_ordinal` and `record_count` are what [`super::BlockInfo`] said of it;
/// `hash_seed` is the one that the [`crate::load::Builder`] was made with.
///
/// # Errors
/// If the payload is not such a block. Nothing is assumed of it beforehand.
pub fn decode_block(
    kind: BlockKind,
    base_ordinal: u64,
    record_count: u32,
    payload: &[u8],
    hash_seed: u64,
) -> Result<DecodedBlock, CodecError> {
    let mut input = Input {
        bytes: payload,
        at: 0,
    };
    let content = match kind {
        BlockKind::Sessions => Content::Sessions(sessions(&mut input, record_count)?),
        BlockKind::Acls => Content::Acls(acls(&mut input, record_count)?),
        BlockKind::Nodes => {
            Content::Nodes(nodes(&mut input, base_ordinal, record_count, hash_seed)?)
        }
        BlockKind::Auxiliary => Content::Auxiliary(auxiliary(&mut input, record_count)?),
    };
    if input.remaining() > 0 {
        return Err(CodecError::Trailing { offset: input.at });
    }
    Ok(DecodedBlock {
        base_ordinal,
        content,
    })
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], CodecError> {
        let end = self.at.checked_add(count);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None => Err(CodecError::Short {
                offset: self.bytes.len(),
                what,
            }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CodecError> {
        match self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk())
        {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(CodecError::Short {
                offset: self.bytes.len(),
                what,
            }),
        }
    }

    fn i64(&mut self, what: &'static str) -> Result<i64, CodecError> {
        self.array(what).map(i64::from_le_bytes)
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, CodecError> {
        self.array(what).map(i32::from_le_bytes)
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, CodecError> {
        let offset = self.at;
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let [byte] = self.array(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError::Invalid { offset, what })
    }

    /// A length and as many bytes.
    fn counted(&mut self, what: &'static str) -> Result<&'a [u8], CodecError> {
        let offset = self.at;
        let length = self.varint(what)?;
        match usize::try_from(length) {
            Ok(length) => self.take(length, what),
            Err(_) => Err(CodecError::Invalid { offset, what }),
        }
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        let offset = self.at;
        u32::try_from(self.varint(what)?).map_err(|_| CodecError::Invalid { offset, what })
    }

    /// A name of a node below the root.
    fn name(&mut self) -> Result<&'a str, CodecError> {
        let offset = self.at;
        let what = "name";
        let name = std::str::from_utf8(self.counted(what)?)
            .map_err(|_| CodecError::Invalid { offset, what })?;
        if name.is_empty() || name.contains('/') {
            return Err(CodecError::Invalid { offset, what });
        }
        Ok(name)
    }

    /// As many records as can be there at all: what a vector may reserve for.
    fn capacity(&self, record_count: u32, record_bytes_min: usize) -> usize {
        (record_count as usize).min(self.remaining() / record_bytes_min)
    }
}

fn sessions(input: &mut Input<'_>, count: u32) -> Result<Vec<(SessionId, i32)>, CodecError> {
    let mut sessions = Vec::with_capacity(input.capacity(count, 12));
    for _ in 0..count {
        let id = SessionId(input.i64("session id")?);
        sessions.push((id, input.i32("session timeout")?));
    }
    Ok(sessions)
}

fn acls(input: &mut Input<'_>, count: u32) -> Result<Vec<NumberedAcl>, CodecError> {
    let mut lists = Vec::with_capacity(input.capacity(count, 6));
    for _ in 0..count {
        let offset = input.at;
        let number = input.u32("ACL number")?;
        if number == 0 {
            return Err(CodecError::Invalid {
                offset,
                what: "ACL number",
            });
        }
        let offset = input.at;
        let list = input.counted("ACL")?;
        match AclList::from_bytes(list) {
            Ok(acl) if !acl.is_null() => lists.push((number, list.into())),
            _ => {
                return Err(CodecError::Invalid {
                    offset,
                    what: "ACL",
                });
            }
        }
    }
    Ok(lists)
}

fn auxiliary(input: &mut Input<'_>, count: u32) -> Result<DecodedAux, CodecError> {
    let mut aux = DecodedAux::default();
    for _ in 0..count {
        let offset = input.at;
        let tag = input.varint("tag")?;
        let bytes = input.counted("auxiliary entry")?;
        match tag {
            TAG_SESSION_IDS => {
                let (ids, rest) = bytes.as_chunks();
                if !rest.is_empty() {
                    return Err(CodecError::Invalid {
                        offset,
                        what: "session ids",
                    });
                }
                aux.session_ids
                    .extend(ids.iter().map(|&id| SessionId(i64::from_le_bytes(id))));
            }
            TAG_SKIPPABLE.. => {}
            _ => {
                return Err(CodecError::Invalid {
                    offset,
                    what: "tag",
                });
            }
        }
        aux.records += 1;
    }
    Ok(aux)
}

/// An ancestor of the node at hand: enough to continue digests and lengths of paths below it.
struct Ancestor {
    ordinal: u64,
    path_crc: u32,
    path_units: u64,
    /// Whether the digest counts its children.
    children_count: bool,
}

impl Ancestor {
    const ROOT: Ancestor = Ancestor {
        ordinal: 0,
        path_crc: 0,
        path_units: 0,
        children_count: true,
    };

    fn child(&self, ordinal: u64, name: &str) -> Ancestor {
        let path_crc = extend_crc(extend_crc(self.path_crc, b"/"), name.as_bytes());
        // Below /zookeeper nothing counts; it does itself.
        let is_zookeeper = self.path_units == 0 && name == "zookeeper";
        Ancestor {
            ordinal,
            path_crc,
            path_units: self.path_units + 1 + utf16_len(name),
            children_count: self.children_count && !is_zookeeper,
        }
    }
}

fn nodes(
    input: &mut Input<'_>,
    base_ordinal: u64,
    count: u32,
    hash_seed: u64,
) -> Result<DecodedNodes, CodecError> {
    let mut out = DecodedNodes {
        hash_seed,
        ..DecodedNodes::default()
    };
    let mut chain = ancestors(input, base_ordinal, &mut out.ancestors)?;
    out.nodes.reserve(input.capacity(count, NODE_BYTES_MIN));
    let mut scratch = Vec::new();
    for ordinal in (base_ordinal..).take(count as usize) {
        let offset = input.at;
        let parent = input.varint("parent")?;
        let invalid = |what| CodecError::Invalid { offset, what };
        while chain
            .last()
            .is_some_and(|ancestor| ancestor.ordinal != parent)
        {
            chain.pop();
        }
        let (name, here, counts) = match chain.last() {
            Some(above) => {
                let name = input.name()?;
                (name, above.child(ordinal, name), above.children_count)
            }
            // Only the root has nothing above it.
            None if ordinal == 0 && parent == 0 => {
                if !input.counted("name")?.is_empty() {
                    return Err(invalid("name of the root"));
                }
                ("", Ancestor::ROOT, true)
            }
            None => return Err(invalid("parent")),
        };
        let parent = u32::try_from(parent).map_err(|_| invalid("parent"))?;
        let (node, data_len) = node(input, name, parent, here.path_crc, hash_seed, &mut scratch)?;
        if ordinal == 0 && node.kind != NodeKind::Persistent {
            return Err(invalid("kind of the root"));
        }
        out.path_units += here.path_units;
        out.data_bytes += data_len as u64;
        if counts {
            out.digest = out.digest.wrapping_add(u64::from(node.digest));
        }
        out.nodes.push(node);
        chain.push(here);
    }
    Ok(out)
}

/// The ancestors at the start of a block; with the root, if the block does not begin with it.
fn ancestors(
    input: &mut Input<'_>,
    base_ordinal: u64,
    stated: &mut Vec<(u64, Box<str>)>,
) -> Result<Vec<Ancestor>, CodecError> {
    let offset = input.at;
    let depth = input.varint("depth")?;
    let mut chain = Vec::new();
    if base_ordinal > 0 {
        chain.push(Ancestor::ROOT);
    } else if depth > 0 {
        return Err(CodecError::Invalid {
            offset,
            what: "depth",
        });
    }
    for _ in 0..depth {
        let offset = input.at;
        let ordinal = input.varint("ordinal")?;
        let name = input.name()?;
        let below = chain
            .last()
            .filter(|above| above.ordinal < ordinal && ordinal < base_ordinal);
        let Some(above) = below else {
            return Err(CodecError::Invalid {
                offset,
                what: "ordinal",
            });
        };
        let here = above.child(ordinal, name);
        chain.push(here);
        stated.push((ordinal, name.into()));
    }
    Ok(chain)
}

/// A node, and the length of its data.
fn node(
    input: &mut Input<'_>,
    name: &str,
    parent: u32,
    path_crc: u32,
    hash_seed: u64,
    scratch: &mut Vec<u8>,
) -> Result<(DecodedNode, usize), CodecError> {
    let offset = input.at;
    let [flags] = input.array("flags")?;
    let data = input.counted("data")?;
    let present = flags & FLAG_DATA != 0;
    if flags & !FLAGS_KNOWN != 0 || (!present && !data.is_empty()) {
        return Err(CodecError::Invalid {
            offset,
            what: "flags",
        });
    }
    let data = present.then_some(data);
    let acl = input.u32("acl")?;
    let stat = stat(input)?;
    let kind = NodeKind::from_bits(flags >> KIND_SHIFT);
    if (kind == NodeKind::Persistent) != (stat.ephemeral_owner == 0) {
        return Err(CodecError::Invalid {
            offset,
            what: "kind",
        });
    }
    let node = DecodedNode {
        blob: make_blob(scratch, name.as_bytes(), data),
        parent,
        hash: hash_name(hash_seed, NodeId(parent), name.as_bytes()),
        acl,
        digest: digest::continued_digest(path_crc, data, &stat),
        kind,
        stat,
    };
    Ok((node, data.map_or(0, <[u8]>::len)))
}

fn stat(input: &mut Input<'_>) -> Result<StatPersisted, CodecError> {
    let what = "stat";
    Ok(StatPersisted {
        czxid: Zxid(input.i64(what)?),
        mzxid: Zxid(input.i64(what)?),
        ctime: input.i64(what)?,
        mtime: input.i64(what)?,
        version: input.i32(what)?,
        cversion: input.i32(what)?,
        aversion: input.i32(what)?,
        ephemeral_owner: input.i64(what)?,
        pzxid: Zxid(input.i64(what)?),
    })
}
