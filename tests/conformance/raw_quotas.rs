//! Quotas: lines 37 (its end), 101 and 102 of the checklist, and what a restart leaves of the figures.

use crate::compare::{Deviation, compare, compare_fresh};
use crate::ops::{self, OPEN, Op, PERSISTENT, WITH_TTL, code};
use crate::script::{Conn, Hello, Script};
use crate::servers::{BASE, EXTENDED, SNAPPING};

const FRESH: &str = "count=0,bytes=0";

fn limits(top: &str) -> String {
    format!("/zookeeper/quota{top}/zookeeper_limits")
}

fn stats(top: &str) -> String {
    format!("/zookeeper/quota{top}/zookeeper_stats")
}

/// As client tools set a quota: every node above, the limits, the stats.
fn set_quota(conn: &mut Conn, top: &str, text: &str) {
    let mut path = "/zookeeper/quota".to_owned();
    for name in top.split('/').skip(1) {
        path = format!("{path}/{name}");
        conn.call(&ops::create(&path, "", OPEN, PERSISTENT));
    }
    conn.call(&ops::create(&limits(top), text, OPEN, PERSISTENT));
    conn.call(&ops::create2(&stats(top), FRESH, OPEN, PERSISTENT));
    conn.call(&ops::get_data(&stats(top), false));
}

/// Does something and looks at the figures.
fn step(conn: &mut Conn, top: &str, op: &Op) {
    conn.call(op);
    conn.call(&ops::get_data(&stats(top), false));
}

fn create(path: &str, data: &str) -> Op {
    ops::create(path, data, OPEN, PERSISTENT)
}

#[test]
fn usage_follows_every_change() {
    compare(&BASE, "usage_follows_every_change", |s| {
        let (mut a, mut b) = (s.session("A"), s.session("B"));
        let q = s.path("/q");
        let at = |name: &str| format!("{q}/{name}");
        a.call(&create(&q, "top"));
        a.call(&create(&at("a"), "12345"));
        a.call(&create(&s.path("/qq"), "not below"));
        set_quota(&mut a, &q, "count=3,bytes=10");
        b.call(&ops::get_data(&stats(&q), true));
        for op in [
            create(&at("b"), "123"),
            ops::create_with(code::CREATE, Some(at("b/c").as_bytes()), None, OPEN, 0),
            ops::set_data(&at("a"), "1", -1),
            ops::set_data_to(&at("a"), None, -1),
            ops::set_data(&q, "other top", -1),
            ops::set_data(&at("none"), "x", -1),
            ops::set_acl(&at("a"), OPEN, -1),
            ops::delete(&at("b/c"), -1),
            ops::delete(&at("b"), -1),
            ops::create(&at("s-"), "x", OPEN, ops::SEQUENTIAL),
            ops::create_container(&at("box"), ops::CONTAINER),
            ops::multi(&[
                create(&at("m1"), "12"),
                create(&at("m2"), "12"),
                ops::set_data(&at("m1"), "1", -1),
                ops::delete(&at("m2"), -1),
            ]),
            ops::multi(&[create(&at("m3"), "12"), ops::check(&at("none"), -1)]),
            create(&s.path("/elsewhere"), "x"),
        ] {
            step(&mut a, &q, &op);
        }
        let mut c = s.session("C");
        c.call(&ops::create(&at("e1"), "123", OPEN, ops::EPHEMERAL));
        c.call(&ops::create(&at("e2"), "123", OPEN, ops::EPHEMERAL));
        a.call(&ops::get_data(&stats(&q), false));
        c.close();
        a.call(&ops::get_data(&stats(&q), false));
        // The end of the quota, and of its figures.
        a.call(&ops::delete(&limits(&q), -1));
        step(&mut a, &q, &create(&at("z"), "x"));
        b.settle();
        a.call(&ops::delete(&stats(&q), -1));
        b.settle();
    });
}

#[test]
fn nested_quotas() {
    compare(&BASE, "nested_quotas", |s| {
        let mut a = s.session("A");
        let (q, r) = (s.path("/q"), s.path("/q/r"));
        a.call(&create(&q, ""));
        a.call(&create(&r, ""));
        set_quota(&mut a, &q, "count=-1,bytes=-1");
        set_quota(&mut a, &r, "count=-1,bytes=-1");
        step(&mut a, &r, &create(&format!("{r}/x"), "12"));
        step(&mut a, &q, &create(&format!("{q}/y"), "1"));
        step(&mut a, &q, &create(&format!("{q}/rr"), "1"));
        a.call(&ops::delete(&limits(&r), -1));
        step(&mut a, &q, &create(&format!("{r}/z"), "1"));
        a.call(&ops::get_data(&stats(&r), false));
    });
}

