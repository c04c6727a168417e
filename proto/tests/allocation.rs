//! Decoding takes no memory for what is well-formed, little for what is not, and time that grows with its input alone.

mod support;

use allocation_counter::measure;
use ironkeeper_proto::apache::{FileHeader, LogEntries};
use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, CreateRequest, MultiRequestBuf, MultiTxnBuf, OpCode, PathVersion,
    PathWatch, Perms, Record, Request, SetData, StringListBuf, Txn, TxnHeader, Xid, Zxid,
    decode_record, encode_record, frame,
};
use ironkeeper_proto::{Frames, Response, SessionId};
use support::{captured_frames, data_directories, read_unpacked};

#[test]
fn requests_are_decoded_without_allocating() {
    let mut seen = 0;
    for captured in captured_frames() {
        if !captured.to_server || captured.kind() == "ConnectRequest" {
            continue;
        }
        let allocations = measure(|| {
            let (header, body) = frame::split_request(&captured.body).unwrap();
            let request = Request::decode(header.op_code().unwrap(), body).unwrap();
            std::hint::black_box(&request);
            if let Request::Multi(multi) | Request::MultiRead(multi) = request {
                multi
                    .iter()
                    .for_each(|part| drop(std::hint::black_box(part)));
            }
        });
        assert_eq!(allocations.count_total, 0, "{}", captured.capture);
        seen += 1;
    }
    assert!(seen > 200);
}

#[test]
fn txns_are_decoded_without_allocating_and_encoded_into_what_is_there() {
    for (name, directory) in data_directories() {
        for file in std::fs::read_dir(directory.join("data/version-2")).unwrap() {
            let path = file.unwrap().path();
            if !path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("log.")
            {
                continue;
            }
            let bytes = read_unpacked(&path);
            let mut out = Vec::with_capacity(1 << 20);
            for entry in LogEntries::new(&bytes, FileHeader::ENCODED_BYTES).map_while(Result::ok) {
                out.clear();
                let allocations = measure(|| {
                    let (header, txn, digest) = decode_record(entry.payload).unwrap();
                    if let Txn::Multi(parts) = txn {
                        assert_eq!(parts.iter().count(), parts.len());
                    }
                    encode_record(&mut out, &header, &txn, digest.as_ref());
                });
                assert_eq!(allocations.count_total, 0, "{name}");
                assert_eq!(out, entry.payload);
            }
        }
    }
}

#[test]
fn frames_are_written_into_what_is_there() {
    let request = Request::Create(CreateRequest {
        path: Some("/app/node".into()),
        data: Some(&[1; 100]),
        acl: AclList::OPEN,
        flags: 0,
        ttl_ms: -1,
    });
    let mut out = Vec::with_capacity(1024);
    let allocations = measure(|| {
        frame::write_request(&mut out, Xid(1), &request);
        for body in Frames::new(&out, 1024) {
            let (header, body) = frame::split_request(body.unwrap()).unwrap();
            let decoded = Request::decode(header.op_code().unwrap(), body).unwrap();
            assert_eq!(decoded, request);
        }
    });
    assert_eq!(allocations.count_total, 0);
}

