//! Containers and TTL nodes that end by themselves: lines 40 and 105 of the checklist, and what a restart changes.
//!
//! The servers look for such nodes all the time, so a script sees to it that a node ends only when the script waits
//! for that. That something stays is shown by others that end twice over meanwhile: every look is at all of them.

use crate::compare::{compare, compare_fresh};
use crate::ops::{self, CONTAINER, OPEN, Op, PERSISTENT, WITH_TTL};
use crate::script::{Conn, Hello, Script};
use crate::servers::{REAPING, REAPING_UNUSED};

/// Longer than any test takes.
const LONG_MS: i64 = 3_600_000;

fn create(path: &str) -> Op {
    ops::create(path, "", OPEN, PERSISTENT)
}

/// Looks until a watch of this connection has told that the node has gone.
fn until_gone(watcher: &mut Conn, path: &str) {
    if watcher.call(&ops::exists(path, true)).err == 0 {
        watcher.frames(1);
    }
}

/// Two TTL nodes end, one after the other: whatever else had had its day before the first has ended too.
fn let_two_end(s: &Script<'_>, name: &str) {
    let mut quiet = s.quiet_session(&Hello::default());
    for n in 0..2 {
        let path = s.path(&format!("/{name}{n}"));
        let both = ops::multi(&[
            ops::create_ttl(&path, WITH_TTL, 1),
            create(&format!("{path}/child")),
        ]);
        quiet.call(&both);
        quiet.call(&ops::delete(&format!("{path}/child"), -1));
        until_gone(&mut quiet, &path);
    }
    quiet.call(&ops::bare(crate::ops::code::CLOSE_SESSION));
    // Apache may try twice to end a node, and the second time takes a zxid as well.
    s.begin_part();
}

#[test]
fn a_container_ends_when_its_last_child_has_gone() {
    compare(&REAPING, "a_container_ends", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let path = s.path("/c");
        let (child, ephemeral) = (format!("{path}/x"), format!("{path}/e"));
        a.call(&ops::create_container(&path, CONTAINER));
        a.call(&create(&child));
        a.call(&ops::create(&ephemeral, "", OPEN, ops::EPHEMERAL));
        b.call(&ops::get_data(&path, true));
        b.call(&ops::get_children(&s.path(""), true));
        b.call(&ops::get_children(&path, true));
        a.call(&ops::delete(&child, -1));
        b.frames(1);
        b.call(&ops::get_children2(&path, true));
        // The last one goes with its session.
        a.close();
        // Its child, then itself, and its parent's child.
        b.frames(3);
        s.begin_part();
        b.call(&ops::exists(&path, false));
        b.call(&create(&child));
        b.call(&ops::get_children2(&s.path(""), false));
    });
}

#[test]
fn a_container_that_was_never_used_stays() {
    compare(&REAPING, "a_container_that_was_never_used", |s| {
        let mut a = s.session("A");
        let (new, full) = (s.path("/new"), s.path("/full"));
        a.call(&ops::create_container(&new, CONTAINER));
        a.call(&ops::create_container(&full, CONTAINER));
        a.call(&create(&format!("{full}/x")));
        a.call(&ops::create2(&s.path("/plain"), "", OPEN, CONTAINER));
        a.call(&create(&s.path("/plain/x")));
        a.call(&ops::delete(&s.path("/plain/x"), -1));
        let_two_end(s, "marker");
        for path in [&new, &full, &s.path("/plain")] {
            a.call(&ops::exists(path, false));
        }
        a.call(&ops::delete(&new, -1));
        a.call(&ops::delete(&format!("{full}/x"), -1));
        until_gone(&mut a, &full);
    });
}

#[test]
fn a_container_that_was_never_used_ends_where_that_is_limited() {
    compare(
        &REAPING_UNUSED,
        "a_container_that_was_never_used_ends",
        |s| {
            let mut a = s.session("A");
            let path = s.path("/new");
            a.call(&ops::add_watch(&path, 0));
            a.call(&ops::create_container(&path, CONTAINER));
            a.frames(1);
            s.begin_part();
            a.call(&ops::exists(&path, false));
        },
    );
}

#[test]
fn a_ttl_node_ends_unless_it_has_children() {
    compare(&REAPING, "a_ttl_node_ends", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let path = s.path("/t");
        let child = format!("{path}/x");
        a.call(&ops::multi(&[
            ops::create_ttl(&path, WITH_TTL, 1),
            create(&child),
            ops::create_ttl(&s.path("/long"), WITH_TTL, LONG_MS),
        ]));
        let_two_end(s, "marker");
        a.call(&ops::get_children2(&path, false));
        a.call(&ops::exists(&s.path("/long"), false));
        b.call(&ops::add_watch(&path, 1));
        b.call(&ops::get_children(&s.path(""), true));
        a.call(&ops::delete(&child, -1));
        b.frames(3);
        s.begin_part();
        b.call(&ops::exists(&path, false));
        // What is there again is another node.
        a.call(&create(&path));
        let_two_end(s, "other");
        a.call(&ops::exists(&path, false));
        b.settle();
        a.call(&ops::delete(&s.path("/long"), -1));
    });
}

#[test]
fn what_ends_by_itself_ends_after_a_restart() {
    compare_fresh(&REAPING, "what_ends_after_a_restart", &[], |s| {
        let (mut a, session) = s.session_with("A", &Hello::default());
        a.call(&ops::create_container("/c", CONTAINER));
        a.call(&create("/c/x"));
        a.call(&ops::create_container("/new", CONTAINER));
        a.call(&ops::multi(&[
            ops::create_ttl("/t", WITH_TTL, 1),
            create("/t/x"),
            ops::create_ttl("/long", WITH_TTL, LONG_MS),
        ]));
        for _ in 0..2 {
            if let Err(error) = s.server().kill_and_restart() {
                s.note(&error);
            }
            a.until_closed();
            a = s.session_with("A again", &Hello::again(&session)).0;
        }
        for path in ["/c", "/new", "/t", "/long"] {
            a.call(&ops::get_data(path, false));
            a.call(&ops::get_children2(path, false));
        }
        for (path, child) in [("/c", "/c/x"), ("/t", "/t/x")] {
            let mut b = s.session(path);
            b.call(&ops::get_data(path, true));
            b.call(&ops::delete(child, -1));
            b.frames(1);
            s.begin_part();
        }
        for path in ["/c", "/new", "/t", "/long"] {
            a.call(&ops::exists(path, false));
        }
    });
}
