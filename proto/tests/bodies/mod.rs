//! What the fuzz targets run. The same functions run under `cargo test` over fixed seeds and deterministic mutations of
//! them, so that a plain build of the project exercises them too.
//!
//! Each takes any bytes, asserts what must hold of them, and never panics otherwise. What decoding allocates is counted:
//! it must stay below a constant times the input.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

use allocation_counter::measure;
use ironkeeper_proto::apache::{FileHeader, LogEntries, Snapshot};
use ironkeeper_proto::jute::lossy;
use ironkeeper_proto::{
    AclList, ConnectRequest, ConnectResponse, Frames, MultiHeader, MultiResponse, OpCode, PathList,
    Reader, Record, ReplyHeader, Request, Response, Stat, StatPersisted, StringList, Txn,
    WatcherEvent, Writer, decode_record, encode_record, frame, path,
};

/// Ill-formed text triples; whoAmI turns eight bytes into two strings' descriptors, in a vector that doubles.
const ALLOCATED_BYTES_MAX_PER_BYTE: u64 = 32;
/// Below this the allocator's own granularity counts.
const ALLOCATED_BYTES_SLACK: u64 = 512;

/// Runs a decoder and checks what it took.
fn bounded<T>(input: &[u8], decode: impl FnOnce() -> T) -> T {
    let mut result = None;
    let allocations = measure(|| result = Some(decode()));
    let limit = u64::try_from(input.len()).unwrap() * ALLOCATED_BYTES_MAX_PER_BYTE;
    assert!(
        allocations.bytes_total <= limit + ALLOCATED_BYTES_SLACK,
        "{} bytes of input took {} bytes",
        input.len(),
        allocations.bytes_total,
    );
    result.unwrap()
}

/// Decoding and encoding again gives the bytes that were read, as far as they were read.
fn exact<'a, R: Record<'a>>(input: &'a [u8]) {
    let mut reader = Reader::new(input);
    if let Ok(record) = bounded(input, || R::decode(&mut reader)) {
        assert_eq!(record.to_vec(), input[..reader.offset()]);
    }
}

/// Primitives in an order that the input chooses, and the records that Jute's vectors make.
pub(crate) fn jute(input: &[u8]) {
    let mut reader = Reader::new(input);
    while let Ok(choice) = reader.u8() {
        let before = reader.offset();
        let read = bounded(input, || match choice % 9 {
            0 => reader.bool().is_ok(),
            1 => reader.i32().is_ok(),
            2 => reader.i64().is_ok(),
            3 => reader.buffer().is_ok(),
            4 => reader.text().is_ok(),
            5 => reader.str("text").is_ok(),
            6 => reader.count(usize::from(choice)).is_ok(),
            7 => AclList::decode(&mut reader).is_ok(),
            _ => StringList::decode(&mut reader).is_ok(),
        });
        assert!(reader.offset() >= before);
        assert_eq!(reader.offset() + reader.remaining(), input.len());
        assert_eq!(reader.rest(), &input[reader.offset()..]);
        if !read {
            break;
        }
    }
    exact::<AclList<'_>>(input);
    exact::<StringList<'_>>(input);
    exact::<PathList<'_>>(input);
    exact::<Stat>(input);
    exact::<StatPersisted>(input);
    exact::<FileHeader>(input);
    if let Ok(list) = AclList::from_prefix(input) {
        assert_eq!(list.iter().count(), list.len());
    }
    if let Ok(list) = StringList::from_prefix(input) {
        assert_eq!(list.iter().count(), list.len());
    }
    let text = bounded(input, || lossy(input));
    assert_eq!(
        std::str::from_utf8(input).is_ok(),
        matches!(text, std::borrow::Cow::Borrowed(_))
    );
    bounded(input, || {
        (path::is_valid(&text), path::is_roughly_valid(&text))
    });
    if path::is_valid(&text) {
        assert!(path::is_roughly_valid(&text));
        assert!(path::parent(&text).is_some_and(path::is_valid));
    }
}