/// The largest counts that fit a frame, of the smallest elements. Anything quadratic would not come back.
#[test]
fn the_worst_frames_are_decoded_in_linear_time() {
    const COUNT: usize = 60_000;
    let entry = AclRef {
        perms: Perms(0),
        scheme: Some(b""),
        id: None,
    };
    let acl: AclListBuf = std::iter::repeat_n(entry, COUNT).collect();
    let strings: StringListBuf = std::iter::repeat_n("", COUNT).collect();
    let mut body = Vec::new();
    let mut writer = ironkeeper_proto::Writer::new(&mut body);
    writer.str("/a");
    acl.as_list().encode(&mut writer);
    writer.i32(-1);
    let Request::SetAcl(set) = Request::decode(OpCode::SetAcl, &body).unwrap() else {
        panic!()
    };
    assert_eq!(set.acl.iter().count(), COUNT);

    let Response::Strings(list) =
        Response::decode(OpCode::GetChildren, strings.as_list().as_bytes()).unwrap()
    else {
        panic!()
    };
    assert_eq!(list.iter().count(), COUNT);

    let mut multi = MultiRequestBuf::new();
    let part = Request::Delete(PathVersion {
        path: Some("".into()),
        version: -1,
    });
    (0..COUNT).for_each(|_| multi.push(&part));
    let body = multi.finish();
    let Request::Multi(multi) = Request::decode(OpCode::Multi, &body).unwrap() else {
        panic!()
    };
    assert_eq!(multi.iter().count(), COUNT);

    let mut parts = MultiTxnBuf::new();
    (0..COUNT).for_each(|_| parts.push(&Txn::Error { code: -2 }));
    let txn = Txn::Multi(parts.as_txn());
    let header = TxnHeader {
        session: SessionId(1),
        cxid: Xid(1),
        zxid: Zxid(1),
        time_ms: 0,
        kind: OpCode::Multi,
    };
    let mut record = Vec::new();
    encode_record(&mut record, &header, &txn, None);
    let (_, Txn::Multi(parts), None) = decode_record(&record).unwrap() else {
        panic!()
    };
    assert_eq!(parts.iter().count(), COUNT);
    assert!(parts.is_failed());

    // Ill-formed text all the way: each byte becomes three.
    let mut body = Vec::new();
    let mut writer = ironkeeper_proto::Writer::new(&mut body);
    writer.buffer(Some(&vec![0xff; 1 << 20]));
    let Request::Sync { path } = Request::decode(OpCode::Sync, &body).unwrap() else {
        panic!()
    };
    assert_eq!(path.unwrap().chars().count(), 1 << 20);
}

/// A count or length that the bytes do not bear out costs nothing, whatever it is.
#[test]
fn hostile_lengths_reserve_nothing() {
    for count in [1, 2, 1000, 0x10_0000, 0x7fff_ffff] {
        let count = i32::to_be_bytes(count);
        for op in OpCode::ALL {
            for prefix in [
                &b""[..],
                b"\0\0\0\x02/a",
                b"\0\0\0\x02/a\0\0\0\x02hi",
                &[0; 8],
            ] {
                let body = [prefix, &count].concat();
                let allocations = measure(|| {
                    let _ = std::hint::black_box(Request::decode(*op, &body));
                    let _ = std::hint::black_box(Response::decode(*op, &body));
                });
                assert_eq!(allocations.count_total, 0, "{op:?} {body:x?}");
                let header = TxnHeader {
                    session: SessionId(0),
                    cxid: Xid(0),
                    zxid: Zxid(0),
                    time_ms: 0,
                    kind: *op,
                };
                let record = [&header.to_vec()[..], &body].concat();
                let allocations = measure(|| {
                    let _ = std::hint::black_box(decode_record(&record));
                });
                assert_eq!(allocations.count_total, 0, "{op:?} {body:x?}");
            }
        }
    }
}

#[test]
fn ill_formed_text_is_what_may_allocate() {
    let path = "/a\u{fffd}";
    let well = Request::GetData(PathWatch {
        path: Some(path.into()),
        watch: false,
    });
    let mut body = Vec::new();
    well.encode(&mut ironkeeper_proto::Writer::new(&mut body));
    assert_eq!(
        measure(|| drop(Request::decode(OpCode::GetData, &body))).count_total,
        0
    );
    body[6] = 0xff;
    let ill = measure(|| drop(Request::decode(OpCode::GetData, &body)));
    assert!(ill.count_total > 0 && ill.bytes_total < 64);
    let set = Request::SetData(SetData {
        path: None,
        data: Some(&body),
        version: 0,
    });
    assert_eq!(set.path(), Some(None));
}
