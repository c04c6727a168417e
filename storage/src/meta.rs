//! META: the one small record of a store that is overwritten in place, and therefore kept twice.
//!
//! ```text
//! 0        4096      8192
//! | copy A | copy B |      same content, same sequence; one is written only once the other is durable
//! ```
//!
//! Read rule: both whole, the higher sequence; one whole, that one; none, refuse. An update writes
//! the damaged or older copy first, so that a crash never leaves less than one. Invariant: `current_epoch <= accepted_epoch`, and neither
//! ever goes down.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeeper_proto::Zxid;

use crate::checksum::crc;
use crate::error::{Poison, Result, StorageError};
use crate::io::{Access, AlignedBuf, Caching, Disk, File};
use crate::log::format::{BLOCK_BYTES, NUMBER_MAX, bytes_at, i64_at, is_zero, u32_at, u64_at};

const MAGIC: [u8; 8] = *b"ZKNMETA1";
const VERSION_MAJOR: u16 = 1;
const VERSION_MINOR: u16 = 0;

mod offset {
    pub(super) const MAGIC: usize = 0;
    pub(super) const MAJOR: usize = MAGIC + 8;
    pub(super) const MINOR: usize = MAJOR + 2;
    pub(super) const LENGTH: usize = MINOR + 2;
    pub(super) const STORE: usize = LENGTH + 4;
    pub(super) const SEQUENCE: usize = STORE + 16;
    pub(super) const INCARNATION: usize = SEQUENCE + 8;
    pub(super) const FLAGS: usize = INCARNATION + 4;
    pub(super) const SERVER: usize = FLAGS + 4;
    pub(super) const ACCEPTED_EPOCH: usize = SERVER + 8;
    pub(super) const CURRENT_EPOCH: usize = ACCEPTED_EPOCH + 8;
    pub(super) const SEGMENT_LOW: usize = CURRENT_EPOCH + 8;
    pub(super) const SEGMENT_HIGH: usize = SEGMENT_LOW + 8;
    pub(super) const DURABLE_FLOOR: usize = SEGMENT_HIGH + 8;
    pub(super) const TRUNCATING_TO: usize = DURABLE_FLOOR + 8;
    pub(super) const IMPORT_ZXID: usize = TRUNCATING_TO + 8;
    pub(super) const IMPORT_HASH: usize = IMPORT_ZXID + 8;
    pub(super) const END: usize = IMPORT_HASH + 32;
    pub(super) const CRC: usize = 4092;
}

/// State flags of META.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaFlags(u32);