#[test]
fn texts_of_quotas() {
    compare(&BASE, "texts_of_quotas", |s| {
        let mut a = s.session("A");
        let q = s.path("/q");
        a.call(&create(&q, ""));
        set_quota(&mut a, &q, "");
        for text in [
            "",
            "count=5",
            "bytes=7;z=1;a=2",
            "count=3,,;;bytes=+5",
            "count=2=,bytes=7==9",
            "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=4",
            "=5,count=2",
            "count=9223372036854775807",
        ] {
            s.note(text);
            a.call(&ops::set_data(&stats(&q), text, -1));
            step(
                &mut a,
                &q,
                &ops::create(&format!("{q}/n"), "ab", OPEN, ops::SEQUENTIAL),
            );
            step(&mut a, &q, &ops::set_data(&q, "", -1));
        }
        // The figures of a subtree that is not there, and of one without a limit.
        set_quota(&mut a, &s.path("/none"), "count=5");
        step(&mut a, &s.path("/none"), &create(&s.path("/none"), "x"));
        let free = format!("/zookeeper/quota{}", s.path("/free"));
        a.call(&create(&s.path("/free"), "123"));
        a.call(&create(&free, ""));
        a.call(&create(&stats(&s.path("/free")), FRESH));
        step(&mut a, &s.path("/free"), &create(&s.path("/free/x"), "1"));
        // Limits alone count nothing.
        let bare = format!("/zookeeper/quota{}", s.path("/bare"));
        a.call(&create(&bare, ""));
        a.call(&create(&limits(&s.path("/bare")), "count=0"));
        a.call(&create(&s.path("/bare"), "1"));
    });
}

#[test]
fn hard_limits() {
    compare(&EXTENDED, "hard_limits", |s| {
        let mut a = s.session("A");
        let q = s.path("/q");
        let at = |name: &str| format!("{q}/{name}");
        a.call(&create(&q, "12345"));
        set_quota(
            &mut a,
            &q,
            "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=4",
        );
        for op in [
            create(&at("a"), "12345"),
            create(&at("b"), "12345678901"),
            create(&at("b"), "1234567890"),
            ops::set_data(&at("a"), "123456", -1),
            ops::set_data(&at("a"), "54321", -1),
            ops::set_data(&at("a"), "1234", -1),
            ops::create_container(&at("c"), ops::CONTAINER),
            ops::create_container(&at("d"), ops::CONTAINER),
            ops::create_ttl(&at("d"), WITH_TTL, 1000),
            ops::create(&at("d"), "", OPEN, ops::EPHEMERAL_SEQUENTIAL),
            ops::multi(&[ops::delete(&at("c"), -1), create(&at("d"), "")]),
            ops::delete(&at("c"), -1),
            create(&at("d"), ""),
            // Used more than a lower limit allows: less is still too much, no change is not looked at.
            ops::set_data(&limits(&q), "byteHardLimit=3", -1),
            ops::set_data(&at("a"), "123", -1),
            ops::set_data(&at("a"), "4321", -1),
            create(&at("e"), ""),
            create(&at("f"), "1"),
            ops::set_data(&limits(&q), "count=1,bytes=1", -1),
            create(&at("f"), "1"),
            ops::set_data(&limits(&q), "count=1,bytes=1=;countHardLimit=100", -1),
            create(&at("g"), "1"),
            ops::delete(&limits(&q), -1),
            create(&at("h"), "1"),
        ] {
            step(&mut a, &q, &op);
        }
        // Elsewhere nothing is limited.
        a.call(&create(&s.path("/free"), "123456789012345678901234567890"));
    });
}

/// Several writes of one multi may together go beyond a hard limit: it is held against what was there before.
#[test]
fn a_multi_may_overshoot() {
    compare(&EXTENDED, "a_multi_may_overshoot", |s| {
        let mut a = s.session("A");
        let q = s.path("/q");
        a.call(&create(&q, ""));
        set_quota(&mut a, &q, "byteHardLimit=5;countHardLimit=2");
        let op = ops::multi(&[
            create(&format!("{q}/a"), "1234"),
            create(&format!("{q}/b"), "1234"),
            ops::set_data(&format!("{q}/b"), "12345678", -1),
            ops::set_data(&q, "12345", -1),
        ]);
        step(&mut a, &q, &op);
        step(&mut a, &q, &create(&format!("{q}/c"), ""));
        let over = ops::multi(&[create(&s.path("/x"), ""), create(&format!("{q}/c"), "")]);
        step(&mut a, &q, &over);
        a.call(&ops::exists(&s.path("/x"), false));
    });
}

