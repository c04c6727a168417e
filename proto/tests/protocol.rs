//! What the protocol says in so many words: dumps of frames taken from a real server, and the rules on nulls, lengths
//! and kinds that the captures do not happen to show.

mod support;

use ironkeeper_proto::jute::lossy;
use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, AddWatchMode, ConnectRequest, ConnectResponse, CreateFlags,
    CreateRequest, DecodeError, ErrorCode, EventType, Frames, MultiHeader, MultiRequestBuf,
    MultiResponse, MultiResult, OpCode, PathVersion, PathWatch, Perms, Reader, Record, ReplyHeader,
    Request, RequestHeader, Response, SessionId, SetAcl, SetData, Stat, StringList, WatcherEvent,
    WatcherType, Writer, Xid, Zxid, frame,
};
use support::{hex, unhex};

fn request_frame(xid: i32, request: &Request<'_>) -> String {
    let mut out = Vec::new();
    frame::write_request(&mut out, Xid(xid), request);
    hex(&out)
}

fn reply_frame(header: ReplyHeader, response: &Response<'_>) -> String {
    let mut out = Vec::new();
    frame::write_reply(&mut out, &header, response);
    hex(&out)
}

fn hex_of(dump: &str) -> String {
    hex(&unhex(dump))
}

fn create<'a>(path: &'a str, flags: i32) -> CreateRequest<'a> {
    CreateRequest {
        path: Some(path.into()),
        data: Some(b"hi"),
        acl: AclList::OPEN,
        flags,
        ttl_ms: -1,
    }
}

// --- dumps of a real server's frames ---

#[test]
fn dumped_requests() {
    assert_eq!(
        request_frame(1, &Request::Create(create("/a", 0))),
        hex_of(
            "00 00 00 33  00 00 00 01  00 00 00 01  00 00 00 02 2f 61  00 00 00 02 68 69
             00 00 00 01  00 00 00 1f  00 00 00 05 77 6f 72 6c 64  00 00 00 06 61 6e 79 6f 6e 65
             00 00 00 00"
        ),
    );
    assert_eq!(
        request_frame(
            2,
            &Request::GetData(PathWatch {
                path: Some("/a".into()),
                watch: true
            })
        ),
        hex_of("00 00 00 0f  00 00 00 02  00 00 00 04  00 00 00 02 2f 61  01"),
    );
    assert_eq!(
        request_frame(-2, &Request::Ping),
        hex_of("00 00 00 08  ff ff ff fe  00 00 00 0b")
    );
    assert_eq!(
        request_frame(4, &Request::CloseSession),
        hex_of("00 00 00 08  00 00 00 04  ff ff ff f5"),
    );
}

#[test]
fn dumped_replies() {
    let header = ReplyHeader::new(Xid(1), Zxid(0x51), ErrorCode::Ok);
    assert_eq!(
        reply_frame(header, &Response::Create { path: "/a".into() }),
        hex_of("00000016 00000001 0000000000000051 00000000 00000002 2f61"),
    );
    let mut out = Vec::new();
    frame::write(&mut out, |writer| {
        ReplyHeader::new(Xid::NOTIFICATION, Zxid(0x51), ErrorCode::Ok).encode(writer);
        WatcherEvent::new(EventType::NodeCreated, "/a").encode(writer);
    });
    assert_eq!(
        hex(&out),
        hex_of(
            "00 00 00 1e  ff ff ff ff  00 00 00 00 00 00 00 51  00 00 00 00
             00 00 00 01  00 00 00 03  00 00 00 02 2f 61"
        ),
    );
}

