//! Watches: lines 74 to 87 of the checklist.

use crate::compare::compare;
use crate::ops::{self, Entry, OPEN, PERSISTENT, READ, code, world};
use crate::script::Hello;
use crate::servers::BASE;

/// addWatch modes.
const STAY: i32 = 0;
const RECURSIVE: i32 = 1;
/// What checkWatches and removeWatches select.
const CHILDREN: i32 = 1;
const DATA: i32 = 2;
const ANY: i32 = 3;
const KIND_STAY: i32 = 4;
const KIND_RECURSIVE: i32 = 5;

#[test]
fn one_shot_watches_fire_once() {
    compare(&BASE, "one_shot_watches_fire_once", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let x = s.path("/x");
        let child = s.path("/x/c");
        let steps = [
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::set_data(&x, "1", -1),
            ops::set_data(&x, "2", -1),
            ops::create(&child, "", OPEN, PERSISTENT),
            ops::delete(&child, -1),
            ops::delete(&x, -1),
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::delete(&x, -1),
        ];
        let watches = [
            ops::exists(&x, true),
            ops::get_data(&x, true),
            ops::get_children(&x, true),
            ops::get_children2(&x, true),
        ];
        for watch in watches {
            for (first, _) in steps.iter().enumerate() {
                // The watch is set before each of the steps in turn.
                s.note(&format!("op {} set before step {first}", watch.code));
                for (n, step) in steps.iter().enumerate() {
                    if n == first {
                        b.call(&watch);
                    }
                    a.call(step);
                    b.settle();
                }
                b.call(&ops::remove_watches(&x, ANY));
            }
        }
    });
}

#[test]
fn one_event_for_one_deletion() {
    compare(&BASE, "one_event_for_one_deletion", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        b.call(&ops::get_data(&x, true));
        b.call(&ops::exists(&x, true));
        b.call(&ops::get_children(&x, true));
        b.call(&ops::add_watch(&x, STAY));
        b.call(&ops::add_watch(&x, RECURSIVE));
        a.call(&ops::delete(&x, -1));
        b.settle();
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        b.settle();
    });
}

#[test]
fn created_comes_before_children_changed() {
    compare(&BASE, "created_comes_before_children_changed", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let (top, x) = (s.path("/top"), s.path("/top/x"));
        a.call(&ops::create(&top, "", OPEN, PERSISTENT));
        b.call(&ops::exists(&x, true));
        b.call(&ops::get_children(&top, true));
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        b.settle();
        b.call(&ops::get_data(&x, true));
        b.call(&ops::get_children(&x, true));
        b.call(&ops::get_children(&top, true));
        a.call(&ops::delete(&x, -1));
        b.settle();
        a.call(&ops::delete(&top, -1));
        b.settle();
    });
}

/// Every kind of change of a node and below it.
fn changes(top: &str) -> Vec<ops::Op> {
    let x = format!("{top}/x");
    let deep = format!("{top}/x/deep");
    vec![
        ops::create(top, "", OPEN, PERSISTENT),
        ops::create(&x, "", OPEN, PERSISTENT),
        ops::create(&deep, "", OPEN, PERSISTENT),
        ops::set_data(&deep, "1", -1),
        ops::set_data(&x, "1", -1),
        ops::set_data(top, "1", -1),
        ops::set_acl(&x, OPEN, -1),
        ops::set_data(&x, "1", 77),
        ops::delete(&x, -1),
        ops::delete(&deep, -1),
        ops::delete(&x, -1),
        ops::create(&x, "", OPEN, ops::EPHEMERAL),
        ops::delete(&x, -1),
        ops::delete(top, -1),
        ops::create(top, "", OPEN, PERSISTENT),
        ops::delete(top, -1),
    ]
}

