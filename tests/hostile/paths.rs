//! Paths as deep and as long as they may be.

use ironkeeper_client::{Client, requests};
use ironkeeper_proto::frame::FRAME_BYTES_MAX_DEFAULT;
use ironkeeper_proto::{
    AddWatchMode, CreateFlags, ErrorCode, OpCode, Request, SetWatches, StringListBuf, WatcherType,
    Zxid,
};

use crate::{
    Bystander, Memory, SLACK_KIB, WITHIN, connect, is_whole, metric, server, until_metric,
};

fn code(client: &mut Client, request: &Request<'_>) -> ErrorCode {
    client.submit(request);
    client.flush().unwrap();
    client.reply().unwrap().code
}

/// Nodes within nodes, more than a thousand deep: made, watched from the top, listed, counted, in a snapshot, through a
/// restart, and deleted again from the bottom.
#[test]
fn more_than_a_thousand_levels() {
    const LEVELS: usize = 1500;
    let dir = tempfile::tempdir().unwrap();
    // Snapshots are taken while it is that deep.
    let server = server(dir.path()).with_config("snapCount", 500);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut client = connect(&running);
    let nodes = metric(&running, "zk_znode_count");
    let mut watcher = connect(&running);
    let add = Request::AddWatch {
        path: Some("/".into()),
        mode: AddWatchMode::PersistentRecursive,
    };
    watcher.call(&add).unwrap();
    let memory = Memory::of(&running);
    let path = |level: usize| "/d".repeat(level);
    for level in 1..=LEVELS {
        client.submit(&requests::create(
            &path(level),
            b"",
            CreateFlags::Persistent,
        ));
        if level % 50 == 0 {
            client.flush().unwrap();
            (0..50).for_each(|_| assert_eq!(client.reply().unwrap().code, ErrorCode::Ok));
        }
    }
    bystander.gets(30);
    assert_eq!(metric(&running, "zk_znode_count"), nodes + LEVELS as u64);
    let deepest = path(LEVELS);
    client.set(&deepest, b"deep", -1).unwrap();
    let mut seen = 0;
    while seen < LEVELS + 1 {
        let event = watcher.next_event().unwrap();
        // The bystander changes its own node.
        seen += usize::from(event.path.starts_with("/d"));
    }
    assert_eq!(client.get(&deepest, false).unwrap().0, b"deep");
    let count = Request::GetAllChildrenNumber {
        path: Some("/d".into()),
    };
    let reply = client.call(&count).unwrap();
    assert_eq!(reply.body, i32::try_from(LEVELS - 1).unwrap().to_be_bytes());
    until_metric(&running, "zk_cnt_snapshottime", |n| n > 0);
    // The paths on their way: a batch of fifty at a time, in requests, records, events.
    memory.stayed_within("more than a thousand levels", SLACK_KIB);
    drop(watcher);
    bystander.leaves();
    is_whole(running);

    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    assert_eq!(client.get(&deepest, false).unwrap().0, b"deep");
    for level in (1..=LEVELS).rev() {
        client.submit(&requests::delete(&path(level), -1));
        if level % 50 == 1 {
            client.flush().unwrap();
            (0..50).for_each(|_| assert_eq!(client.reply().unwrap().code, ErrorCode::Ok));
        }
    }
    is_whole(running);
}