#[test]
fn dumped_multi_request() {
    let dump = unhex(
        "00 00 00 37  00 00 00 03  00 00 00 0e
         00 00 00 02 00 ff ff ff ff   00 00 00 02 2f 61 ff ff ff ff
         00 00 00 0d 00 ff ff ff ff   00 00 00 02 2f 62 00 00 00 00
         ff ff ff ff 01 ff ff ff ff",
    );
    let body = Frames::new(&dump, 0xf_ffff).next().unwrap().unwrap();
    let (header, body) = frame::split_request(body).unwrap();
    assert_eq!(
        (header.xid, header.op_code()),
        (Xid(3), Some(OpCode::Multi))
    );
    let Request::Multi(multi) = Request::decode(OpCode::Multi, body).unwrap() else {
        panic!()
    };
    let parts: Vec<Request<'_>> = multi.iter().collect();
    assert_eq!(
        parts,
        [
            Request::Delete(PathVersion {
                path: Some("/a".into()),
                version: -1
            }),
            Request::Check(PathVersion {
                path: Some("/b".into()),
                version: 0
            }),
        ],
    );
    assert_eq!(request_frame(3, &Request::Multi(multi)), hex(&dump));
}

/// The second of three operations failed: err 0 in the header, then 0, the code, -2.
#[test]
fn dumped_reply_to_a_failed_multi() {
    let dump = unhex(
        "00 00 00 40  00 00 00 03  00 00 00 00 00 00 00 42  00 00 00 00
         ff ff ff ff 00 00 00 00 00  00 00 00 00
         ff ff ff ff 00 ff ff ff 9b  ff ff ff 9b
         ff ff ff ff 00 ff ff ff fe  ff ff ff fe
         ff ff ff ff 01 ff ff ff ff",
    );
    let mut out = Vec::new();
    frame::write(&mut out, |writer| {
        ReplyHeader::new(Xid(3), Zxid(0x42), ErrorCode::Ok).encode(writer);
        for code in [
            ErrorCode::Ok,
            ErrorCode::NoNode,
            ErrorCode::RuntimeInconsistency,
        ] {
            MultiResult::Error {
                code: code.to_i32(),
            }
            .encode(writer);
        }
        MultiHeader::END.encode(writer);
    });
    assert_eq!(hex(&out), hex(&dump));
    let results = MultiResponse::from_prefix(&dump[20..]).unwrap();
    let codes: Vec<MultiResult<'_>> = results.iter().collect();
    assert_eq!(codes, [0, -101, -2].map(|code| MultiResult::Error { code }));
}

// --- handshake ---

const HANDSHAKE: &str = "00 00 00 00  00 00 00 00 00 00 00 00  00 00 27 10  00 00 00 00 00 00 00 00
    00 00 00 10  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";

#[test]
fn the_read_only_byte_may_be_absent_and_is_answered_in_kind() {
    let without = unhex(HANDSHAKE);
    assert_eq!(without.len(), 44);
    let request = ConnectRequest::from_prefix(&without).unwrap();
    assert_eq!((request.timeout_ms, request.read_only), (10_000, None));
    assert_eq!(request.to_vec(), without);
    // With one byte more it is the flag; whatever follows is nobody's.
    for (tail, expected) in [
        (&[0][..], false),
        (&[1], true),
        (&[2], true),
        (&[0, 9, 9], false),
        (&[0xff, 0], true),
    ] {
        let bytes = [&without, tail].concat();
        let request = ConnectRequest::from_prefix(&bytes).unwrap();
        assert_eq!(request.read_only, Some(expected), "{tail:?}");
    }
    let session = SessionId(0x0100_001c_ccd5_0000);
    let password = session.password();
    for (read_only, length) in [(None, 36), (Some(false), 37), (Some(true), 37)] {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: 10_000,
            session,
            password: Some(&password),
            read_only,
        };
        let bytes = response.to_vec();
        assert_eq!(bytes.len(), length);
        assert_eq!(bytes[16..20], [0, 0, 0, 16]);
        assert_eq!(bytes.get(36).copied(), read_only.map(u8::from));
        assert_eq!(ConnectResponse::from_prefix(&bytes).unwrap(), response);
    }
}

#[test]
fn a_refusal_is_all_zero() {
    let zeros = "00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000";
    assert_eq!(hex(&ConnectResponse::refused(None).to_vec()), hex_of(zeros));
    assert_eq!(
        hex(&ConnectResponse::refused(Some(false)).to_vec()),
        hex_of(&format!("{zeros} 00"))
    );
}

