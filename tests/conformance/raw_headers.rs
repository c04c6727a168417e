//! xids, zxids, order and malformed bodies: lines 21 to 31 of the checklist.

use crate::compare::{Deviation, compare, compare_with};
use crate::jute::{Cursor, Writer};
use crate::ops::{self, OPEN, Op, PERSISTENT, code};
use crate::script::{Hello, Script};
use crate::servers::{BASE, LIMITS};

#[test]
fn xids_are_echoed() {
    compare(&BASE, "xids_are_echoed", |s| {
        let mut a = s.session("A");
        let read = ops::exists(&s.path(""), false);
        for xid in [1, 0, -3, -5, -100, i32::MIN, i32::MAX, 7, 7, 7] {
            a.send_as(xid, &read);
            a.reply_to(xid);
        }
        for (n, xid) in [0, -3, 9, 9].into_iter().enumerate() {
            a.send_as(
                xid,
                &ops::create(&s.path(&format!("/{n}")), "", OPEN, PERSISTENT),
            );
            a.reply_to(xid);
        }
        for xid in [77, 0, -2, -1] {
            a.send_as(xid, &ops::bare(code::PING));
            a.frames(1);
        }
        for xid in [5, -4, 0, i32::MAX] {
            a.send_as(xid, &ops::digest("bob:pw"));
            a.reply_to(xid);
        }
        for xid in [-8, 12, 0] {
            a.send_as(xid, &ops::set_watches(0, &[&[], &[], &[]]));
            a.reply_to(xid);
            a.send_as(xid, &ops::set_watches(0, &[&[], &[], &[], &[], &[]]));
            a.reply_to(xid);
        }
        a.settle();
    });
}

#[test]
fn a_thousand_requests_in_order() {
    compare(&BASE, "a_thousand_requests_in_order", |s| {
        let mut a = s.session("A");
        let top = s.path("/n");
        let mut all = vec![ops::create(&top, "", OPEN, PERSISTENT)];
        for n in 0..200 {
            let node = format!("{top}/{}", n % 50);
            all.push(ops::create(&node, "x", OPEN, PERSISTENT));
            all.push(ops::set_data(&node, &format!("{n}"), -1));
            all.push(ops::get_data(&node, n % 3 == 0));
            all.push(ops::get_children2(&top, false));
            all.push(if n % 7 == 0 {
                ops::delete(&node, -1)
            } else {
                ops::exists(&node, false)
            });
        }
        a.send_all(&all);
        let last = i32::try_from(all.len()).expect("small");
        a.reply_to(last);
        a.settle();
    });
}

#[test]
fn back_pressure_is_no_error() {
    // Two requests may be outstanding here; the rest waits in the connection.
    compare(&LIMITS, "back_pressure_is_no_error", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let path = s.path("/x");
        a.call(&ops::create(&path, "", OPEN, PERSISTENT));
        let all: Vec<Op> = (0..300).map(|n| ops::set_data(&path, "x", n)).collect();
        a.send_all(&all);
        // Others are served meanwhile; which zxid they see is a matter of luck.
        b.settle_quietly();
        a.frames(300);
        b.call(&ops::get_data(&path, false));
    });
}

#[test]
fn unknown_operations() {
    compare(&BASE, "unknown_operations", |s| {
        for op in [
            0,
            10,
            13,
            23,
            50,
            99,
            108,
            888,
            -1,
            -2,
            -12,
            i32::MAX,
            i32::MIN,
        ] {
            let mut a = s.session(&format!("op {op}"));
            a.send(&ops::bare(op));
            a.until_closed();
        }
        let mut a = s.session("check");
        a.send(&ops::check(&s.path(""), -1));
        a.until_closed();
    });
}

#[test]
fn auth_is_answered_between_reads() {
    compare(&BASE, "auth_is_answered_between_reads", |s| {
        let mut a = s.session("A");
        a.call(&ops::digest("bob:pw"));
        a.call(&ops::bare(code::WHO_AM_I));
        a.call(&ops::digest("ann:pw"));
        a.call(&ops::bare(code::WHO_AM_I));
    });
}

#[test]
fn rejected_writes_take_a_zxid_and_reads_do_not() {
    compare(&BASE, "rejected_writes_take_a_zxid_and_reads_do_not", |s| {
        let mut a = s.session("A");
        let (x, gone) = (s.path("/x"), s.path("/gone"));
        let calls = [
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::exists(&gone, false),
            ops::get_data(&gone, false),
            ops::delete(&gone, -1),
            ops::delete("/", -1),
            ops::set_data(&x, "", 99),
            ops::set_data("no-slash", "", -1),
            ops::set_acl(&x, &[], -1),
            ops::create(&x, "", OPEN, 9),
            ops::multi(&[ops::check(&gone, -1)]),
            ops::multi(&[]),
            ops::sync(Some(&x)),
            ops::remove_watches(&x, 3),
            ops::add_watch(&x, 0),
            ops::create(&gone, "", OPEN, PERSISTENT).cut_to(5),
            ops::multi(&[ops::check(&gone, -1)]).cut_to(5),
            ops::exists(&x, false),
        ];
        for call in calls {
            a.call(&call);
            a.call(&ops::exists(&s.path(""), false));
        }
        a.settle();
    });
}

