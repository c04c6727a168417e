//! Txns one by one.

use ironkeeper_proto::txn::CreateTxn;
use ironkeeper_proto::{AclList, OpCode, SessionId, StatPersisted, Txn, TxnHeader, Xid, Zxid};
use ironkeeper_tree::{Applied, Tree};

pub const SESSION: i64 = 0x0100_0000_0000_0007;

pub fn header(zxid: i64, kind: OpCode) -> TxnHeader {
    TxnHeader {
        session: SessionId(SESSION),
        cxid: Xid(1),
        zxid: Zxid(zxid),
        time_ms: zxid.wrapping_add(1000),
        kind,
    }
}

pub fn apply(tree: &mut Tree, zxid: i64, txn: &Txn<'_>) -> Applied {
    tree.apply(&header(zxid, txn.kind()), txn, None, &mut ())
}

pub fn create(path: &str, parent_cversion: i32) -> CreateTxn<'_> {
    CreateTxn {
        path,
        data: Some(b"x"),
        acl: AclList::OPEN,
        ephemeral: false,
        parent_cversion: Some(parent_cversion),
    }
}

pub fn stored(tree: &Tree, path: &str) -> StatPersisted {
    tree.get(path).unwrap().stored_stat()
}

pub fn open_session(tree: &mut Tree, zxid: i64) {
    apply(tree, zxid, &Txn::CreateSession { timeout_ms: 4000 });
}
