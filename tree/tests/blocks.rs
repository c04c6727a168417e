//! Blocks and images on purpose: sets of sound blocks that are no tree, blocks of the wrong length, other threads.

mod common;

use common::txns::{apply, create, open_session};
use ironkeeper_proto::Txn;
use ironkeeper_proto::txn::SetDataTxn;
use ironkeeper_tree::codec::{BlockKind, CodecError, Totals, decode_block};
use ironkeeper_tree::load::{Builder, LoadError};
use ironkeeper_tree::{Image, NodeRef, Tree};

struct Block {
    kind: BlockKind,
    base: u64,
    count: u32,
    payload: Vec<u8>,
}

/// A tree with a few of everything, a record a block.
fn small_blocks() -> (Image, Vec<Block>) {
    let mut tree = Tree::new();
    open_session(&mut tree, 1);
    apply(&mut tree, 2, &Txn::Create(create("/a", 1)));
    apply(&mut tree, 3, &Txn::Create(create("/a/b", 1)));
    apply(&mut tree, 4, &Txn::Create(create("/a/b/c", 1)));
    let image = tree.image();
    let (mut blocks, mut payload) = (Vec::new(), Vec::new());
    let mut encoder = image.encoder_with_target(1);
    while let Some(info) = encoder.next_block(&mut payload) {
        let (kind, base, count) = (info.kind, info.base_ordinal, info.record_count);
        blocks.push(Block {
            kind,
            base,
            count,
            payload: payload.clone(),
        });
    }
    (image, blocks)
}

/// Each block is sound by itself; what is wrong is the set of them.
#[test]
fn blocks_that_do_not_make_up_the_tree_are_refused() {
    let (image, blocks) = small_blocks();
    let load = |which: &[usize], totals: &Totals| -> Result<Tree, LoadError> {
        let mut builder = Builder::new(0);
        for &at in which {
            let Block {
                kind,
                base,
                count,
                ref payload,
            } = blocks[at];
            builder.push(decode_block(kind, base, count, payload, 0).unwrap())?;
        }
        builder.finish(image.last_applied(), totals)
    };
    let all: Vec<usize> = (0..blocks.len()).collect();
    let totals = image.totals();
    assert_eq!(load(&all, &totals).unwrap().digest(), image.digest());
    for at in 0..all.len() {
        let mut some = all.clone();
        some.remove(at);
        // The auxiliary block comes first and is in no total: it is storage's directory that misses it.
        assert_eq!(load(&some, &totals).is_err(), at > 0, "without block {at}");
        let mut twice = all.clone();
        twice.insert(at, at);
        assert!(load(&twice, &totals).is_err(), "block {at} twice");
    }
    let last = all.len() - 1;
    let swapped: Vec<usize> = (0..last - 1).chain([last, last - 1]).collect();
    assert!(matches!(
        load(&swapped, &totals),
        Err(LoadError::OutOfOrder { .. })
    ));
    for change in 0..6 {
        let mut other = totals;
        let fields = [
            &mut other.nodes,
            &mut other.sessions,
            &mut other.acls,
            &mut other.data_bytes,
            &mut other.ephemerals,
            &mut other.digest,
        ];
        for (number, field) in fields.into_iter().enumerate() {
            *field += u64::from(number == change);
        }
        assert!(
            matches!(load(&all, &other), Err(LoadError::Totals { .. })),
            "{change}"
        );
    }
}

/// The digest of a block's nodes rests on the names it states for their ancestors: they must be the tree's.
#[test]
fn a_block_with_other_ancestors_is_refused() {
    let (image, mut blocks) = small_blocks();
    let deepest = blocks
        .iter()
        .position(|block| block.kind == BlockKind::Nodes && block.payload.starts_with(b"\x02"))
        .unwrap();
    let payload = &mut blocks[deepest].payload;
    // depth 2 | ordinal, length 1, name | ordinal, length 1, name | ...
    assert_eq!((payload[3], payload[6]), (b'a', b'b'));
    payload[3] = b'z';
    let mut builder = Builder::new(0);
    let mut results = blocks.iter().map(|block| {
        let decoded = decode_block(block.kind, block.base, block.count, &block.payload, 0);
        builder.push(decoded.unwrap())
    });
    let error = results.find_map(Result::err).unwrap();
    assert!(
        matches!(error, LoadError::AncestorDiffers { .. }),
        "{error}"
    );
    assert!(image.digest() != 0);
}

/// Nothing is left of a block cut short, and nothing may follow it.
#[test]
fn blocks_of_another_length_are_refused() {
    for Block {
        kind,
        base,
        count,
        payload,
    } in small_blocks().1
    {
        let decode = |count, bytes: &[u8]| decode_block(kind, base, count, bytes, 0);
        for length in 0..payload.len() {
            assert!(
                decode(count, &payload[..length]).is_err(),
                "{kind:?} {length}"
            );
        }
        let mut longer = payload.clone();
        longer.push(0);
        assert!(matches!(
            decode(count, &longer),
            Err(CodecError::Trailing { .. })
        ));
        assert!(decode(count + 1, &payload).is_err());
        assert!(decode(u32::MAX, &payload).is_err());
    }
}

/// What the snapshot thread does while the writer goes on: the types allow it, and neither disturbs the other.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "threads are what this test is about"
)]
fn an_image_is_read_on_another_thread_while_the_tree_changes() {
    fn shared<T: Send + Sync>() {}
    shared::<Tree>();
    shared::<Image>();
    let mut tree = Tree::new();
    for number in 0..2000 {
        apply(
            &mut tree,
            number + 1,
            &Txn::Create(create(&format!("/n{number}"), -1)),
        );
    }
    let image = tree.image();
    let digest = |image: &Image| {
        let counted = |node: &NodeRef<'_>| ironkeeper_tree::digest::counts(&node.path());
        image
            .root()
            .subtree()
            .filter(counted)
            .map(|node| u64::from(node.digest()))
            .sum::<u64>()
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..20).map(|_| digest(&image)).collect::<Vec<u64>>());
        for number in 0..2000 {
            let path = format!("/n{number}");
            let set = SetDataTxn {
                path: &path,
                data: Some(b"changed"),
                version: 1,
            };
            apply(&mut tree, 5000 + number, &Txn::SetData(set));
            apply(&mut tree, 9000 + number, &Txn::Delete { path: &path });
        }
        for sum in reader.join().unwrap() {
            assert_eq!(sum.cast_signed(), image.digest());
        }
    });
    assert_eq!((tree.node_count(), image.counters().nodes), (4, 2004));
}