#[test]
fn any_password_is_read_for_what_it_is() {
    for password in [
        None,
        Some(&b""[..]),
        Some(b"short"),
        Some(&[7; 16]),
        Some(&[9; 100]),
    ] {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(-1),
            timeout_ms: -5,
            session: SessionId::NONE,
            password,
            read_only: Some(true),
        };
        let bytes = request.to_vec();
        assert_eq!(ConnectRequest::from_prefix(&bytes).unwrap(), request);
    }
}

#[test]
fn a_handshake_cut_short_or_with_a_bad_length_is_refused() {
    let bytes = unhex(HANDSHAKE);
    for length in 0..bytes.len() {
        assert!(
            ConnectRequest::from_prefix(&bytes[..length]).is_err(),
            "{length}"
        );
    }
    for length in [-2, i32::MIN, 17, i32::MAX] {
        let mut bytes = bytes.clone();
        bytes[24..28].copy_from_slice(&length.to_be_bytes());
        assert!(ConnectRequest::from_prefix(&bytes).is_err(), "{length}");
    }
}

#[test]
fn ids_that_belong_to_no_session() {
    assert!(!SessionId(0).is_valid());
    assert!(!SessionId(i64::MIN).is_valid());
    assert!(SessionId(-1).is_valid() && SessionId(1).is_valid());
}

// --- headers ---

#[test]
fn a_request_shorter_than_its_header_is_no_request() {
    for length in 0..8 {
        assert!(frame::split_request(&[0; 8][..length]).is_err());
    }
    assert!(frame::split_request(&[0; 8]).is_ok());
}

#[test]
fn operations_a_client_may_not_ask_for_are_unknown() {
    for op in [0, 13, 20, -10, -1, 10, 888, i32::MIN, i32::MAX] {
        assert_eq!(RequestHeader { xid: Xid(1), op }.op_code(), None, "{op}");
    }
    for op in [-11, 1, 22, 100, 107] {
        assert!(
            RequestHeader { xid: Xid(1), op }.op_code().is_some(),
            "{op}"
        );
    }
}

#[test]
fn requests_may_share_a_segment_with_the_handshake() {
    let mut stream = Vec::new();
    frame::write(&mut stream, |writer| writer.raw(&unhex(HANDSHAKE)));
    for xid in 1..=3 {
        frame::write_request(&mut stream, Xid(xid), &Request::WhoAmI);
    }
    let frames: Vec<&[u8]> = Frames::new(&stream, 0xf_ffff).map(Result::unwrap).collect();
    assert!(ConnectRequest::from_prefix(frames[0]).is_ok());
    for (frame, xid) in frames[1..].iter().zip(1..) {
        assert_eq!(
            frame::split_request(frame).unwrap().0,
            RequestHeader {
                xid: Xid(xid),
                op: 107
            }
        );
    }
    assert_eq!(frames.len(), 4);
}

#[test]
fn the_largest_frame_is_one_byte_less_than_a_mebibyte() {
    for (data_bytes, fits) in [(1_048_551, true), (1_048_552, false)] {
        let data = vec![7; data_bytes];
        let request = Request::SetData(SetData {
            path: Some("/big".into()),
            data: Some(&data),
            version: -1,
        });
        let mut stream = Vec::new();
        frame::write_request(&mut stream, Xid(1), &request);
        let split = Frames::new(&stream, frame::FRAME_BYTES_MAX_DEFAULT)
            .next()
            .unwrap();
        assert_eq!(split.is_ok(), fits, "{data_bytes}");
    }
}

// --- nulls, booleans, strings ---

#[test]
fn null_and_empty_are_kept_apart() {
    for (length, expected) in [("ffffffff", None), ("00000000", Some(""))] {
        let body = unhex(length);
        let Request::Sync { path } = Request::decode(OpCode::Sync, &body).unwrap() else {
            panic!()
        };
        assert_eq!(path.as_deref(), expected);
        assert_eq!(hex(&sync_reply(path)), length, "echoed as it came");
    }
    for (length, expected) in [("ffffffff", None), ("00000000", Some(&b""[..]))] {
        let body = unhex(&format!("00000002 2f61 {length} ffffffff"));
        let request = Request::decode(OpCode::SetData, &body).unwrap();
        let Request::SetData(SetData { data, .. }) = request else {
            panic!()
        };
        assert_eq!(data, expected);
        let mut out = Vec::new();
        let response = Response::Data {
            data,
            stat: Stat::default(),
        };
        response.encode(&mut Writer::new(&mut out));
        assert_eq!(hex(&out[..4]), length);
    }
}