#[test]
fn sessions_take_one_zxid_each_way() {
    compare(&BASE, "sessions_take_one_zxid_each_way", |s| {
        let mut watcher = s.session("watcher");
        watcher.call(&ops::exists(&s.path(""), false));
        let a = s.session("A");
        watcher.call(&ops::exists(&s.path(""), false));
        a.close();
        watcher.call(&ops::exists(&s.path(""), false));
    });
}

#[test]
fn own_events_come_before_the_reply() {
    compare(&BASE, "own_events_come_before_the_reply", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        a.call(&ops::exists(&x, true));
        a.call(&ops::get_children(&s.path(""), true));
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        a.call(&ops::get_data(&x, true));
        a.call(&ops::set_data(&x, "y", -1));
        a.call(&ops::get_data(&x, true));
        a.call(&ops::multi(&[
            ops::set_data(&x, "z", -1),
            ops::delete(&x, -1),
        ]));
        a.call(&ops::create(&x, "", OPEN, ops::EPHEMERAL));
        a.call(&ops::get_data(&x, true));
        a.close();
    });
}

#[test]
fn events_come_before_what_shows_the_change() {
    compare(&BASE, "events_come_before_what_shows_the_change", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let x = s.path("/x");
        a.call(&ops::create(&x, "0", OPEN, PERSISTENT));
        b.call(&ops::add_watch(&x, 0));
        for n in 1..20 {
            a.call(&ops::set_data(&x, &format!("{n}"), -1));
            b.call(&ops::get_data(&x, false));
        }
        // Writes of the reader itself show the change through their zxid alone.
        for n in 20..25 {
            a.call(&ops::set_data(&x, &format!("{n}"), -1));
            b.call(&ops::delete(&s.path("/none"), -1));
        }
    });
}

/// All the ways in which a body may fail to be a record.
fn malformed(s: &Script<'_>) -> Vec<(String, Op)> {
    let x = s.path("/x");
    let acl = ops::set_acl(&x, OPEN, -1);
    let whole = [
        (
            "create",
            ops::create(&s.path("/new"), "data", OPEN, PERSISTENT),
        ),
        (
            "create2",
            ops::create2(&s.path("/new"), "data", OPEN, PERSISTENT),
        ),
        (
            "createContainer",
            ops::create_container(&s.path("/new"), ops::CONTAINER),
        ),
        (
            "createTTL",
            ops::create_ttl(&s.path("/new"), ops::WITH_TTL, 5),
        ),
        ("delete", ops::delete(&x, -1)),
        ("exists", ops::exists(&x, false)),
        ("getData", ops::get_data(&x, false)),
        ("setData", ops::set_data(&x, "data", -1)),
        ("getACL", ops::get_acl(&x)),
        ("setACL", acl),
        ("getChildren", ops::get_children(&x, false)),
        ("getChildren2", ops::get_children2(&x, false)),
        ("sync", ops::sync(Some(&x))),
        (
            "multi",
            ops::multi(&[ops::check(&x, -1), ops::set_data(&x, "y", -1)]),
        ),
        ("checkWatches", ops::check_watches(&x, 3)),
        ("removeWatches", ops::remove_watches(&x, 3)),
        ("addWatch", ops::add_watch(&x, 0)),
        (
            "setWatches",
            ops::set_watches(0, &[std::slice::from_ref(&x), &[], &[]]),
        ),
        (
            "setWatches2",
            ops::set_watches(0, &[std::slice::from_ref(&x), &[], &[], &[], &[]]),
        ),
        (
            "getEphemerals",
            ops::path_only(code::GET_EPHEMERALS, Some(&x)),
        ),
        (
            "getAllChildrenNumber",
            ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&x)),
        ),
    ];
    let mut all = Vec::new();
    for (name, op) in whole {
        let length = op.body.len();
        for cut in [0, 3, 5, length / 2, length - 1] {
            all.push((format!("{name} cut to {cut}"), op.clone().cut_to(cut)));
        }
        for bad in [-2, i32::MIN, 0x7fff_ffff, 10_000_000] {
            let mut op = op.clone();
            op.body[..4].copy_from_slice(&bad.to_be_bytes());
            all.push((format!("{name} first int {bad}"), op));
        }
    }
    all
}

