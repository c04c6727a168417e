use std::path::Path;

use ironkeeper_proto::{OpCode, SessionId, Txn, Zxid};

use crate::rig::{SESSION, Writer, edit, run, usual};

const CLEAN: i32 = 0;
const FAULTS: i32 = 4;

/// The middle of a file's used part: a byte of some frame's body.
fn flip(path: &Path, at: usize) {
    edit(path, |bytes| bytes[at] ^= 0x10);
}

#[test]
fn a_whole_store_is_clean() {
    let made = usual();
    assert!(made.segments().len() > 3, "several segments");
    for args in [&[][..], &["--full"], &["--strict"], &["--full", "--strict"]] {
        let run = made.check(args);
        assert_eq!(
            (run.status, run.findings()),
            (CLEAN, vec![]),
            "{}",
            run.stdout
        );
        let json = run.json();
        assert_eq!(json["verdict"], "clean");
        assert_eq!(json["in_use"], false);
        assert_eq!(json["state"]["zxid"], made.last.to_string());
        assert_eq!(json["state"]["digest"], format!("{:#x}", made.digest));
        assert_eq!(json["log"]["last_zxid"], made.last.to_string());
        assert_eq!(json["log"]["intact_above"], "0x0");
        assert_eq!(json["snapshots"].as_array().expect("a list").len(), 3);
        let full = args.contains(&"--full");
        let records = json["state"]["records"].as_u64().expect("a number");
        assert_eq!(
            records > 500,
            full,
            "the oldest snapshot has the longer log: {records}"
        );
    }
    let text = made.run(&["check"]);
    assert_eq!(text.status, CLEAN);
    assert!(
        text.stdout.ends_with("verdict    clean\n"),
        "{}",
        text.stdout
    );
    assert!(text.stderr.is_empty(), "no progress where nobody watches");
}

#[test]
fn an_empty_store_is_clean() {
    let made = Writer::new().closed();
    assert_eq!(made.check(&["--strict"]).status, CLEAN);
    let native = made.dir().join("native-1");
    assert_eq!(
        run(&["check"], &[&native]).status,
        CLEAN,
        "native-1 itself may be named"
    );
}

/// Its own log is the proof: a store killed under way has no clean mark, and nothing wrong.
#[test]
fn a_killed_server_leaves_a_clean_store() {
    let mut writer = Writer::new();
    writer.fill(50);
    let made = writer.killed();
    let run = made.check(&["--strict"]);
    assert_eq!((run.status, run.findings()), (CLEAN, vec![]));
}

#[test]
fn a_running_server_does_no_harm_and_is_seen() {
    let mut writer = Writer::new();
    writer.fill(50);
    let found = run(&["check", "--json"], &[writer.tmp.path()]);
    assert_eq!((found.status, found.findings()), (CLEAN, vec![]));
    assert_eq!(found.json()["in_use"], true);
    writer.fill(50);
    let made = writer.closed();
    assert_eq!(made.check(&[]).json()["in_use"], false);
}

#[test]
fn a_torn_tail_is_a_warning() {
    let mut writer = Writer::new();
    writer.fill(50);
    writer.create("/last", Some(&[7; 3000]), false);
    writer.flush();
    let made = writer.killed();
    let segment = made.segments().pop().expect("a segment");
    edit(&segment, |bytes| {
        let last = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .expect("something");
        let unit = last / 512 * 512;
        bytes[unit..unit + 512].fill(0);
    });
    let finding = made.check(&[]).only(CLEAN, "warning", "LOG_TORN_TAIL");
    assert_eq!(
        finding["zxid"],
        Zxid(made.last.0 - 1).to_string(),
        "{finding}"
    );
    assert_eq!(finding["file"], segment.display().to_string());
    made.check(&["--strict"])
        .only(FAULTS, "warning", "LOG_TORN_TAIL");
}

#[test]
fn damage_in_the_log_counts_unless_a_snapshot_holds_it() {
    let made = usual();
    let segments = made.segments();
    flip(&segments[0], 3 * 4096);
    let finding = made.check(&[]).only(CLEAN, "warning", "LOG_ROT");
    assert_eq!(finding["file"], segments[0].display().to_string());
    flip(&segments[0], 3 * 4096);
    assert_eq!(made.check(&["--strict"]).status, CLEAN, "mended");

    let last = segments.last().expect("segments");
    flip(last, 3 * 4096);
    let run = made.check(&[]);
    let finding = run.has(FAULTS, "critical", "LOG_ROT");
    let offset = finding["offset"].as_u64().expect("a number");
    assert!((2 * 4096..4 * 4096).contains(&offset), "{finding}");
    assert!(run.json()["log"]["intact_above"] != "0x0");
}

