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

#[cfg(test)]
mod tests {
    use super::*;
    use ironkeeper_proto::txn::CreateTxn;
    use ironkeeper_proto::{AclList, SessionId, Txn, TxnHeader, Xid, Zxid};
    use ironkeeper_storage::io::OsDisk;

    const HASH_SEED: u64 = 7;

    /// A tree that grows by one txn after another.
    struct Grown(Tree, i64);

    impl Grown {
        fn new() -> Grown {
            Grown(Tree::with_hash_seed(HASH_SEED), 0)
        }

        fn apply(&mut self, txn: &Txn<'_>) {
            self.1 += 1;
            let header = TxnHeader {
                session: SessionId(0x0100_0000_0000_0007),
                cxid: Xid(1),
                zxid: Zxid(self.1),
                time_ms: 1_700_000_000_000 + self.1,
                kind: txn.kind(),
            };
            let applied = self.0.apply(&header, txn, None, &mut ());
            assert_eq!(applied.anomaly, None, "{txn:?}");
        }

        fn create(&mut self, path: &str, data: &[u8], ephemeral: bool, parent_cversion: i32) {
            self.apply(&Txn::Create(CreateTxn {
                path,
                data: Some(data),
                acl: AclList::OPEN,
                ephemeral,
                parent_cversion: Some(parent_cversion),
            }));
        }
    }

    /// Everything in a tree, as a snapshot of it would say it.
    fn content(tree: &Tree) -> Vec<(codec::BlockKind, u64, u32, Vec<u8>)> {
        let (image, mut payload) = (tree.image(), Vec::new());
        let mut encoder = image.encoder();
        std::iter::from_fn(|| {
            let block = encoder.next_block(&mut payload)?;
            let (base, records) = (block.base_ordinal, block.record_count);
            Some((block.kind, base, records, payload.clone()))
        })
        .collect()
    }

    /// E72: however many threads decode, the tree is the one that was written.
    fn loads_the_same(tree: &Tree, blocks_least: usize) {
        let root = tempfile::tempdir().unwrap();
        let dir = SnapshotDir::open(Arc::new(OsDisk::new()), root.path(), [3; 16]).unwrap();
        let zxid = tree.last_applied();
        let identity = SnapshotIdentity {
            server: 1,
            zxid,
            epoch: 0,
            created_ms: 1_700_000_000_000,
        };
        write(&tree.image(), &dir, identity).unwrap();
        let reader = dir.open_snapshot(zxid).unwrap();
        let blocks = reader.directory().len();
        assert!(blocks >= blocks_least, "{blocks}");
        let mut first = None;
        for threads in [1, 2, 8, 64] {
            let loaded = load(&reader, threads, HASH_SEED, &|_| ()).unwrap();
            assert_eq!(loaded.last_applied(), zxid);
            assert_eq!(loaded.digest(), tree.digest(), "{threads} threads");
            assert_eq!(loaded.counters(), tree.counters(), "{threads} threads");
            let content = content(&loaded);
            let first = first.get_or_insert_with(|| {
                // Siblings may change places, so by their paths.
                for node in tree.root().subtree() {
                    let path = node.path();
                    let found = loaded.get(&path).expect(&path);
                    assert_eq!(found.stored_stat(), node.stored_stat(), "{path}");
                    assert!(
                        found.data() == node.data() && found.acl() == node.acl(),
                        "{path}"
                    );
                }
                content.clone()
            });
            assert!(*first == content, "{threads} threads");
        }
    }

    #[test]
    fn any_number_of_threads_loads_the_same_tree() {
        let is_long = std::env::var("IRONKEEPER_LONG").as_deref() == Ok("1");
        let (siblings, depth) = (if is_long { 1_000_000 } else { 20_000 }, 1000);
        loads_the_same(&Grown::new().0, 1);
        let mut grown = Grown::new();
        grown.apply(&Txn::CreateSession { timeout_ms: 4000 });
        grown.create("/wide", b"", false, 1);
        for n in 1..=siblings {
            let path = format!("/wide/{n:07}");
            grown.create(&path, path.as_bytes(), n % 1000 == 0, n);
        }
        let mut path = String::new();
        for n in 0..depth {
            path.push_str("/d");
            // Blocks end in the middle of the chain.
            grown.create(&path, &vec![b'd'; 3000], false, if n == 0 { 2 } else { 1 });
        }
        grown.create("/large", b"", false, 3);
        for n in 1..=3 {
            let path = format!("/large/{n}");
            grown.create(&path, &vec![b'0'; 1 << 20], false, n);
        }
        loads_the_same(&grown.0, 8);
    }
}
