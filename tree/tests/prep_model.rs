//! Random streams of requests through prep, the decoded record and apply in batches of random size, beside a model
//! that knows no outstanding changes: it applies each request at once, to a plain map, and adds the digest up from
//! nothing each time, with a CRC of its own.
//!
//! Compared for each request: the error, the codes within a multi, the digest trailer. Whenever nothing is
//! outstanding: every node.

mod harness;
mod model;

use harness::{
    Client, Server, check, create, create_container, create_ttl, create2, delete, encode,
};
use harness::{create_acl, create_data, set_acl, set_data};
use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, ErrorCode, MultiRequestBuf, OpCode, Perms, Request, Txn,
    decode_record,
};
use ironkeeper_tree::prep::PrepOptions;
use model::Model;

/// A generator of numbers, repeatable from its seed.
pub(crate) struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const PATHS: [&str; 16] = [
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/",
    "/d",
    "/d/e",
    "foo",
    "/a//b",
    "/zookeeper",
    "/zookeeper/x",
    "/d/e/f",
    "/zookeeper/config",
    "/d/\u{e9}",
    "/\u{1}",
    "/a/c",
];

struct Acls {
    lists: Vec<AclListBuf>,
}

impl Acls {
    fn new(rules: &ironkeeper_tree::acl::AclRules) -> Acls {
        let bob = rules.digest_identity(b"bob:pw");
        let list = |entries: &[(i32, &str, &str)]| -> AclListBuf {
            entries
                .iter()
                .map(|&(p, s, i)| AclRef::new(Perms(p), s, i))
                .collect()
        };
        let open: AclListBuf = AclList::OPEN.iter().collect();
        Acls {
            lists: vec![
                open.clone(),
                open.clone(),
                open,
                list(&[(31, "world", "anyone"), (31, "world", "anyone")]),
                list(&[(1, "world", "anyone"), (31, "digest", &bob)]),
                list(&[(31 - 8, "world", "anyone")]),
                list(&[(31 - 4, "world", "anyone"), (16, "digest", &bob)]),
                list(&[(31, "auth", "")]),
                list(&[(31, "nonsense", "x")]),
            ],
        }
    }
}

/// One request that is no multi.
fn single<'a>(random: &mut Random, acls: &'a Acls, in_multi: bool) -> Request<'a> {
    let path = *random.pick(&PATHS);
    let version = *random.pick(&[-1, -1, -1, 0, 1, 2]);
    let flags = *random.pick(&[0, 0, 0, 1, 2, 3, 4]);
    match random.below(if in_multi { 12 } else { 13 }) {
        0..=2 => create(path, flags),
        3 => create2(path, flags),
        4 => create_container(path, flags),
        5 => create_ttl(path, *random.pick(&[5, 6, 0, 4]), *random.pick(&[5, 0, -1])),
        6 => create_acl(path, random.pick(&acls.lists).as_list()),
        7 => create_data(
            path,
            *random.pick(&[None, Some(&b""[..]), Some(b"longer data")]),
        ),
        8..=9 => delete(path, version),
        10 => set_data(
            path,
            random.pick(&["", "y", "other data"]).as_bytes(),
            version,
        ),
        11 if in_multi => check(path, version),
        11 => set_data(path, b"z", -1),
        _ => set_acl(path, random.pick(&acls.lists).as_list(), version),
    }
}

fn stream(seed: u64, with_digest: bool) {
    let options = PrepOptions {
        extended_types: !seed.is_multiple_of(3),
        digest: with_digest,
        hash_seed: seed,
        ..PrepOptions::default()
    };
    let mut random = Random(seed);
    let mut server = Server::new(options.clone());
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    server.authenticate(&mut clients[1], "bob:pw");
    let acls = Acls::new(&server.rules);
    let mut model = Model::new(options.extended_types, server.rules.clone());
    let mut closed = [false; 3];
    let depth = 1 + random.below(40);
    for step in 0..300 {
        let at = random.below(clients.len());
        let mut client = clients[at].clone();
        if closed[at] {
            client.session_error = Some(ErrorCode::SessionExpired);
        }
        client.local = random.below(20) == 0;
        let what = format!("seed {seed} step {step}");
        let body;
        let op;
        if random.below(60) == 0 && !closed[at] {
            closed[at] = true;
            (op, body) = (OpCode::CloseSession, Vec::new());
            server.prepare(&client, op, &body);
            model.close(&client, server.zxid);
        } else if random.below(4) == 0 {
            let parts: Vec<_> = (0..random.below(5))
                .map(|_| single(&mut random, &acls, true))
                .collect();
            let mut multi = MultiRequestBuf::new();
            parts.iter().for_each(|part| multi.push(part));
            (op, body) = (OpCode::Multi, multi.finish());
            let prepared = server.prepare(&client, op, &body);
            // Flags that spoil a whole multi are for others to test.
            if prepared.err == ErrorCode::Ok {
                let want = model.multi(&client, &parts, server.zxid, server.time_ms);
                assert_eq!(prepared.multi_err, want, "{what}: {parts:?}");
            }
        } else {
            let request = single(&mut random, &acls, false);
            (op, body) = (request.op(), encode(&request));
            let prepared = server.prepare(&client, op, &body);
            let want = model.single(&client, &request, server.zxid, server.time_ms);
            assert_eq!(prepared.err, want, "{what}: {request:?}");
        }
        let record = server.records.back().unwrap();
        let (_, txn, digest) = decode_record(record).unwrap();
        match digest {
            Some(digest) => assert_eq!(digest.tree_digest, model.digest(), "{what}: {txn:?}"),
            None => assert!(!with_digest || matches!(txn, Txn::Error { .. })),
        }
        if server.records.len() >= depth {
            for _ in 0..=random.below(depth) {
                server.apply_one();
            }
        }
        if server.records.is_empty() {
            model.compare(&server.tree);
        }
    }
    server.apply_all();
    model.compare(&server.tree);
    // Nothing is left behind once all of it is applied.
    server.prep.applied(server.tree.last_applied());
    assert_eq!(server.prep.outstanding_len(), 0);
}

#[test]
fn any_stream_ends_where_the_model_ends() {
    for seed in 1..150 {
        stream(seed, true);
    }
}

#[test]
fn without_digests_no_record_has_a_trailer() {
    for seed in 1000..1020 {
        stream(seed, false);
    }
}

/// Bodies of any bytes are answered, never believed.
#[test]
fn random_bytes_are_refused_or_served() {
    let mut random = Random(99);
    let mut server = Server::default();
    let client = server.connect();
    for _ in 0..20_000 {
        let op = *random.pick(OpCode::ALL);
        if !op.is_client_request() || op == OpCode::CloseSession {
            continue;
        }
        let mut body = encode(&create_ttl("/a/b", 0, 1));
        for _ in 0..random.below(6) {
            let at = random.below(body.len());
            body[at] = random.below(256) as u8;
        }
        body.truncate(random.below(body.len() + 1));
        server.send_raw(&client, op, &body);
    }
}
