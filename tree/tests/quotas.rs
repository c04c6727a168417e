//! Quotas: what is counted, what is refused, and what survives a snapshot.

mod harness;

use harness::*;
use ironkeeper_proto::{
    ErrorCode, EventType, MultiRequestBuf, MultiResult, OpCode, Request, Response, SessionId, Xid,
};
use ironkeeper_tree::acl::Identities;
use ironkeeper_tree::codec::decode_block;
use ironkeeper_tree::load::Builder;
use ironkeeper_tree::prep::{PrepOptions, RequestContext};
use ironkeeper_tree::{QuotaKind, Tree};

use ErrorCode::{BadVersion, NoAuth, NodeExists, Ok as Fine, QuotaExceeded};

const FRESH: &[u8] = b"count=0,bytes=0";

fn server(enforced: bool) -> (Server, Client) {
    let mut server = Server::new(PrepOptions {
        enforce_quota: enforced,
        extended_types: true,
        ..PrepOptions::default()
    });
    let client = server.connect();
    (server, client)
}

/// Without data, so that only what a test is about has bytes.
fn create(path: &str, flags: i32) -> Request<'_> {
    let mut request = harness::create(path, flags);
    if let Request::Create(create) = &mut request {
        create.data = None;
    }
    request
}

fn data_of(tree: &Tree, path: &str) -> String {
    let data = tree.get(path).and_then(|node| node.data());
    String::from_utf8(data.unwrap_or(b"(none)").to_vec()).unwrap()
}

fn used(tree: &Tree, top: &str) -> String {
    data_of(tree, &format!("/zookeeper/quota{top}/zookeeper_stats"))
}

/// As client tools set a quota: every node above, the limits, the stats.
fn set_quota(s: &mut Server, c: &Client, top: &str, limits: &str) {
    let mut path = "/zookeeper/quota".to_owned();
    for name in top.split('/').skip(1) {
        path = format!("{path}/{name}");
        let code = s.code(c, &create_data(&path, Some(b"")));
        assert!(matches!(code, Fine | NodeExists), "{path}: {code:?}");
    }
    let at = format!("{path}/zookeeper_limits");
    s.ok(c, &create_data(&at, Some(limits.as_bytes())));
    s.ok(
        c,
        &create_data(&format!("{path}/zookeeper_stats"), Some(FRESH)),
    );
}

fn reload(tree: &Tree) -> Tree {
    let image = tree.image();
    let mut builder = Builder::new(0);
    let mut payload = Vec::new();
    let mut encoder = image.encoder();
    while let Some(info) = encoder.next_block(&mut payload) {
        let (kind, base, count) = (info.kind, info.base_ordinal, info.record_count);
        let block = decode_block(kind, base, count, &payload, 0).unwrap();
        builder.push(block).unwrap();
    }
    builder
        .finish(image.last_applied(), &image.totals())
        .unwrap()
}

/// Line 101.
#[test]
fn every_change_below_is_counted() {
    let (mut s, c) = server(false);
    s.ok(&c, &create_data("/q", None));
    s.ok(&c, &create_data("/q/a", Some(b"12345")));
    s.ok(&c, &create_data("/qq", Some(b"not below")));
    set_quota(&mut s, &c, "/q", "count=10,bytes=100");
    assert_eq!(used(&s.tree, "/q"), "count=2,bytes=5");
    let check = |s: &Server, expected: &str| assert_eq!(used(&s.tree, "/q"), expected);
    s.ok(&c, &create_data("/q/b", Some(b"123")));
    check(&s, "count=3,bytes=8");
    s.ok(&c, &create_data("/q/b/c", None));
    check(&s, "count=4,bytes=8");
    s.ok(&c, &set_data("/q/a", b"1", -1));
    check(&s, "count=4,bytes=4");
    s.ok(&c, &set_data("/q", b"top", -1));
    check(&s, "count=4,bytes=7");
    s.ok(&c, &delete("/q/b/c", -1));
    s.ok(&c, &delete("/q/b", -1));
    check(&s, "count=2,bytes=4");
    s.ok(&c, &create("/q/seq", 2));
    s.ok(&c, &create_container("/q/box", 4));
    s.ok(&c, &create_ttl("/q/ttl", 5, 1));
    check(&s, "count=5,bytes=6");
    s.ok(&c, &create("/elsewhere", 0));
    s.ok(&c, &set_data("/qq", b"still not", -1));
    check(&s, "count=5,bytes=6");
    let stat = s.stat(&c, "/zookeeper/quota/q/zookeeper_stats");
    assert_eq!((stat.version, stat.mzxid), (0, stat.czxid));
    assert_eq!(stat.data_length, 15);
    assert_eq!(s.prep.take_exceeded_quota(), None);
}