#[test]
fn malformed_bodies() {
    compare(&BASE, "malformed_bodies", |s| {
        let mut a = s.session("A");
        a.call(&ops::create(&s.path("/x"), "", OPEN, PERSISTENT));
        for (label, op) in malformed(s) {
            s.note(&label);
            a.call(&op);
        }
        a.call(&ops::get_data(&s.path("/x"), false));
        a.call(&ops::get_children2(&s.path(""), false));
        a.settle();
    });
}

const NULL_PATH_D7: &[Deviation] = &[Deviation {
    number: "D7",
    apache: &[r"A < xid 19 z+9 err -5 op 22 SURPLUS \xff\xff\xff\xff\x01\xff\xff\xff\xff"],
    ironkeeper: &["A < xid 19 z+9 err -5 op 22"],
}];

#[test]
fn null_paths() {
    compare_with(&BASE, "null_paths", NULL_PATH_D7, |s| {
        let mut a = s.session("A");
        let null_path = |op: Op| {
            // The path is the first field of all of these.
            let length = op.body[..4]
                .try_into()
                .map(i32::from_be_bytes)
                .expect("has a path");
            let rest = 4 + usize::try_from(length).expect("has a path");
            let mut body = (-1_i32).to_be_bytes().to_vec();
            body.extend_from_slice(&op.body[rest..]);
            Op {
                code: op.code,
                body,
            }
        };
        let x = s.path("/x");
        let all = [
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::create2(&x, "", OPEN, ops::SEQUENTIAL),
            ops::delete(&x, -1),
            ops::exists(&x, true),
            ops::get_data(&x, true),
            ops::set_data(&x, "", -1),
            ops::get_acl(&x),
            ops::set_acl(&x, OPEN, -1),
            ops::get_children(&x, true),
            ops::get_children2(&x, true),
            ops::sync(Some(&x)),
            ops::add_watch(&x, 0),
            ops::remove_watches(&x, 3),
            ops::check_watches(&x, 3),
            ops::path_only(code::GET_EPHEMERALS, Some(&x)),
            ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&x)),
        ];
        for op in all {
            a.call(&null_path(op));
        }
        a.call(&ops::multi(&[null_path(ops::check(&x, -1))]));
        a.call(&ops::multi(&[null_path(ops::create(
            &x, "", OPEN, PERSISTENT,
        ))]));
        a.call(&ops::multi_read(&[null_path(ops::get_data(&x, false))]));
        a.settle();
    });
}

#[test]
fn malformed_auth_closes() {
    compare(&BASE, "malformed_auth_closes", |s| {
        let whole = ops::digest("bob:pw");
        for cut in [0, 3, 4, 6, whole.body.len() - 1] {
            let mut a = s.session(&format!("cut to {cut}"));
            a.send(&whole.clone().cut_to(cut));
            a.until_closed();
        }
        for cut in [0, 3] {
            let mut a = s.session(&format!("sasl cut to {cut}"));
            a.send(&ops::path_only(code::SASL, Some("token")).cut_to(cut));
            a.until_closed();
        }
    });
}

#[test]
fn sasl_without_a_provider() {
    compare(&BASE, "sasl_without_a_provider", |s| {
        let mut a = s.session("A");
        a.call(&ops::path_only(code::SASL, Some("")));
        a.call(&ops::path_only(code::SASL, Some("token")));
        a.settle();
        a.send(&ops::path_only(code::SASL, None));
        a.until_closed();
    });
}

#[test]
fn booleans_and_null_vectors() {
    compare(&BASE, "booleans_and_null_vectors", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        let mut watch = ops::get_data(&x, true);
        *watch.body.last_mut().expect("a flag") = 2;
        a.call(&watch);
        a.call(&ops::set_data(&x, "1", -1));
        for bad in [-1_i32, -2] {
            // The vector of a setWatches begins after the zxid.
            let mut op = ops::set_watches(0, &[&[], &[], &[]]);
            op.body[8..12].copy_from_slice(&bad.to_be_bytes());
            a.call(&op);
            // The vector of an ACL begins after path and data.
            let mut op = ops::create(&s.path("/y"), "", OPEN, PERSISTENT);
            let at = 4 + s.path("/y").len() + 4;
            op.body.truncate(at);
            op.body.extend_from_slice(&bad.to_be_bytes());
            op.body.extend_from_slice(&[0; 4]);
            a.call(&op);
        }
        a.settle();
    });
}

