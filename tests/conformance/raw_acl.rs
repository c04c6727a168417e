//! Access control and identities: lines 63 to 73 of the checklist.

use crate::compare::compare;
use crate::ops::world;
use crate::ops::{self, ADMIN, ALL, CREATE, DELETE, Entry, OPEN, PERSISTENT, READ, WRITE, code};
use crate::script::{Conn, Script};
use crate::servers::{BASE, SKIP_ACL, SUPER_PASSWORD};

/// The identity text of `bob:pw`.
const BOB: &str = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

fn entry<'a>(perms: i32, scheme: &'a str, id: &'a str) -> Entry<'a> {
    Entry(perms, Some(scheme), Some(id))
}

/// Creates a node with each list, reads the list back, and sets it on another node.
fn try_lists(s: &Script<'_>, conn: &mut Conn, lists: &[Vec<Entry<'_>>]) {
    let other = s.path("/other");
    conn.call(&ops::create(&other, "", OPEN, PERSISTENT));
    for (n, list) in lists.iter().enumerate() {
        let path = s.path(&format!("/{n}"));
        s.note(&format!("list {n}"));
        conn.call(&ops::create(&path, "", list, PERSISTENT));
        conn.call(&ops::get_acl(&path));
        conn.call(&ops::set_acl(&other, list, -1));
        conn.call(&ops::get_acl(&other));
        conn.call(&ops::set_acl(&other, OPEN, -1));
    }
}

/// Lists without an identity that the caller would need.
fn lists() -> Vec<Vec<Entry<'static>>> {
    let single = [
        entry(31, "world", "anyone"),
        entry(0, "world", "anyone"),
        entry(-1, "world", "anyone"),
        entry(32, "world", "anyone"),
        entry(31, "world", "bob"),
        entry(31, "world", ""),
        entry(31, "World", "anyone"),
        entry(31, "nonsense", "x"),
        entry(31, "", "x"),
        entry(31, "super", ""),
        entry(31, "super", "x"),
        entry(31, "x509", "CN=x"),
        entry(31, "sasl", "bob"),
        entry(31, "auth", ""),
        entry(31, "digest", "bob"),
        entry(31, "digest", "bob:"),
        entry(31, "digest", ":bob"),
        entry(31, "digest", "a:b"),
        entry(31, "digest", "a:b:"),
        entry(31, "digest", "a:b:c"),
        entry(31, "digest", "::"),
        entry(31, "digest", ":"),
        entry(31, "digest", ""),
        entry(31, "ip", "127.0.0.1"),
        entry(31, "ip", "127.0.0.0/8"),
        entry(31, "ip", "10.0.0.1/0"),
        entry(31, "ip", "10.0.0.1/32"),
        entry(31, "ip", "10.0.0.1/33"),
        entry(31, "ip", "10.0.0.1/-1"),
        entry(31, "ip", "10.0.0.1/"),
        entry(31, "ip", "10.0.0.1/x"),
        entry(31, "ip", "10.0.0.1/8/8"),
        entry(31, "ip", "10.0.0"),
        entry(31, "ip", "10.0.0.256"),
        entry(31, "ip", "10.0.0.01"),
        entry(31, "ip", "1.2.3.4.5"),
        entry(31, "ip", "localhost"),
        entry(31, "ip", ""),
        entry(31, "ip", "::1"),
        entry(31, "ip", "::1/128"),
        entry(31, "ip", "::1/129"),
        entry(31, "ip", "::"),
        entry(31, "ip", "2001:db8::/32"),
        entry(31, "ip", "2001:db8:0:0:0:0:0:1"),
        entry(31, "ip", "2001:db8:0:0:0:0:0:1:2"),
        entry(31, "ip", "2001:db8::1::2"),
        entry(31, "ip", "::ffff:127.0.0.1"),
        entry(31, "ip", "fe80::1%eth0"),
        entry(31, "ip", "12345::1"),
        Entry(31, None, Some("anyone")),
        Entry(31, Some("world"), None),
        Entry(31, Some("digest"), None),
        Entry(31, Some("ip"), None),
        Entry(31, Some("auth"), None),
        Entry(31, Some("nonsense"), None),
        Entry(31, None, None),
    ];
    let mut all: Vec<Vec<Entry<'static>>> = single.into_iter().map(|entry| vec![entry]).collect();
    all.push(vec![]);
    all.push(vec![world(31), entry(31, "nonsense", "x")]);
    all.push(vec![
        world(1),
        world(2),
        world(1),
        entry(31, "digest", BOB),
        world(2),
    ]);
    all.push(vec![
        entry(31, "digest", BOB),
        entry(31, "digest", BOB),
        entry(1, "digest", BOB),
    ]);
    all
}

