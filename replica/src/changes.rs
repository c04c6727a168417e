//! What a txn changed, for those who count.

use ironkeeper_proto::{OpCode, Txn};
use ironkeeper_tree::Applied;

use crate::seams::Outlet;

/// Changes of nodes that a txn made, as ZooKeeper counts its outstanding changes: a node that comes or
/// goes changes its parent too.
pub(crate) fn changes(txn: &Txn<'_>, applied: &Applied) -> u64 {
    let of = |kind: OpCode| match kind {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => 2,
        OpCode::Delete | OpCode::DeleteContainer => 2,
        OpCode::SetData | OpCode::SetAcl => 1,
        _ => 0,
    };
    match txn {
        Txn::CloseSession { paths } => 2 * paths.as_ref().map_or(0, |paths| paths.len() as u64),
        Txn::Multi(_) => applied.parts.iter().map(|part| of(part.kind)).sum(),
        _ => of(applied.result.kind),
    }
}

/// Tells which nodes a txn wrote; for a multi, part by part.
pub(crate) fn written(txn: &Txn<'_>, out: &mut impl Outlet) {
    let bytes = |data: Option<&[u8]>| data.map_or(0, <[u8]>::len);
    match txn {
        Txn::Create(create) | Txn::Create2(create) => out.written(create.path, bytes(create.data)),
        Txn::CreateContainer(create) => out.written(create.path, bytes(create.data)),
        Txn::CreateTtl(create) => out.written(create.path, bytes(create.data)),
        Txn::SetData(set) => out.written(set.path, bytes(set.data)),
        Txn::Delete { path } | Txn::DeleteContainer { path } => out.written(path, 0),
        Txn::CloseSession { paths: Some(paths) } => {
            paths.iter().for_each(|path| out.written(path, 0));
        }
        Txn::Multi(multi) => multi.iter().for_each(|part| written(&part, out)),
        _ => {}
    }
}