#[test]
fn ends_of_sessions_and_reaping_are_counted() {
    let (mut s, c) = server(false);
    let other = s.connect();
    s.ok(&c, &create("/q", 0));
    set_quota(&mut s, &c, "/q", "count=10");
    for name in ["/q/e1", "/q/e2"] {
        s.ok(&other, &create(name, 1));
    }
    s.ok(&c, &create_container("/q/box", 4));
    assert_eq!(used(&s.tree, "/q"), "count=4,bytes=1");
    assert_eq!(s.send_raw(&other, OpCode::CloseSession, b"").err, 0);
    assert_eq!(used(&s.tree, "/q"), "count=2,bytes=1");
    let mut record = Vec::new();
    let context = RequestContext {
        session: SessionId(0),
        cxid: Xid(0),
        zxid: s.next_zxid(),
        time_ms: 1,
        identities: &Identities::NONE,
        local_session: false,
        session_error: None,
    };
    let written = s.tree.get("/q/box").unwrap().stored_stat().mzxid;
    assert!(
        s.prep
            .reap(&s.tree, &context, "/q/box", written, &mut record)
    );
    s.records.push_back(record);
    s.apply_all();
    assert_eq!(used(&s.tree, "/q"), "count=1,bytes=0");
}

#[test]
fn the_deepest_quota_counts_alone() {
    let (mut s, c) = server(false);
    s.ok(&c, &create("/q", 0));
    s.ok(&c, &create("/q/r", 0));
    set_quota(&mut s, &c, "/q", "count=10");
    set_quota(&mut s, &c, "/q/r", "count=10");
    s.ok(&c, &create_data("/q/r/x", Some(b"12")));
    s.ok(&c, &create_data("/q/y", Some(b"1")));
    assert_eq!(used(&s.tree, "/q"), "count=3,bytes=1");
    assert_eq!(used(&s.tree, "/q/r"), "count=2,bytes=2");
    s.ok(&c, &delete("/zookeeper/quota/q/r/zookeeper_limits", -1));
    s.ok(&c, &create("/q/r/z", 0));
    assert_eq!(used(&s.tree, "/q"), "count=4,bytes=1");
    assert_eq!(used(&s.tree, "/q/r"), "count=2,bytes=2", "it has ended");
}

#[test]
fn a_client_may_write_the_figures() {
    let (mut s, c) = server(false);
    s.ok(&c, &create("/q", 0));
    set_quota(&mut s, &c, "/q", "");
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    s.ok(&c, &get_data(stats, true));
    s.ok(&c, &create("/q/a", 0));
    s.expect_events(&[]);
    s.ok(&c, &set_data(stats, b"bytes=7;z=1;a=2", -1));
    s.expect_events(&[(&c, EventType::NodeDataChanged, stats)]);
    s.ok(&c, &create_data("/q/b", Some(b"123")));
    assert_eq!(used(&s.tree, "/q"), "count=0,bytes=10=;a=2;z=1");
    s.ok(&c, &delete(stats, -1));
    s.ok(&c, &create("/q/c", 0));
    s.ok(&c, &create_data(stats, Some(FRESH)));
    assert_eq!(used(&s.tree, "/q"), "count=4,bytes=3", "counted anew");
}

/// Line 102. Each of these stops Apache's server.
#[test]
fn malformed_nodes_stop_nobody() {
    let (mut s, c) = server(true);
    let quota = "/zookeeper/quota";
    s.ok(&c, &create(&format!("{quota}/zookeeper_limits"), 0));
    assert!(!s.tree.has_quotas());
    s.ok(&c, &create(&format!("{quota}/zookeeper_stats"), 0));
    assert_eq!(used(&s.tree, ""), "count=6,bytes=0");
    s.ok(&c, &create("/zookeeper/zookeeper_limits", 0));
    s.ok(&c, &delete("/zookeeper/zookeeper_limits", -1));
    s.ok(&c, &create("/zookeeper/quotaq", 0));
    s.ok(&c, &create("/zookeeper/quotaq/zookeeper_limits", 0));
    assert!(!s.tree.has_quotas());
    s.ok(&c, &create("/q", 0));
    set_quota(&mut s, &c, "/q", "countHardLimit=x;byteHardLimit");
    for text in [&b"nonsense"[..], b"count=x", b"=;=", b"\xff", b"count=1="] {
        s.ok(
            &c,
            &set_data("/zookeeper/quota/q/zookeeper_stats", text, -1),
        );
        s.ok(&c, &create("/q/n", 2));
        let figures = used(&s.tree, "/q");
        assert!(figures.starts_with("count="), "{figures}");
    }
    let null = format!("{quota}/q/zookeeper_limits");
    s.ok(&c, &delete(&null, -1));
    s.ok(&c, &create_data(&null, None));
    s.ok(&c, &create("/q/m", 0));
    s.ok(&c, &delete(&format!("{quota}/q/zookeeper_stats"), -1));
    s.ok(&c, &create("/q/o", 0));
    let reloaded = reload(&s.tree);
    assert_eq!(reloaded.digest(), s.tree.digest());
}