#[test]
fn lists_that_are_and_are_not_well_formed() {
    compare(&BASE, "lists_that_are_and_are_not_well_formed", |s| {
        let mut a = s.session("A");
        try_lists(s, &mut a, &lists());
    });
}

#[test]
fn without_checks_lists_still_have_a_form() {
    compare(&SKIP_ACL, "without_checks_lists_still_have_a_form", |s| {
        let mut a = s.session("A");
        try_lists(s, &mut a, &lists());
        let shut = s.path("/shut");
        a.call(&ops::create(
            &shut,
            "",
            &[entry(31, "digest", BOB)],
            PERSISTENT,
        ));
        a.call(&ops::set_data(&shut, "x", -1));
        a.call(&ops::get_data(&shut, true));
        a.call(&ops::get_acl(&shut));
        a.call(&ops::create(
            &format!("{shut}/c"),
            "",
            &[world(0)],
            PERSISTENT,
        ));
        a.call(&ops::set_acl(&format!("{shut}/c"), OPEN, -1));
        a.call(&ops::delete(&format!("{shut}/c"), -1));
        a.call(&ops::set_data("/zookeeper/config", "mine", -1));
        a.call(&ops::set_data(&shut, "y", -1));
    });
}

#[test]
fn the_auth_scheme_expands() {
    compare(&BASE, "the_auth_scheme_expands", |s| {
        let mut a = s.session("A");
        a.call(&ops::digest("bob:pw"));
        let auth = |perms| entry(perms, "auth", "");
        try_lists(
            s,
            &mut a,
            &[
                vec![auth(31)],
                vec![Entry(31, Some("auth"), None)],
                vec![entry(31, "auth", "ignored:text")],
                vec![auth(31), auth(31)],
                vec![auth(1), auth(30)],
                vec![entry(31, "digest", BOB), auth(31)],
                vec![world(1), auth(30)],
            ],
        );
    });
}

#[test]
fn bob_is_who_he_is() {
    compare(&BASE, "bob_is_who_he_is", |s| {
        let mut a = s.session("A");
        for text in [
            "bob:pw",
            "bob",
            ":pw",
            "bob:",
            "bob:p:w",
            "",
            ":",
            "b\u{f6}b:pw",
        ] {
            let mut one = s.session(&format!("as {text}"));
            one.call(&ops::digest(text));
            one.call(&ops::bare(code::WHO_AM_I));
            let path = s.path(&format!("/of {}", text.replace('\0', "")));
            one.call(&ops::create(
                &path,
                "",
                &[entry(31, "auth", "")],
                PERSISTENT,
            ));
            one.call(&ops::get_acl(&path));
            a.call(&ops::get_acl(&path));
        }
        let mut raw = s.session("raw bytes");
        raw.call(&ops::auth(Some("digest"), Some(b"\xff\xfe:\xfd")));
        raw.call(&ops::bare(code::WHO_AM_I));
    });
}

