//! Replies to writes, from what applying them came to.

use ironkeeper_proto::{
    ErrorCode, MultiHeader, MultiResult, OpCode, Record as _, Stat, Txn, Writer,
};

use crate::{Applied, OpResult};

/// Appends the record of the reply to a write that has been applied and returns the err of its header; with an err
/// the record is empty. A failed multi has none: its record tells. `config` is what a reconfig answers with.
///
/// `None`: the multi was refused because its session has moved, and the connection is closed without a reply.
pub fn write_reply(
    txn: &Txn<'_>,
    applied: &Applied,
    config: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Option<i32> {
    if let Txn::Multi(multi) = txn {
        let moved = ErrorCode::SessionMoved.to_i32();
        if applied.parts.iter().any(|part| part.err == moved) {
            return None;
        }
        for (part, result) in multi.iter().zip(&applied.parts) {
            write_part(&part, result, out);
        }
        MultiHeader::END.encode(&mut Writer::new(out));
        return Some(0);
    }
    let err = applied.result.err;
    if err != 0 {
        return Some(err);
    }
    let none = Stat::default();
    let stat = applied.result.stat.as_ref().unwrap_or(&none);
    let mut writer = Writer::new(out);
    match txn {
        Txn::Create(create) => writer.str(create.path),
        Txn::Create2(create) => write_created(create.path, stat, &mut writer),
        Txn::CreateContainer(create) => write_created(create.path, stat, &mut writer),
        Txn::CreateTtl(create) => write_created(create.path, stat, &mut writer),
        Txn::SetData(_) | Txn::SetAcl(_) => stat.encode(&mut writer),
        Txn::Reconfig(_) => {
            writer.buffer(config);
            stat.encode(&mut writer);
        }
        _ => {}
    }
    Some(0)
}

fn write_created(path: &str, stat: &Stat, writer: &mut Writer<'_>) {
    writer.str(path);
    stat.encode(writer);
}

/// The type in front of a result tells clients how to read it: createContainer and createTTL answer as create2.
fn write_part(part: &Txn<'_>, result: &OpResult, out: &mut Vec<u8>) {
    let stat = result.stat.unwrap_or_default();
    let answer = if result.err != 0 || result.kind == OpCode::Error {
        MultiResult::Error { code: result.err }
    } else {
        match part {
            Txn::Create(create) => MultiResult::Create {
                path: create.path.into(),
            },
            Txn::Create2(create) => MultiResult::Create2 {
                path: create.path.into(),
                stat,
            },
            Txn::CreateContainer(create) => MultiResult::Create2 {
                path: create.path.into(),
                stat,
            },
            Txn::CreateTtl(create) => MultiResult::Create2 {
                path: create.path.into(),
                stat,
            },
            Txn::SetData(_) => MultiResult::SetData { stat },
            Txn::Check(_) => MultiResult::Check,
            _ => MultiResult::Delete,
        }
    };
    answer.encode(&mut Writer::new(out));
}
