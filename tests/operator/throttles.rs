//! `connection_throttle_*`, `largeRequest*`, `localSessions*`, and what `jute.maxbuffer` may not be.
//! The gate of `request_throttle_*` is shown in crashtest, where the log can be held.

use ironkeeper_client::requests::{self, Multi};
use ironkeeper_client::{Client, ClientError, ConnectOptions, poll};
use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, AuthPacket, CreateFlags, CreateRequest, ErrorCode, Perms, Request,
    SetAcl,
};

use crate::{WITHIN, connect, line_with, log, metric, refusal, server, word};

/// Longer than any test: the bucket does not fill again.
const NEVER_MS: u32 = 86_400_000;

fn try_connect(address: std::net::SocketAddr) -> Result<Client, ClientError> {
    Client::connect(address, &ConnectOptions::default())
}

#[test]
fn sessions_cost_tokens_and_words_cost_none() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("connection_throttle_tokens", 2)
        .with_config("connection_throttle_fill_time", NEVER_MS);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut first = connect(&running);
    let session = first.session().clone();
    let _second = connect(&running);
    assert_eq!(metric(&running, "zk_max_connection_token_deficit"), 2.0);
    for options in [
        ConnectOptions::default(),
        ConnectOptions::default().with_session(session),
    ] {
        let error = Client::connect(running.address(), &options).unwrap_err();
        assert!(error.is_disconnect(), "{error}");
    }
    // A session that could not be taken up again is none the worse.
    first.create("/still-there", b"").unwrap();
    assert_eq!(metric(&running, "zk_connection_rejected"), 2.0);
    assert_eq!(metric(&running, "zk_connection_drop_probability"), 0.0);
}

#[test]
fn tokens_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("connection_throttle_tokens", 1)
        .with_config("connection_throttle_fill_time", 20);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut clients = Vec::new();
    poll::until("ten clients, one after the other", WITHIN, || {
        clients.extend(try_connect(running.address()).ok());
        (clients.len() == 10).then_some(())
    })
    .unwrap();
}

#[test]
fn an_empty_bucket_makes_drops_at_random_likely() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("connectionMaxTokens", 1)
        .with_config("connection_throttle_fill_time", NEVER_MS)
        .with_config("connection_throttle_freeze_time", 0)
        .with_config("connection_throttle_drop_increase", "0.75");
    let running = server.start_and_wait(WITHIN).unwrap();
    let _client = connect(&running);
    poll::until("the highest probability", WITHIN, || {
        assert!(try_connect(running.address()).is_err());
        (metric(&running, "zk_connection_drop_probability") == 1.0).then_some(())
    })
    .unwrap();
}

/// No tokens come back, however short the time: with one each millisecond some would get in.
#[test]
fn tokens_come_back_by_the_count() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("connection_throttle_tokens", 1)
        .with_config("connection_throttle_fill_time", 1)
        .with_config("connection_throttle_fill_count", 0);
    let running = server.start_and_wait(WITHIN).unwrap();
    let _client = connect(&running);
    for _ in 0..50 {
        assert!(try_connect(running.address()).is_err());
    }
    assert_eq!(metric(&running, "zk_connection_rejected"), 50.0);
}

/// Once the bucket is full enough a look takes so much off the probability. Full it would be after
/// eight times as long, and the first session would leave it with one token less.
#[test]
fn drops_at_random_end_by_the_decrease_as_soon_as_the_ratio_says() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("connection_throttle_tokens", 8)
        .with_config("connection_throttle_fill_time", 1500)
        .with_config("connection_throttle_freeze_time", 0)
        .with_config("connection_throttle_drop_increase", "1.0")
        .with_config("connection_throttle_drop_decrease", "0.75")
        .with_config("connection_throttle_decrease_ratio", "0.9");
    let running = server.start_and_wait(WITHIN).unwrap();
    let probability = || metric(&running, "zk_connection_drop_probability");
    poll::until("an empty bucket", WITHIN, || {
        let _ = try_connect(running.address());
        (probability() == 1.0).then_some(())
    })
    .unwrap();
    word(&running, "srst");
    let (mut probabilities, mut deficit) = (Vec::new(), 0.0);
    poll::until("a session", WITHIN, || {
        let _ = try_connect(running.address());
        probabilities.push(probability());
        deficit = metric(&running, "zk_max_connection_token_deficit");
        (deficit > 0.0).then_some(())
    })
    .unwrap();
    let fallen = probabilities.iter().find(|probability| **probability < 1.0);
    assert_eq!(fallen, Some(&0.25), "{probabilities:?}");
    assert!(deficit > 1.0, "the bucket was full: {probabilities:?}");
}

