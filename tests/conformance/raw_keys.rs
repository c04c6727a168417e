//! What keys switch on that is off by default: TTL nodes, reconfig, other digests, enforced authentication. Lines 32,
//! 33, 55, 70, 72 and 79 of the checklist.

use crate::compare::{Deviation, compare, compare_fresh, compare_with};
use crate::ops::{self, ALL, Entry, OPEN, PERSISTENT, WITH_TTL, code};
use crate::script::{Hello, Script};
use crate::servers::{BASE, ENFORCED, EXTENDED, NAMED, NAMELESS, REAPING_UNUSED, SUPER_PASSWORD};
use crate::words_state::word;

const TTL_MAX: i64 = (1 << 40) - 1;
const SEQUENTIAL_WITH_TTL: i32 = 6;

#[test]
fn ttl_nodes() {
    compare(&EXTENDED, "ttl_nodes", |s| {
        let mut a = s.session("A");
        for (n, (flags, ttl)) in [
            (WITH_TTL, 1),
            (WITH_TTL, TTL_MAX),
            (WITH_TTL, 0),
            (WITH_TTL, -1),
            (WITH_TTL, TTL_MAX + 1),
            (WITH_TTL, i64::MIN),
            (SEQUENTIAL_WITH_TTL, 60_000),
            (SEQUENTIAL_WITH_TTL, 0),
            (PERSISTENT, 5),
            (ops::EPHEMERAL, 5),
            (ops::CONTAINER, 0),
            (7, 5),
            (-1, 5),
        ]
        .into_iter()
        .enumerate()
        {
            let path = s.path(&format!("/{n}"));
            s.note(&format!("flags {flags}, ttl {ttl}"));
            a.call(&ops::create_ttl(&path, flags, ttl));
            a.call(&ops::exists(&path, false));
        }
        for op in [code::CREATE, code::CREATE2, code::CREATE_CONTAINER] {
            for flags in [WITH_TTL, SEQUENTIAL_WITH_TTL] {
                let path = s.path("/without");
                a.call(&ops::create_with(
                    op,
                    Some(path.as_bytes()),
                    None,
                    OPEN,
                    flags,
                ));
            }
        }
        let path = s.path("/0");
        let child = format!("{path}/child");
        a.call(&ops::create2(&child, "", OPEN, PERSISTENT));
        a.call(&ops::create_ttl(
            &format!("{path}/ttl-"),
            SEQUENTIAL_WITH_TTL,
            1,
        ));
        a.call(&ops::get_children2(&path, false));
        a.call(&ops::set_data(&path, "x", 0));
        a.call(&ops::get_data(&path, false));
        a.call(&ops::get_acl(&path));
        a.call(&ops::delete(&child, -1));
        a.call(&ops::path_only(code::GET_EPHEMERALS, None));
        a.close();
        let mut b = s.session("B");
        b.call(&ops::get_children2(&s.path(""), false));
    });
}

#[test]
fn ttl_nodes_in_a_multi() {
    compare(&EXTENDED, "ttl_nodes_in_a_multi", |s| {
        let mut a = s.session("A");
        let at = |name: &str| s.path(name);
        a.call(&ops::multi(&[
            ops::create(&at("/1"), "", OPEN, PERSISTENT),
            ops::create2(&at("/2"), "", OPEN, PERSISTENT),
            ops::create_container(&at("/3"), ops::CONTAINER),
            ops::create_ttl(&at("/4"), WITH_TTL, 77),
            ops::create_ttl(&at("/5-"), SEQUENTIAL_WITH_TTL, 77),
            ops::set_data(&at("/4"), "x", 0),
            ops::check(&at("/4"), 1),
            ops::create2(&at("/4/child"), "", OPEN, PERSISTENT),
            ops::delete(&at("/1"), -1),
        ]));
        a.call(&ops::exists(&at("/4"), false));
        // The flags decide, and a ttl without its flag is passed over.
        a.call(&ops::multi(&[
            ops::create_ttl(&at("/6"), PERSISTENT, 5),
            ops::create_ttl(&at("/7"), ops::CONTAINER, 5),
            ops::create_ttl(&at("/8"), ops::EPHEMERAL, 5),
        ]));
        for ttl in [0, -1, TTL_MAX + 1] {
            a.call(&ops::multi(&[
                ops::create(&at("/9"), "", OPEN, PERSISTENT),
                ops::create_ttl(&at("/10"), WITH_TTL, ttl),
            ]));
        }
        for flags in [7, -1] {
            a.call(&ops::multi(&[ops::create_ttl(&at("/11"), flags, 5)]));
        }
        for flags in [WITH_TTL, SEQUENTIAL_WITH_TTL] {
            a.call(&ops::multi(&[ops::create(&at("/12"), "", OPEN, flags)]));
        }
        a.call(&ops::get_children2(&s.path(""), false));
    });
}

