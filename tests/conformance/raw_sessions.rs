//! Sessions: lines 88 to 92 of the checklist, and what restarts leave of them.

use std::time::{Duration, Instant};

use crate::compare::{compare, compare_fresh};
use crate::ops::{self, OPEN, PERSISTENT, code};
use crate::script::{Hello, Script};
use crate::servers::{BASE, SMALL_TICK};

/// A session timeout short enough to wait for, and long enough for a script on a busy machine.
const SHORT_MS: i32 = 1000;

fn short() -> Hello {
    Hello {
        timeout_ms: SHORT_MS,
        ..Hello::default()
    }
}

/// Notes whether something took at least the session timeout; how much longer it may take on a
/// busy machine is bounded by the deadline of the script alone.
fn note_not_early(s: &Script<'_>, since: Instant) {
    let whole = Duration::from_millis(u64::from(SHORT_MS.unsigned_abs()));
    s.note(&format!(
        "not before the timeout: {}",
        since.elapsed() >= whole
    ));
}

#[test]
fn a_silent_session_expires() {
    compare(&SMALL_TICK, "a_silent_session_expires", |s| {
        let mut watcher = s.session("watcher");
        let (mut a, session) = s.session_with("A", &short());
        let top = s.path("/top");
        a.call(&ops::create(&top, "", OPEN, PERSISTENT));
        for n in 0..3 {
            a.call(&ops::create(
                &format!("{top}/{n}"),
                "",
                OPEN,
                ops::EPHEMERAL,
            ));
        }
        watcher.call(&ops::get_children(&top, true));
        watcher.call(&ops::add_watch(&top, 1));
        a.call(&ops::get_data(&top, true));
        let since = Instant::now();
        a.until_closed();
        note_not_early(s, since);
        // Apache may close the idle connection before it expires the session.
        s.any_order(|| watcher.frames(4));
        watcher.settle();
        watcher.call(&ops::get_children2(&top, false));
        let (mut again, _) = s.session_with("A again", &Hello::again(&session));
        again.until_closed();
    });
}

#[test]
fn pings_keep_a_session_alive() {
    compare(&SMALL_TICK, "pings_keep_a_session_alive", |s| {
        let mut a = s.session_with("A", &short()).0;
        a.call(&ops::create(&s.path("/e"), "", OPEN, ops::EPHEMERAL));
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(2500) {
            a.settle_quietly();
        }
        a.call(&ops::get_data(&s.path("/e"), false));
    });
}

#[test]
fn a_dropped_connection_keeps_its_ephemerals_until_it_expires() {
    compare(
        &SMALL_TICK,
        "a_dropped_connection_keeps_its_ephemerals",
        |s| {
            let mut watcher = s.session("watcher");
            let path = s.path("/e");
            let (mut a, session) = s.session_with("A", &short());
            a.call(&ops::create(&path, "", OPEN, ops::EPHEMERAL));
            a.drop_connection();
            watcher.call(&ops::get_data(&path, false));
            let (mut a, _) = s.session_with(
                "A again",
                &Hello {
                    timeout_ms: SHORT_MS,
                    ..Hello::again(&session)
                },
            );
            a.call(&ops::get_data(&path, false));
            watcher.call(&ops::exists(&path, true));
            let since = Instant::now();
            a.drop_connection();
            watcher.frames(1);
            note_not_early(s, since);
            watcher.call(&ops::get_data(&path, false));
            let (mut late, _) = s.session_with("late", &Hello::again(&session));
            late.until_closed();
        },
    );
}

#[test]
fn closing_ends_everything() {
    compare(&BASE, "closing_ends_everything", |s| {
        let mut watcher = s.session("watcher");
        let path = s.path("/e");
        let (mut a, session) = s.session_with("A", &Hello::default());
        a.call(&ops::create(&path, "", OPEN, ops::EPHEMERAL));
        a.call(&ops::get_data(&path, true));
        watcher.call(&ops::get_data(&path, true));
        a.close();
        watcher.settle();
        watcher.call(&ops::get_data(&path, false));
        let (mut again, _) = s.session_with("A again", &Hello::again(&session));
        again.until_closed();
    });
}

#[test]
fn requests_behind_a_close_get_no_reply() {
    compare(&BASE, "requests_behind_a_close_get_no_reply", |s| {
        let mut a = s.session("A");
        a.send_all(&[
            ops::create(&s.path("/e"), "", OPEN, ops::EPHEMERAL),
            ops::create(&s.path("/p"), "", OPEN, PERSISTENT),
            ops::bare(code::CLOSE_SESSION),
        ]);
        a.until_closed();
        let mut b = s.session("B");
        b.send_all(&[
            ops::exists(&s.path("/e"), false),
            ops::bare(code::CLOSE_SESSION),
        ]);
        b.until_closed();
        let mut c = s.session("C");
        c.call(&ops::exists(&s.path("/p"), false));
    });
}

