//! The client and the load generator against Apache ZooKeeper: what a test believes of this client
//! must hold for the server that defines the protocol.

#[path = "../../tests/common/not_run.rs"]
mod not_run;

use std::time::Duration;

use ironkeeper_client::load::{self, Limit, Plan};
use ironkeeper_client::process::{Program, Running, Server, apache_jars, workspace_root};
use ironkeeper_client::requests::{self, Multi};
use ironkeeper_client::{Client, ClientError, ConnectOptions, mntr};
use ironkeeper_proto::{CreateFlags, ErrorCode, Request};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running Apache server, or nothing where its jars are not set up. That is said loudly, and is
/// a failure where `CI=true`.
fn apache(directory: &std::path::Path) -> Option<Running> {
    let Some(jars) = apache_jars(&workspace_root()) else {
        not_run::not_run("Apache's jars are missing; `cargo xtask peers` fetches them");
        return None;
    };
    let program = Program::Apache { jars, heap_mb: 256 };
    let server = Server::new(program, directory).expect("a directory of the test");
    Some(server.start_and_wait(PATIENCE).expect("Apache starts"))
}

#[test]
fn every_call_means_what_apache_makes_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let Some(running) = apache(directory.path()) else {
        return;
    };
    let address = running.address();
    let options = ConnectOptions::default();
    let mut client = Client::connect(address, &options).unwrap();
    let mut watcher = Client::connect(address, &options).unwrap();

    // Create, get, set, exists with a watch, delete.
    assert_eq!(watcher.exists("/a", true).unwrap(), None);
    assert_eq!(client.create("/a", b"one").unwrap(), "/a");
    let event = watcher.next_event().unwrap();
    assert_eq!((event.kind, event.state, event.path.as_str()), (1, 3, "/a"));
    assert_eq!(event.zxid, client.last_zxid());
    let stat = client.set("/a", b"two", 0).unwrap();
    assert_eq!(stat.version, 1);
    assert_eq!(client.get("/a", false).unwrap(), (b"two".to_vec(), stat));
    let error = client.set("/a", b"three", 0).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::BadVersion));

    // Multi: all or nothing, with the code of each operation.
    let made = client
        .multi(&[
            requests::check("/a", 1),
            requests::create("/a/s-", b"", CreateFlags::PersistentSequential),
            requests::create("/b", b"", CreateFlags::Persistent),
            requests::set("/b", b"x", -1),
        ])
        .unwrap();
    assert_eq!(made, ["/a/s-0000000000", "/b"]);
    let failed = client.multi(&[requests::delete("/b", -1), requests::delete("/nowhere", -1)]);
    match failed {
        Err(ClientError::Multi(codes)) => assert_eq!(codes, [ErrorCode::Ok, ErrorCode::NoNode]),
        other => panic!("{other:?}"),
    }
    let (names, _) = client.children("/a", false).unwrap();
    assert_eq!(names, ["s-0000000000"]);

    // Pipelining: replies in order, of different kinds.
    for index in 0..100 {
        let path = format!("/b/p{index:03}");
        client.submit(&requests::create(&path, b"", CreateFlags::Persistent));
    }
    client.submit(&Multi::new(&[requests::delete("/b/p000", -1)]).request());
    client.submit(&Request::Ping);
    client.flush().unwrap();
    assert_eq!(client.outstanding(), 102);
    assert!(matches!(client.ping(), Err(ClientError::Outstanding(102))));
    for index in 0..102 {
        let made = client.reply().unwrap().created_paths().unwrap();
        assert_eq!(made.len(), usize::from(index < 100), "reply {index}");
    }
    assert_eq!(client.children("/b", false).unwrap().0.len(), 99);
    client.ping().unwrap();

    // Reattach: the ephemeral stays, a wrong password is refused, a closed session too.
    client
        .create_with("/e", b"", CreateFlags::Ephemeral)
        .unwrap();
    let session = client.session().clone();
    drop(client);
    let reattach = |session| options.clone().with_session(session);
    let mut wrong = session.clone();
    wrong.password[0] ^= 1;
    let refused = Client::connect(address, &reattach(wrong));
    assert!(
        matches!(refused, Err(ClientError::SessionRefused)),
        "{refused:?}"
    );
    let mut client = Client::connect(address, &reattach(session.clone())).unwrap();
    let owner = client.exists("/e", false).unwrap().unwrap().ephemeral_owner;
    assert_eq!(owner, session.id.0);
    client.close().unwrap();
    let refused = Client::connect(address, &reattach(session));
    assert!(
        matches!(refused, Err(ClientError::SessionRefused)),
        "{refused:?}"
    );
    assert_eq!(watcher.exists("/e", false).unwrap(), None);
    watcher.close().unwrap();

    let figures = mntr(address, PATIENCE).unwrap();
    assert_eq!(figures["zk_server_state"], "standalone");
    assert!(running.terminate(PATIENCE).is_ok());
}

#[test]
fn load_counts_what_it_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let Some(running) = apache(directory.path()) else {
        return;
    };
    let plan = Plan {
        sessions: 6,
        depth: 8,
        write_percent: 50,
        threads: 2,
        warmup: Duration::from_millis(50),
        limit: Limit::Operations(5_000),
        ..Plan::new(running.address())
    };
    let report = load::run(&plan, Some(running.pid())).unwrap();
    assert!(report.operations >= 5_000, "{report:?}");
    // Each of the two threads stops within one batch of its share.
    assert!(
        report.operations < 5_000 + 2 * 6 * 8,
        "{}",
        report.operations
    );
    let writes = report.writes.len();
    assert!(
        (2_000..3_000).contains(&writes),
        "{writes} of 5000 are writes"
    );
    assert_eq!(report.reads.len() + writes, report.operations);
    assert!(report.server_cpu.unwrap() > Duration::ZERO);
    assert!(report.quantile_us(0.5) <= report.quantile_us(0.99));

    // The server saw the operations, and every session of the generator is closed again.
    let mut client = Client::connect(running.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(client.get("/load/n00000", false).unwrap().0.len(), 100);
    let figures = mntr(running.address(), PATIENCE).unwrap();
    assert_eq!(figures["zk_global_sessions"], "1");
    client.close().unwrap();
}

#[test]
fn load_for_a_time_takes_that_time() {
    let directory = tempfile::tempdir().unwrap();
    let Some(running) = apache(directory.path()) else {
        return;
    };
    let plan = Plan {
        sessions: 3,
        write_percent: 0,
        warmup: Duration::from_millis(20),
        limit: Limit::Time(Duration::from_millis(200)),
        ..Plan::new(running.address())
    };
    let start = std::time::Instant::now();
    let report = load::run(&plan, None).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(220));
    assert_eq!(report.elapsed, Duration::from_millis(200));
    assert!(report.operations > 0);
    assert!(report.writes.is_empty());
    assert_eq!(report.server_cpu, None);
}
