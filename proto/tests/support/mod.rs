//! Reads the fixtures: captures with their decoded frames, data directories with their oracles.
#![allow(
    dead_code,
    missing_docs,
    reason = "shared by test binaries that each use a part"
)]

use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ironkeeper_proto::{AclList, Frames, Stat, StringList, jute::lossy};

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The file, unpacked if its name ends in `.gz`.
pub(crate) fn read_unpacked(path: &Path) -> Vec<u8> {
    let bytes = read(path);
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    unpacked
}

pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    let bytes = read_unpacked(path);
    let text = std::str::from_utf8(&bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap())
        .collect();
    assert_eq!(digits.len() % 2, 0, "{text}");
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Zxids, sessions and owners, as the oracles print them.
pub(crate) fn hex_number(number: i64) -> Value {
    Value::String(format!("{number:#x}"))
}

/// One frame of a capture: its content, and what the oracle says of it.
pub(crate) struct CapturedFrame {
    pub(crate) capture: String,
    pub(crate) to_server: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) oracle: Map<String, Value>,
}

impl CapturedFrame {
    pub(crate) fn kind(&self) -> &str {
        self.oracle["type"].as_str().unwrap()
    }

    /// The `fields` of the oracle.
    pub(crate) fn fields(&self) -> &Value {
        &self.oracle["fields"]
    }
}

/// Every frame of every capture between the Java client and Apache's server.
pub(crate) fn captured_frames() -> Vec<CapturedFrame> {
    let directory = fixtures().join("wire/client");
    let index: Value = serde_json::from_slice(&read(&directory.join("index.json"))).unwrap();
    let mut frames = Vec::new();
    for entry in index.as_array().unwrap() {
        let name = entry["capture"].as_str().unwrap();
        let mut streams: BTreeMap<(i64, String), Vec<u8>> = BTreeMap::new();
        for chunk in json_lines(&directory.join(format!("{name}.jsonl"))) {
            if let Some(hex) = chunk["hex"].as_str() {
                let key = (
                    chunk["conn"].as_i64().unwrap(),
                    chunk["dir"].as_str().unwrap().into(),
                );
                streams.entry(key).or_default().extend(unhex(hex));
            }
        }
        let decoded = read(&directory.join(format!("{name}.json")));
        let decoded: Value = serde_json::from_slice(&decoded).unwrap();
        let mut expected: BTreeMap<(i64, String), Vec<Map<String, Value>>> = BTreeMap::new();
        for frame in decoded["frames"].as_array().unwrap() {
            let key = (
                frame["conn"].as_i64().unwrap(),
                frame["dir"].as_str().unwrap().into(),
            );
            if frame.get("length").is_some() {
                expected
                    .entry(key)
                    .or_default()
                    .push(frame.as_object().unwrap().clone());
            }
        }
        for (key, stream) in streams {
            let mut split = Frames::new(&stream, 0xf_ffff);
            let oracles = expected.remove(&key).unwrap_or_default();
            let bodies: Vec<&[u8]> = split.by_ref().map(Result::unwrap).collect();
            assert_eq!(bodies.len(), oracles.len(), "{name} {key:?}");
            assert!(split.rest().is_empty(), "{name} {key:?}");
            for (body, oracle) in bodies.into_iter().zip(oracles) {
                assert_eq!(
                    oracle["length"].as_u64(),
                    u64::try_from(body.len()).ok(),
                    "{name}"
                );
                frames.push(CapturedFrame {
                    capture: name.to_owned(),
                    to_server: key.1 == "c>s",
                    body: body.to_vec(),
                    oracle,
                });
            }
        }
        assert!(expected.is_empty(), "{name}");
    }
    frames
}

/// `bytes` in whichever of its forms the oracle chose.
pub(crate) fn like(expected: Option<&Value>, bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    match expected {
        Some(Value::Object(form)) if form.contains_key("hex") => json!({"hex": hex(bytes)}),
        Some(Value::Object(form)) if form.contains_key("len") => {
            let starts = form["starts"].as_str().unwrap();
            json!({"len": bytes.len(), "starts": hex(&bytes[..starts.len() / 2])})
        }
        _ => json!({"text": String::from_utf8_lossy(bytes)}),
    }
}

pub(crate) fn acl_json(acl: &AclList<'_>) -> Value {
    if acl.is_null() {
        return Value::Null;
    }
    let entries = acl
        .iter()
        .map(|entry| json!([entry.perms.0, entry.scheme.map(lossy), entry.id.map(lossy)]));
    Value::Array(entries.collect())
}

pub(crate) fn strings_json(list: &StringList<'_>) -> Value {
    if list.is_null() {
        Value::Null
    } else {
        Value::Array(list.iter().map(|s| json!(s)).collect())
    }
}

pub(crate) fn stat_json(stat: &Stat) -> Value {
    json!({
        "czxid": hex_number(stat.czxid.0),
        "mzxid": hex_number(stat.mzxid.0),
        "ctime": stat.ctime,
        "mtime": stat.mtime,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeralOwner": hex_number(stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
        "pzxid": hex_number(stat.pzxid.0),
    })
}

/// One data directory of the fixtures (a member's, where it was an ensemble).
pub(crate) fn data_directories() -> Vec<(String, PathBuf)> {
    let manifest = read(&fixtures().join("manifest.json"));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut directories = Vec::new();
    for fixture in manifest["fixtures"].as_array().unwrap() {
        let name = fixture["name"].as_str().unwrap();
        let path = fixtures().join(name);
        if path.join("logs.jsonl.gz").exists() {
            directories.push((name.to_owned(), path));
        }
    }
    assert!(directories.len() >= 12, "{directories:?}");
    directories
}