/// Half a million levels in one path of a megabyte, none of which is there, in every request that has a path:
/// an answer each, and nothing is kept but the watches.
#[test]
fn paths_of_half_a_million_levels() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut client = connect(&running);
    let deep = "/d".repeat(520_000);
    let memory = Memory::of(&running);
    let path = || Some(deep.as_str().into());
    let mut list = StringListBuf::new();
    list.push(&deep[..1_000_000]);
    let none = StringListBuf::new();
    let multi = requests::Multi::new(&[requests::delete(&deep, -1)]);
    let requests = [
        (
            requests::create(&deep, b"", CreateFlags::Persistent),
            ErrorCode::NoNode,
        ),
        (
            requests::create(&deep, b"", CreateFlags::EphemeralSequential),
            ErrorCode::NoNode,
        ),
        (requests::delete(&deep, -1), ErrorCode::NoNode),
        (requests::set(&deep, b"", -1), ErrorCode::NoNode),
        (requests::exists(&deep, true), ErrorCode::NoNode),
        (requests::get(&deep, true), ErrorCode::NoNode),
        (requests::children(&deep, true), ErrorCode::NoNode),
        (requests::sync(&deep), ErrorCode::Ok),
        (Request::GetAcl { path: path() }, ErrorCode::NoNode),
        (
            Request::GetAllChildrenNumber { path: path() },
            ErrorCode::NoNode,
        ),
        (Request::GetEphemerals { prefix: path() }, ErrorCode::Ok),
        (multi.request(), ErrorCode::Ok),
        (
            Request::AddWatch {
                path: path(),
                mode: AddWatchMode::PersistentRecursive,
            },
            ErrorCode::Ok,
        ),
        (
            Request::CheckWatches {
                path: path(),
                kind: WatcherType::Any,
            },
            ErrorCode::Ok,
        ),
        (
            Request::RemoveWatches {
                path: path(),
                kind: WatcherType::Any,
            },
            ErrorCode::Ok,
        ),
        (
            Request::RemoveWatches {
                path: path(),
                kind: WatcherType::Any,
            },
            ErrorCode::NoWatcher,
        ),
        (
            Request::SetWatches(SetWatches {
                relative_zxid: Zxid(1),
                data: none.as_list(),
                exist: list.as_list(),
                child: none.as_list(),
                persistent: none.as_list(),
                persistent_recursive: none.as_list(),
            }),
            ErrorCode::Ok,
        ),
    ];
    for _ in 0..5 {
        for (request, expected) in &requests {
            let op: OpCode = request.op();
            assert_eq!(code(&mut client, request), *expected, "{}", op.name());
        }
        bystander.gets(30);
    }
    // A frame, its batch, a path to look up, a watch, a reply that echoes: a megabyte each, and one deep multi.
    memory.stayed_within("half a million levels", SLACK_KIB);
    bystander.leaves();
    is_whole(running);
}

/// A name of a megabyte is a name: made, listed, watched, deleted. It is as long as its frame may be, to the byte: one
/// more ends the connection.
#[test]
fn names_of_a_megabyte() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("snapCount", 20);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut client = connect(&running);
    let memory = Memory::of(&running);
    for n in 0..10 {
        let path = format!("/{}{n}", "n".repeat(1_000_000));
        client.create(&path, b"").unwrap();
        assert!(client.exists(&path, true).unwrap().is_some());
    }
    let (names, _) = client.children("/", false).unwrap();
    assert_eq!(
        names.iter().filter(|name| name.len() == 1_000_001).count(),
        10
    );
    bystander.gets(60);
    until_metric(&running, "zk_cnt_snapshottime", |n| n > 0);
    // Ten names, ten watches of them, their records, the list of them twice, and blocks of the snapshot.
    memory.stayed_within("names of a megabyte", SLACK_KIB + 6 * 10_000);
    // An xid, an operation, the length of the path, a version.
    let longest = "n".repeat(FRAME_BYTES_MAX_DEFAULT - 16);
    assert_eq!(
        code(
            &mut client,
            &requests::delete(&format!("/{}", &longest[1..]), -1)
        ),
        ErrorCode::NoNode
    );
    client.submit(&requests::delete(&format!("/{longest}"), -1));
    // It may be closed before all of it is sent.
    let _ = client.flush();
    let end = client.reply().unwrap_err();
    assert!(end.is_disconnect(), "{end}");
    // The bystander's, and the one that asks.
    until_metric(&running, "zk_num_alive_connections", |n| n == 2);
    let mut client = connect(&running);
    for name in &names {
        if name.len() == 1_000_001 {
            client.delete(&format!("/{name}"), -1).unwrap();
        }
    }
    bystander.leaves();
    is_whole(running);
}