#[test]
fn the_quota_comes_last_but_before_the_version() {
    compare(&EXTENDED, "the_quota_comes_last", |s| {
        let mut a = s.session("A");
        let q = s.path("/q");
        let at = |name: &str| format!("{q}/{name}");
        a.call(&create(&q, ""));
        a.call(&ops::create(&at("e"), "", OPEN, ops::EPHEMERAL));
        a.call(&ops::create(&at("shut"), "", &[ops::world(0)], PERSISTENT));
        set_quota(&mut a, &q, "byteHardLimit=0;countHardLimit=0");
        for op in [
            create(&at("e"), ""),
            create(&at("e/x"), ""),
            create(&at("none/x"), ""),
            create(&at("shut/x"), ""),
            create(&at("."), ""),
            ops::create(&at("x"), "", &[], PERSISTENT),
            create(&at("x"), ""),
            ops::create(&at("x-"), "", OPEN, ops::SEQUENTIAL),
            ops::set_data(&q, "x", 77),
            ops::set_data(&q, "", 77),
            ops::set_data(&at("shut"), "x", -1),
            ops::set_data(&at("none"), "x", -1),
        ] {
            a.call(&op);
        }
    });
}

/// Without `enforceQuota` a hard limit refuses nothing.
#[test]
fn hard_limits_that_are_not_enforced() {
    compare(&BASE, "hard_limits_that_are_not_enforced", |s| {
        let mut a = s.session("A");
        let q = s.path("/q");
        a.call(&create(&q, ""));
        set_quota(&mut a, &q, "byteHardLimit=0;countHardLimit=0");
        step(&mut a, &q, &create(&format!("{q}/a"), "12345"));
        step(&mut a, &q, &ops::set_data(&format!("{q}/a"), "123456", -1));
    });
}

// Apache logs the transaction, and its server stops when it applies it.
const fn d9(apache: &'static [&'static str], ironkeeper: &'static [&'static str]) -> Deviation {
    Deviation {
        number: "D9",
        apache,
        ironkeeper,
    }
}

/// Runs `fatal` behind `before`. It stops Apache's server; ours answers, and goes on.
fn stops_apache(name: &str, before: &[Op], fatal: &Op, deviations: &[Deviation]) {
    compare_fresh(&EXTENDED, name, deviations, |s| {
        let mut a = s.session("A");
        for op in before {
            a.call(op);
        }
        if a.call(fatal).err != i32::MIN {
            a.call(&create("/x", ""));
        }
    });
}

/// The tests of the tree have more such nodes.
#[test]
fn malformed_quota_nodes_stop_nobody() {
    stops_apache(
        "malformed_quota_nodes_stop_nobody",
        &[],
        &create("/zookeeper/quota/zookeeper_limits", "count=1"),
        &[d9(
            &["A < closed"],
            &[
                "A < xid 1 z+0 err 0 op 1 \"/zookeeper/quota/zookeeper_limits\"",
                "A > xid 2 op 1 /x",
                "A < xid 2 z+1 err 0 op 1 \"/x\"",
            ],
        )],
    );
}

#[test]
fn the_end_of_limits_without_a_quota_stops_nobody() {
    let limits = "/zookeeper/zookeeper_limits";
    stops_apache(
        "the_end_of_limits_without_a_quota",
        &[create(limits, "count=1")],
        &ops::delete(limits, -1),
        &[d9(
            &["A < closed"],
            &[
                "A < xid 2 z+1 err 0 op 2",
                "A > xid 3 op 1 /x",
                "A < xid 3 z+2 err 0 op 1 \"/x\"",
            ],
        )],
    );
}

