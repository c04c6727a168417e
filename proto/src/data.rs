//! The records that requests, replies, txns and snapshots share: Stat, ACLs, lists of strings.
//!
//! Vectors are kept as they are encoded, count included: `AclList` and `StringList` are slices that were
//! walked once, so taking them out of a frame costs no memory and putting them into a txn is one copy.

use crate::jute::{DecodeError, Reader, Record, Text, Writer, lossy};
use crate::zxid::Zxid;
use std::fmt;

/// What a client sees of a node besides its data. 68 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The change that created the node.
    pub czxid: Zxid,
    /// The change that last set its data.
    pub mzxid: Zxid,
    /// Time of creation, ms since 1970.
    pub ctime: i64,
    /// Time of the last change of data, ms since 1970.
    pub mtime: i64,
    /// How often the data was set.
    pub version: i32,
    /// Children created plus children deleted (2 * stored - numChildren).
    pub cversion: i32,
    /// How often the ACL was set.
    pub aversion: i32,
    /// The owning session, or 0; container and TTL nodes report 0.
    pub ephemeral_owner: i64,
    /// Bytes of data; null counts as 0.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
    /// The change that last created or deleted a child.
    pub pzxid: Zxid,
}

impl Stat {
    /// Bytes of an encoded Stat.
    pub const ENCODED_BYTES: usize = 68;
}

impl<'a> Record<'a> for Stat {
    fn decode(reader: &mut Reader<'a>) -> Result<Stat, DecodeError> {
        Ok(Stat {
            czxid: Zxid(reader.i64()?),
            mzxid: Zxid(reader.i64()?),
            ctime: reader.i64()?,
            mtime: reader.i64()?,
            version: reader.i32()?,
            cversion: reader.i32()?,
            aversion: reader.i32()?,
            ephemeral_owner: reader.i64()?,
            data_length: reader.i32()?,
            num_children: reader.i32()?,
            pzxid: Zxid(reader.i64()?),
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i64(self.czxid.0);
        writer.i64(self.mzxid.0);
        writer.i64(self.ctime);
        writer.i64(self.mtime);
        writer.i32(self.version);
        writer.i32(self.cversion);
        writer.i32(self.aversion);
        writer.i64(self.ephemeral_owner);
        writer.i32(self.data_length);
        writer.i32(self.num_children);
        writer.i64(self.pzxid.0);
    }
}

/// What a snapshot stores of a node's Stat: the rest is derived. 60 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatPersisted {
    /// The change that created the node.
    pub czxid: Zxid,
    /// The change that last set its data.
    pub mzxid: Zxid,
    /// Time of creation, ms since 1970.
    pub ctime: i64,
    /// Time of the last change of data, ms since 1970.
    pub mtime: i64,
    /// How often the data was set.
    pub version: i32,
    /// Children ever created: the stored value, not the one clients see.
    pub cversion: i32,
    /// How often the ACL was set.
    pub aversion: i32,
    /// The owning session, 0, or the mark of a container or TTL node.
    pub ephemeral_owner: i64,
    /// The change that last created or deleted a child.
    pub pzxid: Zxid,
}

impl StatPersisted {
    /// Bytes of an encoded StatPersisted.
    pub const ENCODED_BYTES: usize = 60;

    /// The Stat that a client sees of such a node.
    #[inline]
    pub fn to_stat(&self, ephemeral_owner: i64, data_length: i32, num_children: i32) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner,
            data_length,
            num_children,
            pzxid: self.pzxid,
        }
    }
}

impl<'a> Record<'a> for StatPersisted {
    fn decode(reader: &mut Reader<'a>) -> Result<StatPersisted, DecodeError> {
        Ok(StatPersisted {
            czxid: Zxid(reader.i64()?),
            mzxid: Zxid(reader.i64()?),
            ctime: reader.i64()?,
            mtime: reader.i64()?,
            version: reader.i32()?,
            cversion: reader.i32()?,
            aversion: reader.i32()?,
            ephemeral_owner: reader.i64()?,
            pzxid: Zxid(reader.i64()?),
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i64(self.czxid.0);
        writer.i64(self.mzxid.0);
        writer.i64(self.ctime);
        writer.i64(self.mtime);
        writer.i32(self.version);
        writer.i32(self.cversion);
        writer.i32(self.aversion);
        writer.i64(self.ephemeral_owner);
        writer.i64(self.pzxid.0);
    }
}

/// Permission bits of an ACL entry. Other bits, and none, are legal and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Perms(pub i32);

impl Perms {
    /// Read data and list children.
    pub const READ: Perms = Perms(1);
    /// Set data.
    pub const WRITE: Perms = Perms(2);
    /// Create children.
    pub const CREATE: Perms = Perms(4);
    /// Delete children.
    pub const DELETE: Perms = Perms(8);
    /// Set the ACL.
    pub const ADMIN: Perms = Perms(16);
    /// All of them.
    pub const ALL: Perms = Perms(31);

    /// Whether the two share a bit.
    pub fn intersects(self, other: Perms) -> bool {
        self.0 & other.0 != 0
    }
}

/// An ACL entry where it lies. Scheme and id are bytes: Apache's files hold surrogates encoded one by one
/// (CESU-8), and they must come out as they went in. `None` is null, which clients do send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclRef<'a> {
    /// What the entry grants.
    pub perms: Perms,
    /// `world`, `auth`, `digest`, `ip`, ...
    pub scheme: Option<&'a [u8]>,
    /// What the scheme makes of it.
    pub id: Option<&'a [u8]>,
}

impl<'a> AclRef<'a> {
    /// An entry of plain text.
    pub fn new(perms: Perms, scheme: &'a str, id: &'a str) -> AclRef<'a> {
        AclRef {
            perms,
            scheme: Some(scheme.as_bytes()),
            id: Some(id.as_bytes()),
        }
    }

