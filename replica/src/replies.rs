//! Frames that answer a txn, and frames that tell of one.

use std::borrow::Cow;

use ironkeeper_proto::{
    ErrorCode, EventType, MultiResponseBuf, MultiResult, OpCode, Record, ReplyHeader, Response,
    Stat, Txn, WatcherEvent, Writer, Xid, Zxid, frame,
};
use ironkeeper_tree::{Applied, OpResult};

/// Appends the reply to a request of kind `op` that became `txn`.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    op: OpCode,
    txn: &Txn<'_>,
    applied: &Applied,
) {
    if let Txn::Multi(parts) = txn {
        // A multi that failed is told in its body; the header says that it was carried out.
        let mut results = MultiResponseBuf::new();
        for (part, result) in parts.iter().zip(&applied.parts) {
            results.push(&multi_result(&part, result));
        }
        let response = Response::Multi(results.finish());
        frame::write_reply(out, &ReplyHeader::new(xid, zxid, ErrorCode::Ok), &response);
        return;
    }
    let header = ReplyHeader {
        xid,
        zxid,
        err: applied.result.err,
    };
    let response = if header.err == 0 {
        response(op, txn, applied.result.stat)
    } else {
        Response::Empty
    };
    frame::write_reply(out, &header, &response);
}

/// Appends a notification frame.
pub(crate) fn encode_event(out: &mut Vec<u8>, zxid: Zxid, kind: EventType, path: &str) {
    frame::write(out, |writer: &mut Writer<'_>| {
        ReplyHeader::new(Xid::NOTIFICATION, zxid, ErrorCode::Ok).encode(writer);
        WatcherEvent::new(kind, path).encode(writer);
    });
}

fn response<'a>(op: OpCode, txn: &Txn<'a>, stat: Option<Stat>) -> Response<'a> {
    match (op, created_path(txn), stat) {
        (OpCode::Create, Some(path), _) => Response::Create {
            path: Cow::Borrowed(path),
        },
        (_, Some(path), Some(stat)) => Response::CreateStat {
            path: Cow::Borrowed(path),
            stat,
        },
        (OpCode::SetData | OpCode::SetAcl, None, Some(stat)) => Response::Stat(stat),
        _ => Response::Empty,
    }
}

fn created_path<'a>(txn: &Txn<'a>) -> Option<&'a str> {
    match txn {
        Txn::Create(create) | Txn::Create2(create) => Some(create.path),
        Txn::CreateContainer(create) => Some(create.path),
        Txn::CreateTtl(create) => Some(create.path),
        _ => None,
    }
}

/// Clients read a multi's results by the type in each result's header: create only for a plain
/// create, create2 for every other kind of it.
fn multi_result<'a>(txn: &Txn<'a>, result: &OpResult) -> MultiResult<'a> {
    if result.kind == OpCode::Error {
        return MultiResult::Error { code: result.err };
    }
    match (txn, created_path(txn), result.stat) {
        (Txn::Create(_), Some(path), _) => MultiResult::Create {
            path: Cow::Borrowed(path),
        },
        (_, Some(path), Some(stat)) => MultiResult::Create2 {
            path: Cow::Borrowed(path),
            stat,
        },
        (Txn::Delete { .. }, ..) => MultiResult::Delete,
        (Txn::SetData(_), _, Some(stat)) => MultiResult::SetData { stat },
        (Txn::Check(_), ..) => MultiResult::Check,
        _ => MultiResult::Error {
            code: ErrorCode::RuntimeInconsistency.to_i32(),
        },
    }
}