/// A session of one server alone is never made here, but no other weighs less.
#[test]
fn no_session_weighs_less_than_a_local_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("connection_throttle_tokens", 2)
        .with_config("connection_throttle_fill_time", NEVER_MS)
        .with_config("connection_throttle_weight_enabled", "true")
        .with_config("connection_throttle_local_session_weight", 7);
    let running = server.start_and_wait(WITHIN).unwrap();
    let _client = connect(&running);
    assert_eq!(metric(&running, "zk_max_connection_token_deficit"), 7.0);
    for key in ["global", "renew"] {
        let key = format!("connection_throttle_{key}_session_weight=");
        let line = line_with(&server, &key);
        assert!(
            line.contains("- WARN ") && line.contains("7 is used"),
            "{line}"
        );
    }
}

/// With weights a bucket holds so many new sessions, and one that comes back costs less.
#[test]
fn sessions_weigh_what_they_cost() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("connection_throttle_tokens", 2)
        .with_config("connection_throttle_fill_time", NEVER_MS)
        .with_config("connection_throttle_weight_enabled", "true")
        .with_config("connection_throttle_global_session_weight", 5)
        .with_config("connection_throttle_renew_session_weight", 2);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    for _ in 0..2 {
        let again = ConnectOptions::default().with_session(client.session().clone());
        client = Client::connect(running.address(), &again).unwrap();
    }
    // One token is left.
    let again = ConnectOptions::default().with_session(client.session().clone());
    assert!(Client::connect(running.address(), &again).is_err());
    assert!(try_connect(running.address()).is_err());
    assert_eq!(metric(&running, "zk_sum_connection_token_deficit"), 21.0);
    client.ping().unwrap();
}

/// One that is too large alone is refused as soon as its length is known; others come and go.
#[test]
fn large_requests_have_an_account_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("largeRequestThreshold", 10_000)
        .with_config("largeRequestMaxBytes", 100_000);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    client.create("/large", b"").unwrap();
    for _ in 0..20 {
        client.set("/large", &[7; 90_000], -1).unwrap();
    }
    let mut eager = connect(&running);
    // Of the frame nothing but its length is there.
    eager.submit(&requests::set("/large", &[8; 200_000], -1));
    let error = eager.flush().and_then(|()| eager.reply()).unwrap_err();
    assert!(error.is_disconnect(), "{error}");
    let line = line_with(&server, "Rejecting large request");
    assert!(line.contains("- WARN ") && line.contains("peer="), "{line}");
    assert_eq!(metric(&running, "zk_large_requests_rejected"), 1.0);
    let (data, _) = client.get("/large", false).unwrap();
    assert_eq!(data, [7; 90_000]);
}

/// One server has no local sessions, whatever the keys say; as Apache's, which asks for them in
/// ensembles alone.
#[test]
fn local_sessions_are_named_as_a_matter_of_ensembles() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("localSessionsEnabled", "true")
        .with_config("localSessionsUpgradingEnabled", "true");
    let running = server.start_and_wait(WITHIN).unwrap();
    let line = line_with(&server, "localSessionsEnabled");
    assert!(line.contains("without effect"), "{line}");
    let mut client = connect(&running);
    client
        .create_with("/mine", b"", CreateFlags::Ephemeral)
        .unwrap();
    assert_eq!(metric(&running, "zk_local_sessions"), 0.0);
    assert_eq!(metric(&running, "zk_global_sessions"), 1.0);
}