#[test]
fn hard_limits_refuse_where_they_are_enforced() {
    for enforced in [true, false] {
        let (mut s, c) = server(enforced);
        let full = if enforced { QuotaExceeded } else { Fine };
        s.ok(&c, &create_data("/q", Some(b"12345")));
        set_quota(&mut s, &c, "/q", "countHardLimit=2;byteHardLimit=10");
        s.ok(&c, &create_data("/q/a", Some(b"12345")));
        assert_eq!(s.prep.take_exceeded_quota(), None);
        assert_eq!(s.code(&c, &create("/q/b", 0)), full);
        let told = s.prep.take_exceeded_quota().unwrap();
        assert_eq!((told.path.as_str(), told.kind), ("/q", QuotaKind::Count));
        assert_eq!((told.amount, told.limit, told.is_hard), (3, 2, true));
        assert_eq!(s.code(&c, &set_data("/q/a", b"123456", -1)), full);
        let told = s.prep.take_exceeded_quota().unwrap();
        assert_eq!((told.kind, told.amount), (QuotaKind::Bytes, 11));
        // No difference is not looked at, whatever is used.
        let limits = "/zookeeper/quota/q/zookeeper_limits";
        s.ok(&c, &set_data(limits, b"byteHardLimit=3", -1));
        s.ok(&c, &set_data("/q", b"54321", -1));
        assert_eq!(s.code(&c, &set_data("/q", b"1", -1)), full);
        s.ok(&c, &delete("/q/a", -1));
        s.ok(&c, &set_data("/q", b"1", -1));
    }
}

#[test]
fn a_hard_limit_takes_the_place_of_a_soft_one() {
    let (mut s, c) = server(true);
    s.ok(&c, &create("/q", 0));
    set_quota(&mut s, &c, "/q", "count=1,bytes=2=;byteHardLimit=5");
    s.ok(&c, &create_data("/q/a", Some(b"1234")));
    let told = s.prep.take_exceeded_quota().unwrap();
    assert_eq!((told.kind, told.is_hard), (QuotaKind::Count, false));
    // The soft one comes first and does not hide the hard one.
    let code = s.code(&c, &create_data("/q/b", Some(b"12")));
    assert_eq!(code, QuotaExceeded);
    let told = s.prep.take_exceeded_quota().unwrap();
    assert_eq!(
        told.to_string(),
        "Quota exceeded: /q [current bytes=6, hardByteLimit=5]"
    );
}

/// Line 37, its end: a create finds the quota last, a setData before the version.
#[test]
fn the_place_among_the_checks() {
    let (mut s, c) = server(true);
    s.ok(&c, &create("/q", 0));
    s.ok(&c, &create("/q/e", 1));
    set_quota(&mut s, &c, "/q", "countHardLimit=0;byteHardLimit=0");
    assert_eq!(s.code(&c, &create("/q/e", 0)), NodeExists);
    let below = s.code(&c, &create("/q/e/x", 0));
    assert_eq!(below, ErrorCode::NoChildrenForEphemerals);
    assert_eq!(s.code(&c, &create("/q/x", 0)), QuotaExceeded);
    assert_eq!(s.code(&c, &create("/q/x", 2)), QuotaExceeded);
    assert_eq!(s.code(&c, &set_data("/q", b"x", 77)), QuotaExceeded);
    assert_eq!(s.code(&c, &set_data("/q", b"", 77)), BadVersion);
    let config = s.code(&c, &set_data("/zookeeper/config", b"x", -1));
    assert_eq!(config, NoAuth);
}

