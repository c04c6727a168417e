//! The choice at start: the newest that is whole, if the log makes up for the rest.

use ironkeeper_proto::Zxid;
use ironkeeper_storage::snapshot::{Choice, LoadError, LogRange, Missing, SnapshotError};

use crate::rig::{Given, Rig, blocks, read, write};

const LOG: Option<LogRange> = Some(LogRange {
    after: Zxid(0),
    last: Zxid(100),
});

fn log(after: i64, last: i64) -> Option<LogRange> {
    Some(LogRange {
        after: Zxid(after),
        last: Zxid(last),
    })
}

fn rig_with(zxids: &[i64]) -> Rig {
    let rig = Rig::new();
    let dir = rig.open();
    for zxid in zxids {
        write(&dir, *zxid).expect("written");
    }
    rig
}

fn choose(rig: &Rig, log: Option<LogRange>) -> Result<Choice<Vec<Given>>, SnapshotError> {
    rig.open().load_newest(log, |reader| Ok(read(reader)?))
}

fn chosen(rig: &Rig, log: Option<LogRange>) -> Option<i64> {
    let choice = choose(rig, log).expect("a choice");
    let (zxid, given) = choice.loaded?;
    assert_eq!(given, blocks(zxid.0), "nothing of a rejected one is in it");
    Some(zxid.0)
}

fn refused(rig: &Rig, log: Option<LogRange>) -> (Missing, String) {
    let before = rig.names();
    let error = choose(rig, log).expect_err("refused");
    assert_eq!(rig.names(), before, "a refusal changes nothing");
    let text = error.to_string();
    assert!(text.contains("Not started, nothing was changed"), "{text}");
    match error {
        SnapshotError::NoneUsable(refusal) => (refusal.missing, text),
        other => panic!("{other}"),
    }
}

#[test]
fn the_newest_is_taken() {
    assert_eq!(chosen(&rig_with(&[]), LOG), None);
    assert_eq!(chosen(&rig_with(&[]), None), None);
    assert_eq!(chosen(&rig_with(&[10, 30, 20]), LOG), Some(30));
    assert_eq!(chosen(&rig_with(&[10, 30, 20]), None), Some(30));
}

/// Each kind of damage to the newest: the one before it, whole, and the file goes to lost+found
/// only when asked for.
#[test]
fn a_damaged_newest_gives_way_to_the_one_before() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 5] = [
        |b| b.clear(),
        |b| b.truncate(5000),
        |b| b[4096 + 80] ^= 1,
        |b| b[30] ^= 1,
        |b| *b.last_mut().expect("bytes") ^= 1,
    ];
    for change in changes {
        let rig = rig_with(&[10, 20, 30]);
        rig.edit(30, change);
        assert_eq!(chosen(&rig, LOG), Some(20));
        let dir = rig.open();
        let choice = choose(&rig, LOG).expect("a choice");
        assert_eq!(choice.rejected.len(), 1);
        assert_eq!(rig.names().len(), 3, "choosing writes nothing");
        dir.quarantine(choice.damaged()).expect("moves");
        assert_eq!(
            rig.names(),
            [
                "lost+found/000000000000001e.zks",
                "snap/000000000000000a.zks",
                "snap/0000000000000014.zks"
            ]
        );
        assert_eq!(chosen(&rig, LOG), Some(20));
    }
}

#[test]
fn what_was_set_aside_earlier_stays() {
    let rig = rig_with(&[10]);
    for _ in 0..3 {
        write(&rig.open(), 30).expect("written");
        rig.edit(30, Vec::clear);
        let choice = choose(&rig, LOG).expect("a choice");
        rig.open().quarantine(choice.damaged()).expect("moves");
    }
    assert_eq!(
        rig.names()
            .iter()
            .filter(|name| name.starts_with("lost+found/"))
            .count(),
        3
    );
}

/// What the storage cannot see (a digest that differs) rejects a snapshot just the same.
#[test]
fn content_that_makes_no_state_gives_way_too() {
    let rig = rig_with(&[10, 20]);
    let choice = rig.open().load_newest(LOG, |reader| match reader.zxid() {
        Zxid(20) => Err(LoadError::Content("the digest differs".into())),
        _ => Ok(()),
    });
    let choice = choice.expect("a choice");
    assert_eq!(choice.loaded, Some((Zxid(10), ())));
    assert!(choice.rejected[0].is_damage());
}

