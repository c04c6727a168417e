//! Random histories: the tree against the dumb model, images, snapshots and replays over mixed ones.

mod common;

use common::history::{self, Intent};
use common::{Model, apache_snapshot};
use ironkeeper_proto::apache::Snapshot;
use ironkeeper_proto::{ErrorCode, OpCode, Txn, TxnHeader, Zxid, decode_record};
use ironkeeper_tree::codec::{BlockKind, Totals, decode_block};
use ironkeeper_tree::load::Builder;
use ironkeeper_tree::{Applied, DigestCheck, Image, ImportOptions, Tree};
use proptest::prelude::*;

/// Applies one txn to both and compares what came of it.
fn apply_both(tree: &mut Tree, model: &mut Model, header: &TxnHeader, txn: &Txn<'_>) -> Applied {
    let expected = model.apply(header, txn);
    let applied = tree.apply(header, txn, None, &mut ());
    let single = [applied.result];
    let got = if matches!(txn, Txn::Multi(_)) {
        &applied.parts[..]
    } else {
        &single
    };
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        let code = expected.as_ref().err().map_or(0, |code| code.to_i32());
        assert_eq!(got.err, code, "{txn:?}");
    }
    if let ([got], [Ok(Some(path))]) = (got, &expected[..]) {
        assert_eq!(got.stat, Some(model.client_stat(path)), "{txn:?}");
    }
    applied
}

fn replay(tree: &mut Tree, records: &[Vec<u8>]) {
    for record in records {
        let (header, txn, digest) = decode_record(record).unwrap();
        let applied = tree.apply(&header, &txn, digest.as_ref(), &mut ());
        assert_eq!(applied.anomaly, None, "{txn:?}");
        let expected = if digest.is_some() {
            DigestCheck::Equal
        } else {
            DigestCheck::Absent
        };
        assert_eq!(applied.digest, expected, "{txn:?}");
    }
}

type Block = (BlockKind, u64, u32, Vec<u8>);

fn blocks(image: &Image, target: usize) -> Vec<Block> {
    let mut encoder = image.encoder_with_target(target);
    let mut payload = Vec::new();
    let mut blocks = Vec::new();
    while let Some(info) = encoder.next_block(&mut payload) {
        let (kind, base, count) = (info.kind, info.base_ordinal, info.record_count);
        assert_eq!(info.first_path.is_empty(), kind != BlockKind::Nodes);
        blocks.push((kind, base, count, payload.clone()));
    }
    blocks
}

fn load(blocks: &[Block], last_applied: Zxid, totals: &Totals) -> Result<Tree, String> {
    let mut builder = Builder::new(9);
    for (kind, base, count, payload) in blocks {
        let block =
            decode_block(*kind, *base, *count, payload, 9).map_err(|error| error.to_string())?;
        builder.push(block).map_err(|error| error.to_string())?;
    }
    builder
        .finish(last_applied, totals)
        .map_err(|error| error.to_string())
}

/// Changes a few bytes of a few blocks, or their lengths.
fn damaged(blocks: &mut [Block], changes: &[(u16, u16, u8)]) {
    let count = blocks.len();
    for &(block, at, value) in changes {
        let (_, _, records, payload) = &mut blocks[block as usize % count];
        match (value, payload.len()) {
            (0..16, _) => *records = records.wrapping_add(u32::from(value)).wrapping_sub(8),
            (16..32, length) => payload.truncate(usize::from(at) % (length + 1)),
            (_, 0) => payload.push(value),
            (_, length) => payload[usize::from(at) % length] = value,
        }
    }
}

/// A snapshot as Apache walks the tree while txns go on: each node as it is at the moment it is written, its list of
/// children as of then, a child written later as it is then. `moments` says how many txns pass between two nodes.
fn mixed_snapshot(states: &[Model], start: usize, moments: &[u8]) -> (Tree, usize) {
    let mut acls = Vec::new();
    let mut nodes = Vec::new();
    let mut now = start;
    let mut steps = moments.iter().copied().chain(std::iter::repeat(0));
    let mut stack = vec![String::new()];
    while let Some(path) = stack.pop() {
        now = (now + usize::from(steps.next().unwrap())).min(states.len() - 1);
        let Some(node) = states[now].nodes.get(&path) else {
            continue;
        };
        stack.extend(
            states[now]
                .children(&path)
                .iter()
                .map(|name| format!("{path}/{name}")),
        );
        let acl = match &node.acl {
            None => -1,
            Some(list) => {
                acls.push((acls.len() as i64 + 1, list.clone()));
                acls.len() as i64
            }
        };
        nodes.push((path, node.data.clone(), acl, node.stat));
    }
    // The table comes first in the file: it has only what was there when the walk began.
    acls.retain(|(_, list)| {
        states[start]
            .nodes
            .values()
            .any(|node| node.acl.as_ref() == Some(list))
    });
    let bytes = apache_snapshot(&states[start].sessions, &acls, &nodes);
    let snapshot = Snapshot::parse(&bytes).unwrap();
    let mut tree = Tree::from_apache(&snapshot, ImportOptions::default()).unwrap();
    tree.set_last_applied(states[start].last_applied);
    (tree, now)
}

