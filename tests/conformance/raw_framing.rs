//! Frames and handshakes: lines 1 to 20 of the checklist.

use std::net::Ipv6Addr;

use crate::compare::{Deviation, compare, compare_with};
use crate::jute::{Writer, framed};
use crate::ops::{self, OPEN, PERSISTENT, code};
use crate::script::{Conn, Hello, Script, Session};
use crate::servers::{BASE, FEW, LIMITS, SMALL_TICK};

/// Header, path, data length and version of a setData frame.
fn set_data_overhead(path: &str) -> usize {
    8 + 4 + path.len() + 4 + 4
}

#[test]
fn frames_up_to_the_limit() {
    compare(&BASE, "frames_up_to_the_limit", |s| {
        let mut a = s.session("A");
        let path = s.path("/big");
        a.call(&ops::create(&path, "", OPEN, PERSISTENT));
        let room = 1_048_575 - set_data_overhead(&path);
        a.call(&ops::set_data(&path, &"x".repeat(room), -1));
        a.call(&ops::get_data(&path, false));
        a.send(&ops::set_data(&path, &"x".repeat(room + 1), -1));
        a.until_closed();
    });
}

#[test]
fn frame_limit_is_an_option() {
    compare(&LIMITS, "frame_limit_is_an_option", |s| {
        let mut a = s.session("A");
        let path = s.path("/big");
        a.call(&ops::create(&path, "", OPEN, PERSISTENT));
        let room = 4096 - set_data_overhead(&path);
        a.call(&ops::set_data(&path, &"x".repeat(room), -1));
        a.call(&ops::get_data(&path, false));
        a.send(&ops::set_data(&path, &"x".repeat(room + 1), -1));
        a.until_closed();
    });
}

#[test]
fn lengths_that_cannot_be() {
    compare(&BASE, "lengths_that_cannot_be", |s| {
        for length in [-1, i32::MIN, 0, 4, 7, 0x7fff_ffff, 1_048_576] {
            let mut a = s.session(&format!("after {length}"));
            a.send_bytes(&length.to_be_bytes());
            a.send_bytes(&[0; 7]);
            a.until_closed();
        }
        for length in [-1, 0, 4, 0x7fff_ffff, 1_048_576] {
            let mut a = s.connect(&format!("before {length}"));
            a.send_bytes(&Writer::new().int(length).finish());
            // A length of zero or four leaves nothing more to wait for than the record itself.
            a.send_bytes(&[0; 4]);
            a.until_closed();
        }
    });
}

#[test]
fn frames_in_pieces() {
    compare(&BASE, "frames_in_pieces", |s| {
        let mut a = s.connect("A");
        a.expect_hello();
        for byte in Hello::default().frame() {
            a.send_bytes(&[byte]);
        }
        a.take_hello();
        let path = s.path("/x");
        let frames = a.frames_of(&[
            (1, ops::create(&path, "data", OPEN, PERSISTENT)),
            (2, ops::get_data(&path, false)),
        ]);
        for byte in frames {
            a.send_bytes(&[byte]);
        }
        a.reply_to(2);
        a.settle();
    });
}

#[test]
fn many_frames_in_one_segment() {
    compare(&BASE, "many_frames_in_one_segment", |s| {
        let mut a = s.session("A");
        let path = s.path("/x");
        let mut all = vec![ops::create(&path, "data", OPEN, PERSISTENT)];
        all.extend((0..60).map(|n| ops::set_data(&path, &format!("{n}"), n)));
        all.push(ops::get_data(&path, false));
        a.send_all(&all);
        a.frames(all.len());
        a.settle();
    });
}

#[test]
fn requests_in_the_segment_of_the_handshake() {
    compare(&BASE, "requests_in_the_segment_of_the_handshake", |s| {
        let mut a = s.connect("A");
        let path = s.path("/x");
        a.expect_hello();
        let mut bytes = Hello::default().frame();
        bytes.extend(a.frames_of(&[
            (1, ops::create(&path, "early", OPEN, PERSISTENT)),
            (2, ops::get_data(&path, false)),
            (-2, ops::bare(code::PING)),
        ]));
        a.send_bytes(&bytes);
        a.take_hello();
        a.frames(3);
    });
}