#[test]
fn figures_that_are_no_numbers_stop_nobody() {
    stops_apache(
        "figures_that_are_no_numbers",
        &[
            create("/q", ""),
            create("/zookeeper/quota/q", ""),
            create(&limits("/q"), "count=5"),
            create(&stats("/q"), FRESH),
            create("/q/old", ""),
            ops::set_data(&stats("/q"), "count=x", -1),
            // Where limits are enforced they are read before anything is done.
            create("/q/new", ""),
        ],
        &ops::delete("/q/old", -1),
        &[
            d9(
                &["A < xid 7 z+6 err -5 op 1"],
                &["A < xid 7 z+6 err 0 op 1 \"/q/new\""],
            ),
            d9(
                &["A < closed"],
                &[
                    "A < xid 8 z+7 err 0 op 2",
                    "A > xid 9 op 1 /x",
                    "A < xid 9 z+8 err 0 op 1 \"/x\"",
                ],
            ),
        ],
    );
}

/// What only looks odd.
#[test]
fn odd_nodes_below_quota() {
    compare_fresh(&EXTENDED, "odd_nodes_below_quota", &[], |s| {
        let mut a = s.session("A");
        for op in [
            create("/zookeeper/quota/zookeeper_stats", FRESH),
            ops::get_data("/zookeeper/quota/zookeeper_stats", false),
            create("/zookeeper/quota/x", "data"),
            create("/zookeeper/zookeeper_stats", FRESH),
            ops::get_data("/zookeeper/zookeeper_stats", false),
            create("/zookeeper_limits", "count=0"),
            create("/zookeeper_stats", FRESH),
            ops::get_data("/zookeeper_stats", false),
            ops::delete("/zookeeper_limits", -1),
            create("/x", "1"),
            create("/zookeeper/quota/x/zookeeper_limits", "countHardLimit=2"),
            create("/zookeeper/quota/x/zookeeper_limits/below", ""),
            create("/x/y", "1"),
            create("/zookeeper/quota/x/zookeeper_stats", FRESH),
            ops::get_data("/zookeeper/quota/x/zookeeper_stats", false),
            create("/x/z", "1"),
            create("/zookeeper/quota/x/zookeeper_stats/below", ""),
            ops::get_data("/zookeeper/quota/x/zookeeper_stats", false),
            ops::get_data("/zookeeper/quota/zookeeper_stats", false),
        ] {
            a.call(&op);
        }
        // A quota on /zookeeper itself counts its own nodes.
        set_quota(&mut a, "/zookeeper", "count=100");
        step(&mut a, "/zookeeper", &create("/zookeeper/quota/y", "12"));
        step(
            &mut a,
            "/zookeeper",
            &ops::set_data("/zookeeper/quota/y", "1", -1),
        );
        step(&mut a, "/zookeeper", &ops::delete("/zookeeper/quota/y", -1));
    });
}

fn restart(s: &mut Script<'_>) {
    if let Err(error) = s.server().kill_and_restart() {
        s.note(&error);
    }
}

/// Sets a quota, restarts twice, and goes on under it.
fn through_restarts(s: &mut Script<'_>) {
    let (mut a, session) = s.session_with("A", &Hello::default());
    a.call(&create("/q", "top"));
    a.call(&create("/q/a", "12345"));
    set_quota(&mut a, "/q", "countHardLimit=6");
    a.call(&ops::create("/q/e", "mine", OPEN, ops::EPHEMERAL));
    a.call(&ops::create_ttl("/q/t", WITH_TTL, 60_000));
    a.call(&ops::create_container("/q/c", ops::CONTAINER));
    step(&mut a, "/q", &ops::set_data("/q/a", "1", -1));
    for n in 0..2 {
        restart(s);
        a.until_closed();
        a = s.session_with("A again", &Hello::again(&session)).0;
        for path in [
            "/q",
            "/q/a",
            "/q/e",
            "/q/t",
            "/q/c",
            &stats("/q"),
            &limits("/q"),
        ] {
            a.call(&ops::get_data(path, false));
        }
        step(&mut a, "/q", &ops::set_data("/q/a", "again", -1));
        step(&mut a, "/q", &create(&format!("/q/new{n}"), "x"));
        step(&mut a, "/q", &create("/q/more", "x"));
        step(&mut a, "/q", &ops::delete(&format!("/q/new{n}"), -1));
    }
    a.call(&ops::bare(code::CLOSE_SESSION));
    a.until_closed();
    s.session("B").call(&ops::get_data(&stats("/q"), false));
}

/// From the log alone; at Apache from the snapshot of a start as well.
#[test]
fn usage_survives_restarts() {
    compare_fresh(&EXTENDED, "usage_survives_restarts", &[], through_restarts);
}

/// From a snapshot, and what the log has since.
#[test]
fn usage_survives_snapshots() {
    compare_fresh(&SNAPPING, "usage_survives_snapshots", &[], through_restarts);
}
