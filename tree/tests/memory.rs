//! What a million znodes cost, by what the allocator is asked for and by the tree's own account of it.

use ironkeeper_proto::txn::CreateTxn;
use ironkeeper_proto::{AclList, OpCode, SessionId, Txn, TxnHeader, Xid, Zxid};
use ironkeeper_tree::Tree;
use std::fmt::Write as _;

const NODES: usize = 1_000_000;
const PARENTS: usize = 1000;
/// The budget: bytes a znode beyond its name and data.
const OVERHEAD_MAX: usize = 128;

fn create(tree: &mut Tree, number: usize, path: &str, data: &[u8], parent_cversion: usize) {
    let header = TxnHeader {
        session: SessionId(1),
        cxid: Xid(1),
        zxid: Zxid(number as i64 + 1),
        time_ms: 1_700_000_000_000,
        kind: OpCode::Create,
    };
    let txn = Txn::Create(CreateTxn {
        path,
        data: Some(data),
        acl: AclList::OPEN,
        ephemeral: false,
        parent_cversion: Some(parent_cversion as i32),
    });
    let applied = tree.apply(&header, &txn, None, &mut ());
    assert_eq!((applied.result.err, applied.anomaly), (0, None));
}

/// Leaves under a thousand parents, with data of 0 to 63 bytes. Returns the bytes of their names and data.
fn fill(tree: &mut Tree, nodes: usize) -> usize {
    let data = [7; 64];
    let mut path = String::new();
    let mut content = 0;
    for parent in 0..PARENTS {
        path.clear();
        write!(path, "/p{parent}").unwrap();
        content += path.len() - 1;
        create(tree, parent, &path, &[], parent + 1);
    }
    for number in 0..nodes {
        path.clear();
        write!(path, "/p{}/node{number}", number % PARENTS).unwrap();
        let data = &data[..number % 64];
        content += path.rsplit('/').next().unwrap().len() + data.len();
        create(tree, PARENTS + number, &path, data, number / PARENTS + 1);
    }
    content
}

#[test]
fn a_znode_costs_no_more_than_its_budget() {
    let mut tree = None;
    let mut content = 0;
    let asked = allocation_counter::measure(|| {
        let mut new = Tree::new();
        content = fill(&mut new, NODES);
        tree = Some(new);
    });
    let tree = tree.unwrap();
    let asked = usize::try_from(asked.bytes_current).unwrap();
    let per_node = |bytes: usize| (bytes - content) as f64 / NODES as f64;
    // The account adds what an allocator takes for itself; without that it must agree with what was asked for.
    let accounted = tree.heap_bytes();
    let (asked, accounted) = (per_node(asked), per_node(accounted));
    println!("{asked:.1} bytes a znode asked for, {accounted:.1} with the allocator's own");
    assert!(
        accounted <= OVERHEAD_MAX as f64,
        "{accounted} bytes a znode"
    );
    assert!(
        accounted > asked,
        "{accounted} accounted, {asked} asked for"
    );
    assert!(
        accounted - asked < 24.0,
        "{accounted} accounted, {asked} asked for"
    );
}

/// An image costs nothing until something changes, and then a page for each page that does.
#[test]
fn an_image_costs_what_changes() {
    let mut tree = Tree::new();
    let nodes = NODES / 10;
    fill(&mut tree, nodes);
    let mut image = None;
    let taken = allocation_counter::measure(|| image = Some(tree.image()));
    assert!(
        taken.bytes_total < 16 << 10,
        "{} bytes for an image",
        taken.bytes_total
    );
    let changed = allocation_counter::measure(|| {
        create(&mut tree, 2 * nodes, "/p1/new", &[], nodes / PARENTS + 1);
    });
    // The record, its neighbour, the parent's record and side record, the ways to them, a table of the index.
    assert!(
        changed.bytes_total < 64 << 10,
        "{} bytes for a change",
        changed.bytes_total
    );
    let image = image.unwrap();
    assert_eq!(image.counters().nodes + 1, tree.counters().nodes);
}