#[test]
fn surplus_bytes_are_ignored() {
    compare(&BASE, "surplus_bytes_are_ignored", |s| {
        let hello = Hello {
            surplus: b"surplus".to_vec(),
            ..Hello::default()
        };
        let (mut a, _) = s.session_with("A", &hello);
        let path = s.path("/x");
        let child = s.path("/x/c");
        let requests = [
            ops::create(&path, "d", OPEN, PERSISTENT),
            ops::create2(&child, "d", OPEN, PERSISTENT),
            ops::exists(&path, false),
            ops::get_data(&path, false),
            ops::set_data(&path, "e", -1),
            ops::get_acl(&path),
            ops::set_acl(&path, OPEN, -1),
            ops::get_children(&path, false),
            ops::get_children2(&path, false),
            ops::sync(Some(&path)),
            ops::multi(&[ops::check(&path, -1)]),
            ops::multi_read(&[ops::get_data(&path, false)]),
            ops::add_watch(&path, 0),
            ops::check_watches(&path, 4),
            ops::remove_watches(&path, 4),
            ops::set_watches(0, &[&[], &[], &[]]),
            ops::set_watches(0, &[&[], &[], &[], &[], &[]]),
            ops::path_only(code::GET_EPHEMERALS, Some("/")),
            ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&path)),
            ops::bare(code::WHO_AM_I),
            ops::digest("bob:pw"),
            ops::delete(&child, -1),
        ];
        for request in requests {
            a.call(&request.with_surplus(b"surplus"));
        }
        a.send_as(-2, &ops::bare(code::PING).with_surplus(b"surplus"));
        a.reply_to(-2);
        a.send(&ops::bare(code::CLOSE_SESSION).with_surplus(b"surplus"));
        a.until_closed();
    });
}

#[test]
fn the_read_only_byte_is_mirrored() {
    compare(&BASE, "the_read_only_byte_is_mirrored", |s| {
        for read_only in [None, Some(0), Some(1), Some(2)] {
            let hello = Hello {
                read_only,
                ..Hello::default()
            };
            let (mut a, session) = s.session_with(&format!("new {read_only:?}"), &hello);
            a.drop_connection();
            let again = Hello {
                read_only,
                ..Hello::again(&session)
            };
            let (a, _) = s.session_with(&format!("again {read_only:?}"), &again);
            a.close();
            let (mut a, _) = s.session_with(&format!("refused {read_only:?}"), &again);
            a.until_closed();
        }
    });
}

#[test]
fn timeouts_are_clamped() {
    for variant in [&BASE, &LIMITS, &SMALL_TICK] {
        compare(variant, "timeouts_are_clamped", |s| {
            for timeout_ms in [0, 1, -5, i32::MIN, 3999, 4000, 4001, 40_001, 1_000_000_000] {
                let hello = Hello {
                    timeout_ms,
                    ..Hello::default()
                };
                let (a, _) = s.session_with(&format!("asks {timeout_ms}"), &hello);
                a.close();
            }
        });
    }
}

#[test]
fn any_password_and_version_begin_a_session() {
    compare(&BASE, "any_password_and_version_begin_a_session", |s| {
        for length in [None, Some(0), Some(1), Some(16), Some(17), Some(400)] {
            let password = length.map(|length| vec![7; length]);
            let hello = Hello {
                password,
                ..Hello::default()
            };
            let (a, _) = s.session_with(&format!("password {length:?}"), &hello);
            a.close();
        }
        let mut a = s.connect("version 9");
        let mut frame = Hello::default().frame();
        frame[7] = 9;
        a.expect_hello();
        a.send_bytes(&frame);
        a.take_hello();
        a.close();
    });
}

#[test]
fn a_handshake_that_is_no_record() {
    compare(&BASE, "a_handshake_that_is_no_record", |s| {
        let whole = Hello::default().frame();
        for length in [0, 4, 8, 23, 24, 27, 28, 43] {
            let mut a = s.connect(&format!("cut to {length}"));
            a.send_bytes(&framed(&whole[4..4 + length]));
            a.until_closed();
        }
        for length in [-2, i32::MIN, 4_000_000] {
            let mut a = s.connect(&format!("password length {length}"));
            let mut frame = whole.clone();
            frame[28..32].copy_from_slice(&i32::to_be_bytes(length));
            a.send_bytes(&frame);
            a.until_closed();
        }
    });
}

#[test]
fn a_session_can_be_taken_up_again() {
    compare(&BASE, "a_session_can_be_taken_up_again", |s| {
        let (mut a, session) = s.session_with("A", &Hello::default());
        a.call(&ops::create(&s.path("/e"), "", OPEN, ops::EPHEMERAL));
        a.drop_connection();
        let hello = Hello {
            timeout_ms: 10_000,
            ..Hello::again(&session)
        };
        let (mut a, again) = s.session_with("A again", &hello);
        s.note(&format!("same session {}", again.id == session.id));
        s.note(&format!(
            "same password {}",
            again.password == session.password
        ));
        a.call(&ops::get_data(&s.path("/e"), false));
        a.drop_connection();
        let hello = Hello {
            timeout_ms: 1,
            read_only: None,
            ..Hello::again(&session)
        };
        let (a, _) = s.session_with("A third", &hello);
        a.close();
    });
}