/// What is outstanding does not count: a multi, or what is pipelined, may go beyond a hard limit.
#[test]
fn outstanding_writes_do_not_count() {
    let (mut s, c) = server(true);
    s.ok(&c, &create("/q", 0));
    set_quota(&mut s, &c, "/q", "countHardLimit=2;byteHardLimit=4");
    let ops = [
        create_data("/q/a", Some(b"1234")),
        create_data("/q/b", Some(b"1234")),
        // Four bytes that are not applied yet, and four more.
        set_data("/q/b", b"12345678", -1),
    ];
    let mut multi = MultiRequestBuf::new();
    ops.iter().for_each(|op| multi.push(op));
    let reply = s.send_raw(&c, OpCode::Multi, &multi.finish());
    let Response::Multi(results) = reply.response(OpCode::Multi) else {
        panic!("no multi");
    };
    let failed = |result: &MultiResult<'_>| matches!(result, MultiResult::Error { .. });
    assert!(!results.iter().any(|result| failed(&result)));
    assert_eq!(used(&s.tree, "/q"), "count=3,bytes=12");
    assert_eq!(s.code(&c, &create("/q/c", 0)), QuotaExceeded);
}

#[test]
fn figures_survive_a_snapshot_and_are_counted_anew_behind_it() {
    let (mut s, c) = server(true);
    for path in ["/q", "/q/r", "/q/r/x", "/p"] {
        s.ok(&c, &create_data(path, Some(b"1")));
    }
    set_quota(&mut s, &c, "/q", "countHardLimit=9");
    set_quota(&mut s, &c, "/q/r", "count=3");
    set_quota(&mut s, &c, "/p", "count=3");
    s.ok(&c, &create("/q/r/y", 0));
    let stats = "/zookeeper/quota/p/zookeeper_stats";
    s.ok(&c, &set_data(stats, b"count=50,bytes=60", -1));
    let mut loaded = reload(&s.tree);
    assert_eq!(used(&loaded, "/q"), "count=3,bytes=3");
    assert_eq!(used(&loaded, "/p"), "count=50,bytes=60");
    let (digest, stat) = (loaded.digest(), loaded.get(stats).unwrap().stored_stat());
    loaded.recount_quotas();
    assert_eq!(used(&loaded, "/q"), "count=4,bytes=3", "with those of /q/r");
    assert_eq!(used(&loaded, "/q/r"), "count=3,bytes=2");
    assert_eq!(used(&loaded, "/p"), "count=1,bytes=1");
    assert_eq!(loaded.digest(), digest);
    assert_eq!(loaded.get(stats).unwrap().stored_stat(), stat);
    assert_eq!(loaded.counters().data_bytes, bytes_of_all(&loaded));
    // And it goes on counting.
    s.tree = loaded;
    s.ok(&c, &create("/q/z", 0));
    assert_eq!(used(&s.tree, "/q"), "count=5,bytes=3");
    assert_eq!(reload(&s.tree).digest(), s.tree.digest());
}

/// A limits node with children has a quota until the next start, as in Apache.
#[test]
fn a_limits_node_with_children_is_not_found_again() {
    let (mut s, c) = server(true);
    s.ok(&c, &create("/q", 0));
    set_quota(&mut s, &c, "/q", "countHardLimit=1");
    s.ok(&c, &create("/zookeeper/quota/q/zookeeper_limits/x", 0));
    assert_eq!(s.code(&c, &create("/q/a", 0)), QuotaExceeded);
    s.tree = reload(&s.tree);
    assert!(!s.tree.has_quotas());
    s.ok(&c, &create("/q/a", 0));
}

fn bytes_of_all(tree: &Tree) -> u64 {
    let len = |node: ironkeeper_tree::NodeRef<'_>| node.data().map_or(0, <[u8]>::len) as u64;
    tree.root().subtree().map(len).sum()
}

/// The figures that grew change by change are those that counting gives.
#[test]
fn adding_up_and_counting_agree() {
    let (mut s, c) = server(false);
    for top in ["/a", "/b", "/b/c"] {
        s.ok(&c, &create(top, 0));
    }
    set_quota(&mut s, &c, "/a", "count=5");
    set_quota(&mut s, &c, "/b/c", "count=5");
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    for _ in 0..3000 {
        let top = ["/a", "/b", "/b/c", "/b/c/d"][random(4) as usize];
        let path = format!("{top}/{}", random(6));
        let data = vec![b'x'; random(40) as usize];
        let request = match random(4) {
            0 => delete(&path, -1),
            1 => set_data(&path, &data, -1),
            2 => create_data("/b/c/d", Some(&data)),
            _ => create_data(&path, Some(&data)),
        };
        s.send(&c, &request);
    }
    let mut counted = s.tree.clone();
    counted.recount_quotas();
    for top in ["/a", "/b/c"] {
        assert_eq!(used(&s.tree, top), used(&counted, top));
    }
    assert_eq!(s.tree.counters().data_bytes, bytes_of_all(&s.tree));
}
