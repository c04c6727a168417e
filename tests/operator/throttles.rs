//! `connection_throttle_*`, `largeRequest*`, `localSessions*`, and what `jute.maxbuffer` may not be.
//! The gate of `request_throttle_*` is shown in crashtest, where the log can be held.

use ironkeeper_client::{Client, ClientError, ConnectOptions, poll, requests};
use ironkeeper_proto::CreateFlags;

use crate::{WITHIN, connect, line_with, metric, refusal, server};

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
