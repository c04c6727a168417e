//! Directories that Apache's servers left, replayed: every txn's digest, and every node in the end, against what
//! Apache itself held in memory.
#![allow(clippy::disallowed_methods, reason = "tests read fixtures")]

use flate2::read::GzDecoder;
use ironkeeper_proto::apache::{FileHeader, LogEntries, Snapshot};
use ironkeeper_proto::{ErrorCode, SessionId, Zxid, decode_record};
use ironkeeper_tree::{Anomaly, DigestCheck, ImportOptions, NodeKind, Tree};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Data directories among the fixtures: those with a `data` folder, members of ensembles included. More of them may
/// lie elsewhere, named by the environment.
fn directories() -> Vec<PathBuf> {
    let root = std::env::var_os("IRONKEEPER_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures"),
        PathBuf::from,
    );
    let children = |path: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
    };
    let mut found = Vec::new();
    for fixture in children(&root) {
        if !fixture
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("apache-")
        {
            continue;
        }
        if fixture.join("data").is_dir() {
            found.push(fixture);
        } else {
            found.extend(
                children(&fixture)
                    .into_iter()
                    .filter(|path| path.join("data").is_dir()),
            );
        }
    }
    assert!(
        found.len() >= 10,
        "the fixtures are missing: {}",
        root.display()
    );
    found
}

fn read(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut plain = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
        return plain;
    }
    bytes
}

/// Files of a kind, by the zxid in the name.
fn files(directory: &Path, prefix: &str) -> Vec<(i64, PathBuf)> {
    let mut files: Vec<(i64, PathBuf)> = std::fs::read_dir(directory.join("data/version-2"))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let rest = path.file_name()?.to_str()?.strip_prefix(prefix)?;
            let zxid = i64::from_str_radix(rest.split('.').next()?, 16).ok()?;
            Some((zxid, path))
        })
        .collect();
    files.sort();
    files
}

struct Oracle {
    header: Value,
    nodes: Vec<Value>,
}

fn oracle(directory: &Path) -> Oracle {
    let text = String::from_utf8(read(&directory.join("oracle.jsonl.gz"))).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    Oracle {
        header: lines.next().unwrap(),
        nodes: lines.collect(),
    }
}

fn hex(value: &Value) -> i64 {
    let text = value.as_str().unwrap().strip_prefix("0x").unwrap();
    u64::from_str_radix(text, 16).unwrap().cast_signed()
}

