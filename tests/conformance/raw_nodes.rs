//! create, delete, set and the reads: lines 32 to 54 of the checklist.

use crate::compare::{Deviation, compare, compare_fresh, compare_with};
use crate::ops::{self, Entry, OPEN, PERSISTENT, code, world};
use crate::servers::{BASE, FEW};

#[test]
fn create_flags() {
    compare(&BASE, "create_flags", |s| {
        let mut a = s.session("A");
        for flags in [-1, 0, 1, 2, 3, 4, 5, 6, 7, 9, i32::MAX, i32::MIN] {
            a.call(&ops::create(
                &s.path(&format!("/one{flags}")),
                "d",
                OPEN,
                flags,
            ));
            a.call(&ops::create2(
                &s.path(&format!("/two{flags}")),
                "d",
                OPEN,
                flags,
            ));
            a.call(&ops::create_container(
                &s.path(&format!("/container{flags}")),
                flags,
            ));
        }
        a.call(&ops::get_children2(&s.path(""), false));
    });
}

#[test]
fn create_ttl_while_it_is_off() {
    compare(&BASE, "create_ttl_while_it_is_off", |s| {
        let mut a = s.session("A");
        for (flags, ttl) in [
            (5, 1),
            (5, 0),
            (5, -1),
            (6, 1),
            (5, 1 << 40),
            (0, 5),
            (9, 5),
        ] {
            a.call(&ops::create_ttl(&s.path("/ttl"), flags, ttl));
        }
        a.call(&ops::get_children2(&s.path(""), false));
    });
}

// Apache logs the transaction, and its server stops when it applies it.
const D4: &[Deviation] = &[Deviation {
    number: "D4",
    apache: &["A < closed"],
    ironkeeper: &[
        "A < xid 1 z+2 err -8 op 21",
        "A > xid 2 op 3 /ttl",
        "A < xid 2 z+2 err -101 op 3",
    ],
}];

#[test]
fn create_ttl_without_a_ttl_stops_nobody() {
    compare_fresh(&FEW, "create_ttl_without_a_ttl_stops_nobody", D4, |s| {
        let mut b = s.session("B");
        b.call(&ops::exists("/", false));
        let mut a = s.session("A");
        if a.call(&ops::create_ttl("/ttl", 0, -1)).err != i32::MIN {
            a.call(&ops::exists("/ttl", false));
        }
    });
}

#[test]
fn create_path_errors() {
    compare(&BASE, "create_path_errors", |s| {
        let mut a = s.session("A");
        let top = s.path("");
        let strange = [
            "foo",
            "",
            "/",
            "//",
            "/.",
            "/..",
            "/zookeeper",
            "/zookeeper/quota",
            "no/slash/first",
        ];
        for path in strange {
            a.call(&ops::create(path, "", OPEN, PERSISTENT));
            a.call(&ops::create(path, "", OPEN, 9));
        }
        let below = [
            "/",
            "//",
            "//b",
            "/a//b",
            "/x/y",
            "/./b",
            "/.",
            "/..",
            "/a/",
            "/a/.",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/\u{fffd}",
            "/\u{1F600}",
            "/nul\0",
            "/x\0y/z",
        ];
        for path in below {
            a.call(&ops::create(&format!("{top}{path}"), "", OPEN, PERSISTENT));
        }
        let fine = [
            "/...",
            "/.a",
            "/a..",
            "/a..b",
            "/with space",
            "/\u{e9}",
            "/\u{a0}",
            "/ ",
            "/\u{d7ff}",
            "/\u{f900}",
            "/\u{ffef}",
        ];
        for path in fine {
            a.call(&ops::create(&format!("{top}{path}"), "", OPEN, PERSISTENT));
            a.call(&ops::get_data(&format!("{top}{path}"), false));
        }
        a.call(&ops::get_children2(&top, false));
    });
}

