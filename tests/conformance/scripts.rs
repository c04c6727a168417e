//! One set of scripts, `scripts/*.txt`, through raw frames, Apache's Java client and kazoo, against
//! Apache's server and ours: the answers to a step are the same from all servers to all clients.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::common::{Server, missing_peer};
use crate::compare::{judge, write_transcript};
use crate::drivers::mask;
use crate::java_sessions::SESSIONS;
use crate::normalise::Masks;
use crate::ops;
use crate::script::{Hello, Script, Session};
use crate::script_clients;
use crate::script_file::{Arg, CLIENTS, ScriptFile, Step};
use crate::script_raw;
use crate::servers::{
    BASE, EXTENDED, REAPING, Variant, has_reference, lock, shared_servers, subjects,
};

const VARIANTS: [&Variant; 4] = [&BASE, &EXTENDED, &REAPING, &SESSIONS];

#[test]
fn script_nodes() {
    compare("nodes");
}

#[test]
fn script_versions_and_stats() {
    compare("versions_and_stats");
}

#[test]
fn script_sequences() {
    compare("sequences");
}

#[test]
fn script_ephemerals() {
    compare("ephemerals");
}

#[test]
fn script_children() {
    compare("children");
}

#[test]
fn script_acls() {
    compare("acls");
}

#[test]
fn script_auth() {
    compare("auth");
}

#[test]
fn script_multi() {
    compare("multi");
}

#[test]
fn script_one_shot_watches() {
    compare("one_shot_watches");
}

#[test]
fn script_standing_watches() {
    compare("standing_watches");
}

#[test]
fn script_containers_and_ttl() {
    compare("containers_and_ttl");
}

#[test]
fn script_reaping() {
    compare("reaping");
}

#[test]
fn script_sessions() {
    compare("sessions");
}

#[test]
fn script_expiry() {
    compare("expiry");
}

#[test]
fn script_paths() {
    compare("paths");
}

#[test]
fn script_errors() {
    compare("errors");
}

#[test]
fn script_data() {
    compare("data");
}

/// What one client saw of one server.
struct Transcript {
    client: &'static str,
    prefix: String,
    /// The zxid of the node that the script works below.
    first_zxid: i64,
    /// Answers as the client printed them.
    lines: Vec<String>,
}

fn script_path(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/scripts");
    dir.join(format!("{name}.txt"))
}

fn read(name: &str) -> ScriptFile {
    ScriptFile::read(&script_path(name)).unwrap_or_else(|e| panic!("{e}"))
}

fn variant(file: &ScriptFile) -> &'static Variant {
    let is_named = |variant: &&&'static Variant| variant.name == file.servers;
    let found = VARIANTS.iter().find(is_named);
    found.unwrap_or_else(|| panic!("{}: no servers {}", file.path.display(), file.servers))
}

/// The clients that run here; says which do not.
fn clients(test: &str) -> Vec<&'static str> {
    let is_here = |client: &&'static str| {
        let is_here = script_clients::is_installed(client);
        if !is_here {
            missing_peer(test, client);
        }
        is_here
    };
    CLIENTS.into_iter().filter(is_here).collect()
}

fn compare(name: &str) {
    let file = read(name);
    if !has_reference(name) {
        return;
    }
    let clients = clients(name);
    let servers = shared_servers(variant(&file));
    let all = servers.run(|server| {
        let one = |client: &&'static str| transcript(&file, name, client, server);
        clients.iter().map(one).collect::<Vec<_>>()
    });
    let reference = normalise(&file, &all[0][0]);
    let kinds = std::iter::once("apache").chain(subjects().iter().map(|kind| kind.name()));
    let mut reports = String::new();
    for (kind, transcripts) in kinds.zip(&all) {
        for transcript in transcripts {
            let lines = normalise(&file, transcript);
            let client = transcript.client;
            write_transcript(&format!("script_{name}.{client}"), kind, &lines);
            if let Err(report) = judge(&part_of(&file, &reference, client), &lines, &[], false) {
                reports += &format!("{client} on {kind} differs from raw on apache:\n{report}");
            }
        }
    }
    assert!(
        reports.is_empty(),
        "{name}\n{reports}{}",
        servers.keep_files()
    );
}