#[test]
fn a_damaged_snapshot_counts_unless_an_older_one_and_the_log_make_up_for_it() {
    let made = usual();
    let snapshots = made.snapshots();
    flip(&snapshots[2], 5000);
    let finding = made.check(&[]).only(CLEAN, "warning", "SNAP_DAMAGED");
    assert!(
        finding["what"].as_str().expect("text").contains("block"),
        "{finding}"
    );
    assert!(finding["offset"].as_u64().expect("a number") >= 4096);
    edit(&snapshots[1], Vec::clear);
    made.check(&[]).has(CLEAN, "warning", "SNAP_EMPTY");
    edit(&snapshots[0], |bytes| bytes.truncate(6000));
    let run = made.check(&[]);
    assert_eq!(
        (run.status, run.findings().len()),
        (CLEAN, 3),
        "the log reaches back to the start"
    );
    assert_eq!(run.json()["state"]["snapshot"], serde_json::Value::Null);
    assert_eq!(run.json()["state"]["digest"], format!("{:#x}", made.digest));

    std::fs::remove_file(&made.segments()[0]).expect("removes");
    let run = made.check(&[]);
    run.has(FAULTS, "critical", "SNAP_DAMAGED");
    run.has(FAULTS, "critical", "SEGMENT_WRONG");
    run.has(FAULTS, "critical", "HISTORY_MISSING");
    assert_eq!(run.json()["state"], serde_json::Value::Null);
}

#[test]
fn leftovers_are_warnings() {
    let made = usual();
    let native = made.dir().join("native-1");
    std::fs::write(native.join("snap/0000000000000fff.zks.tmp"), b"?").expect("writes");
    made.check(&[]).only(CLEAN, "warning", "SNAP_UNFINISHED");
    made.check(&["--strict"])
        .only(FAULTS, "warning", "SNAP_UNFINISHED");
    std::fs::remove_file(native.join("snap/0000000000000fff.zks.tmp")).expect("removes");
    for stray in ["snap/snapshot.5", "wal/log.5"] {
        std::fs::write(native.join(stray), b"?").expect("writes");
        made.check(&[]).only(CLEAN, "warning", "STRAY_FILE");
        std::fs::remove_file(native.join(stray)).expect("removes");
    }
}

#[test]
fn a_snapshot_of_another_store_is_named() {
    let (made, other) = (usual(), usual());
    std::fs::copy(&other.snapshots()[2], &made.snapshots()[2]).expect("copies");
    let finding = made.check(&[]).only(CLEAN, "warning", "SNAP_FOREIGN");
    assert!(
        finding["what"]
            .as_str()
            .expect("text")
            .contains("it belongs to store"),
        "{finding}"
    );
}

#[test]
fn a_renamed_snapshot_is_named() {
    let made = usual();
    let newest = made.snapshots().pop().expect("snapshots");
    std::fs::rename(&newest, newest.with_file_name("0000000000000005.zks")).expect("renames");
    let finding = made.check(&[]).only(CLEAN, "warning", "SNAP_DAMAGED");
    assert!(
        finding["what"]
            .as_str()
            .expect("text")
            .contains("the name says zxid 0x5")
    );
}

#[test]
fn one_copy_of_meta_is_a_warning_and_both_are_fatal() {
    let made = usual();
    let meta = made.dir().join("native-1/META");
    for (at, offset) in [(100, 0), (4096 + 100, 4096)] {
        flip(&meta, at);
        let finding = made.check(&[]).only(CLEAN, "warning", "META_COPY");
        assert_eq!(finding["offset"], offset);
        flip(&meta, at);
    }
    flip(&meta, 100);
    flip(&meta, 4096 + 100);
    made.check(&[]).has(FAULTS, "fatal", "META_LOST");
    std::fs::remove_file(&meta).expect("removes");
    made.check(&[]).has(FAULTS, "fatal", "META_LOST");
}