#[test]
fn identities_add_up_and_end_with_the_connection() {
    compare(&BASE, "identities_add_up", |s| {
        let (mut a, session) = s.session_with("A", &crate::script::Hello::default());
        a.call(&ops::digest("bob:pw"));
        a.call(&ops::digest("bob:pw"));
        a.call(&ops::digest("ann:pw"));
        a.call(&ops::digest("bob:other"));
        a.call(&ops::auth(Some("ip"), Some(b"anything")));
        a.call(&ops::auth(Some("ip"), None));
        a.call(&ops::bare(code::WHO_AM_I));
        let path = s.path("/x");
        a.call(&ops::create(
            &path,
            "",
            &[entry(31, "digest", BOB)],
            PERSISTENT,
        ));
        a.drop_connection();
        let (mut a, _) = s.session_with("A again", &crate::script::Hello::again(&session));
        a.call(&ops::bare(code::WHO_AM_I));
        a.call(&ops::get_data(&path, false));
        a.call(&ops::digest("bob:pw"));
        a.call(&ops::get_data(&path, false));
    });
}

#[test]
fn auth_that_fails_closes() {
    compare(&BASE, "auth_that_fails_closes", |s| {
        let tries = [
            ("unknown", ops::auth(Some("nonsense"), Some(b"x"))),
            ("empty scheme", ops::auth(Some(""), Some(b"x"))),
            ("world", ops::auth(Some("world"), Some(b"anyone"))),
            ("auth", ops::auth(Some("auth"), Some(b""))),
            ("super", ops::auth(Some("super"), Some(b""))),
            ("sasl", ops::auth(Some("sasl"), Some(b"bob"))),
            ("x509", ops::auth(Some("x509"), Some(b"CN=x"))),
            ("null scheme", ops::auth(None, Some(b"x"))),
            ("null digest", ops::auth(Some("digest"), None)),
        ];
        for (label, op) in tries {
            let mut a = s.session(label);
            a.send_as(-4, &op);
            a.until_closed();
        }
    });
}

#[test]
fn each_permission_opens_what_it_should() {
    compare(&BASE, "each_permission_opens_what_it_should", |s| {
        let (mut root, mut a) = (s.session("super"), s.session("A"));
        root.call(&ops::digest(SUPER_PASSWORD));
        for perms in [0, READ, WRITE, CREATE, DELETE, ADMIN, READ | ADMIN, ALL] {
            let node = s.path(&format!("/{perms}"));
            let child = format!("{node}/child");
            root.call(&ops::create(&node, "", OPEN, PERSISTENT));
            root.call(&ops::create(&child, "", &[], PERSISTENT));
            root.call(&ops::create(
                &child,
                "",
                &[entry(31, "digest", BOB)],
                PERSISTENT,
            ));
            root.call(&ops::set_acl(
                &node,
                &[world(perms), entry(31, "digest", BOB)],
                -1,
            ));
            s.note(&format!("permissions {perms}"));
            for op in [
                ops::exists(&node, false),
                ops::get_data(&node, false),
                ops::get_children(&node, false),
                ops::get_children2(&node, false),
                ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&node)),
                ops::get_acl(&node),
                ops::set_data(&node, "x", -1),
                ops::create(&format!("{node}/new"), "", OPEN, PERSISTENT),
                ops::delete(&child, -1),
                ops::multi(&[ops::check(&node, -1)]),
                ops::multi_read(&[ops::get_data(&node, false)]),
                ops::sync(Some(&node)),
                ops::add_watch(&node, 0),
                ops::set_acl(&node, OPEN, 77),
                ops::set_acl(&node, OPEN, -1),
            ] {
                a.call(&op);
            }
        }
    });
}