/// A stream of frames: the same whether it arrives at once or in two pieces.
pub(crate) fn frames(input: &[u8]) {
    const FRAME_BYTES_MAX: usize = 4096;
    let mut whole = Frames::new(input, FRAME_BYTES_MAX);
    let mut end = 0;
    let mut bodies = Vec::new();
    let error = loop {
        match whole.next() {
            Some(Ok(body)) => {
                assert!(body.len() <= FRAME_BYTES_MAX);
                end += frame::PREFIX_BYTES + body.len();
                bodies.push(body);
            }
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert_eq!(whole.rest(), &input[end..]);
    let cut = input.len() / 2;
    let mut first = Frames::new(&input[..cut], FRAME_BYTES_MAX);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut pieces_error = None;
    for frame in first.by_ref() {
        match frame {
            Ok(body) => seen.push(body.to_vec()),
            Err(error) => {
                pieces_error = Some(error);
                break;
            }
        }
    }
    if pieces_error.is_none() {
        let kept = [first.rest(), &input[cut..]].concat();
        for frame in Frames::new(&kept, FRAME_BYTES_MAX) {
            match frame {
                Ok(body) => seen.push(body.to_vec()),
                Err(error) => {
                    pieces_error = Some(error);
                    break;
                }
            }
        }
    }
    assert_eq!(seen, bodies);
    assert_eq!(pieces_error, error);
}

/// A frame from a client: handshake or request. The first eight bytes are the header.
pub(crate) fn request(input: &[u8]) {
    if let Ok(connect) = bounded(input, || ConnectRequest::from_prefix(input)) {
        let bytes = connect.to_vec();
        assert_eq!(ConnectRequest::from_prefix(&bytes), Ok(connect));
        // All of it but the boolean is kept as it was.
        assert_eq!(bytes[..bytes.len() - 1], input[..bytes.len() - 1]);
    }
    let Ok((header, body)) = frame::split_request(input) else {
        return;
    };
    let Some(op) = OpCode::from_i32(header.op) else {
        return;
    };
    let Ok(request) = bounded(input, || Request::decode(op, body)) else {
        return;
    };
    assert_eq!(request.op(), op);
    let mut bytes = Vec::new();
    request.encode(&mut Writer::new(&mut bytes));
    assert!(bytes.len() <= 3 * body.len());
    let mut reader = Reader::new(&bytes);
    assert_eq!(Request::read(op, &mut reader).as_ref(), Ok(&request));
    reader.finish().unwrap();
    if let Request::Multi(multi) | Request::MultiRead(multi) = &request {
        let parts = bounded(input, || {
            multi.iter().filter(|part| part.path().is_some()).count()
        });
        assert_eq!(parts, multi.len());
    }
}

/// A frame from a server, read as the reply to every operation in turn, or as a handshake or an event.
pub(crate) fn reply(input: &[u8]) {
    if let Ok(connect) = bounded(input, || ConnectResponse::from_prefix(input)) {
        let bytes = connect.to_vec();
        assert_eq!(ConnectResponse::from_prefix(&bytes), Ok(connect));
    }
    exact::<ReplyHeader>(input);
    let Ok((_, body)) = frame::split_reply(input) else {
        return;
    };
    if let Ok(event) = bounded(input, || WatcherEvent::from_prefix(body)) {
        let bytes = event.to_vec();
        assert_eq!(WatcherEvent::from_prefix(&bytes), Ok(event));
    }
    for &op in OpCode::ALL {
        let Ok(response) = bounded(input, || Response::decode(op, body)) else {
            continue;
        };
        let mut bytes = Vec::new();
        response.encode(&mut Writer::new(&mut bytes));
        assert_eq!(Response::decode(op, &bytes).as_ref(), Ok(&response));
    }
    if let Ok(results) = MultiResponse::from_prefix(body) {
        assert_eq!(bounded(input, || results.iter().count()), results.len());
    }
    let _ = MultiHeader::from_prefix(body);
}

/// A record of the log.
pub(crate) fn txn(input: &[u8]) {
    let Ok((header, txn, digest)) = bounded(input, || decode_record(input)) else {
        return;
    };
    assert_eq!(header.kind, txn.kind());
    let mut bytes = Vec::new();
    encode_record(&mut bytes, &header, &txn, digest.as_ref());
    // No text is ever replaced here: at most a boolean may have been written as something else than 0 or 1.
    assert_eq!(bytes.len(), input.len());
    let differing = bytes
        .iter()
        .zip(input)
        .filter(|(left, right)| left != right);
    for (left, right) in differing {
        assert!(*left == 1 && *right > 1, "{txn:?}");
    }
    assert_eq!(decode_record(&bytes), Ok((header, txn, digest)));
    match txn {
        Txn::Multi(parts) => {
            assert_eq!(bounded(input, || parts.iter().count()), parts.len());
            assert!(parts.iter().all(|part| !matches!(part, Txn::Multi(_))));
        }
        Txn::CloseSession { paths: Some(paths) } => {
            assert_eq!(bounded(input, || paths.iter().count()), paths.len());
        }
        _ => {}
    }
}

/// The bytes of one of Apache's files.
pub(crate) fn apache(input: &[u8]) {
    let mut end = 0;
    for entry in LogEntries::new(input, 0) {
        let Ok(entry) = entry else { break };
        assert_eq!(entry.offset, end);
        end = entry.next_offset();
        assert!(end <= input.len() && !entry.payload.is_empty());
    }
    if let Ok(snapshot) = bounded(input, || Snapshot::parse(input)) {
        assert_eq!(snapshot.sessions().count(), snapshot.session_count());
        assert_eq!(snapshot.acls().count(), snapshot.acl_count());
        assert_eq!(snapshot.nodes().count(), snapshot.node_count());
        assert!(snapshot.nodes().all(|node| node.path != "/"));
    }
}
