use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::rig::{Made, Writer, edit, program, usual};

fn dump(made: &Made, args: &[&str]) -> Vec<Value> {
    let run = made.run(&[&["dump"], args].concat());
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{}", run.stderr);
    run.lines()
}

fn of_type<'l>(lines: &'l [Value], kind: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

#[test]
fn everything_in_a_store_is_printed() {
    let made = usual();
    let lines = dump(&made, &[]);
    assert_eq!(lines[0]["type"], "store");
    let snapshot = of_type(&lines, "snapshot")[0];
    let nodes = of_type(&lines, "node");
    assert_eq!(snapshot["nodes"], nodes.len());
    assert_eq!(nodes[0]["path"], "/");
    let session = of_type(&lines, "session")[0];
    assert_eq!(
        (&session["id"], &session["timeout_ms"]),
        (&json!("0x1000000000001"), &json!(30_000))
    );
    let records = of_type(&lines, "record");
    let zxids: Vec<String> = records
        .iter()
        .map(|r| r["zxid"].as_str().expect("text").to_owned())
        .collect();
    let expected: Vec<String> = (1..=made.last.0).map(|zxid| format!("{zxid:#x}")).collect();
    assert_eq!(zxids, expected, "every transaction, in order");
    let last = records.last().expect("records");
    assert_eq!(last["digest"]["value"], format!("{:#x}", made.digest));
    assert_eq!(last["kind"], "create2");
}

#[test]
fn nodes_and_transactions_say_what_they_hold() {
    let mut writer = Writer::new();
    writer.create("/null", None, false);
    writer.create("/empty", Some(b""), false);
    writer.create("/\u{fc}", Some(&[0, 255]), true);
    writer.snapshot();
    let made = writer.closed();
    let lines = dump(&made, &[]);
    let node = |path: &str| {
        let nodes = of_type(&lines, "node");
        nodes
            .into_iter()
            .find(|node| node["path"] == path)
            .expect("there")
            .clone()
    };
    assert_eq!(node("/null")["data"], Value::Null);
    assert_eq!(node("/empty")["data"], "");
    let node = node("/\u{fc}");
    assert_eq!(
        (&node["data"], &node["kind"]),
        (&json!("AP8="), &json!("ephemeral"))
    );
    assert_eq!(node["stat"]["ephemeralOwner"], "0x1000000000001");
    assert_eq!(node["stat"]["czxid"], "0x4");
    let record = of_type(&lines, "record")[3];
    assert_eq!(record["txn"]["path"], "/\u{fc}");
    assert_eq!(record["txn"]["ephemeral"], true);
    assert_eq!(record["session"], "0x1000000000001");

    let text = serde_json::to_string(&lines).expect("text");
    assert!(
        text.contains("bob:***") && !text.contains("c2VjcmV0"),
        "hashes are hidden"
    );
    let shown = made.run(&["dump", "--show-hashes"]).stdout;
    assert!(shown.contains("bob:c2VjcmV0IGhhc2g="));
}

#[test]
fn parts_can_be_asked_for() {
    let made = usual();
    assert!(of_type(&dump(&made, &["--log"]), "node").is_empty());
    assert!(of_type(&dump(&made, &["--snapshot"]), "record").is_empty());
    let after = format!("{}", made.last.0 - 3);
    assert_eq!(
        of_type(&dump(&made, &["--log", "--after", &after]), "record").len(),
        3
    );
    let oldest = made.snapshots()[0]
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let at = format!("0x{}", oldest.trim_start_matches('0'));
    let lines = dump(&made, &["--snapshot", "--at", &at]);
    assert_eq!(of_type(&lines, "snapshot")[0]["zxid"], at);
    let missing = made.run(&["dump", "--at", "0x5"]);
    assert_eq!(missing.status, 8);
    assert!(
        missing.stderr.contains("no whole snapshot of zxid 0x5"),
        "{}",
        missing.stderr
    );
}

#[test]
fn damage_is_printed_where_it_lies() {
    let made = usual();
    let segments = made.segments();
    edit(&segments[1], |bytes| bytes[3 * 4096] ^= 1);
    edit(&made.snapshots()[2], |bytes| bytes[5000] ^= 1);
    let run = made.run(&["dump"]);
    assert_eq!(run.status, 4, "{}", run.stderr);
    let lines = run.lines();
    let damage = of_type(&lines, "damage");
    assert_eq!(damage.len(), 2, "{damage:?}");
    assert_eq!(damage[0]["file"], made.snapshots()[2].display().to_string());
    assert_eq!(damage[1]["file"], segments[1].display().to_string());
    let place = lines
        .iter()
        .position(|line| line == damage[1])
        .expect("there");
    assert_eq!(
        (&lines[place - 1]["type"], &lines[place + 1]["type"]),
        (&json!("record"), &json!("record"))
    );
    assert!(
        of_type(&lines, "record").len() > 700,
        "what is whole is printed all the same"
    );
    assert_eq!(of_type(&lines, "snapshot").len(), 1, "the one before it");
}

/// `zk-fsck dump | head -1`
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let made = usual();
    let mut child = program()
        .args(["dump"])
        .arg(made.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut byte = [0];
    child
        .stdout
        .take()
        .expect("piped")
        .read_exact(&mut byte)
        .expect("a byte");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