#[test]
fn malformed_text() {
    compare(&BASE, "malformed_text", |s| {
        let mut a = s.session("A");
        for bytes in [
            &b"\xff"[..],
            b"\xc3",
            b"\xed\xa0\x80",
            b"\xf0\x9f\x98",
            b"a\xc0\x80b",
        ] {
            let mut path = s.path("/").into_bytes();
            path.extend_from_slice(bytes);
            let create = |data| ops::create_with(code::CREATE, Some(&path), data, OPEN, PERSISTENT);
            a.call(&create(Some(b"\xff\xfe")));
            let body = Writer::new().bytes(&path).byte(0).finish();
            a.call(&Op {
                code: code::EXISTS,
                body,
            });
        }
        a.settle();
    });
}

/// Sends 500 writes and `stranger` in one segment, several times, and notes whether the answer
/// to `stranger` always waited for its turn. Apache sends it as soon as it has read the request;
/// that all 500 writes reach the disk before that, every time, is out of the question.
fn note_turn(s: &Script<'_>, name: &str, stranger: &Op) {
    let node = s.path("/x");
    let in_turn = |_: &i32| {
        let mut a = s.quiet_session(&Hello::default());
        let write = ops::set_data(&node, "x", -1);
        let mut requests: Vec<_> = (1..=500).map(|n| (n, write.clone())).collect();
        requests.push((501, stranger.clone()));
        let bytes = a.frames_of(&requests);
        a.send_bytes(&bytes);
        let mut xids = Vec::new();
        while xids.last() != Some(&501)
            && let Some(frame) = a.frame()
        {
            xids.push(Cursor::new(&frame[4..]).int().unwrap_or(0));
        }
        xids.into_iter().eq(1..=501)
    };
    let always = (0..6).filter(in_turn).count() == 6;
    s.note(&format!("{name} waits for its turn: {always}"));
}

const D3: &[Deviation] = &[Deviation {
    number: "D3",
    apache: &[
        "note unknown operation waits for its turn: false",
        "note auth waits for its turn: false",
        "note refused auth waits for its turn: false",
        "note sasl waits for its turn: false",
    ],
    ironkeeper: &[
        "note unknown operation waits for its turn: true",
        "note auth waits for its turn: true",
        "note refused auth waits for its turn: true",
        "note sasl waits for its turn: true",
    ],
}];

#[test]
fn no_answer_overtakes_another() {
    compare_with(&BASE, "no_answer_overtakes_another", D3, |s| {
        let mut a = s.session("A");
        a.call(&ops::create(&s.path("/x"), "", OPEN, PERSISTENT));
        note_turn(s, "unknown operation", &ops::bare(888));
        note_turn(s, "auth", &ops::digest("bob:pw"));
        note_turn(s, "refused auth", &ops::auth(Some("nonsense"), Some(b"x")));
        note_turn(s, "sasl", &ops::path_only(code::SASL, Some("token")));
        note_turn(s, "read", &ops::get_data(&s.path("/x"), false));
    });
}

const D5: &[Deviation] = &[Deviation {
    number: "D5",
    apache: &[
        "A < xid 2 z+4 err 0 op 20",
        "A > xid 3 op 3 /delete_container_is_no_request/plain",
        "A < xid 3 z+4 err -101 op 3",
    ],
    ironkeeper: &["A < xid 2 z-1 err -6 op 20", "A < closed"],
}];

#[test]
fn delete_container_is_no_request() {
    compare_with(&BASE, "delete_container_is_no_request", D5, |s| {
        let mut a = s.session("A");
        let path = s.path("/plain");
        a.call(&ops::create(&path, "", OPEN, PERSISTENT));
        if a.call(&ops::path_only(code::DELETE_CONTAINER, Some(&path)))
            .err
            == 0
        {
            a.call(&ops::exists(&path, false));
        } else {
            a.until_closed();
        }
    });
}

const D6: &[Deviation] = &[Deviation {
    number: "D6",
    apache: &["note answered with a ConnectResponse"],
    ironkeeper: &["note refused as unknown, closed"],
}];

#[test]
fn create_session_is_no_request() {
    compare_with(&BASE, "create_session_is_no_request", D6, |s| {
        let mut a = s.quiet_session(&Hello::default());
        // The body of the transaction: a timeout.
        let op = Op {
            code: code::CREATE_SESSION,
            body: 30_000_i32.to_be_bytes().to_vec(),
        };
        a.send(&op);
        let frame = a.frame().unwrap_or_default();
        let unknown = [
            1_i32.to_be_bytes().as_slice(),
            &[0xff; 8],
            &(-6_i32).to_be_bytes(),
        ]
        .concat();
        let verdict = match frame.len() {
            40 | 41 => "answered with a ConnectResponse",
            20 if frame[4..] == unknown && a.frame().is_none() => "refused as unknown, closed",
            _ => "something else",
        };
        s.note(verdict);
    });
}
