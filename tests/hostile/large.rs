//! Requests as large as they may be, and requests whose record or whose answer is much larger than they are.

use ironkeeper_client::{ClientError, requests};
use ironkeeper_proto::{
    AclListBuf, AclRef, AuthPacket, CreateFlags, CreateRequest, ErrorCode, MultiRequestBuf,
    MultiResponse, MultiResult, OpCode, PathWatch, Perms, Record as _, Request, Xid, frame,
};

use crate::{Bystander, Memory, SLACK_KIB, WITHIN, connect, is_whole, metric, server};

/// The default of `jute.maxbuffer`.
const FRAME_BYTES_MAX: usize = 0xf_ffff;
/// The most that `jute.maxbuffer` may be.
const FRAME_BYTES_MOST: usize = 15 << 20;

fn multi(parts: impl IntoIterator<Item = String>, make: impl Fn(&str) -> Request<'_>) -> Vec<u8> {
    let mut multi = MultiRequestBuf::new();
    for part in parts {
        multi.push(&make(&part));
    }
    multi.finish()
}

fn decode(body: &[u8]) -> Request<'_> {
    Request::decode(OpCode::Multi, body).unwrap()
}

/// To the byte as large as a frame may be: accepted; one byte more ends the connection, and does nothing.
#[test]
fn a_multi_as_large_as_a_frame_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let memory = Memory::of(&running);
    let body_of = |more: usize| {
        let data = vec![7; 10_000];
        let mut multi = MultiRequestBuf::new();
        for n in 0..100 {
            multi.push(&requests::create(
                &format!("/part-{n:03}"),
                &data,
                CreateFlags::Persistent,
            ));
        }
        let mut last = vec![7; 1000];
        let with = |last: &[u8]| {
            let mut multi = multi.clone();
            multi.push(&requests::create("/last", last, CreateFlags::Persistent));
            multi.finish()
        };
        let header = 8;
        last.resize(
            last.len() + FRAME_BYTES_MAX - header - with(&last).len() + more,
            7,
        );
        with(&last)
    };
    let mut client = connect(&running);
    let over = client.call(&decode(&body_of(1))).unwrap_err();
    assert!(over.is_disconnect(), "{over}");
    let mut client = connect(&running);
    assert!(client.exists("/part-000", false).unwrap().is_none());
    let paths = client
        .call(&decode(&body_of(0)))
        .unwrap()
        .created_paths()
        .unwrap();
    assert_eq!(paths.len(), 101);
    bystander.gets(30);
    // The frame, the batch, the record, the log's frame, the nodes.
    memory.stayed_within("a multi as large as a frame", SLACK_KIB);
    bystander.leaves();
    is_whole(running);
}