#[test]
fn watches_that_stay() {
    compare(&BASE, "watches_that_stay", |s| {
        let (mut a, mut b, mut c) = (s.session("A"), s.session("B"), s.session("C"));
        let top = s.path("/top");
        b.call(&ops::add_watch(&top, STAY));
        b.call(&ops::add_watch(&top, STAY));
        c.call(&ops::add_watch(&top, RECURSIVE));
        let mut root = s.session("at the root");
        root.call(&ops::add_watch("/", RECURSIVE));
        root.call(&ops::add_watch("/", STAY));
        let mut above = s.session("above");
        above.call(&ops::add_watch(&s.path(""), RECURSIVE));
        above.call(&ops::add_watch(&top, RECURSIVE));
        above.call(&ops::add_watch(&s.path("/top/x"), STAY));
        for change in changes(&top) {
            a.call(&change);
            for conn in [&mut b, &mut c, &mut root, &mut above] {
                conn.settle();
            }
        }
    });
}

#[test]
fn all_modes_on_one_connection() {
    compare(&BASE, "all_modes_on_one_connection", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let z = s.path("/z");
        a.call(&ops::create(&z, "", OPEN, PERSISTENT));
        b.call(&ops::get_data(&z, true));
        b.call(&ops::get_children(&z, true));
        b.call(&ops::add_watch(&z, STAY));
        b.call(&ops::add_watch(&s.path(""), RECURSIVE));
        for change in [
            ops::create(&format!("{z}/k"), "", OPEN, PERSISTENT),
            ops::delete(&format!("{z}/k"), -1),
            ops::delete(&z, -1),
        ] {
            a.call(&change);
            b.settle();
        }
    });
}

#[test]
fn a_recursive_watch_swallows_a_child_watch() {
    compare(&BASE, "a_recursive_watch_swallows_a_child_watch", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        b.call(&ops::add_watch(&s.path(""), RECURSIVE));
        b.call(&ops::get_children(&x, true));
        a.call(&ops::delete(&x, -1));
        b.settle();
        b.call(&ops::check_watches(&x, CHILDREN));
        b.call(&ops::check_watches(&s.path(""), KIND_RECURSIVE));
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        a.call(&ops::create(&format!("{x}/c"), "", OPEN, PERSISTENT));
        b.settle();
    });
}

#[test]
fn what_fires_nothing() {
    compare(&BASE, "what_fires_nothing", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        b.call(&ops::add_watch(&s.path(""), RECURSIVE));
        b.call(&ops::add_watch(&s.path(""), STAY));
        b.call(&ops::get_data(&x, true));
        b.call(&ops::get_children(&x, true));
        let quiet = [
            ops::set_acl(&x, OPEN, -1),
            ops::set_data(&x, "", 77),
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::create(&s.path("/none/x"), "", OPEN, PERSISTENT),
            ops::delete(&s.path("/none"), -1),
            ops::delete(&x, 77),
            ops::multi(&[ops::set_data(&x, "", -1), ops::check(&x, 77)]),
            ops::multi(&[ops::check(&x, -1)]),
            ops::sync(Some(&x)),
        ];
        for op in quiet {
            a.call(&op);
            b.settle();
        }
        s.session("C").close();
        b.settle();
        a.call(&ops::set_data(&x, "now", -1));
        b.settle();
    });
}

#[test]
fn events_need_the_right_to_read() {
    compare(&BASE, "events_need_the_right_to_read", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let (top, x) = (s.path("/top"), s.path("/top/x"));
        a.call(&ops::digest("bob:pw"));
        let shut: &[Entry<'_>] = &[Entry(31, Some("auth"), Some(""))];
        // A node that is shut below a parent that is open, and the other way round.
        for (parent, node) in [(OPEN, shut), (shut, OPEN), (shut, shut), (OPEN, OPEN)] {
            a.call(&ops::create(&top, "", OPEN, PERSISTENT));
            b.call(&ops::exists(&x, true));
            b.call(&ops::get_children(&top, true));
            b.call(&ops::add_watch(&s.path(""), RECURSIVE));
            a.call(&ops::set_acl(&top, parent, -1));
            a.call(&ops::create(&x, "", node, PERSISTENT));
            b.settle();
            // Consumed though nothing was sent.
            b.call(&ops::check_watches(&x, DATA));
            b.call(&ops::check_watches(&top, CHILDREN));
            a.call(&ops::set_acl(&top, OPEN, -1));
            a.call(&ops::set_acl(&x, OPEN, -1));
            b.call(&ops::get_data(&x, true));
            b.call(&ops::get_children(&x, true));
            b.call(&ops::get_children(&top, true));
            a.call(&ops::set_acl(&top, parent, -1));
            a.call(&ops::set_acl(&x, node, -1));
            a.call(&ops::set_data(&x, "1", -1));
            b.settle();
            a.call(&ops::delete(&x, -1));
            b.settle();
            a.call(&ops::delete(&top, -1));
            b.settle();
        }
        // The identities of the moment of the event count.
        a.call(&ops::create(&x, "", shut, PERSISTENT));
        a.call(&ops::create(&top, "", shut, PERSISTENT));
        b.call(&ops::add_watch(&top, STAY));
        a.call(&ops::set_data(&top, "1", -1));
        b.call(&ops::digest("bob:pw"));
        a.call(&ops::set_data(&top, "2", -1));
        b.settle();
    });
}

