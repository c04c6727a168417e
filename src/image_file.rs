//! An image of the tree as a snapshot file, and back: `tree` knows the records, `storage` the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironkeeper_storage::snapshot::{
    self, LoadError, SnapshotDir, SnapshotError, SnapshotIdentity, SnapshotOptions,
    SnapshotProgress, SnapshotReader,
};
use ironkeeper_tree::codec::{self, DecodedBlock};
use ironkeeper_tree::load::{Builder, LoadError as JoinError};
use ironkeeper_tree::{Image, Tree};
use parking_lot::Mutex;

/// Version of the digest in a snapshot's totals: the one that txns carry.
const DIGEST_VERSION: u32 = ironkeeper_proto::txn::DIGEST_VERSION.unsigned_abs();

/// Writes `image`, reads it back, and publishes it.
pub(crate) fn write(
    image: &Image,
    dir: &Arc<SnapshotDir>,
    identity: SnapshotIdentity,
) -> Result<(), SnapshotError> {
    let mut writer = dir.writer(identity, SnapshotOptions::default())?;
    let mut encoder = image.encoder();
    let mut payload = Vec::new();
    while let Some(block) = encoder.next_block(&mut payload) {
        let kind = snapshot::BlockKind::from_number(block.kind.number())
            .expect("both crates know the kinds of the format");
        writer.block(
            kind,
            block.base_ordinal,
            block.record_count,
            block.first_path,
            &payload,
        )?;
    }
    let totals = image.totals();
    writer.finish(snapshot::Totals {
        nodes: totals.nodes,
        sessions: totals.sessions,
        acls: totals.acls,
        data_bytes: totals.data_bytes,
        ephemerals: totals.ephemerals,
        digest: Some((DIGEST_VERSION, totals.digest)),
    })?;
    Ok(())
}

/// Loads a whole snapshot: blocks are decoded on `threads` threads and joined in their order.
pub(crate) fn load(
    reader: &SnapshotReader,
    threads: usize,
    hash_seed: u64,
    progress: &(dyn Fn(SnapshotProgress) + Sync),
) -> Result<Tree, LoadError> {
    let joiner = Mutex::new(Joiner {
        builder: Builder::new(hash_seed),
        next: 0,
        early: BTreeMap::new(),
    });
    reader.load_parallel(
        threads,
        |_| true,
        |block| {
            let kind = codec::BlockKind::from_number(block.kind.number())
                .expect("both crates know the kinds of the format");
            let decoded = codec::decode_block(
                kind,
                block.base_ordinal,
                block.record_count,
                block.payload,
                hash_seed,
            )
            .map_err(content)?;
            joiner.lock().add(block.index, decoded).map_err(content)
        },
        progress,
    )?;
    let totals = reader.totals();
    let Some((DIGEST_VERSION, digest)) = totals.digest else {
        return Err(LoadError::Content(
            "it has no digest of the version this server knows".into(),
        ));
    };
    let totals = codec::Totals {
        nodes: totals.nodes,
        sessions: totals.sessions,
        acls: totals.acls,
        data_bytes: totals.data_bytes,
        ephemerals: totals.ephemerals,
        digest,
    };
    joiner
        .into_inner()
        .builder
        .finish(reader.zxid(), &totals)
        .map_err(content)
}

fn content(error: impl std::error::Error + Send + Sync + 'static) -> LoadError {
    LoadError::Content(Box::new(error))
}

/// Puts decoded blocks back into order.
struct Joiner {
    builder: Builder,
    next: usize,
    early: BTreeMap<usize, DecodedBlock>,
}

impl Joiner {
    fn add(&mut self, index: usize, block: DecodedBlock) -> Result<(), JoinError> {
        self.early.insert(index, block);
        while let Some(block) = self.early.remove(&self.next) {
            self.builder.push(block)?;
            self.next += 1;
        }
        Ok(())
    }
}