/// One hundred thousand creates, then as many deletes, each as one request; and one of them that fails at
/// its last part, which undoes them all.
#[test]
fn multis_of_a_hundred_thousand_parts() {
    const PARTS: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("jute.maxbuffer", FRAME_BYTES_MOST);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let nodes = metric(&running, "zk_znode_count");
    let memory = Memory::of(&running);
    let paths = || (0..PARTS).map(|n| format!("/part-{n:06}"));
    let mut client = connect(&running);
    let creates = multi(paths(), |path| {
        requests::create(path, b"x", CreateFlags::Persistent)
    });
    let failing = multi(paths().chain(["/absent/child".into()]), |path| {
        requests::create(path, b"x", CreateFlags::Persistent)
    });
    let deletes = multi(paths(), |path| requests::delete(path, -1));
    match client.call(&decode(&failing)).unwrap().created_paths() {
        Err(ClientError::Multi(codes)) => {
            assert_eq!(codes.len(), PARTS + 1);
            assert_eq!(codes.last(), Some(&ErrorCode::NoNode));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(metric(&running, "zk_znode_count"), nodes);
    let made = client
        .call(&decode(&creates))
        .unwrap()
        .created_paths()
        .unwrap();
    assert_eq!(made.len(), PARTS);
    bystander.gets(30);
    assert_eq!(metric(&running, "zk_znode_count"), nodes + PARTS as u64);
    client.call(&decode(&deletes)).unwrap();
    bystander.gets(30);
    assert_eq!(metric(&running, "zk_znode_count"), nodes);
    // The nodes and, beside them until they are applied, as many outstanding changes, each with its path;
    // the frame in its batch, its record twice, the reply twice.
    let bound = SLACK_KIB + PARTS as u64 + 4 * (FRAME_BYTES_MOST as u64 >> 10);
    memory.stayed_within("a hundred thousand parts", bound);
    bystander.leaves();
    is_whole(running);
}

/// A frame that asks for one node again and again.
pub(crate) fn gets_of(path: &str, parts: usize) -> Vec<u8> {
    let get = Request::GetData(PathWatch {
        path: Some(path.into()),
        watch: false,
    });
    let mut multi = MultiRequestBuf::new();
    for _ in 0..parts {
        multi.push(&get);
    }
    let mut bytes = Vec::new();
    let body = multi.finish();
    let request = Request::decode(OpCode::MultiRead, &body).unwrap();
    frame::write_request(&mut bytes, Xid(1), &request);
    bytes
}

/// A request of a megabyte whose answer would be sixty gigabytes: what goes beyond a bound is refused.
#[test]
fn reads_whose_answer_is_much_larger_than_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut client = connect(&running);
    client.create("/b", &vec![7; 1_000_000]).unwrap();
    let memory = Memory::of(&running);
    for behind_a_write in [false, true] {
        let mut attacker = connect(&running);
        if behind_a_write {
            let mut set = Vec::new();
            frame::write_request(&mut set, Xid(1), &requests::set("/absent", b"", -1));
            attacker.send_raw(&set).unwrap();
        }
        attacker.send_raw(&gets_of("/b", 60_000)).unwrap();
        if behind_a_write {
            attacker.receive_frame().unwrap();
        }
        let reply = attacker.receive_frame().unwrap();
        let results = MultiResponse::from_prefix(&reply[16..]).unwrap();
        assert_eq!(results.len(), 60_000);
        // As many parts as begin below the bound are answered, and the others are refused.
        let answered = results
            .iter()
            .take_while(|result| matches!(result, MultiResult::GetData { .. }));
        assert_eq!(answered.count(), 17);
        assert!(
            results
                .iter()
                .skip(17)
                .all(|result| matches!(result, MultiResult::Error { code: -5 }))
        );
        bystander.gets(30);
    }
    // One answer up to its bound, in a buffer that doubles as it grows, and once more on its way out.
    memory.stayed_within("reads that answer too much", SLACK_KIB + 4 * (17 << 10));
    bystander.leaves();
    is_whole(running);
}

/// A client with a thousand identities, and creates for all of them at once: the lists would make one
/// record of a multiple of the longest there may be. The request is refused, alone and as a whole.
#[test]
fn lists_that_grow_by_what_the_client_is() {
    const IDENTITIES: usize = 1000;
    const PARTS: usize = 2000;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut client = connect(&running);
    for n in 0..IDENTITIES {
        let auth = format!("user-{n:04}:password").into_bytes();
        let packet = AuthPacket {
            kind: 0,
            scheme: Some("digest".into()),
            auth: Some(&auth),
        };
        client.call(&Request::Auth(packet)).unwrap();
    }
    let mut acl = AclListBuf::new();
    acl.push(AclRef::new(Perms(31), "auth", ""));
    let create = |path: &str| {
        Request::Create(CreateRequest {
            path: Some(path.to_owned().into()),
            data: None,
            acl: acl.as_list(),
            flags: 0,
            ttl_ms: -1,
        })
    };
    let nodes = metric(&running, "zk_znode_count");
    let memory = Memory::of(&running);
    let mut body = MultiRequestBuf::new();
    for n in 0..PARTS {
        body.push(&create(&format!("/n{n}")));
    }
    let body = body.finish();
    for _ in 0..3 {
        match client.call(&decode(&body)) {
            Err(ClientError::Answer(ErrorCode::MarshallingError)) => {}
            other => panic!("{other:?}"),
        }
        bystander.gets(30);
    }
    assert_eq!(metric(&running, "zk_znode_count"), nodes);
    // One record as long as a record may be, in the buffers on its way to the log.
    memory.stayed_within("lists that grow", SLACK_KIB + 4 * (16 << 10));
    client.call(&create("/one")).unwrap();
    bystander.leaves();
    is_whole(running);
}

/// Where `jute.maxbuffer` is the most that it may be, names that the server lengthens make more of a request
/// than the log takes as one record: such a multi is refused.
#[test]
fn numbers_that_lengthen_every_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("jute.maxbuffer", FRAME_BYTES_MOST);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut client = connect(&running);
    let nodes = metric(&running, "zk_znode_count");
    let memory = Memory::of(&running);
    let body = |parts: usize| {
        let mut multi = MultiRequestBuf::new();
        for _ in 0..parts {
            multi.push(&requests::create(
                "/",
                b"",
                CreateFlags::PersistentSequential,
            ));
        }
        multi.finish()
    };
    let part = body(1001).len() - body(1000).len();
    let parts = (FRAME_BYTES_MOST - 8 - 9) / part;
    let most = body(parts);
    match client.call(&decode(&most)) {
        Err(ClientError::Answer(ErrorCode::MarshallingError)) => {}
        other => panic!("{:?}", other.map(|reply| reply.body.len())),
    }
    assert_eq!(metric(&running, "zk_znode_count"), nodes);
    bystander.gets(30);
    // The frame, its batch, the record as far as it came, twice; what each part would have changed.
    let bound = SLACK_KIB + 4 * (16 << 10) + parts as u64 / 2;
    memory.stayed_within("numbers on every name", bound);
    bystander.leaves();
    is_whole(running);
}