    /// The scheme as Apache's server reads it from a request.
    pub fn scheme_text(&self) -> Text<'a> {
        self.scheme.map(lossy)
    }

    /// The id as Apache's server reads it from a request.
    pub fn id_text(&self) -> Text<'a> {
        self.id.map(lossy)
    }

    /// An entry of its own.
    pub fn to_acl(&self) -> Acl {
        Acl {
            perms: self.perms,
            scheme: self.scheme.map(<[u8]>::to_vec),
            id: self.id.map(<[u8]>::to_vec),
        }
    }
}

impl<'a> Record<'a> for AclRef<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<AclRef<'a>, DecodeError> {
        Ok(AclRef {
            perms: Perms(reader.i32()?),
            scheme: reader.buffer()?,
            id: reader.buffer()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.perms.0);
        writer.buffer(self.scheme);
        writer.buffer(self.id);
    }
}

/// An ACL entry that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// What the entry grants.
    pub perms: Perms,
    /// `world`, `auth`, `digest`, `ip`, ...
    pub scheme: Option<Vec<u8>>,
    /// What the scheme makes of it.
    pub id: Option<Vec<u8>>,
}

impl Acl {
    /// The entry, borrowed.
    pub fn as_ref(&self) -> AclRef<'_> {
        AclRef {
            perms: self.perms,
            scheme: self.scheme.as_deref(),
            id: self.id.as_deref(),
        }
    }
}

/// A checked `vector<ACL>` as it is encoded. Equal lists have equal bytes, so the bytes serve as a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AclList<'a> {
    bytes: &'a [u8],
}

/// perms (4), scheme length (4), id length (4).
const ACL_BYTES_MIN: usize = 12;

impl<'a> AclList<'a> {
    /// The null list.
    pub const NULL: AclList<'static> = AclList {
        bytes: &(-1_i32).to_be_bytes(),
    };
    /// The empty list.
    pub const EMPTY: AclList<'static> = AclList { bytes: &[0; 4] };
    /// world:anyone with all rights: what most nodes have, and what Apache's snapshots call -1.
    pub const OPEN: AclList<'static> = AclList {
        bytes: b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone",
    };
    /// world:anyone may read: the ACL of `/zookeeper/config`.
    pub const READ_ONLY: AclList<'static> = AclList {
        bytes: b"\0\0\0\x01\0\0\0\x01\0\0\0\x05world\0\0\0\x06anyone",
    };

    /// Takes `bytes` for a list if they are exactly one.
    ///
    /// # Errors
    /// If they are not.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<AclList<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let list = AclList::decode(&mut reader)?;
        reader.finish()?;
        Ok(list)
    }

    /// The encoded list, count included.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A null vector, which differs from an empty one (also in multi: there it spoils the whole frame).
    pub fn is_null(&self) -> bool {
        self.bytes == AclList::NULL.bytes
    }

    /// Number of entries; a null list has none.
    pub fn len(&self) -> usize {
        encoded_count(self.bytes)
    }

    /// Null, or without entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries.
    pub fn iter(&self) -> AclIter<'a> {
        AclIter {
            left: self.len(),
            reader: Reader::new(self.bytes.get(4..).unwrap_or_default()),
        }
    }
}

/// The count in front of an encoded vector, with null and other negative counts as 0.
fn encoded_count(bytes: &[u8]) -> usize {
    Reader::new(bytes)
        .i32()
        .map_or(0, |count| usize::try_from(count).unwrap_or(0))
}

impl Default for AclList<'_> {
    fn default() -> Self {
        AclList::EMPTY
    }
}

impl fmt::Debug for AclList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() {
            return f.write_str("null");
        }
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Record<'a> for AclList<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<AclList<'a>, DecodeError> {
        let start = reader.offset();
        for _ in 0..reader.count(ACL_BYTES_MIN)?.unwrap_or(0) {
            AclRef::decode(reader)?;
        }
        Ok(AclList {
            bytes: reader.since(start),
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.raw(self.bytes);
    }
}

impl<'a> IntoIterator for AclList<'a> {
    type Item = AclRef<'a>;
    type IntoIter = AclIter<'a>;

    fn into_iter(self) -> AclIter<'a> {
        self.iter()
    }
}