#[test]
fn sequential_paths() {
    compare(&BASE, "sequential_paths", |s| {
        let mut a = s.session("A");
        let top = s.path("/t");
        a.call(&ops::create(&top, "", OPEN, PERSISTENT));
        for path in ["/", "/a-", "/a-"] {
            a.call(&ops::create2(
                &format!("{top}{path}"),
                "",
                OPEN,
                ops::SEQUENTIAL,
            ));
        }
        a.call(&ops::create(&format!("{top}/b"), "", OPEN, PERSISTENT));
        a.call(&ops::create(
            &format!("{top}/a-"),
            "",
            OPEN,
            ops::EPHEMERAL_SEQUENTIAL,
        ));
        a.call(&ops::delete(&format!("{top}/a-0000000004"), -1));
        a.call(&ops::delete(&format!("{top}/b"), -1));
        a.call(&ops::create(
            &format!("{top}/a-"),
            "",
            OPEN,
            ops::SEQUENTIAL,
        ));
        // The node that the next number leads to is there already.
        a.call(&ops::create(
            &format!("{top}/c0000000007"),
            "",
            OPEN,
            PERSISTENT,
        ));
        a.call(&ops::create(&format!("{top}/c"), "", OPEN, ops::SEQUENTIAL));
        a.call(&ops::create(
            &format!("{top}/d0000000007"),
            "",
            OPEN,
            PERSISTENT,
        ));
        a.call(&ops::create(&format!("{top}/d"), "", OPEN, ops::SEQUENTIAL));
        a.call(&ops::create(
            &format!("{top}/none/"),
            "",
            OPEN,
            ops::SEQUENTIAL,
        ));
        a.call(&ops::create(&format!("{top}//"), "", OPEN, ops::SEQUENTIAL));
        a.call(&ops::create(
            &format!("{top}/.."),
            "",
            OPEN,
            ops::SEQUENTIAL,
        ));
        a.call(&ops::get_children2(&top, false));
        // Several at once, each validated before the one before it is applied.
        let all: Vec<_> = (0..20)
            .map(|_| ops::create(&format!("{top}/p"), "", OPEN, ops::SEQUENTIAL))
            .collect();
        a.send_all(&all);
        a.frames(all.len());
        a.settle();
    });
}

