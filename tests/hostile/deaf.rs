//! Clients that ask and do not read: replies, events, four-letter words.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use ironkeeper_client::{Client, poll, requests};
use ironkeeper_proto::{AddWatchMode, Request};

use crate::large::gets_of;
use crate::{
    Bystander, CONNECTION_KIB, Memory, OUTBOX_KIB, OUTPUT_KIB, SLACK_KIB, WITHIN, connect, dial,
    is_whole, metric, server, until_metric,
};

/// Replies to reads, and to reads behind writes: the server stops reading, and keeps a little.
#[test]
fn clients_that_read_no_replies() {
    const DEAF: usize = 16;
    const ASKED: usize = 400;
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let bystander = Bystander::start(&running);
        let mut writer = connect(&running);
        writer.create("/big", &vec![7; 100_000]).unwrap();
        let memory = Memory::of(&running);
        let mut deaf: Vec<Client> = (0..DEAF).map(|_| connect(&running)).collect();
        for (n, one) in deaf.iter_mut().enumerate() {
            for asked in 0..ASKED {
                // Half of them mix writes in, so that reads wait behind those.
                if n % 2 == 0 && asked % 20 == 0 {
                    one.submit(&requests::set("/other", b"", -1));
                }
                one.submit(&requests::get("/big", asked % 3 == 0));
            }
            one.flush().unwrap();
            // The beginning of an answer: it has been looked at.
            one.receive_frame().unwrap();
        }
        bystander.gets(200);
        // Behind writes as many replies wait as the next batch of reads brings: up to 32 of them.
        let behind = DEAF as u64 / 2 * 32 * 100;
        memory.stayed_within(
            "replies that nobody reads",
            SLACK_KIB + DEAF as u64 * OUTPUT_KIB + 2 * behind,
        );
        // Whoever reads after all gets everything.
        for (n, one) in deaf.iter_mut().enumerate() {
            let asked = ASKED + if n % 2 == 0 { ASKED / 20 } else { 0 };
            for _ in 1..asked {
                one.receive_frame().unwrap();
            }
        }
        drop(deaf);
        until_metric(&running, "zk_num_alive_connections", |n| n == 3);
        bystander.leaves();
        is_whole(running);
    }
}

/// Events are made by others, so there is no back-pressure: beyond a bound each such connection is closed.
#[test]
fn clients_that_read_no_events() {
    const DEAF: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut writer = connect(&running);
    let path = format!("/{}", "x".repeat(100_000));
    writer.create(&path, b"").unwrap();
    let memory = Memory::of(&running);
    let deaf: Vec<Client> = (0..DEAF)
        .map(|_| {
            let mut client = connect(&running);
            let add = Request::AddWatch {
                path: Some(path.as_str().into()),
                mode: AddWatchMode::Persistent,
            };
            client.call(&add).unwrap();
            client
        })
        .collect();
    poll::until("all of them to be cut off", WITHIN, || {
        for _ in 0..50 {
            writer.submit(&requests::set(&path, b"", -1));
        }
        writer.flush().unwrap();
        for _ in 0..50 {
            writer.reply().unwrap();
        }
        bystander.gets(3);
        (metric(&running, "zk_num_alive_connections") == 3).then_some(())
    })
    .unwrap();
    assert_eq!(metric(&running, "zk_watch_count"), 0);
    // What waits for each, in a buffer that doubles as it grows and is copied once.
    memory.stayed_within(
        "events that nobody reads",
        SLACK_KIB + DEAF as u64 * 3 * OUTBOX_KIB,
    );
    drop(deaf);
    bystander.leaves();
    is_whole(running);
}

/// Each of them far from its own bound: together they leave more unread than all may. Who takes nothing of its answers is
/// cut off; a client that reads, however slowly, gets everything.
#[test]
fn clients_that_together_leave_too_much_unread() {
    const DEAF: usize = 10;
    const PARTS: usize = 15;
    const MAX: u64 = 32 << 20;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("ironkeeper.unreadBytesMax", MAX);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut writer = connect(&running);
    writer.create("/large", &vec![b'x'; 1_000_000]).unwrap();
    let unread = || metric(&running, "zk_unread_bytes");
    let memory = Memory::of(&running);
    let asking = || {
        let mut client = connect(&running);
        client.send_raw(&gets_of("/large", PARTS)).unwrap();
        client
    };
    let mut slow = asking().into_stream();
    let deaf: Vec<Client> = (0..DEAF).map(|_| asking()).collect();
    poll::until("more to be unread than may be", WITHIN, || {
        (unread() > MAX).then_some(())
    })
    .unwrap();
    let mut taken = 0;
    let mut piece = vec![0; 64 << 10];
    poll::until("those who take nothing to be cut off", WITHIN, || {
        if taken < (PARTS - 1) * 1_000_000 {
            taken += slow.read(&mut piece).unwrap();
        }
        (unread() <= MAX).then_some(())
    })
    .unwrap();
    bystander.gets(3);
    while taken < PARTS * 1_000_000 {
        let count = slow.read(&mut piece).unwrap();
        assert!(count > 0, "the slow client was cut off as well");
        taken += count;
    }
    memory.stayed_within(
        "answers that nobody reads",
        SLACK_KIB + (DEAF as u64 + 1) * 2 * 17 * 1024,
    );
    drop((deaf, slow));
    until_metric(&running, "zk_unread_bytes", |bytes| bytes == 0);
    drop(writer);
    bystander.leaves();
    is_whole(running);
}

/// Words with long answers, asked by many who do not read them: the answers wait as long as a handshake may
/// take, and then they and their connections are gone.
#[test]
fn clients_that_read_no_words() {
    const DEAF: usize = 60;
    const WATCHES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("nio.sessionlessCnxnTimeout", 3000);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let mut watcher = connect(&running);
    let path = |n: usize| format!("/watched/{n:06}/{}", "w".repeat(200));
    for first in (0..WATCHES).step_by(500) {
        let paths: Vec<String> = (first..first + 500).map(path).collect();
        for path in &paths {
            watcher.submit(&requests::exists(path, true));
        }
        watcher.flush().unwrap();
        (0..500).for_each(|_| drop(watcher.reply().unwrap()));
    }
    let answer_kib = (WATCHES * 260) as u64 >> 10;
    let descriptors = metric(&running, "zk_open_file_descriptor_count");
    let memory = Memory::of(&running);
    let deaf: Vec<TcpStream> = (0..DEAF)
        .map(|n| {
            let mut stream = dial(&running);
            let word: &[u8] = [&b"wchp"[..], b"wchc", b"mntr", b"cons", b"dump"][n % 5];
            stream.write_all(word).unwrap();
            stream
        })
        .collect();
    until_metric(&running, "zk_num_alive_connections", |n| n >= 3);
    bystander.gets(30);
    until_metric(&running, "zk_num_alive_connections", |n| n == 3);
    until_metric(&running, "zk_open_file_descriptor_count", |n| {
        n <= descriptors
    });
    // Two words in five list all watches: the text, the parcel it leaves in, and the output it waits in.
    let bound = SLACK_KIB + DEAF as u64 * CONNECTION_KIB + DEAF as u64 * 2 / 5 * 3 * answer_kib;
    memory.stayed_within("words that nobody reads", bound);
    drop(deaf);
    bystander.gets(30);
    bystander.leaves();
    is_whole(running);
}