#[test]
fn session_ids_are_all_different() {
    compare(&BASE, "session_ids_are_all_different", |s| {
        let mut ids: Vec<i64> = Vec::new();
        for n in 0..50 {
            let (conn, session) = s.session_with(&format!("session {n}"), &Hello::default());
            ids.push(session.id);
            conn.close();
        }
        s.note(&format!(
            "zero or the mark of containers: {}",
            ids.contains(&0) || ids.contains(&i64::MIN)
        ));
        ids.sort_unstable();
        ids.dedup();
        s.note(&format!("{} different ids", ids.len()));
    });
}

#[test]
fn the_newest_connection_wins() {
    compare(&BASE, "the_newest_connection_wins", |s| {
        let (mut old, session) = s.session_with("old", &Hello::default());
        old.call(&ops::exists(&s.path("/x"), true));
        let (mut new, _) = s.session_with("new", &Hello::again(&session));
        old.until_closed();
        new.call(&ops::create(&s.path("/x"), "", OPEN, PERSISTENT));
        new.settle();
    });
}

/// A session that the server must refuse, in each of the ways in which one can be.
fn refused(s: &Script<'_>) -> Vec<(&'static str, Hello)> {
    let (mut live, session) = s.session_with("live", &Hello::default());
    live.drop_connection();
    let (closed, gone) = s.session_with("gone", &Hello::default());
    closed.close();
    let stranger = Session {
        id: session.id + 4096,
        password: session.password.clone(),
    };
    let mut wrong = Hello::again(&session);
    wrong.password = Some(vec![1; 16]);
    let mut short = Hello::again(&session);
    short.password = Some(session.password[..15].to_vec());
    let mut long = Hello::again(&session);
    long.password = Some([session.password.as_slice(), &[0]].concat());
    let mut none = Hello::again(&session);
    none.password = None;
    vec![
        ("closed", Hello::again(&gone)),
        ("unknown", Hello::again(&stranger)),
        (
            "minus one",
            Hello {
                session: -1,
                ..Hello::again(&stranger)
            },
        ),
        ("wrong password", wrong),
        ("short password", short),
        ("long password", long),
        ("null password", none),
        (
            "without readOnly",
            Hello {
                read_only: None,
                ..Hello::again(&gone)
            },
        ),
    ]
}

#[test]
fn refused_sessions_look_alike() {
    compare(&BASE, "refused_sessions_look_alike", |s| {
        for (label, hello) in refused(s) {
            let (mut a, _) = s.session_with(label, &hello);
            a.until_closed();
        }
    });
}

#[test]
fn a_refusal_arrives_though_requests_wait() {
    compare(&BASE, "a_refusal_arrives_though_requests_wait", |s| {
        for (label, hello) in refused(s) {
            let mut a = s.connect(label);
            a.expect_hello();
            let mut bytes = hello.frame();
            let create = ops::create(&s.path("/never"), "", OPEN, PERSISTENT);
            bytes.extend(a.frames_of(&[(1, create)]));
            a.send_bytes(&bytes);
            a.take_hello();
            a.until_closed();
        }
        s.session("after")
            .call(&ops::exists(&s.path("/never"), false));
    });
}

const D1: &[Deviation] = &[Deviation {
    number: "D1",
    apache: &["live < closed"],
    ironkeeper: &["live > xid -2 op 11", "live < xid -2 z+2 err 0 op 11"],
}];

#[test]
fn a_wrong_password_leaves_the_session_alone() {
    compare_with(
        &BASE,
        "a_wrong_password_leaves_the_session_alone",
        D1,
        |s| {
            let (mut live, session) = s.session_with("live", &Hello::default());
            let wrong = Hello {
                password: Some(vec![1; 16]),
                ..Hello::again(&session)
            };
            let (mut thief, _) = s.session_with("thief", &wrong);
            thief.until_closed();
            if s.kind() == crate::common::Kind::Apache {
                live.until_closed();
            } else {
                live.settle();
            }
            let (mut live, _) = s.session_with("live again", &Hello::again(&session));
            live.settle();
        },
    );
}

