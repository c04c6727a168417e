//! Watches without number.

use ironkeeper_client::{Client, ConnectOptions, requests};
use ironkeeper_proto::{
    AddWatchMode, CreateFlags, ErrorCode, MultiRequestBuf, OpCode, Request, SetWatches,
    StringListBuf, Zxid,
};

use crate::{
    Bystander, Memory, OUTBOX_KIB, SLACK_KIB, WITHIN, connect, is_whole, metric, server,
    until_metric,
};

/// What a watch costs beside the text of its path.
const WATCH_BYTES: usize = 160;

/// Sends `count` requests and takes their replies, so many at a time.
fn pipeline<'a>(
    client: &mut Client,
    count: usize,
    request: impl Fn(usize) -> Request<'a>,
    code: ErrorCode,
) {
    const AT_ONCE: usize = 1000;
    for first in (0..count).step_by(AT_ONCE) {
        let last = count.min(first + AT_ONCE);
        (first..last).for_each(|n| {
            client.submit(&request(n));
        });
        client.flush().unwrap();
        (first..last).for_each(|_| assert_eq!(client.reply().unwrap().code, code));
    }
}

/// One session with one hundred thousand watches of each kind: set, fired, and gone with it.
#[test]
fn a_session_with_a_hundred_thousand_watches() {
    const NODES: usize = 100_000;
    const KINDS: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut writer = connect(&running);
    writer.create("/watched", b"").unwrap();
    let memory = Memory::of(&running);
    let path = |n: usize| format!("/watched/node-{n:06}");
    let mut watcher = connect(&running);
    pipeline(&mut watcher, NODES, |n| exists(path(n)), ErrorCode::NoNode);
    bystander.gets(30);
    pipeline(
        &mut watcher,
        NODES,
        |n| Request::AddWatch {
            path: Some(path(n).into()),
            mode: AddWatchMode::Persistent,
        },
        ErrorCode::Ok,
    );
    pipeline(
        &mut watcher,
        NODES,
        |n| Request::AddWatch {
            path: Some(format!("{}-all", path(n)).into()),
            mode: AddWatchMode::PersistentRecursive,
        },
        ErrorCode::Ok,
    );
    bystander.gets(30);
    assert_eq!(metric(&running, "zk_watch_count"), (KINDS * NODES) as u64);
    for first in (0..NODES).step_by(5000) {
        let mut multi = MultiRequestBuf::new();
        for n in first..first + 5000 {
            multi.push(&requests::create(&path(n), b"", CreateFlags::Persistent));
        }
        let body = multi.finish();
        writer
            .call(&Request::decode(OpCode::Multi, &body).unwrap())
            .unwrap();
    }
    // One event each, though two of the kinds match.
    for n in 0..NODES {
        let event = watcher
            .next_event()
            .unwrap_or_else(|error| panic!("event {n}: {error}"));
        assert_eq!((event.kind, event.path), (1, path(n)));
    }
    bystander.gets(30);
    assert!(watcher.take_event().is_none());
    // The watches, and the nodes with their outstanding changes; the events are taken as they come.
    let watches = (KINDS * NODES * (WATCH_BYTES + 24)) as u64 >> 10;
    memory.stayed_within(
        "a hundred thousand watches",
        SLACK_KIB + watches + NODES as u64 / 2,
    );
    drop(watcher);
    until_metric(&running, "zk_watch_count", |n| n == 0);
    bystander.leaves();
    is_whole(running);
}

fn exists(path: String) -> Request<'static> {
    Request::Exists(ironkeeper_proto::PathWatch {
        path: Some(path.into()),
        watch: true,
    })
}

