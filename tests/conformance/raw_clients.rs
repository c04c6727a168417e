//! The habits of clients that are not at hand, frame by frame: the C client, go-zookeeper, Curator's
//! recipes; and those of the Java client and kazoo that their drivers cannot be made to show at will.
//! What each of them expects is in the tables of `docs/conformance.md`.

use std::slice::from_ref;

use crate::compare::{compare, compare_fresh};
use crate::jute::{Writer, framed};
use crate::ops::{self, ALL, Entry, OPEN, PERSISTENT, code};
use crate::script::Hello;
use crate::servers::{BASE, LIMITS};

const AUTH_XID: i32 = -4;
const SET_WATCHES_XID: i32 = -8;

/// Handshake, auth and watches in one piece, before anything is answered; the xids go on through
/// reconnects, and end at 1 again long before they overflow.
#[test]
fn as_the_java_client_connects() {
    compare(&BASE, "as_the_java_client_connects", |s| {
        let (mut a, session) = s.session_with("A", &Hello::default());
        let path = s.path("/x");
        let child = s.path("/x/c");
        a.call(&ops::create(&path, "", OPEN, PERSISTENT));
        let seen = a.call(&ops::get_data(&path, true)).zxid;
        a.call(&ops::get_children2(&path, true));
        a.drop_connection();
        let mut other = s.session("other");
        other.call(&ops::create(&child, "", OPEN, PERSISTENT));
        let mut b = s.connect("A again");
        b.expect_hello();
        let hello = Hello {
            last_zxid: seen,
            ..Hello::again(&session)
        };
        let mut bytes = hello.frame();
        // Its constant is -8, and what goes out is the next number.
        let watches: [&[String]; 3] = [from_ref(&path), &[], from_ref(&path)];
        bytes.extend(b.frames_of(&[
            (AUTH_XID, ops::digest("bob:pw")),
            (4, ops::set_watches(seen, &watches)),
            (5, ops::bare(code::WHO_AM_I)),
            (i32::MAX - 1, ops::exists(&path, false)),
            (1, ops::exists(&child, false)),
        ]));
        b.send_bytes(&bytes);
        b.take_hello();
        b.frames(6);
        other.call(&ops::set_data(&path, "new", -1));
        b.settle();
    });
}

/// Containers and watches of every kind: what the Java client takes from the replies.
#[test]
fn as_the_java_client_reads_replies() {
    compare(&BASE, "as_the_java_client_reads_replies", |s| {
        let mut a = s.session("A");
        let path = s.path("/x");
        a.call(&ops::create_container(&path, ops::CONTAINER));
        for mode in [0, 1] {
            a.call(&ops::add_watch(&path, mode));
        }
        // Removal: -121 is the only error that it takes to heart.
        for kind in [1, 2, 3, 4, 5] {
            a.call(&ops::remove_watches(&path, kind));
            a.call(&ops::check_watches(&path, kind));
        }
        a.call(&ops::add_watch(&path, 0));
        a.call(&ops::remove_watches(&path, 3));
        a.call(&ops::exists(&path, false));
        a.call(&ops::set_data(&path, "x", 0));
        // The type in front of a result says what follows.
        a.call(&ops::multi(&[
            ops::create_container(&s.path("/y"), ops::CONTAINER),
            ops::create2(&s.path("/z"), "", OPEN, PERSISTENT),
            ops::set_data(&path, "y", 1),
            ops::check(&path, 2),
            ops::delete(&s.path("/z"), -1),
        ]));
        a.call(&ops::multi(&[
            ops::check(&path, 2),
            ops::delete(&s.path("/nothing"), -1),
            ops::set_data(&path, "z", -1),
        ]));
    });
}

/// Forty-one bytes of handshake; auth and watches under their own numbers; numbers that begin with
/// the time of day; and multis whose failures are told in the body, the header's error being zero.
#[test]
fn as_the_c_client() {
    compare(&BASE, "as_the_c_client", |s| {
        let hello = Hello {
            timeout_ms: 10_000,
            ..Hello::default()
        };
        let (mut a, session) = s.session_with("A", &hello);
        let path = s.path("/x");
        let bytes = a.frames_of(&[
            (AUTH_XID, ops::digest("bob:pw")),
            (
                SET_WATCHES_XID,
                ops::set_watches(0, &[&[], from_ref(&path), &[]]),
            ),
        ]);
        a.send_bytes(&bytes);
        a.frames(2);
        let first = 0x6560_0000;
        let all = [
            ops::create(&path, "", OPEN, PERSISTENT),
            ops::get_data(&path, true),
            ops::multi(&[
                ops::set_data(&path, "x", 0),
                ops::check(&path, 1),
                ops::create(&s.path("/x/y"), "", OPEN, PERSISTENT),
            ]),
            ops::multi(&[
                ops::delete(&s.path("/x/y"), 7),
                ops::check(&path, 1),
                ops::create(&s.path("/x/z"), "", OPEN, PERSISTENT),
            ]),
            ops::multi(&[]),
            ops::get_children(&path, false),
        ];
        for (n, op) in (first..).zip(&all) {
            a.send_as(n, op);
            a.reply_to(n);
        }
        // A ping only when nothing is on its way.
        a.settle();
        a.drop_connection();
        // Another connection, another beginning; older clients take forty bytes.
        let again = Hello {
            read_only: None,
            ..Hello::again(&session)
        };
        let (mut b, _) = s.session_with("A again", &again);
        b.send_as(first + 1000, &ops::get_data(&path, false));
        b.reply_to(first + 1000);
        b.send_as(first + 1001, &ops::bare(code::CLOSE_SESSION));
        b.until_closed();
        // Expired: the id that comes back is not the one that was asked for.
        s.session_with("too late", &again).0.until_closed();
    });
}