fn sync_reply(path: ironkeeper_proto::Text<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Response::Sync { path }.encode(&mut Writer::new(&mut out));
    out
}

#[test]
fn null_paths_are_read_and_left_to_the_operation() {
    for (op, rest) in [
        (OpCode::Exists, "01"),
        (OpCode::GetData, "00"),
        (OpCode::GetAcl, ""),
        (OpCode::Delete, "ffffffff"),
        (OpCode::SetData, "ffffffff 00000000"),
        (OpCode::GetEphemerals, ""),
    ] {
        let body = unhex(&format!("ffffffff {rest}"));
        let request = Request::decode(op, &body).unwrap();
        assert!(matches!(request.path(), Some(None) | None), "{request:?}");
    }
}

#[test]
fn bad_lengths_are_refused() {
    for length in [-2, i32::MIN, 3, 0x7fff_ffff] {
        let body = [&length.to_be_bytes()[..], b"/a"].concat();
        assert!(Request::decode(OpCode::GetAcl, &body).is_err(), "{length}");
    }
    // A count that cannot fit is refused before the first element is looked at.
    let body = unhex("00000002 2f61 7fffffff 00000000");
    assert_eq!(
        Request::decode(OpCode::SetAcl, &body),
        Err(DecodeError::UnexpectedEnd {
            offset: 10,
            needed: 0x7fff_ffff * 12,
            remaining: 4
        }),
    );
}

#[test]
fn any_byte_but_zero_is_true() {
    for byte in 0..=255_u8 {
        let body = [&unhex("00000002 2f61")[..], &[byte]].concat();
        let Request::Exists(exists) = Request::decode(OpCode::Exists, &body).unwrap() else {
            panic!()
        };
        assert_eq!(exists.watch, byte != 0);
    }
}