/// What a client sends that comes back with 128 MB of watched paths: pieces of 128 KiB, as the Java client
/// cuts them. It does so twice, on two connections, as after two failures.
#[test]
fn set_watches_of_128_megabytes_in_pieces() {
    const BYTES: usize = 128 << 20;
    const PIECE_BYTES: usize = 128 << 10;
    const PATH_BYTES: usize = 512;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let memory = Memory::of(&running);
    let count = BYTES / PATH_BYTES;
    let per_piece = PIECE_BYTES / PATH_BYTES;
    for round in 0..2 {
        let mut client = connect(&running);
        let mut due = 0;
        for first in (0..count).step_by(per_piece) {
            let mut list = StringListBuf::new();
            for n in first..first + per_piece {
                list.push(&path(n, PATH_BYTES));
            }
            let none = StringListBuf::new();
            let (list, none) = (list.as_list(), none.as_list());
            // Nodes that are not there: the watch is set. Every fourth piece brings events instead.
            let brings_events = first / per_piece % 4 == 3;
            let (data, exist) = if brings_events {
                (list, none)
            } else {
                (none, list)
            };
            let lists = SetWatches {
                relative_zxid: Zxid(1),
                data,
                exist,
                child: none,
                persistent: none,
                persistent_recursive: none,
            };
            client.submit(&Request::SetWatches2(lists));
            client.flush().unwrap();
            due += 1;
            // As a real client it reads while it sends; a few pieces are always on their way.
            if due > 8 {
                take_reply(&mut client);
                due -= 1;
            }
            if first % (256 * per_piece) == 0 {
                bystander.gets(3);
            }
        }
        (0..due).for_each(|_| take_reply(&mut client));
        let mut events = 0;
        while client.take_event().is_some() {
            events += 1;
        }
        assert_eq!(events, count / 4, "round {round}");
        assert_eq!(
            metric(&running, "zk_watch_count"),
            (count - count / 4) as u64
        );
        bystander.gets(30);
        drop(client);
        until_metric(&running, "zk_watch_count", |n| n == 0);
    }
    // The texts and the records of the watches; what one connection has does not add to the next one's.
    let bound = SLACK_KIB + ((count - count / 4) * (PATH_BYTES + WATCH_BYTES)) as u64 / 1024;
    memory.stayed_within("setWatches of 128 MB", bound);
    bystander.leaves();
    is_whole(running);
}

fn take_reply(client: &mut Client) {
    assert_eq!(client.reply().unwrap().code, ErrorCode::Ok);
}

fn path(n: usize, bytes: usize) -> String {
    let mut path = format!("/{n:07}/");
    path.extend(std::iter::repeat_n('p', bytes - 4 - path.len()));
    path
}

/// Connections that end while reads with watches wait behind their writes: whoever has their place next is
/// told of nothing that it did not ask for.
#[test]
fn watches_of_a_connection_that_is_gone() {
    const ROUNDS: usize = 300;
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let bystander = Bystander::start(&running);
        let mut writer = connect(&running);
        writer.create("/watched", b"").unwrap();
        let memory = Memory::of(&running);
        let mut list = StringListBuf::new();
        list.push("/watched");
        let none = StringListBuf::new();
        let lists = SetWatches {
            relative_zxid: Zxid(i64::MAX),
            data: list.as_list(),
            exist: none.as_list(),
            child: none.as_list(),
            persistent: none.as_list(),
            persistent_recursive: none.as_list(),
        };
        for round in 0..ROUNDS {
            let mut leaving = connect(&running);
            leaving.submit(&requests::set("/watched", b"mine", -1));
            if round % 2 == 0 {
                leaving.submit(&requests::get("/watched", true));
            } else {
                leaving.submit(&Request::SetWatches(lists));
            }
            leaving.flush().unwrap();
            drop(leaving);
            let mut next = connect(&running);
            writer.set("/watched", b"", -1).unwrap();
            next.ping().unwrap();
            assert_eq!(next.take_event(), None, "round {round}");
        }
        until_metric(&running, "zk_watch_count", |n| n == 0);
        memory.stayed_within("watches of who is gone", SLACK_KIB);
        bystander.leaves();
        is_whole(running);
    }
}

/// Frames of setWatches that bring as many events as they can hold paths, from a client that reads none of
/// them: a bound, and the end with its session.
#[test]
fn set_watches_whose_events_nobody_reads() {
    const FRAMES: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("minSessionTimeout", 2000);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut list = StringListBuf::new();
    for _ in 0..150_000 {
        list.push("/n");
    }
    let none = StringListBuf::new();
    let lists = SetWatches {
        relative_zxid: Zxid(1),
        data: list.as_list(),
        exist: none.as_list(),
        child: none.as_list(),
        persistent: none.as_list(),
        persistent_recursive: none.as_list(),
    };
    let request = Request::SetWatches(lists);
    for behind_a_write in [false, true] {
        let memory = Memory::of(&running);
        let options = ConnectOptions {
            timeout_ms: 2000,
            patience: WITHIN,
            ..ConnectOptions::default()
        };
        let mut deaf = Client::connect(running.address(), &options).unwrap();
        if behind_a_write {
            deaf.submit(&requests::set("/absent", b"", -1));
        }
        for _ in 0..FRAMES {
            deaf.submit(&request);
        }
        // The server stops reading when the client does; what is still on its way at the end may be taken and
        // dropped, or be refused.
        let sender = std::thread::spawn(move || drop(deaf.flush()));
        bystander.gets(100);
        until_metric(&running, "zk_num_alive_connections", |n| n == 2);
        sender.join().unwrap();
        // 40 bytes an event for 6 of a path: a frame brings 6 MB, which is the first that output waits for;
        // behind a write those of all frames that were read with it, until that is too much.
        memory.stayed_within("events that nobody reads", SLACK_KIB + OUTBOX_KIB);
    }
    bystander.leaves();
    is_whole(running);
}
