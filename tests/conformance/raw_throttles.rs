//! Throttles, and local sessions as far as one server has them: lines 94 and 104 of the checklist.

use crate::compare::{compare, compare_fresh};
use crate::jute::{Cursor, Writer};
use crate::ops::{self, OPEN, Op, PERSISTENT, code};
use crate::script::{Conn, Hello};
use crate::servers::{GATE, LARGE, TOKENS, WEIGHTS};

/// A connection without tokens is closed instead of answered; four-letter words need none.
#[test]
fn sessions_are_paid_with_tokens() {
    compare_fresh(&TOKENS, "sessions_are_paid_with_tokens", &[], |s| {
        let (mut a, session) = s.session_with("first", &Hello::default());
        let mut broken = s.connect("no handshake");
        broken.send_bytes(&[0, 0, 0, 4, 0, 0, 0, 0]);
        broken.until_closed();
        // From here on the order of the checks shows: the price is taken before anything is looked at.
        let refused = Hello {
            password: Some(vec![1; 16]),
            session: session.id + 4096,
            ..Hello::default()
        };
        s.session_with("refused", &refused).0.until_closed();
        let future = Hello {
            last_zxid: i64::MAX,
            ..Hello::default()
        };
        s.session_with("from the future", &future).0.until_closed();
        for (label, hello) in [
            ("one too many", Hello::default()),
            ("not even back", Hello::again(&session)),
        ] {
            s.session_with(label, &hello).0.until_closed();
        }
        let mut word = s.connect("word");
        word.send_bytes(b"ruok");
        word.text_until_closed();
        // Who came back in vain has lost nothing.
        a.call(&ops::create("/a", "", OPEN, PERSISTENT));
        a.settle();
    });
}

/// A new session costs three, one that comes back two, and the bucket is multiplied by three.
#[test]
fn sessions_weigh_what_they_cost() {
    compare_fresh(&WEIGHTS, "sessions_weigh_what_they_cost", &[], |s| {
        let (mut a, session) = s.session_with("first", &Hello::default());
        let mut again = s.session_with("again", &Hello::again(&session)).0;
        a.until_closed();
        again.settle();
        // Four of nine are left.
        let (mut b, other) = s.session_with("second", &Hello::default());
        b.settle();
        for (label, hello) in [
            ("third", Hello::default()),
            ("second again", Hello::again(&other)),
        ] {
            s.session_with(label, &hello).0.until_closed();
        }
        b.settle();
        again.settle();
    });
}

/// A frame that is too large beside the other large ones ends its connection, as soon as its length
/// is there.
#[test]
fn large_requests_are_refused_by_their_length() {
    compare(&LARGE, "large_requests_are_refused_by_their_length", |s| {
        let mut a = s.session("A");
        let path = s.path("/x");
        a.call(&ops::create(&path, "", OPEN, PERSISTENT));
        let whole = |length: usize| {
            let overhead = 8 + 4 + path.len() + 4 + 4;
            ops::set_data(&path, &"x".repeat(length - overhead), -1)
        };
        for length in [1000, 1001, 1500, 9999, 10_000] {
            a.call(&whole(length));
        }
        a.send(&whole(10_001));
        a.until_closed();
        let padded = |op: Op| {
            let surplus = 10_001 - 8 - op.body.len();
            op.with_surplus(&vec![7; surplus])
        };
        for (label, op) in [
            ("read", ops::get_data(&path, false)),
            ("ping", ops::bare(code::PING)),
            ("auth", ops::digest("bob:pw")),
            ("close", ops::bare(code::CLOSE_SESSION)),
            ("unknown", ops::bare(888)),
        ] {
            let mut conn = s.session(label);
            conn.send(&padded(op));
            conn.until_closed();
        }
        let mut length_alone = s.session("length alone");
        length_alone.send_bytes(&Writer::new().int(10_001).finish());
        length_alone.until_closed();
        let mut hello = s.connect("hello");
        let surplus = vec![0; 10_001 - 45];
        hello.send_bytes(
            &Hello {
                surplus,
                ..Hello::default()
            }
            .frame(),
        );
        hello.until_closed();
        s.session("after").call(&ops::exists(&path, false));
    });
}