/// What Java's decoder makes of ill-formed text; surrogates in three bytes are one replacement each.
#[test]
fn ill_formed_text_is_replaced_as_java_does() {
    for (bytes, expected) in [
        (&b"/plain"[..], "/plain"),
        (
            "/\u{e9}\u{4e2d}\u{1f600}".as_bytes(),
            "/\u{e9}\u{4e2d}\u{1f600}",
        ),
        (b"/a\xffb", "/a\u{fffd}b"),
        (b"\xed\xa0\xbd\xed\xb8\x80", "\u{fffd}\u{fffd}"),
        (b"\xed\xa0", "\u{fffd}"),
        (b"\xed\xa0x", "\u{fffd}x"),
        (b"\xed", "\u{fffd}"),
        (b"\xedx", "\u{fffd}x"),
        (b"\xc0\x80", "\u{fffd}\u{fffd}"),
        (b"\xe2\x82", "\u{fffd}"),
        (b"\xe2\x82x", "\u{fffd}x"),
        (b"\xe2x", "\u{fffd}x"),
        (b"\xf0\x9f\x98", "\u{fffd}"),
        (b"\xf0\x9f\x98x", "\u{fffd}x"),
        (b"\xf5\x80\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        (b"\x80\x80", "\u{fffd}\u{fffd}"),
        (b"a\0b", "a\0b"),
    ] {
        assert_eq!(lossy(bytes), expected, "{bytes:x?}");
    }
}

#[test]
fn acl_ids_may_be_null_or_ill_formed() {
    // kazoo sends every empty string as null: auth with a null id.
    let body = unhex("00000002 2f61 00000001 0000001f 00000004 61757468 ffffffff ffffffff");
    let Request::SetAcl(SetAcl { acl, version, .. }) =
        Request::decode(OpCode::SetAcl, &body).unwrap()
    else {
        panic!()
    };
    assert_eq!(version, -1);
    let entries: Vec<AclRef<'_>> = acl.iter().collect();
    assert_eq!(
        entries,
        [AclRef {
            perms: Perms::ALL,
            scheme: Some(b"auth"),
            id: None
        }]
    );
    assert_eq!(
        (entries[0].scheme_text().as_deref(), entries[0].id_text()),
        (Some("auth"), None)
    );

    let odd = AclRef {
        perms: Perms(-1),
        scheme: Some(b"x"),
        id: Some(b"\xed\xa0\xbd"),
    };
    let list: AclListBuf = [odd].into_iter().collect();
    assert_eq!(list.as_list().iter().next(), Some(odd));
    assert_eq!(odd.id_text().as_deref(), Some("\u{fffd}"));
}

#[test]
fn null_empty_and_negative_lists() {
    for (count, is_null) in [(-1, true), (0, false), (-2, false), (i32::MIN, false)] {
        let bytes = i32::to_be_bytes(count);
        let acls = AclList::from_bytes(&bytes).unwrap();
        let strings = StringList::from_prefix(&bytes).unwrap();
        assert_eq!(
            (acls.is_null(), strings.is_null()),
            (is_null, is_null),
            "{count}"
        );
        assert!(acls.is_empty() && strings.is_empty());
        assert_eq!((acls.iter().count(), strings.iter().count()), (0, 0));
    }
}

#[test]
fn the_constant_lists_are_what_they_say() {
    let built: AclListBuf = [AclRef::new(Perms::ALL, "world", "anyone")]
        .into_iter()
        .collect();
    assert_eq!(built.as_list(), AclList::OPEN);
    let built: AclListBuf = [AclRef::new(Perms::READ, "world", "anyone")]
        .into_iter()
        .collect();
    assert_eq!(built.as_list(), AclList::READ_ONLY);
    assert_eq!(AclListBuf::new().as_list(), AclList::EMPTY);
    for list in [
        AclList::OPEN,
        AclList::READ_ONLY,
        AclList::EMPTY,
        AclList::NULL,
    ] {
        assert_eq!(AclList::from_bytes(list.as_bytes()), Ok(list));
    }
}

// --- kinds ---

#[test]
fn create_flags() {
    let table = [
        (0, false, false, false),
        (1, true, false, false),
        (2, false, true, false),
        (3, true, true, false),
        (4, false, false, false),
        (5, false, false, true),
        (6, false, true, true),
    ];
    for (number, ephemeral, sequential, ttl) in table {
        let flags = CreateFlags::from_i32(number).unwrap();
        assert_eq!(flags.to_i32(), number);
        assert_eq!(
            (flags.is_ephemeral(), flags.is_sequential(), flags.is_ttl()),
            (ephemeral, sequential, ttl),
        );
    }
    for number in [-1, 7, 9, i32::MIN, i32::MAX] {
        assert_eq!(CreateFlags::from_i32(number), None);
    }
}

#[test]
fn unknown_kinds_of_watches_are_refused() {
    let with_int = |value: i32| [&unhex("00000002 2f61")[..], &value.to_be_bytes()].concat();
    for value in [-1, 2, 7] {
        assert!(
            Request::decode(OpCode::AddWatch, &with_int(value)).is_err(),
            "mode {value}"
        );
    }
    for value in [-1, 0, 6, 9] {
        let body = with_int(value);
        assert!(
            Request::decode(OpCode::CheckWatches, &body).is_err(),
            "type {value}"
        );
        assert!(
            Request::decode(OpCode::RemoveWatches, &body).is_err(),
            "type {value}"
        );
    }
    let mode = AddWatchMode::PersistentRecursive;
    assert_eq!(
        Request::decode(OpCode::AddWatch, &with_int(1)),
        Ok(Request::AddWatch {
            path: Some("/a".into()),
            mode
        }),
    );
    for (value, kind) in [
        (1, WatcherType::Children),
        (2, WatcherType::Data),
        (3, WatcherType::Any),
        (4, WatcherType::Persistent),
        (5, WatcherType::PersistentRecursive),
    ] {
        let expected = Request::RemoveWatches {
            path: Some("/a".into()),
            kind,
        };
        assert_eq!(
            Request::decode(OpCode::RemoveWatches, &with_int(value)),
            Ok(expected)
        );
    }
}

#[test]
fn set_watches_keeps_null_lists_for_its_handler() {
    let body = unhex("0000000000000005 00000001 00000002 2f61 ffffffff 00000000");
    let request = Request::decode(OpCode::SetWatches, &body).unwrap();
    let Request::SetWatches(watches) = request else {
        panic!()
    };
    assert_eq!(watches.relative_zxid, Zxid(5));
    let paths: Vec<_> = watches
        .data
        .iter()
        .map(|path| path.unwrap().into_owned())
        .collect();
    assert_eq!(paths, ["/a"]);
    assert!(watches.exist.is_null() && !watches.child.is_null());
    // The same bytes are no setWatches2: two lists are missing.
    assert!(Request::decode(OpCode::SetWatches2, &body).is_err());
}

// --- bodies of replies that clients depend on ---

#[test]
fn small_bodies() {
    let encoded = |response: Response<'_>| {
        let mut out = Vec::new();
        response.encode(&mut Writer::new(&mut out));
        hex(&out)
    };
    assert_eq!(encoded(Response::AddWatch { err: 0 }), "00000000");
    assert_eq!(encoded(Response::Sasl { token: None }), "ffffffff");
    assert_eq!(encoded(Response::Sasl { token: Some(b"") }), "00000000");
    assert_eq!(encoded(Response::Strings(StringList::EMPTY)), "00000000");
    assert_eq!(encoded(Response::WhoAmI(Vec::new())), "00000000");
    assert_eq!(encoded(Response::Count(3)), "00000003");
    assert_eq!(encoded(Response::Empty), "");
    assert_eq!(
        encoded(Response::Stat(Stat::default())).len(),
        2 * Stat::ENCODED_BYTES
    );
    // createContainer too: path, then Stat.
    let both = Response::CreateStat {
        path: "/c".into(),
        stat: Stat::default(),
    };
    assert_eq!(encoded(both.clone()).len(), 2 * (6 + 68));
    let mut out = Vec::new();
    both.encode(&mut Writer::new(&mut out));
    assert_eq!(Response::decode(OpCode::CreateContainer, &out), Ok(both));
}