/// One server cannot be reconfigured, whoever asks.
#[test]
fn reconfig_of_one_server() {
    compare(&EXTENDED, "reconfig_of_one_server", |s| {
        let (mut a, session) = s.session_with("A", &Hello::default());
        a.call(&ops::reconfig());
        a.call(&ops::reconfig().cut_to(3));
        a.call(&ops::get_data("/zookeeper/config", true));
        a.call(&ops::get_acl("/zookeeper/config"));
        a.call(&ops::set_data("/zookeeper/config", "x", -1));
        a.call(&ops::digest(SUPER_PASSWORD));
        a.call(&ops::reconfig());
        a.call(&ops::multi(&[ops::reconfig()]));
        let mut b = s.session_with("A again", &Hello::again(&session)).0;
        a.until_closed();
        b.call(&ops::reconfig());
        b.call(&ops::exists(&s.path(""), false));
    });
}

#[test]
fn the_digest_algorithm_is_an_option() {
    compare(&EXTENDED, "the_digest_algorithm_is_an_option", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let path = s.path("/x");
        a.call(&ops::digest("bob:pw"));
        a.call(&ops::create(
            &path,
            "",
            &[Entry(ALL, Some("auth"), None)],
            PERSISTENT,
        ));
        a.call(&ops::get_acl(&path));
        b.call(&ops::get_data(&path, false));
        // The identity of a server with SHA-1.
        let sha1 = s.path("/sha1");
        let bob = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";
        b.call(&ops::create(
            &sha1,
            "",
            &[Entry(ALL, Some("digest"), Some(bob))],
            PERSISTENT,
        ));
        a.call(&ops::get_data(&sha1, false));
        b.call(&ops::digest(SUPER_PASSWORD));
        b.call(&ops::bare(code::WHO_AM_I));
        b.call(&ops::get_data(&path, false));
    });
}