#[test]
fn a_client_from_the_future_is_sent_away() {
    compare(&BASE, "a_client_from_the_future_is_sent_away", |s| {
        let (mut a, session) = s.session_with("A", &Hello::default());
        let now = a.call(&ops::exists(&s.path(""), false)).zxid;
        let try_with = |label: &str, base: Hello, last_zxid: i64| -> Conn {
            let (mut conn, session) = s.session_with(label, &Hello { last_zxid, ..base });
            if session.id != 0 {
                conn.settle();
            }
            conn
        };
        try_with("new, far ahead", Hello::default(), i64::MAX);
        try_with("new, negative", Hello::default(), i64::MIN);
        a.settle();
        try_with("again, far ahead", Hello::again(&session), now + 1000);
        a.settle();
        // The two sessions above took a zxid each, so this one is up to date and no more.
        try_with(
            "again, same",
            Hello::again(&session),
            a.call(&ops::exists(&s.path(""), false)).zxid,
        );
        a.until_closed();
    });
}

#[test]
fn four_letter_words_only_before_the_handshake() {
    compare(&BASE, "four_letter_words_only_before_the_handshake", |s| {
        let say = |label: &str, bytes: &[u8]| {
            let mut a = s.connect(label);
            a.send_bytes(bytes);
            a.text_until_closed();
        };
        say("ruok", b"ruok");
        say("isro", b"isro");
        say("with a newline", b"ruok\n");
        say("with more", b"ruok and a lot more that nobody reads");
        say("unknown", b"abcd");
        say("upper case", b"RUOK");
        say("telnet", b"\xff\xf4\xff\xfd");
        let mut pieces = s.connect("in pieces");
        for byte in b"ruok" {
            pieces.send_bytes(&[*byte]);
        }
        pieces.text_until_closed();
        let mut half = s.connect("half-closed");
        half.send_bytes(b"isro");
        half.half_close();
        half.text_until_closed();
        let mut late = s.session("after the handshake");
        late.send_bytes(b"ruok");
        late.until_closed();
    });
}

#[test]
fn four_letter_words_off_the_list() {
    compare(&FEW, "four_letter_words_off_the_list", |s| {
        for word in ["ruok", "stat", "conf", "isro", "dump", "wchs", "xxxx"] {
            let mut a = s.connect(word);
            a.send_bytes(word.as_bytes());
            a.text_until_closed();
        }
    });
}

#[test]
fn a_connection_that_never_says_hello() {
    compare(&SMALL_TICK, "a_connection_that_never_says_hello", |s| {
        let mut silent = s.connect("silent");
        let mut slow = s.connect("slow");
        slow.send_bytes(&[0, 0]);
        silent.until_closed();
        slow.until_closed();
    });
}

#[test]
fn a_client_that_only_stops_sending() {
    compare(&BASE, "a_client_that_only_stops_sending", |s| {
        let (mut a, session) = s.session_with("A", &Hello::default());
        a.call(&ops::create(&s.path("/e"), "", OPEN, ops::EPHEMERAL));
        a.half_close();
        a.until_closed();
        let (mut a, _) = s.session_with("A again", &Hello::again(&session));
        a.call(&ops::exists(&s.path("/e"), false));
    });
}

#[test]
fn connections_of_one_client_are_counted() {
    compare(&LIMITS, "connections_of_one_client_are_counted", |s| {
        let held: Vec<_> = (0..3).map(|n| s.session(&format!("held {n}"))).collect();
        for n in 0..2 {
            let mut over = s.connect(&format!("over {n}"));
            over.send_bytes(&Hello::default().frame());
            over.until_closed();
        }
        let mut word = s.connect("word");
        word.send_bytes(b"ruok");
        word.text_until_closed();
        for held in held {
            held.close();
        }
        s.session("after").settle();
    });
}

#[test]
fn connections_in_all_are_counted() {
    compare(&FEW, "connections_in_all_are_counted", |s| {
        let held: Vec<_> = (0..4).map(|n| s.session(&format!("held {n}"))).collect();
        let mut over = s.connect("over");
        over.send_bytes(&Hello::default().frame());
        over.until_closed();
        for held in held {
            held.close();
        }
        s.session("after").settle();
    });
}

#[test]
fn both_families_of_addresses() {
    compare(&BASE, "both_families_of_addresses", |s| {
        let port = s.server().address().port();
        let mut six = s.connect_to("six", (Ipv6Addr::LOCALHOST, port).into());
        six.hello(&Hello::default());
        six.call(&ops::bare(code::WHO_AM_I));
        let mut mapped = s.connect_to(
            "mapped",
            (std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port).into(),
        );
        mapped.hello(&Hello::default());
        mapped.call(&ops::bare(code::WHO_AM_I));
        let mut four = s.session("four");
        four.call(&ops::bare(code::WHO_AM_I));
    });
}
