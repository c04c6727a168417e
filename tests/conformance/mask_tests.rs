//! The comparison can fail: every byte of a transcript that is not masked matters.

use std::ops::Range;

use crate::drivers::masked;
use crate::normalise::{Masks, normalise};
use crate::ops::{self, OPEN, PERSISTENT, code};
use crate::script::{Hello, Script};
use crate::servers::{BASE, has_reference, lock, shared_servers};
use crate::transcript::{Event, What};

/// A transcript from Apache with most kinds of replies in it.
fn sample(name: &str) -> Vec<Event> {
    let servers = shared_servers(&BASE);
    let mut server = lock(&servers.reference);
    let mut s = Script::new(&mut server, name);
    s.make_prefix();
    let (mut a, session) = s.session_with("A", &Hello::default());
    let node = s.path("/node");
    a.call(&ops::digest("bob:pw"));
    a.call(&ops::create2(&node, "data", OPEN, ops::EPHEMERAL));
    a.call(&ops::get_data(&node, true));
    a.call(&ops::get_children2(&s.path(""), true));
    a.call(&ops::set_data(&node, "changed", 0));
    a.call(&ops::get_acl(&node));
    a.call(&ops::bare(code::WHO_AM_I));
    let child = s.path("/child");
    let made = [
        ops::create(&child, "", OPEN, PERSISTENT),
        ops::check(&child, 0),
        ops::set_data(&child, "x", 0),
        ops::delete(&child, 1),
    ];
    a.call(&ops::multi(&made));
    a.call(&ops::multi(&[ops::check(&child, 0), ops::check(&node, 0)]));
    a.call(&ops::multi_read(&[
        ops::get_data(&node, false),
        ops::get_data(&child, false),
    ]));
    a.call(&ops::delete(&child, -1));
    a.drop_connection();
    let again = Hello {
        read_only: None,
        ..Hello::again(&session)
    };
    let (mut a, _) = s.session_with("A again", &again);
    a.call(&ops::add_watch(&node, 0));
    a.call(&ops::path_only(code::GET_EPHEMERALS, None));
    a.call(&ops::delete(&node, -1));
    a.close();
    s.finish()
}

#[test]
fn every_byte_that_is_not_masked_matters() {
    if !has_reference("every_byte_that_is_not_masked_matters") {
        return;
    }
    let events = sample("mask_bytes");
    let original = normalise(&events);
    let (mut compared, mut passed) = (0, 0);
    for (number, event) in events.iter().enumerate() {
        let What::Frame(bytes) = &event.what else {
            continue;
        };
        for at in 0..bytes.len() {
            let masked = original
                .masked
                .iter()
                .any(|(n, r)| *n == number && r.contains(&at));
            for flip in [0x01, 0x80, 0xff] {
                let mut mutated = events.clone();
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                mutated[number].what = What::Frame(bytes);
                if normalise(&mutated).lines != original.lines {
                    compared += 1;
                    continue;
                }
                assert!(
                    masked,
                    "byte {at} of {} is compared by nobody",
                    original.lines[number]
                );
                passed += 1;
            }
        }
    }
    assert!(compared > 1000, "the sample is too small: {compared}");
    assert!(
        passed > 0,
        "nothing is masked: the test proves nothing about masks"
    );
}

#[test]
fn a_missing_frame_or_another_end_matters() {
    if !has_reference("a_missing_frame_or_another_end_matters") {
        return;
    }
    let events = sample("mask_frames");
    let original = normalise(&events).lines;
    for at in 0..events.len() {
        let mut mutated = events.clone();
        match mutated[at].what {
            What::Frame(_) => drop(mutated.remove(at)),
            What::Closed => mutated[at].what = What::Silence,
            _ => continue,
        }
        assert_ne!(normalise(&mutated).lines, original, "event {at}");
    }
}

/// Where a line of a driver shows a zxid, a session or a time.
fn maskable(line: &str) -> Vec<Range<usize>> {
    const JSON: [&str; 8] = [
        "czxid",
        "mzxid",
        "pzxid",
        "zxid",
        "ctime",
        "mtime",
        "ephemeralOwner",
        "newSession",
    ];
    const ZK_CLI: [&str; 7] = [
        "cZxid = 0x",
        "mZxid = 0x",
        "pZxid = 0x",
        "ephemeralOwner = 0x",
        "ctime = ",
        "mtime = ",
        " zxid: ",
    ];
    let mut ranges = Vec::new();
    for key in JSON.map(|key| format!("\"{key}\":")) {
        for (at, _) in line.match_indices(&key) {
            let rest = &line[at + key.len()..];
            let value = rest.trim_start();
            let from = line.len() - value.len();
            let digits = value.find([',', '}']).unwrap_or(value.len());
            ranges.push(from..from + digits);
        }
    }
    for key in ZK_CLI {
        for (at, _) in line.match_indices(key) {
            let from = at + key.len();
            let length = line[from..].find('"').unwrap_or(line.len() - from);
            ranges.push(from..from + length);
        }
    }
    ranges
}

/// The same of what a driver printed: where a change of one byte changes nothing that is compared, there is a zxid, a
/// session or a time.
pub(crate) fn every_byte_of_a_driver_matters(lines: &[String]) {
    let mut masks = Masks::new();
    let (mut compared, mut passed) = (0, 0);
    for (number, line) in lines.iter().enumerate() {
        let before = masks.clone();
        let original = masked(line, &mut masks);
        let maskable = maskable(line);
        for at in 0..line.len() {
            // These leave text what it is: text.
            for flip in [0x01, 0x02, 0x20]
                .into_iter()
                .filter(|_| line.as_bytes()[at].is_ascii())
            {
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= flip;
                let changed = String::from_utf8(bytes).expect("still ASCII");
                let mut masks_then = before.clone();
                if masked(&changed, &mut masks_then) != original {
                    compared += 1;
                    continue;
                }
                // The masks may have learned otherwise, which shows further on.
                let mut masks_now = masks.clone();
                let is_seen = lines[number + 1..]
                    .iter()
                    .any(|line| masked(line, &mut masks_then) != masked(line, &mut masks_now));
                if is_seen {
                    compared += 1;
                    continue;
                }
                assert!(
                    maskable.iter().any(|range| range.contains(&at)),
                    "byte {at} of a driver's line is compared by nobody: {line}"
                );
                passed += 1;
            }
        }
    }
    println!("{compared} changes of a driver's lines are seen, {passed} are masked");
    assert!(compared > 1000 && passed > 0, "{compared} {passed}");
}
