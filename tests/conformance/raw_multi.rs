//! multi and multiRead: lines 55 to 62 of the checklist.

use crate::compare::{Deviation, compare, compare_with};
use crate::ops::{self, OPEN, Op, PERSISTENT, code, world};
use crate::servers::BASE;

#[test]
fn a_multi_that_succeeds() {
    compare(&BASE, "a_multi_that_succeeds", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        let below = |name: &str| format!("{x}/{name}");
        a.call(&ops::multi(&[
            ops::create(&x, "0", OPEN, PERSISTENT),
            ops::create2(&below("two"), "1", OPEN, ops::EPHEMERAL),
            ops::create_container(&below("container"), ops::CONTAINER),
            ops::create_ttl(&below("plain"), PERSISTENT, 5),
            ops::create_ttl(&below("contained"), ops::CONTAINER, 5),
            ops::create(&below("flag4"), "", OPEN, ops::CONTAINER),
            ops::create2(&below("flag4-2"), "", OPEN, ops::CONTAINER),
            ops::set_data(&x, "2", 0),
            ops::check(&x, 1),
            ops::delete(&below("two"), 0),
            ops::set_data(&x, "3", 1),
        ]));
        a.call(&ops::get_data(&x, false));
        a.call(&ops::get_children2(&x, false));
        a.call(&ops::get_children2(&s.path(""), false));
    });
}

#[test]
fn a_multi_that_fails_does_nothing() {
    compare(&BASE, "a_multi_that_fails_does_nothing", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        a.call(&ops::add_watch(&x, 1));
        let seq = || ops::create(&format!("{x}/s"), "", OPEN, ops::SEQUENTIAL);
        let failing: [Op; 10] = [
            ops::check(&x, 9),
            ops::delete(&s.path("/none"), -1),
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::create(&s.path("/none/x"), "", OPEN, PERSISTENT),
            ops::create(&s.path("/y"), "", &[], PERSISTENT),
            ops::create("foo", "", OPEN, PERSISTENT),
            ops::set_data(&x, "", 5),
            ops::set_data("/a//b", "", -1),
            ops::check("foo", -1),
            ops::create_ttl(&s.path("/y"), 9, 5),
        ];
        for fails in failing {
            a.call(&ops::multi(&[
                seq(),
                ops::set_data(&x, "no", -1),
                fails,
                seq(),
                seq(),
            ]));
        }
        a.call(&ops::multi(&[ops::delete(&x, -1), ops::check(&x, -1)]));
        a.call(&ops::get_data(&x, false));
        a.call(&seq());
        a.settle();
    });
}

#[test]
fn later_parts_see_earlier_ones() {
    compare(&BASE, "later_parts_see_earlier_ones", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        let below = |name: &str| format!("{x}/{name}");
        let sequential = |name: &str| ops::create2(&below(name), "", OPEN, ops::SEQUENTIAL);
        a.call(&ops::multi(&[
            ops::create(&x, "", OPEN, PERSISTENT),
            sequential("a-"),
            sequential("a-"),
            ops::create2(&below("b"), "", OPEN, PERSISTENT),
            sequential("a-"),
            ops::delete(&below("a-0000000001"), 0),
            sequential("a-"),
        ]));
        a.call(&ops::get_children2(&x, false));
        a.call(&ops::multi(&[
            ops::delete(&below("b"), 0),
            ops::create2(&below("b"), "new", OPEN, ops::EPHEMERAL),
            ops::set_data(&below("b"), "newer", 0),
            ops::check(&below("b"), 1),
        ]));
        a.call(&ops::multi(&[
            ops::create(&below("e"), "", OPEN, ops::EPHEMERAL),
            ops::create(&below("e/child"), "", OPEN, PERSISTENT),
        ]));
        a.call(&ops::multi(&[
            ops::create(&below("shut"), "", &[world(ops::READ)], PERSISTENT),
            ops::create(&below("shut/child"), "", OPEN, PERSISTENT),
        ]));
        a.call(&ops::multi(&[
            ops::create(&below("p"), "", OPEN, PERSISTENT),
            ops::create(&below("p/c"), "", OPEN, PERSISTENT),
            ops::delete(&below("p"), -1),
        ]));
        a.call(&ops::get_children2(&x, false));
        a.settle();
    });
}

#[test]
fn a_pipelined_multi_that_fails_is_undone_for_those_behind_it() {
    compare(&BASE, "a_pipelined_multi_that_fails", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        let below = |name: &str| format!("{x}/{name}");
        a.send_all(&[
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::multi(&[
                ops::create(&below("gone"), "", OPEN, PERSISTENT),
                ops::set_data(&x, "gone", 0),
                ops::check(&below("none"), -1),
            ]),
            ops::set_data(&x, "kept", 0),
            ops::create(&below("s"), "", OPEN, ops::SEQUENTIAL),
            ops::create(&below("gone"), "", OPEN, PERSISTENT),
            ops::multi(&[
                ops::delete(&below("gone"), 0),
                ops::check(&below("gone"), -1),
            ]),
            ops::delete(&below("gone"), 0),
            ops::get_children2(&x, false),
        ]);
        a.frames(8);
        a.settle();
    });
}