#[test]
fn an_ephemeral_has_one_owner() {
    compare(&BASE, "an_ephemeral_has_one_owner", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let path = s.path("/e");
        a.call(&ops::create2(&path, "", OPEN, ops::EPHEMERAL));
        b.call(&ops::create2(&path, "", OPEN, ops::EPHEMERAL));
        b.call(&ops::set_data(&path, "b was here", -1));
        b.call(&ops::get_data(&path, false));
        b.call(&ops::path_only(code::GET_EPHEMERALS, None));
        b.close();
        a.call(&ops::get_data(&path, false));
        let mut c = s.session("C");
        c.call(&ops::delete(&path, -1));
        c.call(&ops::create2(&path, "", OPEN, ops::EPHEMERAL));
        a.close();
        c.call(&ops::get_data(&path, false));
    });
}

#[test]
fn the_ephemerals_of_a_close_include_those_in_flight() {
    compare(&BASE, "ephemerals_in_flight", |s| {
        let mut a = s.session("A");
        let name = |n: i32| s.path(&format!("/{n}"));
        let mut all: Vec<_> = (0..30)
            .map(|n| ops::create(&name(n), "", OPEN, ops::EPHEMERAL))
            .collect();
        all.extend((0..10).map(|n| ops::delete(&name(n), -1)));
        all.push(ops::bare(code::CLOSE_SESSION));
        a.send_all(&all);
        a.until_closed();
        s.session("B").call(&ops::get_children2(&s.path(""), false));
    });
}

#[test]
fn sessions_survive_a_restart() {
    compare_fresh(&BASE, "sessions_survive_a_restart", &[], |s| {
        let (mut a, session) = s.session_with("A", &Hello::default());
        a.call(&ops::create2("/e", "mine", OPEN, ops::EPHEMERAL));
        a.call(&ops::create2("/p", "kept", OPEN, PERSISTENT));
        a.call(&ops::create("/p/s-", "", OPEN, ops::SEQUENTIAL));
        a.call(&ops::set_acl("/p", &[ops::world(29)], -1));
        a.call(&ops::add_watch("/", 1));
        let before = a.call(&ops::set_data("/p", "again", -1)).zxid;
        let closed = {
            let (closed, gone) = s.session_with("B", &Hello::default());
            closed.close();
            gone
        };
        if let Err(error) = s.server().kill_and_restart() {
            s.note(&error);
        }
        a.until_closed();
        let hello = Hello {
            last_zxid: before,
            timeout_ms: 9_000,
            ..Hello::again(&session)
        };
        let (mut a, again) = s.session_with("A again", &hello);
        s.note(&format!("same session {}", again.id == session.id));
        s.note(&format!(
            "same password {}",
            again.password == session.password
        ));
        for path in ["/", "/e", "/p", "/zookeeper", "/zookeeper/quota"] {
            a.call(&ops::get_data(path, false));
            a.call(&ops::get_children2(path, false));
            a.call(&ops::get_acl(path));
        }
        a.call(&ops::create("/p/s-", "", OPEN, ops::SEQUENTIAL));
        a.call(&ops::path_only(code::GET_EPHEMERALS, None));
        let (mut gone, _) = s.session_with("B again", &Hello::again(&closed));
        gone.until_closed();
        let (other, new) = s.session_with("C", &Hello::default());
        let fresh = ![session.id, closed.id].contains(&new.id) && new.id != 0;
        s.note(&format!("a new session id after the restart: {fresh}"));
        other.close();
        a.close();
        s.session("D").call(&ops::exists("/e", false));
    });
}

#[test]
fn sessions_expire_after_a_restart() {
    compare_fresh(&SMALL_TICK, "sessions_expire_after_a_restart", &[], |s| {
        let (mut a, session) = s.session_with("A", &short());
        a.call(&ops::create("/e", "mine", OPEN, ops::EPHEMERAL));
        a.drop_connection();
        if let Err(error) = s.server().kill_and_restart() {
            s.note(&error);
        }
        let mut watcher = s.quiet_session(&Hello::default());
        watcher.call(&ops::add_watch("/e", 0));
        if watcher.call(&ops::exists("/e", false)).err == 0 {
            watcher.frames(1);
        }
        let mut b = s.session("B");
        b.call(&ops::exists("/e", false));
        let (mut late, _) = s.session_with("late", &Hello::again(&session));
        late.until_closed();
    });
}