#[test]
fn order_of_create_errors() {
    compare(&BASE, "order_of_create_errors", |s| {
        let mut a = s.session("A");
        let (open, shut, own) = (s.path("/open"), s.path("/shut"), s.path("/own"));
        a.call(&ops::create(&open, "", OPEN, PERSISTENT));
        a.call(&ops::create(&shut, "", &[world(ops::READ)], PERSISTENT));
        a.call(&ops::create(&own, "", OPEN, ops::EPHEMERAL));
        let bad: &[Entry<'_>] = &[Entry(31, Some("nonsense"), Some("x"))];
        let calls = [
            ops::create(&format!("{open}/no/parent"), "", bad, PERSISTENT),
            ops::create("foo", "", bad, PERSISTENT),
            ops::create(&format!("{open}/x"), "", bad, 9),
            ops::create(&format!("{shut}/no/parent"), "", OPEN, PERSISTENT),
            ops::create(&format!("{shut}/x\u{1}"), "", OPEN, PERSISTENT),
            ops::create(&format!("{shut}/x"), "", bad, PERSISTENT),
            ops::create(&format!("{shut}/x"), "", OPEN, ops::SEQUENTIAL),
            ops::create(&format!("{own}/child"), "", OPEN, PERSISTENT),
            ops::create(&format!("{own}/child"), "", OPEN, ops::EPHEMERAL),
            ops::create(&format!("{own}/child"), "", OPEN, ops::SEQUENTIAL),
            ops::create(&format!("{own}/\u{1}"), "", OPEN, PERSISTENT),
            ops::create(&own, "", OPEN, PERSISTENT),
            ops::create_ttl(&format!("{shut}/x"), 5, 5),
        ];
        for call in calls {
            a.call(&call);
        }
        a.settle();
    });
}

#[test]
fn null_and_empty_data() {
    compare(&BASE, "null_and_empty_data", |s| {
        let mut a = s.session("A");
        let (null, empty) = (s.path("/null"), s.path("/empty"));
        for (path, data) in [(&null, None), (&empty, Some(&b""[..]))] {
            let acl = OPEN;
            a.call(&ops::create_with(
                code::CREATE2,
                Some(path.as_bytes()),
                data,
                acl,
                PERSISTENT,
            ));
            a.call(&ops::get_data(path, false));
            a.call(&ops::multi_read(&[ops::get_data(path, false)]));
        }
        a.call(&ops::set_data_to(&null, Some(b""), -1));
        a.call(&ops::get_data(&null, false));
        a.call(&ops::set_data_to(&empty, None, -1));
        a.call(&ops::get_data(&empty, false));
        a.call(&ops::set_data(&empty, "again", -1));
        a.call(&ops::get_data(&empty, false));
    });
}

#[test]
fn containers() {
    compare(&BASE, "containers", |s| {
        let mut a = s.session("A");
        let path = s.path("/c");
        a.call(&ops::create_container(&path, ops::CONTAINER));
        a.call(&ops::create2(
            &format!("{path}/child"),
            "",
            OPEN,
            PERSISTENT,
        ));
        a.call(&ops::create2(
            &format!("{path}/own"),
            "",
            OPEN,
            ops::EPHEMERAL,
        ));
        a.call(&ops::get_data(&path, false));
        a.call(&ops::create_container(&path, ops::CONTAINER));
        a.call(&ops::create_container(&s.path("/plain-flags"), PERSISTENT));
        a.call(&ops::create_container(&s.path("/seq-"), ops::SEQUENTIAL));
        a.call(&ops::create2(
            &s.path("/no-container"),
            "",
            OPEN,
            ops::CONTAINER,
        ));
        a.call(&ops::get_data(&s.path("/no-container"), false));
        a.call(&ops::multi(&[ops::create_container(
            &s.path("/m"),
            ops::CONTAINER,
        )]));
        a.call(&ops::delete(&format!("{path}/child"), -1));
        a.call(&ops::delete(&format!("{path}/own"), -1));
        a.call(&ops::delete(&path, -1));
        a.call(&ops::get_children2(&s.path(""), false));
    });
}

#[test]
fn delete_errors() {
    compare(&BASE, "delete_errors", |s| {
        let mut a = s.session("A");
        let (x, child) = (s.path("/x"), s.path("/x/c"));
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        a.call(&ops::create(&child, "", OPEN, PERSISTENT));
        for path in [
            "/",
            "",
            "foo",
            "/zookeeper",
            "/zookeeper/quota",
            "/zookeeper/config",
        ] {
            for version in [-1, 0, 7] {
                a.call(&ops::delete(path, version));
            }
        }
        for (path, version) in [
            ("/x", 1),
            ("/x", 0),
            ("/x", -1),
            ("/x/", -1),
            ("/x//c", -1),
            ("/none", -1),
            ("/none/none", -1),
            ("/x\0", -1),
            ("/.", -1),
            ("/x/c", 3),
            ("/x/c", 0),
            ("/x/c", 0),
            ("/x", -2),
            ("/x", 0),
        ] {
            a.call(&ops::delete(&s.path(path), version));
        }
        a.call(&ops::get_data(&s.path(""), false));
    });
}

#[test]
fn set_data_errors() {
    compare(&BASE, "set_data_errors", |s| {
        let mut a = s.session("A");
        a.call(&ops::create(&s.path("/x"), "", OPEN, PERSISTENT));
        for (path, version) in [
            ("/a//b", -1),
            ("/none", 0),
            ("/x", 1),
            ("/x", 0),
            ("/x", 0),
            ("/x", -1),
            ("/x", -2),
            ("/x", i32::MIN),
            ("/x/", 2),
            ("/\u{1}", -1),
            ("/x\0", 2),
        ] {
            a.call(&ops::set_data(&s.path(path), "new", version));
        }
        for path in ["", "foo", "/zookeeper/config", "/zookeeper/none"] {
            a.call(&ops::set_data(path, "new", -1));
        }
    });
}

#[test]
fn reads_of_odd_paths() {
    compare(&BASE, "reads_of_odd_paths", |s| {
        let mut a = s.session("A");
        let x = s.path("/x");
        a.call(&ops::create(&x, "", OPEN, PERSISTENT));
        let odd = [
            "foo".to_owned(),
            s.path("/x\0"),
            s.path("/x/"),
            s.path("//x"),
            s.path("/./x"),
            s.path("/\u{1F600}"),
            s.path("/\u{1}"),
            s.path("/none"),
            x.trim_start_matches('/').to_owned(),
        ];
        for path in odd {
            for watch in [false, true] {
                a.call(&ops::exists(&path, watch));
                a.call(&ops::get_data(&path, watch));
                a.call(&ops::get_children(&path, watch));
                a.call(&ops::get_children2(&path, watch));
            }
            a.call(&ops::get_acl(&path));
            a.call(&ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&path)));
            a.call(&ops::path_only(code::GET_EPHEMERALS, Some(&path)));
        }
    });
}

#[test]
fn ephemerals_and_descendants() {
    compare(&BASE, "ephemerals_and_descendants", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        for path in ["/eph", "/ephemeral", "/other"] {
            a.call(&ops::create(&s.path(path), "", OPEN, ops::EPHEMERAL));
        }
        b.call(&ops::create(&s.path("/eph-of-b"), "", OPEN, ops::EPHEMERAL));
        b.call(&ops::create(&s.path("/deep"), "", OPEN, PERSISTENT));
        b.call(&ops::create(&s.path("/deep/er"), "", OPEN, PERSISTENT));
        b.call(&ops::create(&s.path("/deep/er/est"), "", OPEN, PERSISTENT));
        for prefix in ["/eph", "/ephe", "/none", "", "/"] {
            a.call(&ops::path_only(code::GET_EPHEMERALS, Some(&s.path(prefix))));
        }
        for prefix in [None, Some(""), Some("   "), Some("/"), Some("eph")] {
            a.call(&ops::path_only(code::GET_EPHEMERALS, prefix));
        }
        b.call(&ops::path_only(code::GET_EPHEMERALS, None));
        for path in ["", "/deep", "/deep/er", "/deep/er/est", "/none", "/deep/"] {
            a.call(&ops::path_only(
                code::GET_ALL_CHILDREN_NUMBER,
                Some(&s.path(path)),
            ));
        }
        a.call(&ops::path_only(code::GET_ALL_CHILDREN_NUMBER, None));
    });
}

