//! Frames that answer a txn, and frames that tell of one.

use ironkeeper_proto::{
    ErrorCode, EventType, Record, ReplyHeader, Txn, WatcherEvent, Writer, Xid, Zxid, frame,
};
use ironkeeper_tree::{Applied, reply};

/// Appends the frame that answers the request which became `txn`.
pub(crate) fn encode(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, txn: &Txn<'_>, applied: &Applied) {
    let start = out.len();
    out.extend_from_slice(&[0; frame::PREFIX_BYTES]);
    let header = ReplyHeader::new(xid, zxid, ErrorCode::Ok);
    header.encode(&mut Writer::new(out));
    // A request whose session has moved has nobody waiting, so there is always an answer here.
    let err = reply::write_reply(txn, applied, None, out).unwrap_or(0);
    let length = out.len() - start - frame::PREFIX_BYTES;
    let length = i32::try_from(length).expect("a reply to a write is as bounded as its request");
    let err_at = start + frame::PREFIX_BYTES + ReplyHeader::ENCODED_BYTES - size_of::<i32>();
    out[start..start + frame::PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    out[err_at..err_at + size_of::<i32>()].copy_from_slice(&err.to_be_bytes());
}

/// Appends a reply frame whose body `encode` writes; a body behind an error is dropped.
pub fn encode_read(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    encode: impl FnOnce(&mut Vec<u8>) -> ErrorCode,
) {
    let start = out.len();
    out.extend_from_slice(&[0; frame::PREFIX_BYTES]);
    ReplyHeader::new(xid, zxid, ErrorCode::Ok).encode(&mut Writer::new(out));
    let body = out.len();
    let err = encode(out);
    if err != ErrorCode::Ok {
        out.truncate(body);
        out[body - size_of::<i32>()..].copy_from_slice(&err.to_i32().to_be_bytes());
    }
    let length = i32::try_from(out.len() - start - frame::PREFIX_BYTES)
        .expect("a reply is bounded by the nodes and lists that the request limit lets in");
    out[start..start + frame::PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Appends a notification frame: `zxid` is that of the txn, or -1 where setWatches makes it up.
pub fn encode_event(out: &mut Vec<u8>, zxid: Zxid, kind: EventType, path: &str) {
    frame::write(out, |writer: &mut Writer<'_>| {
        ReplyHeader::new(Xid::NOTIFICATION, zxid, ErrorCode::Ok).encode(writer);
        WatcherEvent::new(kind, path).encode(writer);
    });
}