/// What the log has no room for is refused before there is a client to find out.
#[test]
fn longer_frames_than_the_log_takes_are_refused_at_the_start() {
    for (value, remedy) in [
        ("16000000", "set it to that or less"),
        ("0", "no client could connect"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("jute.maxbuffer", value);
        let (code, log) = refusal(&server);
        assert_eq!(code, Some(2), "{log}");
        assert!(
            log.contains(&format!("jute.maxbuffer={value} is refused")) && log.contains(remedy),
            "{log}"
        );
        assert!(
            !dir.path().join("data/native-1").exists(),
            "nothing was written"
        );
    }
}

/// The longest request that may be allowed is one that is kept, and that survives a restart.
#[test]
fn the_longest_frame_that_is_allowed_is_kept() {
    const LONGEST: usize = 15 << 20;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("jute.maxbuffer", LONGEST);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    client.create("/long", b"").unwrap();
    // Header, path, length, version.
    let data = vec![7; LONGEST - (8 + 4 + "/long".len() + 4 + 4)];
    client.set("/long", &data, -1).unwrap();
    running.kill().unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    let (kept, _) = connect(&running).get("/long", false).unwrap();
    assert!(kept == data);
}

fn authenticate(client: &mut Client, user: usize) {
    let auth = format!("user{user}:password");
    let packet = AuthPacket {
        kind: 0,
        scheme: Some("digest".into()),
        auth: Some(auth.as_bytes()),
    };
    client.call(&Request::Auth(packet)).unwrap();
}

/// `auth` in a list becomes every identity of the connection, so a short request can make a long
/// record: longer than the log takes it is refused, and harms nobody.
#[test]
fn a_request_that_grows_beyond_a_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    client.create("/n", b"").unwrap();
    for n in 0..40 {
        authenticate(&mut client, n);
    }
    let mut everybody = AclListBuf::new();
    everybody.push(AclRef::new(Perms(31), "auth", ""));
    let set_acl = |list: &'static [u8]| {
        Request::SetAcl(SetAcl {
            path: Some("/n".into()),
            acl: AclList::from_bytes(list).unwrap(),
            version: -1,
        })
    };
    let one: &'static [u8] = everybody.into_bytes().leak();
    let paths: Vec<String> = (0..17_000).map(|n| format!("/n/{n}")).collect();
    let create = |path| {
        Request::Create(CreateRequest {
            path: Some(path),
            data: None,
            acl: AclList::from_bytes(one).unwrap(),
            flags: 0,
            ttl_ms: -1,
        })
    };
    let creates = |count: usize| {
        let parts = paths[..count].iter().map(|path| create(path.into()));
        Multi::new(&parts.collect::<Vec<_>>())
    };
    // As many entries as go into a frame, all of them different.
    let different: AclListBuf = (0..60_000)
        .map(|n| AclRef::new(Perms(n), "auth", ""))
        .collect();
    for request in [
        creates(paths.len()).request(),
        set_acl(different.into_bytes().leak()),
    ] {
        client.submit(&request);
        client.flush().unwrap();
        let reply = client.reply().unwrap();
        assert_eq!(reply.code, ErrorCode::MarshallingError);
        assert!(reply.body.is_empty());
    }
    // What goes into a record is taken, and the others left no trace.
    client.call(&creates(100).request()).unwrap();
    client.call(&set_acl(one)).unwrap();
    running.kill().unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    authenticate(&mut client, 0);
    let stat = client.exists("/n", false).unwrap().unwrap();
    assert_eq!(
        (stat.aversion, stat.cversion, stat.num_children),
        (1, 100, 100)
    );
}

/// The longest list that a record takes is one that a snapshot takes too.
#[test]
fn the_longest_list_survives_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("snapCount", 20);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    client.create("/n", b"").unwrap();
    for n in 0..40 {
        authenticate(&mut client, n);
    }
    let list: AclListBuf = (0..6000)
        .map(|n| AclRef::new(Perms(n), "auth", ""))
        .collect();
    let list = list.into_bytes();
    let request = Request::SetAcl(SetAcl {
        path: Some("/n".into()),
        acl: AclList::from_bytes(&list).unwrap(),
        version: -1,
    });
    client.call(&request).unwrap();
    for n in 0..40 {
        client.create(&format!("/n{n}"), b"").unwrap();
    }
    poll::until("a snapshot", WITHIN, || {
        (metric(&running, "zk_cnt_snapshottime") >= 1.0).then_some(())
    })
    .unwrap();
    assert_eq!(metric(&running, "zk_snapshot_error_count"), 0.0);
    running.kill().unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    assert!(!log(&server).contains("was not used"));
    let mut client = connect(&running);
    authenticate(&mut client, 0);
    let stat = client.exists("/n", false).unwrap().unwrap();
    assert_eq!(stat.aversion, 1);
}

/// Nor does the end of a session have to fit: with more names than a record takes it names none.
#[test]
fn a_session_may_leave_more_ephemerals_than_a_record_names() {
    const NODES: usize = 90;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    client.create("/below", b"").unwrap();
    let long = "x".repeat(200_000);
    for n in 0..NODES {
        let path = format!("/below/{n}-{long}");
        client.submit(&requests::create(&path, b"", CreateFlags::Ephemeral));
        client.flush().unwrap();
        assert_eq!(client.reply().unwrap().code, ErrorCode::Ok);
    }
    assert_eq!(metric(&running, "zk_ephemerals_count"), 90.0);
    client.close().unwrap();
    assert_eq!(metric(&running, "zk_ephemerals_count"), 0.0);
    running.kill().unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_eq!(metric(&running, "zk_ephemerals_count"), 0.0);
}