/// Iterator over an [`AclList`].
#[derive(Clone, Debug)]
pub struct AclIter<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for AclIter<'a> {
    type Item = AclRef<'a>;

    fn next(&mut self) -> Option<AclRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        AclRef::decode(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// An ACL list under construction. Cleared and reused it allocates only to grow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AclListBuf {
    bytes: Vec<u8>,
}

impl AclListBuf {
    /// An empty list.
    pub fn new() -> AclListBuf {
        AclListBuf { bytes: vec![0; 4] }
    }

    /// Back to an empty list, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; 4]);
    }

    /// Appends an entry.
    pub fn push(&mut self, acl: AclRef<'_>) {
        let count = encoded_count(&self.bytes) + 1;
        let mut writer = Writer::new(&mut self.bytes);
        acl.encode(&mut writer);
        writer.patch_count(0, count);
    }

    /// The list, borrowed.
    pub fn as_list(&self) -> AclList<'_> {
        AclList { bytes: &self.bytes }
    }

    /// The encoded list, count included.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Default for AclListBuf {
    fn default() -> Self {
        AclListBuf::new()
    }
}

impl<'a> FromIterator<AclRef<'a>> for AclListBuf {
    fn from_iter<I: IntoIterator<Item = AclRef<'a>>>(entries: I) -> AclListBuf {
        let mut list = AclListBuf::new();
        entries.into_iter().for_each(|entry| list.push(entry));
        list
    }
}

/// A checked `vector<ustring>` as it is encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StringList<'a> {
    bytes: &'a [u8],
}

impl<'a> StringList<'a> {
    /// The null list.
    pub const NULL: StringList<'static> = StringList {
        bytes: &(-1_i32).to_be_bytes(),
    };
    /// The empty list.
    pub const EMPTY: StringList<'static> = StringList { bytes: &[0; 4] };

    /// The encoded list, count included.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A null vector, which setWatches answers with -5.
    pub fn is_null(&self) -> bool {
        self.bytes == StringList::NULL.bytes
    }

    /// Number of strings; a null list has none.
    pub fn len(&self) -> usize {
        encoded_count(self.bytes)
    }

    /// Null, or without strings.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strings, each possibly null, ill-formed parts replaced.
    pub fn iter(&self) -> impl Iterator<Item = Text<'a>> + use<'a> {
        self.iter_bytes().map(|string| string.map(lossy))
    }

    /// The strings as they are encoded.
    pub fn iter_bytes(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut reader = Reader::new(self.bytes.get(4..).unwrap_or_default());
        (0..self.len()).map_while(move |_| reader.buffer().ok())
    }
}

impl Default for StringList<'_> {
    fn default() -> Self {
        StringList::EMPTY
    }
}

impl fmt::Debug for StringList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() {
            return f.write_str("null");
        }
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Record<'a> for StringList<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<StringList<'a>, DecodeError> {
        let start = reader.offset();
        for _ in 0..reader.count(4)?.unwrap_or(0) {
            reader.buffer()?;
        }
        Ok(StringList {
            bytes: reader.since(start),
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.raw(self.bytes);
    }
}

/// A list of strings under construction. Cleared and reused it allocates only to grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringListBuf {
    bytes: Vec<u8>,
}

impl StringListBuf {
    /// An empty list.
    pub fn new() -> StringListBuf {
        StringListBuf { bytes: vec![0; 4] }
    }

    /// Back to an empty list, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; 4]);
    }

    /// Appends a string.
    pub fn push(&mut self, string: &str) {
        let count = encoded_count(&self.bytes) + 1;
        let mut writer = Writer::new(&mut self.bytes);
        writer.str(string);
        writer.patch_count(0, count);
    }

    /// The list, borrowed.
    pub fn as_list(&self) -> StringList<'_> {
        StringList { bytes: &self.bytes }
    }

    /// The encoded list, count included.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Default for StringListBuf {
    fn default() -> Self {
        StringListBuf::new()
    }
}

impl<S: AsRef<str>> FromIterator<S> for StringListBuf {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> StringListBuf {
        let mut list = StringListBuf::new();
        strings
            .into_iter()
            .for_each(|string| list.push(string.as_ref()));
        list
    }
}

/// One identity of a connection, as whoAmI tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo<'a> {
    /// `ip`, `digest`, ...
    pub scheme: std::borrow::Cow<'a, str>,
    /// The user; for digest without the password's hash.
    pub user: std::borrow::Cow<'a, str>,
}

impl<'a> Record<'a> for ClientInfo<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<ClientInfo<'a>, DecodeError> {
        let offset = reader.offset();
        match (reader.text()?, reader.text()?) {
            (Some(scheme), Some(user)) => Ok(ClientInfo { scheme, user }),
            _ => Err(DecodeError::UnexpectedNull {
                offset,
                what: "client info",
            }),
        }
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(&self.scheme);
        writer.str(&self.user);
    }
}
