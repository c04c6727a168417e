//! Nothing goes before enough better is known to be whole.

use ironkeeper_proto::Zxid;
use ironkeeper_storage::retention::segments_behind;

use crate::rig::{Plan, Rig, write};

fn rig_with(zxids: &[i64]) -> Rig {
    let rig = Rig::new();
    let dir = rig.open();
    for zxid in zxids {
        write(&dir, *zxid).expect("written");
    }
    rig
}

fn left(rig: &Rig) -> Vec<i64> {
    let mut zxids: Vec<_> = rig
        .open()
        .list()
        .expect("lists")
        .iter()
        .map(|s| s.0.0)
        .collect();
    zxids.reverse();
    zxids
}

#[test]
fn the_wanted_number_stays_and_never_fewer_than_three() {
    for (keep, expected) in [
        (0, vec![30, 40, 50]),
        (3, vec![30, 40, 50]),
        (4, vec![20, 30, 40, 50]),
    ] {
        let rig = rig_with(&[10, 20, 30, 40, 50]);
        let purge = rig.open().purge(keep).expect("purges");
        assert_eq!(left(&rig), expected);
        assert_eq!(purge.log_needed_after, Some(Zxid(expected[0])));
        assert_eq!(purge.removed.len(), 5 - expected.len());
        let again = rig.open().purge(keep).expect("purges");
        assert_eq!(
            (again.removed.len(), left(&rig)),
            (0, expected),
            "nothing more goes"
        );
    }
}

#[test]
fn with_too_few_nothing_goes_and_the_whole_log_stays() {
    for zxids in [&[][..], &[10], &[10, 20]] {
        let rig = rig_with(zxids);
        let purge = rig.open().purge(3).expect("purges");
        assert_eq!(left(&rig), zxids);
        assert_eq!(purge.log_needed_after, None);
    }
}

/// Names do not count: the damaged ones are set aside, the good older ones stay in their place.
#[test]
fn a_damaged_one_does_not_count() {
    let rig = rig_with(&[10, 20, 30, 40, 50]);
    rig.edit(50, |bytes| bytes[4096 + 80] ^= 1);
    rig.edit(30, Vec::clear);
    let purge = rig.open().purge(3).expect("purges");
    assert_eq!(left(&rig), [10, 20, 40]);
    assert_eq!(purge.log_needed_after, Some(Zxid(10)));
    assert_eq!(purge.set_aside.len(), 2);
    assert!(purge.set_aside.iter().all(|(_, to)| to.exists()));
    assert!(purge.removed.is_empty());
}

#[test]
fn damaged_ones_alone_stay_where_they_are() {
    let rig = rig_with(&[10, 20, 30, 40]);
    for zxid in [10, 20, 30, 40] {
        rig.edit(zxid, |bytes| bytes[4096 + 80] ^= 1);
    }
    let purge = rig.open().purge(3).expect("purges");
    assert_eq!(left(&rig), [10, 20, 30, 40]);
    assert!(purge.removed.is_empty() && purge.set_aside.is_empty());
}

/// An unreadable one is neither counted nor removed nor moved.
#[test]
fn an_unreadable_one_stays_and_does_not_count() {
    let rig = rig_with(&[10, 20, 30, 40]);
    rig.disk.bad_sector(Some(0));
    let purge = rig.open().purge(3).expect("purges");
    assert_eq!(left(&rig), [10, 20, 30, 40]);
    assert_eq!(purge.log_needed_after, None);
    assert!(purge.set_aside.is_empty());
}

/// E74, on the disk's own record: the new snapshot's blocks are read from the device before it is
/// renamed, and whatever is removed is removed after the directory was synced.
#[test]
fn nothing_is_removed_before_the_new_one_was_read_back() {
    let rig = rig_with(&[10, 20, 30]);
    let dir = rig.open();
    rig.disk.plan(None);
    write(&dir, 40).expect("written");
    dir.purge(3).expect("purges");
    let trace = rig.disk.trace();
    let place = |what: &str, name: &str| {
        let line = format!("{what} {name}");
        let found = trace.iter().position(|step| *step == line);
        found.unwrap_or_else(|| panic!("no {line} in {trace:#?}"))
    };
    let tmp = "0000000000000028.zks.tmp";
    let synced = place("sync", tmp);
    let dropped = place("drop cache", tmp);
    let last_read = trace
        .iter()
        .rposition(|step| *step == format!("read {tmp}"));
    let last_read = last_read.expect("the file is read back");
    let renamed = place("rename", "0000000000000028.zks");
    let dir_synced = place("sync dir", "snap");
    let removed = place("remove", "000000000000000a.zks");
    assert!(synced < dropped && dropped < last_read);
    assert!(
        last_read < renamed && renamed < dir_synced && dir_synced < removed,
        "{trace:#?}"
    );
}

/// A snapshot of this process is not read again, one of an earlier process is.
#[test]
fn what_was_verified_is_not_read_again() {
    let rig = rig_with(&[10, 20, 30]);
    let dir = rig.open();
    rig.disk.plan(None);
    dir.purge(3).expect("purges");
    assert!(
        rig.disk
            .trace()
            .iter()
            .any(|step| step.starts_with("read "))
    );
    rig.disk.plan(None);
    dir.purge(3).expect("purges");
    assert_eq!(rig.disk.trace(), Vec::<String>::new());
    // A whole load counts as well.
    let dir = rig.open();
    dir.load_newest(None, |reader| Ok(crate::rig::read(reader)?))
        .expect("loads");
    rig.disk.plan(None);
    dir.verify(Zxid(30)).expect("whole");
    assert_eq!(rig.disk.trace(), Vec::<String>::new());
    // Half a load does not.
    let dir = rig.open();
    dir.load_newest(None, |_| Ok(())).expect("loads");
    dir.verify(Zxid(30)).expect("whole");
    assert_ne!(rig.disk.trace(), Vec::<String>::new());
}

/// Killed at any operation of a purge: the newest three are whole whatever happened.
#[test]
fn a_purge_that_is_stopped_anywhere_leaves_enough() {
    for at in 0.. {
        let rig = rig_with(&[10, 20, 30, 40, 50]);
        let dir = rig.open();
        dir.purge(5).expect("reads them all");
        rig.disk.plan(Some(Plan::KillAt(at)));
        let done = dir.purge(3).is_ok();
        rig.disk.plan(None);
        let left = left(&rig);
        assert!(left.ends_with(&[30, 40, 50]), "stopped at {at}: {left:?}");
        if done {
            assert_eq!(left.len(), 3);
            assert!(at > 1, "there was something to stop");
            break;
        }
    }
}

#[test]
fn segments_go_from_the_oldest_and_only_behind_the_snapshot() {
    let segments =
        |zxids: &[i64], needed| segments_behind(zxids.iter().map(|zxid| Zxid(*zxid)), Zxid(needed));
    assert_eq!(
        segments(&[10, 20, 30], 20),
        2,
        "a record at the snapshot's zxid is in it"
    );
    assert_eq!(segments(&[10, 20, 30], 19), 1);
    assert_eq!(segments(&[10, 20, 30], 9), 0);
    assert_eq!(segments(&[10, 50, 30], 30), 1, "never out of the middle");
    assert_eq!(segments(&[], 30), 0);
}