#[test]
fn the_digest_scheme_can_be_switched_off() {
    compare(
        &REAPING_UNUSED,
        "the_digest_scheme_can_be_switched_off",
        |s| {
            let mut a = s.session("A");
            let lists: [&[Entry<'_>]; 4] = [
                &[Entry(ALL, Some("digest"), Some("bob:hash"))],
                &[Entry(ALL, Some("auth"), None)],
                &[Entry(ALL, Some("ip"), Some("127.0.0.1"))],
                OPEN,
            ];
            for (n, list) in lists.into_iter().enumerate() {
                let path = s.path(&format!("/{n}"));
                a.call(&ops::create(&path, "", list, PERSISTENT));
                a.call(&ops::get_acl(&path));
            }
            a.send(&ops::digest("bob:pw"));
            a.until_closed();
        },
    );
}

/// Whoever has not authenticated is told so, whatever was asked, and then the connection ends.
#[test]
fn enforced_authentication() {
    compare_fresh(&ENFORCED, "enforced_authentication", &[], |s| {
        let anything = [
            ("create", ops::create("/a", "", OPEN, PERSISTENT)),
            ("exists", ops::exists("/", true)),
            ("ping", ops::bare(code::PING)),
            ("close", ops::bare(code::CLOSE_SESSION)),
            ("multi", ops::multi(&[])),
            ("sync", ops::sync(Some("/"))),
            ("reconfig", ops::reconfig()),
            ("whoami", ops::bare(code::WHO_AM_I)),
            ("watches", ops::set_watches(0, &[&[], &[], &[]])),
            ("unknown", ops::bare(888)),
            ("check", ops::check("/", -1)),
            (
                "malformed",
                ops::create("/a", "", OPEN, PERSISTENT).cut_to(2),
            ),
        ];
        for (label, op) in anything {
            let (mut conn, session) = s.session_with(label, &Hello::default());
            conn.send_as(7, &op);
            conn.until_closed();
            // The session itself lives on.
            let (mut again, _) = s.session_with("again", &Hello::again(&session));
            again.call(&ops::digest("bob:pw"));
            again.call(&ops::exists("/a", false));
            again.close();
        }
        let mut ip = s.session("ip is not enough");
        ip.call(&ops::auth(Some("ip"), Some(b"")));
        ip.send(&ops::exists("/", false));
        ip.until_closed();
        let mut late = s.session("what waits gets no answer");
        late.send_all(&[
            ops::exists("/", false),
            ops::digest("bob:pw"),
            ops::exists("/", false),
        ]);
        late.until_closed();
        let mut bob = s.session("bob");
        bob.send_all(&[
            ops::digest("bob:pw"),
            ops::create("/bob", "", &[Entry(ALL, Some("auth"), None)], PERSISTENT),
            ops::get_acl("/bob"),
        ]);
        bob.frames(3);
        bob.call(&ops::bare(code::WHO_AM_I));
        let mut wrong = s.session("another scheme");
        wrong.send(&ops::auth(Some("sasl"), Some(b"x")));
        wrong.until_closed();
        let mut token = s.session("a token");
        token.call(&ops::auth(Some("digest"), Some(b"")));
        token.call(&ops::exists("/", false));
    });
}

fn ensemble(name: &[u8]) -> ops::Op {
    ops::auth(Some("ensemble"), Some(name))
}

/// How often a name was right, wrong and not looked at.
fn note_names_counted(s: &mut Script<'_>) {
    let text = word(s, "mntr");
    for line in text.lines().filter(|l| l.contains("ensemble_auth")) {
        s.note(line);
    }
}

/// What the scheme `ensemble` makes of a connection: nothing. It is no identity and stands in no list.
fn no_identity_of_the_ensemble(s: &Script<'_>, name: &[u8]) {
    let mut a = s.session("no identity");
    a.call(&ensemble(name));
    a.call(&ops::bare(code::WHO_AM_I));
    let lists = [
        Entry(ALL, Some("ensemble"), Some("blue")),
        Entry(ALL, Some("ensemble"), Some("")),
        Entry(ALL, Some("ensemble"), None),
        Entry(ALL, Some("auth"), None),
    ];
    for (n, entry) in lists.into_iter().enumerate() {
        let path = format!("/list-{n}");
        a.call(&ops::create(&path, "", &[entry], PERSISTENT));
    }
    a.close();
}

/// A client that means another ensemble is sent away without a word, so that it tries the next server.
#[test]
fn names_of_ensembles() {
    compare_fresh(&NAMED, "names_of_ensembles", &[], |s| {
        for name in [&b"blue"[..], b"green sea", b"Black", b""] {
            let mut conn = s.session("right");
            conn.call(&ensemble(name));
            conn.call(&ops::exists("/", false));
        }
        let mut null = s.session("null");
        null.call(&ops::auth(Some("ensemble"), None));
        null.send_as(-4, &ensemble(b"blue"));
        null.frames(1);
        null.settle();
        note_names_counted(s);
        let wrong: [&[u8]; 7] = [
            b"red",
            b"Blue",
            b" blue",
            b"blue,green sea",
            b"green",
            b"black\xff\n",
            &[b'x'; 100_000],
        ];
        for name in wrong {
            let (mut conn, session) = s.session_with("wrong", &Hello::default());
            conn.call(&ops::exists("/", false));
            conn.send(&ensemble(name));
            conn.until_closed();
            // The session itself lives on.
            let mut again = s.session_with("again", &Hello::again(&session)).0;
            again.call(&ensemble(b"blue"));
            again.call(&ops::exists("/", false));
            again.close();
        }
        no_identity_of_the_ensemble(s, b"blue");
        note_names_counted(s);
        word(s, "srst");
        note_names_counted(s);
    });
}

#[test]
fn an_ensemble_without_a_name_takes_any() {
    compare_fresh(&NAMELESS, "an_ensemble_without_a_name", &[], |s| {
        let mut a = s.session("A");
        for name in [&b""[..], b"blue", b"\xff"] {
            a.call(&ensemble(name));
        }
        a.call(&ops::exists("/", false));
        no_identity_of_the_ensemble(s, b"anything");
        note_names_counted(s);
    });
}

/// The other table of watches takes one-shot ones alone.
#[test]
fn add_watch_works_whatever_the_name_of_the_table() {
    let deviations = [
        Deviation {
            number: "watchManagerName",
            apache: &["A < xid 1 z+2 err -5 op 106"],
            ironkeeper: &["A < xid 1 z+2 err 0 op 106 int 0"],
        },
        Deviation {
            number: "watchManagerName",
            apache: &["A < xid 2 z+2 err -5 op 106"],
            ironkeeper: &["A < xid 2 z+2 err 0 op 106 int 0"],
        },
    ];
    compare_with(
        &NAMELESS,
        "add_watch_whatever_the_table",
        &deviations,
        |s| {
            let mut a = s.session("A");
            let path = s.path("/x");
            for mode in [0, 1, 2] {
                a.call(&ops::add_watch(&path, mode));
            }
            a.call(&ops::exists(&path, true));
            a.call(&ops::create(&path, "", OPEN, PERSISTENT));
            a.settle();
        },
    );
}

/// Without its provider the scheme is like any other that is not there.
#[test]
fn the_ensemble_scheme_is_off_by_default() {
    compare(&BASE, "the_ensemble_scheme_is_off_by_default", |s| {
        for name in [&b""[..], b"blue"] {
            let mut a = s.session("A");
            a.send(&ensemble(name));
            a.until_closed();
        }
    });
}