/// Null for every empty string, and strings where others send buffers; the frame behind an auth
/// packet is its reply.
#[test]
fn as_kazoo() {
    compare(&BASE, "as_kazoo", |s| {
        let mut a = s.session("A");
        a.send_as(AUTH_XID, &ops::digest("bob:pw"));
        a.frames(1);
        let path = s.path("/x");
        let auth_only = [Entry(ALL, Some("auth"), None)];
        let create = |path: &str| {
            ops::create_with(
                code::CREATE,
                Some(path.as_bytes()),
                None,
                &auth_only,
                PERSISTENT,
            )
        };
        a.call(&create(&path));
        a.call(&ops::get_acl(&path));
        a.call(&ops::get_data(&path, false));
        a.call(&ops::set_data_to(&path, Some(b""), -1));
        a.call(&ops::get_data(&path, false));
        a.call(&ops::sync(None));
        a.call(&ops::path_only(code::GET_CHILDREN, None));
        // Transactions know creates, deletes, setData, checks and errors.
        a.call(&ops::multi(&[
            create(&s.path("/x/a")),
            ops::set_data(&path, "1", -1),
            ops::check(&path, 2),
            ops::delete(&s.path("/x/a"), -1),
        ]));
        a.call(&ops::multi(&[
            create(&s.path("/x/b")),
            ops::check(&path, 77),
        ]));
        // Another auth, with nothing on its way; with something, Apache's reply would overtake it.
        a.send_as(AUTH_XID, &ops::digest("carol:pw"));
        a.frames(1);
        a.call(&ops::bare(code::WHO_AM_I));
        a.send(&ops::bare(code::CLOSE_SESSION));
        a.until_closed();
        let old = Hello {
            read_only: None,
            ..Hello::default()
        };
        s.session_with("without readOnly", &old).0.close();
    });
}

/// No readOnly; auth and watches under ordinary numbers, zero and the ones behind it as well after
/// 2^31 of them; reconfig with empty strings for what is absent, or with nulls.
#[test]
fn as_go_zookeeper() {
    compare(&BASE, "as_go_zookeeper", |s| {
        let hello = Hello {
            read_only: None,
            ..Hello::default()
        };
        let (mut a, session) = s.session_with("A", &hello);
        let path = s.path("/x");
        let ordinary = [
            ops::digest("bob:pw"),
            ops::set_watches(0, &[&[], from_ref(&path), &[]]),
            ops::create(&path, "", OPEN, PERSISTENT),
            ops::get_children2(&path, true),
            ops::get_acl(&path),
            ops::multi(&[
                ops::create(&s.path("/x/y"), "", OPEN, PERSISTENT),
                ops::delete(&s.path("/x/y"), -1),
            ]),
            ops::multi(&[ops::delete(&s.path("/x/y"), -1), ops::check(&path, 0)]),
        ];
        for op in &ordinary {
            a.call(op);
        }
        for xid in [i32::MAX - 1, i32::MAX, 0, 1] {
            a.send_as(xid, &ops::exists(&path, false));
            a.reply_to(xid);
        }
        let reconfig = |lists: [Option<&[u8]>; 3]| {
            let writer = lists.into_iter().fold(Writer::new(), Writer::optional);
            ops::Op {
                body: writer.long(-1).finish(),
                ..ops::reconfig()
            }
        };
        a.call(&reconfig([
            Some(b"server.2=a:1:2:participant;3"),
            Some(b""),
            None,
        ]));
        a.call(&reconfig([Some(b""), Some(b"2"), None]));
        a.call(&reconfig([
            None,
            None,
            Some(b"server.1=a:1:2:participant;3"),
        ]));
        a.drop_connection();
        let again = Hello {
            read_only: None,
            ..Hello::again(&session)
        };
        s.session_with("A again", &again).0.close();
        s.session_with("too late", &again).0.until_closed();
    });
}