#[test]
fn set_watches_tells_what_was_missed() {
    compare(&BASE, "set_watches_tells_what_was_missed", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let name = |n: &str| s.path(&format!("/{n}"));
        for n in [
            "old", "changed", "acl", "parent", "emptied", "gone", "again",
        ] {
            a.call(&ops::create(&name(n), "", OPEN, PERSISTENT));
        }
        a.call(&ops::create(&name("emptied/c"), "", OPEN, PERSISTENT));
        let seen = a.call(&ops::exists(&s.path(""), false)).zxid;
        let last = a.call(&ops::set_data(&name("changed"), "x", -1)).zxid;
        a.call(&ops::set_acl(&name("acl"), OPEN, -1));
        a.call(&ops::create(&name("parent/c"), "", OPEN, PERSISTENT));
        a.call(&ops::delete(&name("emptied/c"), -1));
        a.call(&ops::delete(&name("gone"), -1));
        a.call(&ops::delete(&name("again"), -1));
        a.call(&ops::create(&name("again"), "", OPEN, PERSISTENT));
        a.call(&ops::create(&name("new"), "", OPEN, PERSISTENT));
        let all: Vec<String> = [
            "old", "changed", "acl", "parent", "emptied", "gone", "again", "new", "never",
        ]
        .map(&name)
        .to_vec();
        let none: &[String] = &[];
        for relative in [seen, last, last - 1, last + 100, 0, -1, i64::MAX] {
            // `seen` and `last` differ between the servers, their distance does not.
            s.note(&format!(
                "relative to {}",
                relative.wrapping_sub(seen).clamp(-99, 999)
            ));
            for lists in [
                [&all, none, none, none, none],
                [none, &all, none, none, none],
                [none, none, &all, none, none],
                [none, none, none, &all, none],
                [none, none, none, none, &all],
                [&all, &all, &all, &all, &all],
            ] {
                let mut c = s.session("C");
                c.call(&ops::set_watches(relative, &lists));
                for path in &all {
                    for kind in [CHILDREN, DATA, KIND_STAY, KIND_RECURSIVE, ANY] {
                        c.call(&ops::check_watches(path, kind));
                    }
                }
                c.close();
            }
        }
        b.call(&ops::set_watches(seen, &[&all, &all, &all]));
        a.call(&ops::set_data(&name("old"), "x", -1));
        a.call(&ops::create(&name("never"), "", OPEN, PERSISTENT));
        a.call(&ops::create(&name("old/c"), "", OPEN, PERSISTENT));
        b.settle();
    });
}

#[test]
fn set_watches_sets_what_stays() {
    compare(&BASE, "set_watches_sets_what_stays", |s| {
        let (mut a, mut b, mut c) = (s.session("A"), s.session("B"), s.session("C"));
        let top = s.path("/top");
        let list = [top.clone()];
        b.call(&ops::set_watches(0, &[&[], &[], &[], &list, &[]]));
        c.call(&ops::set_watches(0, &[&[], &[], &[], &[], &list]));
        for change in changes(&top) {
            a.call(&change);
            b.settle();
            c.settle();
        }
        // Odd paths are no errors.
        let odd = [
            "foo".to_owned(),
            String::new(),
            "/a//b".to_owned(),
            "/".to_owned(),
        ];
        a.call(&ops::set_watches(0, &[&odd, &odd, &odd, &odd, &odd]));
        a.settle();
    });
}