#[test]
fn results_of_a_multi_bear_the_types_that_clients_know() {
    let stat = Stat::default();
    for (result, kind) in [
        (MultiResult::Create { path: "/a".into() }, 1),
        (
            MultiResult::Create2 {
                path: "/a".into(),
                stat,
            },
            15,
        ),
        (MultiResult::Delete, 2),
        (MultiResult::SetData { stat }, 5),
        (MultiResult::Check, 13),
        (MultiResult::GetData { data: None, stat }, 4),
        (
            MultiResult::GetChildren {
                children: StringList::EMPTY,
            },
            8,
        ),
        (MultiResult::Error { code: -101 }, -1),
    ] {
        let mut out = Vec::new();
        result.encode(&mut Writer::new(&mut out));
        let header = MultiHeader::from_prefix(&out).unwrap();
        let err = if kind == -1 { -101 } else { 0 };
        assert_eq!(
            header,
            MultiHeader {
                kind,
                done: false,
                err
            }
        );
    }
}

// --- what makes a multi unreadable as a whole ---

fn multi_of(parts: &[Request<'_>]) -> Vec<u8> {
    let mut multi = MultiRequestBuf::new();
    parts.iter().for_each(|part| multi.push(part));
    multi.finish()
}

#[test]
fn a_multi_takes_writes_and_a_multi_read_takes_reads() {
    let path = || Some("/a".into());
    let set = Request::SetData(SetData {
        path: path(),
        data: None,
        version: -1,
    });
    let writes = [
        Request::Create(create("/a", 0)),
        Request::Create(create("/a", 4)),
        Request::Create2(create("/a", 3)),
        Request::CreateContainer(create("/a", 4)),
        Request::CreateTtl(create("/a", 5)),
        Request::CreateTtl(create("/a", 99)),
        Request::CreateTtl(CreateRequest {
            acl: AclList::NULL,
            ..create("/a", 5)
        }),
        Request::Delete(PathVersion {
            path: path(),
            version: -1,
        }),
        Request::Check(PathVersion {
            path: path(),
            version: -1,
        }),
        set.clone(),
    ];
    let reads = [
        Request::GetData(PathWatch {
            path: path(),
            watch: true,
        }),
        Request::GetChildren(PathWatch {
            path: path(),
            watch: false,
        }),
    ];
    let all_writes = multi_of(&writes);
    let Request::Multi(multi) = Request::decode(OpCode::Multi, &all_writes).unwrap() else {
        panic!()
    };
    assert_eq!(multi.iter().collect::<Vec<_>>(), writes);
    assert!(Request::decode(OpCode::MultiRead, &all_writes).is_err());
    let all_reads = multi_of(&reads);
    let Request::MultiRead(multi) = Request::decode(OpCode::MultiRead, &all_reads).unwrap() else {
        panic!()
    };
    assert_eq!(multi.iter().collect::<Vec<_>>(), reads);
    for read in reads {
        assert!(Request::decode(OpCode::Multi, &multi_of(&[set.clone(), read])).is_err());
    }
}

#[test]
fn parts_that_spoil_a_multi() {
    let path = || Some("/a".into());
    let open = || create("/a", 0);
    let nested = multi_of(&[]);
    let Request::Multi(nested) = Request::decode(OpCode::Multi, &nested).unwrap() else {
        panic!()
    };
    for part in [
        Request::Create(CreateRequest { flags: 7, ..open() }),
        Request::Create(CreateRequest {
            flags: -1,
            ..open()
        }),
        Request::Create2(CreateRequest { flags: 5, ..open() }),
        Request::CreateContainer(CreateRequest { flags: 6, ..open() }),
        Request::Create(CreateRequest {
            acl: AclList::NULL,
            ..open()
        }),
        Request::Create(CreateRequest {
            path: None,
            ..open()
        }),
        Request::Delete(PathVersion {
            path: None,
            version: 0,
        }),
        Request::SetAcl(SetAcl {
            path: path(),
            acl: AclList::OPEN,
            version: 0,
        }),
        Request::Exists(PathWatch {
            path: path(),
            watch: false,
        }),
        Request::Sync { path: path() },
        Request::Ping,
        Request::Multi(nested),
    ] {
        let body = multi_of(&[Request::Create(open()), part.clone()]);
        assert!(Request::decode(OpCode::Multi, &body).is_err(), "{part:?}");
    }
}

#[test]
fn a_multi_ends_where_it_says_so() {
    for op in [OpCode::Multi, OpCode::MultiRead] {
        let empty = multi_of(&[]);
        let request = Request::decode(op, &empty).unwrap();
        let (Request::Multi(multi) | Request::MultiRead(multi)) = request else {
            panic!()
        };
        assert!(multi.is_empty() && multi.iter().next().is_none());
        assert!(Request::decode(op, &[]).is_err());
        // The first header that says "done" ends it, whatever its type.
        let odd = unhex("00000002 05 00000000 ffffff");
        assert!(Request::decode(op, &odd).is_ok());
    }
    let body = multi_of(&[Request::Create(create("/a", 0))]);
    for length in 0..body.len() {
        assert!(
            Request::decode(OpCode::Multi, &body[..length]).is_err(),
            "{length}"
        );
    }
}

/// As deep as bytes allow, a multi within a multi is refused at its first level.
#[test]
fn nesting_does_not_recurse() {
    let header = MultiHeader {
        kind: OpCode::Multi.to_i32(),
        done: false,
        err: -1,
    }
    .to_vec();
    let body = header.repeat(100_000);
    assert!(Request::decode(OpCode::Multi, &body).is_err());
    assert!(MultiResponse::decode(&mut Reader::new(&body)).is_err());
}