/// The models after each record, the fresh one first.
fn states(records: &[Vec<u8>]) -> Vec<Model> {
    let mut states = vec![Model::new()];
    for record in records {
        let (header, txn, _) = decode_record(record).unwrap();
        let mut next = states.last().unwrap().clone();
        next.apply(&header, &txn);
        states.push(next);
    }
    states
}

/// Any txn whatever, whether it fits or not: zxids go back and forth, parents are missing, versions jump.
fn wild() -> impl Strategy<Value = (u8, i64, String, Option<Vec<u8>>, i32, u8)> {
    (
        0..14_u8,
        0..200_i64,
        history::path(),
        history::data(),
        -2..6_i32,
        0..4_u8,
    )
}

fn apply_wild(
    tree: &mut Tree,
    model: &mut Model,
    wild: &(u8, i64, String, Option<Vec<u8>>, i32, u8),
) {
    use ironkeeper_proto::txn::*;
    let (kind, zxid, path, data, number, small) = wild;
    let list = common::acl_buf(&history::acl(*small));
    let null = ironkeeper_proto::AclList::NULL;
    let acl = if *number == 5 { null } else { list.as_list() };
    let (path, data, version) = (path.as_str(), data.as_deref(), *number);
    let odd = format!("{path}/");
    let mut strings = ironkeeper_proto::StringListBuf::new();
    strings.push(path);
    let mut parts = MultiTxnBuf::new();
    let create = CreateTxn {
        path,
        data,
        acl,
        ephemeral: *small > 1,
        parent_cversion: Some(version),
    };
    let txn = match kind {
        0 | 1 => Txn::Create(create),
        2 => Txn::Create2(create),
        3 => Txn::Create(CreateTxn {
            parent_cversion: None,
            ..create
        }),
        4 => Txn::CreateContainer(CreateContainerTxn {
            path,
            data,
            acl,
            parent_cversion: version,
        }),
        5 => Txn::CreateTtl(CreateTtlTxn {
            path,
            data,
            acl,
            parent_cversion: version,
            ttl_ms: 7,
        }),
        6 => Txn::Delete { path },
        7 => Txn::SetData(SetDataTxn {
            path,
            data,
            version,
        }),
        8 => Txn::SetAcl(SetAclTxn { path, acl, version }),
        9 => {
            parts.push(&Txn::Create(create));
            parts.push(&Txn::Delete { path });
            parts.push(&Txn::SetData(SetDataTxn {
                path,
                data,
                version,
            }));
            if *small == 0 {
                parts.push(&Txn::error(ErrorCode::BadVersion));
            }
            Txn::Multi(parts.as_txn())
        }
        10 => Txn::CreateSession {
            timeout_ms: version,
        },
        11 => Txn::CloseSession { paths: None },
        12 => Txn::CloseSession {
            paths: Some(PathList::from_buf(&strings)),
        },
        _ => Txn::Delete {
            path: if *small == 0 { "/" } else { &odd },
        },
    };
    let header = history::header(Zxid(*zxid), *small, &txn);
    apply_both(tree, model, &header, &txn);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// What a sound server logs: no surprises, every digest right, every figure as the model has it.
    #[test]
    fn a_sound_history_gives_the_models_tree(intents in history::intents(0..60)) {
        let (mut tree, mut model) = (Tree::with_hash_seed(3), Model::new());
        for record in history::valid(&intents) {
            let (header, txn, digest) = decode_record(&record).unwrap();
            let applied = apply_both(&mut tree, &mut model, &header, &txn);
            prop_assert_eq!(applied.anomaly, None);
            prop_assert_eq!(applied.result.kind, txn.kind());
            if let Some(digest) = digest {
                prop_assert_eq!(tree.digest(), digest.tree_digest);
            }
        }
        model.check_tree(&tree);
    }

    /// Total: nothing panics, and what happens is what the rules say, however senseless the txns.
    #[test]
    fn any_txns_do_what_the_rules_say(txns in prop::collection::vec(wild(), 0..60)) {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        for wild in &txns {
            apply_wild(&mut tree, &mut model, wild);
        }
        model.check_tree(&tree);
    }

    /// Images taken at any time stay what they were, and a tree loaded from one goes on like the original.
    #[test]
    fn images_and_snapshots_are_exact(
        intents in history::intents(1..60),
        at in prop::collection::vec(0..60_usize, 1..4),
        target in 1..600_usize,
    ) {
        let records = history::valid(&intents);
        let states = states(&records);
        let mut tree = Tree::new();
        let mut images = Vec::new();
        for count in 0..=records.len() {
            if at.contains(&count) || count == records.len() {
                images.push((count, tree.image()));
            }
            if let Some(record) = records.get(count) {
                replay(&mut tree, std::slice::from_ref(record));
            }
        }
        for (count, image) in images {
            let model = &states[count];
            model.check(image.root());
            prop_assert_eq!(image.digest(), model.digest());
            let blocks = blocks(&image, target);
            let mut loaded = load(&blocks, image.last_applied(), &image.totals()).unwrap();
            model.check_tree(&loaded);
            prop_assert_eq!(loaded.counters(), image.counters());
            for server in 0..4 {
                prop_assert_eq!(loaded.session_high_water(server), image.session_high_water(server));
            }
            replay(&mut loaded, &records[count..]);
            states.last().unwrap().check_tree(&loaded);
        }
    }

    /// Damaged blocks are refused or load as something; they never panic. (That damage is noticed is what the
    /// checksums around the blocks are for.)
    #[test]
    fn damaged_blocks_do_no_harm(
        intents in history::intents(1..40),
        target in 1..400_usize,
        changes in prop::collection::vec(any::<(u16, u16, u8)>(), 1..6),
    ) {
        let mut tree = Tree::new();
        replay(&mut tree, &history::valid(&intents));
        let image = tree.image();
        let mut blocks = blocks(&image, target);
        damaged(&mut blocks, &changes);
        if let Ok(tree) = load(&blocks, image.last_applied(), &image.totals()) {
            prop_assert_eq!(tree.root().subtree().count(), tree.node_count());
        }
    }

    /// E33: from any mix of the states between two zxids, replay from the first gives the tree of a straight replay.
    #[test]
    fn replay_over_a_mixed_snapshot_gives_the_straight_tree(
        intents in history::intents(1..60),
        start in any::<prop::sample::Index>(),
        moments in prop::collection::vec(0..4_u8, 0..12),
    ) {
        let records = history::valid(&intents);
        let states = states(&records);
        let start = start.index(states.len());
        let (mut tree, end) = mixed_snapshot(&states, start, &moments);
        for (at, record) in records.iter().enumerate().skip(start) {
            let (header, txn, digest) = decode_record(record).unwrap();
            let digest = digest.filter(|_| at >= end);
            let applied = tree.apply(&header, &txn, digest.as_ref(), &mut ());
            prop_assert!(!matches!(applied.digest, DigestCheck::Differs { .. }), "{:?}", txn);
            if at >= end {
                prop_assert_eq!(applied.anomaly, None);
            }
        }
        states.last().unwrap().check_tree(&tree);
        prop_assert!(!tree.has_missing_acls());
    }
}