#[test]
fn without_any_snapshot_the_whole_log_serves() {
    let rig = rig_with(&[10, 20]);
    for zxid in [10, 20] {
        rig.edit(zxid, Vec::clear);
    }
    let choice = choose(&rig, LOG).expect("the log holds it all");
    assert!(choice.loaded.is_none());
    assert_eq!(choice.rejected.len(), 2);
}

#[test]
fn a_log_that_begins_too_late_is_refused() {
    let rig = rig_with(&[]);
    let (missing, text) = refused(&rig, log(50, 100));
    assert_eq!(missing, Missing::Records(Zxid(0), Zxid(50)));
    assert!(text.contains("transactions 0x1 to 0x32"), "{text}");
    assert!(text.contains("there is no snapshot at all"), "{text}");

    let rig = rig_with(&[10, 60]);
    assert_eq!(chosen(&rig, log(50, 100)), Some(60));
    rig.edit(60, Vec::clear);
    let (missing, text) = refused(&rig, log(50, 100));
    assert_eq!(missing, Missing::Records(Zxid(10), Zxid(50)));
    assert!(text.contains("000000000000003c.zks: snapshot"), "{text}");
    assert!(text.contains("the file is empty"), "{text}");
    assert!(text.contains("Put a good copy"), "{text}");

    // Exactly at the seam nothing is missing.
    let rig = rig_with(&[50]);
    assert_eq!(chosen(&rig, log(50, 100)), Some(50));
}

/// The log lost its end, and the one file that held those changes too is damaged: going back to an
/// older snapshot would silently undo what was acknowledged.
#[test]
fn a_log_that_ends_before_a_damaged_snapshot_is_refused() {
    let rig = rig_with(&[10, 60]);
    rig.edit(60, |bytes| bytes[4096 + 80] ^= 1);
    assert_eq!(chosen(&rig, log(0, 60)), Some(10));
    let (missing, _) = refused(&rig, log(0, 59));
    assert_eq!(
        missing,
        Missing::LogEndsBefore {
            last: Zxid(59),
            snapshot: Zxid(60)
        }
    );
    let (missing, _) = refused(&rig, None);
    assert_eq!(missing, Missing::Records(Zxid(10), Zxid(60)));
}

/// The same holds with no older snapshot at all.
#[test]
fn the_only_snapshot_damaged_and_the_log_short_is_refused() {
    let rig = rig_with(&[60]);
    rig.edit(60, Vec::clear);
    refused(&rig, log(0, 59));
    refused(&rig, None);
    assert!(
        choose(&rig, log(0, 60))
            .expect("the log holds it all")
            .loaded
            .is_none()
    );
}

/// A renamed file reaches as far as its header says, not its name.
#[test]
fn a_renamed_snapshot_is_judged_by_its_header() {
    let rig = rig_with(&[10, 60]);
    std::fs::rename(rig.file(60), rig.file(90)).expect("renames");
    assert_eq!(
        chosen(&rig, log(0, 70)),
        Some(10),
        "its name alone would refuse this"
    );
    std::fs::rename(rig.file(90), rig.file(20)).expect("renames");
    refused(&rig, log(0, 50));
}

/// A file of another store says nothing about this one: neither loaded nor missed nor moved.
#[test]
fn a_foreign_snapshot_is_passed_over() {
    let rig = rig_with(&[10]);
    let other = Rig::new();
    let foreign = ironkeeper_storage::snapshot::SnapshotDir::open(
        other.disk.clone(),
        other.root(),
        *b"another store !!",
    );
    write(&foreign.expect("opens"), 60).expect("written");
    std::fs::copy(other.file(60), rig.file(60)).expect("copies");
    let choice = choose(&rig, log(0, 20)).expect("a choice");
    assert_eq!(
        choice.loaded.as_ref().map(|(zxid, _)| *zxid),
        Some(Zxid(10))
    );
    assert_eq!(choice.damaged().count(), 0);
    assert_eq!(choice.rejected.len(), 1, "but it is said");
}

#[test]
fn other_names_are_left_alone() {
    let rig = rig_with(&[10]);
    let snap = rig.root().join("snap");
    for name in [
        "README",
        "000000000000003C.zks",
        "3c.zks",
        "000000000000003c.zks.bak",
    ] {
        std::fs::write(snap.join(name), b"?").expect("writes");
    }
    std::fs::write(snap.join("000000000000003c.zks.tmp"), b"?").expect("writes");
    assert_eq!(chosen(&rig, LOG), Some(10));
    let names = rig.names();
    assert_eq!(names.len(), 5, "only the unfinished one goes: {names:?}");
    assert!(!names.iter().any(|name| name.ends_with(".tmp")));
}