#[test]
fn sync_echoes_its_path() {
    compare(&BASE, "sync_echoes_its_path", |s| {
        let mut a = s.session("A");
        for path in [
            None,
            Some(""),
            Some("/"),
            Some("foo"),
            Some("/none"),
            Some("/a//b\u{1}\0"),
        ] {
            a.call(&ops::sync(path));
        }
    });
}

const D10: &[Deviation] = &[
    Deviation {
        number: "D10",
        apache: &[r#"A < xid 1 z+2 err 0 op 9 "/\xed\xa0\xbd\xed\xb8\x80""#],
        ironkeeper: &[r#"A < xid 1 z+2 err 0 op 9 "/\xf0\x9f\x98\x80""#],
    },
    Deviation {
        number: "D10",
        apache: &[
            r#"A < xid 3 z+2 err 0 op 107 2 sorted: "digest" "\xed\xa0\xbd\xed\xb8\x80" "ip" "127.0.0.1""#,
        ],
        ironkeeper: &[
            r#"A < xid 3 z+2 err 0 op 107 2 sorted: "digest" "\xf0\x9f\x98\x80" "ip" "127.0.0.1""#,
        ],
    },
];

#[test]
fn code_points_beyond_the_first_plane() {
    compare_with(&BASE, "code_points_beyond_the_first_plane", D10, |s| {
        let mut a = s.session("A");
        a.call(&ops::sync(Some("/\u{1F600}")));
        a.call(&ops::digest("\u{1F600}:pw"));
        a.call(&ops::bare(code::WHO_AM_I));
    });
}

#[test]
fn the_fresh_tree() {
    compare_fresh(&BASE, "the_fresh_tree", &[], |s| {
        let mut a = s.session("A");
        for path in [
            "/",
            "",
            "/zookeeper",
            "/zookeeper/quota",
            "/zookeeper/config",
        ] {
            a.call(&ops::exists(path, false));
            a.call(&ops::get_data(path, false));
            a.call(&ops::get_children2(path, false));
            a.call(&ops::get_acl(path));
            a.call(&ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(path)));
        }
        a.call(&ops::set_data("/", "root", 0));
        a.call(&ops::get_data("/", false));
        a.call(&ops::set_acl("/", &[world(ops::READ)], 0));
        a.call(&ops::get_acl("/"));
        a.call(&ops::create("/x", "", OPEN, PERSISTENT));
        a.call(&ops::set_acl("/zookeeper/config", OPEN, -1));
        a.call(&ops::set_acl("/zookeeper/quota", OPEN, 0));
        a.call(&ops::create("/zookeeper/mine", "", OPEN, PERSISTENT));
        a.call(&ops::create("/zookeeper/quota/mine", "", OPEN, PERSISTENT));
        a.call(&ops::create("/zookeeper/config/mine", "", OPEN, PERSISTENT));
        a.call(&ops::create("/zookeeper/", "", OPEN, ops::SEQUENTIAL));
        a.call(&ops::get_children2("/zookeeper", false));
        a.call(&ops::reconfig());
        a.call(&ops::reconfig().cut_to(4));
        a.call(&ops::delete("/zookeeper/mine", -1));
    });
}

#[test]
fn stat_of_nodes_and_parents() {
    compare(&BASE, "stat_of_nodes_and_parents", |s| {
        let mut a = s.session("A");
        let (top, x) = (s.path("/top"), s.path("/top/x"));
        a.call(&ops::create2(&top, "", OPEN, PERSISTENT));
        let calls = [
            ops::create2(&x, "12345", OPEN, PERSISTENT),
            ops::set_data(&x, "123", 0),
            ops::set_acl(&x, &[world(ops::ALL)], 0),
            ops::set_acl(&x, OPEN, 0),
            ops::set_acl(&x, OPEN, 1),
            ops::create2(&format!("{x}/c"), "", OPEN, PERSISTENT),
            ops::create2(&format!("{x}/e"), "", OPEN, ops::EPHEMERAL),
            ops::set_data(&format!("{x}/e"), "kept", -1),
            ops::delete(&format!("{x}/c"), -1),
            ops::delete(&format!("{x}/e"), -1),
            ops::delete(&format!("{x}/e"), -1),
            ops::delete(&x, -1),
        ];
        for call in calls {
            a.call(&call);
            for path in [&top, &x, &format!("{x}/c"), &format!("{x}/e")] {
                a.call(&ops::exists(path, false));
            }
        }
    });
}