/// What recipes live on: the configuration with a watch, containers made on the way, names with ten
/// digits behind a mark of one's own, watches on whole trees.
#[test]
fn as_curator() {
    compare(&BASE, "as_curator", |s| {
        let mut a = s.session("A");
        let mut b = s.session("B");
        a.call(&ops::get_data("/zookeeper/config", true));
        let (locks, lock) = (s.path("/locks"), s.path("/locks/_c_0f1e-lock-"));
        let acquire = ops::create2(&lock, "", OPEN, ops::EPHEMERAL_SEQUENTIAL);
        // The parent is missing: it is made as a container, and the create repeated.
        a.call(&acquire);
        a.call(&ops::create_container(&locks, ops::CONTAINER));
        a.call(&ops::create_container(&locks, ops::CONTAINER));
        a.call(&ops::add_watch(&locks, 1));
        a.call(&acquire);
        b.call(&acquire);
        b.call(&ops::get_children(&locks, false));
        b.call(&ops::get_data(&format!("{lock}0000000000"), true));
        a.call(&ops::delete(&format!("{lock}0000000000"), -1));
        b.settle();
        b.call(&ops::get_children2(&locks, false));
        b.close();
        a.settle();
        a.call(&ops::exists(&locks, false));
        // Quietly: there is nothing to remove.
        a.call(&ops::remove_watches(&s.path("/nowhere"), 3));
        a.call(&ops::remove_watches(&locks, 5));
    });
}

/// The commands of zkCli that are more than one request each, in the words that it uses.
#[test]
fn as_zk_cli() {
    compare_fresh(&BASE, "as_zk_cli", &[], |s| {
        let hello = Hello {
            read_only: Some(1),
            ..Hello::default()
        };
        let (mut a, _) = s.session_with("A", &hello);
        for n in ["/t", "/t/a", "/t/a/b", "/t/c"] {
            a.call(&ops::create2(n, "", OPEN, PERSISTENT));
        }
        // ls -R
        for n in ["/t", "/t/a", "/t/a/b", "/t/c"] {
            a.call(&ops::get_children(n, false));
        }
        // deleteall
        let all = ["/t/a/b", "/t/a", "/t/c", "/t"].map(|n| ops::delete(n, -1));
        a.call(&ops::multi(&all));
        // getAllChildrenNumber, getEphemerals, whoami, config, sync
        a.call(&ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some("/")));
        a.call(&ops::path_only(code::GET_EPHEMERALS, Some("/")));
        a.call(&ops::bare(code::WHO_AM_I));
        a.call(&ops::get_data("/zookeeper/config", false));
        a.call(&ops::sync(Some("/")));
        // setquota, listquota, delquota
        let limits = "count=5,bytes=-1=;byteHardLimit=-1;countHardLimit=-1";
        a.call(&ops::create("/q", "", OPEN, PERSISTENT));
        for node in ["/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_limits"] {
            a.call(&ops::create(node, limits, OPEN, PERSISTENT));
        }
        let stats = "count=1,bytes=0=;byteHardLimit=-1;countHardLimit=-1";
        let stat_node = "/zookeeper/quota/q/zookeeper_stats";
        a.call(&ops::create(stat_node, stats, OPEN, PERSISTENT));
        a.call(&ops::get_data(stat_node, false));
        a.call(&ops::delete("/zookeeper/quota/q/zookeeper_limits", -1));
        a.call(&ops::delete(stat_node, -1));
        a.call(&ops::delete("/zookeeper/quota/q", -1));
        a.close();
    });
}

/// A server with a small limit still answers with all that is there: how much a client takes is the
/// client's to limit.
#[test]
fn replies_know_no_limit() {
    compare(&LIMITS, "replies_know_no_limit", |s| {
        let mut a = s.session("A");
        let long = "x".repeat(200);
        for n in 0..40 {
            let path = s.path(&format!("/{n:02}-{long}"));
            a.call(&ops::create(&path, "", OPEN, PERSISTENT));
        }
        a.call(&ops::get_children(&s.path(""), false));
    });
}

/// Frames that a client with another idea of the protocol sends first: each is a handshake that
/// cannot be, or none, and nothing of it is answered.
#[test]
fn as_those_who_speak_something_else() {
    compare(&BASE, "as_those_who_speak_something_else", |s| {
        for (label, bytes) in [
            (
                "http",
                b"GET /commands HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            ),
            (
                "tls",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            ),
            ("redis", b"*1\r\n$4\r\nPING\r\n".to_vec()),
            (
                "a request",
                framed(&Writer::new().int(1).int(3).string("/").byte(0).finish()),
            ),
        ] {
            let mut a = s.connect(label);
            a.send_bytes(&bytes);
            a.half_close();
            a.until_closed();
        }
    });
}
