//! A snapshot as a tree, the way the server loads it.

use ironkeeper_storage::snapshot::{Block, SnapshotError, SnapshotReader};
use ironkeeper_tree::Tree;
use ironkeeper_tree::codec::{self, CodecError};
use ironkeeper_tree::load::{self, Builder};

use crate::progress::Progress;

/// Of the tree's index. Nobody attacks a tool that runs once over files.
const HASH_SEED: u64 = 0x5eed;

/// Why a snapshot makes no tree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Its bytes.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// One block's content.
    #[error("block {index}")]
    Block {
        /// Which.
        index: usize,
        /// Why.
        source: CodecError,
    },
    /// The blocks together.
    #[error("the blocks do not fit together")]
    Together(#[from] load::LoadError),
    /// There is nothing to compare the tree with.
    #[error(
        "the snapshot has no digest of version {}",
        ironkeeper_tree::digest::DIGEST_VERSION
    )]
    NoDigest,
}

/// Loads the tree of a snapshot and compares it with the totals and the digest in it.
pub(crate) fn tree(reader: &SnapshotReader, progress: &mut Progress) -> Result<Tree, LoadError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let order: Vec<usize> = (0..reader.directory().len()).collect();
    let mut builder = Builder::new(HASH_SEED);
    reader.load_in_order(
        threads,
        &order,
        decode,
        |block| Ok(builder.push(block)?),
        &mut |done| progress.bytes("loading the snapshot", done.bytes_done, done.bytes),
    )?;
    let totals = reader.totals();
    let version = u32::try_from(ironkeeper_tree::digest::DIGEST_VERSION).ok();
    let digest = totals.digest.filter(|(found, _)| Some(*found) == version);
    let (_, digest) = digest.ok_or(LoadError::NoDigest)?;
    let totals = codec::Totals {
        nodes: totals.nodes,
        sessions: totals.sessions,
        acls: totals.acls,
        data_bytes: totals.data_bytes,
        ephemerals: totals.ephemerals,
        digest,
    };
    Ok(builder.finish(reader.zxid(), &totals)?)
}

fn decode(block: Block<'_>) -> Result<codec::DecodedBlock, LoadError> {
    let Block {
        index,
        base_ordinal,
        record_count,
        payload,
        ..
    } = block;
    // The numbers on disk are one set; each crate names them for itself.
    let kind = codec::BlockKind::from_number(block.kind.number())
        .ok_or(CodecError::Invalid {
            offset: 0,
            what: "the block's kind",
        })
        .map_err(|source| LoadError::Block { index, source })?;
    codec::decode_block(kind, base_ordinal, record_count, payload, HASH_SEED)
        .map_err(|source| LoadError::Block { index, source })
}