#[test]
fn permissions_of_ones_own() {
    compare(&BASE, "permissions_of_ones_own", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        b.call(&ops::digest("bob:pw"));
        let bobs: [(&str, &[Entry<'_>]); 6] = [
            ("digest", &[entry(31, "digest", BOB)]),
            (
                "split",
                &[entry(READ, "digest", BOB), entry(WRITE, "digest", BOB)],
            ),
            ("read", &[world(READ), entry(31, "digest", BOB)]),
            ("here", &[entry(31, "ip", "127.0.0.1")]),
            ("near", &[entry(31, "ip", "127.0.0.0/8")]),
            ("away", &[entry(31, "ip", "10.0.0.0/8")]),
        ];
        for (name, list) in bobs {
            let path = s.path(&format!("/{name}"));
            b.call(&ops::create(&path, "", list, PERSISTENT));
            for conn in [&mut a, &mut b] {
                conn.call(&ops::get_acl(&path));
                conn.call(&ops::get_data(&path, false));
                conn.call(&ops::set_data(&path, "x", -1));
                conn.call(&ops::set_acl(&path, list, -1));
            }
        }
    });
}

#[test]
fn address_lists_for_both_families() {
    compare(&BASE, "address_lists_for_both_families", |s| {
        let port = s.server().address().port();
        let mut four = s.session("four");
        let mut six = s.connect_to("six", (std::net::Ipv6Addr::LOCALHOST, port).into());
        six.hello(&crate::script::Hello::default());
        for (n, id) in [
            "127.0.0.1",
            "::1",
            "::/0",
            "0.0.0.0/0",
            "::1/128",
            "::2/126",
            "::2/127",
            "127.0.0.2/30",
            "127.0.0.2/31",
            "0:0:0:0:0:0:0:1",
        ]
        .into_iter()
        .enumerate()
        {
            let path = s.path(&format!("/{n}"));
            s.note(id);
            four.call(&ops::create(
                &path,
                "",
                &[entry(READ, "ip", id)],
                PERSISTENT,
            ));
            four.call(&ops::get_data(&path, false));
            six.call(&ops::get_data(&path, false));
        }
    });
}

#[test]
fn super_may_everything() {
    compare(&BASE, "super_may_everything", |s| {
        let (mut a, mut root) = (s.session("A"), s.session("super"));
        let path = s.path("/shut");
        a.call(&ops::create(
            &path,
            "",
            &[entry(31, "digest", BOB)],
            PERSISTENT,
        ));
        root.call(&ops::digest("super:wrong"));
        root.call(&ops::get_data(&path, false));
        root.call(&ops::digest(SUPER_PASSWORD));
        root.call(&ops::bare(code::WHO_AM_I));
        root.call(&ops::get_data(&path, true));
        root.call(&ops::get_acl(&path));
        root.call(&ops::set_data(&path, "x", -1));
        root.call(&ops::create(
            &format!("{path}/c"),
            "",
            &[entry(31, "auth", "")],
            PERSISTENT,
        ));
        root.call(&ops::exists(&format!("{path}/d"), true));
        root.call(&ops::delete(&format!("{path}/c"), -1));
        root.call(&ops::set_acl(&path, &[world(0)], -1));
        root.call(&ops::get_data(&path, true));
        root.call(&ops::set_data(&path, "y", -1));
        root.call(&ops::set_acl(&path, &[entry(31, "super", "")], -1));
        root.call(&ops::delete(&path, -1));
        root.settle();
    });
}

#[test]
fn set_acl_compares_its_own_version() {
    compare(&BASE, "set_acl_compares_its_own_version", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        a.call(&ops::set_data(&x, "y", -1));
        for version in [1, 0, 0, 1, -1, -2, 2, 3] {
            a.call(&ops::set_acl(&x, OPEN, version));
        }
        let bad: &[Entry<'_>] = &[entry(31, "nonsense", "")];
        for path in [
            s.path("/none"),
            s.path("/a//b"),
            "foo".to_owned(),
            String::new(),
        ] {
            a.call(&ops::set_acl(&path, OPEN, -1));
            a.call(&ops::set_acl(&path, bad, -1));
        }
        a.call(&ops::set_acl(&x, bad, 77));
        a.call(&ops::get_acl(&x));
        a.call(&ops::get_acl(&s.path("/none")));
        a.call(&ops::get_acl("foo"));
    });
}

#[test]
fn requests_are_judged_by_the_identities_of_their_arrival() {
    compare(&BASE, "identities_of_their_arrival", |s| {
        let mut a = s.session("A");
        let path = s.path("/x");
        a.call(&ops::digest("bob:pw"));
        a.call(&ops::create(
            &path,
            "",
            &[entry(31, "auth", "")],
            PERSISTENT,
        ));
        let mut b = s.session("B");
        b.call(&ops::set_data(&path, "no", -1));
        b.call(&ops::digest("bob:pw"));
        b.call(&ops::set_data(&path, "yes", -1));
    });
}