fn base64(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bits = 0_u32;
    let mut count = 0;
    for byte in text.bytes().filter(|&byte| byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("not base64: {text}"),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

/// The payloads of all records, in order.
fn records(directory: &Path) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for (_, path) in files(directory, "log.") {
        let bytes = read(&path);
        let entries = LogEntries::new(&bytes, FileHeader::ENCODED_BYTES)
            .map_while(Result::ok)
            .take_while(|entry| entry.is_finished() && entry.is_checksum_right());
        records.extend(entries.map(|entry| entry.payload.to_vec()));
    }
    records
}

/// From the first change on and without a hole; a member that was sent a snapshot has one.
fn logs_are_whole(directory: &Path) -> bool {
    let mut last = None;
    records(directory).iter().all(|record| {
        let (header, ..) = decode_record(record).unwrap();
        let follows = match last {
            Some(last) if header.zxid == Zxid::next(last) => true,
            None => header.zxid.counter() == 1,
            Some(last) => header.zxid.epoch() > last.epoch() && header.zxid.counter() == 1,
        };
        last = Some(header.zxid);
        follows
    })
}

/// Replays what lies above `last_applied`. Digests count from `exact_from` on. Returns how many were compared, and the
/// anomalies met from there on.
fn replay(tree: &mut Tree, directory: &Path, exact_from: Zxid) -> (usize, Vec<(Zxid, Anomaly)>) {
    let mut compared = 0;
    let mut anomalies = Vec::new();
    for record in records(directory) {
        let (header, txn, digest) = decode_record(&record).unwrap();
        if header.zxid <= tree.last_applied() {
            continue;
        }
        let exact = header.zxid >= exact_from;
        let digest = digest.filter(|_| exact);
        let applied = tree.apply(&header, &txn, digest.as_ref(), &mut ());
        match applied.digest {
            DigestCheck::Absent => assert!(digest.is_none()),
            DigestCheck::Equal => compared += 1,
            DigestCheck::Differs { .. } => {
                panic!(
                    "{}: {} {txn:?}: {applied:?}",
                    directory.display(),
                    header.zxid
                )
            }
        }
        anomalies.extend(
            applied
                .anomaly
                .filter(|_| exact)
                .map(|what| (header.zxid, what)),
        );
    }
    (compared, anomalies)
}

fn check_against_oracle(tree: &Tree, directory: &Path, oracle: &Oracle, local_config: bool) {
    let name = directory.display();
    let header = &oracle.header;
    assert_eq!(tree.last_applied().0, hex(&header["lastZxid"]), "{name}");
    let mut seen = 0;
    for line in &oracle.nodes {
        let path = line["path"].as_str().unwrap();
        let node = tree
            .get(path)
            .unwrap_or_else(|| panic!("{name}: {path} is missing"));
        seen += 1;
        if local_config && path == "/zookeeper/config" {
            continue;
        }
        // Usage figures of quotas change without txns; each server keeps its own.
        let is_usage = path.starts_with("/zookeeper/quota/") && path.ends_with("/zookeeper_stats");
        if !is_usage {
            assert_eq!(
                node.data(),
                line["data"].as_str().map(base64).as_deref(),
                "{name}: {path}"
            );
            assert_eq!(
                i64::from(node.stat().data_length),
                line["dataLength"],
                "{name}: {path}"
            );
        }
        let acl: Vec<Value> = node
            .acl()
            .iter()
            .map(|acl| serde_json::json!([acl.perms.0, acl.scheme_text(), acl.id_text()]))
            .collect();
        assert_eq!(Value::from(acl), line["acl"], "{name}: {path}");
        assert_eq!(
            node.acl_id() == ironkeeper_tree::AclId::OPEN,
            line["aclId"] == -1,
            "{name}: {path}"
        );
        let stored = node.stored_stat();
        let long = |what: &str| line[what].as_i64().unwrap();
        let got = [
            stored.czxid.0,
            stored.mzxid.0,
            stored.pzxid.0,
            stored.ctime,
            stored.mtime,
        ];
        let expected = [
            hex(&line["czxid"]),
            hex(&line["mzxid"]),
            hex(&line["pzxid"]),
            long("ctime"),
            long("mtime"),
        ];
        assert_eq!(got, expected, "{name}: {path}");
        let got = [
            stored.version,
            stored.cversion,
            stored.aversion,
            node.stat().cversion,
        ]
        .map(i64::from);
        let expected = [
            long("version"),
            long("cversion"),
            long("aversion"),
            long("clientCversion"),
        ];
        assert_eq!(got, expected, "{name}: {path}");
        assert_eq!(
            i64::from(node.stat().num_children),
            long("numChildren"),
            "{name}: {path}"
        );
        assert_eq!(
            stored.ephemeral_owner,
            hex(&line["ephemeralOwner"]),
            "{name}: {path}"
        );
        let kind = match node.kind() {
            NodeKind::Persistent => "none",
            NodeKind::Ephemeral => "ephemeral",
            NodeKind::Container => "container",
            NodeKind::Ttl => "ttl",
        };
        assert_eq!(kind, line["owner"], "{name}: {path}");
        let reported = if kind == "ephemeral" {
            stored.ephemeral_owner
        } else {
            0
        };
        assert_eq!(node.stat().ephemeral_owner, reported, "{name}: {path}");
        assert_eq!(node.path(), path);
    }
    assert_eq!(tree.node_count(), seen, "{name}");
    let counters = tree.counters();
    assert_eq!(counters.znode_count as u64, header["znodes"], "{name}");
    assert_eq!(counters.ephemerals as u64, header["ephemerals"], "{name}");
    let digest: u64 = header["digest"].as_str().unwrap().parse().unwrap();
    assert_eq!(tree.digest().cast_unsigned(), digest, "{name}");
    let session = |id: SessionId, timeout_ms: i32| (id.0, i64::from(timeout_ms));
    let sessions: BTreeSet<(i64, i64)> = tree
        .sessions()
        .map(|entry| session(entry.id, entry.timeout_ms))
        .collect();
    let expected: BTreeSet<(i64, i64)> = header["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (hex(&entry["id"]), entry["timeout"].as_i64().unwrap()))
        .collect();
    assert_eq!(sessions, expected, "{name}");
    let in_lists: usize = tree
        .sessions()
        .map(|session| tree.ephemerals(session.id).count())
        .sum();
    assert_eq!(
        in_lists
            + tree
                .ownerless()
                .iter()
                .map(|&id| tree.ephemerals(id).count())
                .sum::<usize>(),
        counters.ephemerals
    );
    assert!(!tree.has_missing_acls(), "{name}");
}

/// As a server starts: the newest snapshot that is whole, mixed or not, and the log since.
#[test]
fn the_newest_snapshot_and_its_log_give_apaches_tree() {
    let (mut compared, mut mixed) = (0, 0);
    for directory in directories() {
        let ttl_353 = directory.ends_with("apache-3.5.3-beta-ttl");
        let oracle = oracle(&directory);
        let snapshots = files(&directory, "snapshot.");
        let newest = snapshots.iter().rev().find_map(|(zxid, path)| {
            let bytes = read(path);
            let snapshot = Snapshot::parse(&bytes).ok().filter(Snapshot::is_sealed)?;
            let options = ImportOptions {
                hash_seed: 5,
                ttl_353,
            };
            let mut tree = Tree::from_apache(&snapshot, options).unwrap();
            tree.set_last_applied(Zxid(*zxid));
            Some((tree, snapshot.digest.map(|(section, _)| section.zxid)))
        });
        if newest.is_none() && !snapshots.is_empty() {
            assert!(
                snapshots[0]
                    .1
                    .extension()
                    .is_some_and(|extension| extension == "snappy")
            );
            continue;
        }
        let (mut tree, digest_at) = newest.unwrap_or_else(|| (Tree::new(), None));
        let exact_from = digest_at.unwrap_or(Zxid(0));
        mixed += usize::from(exact_from > tree.last_applied());
        compared += replay(&mut tree, &directory, exact_from).0;
        check_against_oracle(&tree, &directory, &oracle, false);
    }
    assert!(compared > 1000, "only {compared} digests compared");
    assert!(mixed > 0, "no fuzzy snapshot among the fixtures");
}

/// From nothing, where the logs are whole: all digests, and not a single surprise.
#[test]
fn all_logs_from_an_empty_tree_give_apaches_tree() {
    let mut compared = 0;
    for directory in directories() {
        // 3.5.3's own layout of owners is in its snapshots only.
        let ttl_353 = directory.ends_with("apache-3.5.3-beta-ttl");
        if ttl_353 || !logs_are_whole(&directory) {
            continue;
        }
        let mut tree = Tree::new();
        let (count, anomalies) = replay(&mut tree, &directory, Zxid(0));
        assert_eq!(anomalies, [], "{}", directory.display());
        compared += count;
        let oracle = oracle(&directory);
        // Apache before 3.5 has no such node. Members of an ensemble fill it at their start, without a txn.
        let has_config = oracle
            .nodes
            .iter()
            .any(|line| line["path"] == "/zookeeper/config");
        let local_config = directory.join("zoo.cfg").exists();
        if has_config {
            check_against_oracle(&tree, &directory, &oracle, local_config);
        }
    }
    assert!(compared > 3000, "only {compared} digests compared");
}

/// What makes the last test worth something: a digest that is off by one is seen.
#[test]
fn a_wrong_digest_is_seen() {
    let directory = &directories()[0];
    let records = records(directory);
    let (header, txn, _) = decode_record(&records[0]).unwrap();
    let mut tree = Tree::new();
    let wrong = ironkeeper_proto::TxnDigest {
        version: 2,
        tree_digest: 1,
    };
    let applied = tree.apply(&header, &txn, Some(&wrong), &mut ());
    assert_eq!(applied.result.err, ErrorCode::Ok.to_i32());
    assert_eq!(
        applied.digest,
        DigestCheck::Differs {
            expected: 1,
            actual: tree.digest()
        }
    );
}