#[test]
fn one_copy_of_a_segment_header_is_an_error() {
    let made = usual();
    let segment = &made.segments()[1];
    flip(segment, 50);
    let finding = made.check(&[]).only(FAULTS, "error", "SEGMENT_HEADER_COPY");
    assert_eq!(
        (&finding["offset"], &finding["file"]),
        (&0.into(), &segment.display().to_string().into())
    );
    flip(segment, 4096 + 50);
    made.check(&[]).has(CLEAN, "warning", "SEGMENT_WRONG");
}

#[test]
fn segments_in_each_others_place_are_found() {
    let made = usual();
    let segments = made.segments();
    let [.., a, b] = &segments[..] else {
        panic!("two segments")
    };
    let aside = a.with_extension("aside");
    std::fs::rename(a, &aside).expect("renames");
    std::fs::rename(b, a).expect("renames");
    std::fs::rename(&aside, b).expect("renames");
    let finding = made.check(&[]).has(FAULTS, "critical", "SEGMENT_WRONG");
    assert!(
        finding["what"]
            .as_str()
            .expect("text")
            .contains("its header says"),
        "{finding}"
    );
}

#[test]
fn a_missing_segment_is_found() {
    let made = usual();
    let segments = made.segments();
    std::fs::remove_file(&segments[segments.len() - 2]).expect("removes");
    let finding = made.check(&[]).has(FAULTS, "critical", "SEGMENT_WRONG");
    assert!(
        finding["what"].as_str().expect("text").contains("missing"),
        "{finding}"
    );
    // The one before it as well: one finding that names both.
    std::fs::remove_file(&segments[segments.len() - 3]).expect("removes");
    let finding = made.check(&[]).has(FAULTS, "critical", "SEGMENT_WRONG");
    let last = segments[segments.len() - 2].file_name().expect("a name");
    assert!(
        finding["what"]
            .as_str()
            .expect("text")
            .ends_with(&format!("up to {}", last.to_string_lossy())),
        "{finding}"
    );
}

/// Checksums say that bytes are as they were written; the digests, that they were right.
#[test]
fn a_txn_that_another_tree_made_is_found() {
    let mut writer = Writer::new();
    writer.fill(20);
    // One change that is in the log and not in the tree that made the digests.
    let header = writer.header(SESSION, OpCode::Delete);
    let mut record = Vec::new();
    let path = writer
        .tree
        .get("/load")
        .and_then(|n| n.children().next())
        .expect("nodes")
        .path();
    ironkeeper_proto::encode_record(&mut record, &header, &Txn::Delete { path: &path }, None);
    writer.record(&record);
    let first = writer.create("/after", None, false);
    writer.fill(20);
    let made = writer.closed();
    let finding = made.check(&[]).only(FAULTS, "critical", "TXN_DIGEST");
    assert_eq!(finding["zxid"], first.to_string(), "the first one, once");
}

#[test]
fn a_record_that_is_no_txn_is_found() {
    let mut writer = Writer::new();
    writer.fill(20);
    let header = writer.header(SESSION, OpCode::Delete);
    let mut record = Vec::new();
    ironkeeper_proto::encode_record(&mut record, &header, &Txn::Delete { path: "/load" }, None);
    record.truncate(record.len() - 3);
    writer.record(&record);
    let made = writer.closed();
    let finding = made.check(&[]).only(FAULTS, "critical", "LOG_RECORD");
    assert_eq!(finding["zxid"], header.zxid.to_string());
}

#[test]
fn a_txn_that_fits_nothing_is_found() {
    let mut writer = Writer::new();
    writer.fill(20);
    let zxid = writer.txn(SESSION, &Txn::Delete { path: "/not/there" });
    let made = writer.closed();
    let finding = made.check(&[]).only(FAULTS, "critical", "REPLAY_ANOMALY");
    assert_eq!(finding["zxid"], zxid.to_string());
}

/// A snapshot that is whole and not what the log made of the state.
#[test]
fn a_snapshot_that_does_not_add_up_is_found() {
    let mut writer = Writer::new();
    writer.fill(20);
    writer.snapshot();
    writer.fill(20);
    writer.snapshot_with_digest(12345);
    let made = writer.closed();
    let finding = made.check(&[]).has(FAULTS, "critical", "SNAP_CONTENT");
    assert!(
        finding["what"].as_str().expect("text").contains("digest"),
        "{finding}"
    );
}