/// Runs a script below a node of its own, and ends whatever sessions it left alive.
fn transcript(
    file: &ScriptFile,
    name: &str,
    client: &'static str,
    server: &mut Server,
) -> Transcript {
    let (kind, address) = (server.kind(), server.address());
    let prefix = format!("/script-{name}-{client}");
    let script = Script::new(server, &prefix[1..]);
    let mut setup = script.session("setup");
    let made = setup.call(&ops::create(&prefix, "", ops::OPEN, ops::PERSISTENT));
    assert_eq!(made.err, 0, "{prefix} can be made");
    setup.close();
    let result = if client == "raw" {
        script_raw::run(file, &script, &prefix).map(|answers| {
            let line = |(line, answer)| json!({"line": line, "answer": answer}).to_string();
            answers.into_iter().map(line).collect()
        })
    } else {
        script_clients::run(client, kind, &file.path, address, &prefix)
    };
    let lines: Vec<String> = result.unwrap_or_else(|e| panic!("{client} on {}: {e}", kind.name()));
    for session in lines.iter().filter_map(|line| session_of(line)) {
        script.quiet_session(&Hello::again(&session));
    }
    script.finish();
    Transcript {
        client,
        prefix,
        first_zxid: made.zxid,
        lines,
    }
}

fn session_of(line: &str) -> Option<Session> {
    let value: Value = serde_json::from_str(line).ok()?;
    let answer = &value["answer"];
    Some(Session {
        id: answer["newSession"].as_i64()?,
        password: from_hex(answer["password"].as_str()?)?,
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The lines of a whole transcript that this client has to show as well.
fn part_of(file: &ScriptFile, lines: &[String], client: &str) -> Vec<String> {
    assert_eq!(lines.len(), file.steps.len(), "raw frames run every step");
    let with_steps = file.steps.iter().zip(lines);
    with_steps
        .filter(|(step, _)| step.clients.iter().any(|c| c == client))
        .map(|(_, line)| line.clone())
        .collect()
}

/// The step behind each answer, and the answer with only zxids, times, session ids and passwords
/// masked, as `normalise.rs` masks them.
fn normalise(file: &ScriptFile, transcript: &Transcript) -> Vec<String> {
    let mut masks = Masks::new();
    masks.zxid(transcript.first_zxid);
    let line = |line: &String| {
        normalised(file, &transcript.prefix, line, &mut masks).unwrap_or_else(|| line.clone())
    };
    transcript.lines.iter().map(line).collect()
}

fn normalised(file: &ScriptFile, prefix: &str, line: &str, masks: &mut Masks) -> Option<String> {
    let Value::Object(mut object) = serde_json::from_str(line).ok()? else {
        return None;
    };
    let (number, mut answer) = (object.remove("line")?, object.remove("answer")?);
    let is_of = |step: &&Step| number == step.line;
    let step = file.steps.iter().find(is_of)?;
    if let Some(id) = answer.get("newSession").and_then(Value::as_i64) {
        masks.new_session(id);
        let password = from_hex(answer["password"].as_str()?)?;
        answer["password"] = masks.password(id, &password).into();
    }
    sort(step, &mut answer);
    rename(prefix, &mut answer);
    mask(&mut answer, masks);
    // Whatever else the client printed.
    let rest = if object.is_empty() {
        String::new()
    } else {
        Value::Object(object).to_string()
    };
    Some(format!("{number:>3} {} -> {answer}{rest}", step.text))
}

/// Children, ephemerals and identities come in no order, and some events.
fn sort(step: &Step, answer: &mut Value) {
    sort_names(answer);
    if let ("events", Some(Arg::Flag(true))) = (step.call.verb.as_str(), step.call.args.first())
        && let Some(Value::Array(events)) = answer.get_mut("events")
    {
        events.sort_by_key(Value::to_string);
    }
}

fn sort_names(answer: &mut Value) {
    if let Some(Value::Array(names)) = answer.get_mut("names") {
        names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    if let Some(Value::Array(results)) = answer.get_mut("results") {
        results.iter_mut().for_each(sort_names);
    }
}

/// Codes get their names, and paths lose the node that the script works below.
fn rename(prefix: &str, value: &mut Value) {
    match value {
        Value::Object(map) => {
            rename_code(map);
            map.values_mut().for_each(|value| rename(prefix, value));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rename(prefix, value)),
        Value::String(text) => match text.strip_prefix(prefix) {
            Some("") => *text = "/".to_owned(),
            Some(rest) if rest.starts_with('/') => *text = rest.to_owned(),
            _ => {}
        },
        _ => {}
    }
}

fn rename_code(map: &mut Map<String, Value>) {
    let Some(code) = map.get("code").and_then(Value::as_i64) else {
        return;
    };
    let name = match code {
        0 => "OK",
        -2 => "RUNTIMEINCONSISTENCY",
        -5 => "MARSHALLINGERROR",
        -6 => "UNIMPLEMENTED",
        -8 => "BADARGUMENTS",
        -101 => "NONODE",
        -102 => "NOAUTH",
        -103 => "BADVERSION",
        -108 => "NOCHILDRENFOREPHEMERALS",
        -110 => "NODEEXISTS",
        -111 => "NOTEMPTY",
        -112 => "SESSIONEXPIRED",
        -114 => "INVALIDACL",
        -115 => "AUTHFAILED",
        -121 => "NOWATCHER",
        -125 => "QUOTAEXCEEDED",
        _ => return,
    };
    map.insert("code".to_owned(), name.into());
}

#[test]
fn every_script_has_its_test() {
    let dir = script_path("any");
    let entries = std::fs::read_dir(dir.parent().expect("a file is in a directory"));
    for entry in entries.expect("the scripts are here").flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let test = format!("fn script_{name}() {{\n    compare(\"{name}\");");
        assert!(
            include_str!("scripts.rs").contains(&test),
            "{} is run by no test",
            path.display()
        );
    }
}

/// Where a line as printed has what is masked.
fn masked(line: &str) -> Vec<Range<usize>> {
    let keys = ["ctime", "mtime", "newSession", "password"].map(|key| format!("\"{key}\":"));
    let value = |(at, key): (usize, &str)| {
        let length = line[at..].find([',', '}']).unwrap_or(0);
        at + key.len()..at + length
    };
    let found = keys.iter().flat_map(|key| line.match_indices(key.as_str()));
    found.map(value).collect()
}

#[test]
fn every_byte_of_an_answer_that_is_not_masked_matters() {
    let name = "ephemerals";
    if !has_reference(name) {
        return;
    }
    let file = read(name);
    let servers = shared_servers(variant(&file));
    for client in clients(name) {
        let directory = format!("{name}-flipped");
        let original = transcript(&file, &directory, client, &mut lock(&servers.reference));
        let lines = normalise(&file, &original);
        let (mut compared, mut passed) = (0, 0);
        for (number, line) in original.lines.iter().enumerate() {
            let masked = masked(line);
            for at in 0..line.len() {
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
                let mut flipped = original.lines.clone();
                flipped[number] = String::from_utf8_lossy(&bytes).into_owned();
                let flipped = Transcript {
                    lines: flipped,
                    prefix: original.prefix.clone(),
                    ..original
                };
                if normalise(&file, &flipped) != lines {
                    compared += 1;
                    continue;
                }
                let is_masked = masked.iter().any(|range| range.contains(&at));
                assert!(
                    is_masked,
                    "{client}: byte {at} is compared by nobody: {line}"
                );
                passed += 1;
            }
        }
        assert!(compared > 1000, "{client}: the sample is too small");
        assert!(passed > 0, "{client}: nothing is masked");
    }
}

#[test]
fn what_is_no_script_is_refused_by_all() {
    let test = "what_is_no_script_is_refused_by_all";
    if !has_reference(test) {
        return;
    }
    let clients = clients(test);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("script.txt");
    let refused = |text: &str, should_be: bool| {
        std::fs::write(&path, text).expect("the directory can be written");
        let ours = ScriptFile::read(&path).map(drop);
        assert_eq!(ours.is_err(), should_be, "raw: {text}: {ours:?}");
        for client in clients.iter().filter(|client| **client != "raw") {
            // Nobody listens there: whoever reads the script to its end fails in another way.
            let nowhere = ([127, 0, 0, 1], 1).into();
            let kind = subjects()[0];
            let error = script_clients::run(client, kind, &path, nowhere, "/x");
            let told = error.as_ref().is_err_and(|e| e.contains("script.txt:"));
            assert_eq!(told, should_be, "{client}: {text}: {error:?}");
        }
    };
    let good = "a: close";
    for step in [
        "a: dance",
        "a: create2 /x \"\" persistent",
        "a: create /x \"\" persistent world:anyone:cdrwa more",
        "a: create /x \"\" perpetual world:anyone:cdrwa",
        "a: create /x \"\" ttl world:anyone:cdrwa",
        "a: create /x \"\" persistent world:anyone:cdrwx",
        "a: create /x \"\" persistent anyone",
        "a: set /x text 0",
        "a: set /x \"text 0",
        "a: set /x \"text\"0 0",
        "a: set /x \"te\\xt\" 0",
        "a: set /x \"text\" zero",
        "a: set /x hex:0 0",
        "a: set /x hex:0g 0",
        "a: get",
        "a: get /x look",
        "a: get /x \"watch\"",
        "a: watch /x often",
        "a: unwatch /x everything",
        "a: multi get /x",
        "a: multi delete /x 0 ;",
        "a: multiread delete /x 0",
        "a: \"close\"",
        "a close",
        "A: close",
        ": close",
        "[kazoo] a: close",
        "[raw perl] a: close",
        "[raw java kazoo] a: close",
        "[raw a: close",
        "servers base",
    ] {
        refused(&format!("servers base\n{good}\n{step}\n"), true);
    }
    refused(&format!("{good}\n"), true);
    refused("servers base\n", true);
    // Well formed, but closed before it is open.
    refused(&format!("servers base\n{good}\n"), false);
}