/// The generators reach what they are meant to reach.
#[test]
fn histories_are_not_dull() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut kinds = std::collections::BTreeMap::new();
    let (mut failed_multis, mut closed_with_paths) = (0, 0);
    for _ in 0..100 {
        let intents: Vec<Intent> = history::intents(40..60)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        for record in history::valid(&intents) {
            let (header, txn, _) = decode_record(&record).unwrap();
            *kinds.entry(header.kind).or_insert(0) += 1;
            match txn {
                Txn::Multi(multi) => failed_multis += usize::from(multi.is_failed()),
                Txn::CloseSession { paths: Some(paths) } => {
                    closed_with_paths += usize::from(!paths.is_empty());
                }
                _ => {}
            }
        }
    }
    for kind in [
        OpCode::Create,
        OpCode::Create2,
        OpCode::CreateContainer,
        OpCode::CreateTtl,
        OpCode::Delete,
        OpCode::DeleteContainer,
        OpCode::SetData,
        OpCode::SetAcl,
        OpCode::Multi,
        OpCode::CreateSession,
        OpCode::CloseSession,
        OpCode::Error,
    ] {
        assert!(
            kinds.get(&kind).is_some_and(|&count| count >= 10),
            "{kind:?}: {kinds:?}"
        );
    }
    assert!(
        failed_multis >= 10 && closed_with_paths >= 10,
        "{failed_multis} {closed_with_paths}"
    );
}