#[test]
fn full_compares_the_snapshots_with_each_other() {
    let mut writer = Writer::new();
    writer.fill(20);
    writer.snapshot();
    // Something that the log does not have gets into the tree, and into the snapshot.
    let header = ironkeeper_proto::TxnHeader {
        session: SESSION,
        cxid: ironkeeper_proto::Xid(1),
        zxid: writer.tree.last_applied(),
        time_ms: 1,
        kind: OpCode::Delete,
    };
    let path = writer
        .tree
        .get("/load")
        .and_then(|n| n.children().next())
        .expect("nodes")
        .path();
    writer
        .tree
        .apply(&header, &Txn::Delete { path: &path }, None, &mut ());
    let header = writer.header(SESSION, OpCode::Error);
    let error = Txn::Error { code: -101 };
    writer.tree.apply(&header, &error, None, &mut ());
    let mut record = Vec::new();
    ironkeeper_proto::encode_record(&mut record, &header, &error, None);
    writer.record(&record);
    writer.flush();
    writer.snapshot();
    let made = writer.closed();
    assert_eq!(
        made.check(&[]).status,
        CLEAN,
        "the newest alone shows nothing"
    );
    made.check(&["--full"])
        .has(FAULTS, "critical", "SNAP_DIGEST");
}

#[test]
fn ephemerals_without_a_session_are_a_warning() {
    let mut writer = Writer::new();
    writer.fill(20);
    let stranger = SessionId(77);
    let header = writer.header(stranger, OpCode::Create);
    let open = ironkeeper_tree::Tree::new();
    let create = ironkeeper_proto::txn::CreateTxn {
        path: "/orphan",
        data: None,
        acl: open.root().acl(),
        ephemeral: true,
        parent_cversion: Some(writer.tree.root().stored_stat().cversion + 1),
    };
    writer
        .tree
        .apply(&header, &Txn::Create(create), None, &mut ());
    let mut record = Vec::new();
    ironkeeper_proto::encode_record(&mut record, &header, &Txn::Create(create), None);
    writer.record(&record);
    writer.flush();
    writer.snapshot();
    let made = writer.closed();
    let finding = made.check(&[]).only(CLEAN, "warning", "EPHEMERAL_ORPHAN");
    assert!(
        finding["what"].as_str().expect("text").contains("0x4d"),
        "{finding}"
    );
}

/// Status and one sentence for whatever is no store.
#[test]
fn what_cannot_be_checked_says_why() {
    let tmp = tempfile::tempdir().expect("a temporary directory");
    let nothing = tmp.path().join("nothing");
    let refused = |dir: &Path, what: &str| {
        for command in ["check", "dump"] {
            let run = run(&[command], &[dir]);
            assert_eq!(run.status, 8, "{run:?}");
            assert!(
                run.stderr.contains(what) && run.stderr.starts_with("zk-fsck: "),
                "{run:?}"
            );
            assert!(run.stdout.is_empty());
        }
    };
    refused(&nothing, "there is no such directory");
    refused(tmp.path(), "holds no store");
    std::fs::create_dir(tmp.path().join("version-2")).expect("makes");
    refused(tmp.path(), "Apache ZooKeeper");
}

#[test]
fn a_wrong_command_line_is_sixteen_and_help_is_none() {
    for args in [
        &[][..],
        &["check"],
        &["repair", "x"],
        &["check", "--nope", "x"],
        &["dump", "--after", "y", "x"],
    ] {
        let run = run(args, &[]);
        assert_eq!(run.status, 16, "{run:?}");
    }
    for args in [&["--help"][..], &["check", "--help"], &["dump", "--help"]] {
        let run = run(args, &[]);
        assert_eq!(run.status, 0);
        assert!(run.stdout.contains("Examples:"), "{}", run.stdout);
    }
    assert!(run(&["--version"], &[]).stdout.starts_with("zk-fsck "));
}

/// dataDir and dataLogDir apart.
#[test]
fn two_directories_are_one_store() {
    let made = usual();
    let logs = tempfile::tempdir().expect("a temporary directory");
    let native = logs.path().join("native-1");
    std::fs::create_dir(&native).expect("makes");
    for part in ["META", "wal"] {
        std::fs::rename(made.dir().join("native-1").join(part), native.join(part)).expect("moves");
    }
    let run = run(&["check", "--json"], &[made.dir(), logs.path()]);
    assert_eq!((run.status, run.findings()), (CLEAN, vec![]));
    assert_eq!(run.json()["state"]["digest"], format!("{:#x}", made.digest));
}