impl MetaFlags {
    /// The last owner closed the log: nothing was in flight when it ended.
    pub const CLEAN: MetaFlags = MetaFlags(1 << 0);
    /// An import of an Apache directory has begun and not ended.
    pub const IMPORTING: MetaFlags = MetaFlags(1 << 1);
    /// A truncation to `truncating_to` has begun and not ended.
    pub const TRUNCATING: MetaFlags = MetaFlags(1 << 2);
    /// This server lost something it may have acknowledged: it must not vote before it synced.
    pub const MUST_SYNC: MetaFlags = MetaFlags(1 << 3);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub fn contains(self, other: MetaFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other` set or cleared.
    #[must_use]
    pub fn with(self, other: MetaFlags, on: bool) -> MetaFlags {
        MetaFlags(if on {
            self.0 | other.0
        } else {
            self.0 & !other.0
        })
    }
}

/// What META says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The store's random id; every file of the store carries it.
    pub store: [u8; 16],
    /// Grows by one with each update.
    pub sequence: u64,
    /// Grows by one with each open.
    pub incarnation: u32,
    /// State flags.
    pub flags: MetaFlags,
    /// The server's id (`myid`), 0 if it has none.
    pub server: u64,
    /// Highest epoch this server has promised to a leader.
    pub accepted_epoch: i64,
    /// Epoch of the last leader this server has followed to NEWLEADER.
    pub current_epoch: i64,
    /// Lowest segment that must exist.
    pub segment_low: u64,
    /// Highest segment known to have been activated: a lower bound of the truth.
    pub segment_high: u64,
    /// Highest frame sequence known durable when META was written: a lower bound of the truth.
    pub durable_floor: u64,
    /// Where a truncation under way leads.
    pub truncating_to: Zxid,
    /// Last zxid of the Apache directory this store was imported from.
    pub import_zxid: Zxid,
    /// Hash of the imported files' names, sizes and times.
    pub import_hash: [u8; 32],
}

impl Meta {
    fn encode(&self) -> [u8; BLOCK_BYTES] {
        use offset as at;
        let mut block = [0u8; BLOCK_BYTES];
        let mut put = |offset: usize, bytes: &[u8]| {
            if let Some(place) = block.get_mut(offset..offset + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(at::MAGIC, &MAGIC);
        put(at::MAJOR, &VERSION_MAJOR.to_le_bytes());
        put(at::MINOR, &VERSION_MINOR.to_le_bytes());
        put(
            at::LENGTH,
            &u32::try_from(at::END).unwrap_or(0).to_le_bytes(),
        );
        put(at::STORE, &self.store);
        put(at::SEQUENCE, &self.sequence.to_le_bytes());
        put(at::INCARNATION, &self.incarnation.to_le_bytes());
        put(at::FLAGS, &self.flags.0.to_le_bytes());
        put(at::SERVER, &self.server.to_le_bytes());
        put(at::ACCEPTED_EPOCH, &self.accepted_epoch.to_le_bytes());
        put(at::CURRENT_EPOCH, &self.current_epoch.to_le_bytes());
        put(at::SEGMENT_LOW, &self.segment_low.to_le_bytes());
        put(at::SEGMENT_HIGH, &self.segment_high.to_le_bytes());
        put(at::DURABLE_FLOOR, &self.durable_floor.to_le_bytes());
        put(at::TRUNCATING_TO, &self.truncating_to.0.to_le_bytes());
        put(at::IMPORT_ZXID, &self.import_zxid.0.to_le_bytes());
        put(at::IMPORT_HASH, &self.import_hash);
        let sum = crc(block.get(..at::CRC).unwrap_or(&[]));
        if let Some(place) = block.get_mut(at::CRC..) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        block
    }

    fn decode(block: &[u8]) -> Result<Meta, Fault> {
        use offset as at;
        if block.len() < BLOCK_BYTES {
            return Err(Fault::Bad("cut short"));
        }
        if is_zero(block) {
            return Err(Fault::Bad("blank"));
        }
        if u32_at(block, at::CRC) != crc(block.get(..at::CRC).unwrap_or(&[])) {
            return Err(Fault::Bad("checksum"));
        }
        if bytes_at::<8>(block, at::MAGIC) != MAGIC {
            return Err(Fault::Bad("magic"));
        }
        let major = u16::from_le_bytes(bytes_at(block, at::MAJOR));
        if major > VERSION_MAJOR {
            return Err(Fault::TooNew(major));
        }
        let meta = Meta {
            store: bytes_at(block, at::STORE),
            sequence: u64_at(block, at::SEQUENCE),
            incarnation: u32_at(block, at::INCARNATION),
            flags: MetaFlags(u32_at(block, at::FLAGS)),
            server: u64_at(block, at::SERVER),
            accepted_epoch: i64_at(block, at::ACCEPTED_EPOCH),
            current_epoch: i64_at(block, at::CURRENT_EPOCH),
            segment_low: u64_at(block, at::SEGMENT_LOW),
            segment_high: u64_at(block, at::SEGMENT_HIGH),
            durable_floor: u64_at(block, at::DURABLE_FLOOR),
            truncating_to: Zxid(i64_at(block, at::TRUNCATING_TO)),
            import_zxid: Zxid(i64_at(block, at::IMPORT_ZXID)),
            import_hash: bytes_at(block, at::IMPORT_HASH),
        };
        let highest = meta.sequence.max(meta.durable_floor);
        if highest.max(meta.segment_low).max(meta.segment_high) > NUMBER_MAX
            || meta.incarnation == u32::MAX
        {
            return Err(Fault::Bad("a number that no store reaches"));
        }
        Ok(meta)
    }
}

enum Fault {
    Bad(&'static str),
    TooNew(u16),
}

/// The open META file and its last durable content.
#[derive(Debug)]
pub(crate) struct MetaFile {
    file: Arc<dyn File>,
    path: PathBuf,
    meta: Meta,
    buf: AlignedBuf,
    /// The copy that the next update writes first: the worse of the two.
    first: u64,
    poison: Poison,
}

impl MetaFile {
    /// Creates META of a new store: whole before its name appears.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, meta: Meta) -> Result<MetaFile> {
        let (path, temporary) = (dir.join("META"), dir.join("META.tmp"));
        if disk
            .list(dir)
            .is_ok_and(|names| names.iter().any(|entry| entry.name == "META.tmp"))
        {
            disk.remove_file(&temporary)
                .map_err(|error| StorageError::io("remove", &temporary, error))?;
        }
        let file = disk
            .open(&temporary, Access::Create, Caching::DirectDurable)
            .map_err(|error| StorageError::cannot_make(&temporary, dir, error))?;
        let mut this = MetaFile {
            file,
            path: temporary.clone(),
            meta,
            buf: AlignedBuf::zeroed(BLOCK_BYTES),
            first: 0,
            poison: Poison::default(),
        };
        // Until it has its name there is no store that could lose anything.
        for copy in 0..2 {
            let at = copy * BLOCK_BYTES as u64;
            this.put_copy(copy)
                .map_err(|error| StorageError::io_at("write", &temporary, at, error))?;
        }
        this.file
            .sync_all()
            .map_err(|error| StorageError::io("sync", &temporary, error))?;
        disk.rename(&temporary, &path)
            .map_err(|error| StorageError::io("rename to", &path, error))?;
        disk.sync_dir(dir)
            .map_err(|error| StorageError::io("sync", dir, error))?;
        this.path = path;
        Ok(this)
    }

    /// Opens META, for updates if `writable`, and writes nothing yet: one good copy is enough, and a store that is
    /// refused stays as it was found.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, writable: bool) -> Result<MetaFile> {
        let path = dir.join("META");
        let access = if writable {
            Access::Write
        } else {
            Access::Read
        };
        let file = disk
            .open(&path, access, Caching::DirectDurable)
            .map_err(|error| StorageError::io("open", &path, error))?;
        if writable {
            // Its owner never believes pages that an earlier, failed process left in the cache.
            file.drop_cache()
                .map_err(|error| StorageError::io("read", &path, error))?;
        }
        let mut copies = [Err(Fault::Bad("unread")), Err(Fault::Bad("unread"))];
        for (copy, slot) in (0u64..).zip(copies.iter_mut()) {
            // Each copy is read by itself: an unreadable sector in one says nothing of the other.
            let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
            *slot = match file.read_at(&mut buf, copy * BLOCK_BYTES as u64) {
                Ok(count) => Meta::decode(buf.get(..count).unwrap_or(&[])),
                Err(_) => Err(Fault::Bad("cannot be read")),
            };
        }
        let (meta, worse) = match copies {
            [Err(Fault::TooNew(found)), _] | [_, Err(Fault::TooNew(found))] => {
                return Err(StorageError::TooNew {
                    path,
                    found,
                    supported: VERSION_MAJOR,
                });
            }
            [Ok(a), Ok(b)] if a.sequence >= b.sequence => {
                let differ = a.sequence != b.sequence;
                (a, differ.then_some(1))
            }
            [Ok(_), Ok(b)] => (b, Some(0)),
            [Ok(a), Err(_)] => (a, Some(1)),
            [Err(_), Ok(b)] => (b, Some(0)),
            [Err(Fault::Bad(a)), Err(Fault::Bad(b))] => {
                let what = format!("copy A: {a}; copy B: {b}");
                return Err(StorageError::MetaDamaged { path, what });
            }
        };
        if let (Some(copy), true) = (worse, writable) {
            tracing::info!(path = %path.display(), copy, "one copy of META is behind or damaged; the next change mends it");
        }
        Ok(MetaFile {
            file,
            path,
            meta,
            buf: AlignedBuf::zeroed(BLOCK_BYTES),
            first: worse.unwrap_or(0),
            poison: Poison::default(),
        })
    }

    /// What ends all writing to this store.
    pub(crate) fn poison(&self) -> &Poison {
        &self.poison
    }

    /// The last durable content.
    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Makes a change durable: both copies, a damaged one before the good one. After an error the store accepts nothing
    /// more; the file holds the old or the new content, never neither.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Meta)) -> Result<()> {
        self.poison.check()?;
        let before = self.meta.clone();
        change(&mut self.meta);
        assert!(
            self.meta.accepted_epoch >= before.accepted_epoch,
            "an epoch promise stands"
        );
        assert!(
            self.meta.current_epoch >= before.current_epoch,
            "an epoch never goes back"
        );
        self.meta.sequence = before.sequence + 1;
        let first = std::mem::take(&mut self.first);
        self.write_copy(first)?;
        self.write_copy(1 - first)
    }

    fn write_copy(&mut self, copy: u64) -> Result<()> {
        let at = copy * BLOCK_BYTES as u64;
        self.put_copy(copy).map_err(|error| {
            let path = self.path.display();
            self.poison
                .set(format!("writing {path} at byte {at}: {error}"))
        })
    }

    fn put_copy(&mut self, copy: u64) -> io::Result<()> {
        self.buf.copy_from_slice(&self.meta.encode());
        crate::io::write_durable(&*self.file, &self.buf, copy * BLOCK_BYTES as u64)
    }
}