#[test]
fn multis_that_are_none() {
    compare(&BASE, "multis_that_are_none", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        let good = ops::set_data(&x, "no", -1);
        let bad_multis = [
            ops::multi(&[]),
            ops::multi(&[good.clone(), ops::set_acl(&x, OPEN, -1)]),
            ops::multi(&[
                good.clone(),
                ops::path_only(code::DELETE_CONTAINER, Some(&x)),
            ]),
            ops::multi(&[good.clone(), ops::exists(&x, false)]),
            ops::multi(&[good.clone(), ops::get_data(&x, false)]),
            ops::multi(&[ops::get_data(&x, false)]),
            ops::multi(&[good.clone(), ops::bare(888)]),
            ops::multi(&[good.clone(), ops::multi(&[])]),
            ops::multi(&[good.clone(), ops::create(&s.path("/f"), "", OPEN, 9)]),
            ops::multi(&[good.clone(), ops::create(&s.path("/f"), "", OPEN, -1)]),
            ops::multi(&[good.clone(), ops::create(&s.path("/f"), "", OPEN, 5)]),
            ops::multi(&[good.clone(), ops::create2(&s.path("/f"), "", OPEN, 6)]),
            ops::multi(&[good.clone(), ops::create_container(&s.path("/f"), 5)]),
            ops::multi(&[good.clone(), ops::create_ttl(&s.path("/f"), 5, 5)]),
        ];
        for bad in bad_multis {
            a.call(&bad);
            a.call(&ops::get_data(&x, false));
        }
        let whole = ops::multi(std::slice::from_ref(&good));
        let length = whole.body.len();
        for cut in [length - 1, length - 9, length - 10, 9, 8, 0] {
            a.call(&whole.clone().cut_to(cut));
        }
        // Reading stops at the first header that says done, whatever its type.
        let mut done_early = ops::multi(&[good.clone(), good]);
        done_early.body[4] = 1;
        a.call(&done_early);
        let mut other_end = whole;
        let at = length - 9;
        other_end.body[at..at + 4].copy_from_slice(&77_i32.to_be_bytes());
        a.call(&other_end);
        a.call(&ops::get_data(&x, false));
    });
}

#[test]
fn null_acl_vectors_in_multi() {
    compare(&BASE, "null_acl_vectors_in_multi", |s| {
        let mut a = s.session("A");
        for code in [code::CREATE, code::CREATE2, code::CREATE_CONTAINER] {
            let path = s.path("/x");
            let mut op = ops::create_with(code, Some(path.as_bytes()), Some(b""), &[], PERSISTENT);
            let at = 4 + path.len() + 4;
            op.body[at..at + 4].copy_from_slice(&(-1_i32).to_be_bytes());
            a.call(&ops::multi(&[op]));
        }
        a.settle();
    });
}

#[test]
fn events_of_a_multi() {
    compare(&BASE, "events_of_a_multi", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let x = s.path("/x");
        b.call(&ops::exists(&x, true));
        b.call(&ops::get_children(&s.path(""), true));
        b.call(&ops::add_watch(&s.path(""), 1));
        b.call(&ops::add_watch(&x, 0));
        a.call(&ops::add_watch(&s.path(""), 0));
        a.call(&ops::multi(&[
            ops::create(&x, "", OPEN, PERSISTENT),
            ops::set_data(&x, "1", -1),
            ops::create(&format!("{x}/c"), "", OPEN, PERSISTENT),
            ops::delete(&format!("{x}/c"), -1),
            ops::delete(&x, -1),
        ]));
        b.settle();
    });
}

#[test]
fn multi_read_answers_each_part() {
    compare(&BASE, "multi_read_answers_each_part", |s| {
        let mut a = s.session("A");
        let (x, shut) = (s.path("/x"), s.path("/shut"));
        a.call(&ops::create(&x, "data", OPEN, PERSISTENT));
        a.call(&ops::create(&format!("{x}/c"), "", OPEN, PERSISTENT));
        a.call(&ops::create(&shut, "", &[world(ops::WRITE)], PERSISTENT));
        a.call(&ops::multi_read(&[
            ops::get_data(&x, true),
            ops::get_children(&x, true),
            ops::get_data(&s.path("/none"), true),
            ops::get_children(&s.path("/none"), false),
            ops::get_data(&shut, false),
            ops::get_children(&shut, false),
            ops::get_data("foo", false),
        ]));
        a.call(&ops::multi_read(&[]));
        a.call(&ops::multi_read(&[ops::get_children2(&x, false)]));
        a.call(&ops::multi_read(&[ops::exists(&x, false)]));
        let whole = ops::multi_read(&[ops::get_data(&x, false)]);
        for cut in [whole.body.len() - 1, whole.body.len() - 9, 9, 0] {
            a.call(&whole.clone().cut_to(cut));
        }
        // None of the watch flags above counted.
        a.call(&ops::set_data(&x, "changed", -1));
        a.call(&ops::delete(&format!("{x}/c"), -1));
        a.call(&ops::create(&s.path("/none"), "", OPEN, PERSISTENT));
        a.settle();
    });
}

const D7: &[Deviation] = &[
    Deviation {
        number: "D7",
        apache: &[r"A < xid 4 z+3 err -5 op 22 SURPLUS \xff\xff\xff\xff\x01\xff\xff\xff\xff"],
        ironkeeper: &["A < xid 4 z+3 err -5 op 22"],
    },
    Deviation {
        number: "D7",
        apache: &[r"A < xid 5 z+3 err -5 op 22 SURPLUS \xff\xff\xff\xff\x01\xff\xff\xff\xff"],
        ironkeeper: &["A < xid 5 z+3 err -5 op 22"],
    },
];

#[test]
fn multi_read_takes_no_writes() {
    compare_with(&BASE, "multi_read_takes_no_writes", D7, |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        a.call(&ops::create(&x, "data", OPEN, PERSISTENT));
        let read = ops::get_data(&x, false);
        a.call(&ops::multi_read(&[
            read.clone(),
            ops::set_data(&x, "no", -1),
        ]));
        a.call(&ops::multi_read(&[ops::delete(&x, -1), read.clone()]));
        a.call(&ops::multi_read(&[ops::set_data(&x, "no", -1)]));
        a.call(&ops::multi_read(&[ops::check(&x, -1), ops::delete(&x, -1)]));
        a.call(&read);
    });
}