#[test]
fn add_watch_modes() {
    compare(&BASE, "add_watch_modes", |s| {
        let mut a = s.session("A");
        for mode in [0, 1, 2, 7, -1] {
            for path in [s.path(""), s.path("/none"), "foo".to_owned(), String::new()] {
                a.call(&ops::add_watch(&path, mode));
            }
        }
        a.settle();
    });
}

#[test]
fn watches_are_checked_and_removed_by_kind() {
    compare(&BASE, "watches_are_checked_and_removed_by_kind", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        let kinds = [CHILDREN, DATA, ANY, KIND_STAY, KIND_RECURSIVE, 0, 6, 9, -1];
        let sets: [&[ops::Op]; 7] = [
            &[],
            &[ops::get_data(&x, true)],
            &[ops::exists(&x, true)],
            &[ops::get_children(&x, true)],
            &[ops::add_watch(&x, STAY)],
            &[ops::add_watch(&x, RECURSIVE)],
            &[
                ops::get_data(&x, true),
                ops::get_children2(&x, true),
                ops::add_watch(&x, STAY),
                ops::add_watch(&x, RECURSIVE),
            ],
        ];
        for (n, set) in sets.iter().enumerate() {
            for kind in kinds {
                s.note(&format!("set {n}, kind {kind}"));
                a.call(&ops::remove_watches(&x, ANY));
                for op in *set {
                    a.call(op);
                }
                a.call(&ops::remove_watches(&x, kind));
                a.call(&ops::remove_watches(&x, kind));
                for left in kinds {
                    a.call(&ops::check_watches(&x, left));
                }
                a.call(&ops::set_data(&x, "", -1));
            }
        }
        a.call(&ops::check_watches(&s.path("/none"), ANY));
        a.call(&ops::check_watches("foo", ANY));
        let mut b = s.session("B");
        b.call(&ops::check_watches(&x, ANY));
        b.call(&ops::remove_watches(&x, ANY));
    });
}

#[test]
fn watches_end_with_their_connection() {
    compare(&BASE, "watches_end_with_their_connection", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        let (mut b, session) = s.session_with("B", &Hello::default());
        b.call(&ops::exists(&x, true));
        b.call(&ops::add_watch(&x, STAY));
        b.drop_connection();
        let (mut b, _) = s.session_with("B again", &Hello::again(&session));
        b.call(&ops::check_watches(&x, ANY));
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        b.settle();
        let c = {
            let mut c = s.session("C");
            c.call(&ops::get_data(&x, true));
            c
        };
        c.close();
        a.call(&ops::set_data(&x, "y", -1));
    });
}

#[test]
fn a_refused_read_sets_no_watch() {
    compare(&BASE, "a_refused_read_sets_no_watch", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let (shut, none) = (s.path("/shut"), s.path("/none"));
        a.call(&ops::create(&shut, "", &[world(31 & !READ)], PERSISTENT));
        for path in [&shut, &none] {
            for op in [
                code::EXISTS,
                code::GET_DATA,
                code::GET_CHILDREN,
                code::GET_CHILDREN2,
            ] {
                b.call(&ops::read(op, path, true));
                for kind in [CHILDREN, DATA] {
                    b.call(&ops::check_watches(path, kind));
                }
                b.call(&ops::remove_watches(path, ANY));
            }
        }
        b.call(&ops::add_watch("/", STAY));
        b.call(&ops::check_watches("/", ANY));
        b.call(&ops::check_watches("", ANY));
        b.settle();
    });
}

#[test]
fn ephemerals_of_a_closed_session_fire() {
    compare(&BASE, "ephemerals_of_a_closed_session_fire", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let top = s.path("/top");
        a.call(&ops::create(&top, "", OPEN, PERSISTENT));
        for n in 0..4 {
            a.call(&ops::create(
                &format!("{top}/{n}"),
                "",
                OPEN,
                ops::EPHEMERAL,
            ));
            b.call(&ops::get_data(&format!("{top}/{n}"), true));
        }
        b.call(&ops::get_children(&top, true));
        b.call(&ops::add_watch(&top, RECURSIVE));
        a.call(&ops::add_watch(&s.path("/nothing"), STAY));
        a.close();
        s.any_order(|| b.settle());
        b.call(&ops::get_children2(&top, false));
    });
}