/// One server has no local sessions: every session takes a zxid at both ends, may have ephemerals,
/// and is there after a restart, though the keys say otherwise.
#[test]
fn sessions_of_one_server_are_global() {
    compare_fresh(&LARGE, "sessions_of_one_server_are_global", &[], |s| {
        let (mut a, session) = s.session_with("A", &Hello::default());
        a.call(&ops::create("/e", "", OPEN, ops::EPHEMERAL));
        a.call(&ops::multi(&[ops::create2("/f", "", OPEN, ops::EPHEMERAL)]));
        let b = s.session("B");
        a.call(&ops::exists("/e", false));
        b.close();
        a.call(&ops::exists("/f", false));
        a.drop_connection();
        let restarted = s.server().kill_and_restart();
        s.note(&format!("restarted {}", restarted.is_ok()));
        let (mut a, _) = s.session_with("A again", &Hello::again(&session));
        a.call(&ops::exists("/e", false));
        a.close();
        s.session("C").call(&ops::exists("/e", false));
    });
}

/// A reply: xid, zxid, error, and whether anything follows.
struct Answer {
    xid: i32,
    zxid: i64,
    err: i32,
    has_body: bool,
}

fn answers(conn: &mut Conn, count: usize) -> Vec<Answer> {
    let next = |_| {
        let frame = conn.frame()?;
        let mut cursor = Cursor::new(&frame);
        cursor.int()?;
        Some(Answer {
            xid: cursor.int()?,
            zxid: cursor.long()?,
            err: cursor.int()?,
            has_body: frame.len() > 20,
        })
    };
    (0..count).map_while(next).collect()
}

/// While more wait than are let in, some are refused, each in its place: they do nothing, a multi says
/// so in the header, and pings and the end of the session are none of them.
#[test]
fn requests_that_wait_too_long_are_refused() {
    const THROTTLED: i32 = -127;
    const CREATES: usize = 1500;
    const ROUNDS_MAX: usize = 200;
    compare_fresh(&GATE, "requests_that_wait_too_long_are_refused", &[], |s| {
        let mut watcher = s.quiet_session(&Hello::default());
        let (mut done, mut refused, mut multis_refused) = (0, 0, 0);
        let (mut is_in_order, mut is_empty, mut goes_on) = (true, true, true);
        let (mut pings, mut ends) = (true, true);
        // How long anything waits is the machine's to say.
        for round in 0..ROUNDS_MAX {
            if done > 0 && refused > 0 && multis_refused > 0 {
                break;
            }
            let mut conn = s.quiet_session(&Hello::default());
            let top = format!("/round-{round}");
            watcher.call(&ops::create(&top, "", OPEN, PERSISTENT));
            let mut all: Vec<Op> = (0..CREATES)
                .map(|n| ops::create(&format!("{top}/{n}"), "", OPEN, PERSISTENT))
                .collect();
            all.push(ops::multi(&[ops::create2(
                &format!("{top}/multi"),
                "",
                OPEN,
                PERSISTENT,
            )]));
            all.push(ops::bare(code::PING));
            all.push(ops::get_data(&top, false));
            all.push(ops::bare(code::CLOSE_SESSION));
            conn.send_all(&all);
            let got = answers(&mut conn, all.len());
            is_in_order &= got.len() == all.len();
            let mut zxid = 0;
            for (n, (answer, op)) in got.iter().zip(&all).enumerate() {
                let is_throttled = answer.err == THROTTLED;
                let is_ping = op.code == code::PING;
                is_in_order &= is_ping || answer.xid == i32::try_from(n).unwrap_or(0) + 1;
                goes_on &= answer.zxid >= zxid;
                zxid = answer.zxid;
                is_empty &= !is_throttled || !answer.has_body;
                pings &= !is_ping || answer.err == 0;
                ends &= op.code != code::CLOSE_SESSION || answer.err == 0;
                if op.code == code::CREATE {
                    done += usize::from(answer.err == 0);
                    refused += usize::from(is_throttled);
                }
                multis_refused += usize::from(op.code == code::MULTI && is_throttled);
            }
            let made = |answer: &&Answer| answer.err == 0 && answer.has_body;
            let writes = CREATES + 1;
            let expected = got.iter().take(writes).filter(made).count();
            watcher.call(&ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&top)));
            watcher.send(&ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&top)));
            let there = watcher.frame().and_then(|frame| {
                let mut cursor = Cursor::new(&frame);
                cursor.int()?;
                cursor.int()?;
                cursor.long()?;
                cursor.int()?;
                cursor.int()
            });
            if there != i32::try_from(expected).ok() {
                s.note(&format!("{expected} made and {there:?} there"));
            }
        }
        s.note(&format!("some done {}", done > 0));
        s.note(&format!("some refused {}", refused > 0));
        s.note(&format!("a multi refused {}", multis_refused > 0));
        s.note(&format!("in order {is_in_order}, zxids go on {goes_on}"));
        s.note(&format!("refusals are empty {is_empty}"));
        s.note(&format!("pings pass {pings}, ends of sessions {ends}"));
    });
}
