//! Every record of the logs that Apache's servers wrote: decoded, compared with what Apache's classes made of it,
//! encoded again to the same bytes.

mod support;

use ironkeeper_proto::apache::{
    FileHeader, LogEntries, LogEntry, LogStop, Snapshot, encode_entry, read_entry,
};
use ironkeeper_proto::txn::{TxnDigest, record_zxid};
use ironkeeper_proto::{
    AclList, AclListBuf, MultiTxnBuf, Record, StringListBuf, Txn, TxnHeader, decode_record,
    encode_record,
};
use serde_json::{Value, json};
use std::path::Path;
use support::{acl_json, data_directories, hex, hex_number, json_lines, read, read_unpacked};

/// `data` as the oracle prints it: base64, or length and hash for what is long.
fn put_data(fields: &mut Value, oracle: &Value, data: Option<&[u8]>) {
    match data {
        // Long data is compared by length here, and by re-encoding the whole record.
        Some(bytes) if oracle.get("data_len").is_some() => {
            fields["data_len"] = json!(bytes.len());
            fields["data_sha256"] = oracle["data_sha256"].clone();
        }
        Some(bytes) => fields["data"] = json!(base64(bytes)),
        None => fields["data"] = Value::Null,
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| usize::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            text.push(if place <= chunk.len() {
                char::from(DIGITS[bits >> (18 - 6 * place) & 63])
            } else {
                '='
            });
        }
    }
    text
}

/// The body under the names of the oracle.
fn body_json(txn: &Txn<'_>, oracle: &Value) -> Value {
    let mut fields = match txn {
        Txn::Create(it) | Txn::Create2(it) => json!({
            "path": it.path,
            "acl": acl_json(&it.acl),
            "ephemeral": it.ephemeral,
            "parentCVersion": it.parent_cversion,
        }),
        Txn::CreateContainer(it) => json!({
            "path": it.path,
            "acl": acl_json(&it.acl),
            "parentCVersion": it.parent_cversion,
        }),
        Txn::CreateTtl(it) => json!({
            "path": it.path,
            "acl": acl_json(&it.acl),
            "parentCVersion": it.parent_cversion,
            "ttl": it.ttl_ms,
        }),
        Txn::Delete { path } | Txn::DeleteContainer { path } => json!({"path": path}),
        Txn::SetData(it) | Txn::Reconfig(it) => json!({"path": it.path, "version": it.version}),
        Txn::SetAcl(it) => {
            json!({"path": it.path, "acl": acl_json(&it.acl), "version": it.version})
        }
        Txn::Check(it) => json!({"path": it.path, "version": it.version}),
        Txn::CreateSession { timeout_ms } => json!({"timeOut": timeout_ms}),
        Txn::CloseSession { paths: None } => json!({"body": null}),
        Txn::CloseSession { paths: Some(paths) } => {
            json!({"paths2Delete": paths.iter().collect::<Vec<_>>()})
        }
        Txn::Error { code } => json!({"err": code}),
        Txn::Multi(parts) => {
            let oracles = oracle["txns"].as_array().unwrap();
            assert_eq!(parts.len(), oracles.len());
            let parts = parts
                .iter()
                .zip(oracles)
                .map(|(part, oracle)| body_json(&part, oracle));
            json!({"txns": parts.collect::<Vec<_>>()})
        }
        other => panic!("{other:?}"),
    };
    match txn {
        Txn::Create(it) | Txn::Create2(it) => put_data(&mut fields, oracle, it.data),
        Txn::CreateContainer(it) => put_data(&mut fields, oracle, it.data),
        Txn::CreateTtl(it) => put_data(&mut fields, oracle, it.data),
        Txn::SetData(it) | Txn::Reconfig(it) => put_data(&mut fields, oracle, it.data),
        _ => {}
    }
    fields["type"] = json!(txn.kind().to_i32());
    fields["name"] = json!(txn.kind().name());
    fields
}

fn entry_json(entry: &LogEntry<'_>, oracle: &Value) -> Value {
    let (header, txn, digest) = decode_record(entry.payload).unwrap();
    assert_eq!(record_zxid(entry.payload), Some(header.zxid));
    let mut fields = body_json(&txn, oracle);
    fields["off"] = json!(entry.offset);
    fields["len"] = json!(entry.payload.len());
    fields["crc"] = json!(format!("{:x}", entry.checksum));
    fields["zxid"] = hex_number(header.zxid.0);
    fields["session"] = hex_number(header.session.0);
    fields["cxid"] = json!(header.cxid.0);
    fields["time"] = json!(header.time_ms);
    assert_eq!(header.kind, txn.kind());
    if let Some(digest) = digest {
        fields["digestVersion"] = json!(digest.version);
        let unsigned = u64::from_be_bytes(digest.tree_digest.to_be_bytes());
        fields["digest"] = json!(unsigned.to_string());
    }
    fields
}

fn acl_again(acl: &AclList<'_>) -> AclListBuf {
    acl.iter()
        .map(|entry| entry.to_acl())
        .collect::<Vec<_>>()
        .iter()
        .map(|acl| acl.as_ref())
        .collect()
}

/// The record from its parts: nothing that was kept encoded is copied.
fn record_again(header: &TxnHeader, txn: &Txn<'_>, digest: Option<&TxnDigest>) -> Vec<u8> {
    let mut out = Vec::new();
    with_parts_again(txn, &mut |txn| encode_record(&mut out, header, txn, digest));
    out
}

fn with_parts_again(txn: &Txn<'_>, use_it: &mut dyn FnMut(&Txn<'_>)) {
    match txn {
        Txn::Create(it) => {
            let mut it = *it;
            let acl = acl_again(&it.acl);
            it.acl = acl.as_list();
            use_it(&Txn::Create(it));
        }
        Txn::SetAcl(it) => {
            let mut it = *it;
            let acl = acl_again(&it.acl);
            it.acl = acl.as_list();
            use_it(&Txn::SetAcl(it));
        }
        Txn::CloseSession { paths: Some(paths) } => {
            let list: StringListBuf = paths.iter().collect();
            let paths = Some(ironkeeper_proto::PathList::from_buf(&list));
            use_it(&Txn::CloseSession { paths });
        }
        Txn::Multi(parts) => {
            let mut again = MultiTxnBuf::new();
            parts
                .iter()
                .for_each(|part| with_parts_again(&part, &mut |part| again.push(part)));
            use_it(&Txn::Multi(again.as_txn()));
        }
        other => use_it(other),
    }
}

/// Checks one log; returns how many records it held.
fn check_log(file: &[u8], lines: &[Value], name: &str) -> usize {
    let header = FileHeader::from_prefix(file).unwrap();
    assert_eq!(
        json!(format!("{:x}", header.magic)),
        lines[0]["magic"],
        "{name}"
    );
    assert_eq!(json!(header.version), lines[0]["version"], "{name}");
    assert_eq!(json!(header.dbid), lines[0]["dbid"], "{name}");
    assert_eq!(header, FileHeader::LOG, "{name}");
    assert_eq!(header.to_vec(), file[..FileHeader::ENCODED_BYTES], "{name}");

    let (records, end) = lines[1..].split_at(lines.len() - 2);
    let mut entries = LogEntries::new(file, FileHeader::ENCODED_BYTES);
    for oracle in records {
        let entry = entries.next().unwrap().unwrap();
        assert!(
            entry.is_checksum_right() && entry.is_finished(),
            "{name} {}",
            entry.offset
        );
        assert_eq!(&entry_json(&entry, oracle), oracle, "{name}");

        let (header, txn, digest) = decode_record(entry.payload).unwrap();
        let again = record_again(&header, &txn, digest.as_ref());
        assert_eq!(hex(&again), hex(entry.payload), "{name} {}", entry.offset);
        let mut out = Vec::new();
        encode_entry(&mut out, &again);
        assert_eq!(
            out,
            file[entry.offset..entry.next_offset()],
            "{name} {}",
            entry.offset
        );
    }
    let expected = match end[0]["end"].as_str().unwrap() {
        "zero length (padding)" => LogStop::Padding,
        "record cut" => {
            let stop = entries.clone().next();
            assert!(
                matches!(stop, Some(Err(LogStop::Short { .. }))),
                "{name}: {stop:?}"
            );
            return records.len();
        }
        _ => LogStop::EndOfFile,
    };
    let offset = usize::try_from(end[0]["at"].as_u64().unwrap()).unwrap();
    assert_eq!(entries.next(), Some(Err(expected)), "{name}: {}", end[0]);
    assert_eq!(
        read_entry(file, offset),
        Err(expected),
        "{name}: {}",
        end[0]
    );
    assert_eq!(end[0]["records"], json!(records.len()), "{name}");
    records.len()
}

fn check_logs(name: &str, directory: &Path) -> usize {
    let lines = json_lines(&directory.join("logs.jsonl.gz"));
    let starts: Vec<usize> = (0..lines.len())
        .filter(|&index| lines[index].get("file").is_some())
        .collect();
    let mut records = 0;
    for (place, &start) in starts.iter().enumerate() {
        let end = starts.get(place + 1).copied().unwrap_or(lines.len());
        let file = lines[start]["file"].as_str().unwrap();
        let path = directory.join("data/version-2").join(file);
        let bytes = if path.exists() {
            read(&path)
        } else {
            read_unpacked(&path.with_file_name(format!("{file}.gz")))
        };
        records += check_log(&bytes, &lines[start..end], &format!("{name}/{file}"));
    }
    records
}

#[test]
fn every_record_is_what_apache_says_and_encodes_to_the_same_bytes() {
    let mut records = 0;
    for (name, directory) in data_directories() {
        let here = check_logs(&name, &directory);
        assert!(here > 0, "{name}");
        records += here;
    }
    assert!(records > 2500, "{records}");
}

/// Cut anywhere, a record is refused, with the exceptions that the format has: without its digest it is a record of a
/// server that writes none; a create without the last int is one from before 3.3; closeSession may have no body.
#[test]
fn a_record_cut_short_is_refused() {
    for (name, directory) in data_directories() {
        for entry in std::fs::read_dir(directory.join("data/version-2")).unwrap() {
            let path = entry.unwrap().path();
            if !path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("log.")
            {
                continue;
            }
            let file = read_unpacked(&path);
            let entries = LogEntries::new(&file, FileHeader::ENCODED_BYTES);
            for entry in entries.map_while(Result::ok).take(40) {
                check_cuts(&name, entry.payload);
            }
        }
    }
}

fn check_cuts(name: &str, record: &[u8]) {
    let (_, txn, digest) = decode_record(record).unwrap();
    let body_end = record.len() - digest.map_or(0, |_| 12);
    for length in 0..record.len() {
        let cut = decode_record(&record[..length]);
        let allowed = length == body_end
            || matches!(txn, Txn::Create(_)) && length == body_end - 4
            || matches!(txn, Txn::CloseSession { .. }) && length == 32;
        assert_eq!(
            cut.is_ok(),
            allowed,
            "{name} {txn:?} cut to {length}: {cut:?}"
        );
    }
}

#[test]
fn every_snapshot_is_what_a_separate_parser_says() {
    let manifest = read(&support::fixtures().join("manifest.json"));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut snapshots = 0;
    for fixture in manifest["fixtures"].as_array().unwrap() {
        let directory = support::fixtures().join(fixture["name"].as_str().unwrap());
        for file in fixture["files"].as_array().unwrap() {
            let Some(oracle) = file.get("snapshot") else {
                continue;
            };
            let path = directory.join(file["path"].as_str().unwrap());
            if !path.exists() || oracle["container"] == "snappy" {
                continue;
            }
            let bytes = read_unpacked(&path);
            if oracle.get("unreadable").is_some() {
                assert!(Snapshot::parse(&bytes).is_err(), "{}", path.display());
                continue;
            }
            check_snapshot(&bytes, oracle, &path);
            snapshots += 1;
        }
    }
    assert!(snapshots > 20, "{snapshots}");
}

fn check_snapshot(file: &[u8], oracle: &Value, path: &Path) {
    let name = path.display();
    let snapshot = Snapshot::parse(file).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(snapshot.header, FileHeader::SNAPSHOT, "{name}");
    assert!(snapshot.is_sealed(), "{name}");
    assert_eq!(json!(file.len()), oracle["rawSize"], "{name}");
    assert_eq!(
        json!(snapshot.session_count()),
        oracle["sessions"],
        "{name}"
    );
    assert_eq!(json!(snapshot.acl_count()), oracle["aclLists"], "{name}");
    assert_eq!(json!(snapshot.node_count()), oracle["znodes"], "{name}");
    assert_eq!(
        snapshot.sessions().count(),
        snapshot.session_count(),
        "{name}"
    );
    assert_eq!(snapshot.acls().count(), snapshot.acl_count(), "{name}");
    assert_eq!(snapshot.nodes().count(), snapshot.node_count(), "{name}");
    let newest = snapshot
        .nodes()
        .map(|n| n.stat.czxid.max(n.stat.mzxid).max(n.stat.pzxid))
        .max();
    assert_eq!(
        hex_number(newest.unwrap().0),
        oracle["maxZxidInNodes"],
        "{name}"
    );
    let digest = snapshot.digest.map(|(section, _)| section);
    assert_eq!(
        digest.is_some(),
        oracle.get("digestZxid").is_some(),
        "{name}"
    );
    if let Some(section) = digest {
        assert_eq!(hex_number(section.zxid.0), oracle["digestZxid"], "{name}");
        assert_eq!(json!(section.version), oracle["digestVersion"], "{name}");
        let digest = u64::from_be_bytes(section.digest.unwrap().to_be_bytes());
        assert_eq!(json!(digest.to_string()), oracle["digest"], "{name}");
    }
    let last = snapshot.last_processed.map(|(zxid, _)| hex_number(zxid.0));
    assert_eq!(last.as_ref(), oracle.get("lastProcessedZxid"), "{name}");

    // The content again, record by record.
    let mut again = Vec::new();
    let mut writer = ironkeeper_proto::Writer::new(&mut again);
    snapshot.header.encode(&mut writer);
    writer.count(snapshot.session_count());
    snapshot
        .sessions()
        .for_each(|session| session.encode(&mut writer));
    writer.count(snapshot.acl_count());
    snapshot.acls().for_each(|entry| entry.encode(&mut writer));
    snapshot.nodes().for_each(|node| node.encode(&mut writer));
    writer.str("/");
    assert_eq!(again, file[..again.len()], "{name}");
}

/// The snapshot that every server of 3.9 writes over an empty tree: its seals are known numbers.
#[test]
fn the_snapshot_of_an_empty_tree() {
    let path = support::fixtures().join("apache-3.9.5-prealloc-none/data/version-2/snapshot.0");
    let file = read(&path);
    assert_eq!(file.len(), 478);
    let snapshot = Snapshot::parse(&file).unwrap();
    let (_, second) = snapshot.digest.unwrap();
    let (_, third) = snapshot.last_processed.unwrap();
    let seals = [snapshot.seal, second, third];
    assert_eq!(
        seals.map(|seal| seal.computed),
        [0xb8a2_3b49, 0x95b9_3d59, 0xbde8_3f6d]
    );
    let paths: Vec<&str> = snapshot.nodes().map(|node| node.path).collect();
    assert_eq!(
        paths,
        ["", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]
    );
    let stats: Vec<_> = snapshot
        .nodes()
        .map(|node| node.stat.to_stat(0, 0, 0))
        .collect();
    assert_eq!(stats[2].aversion, -1);
    // Two children that were never counted: what clients see of /zookeeper on a fresh server.
    assert_eq!(
        snapshot
            .nodes()
            .nth(1)
            .unwrap()
            .stat
            .to_stat(0, 0, 2)
            .cversion,
        -2
    );
    assert_eq!(snapshot.acls().next().unwrap().acl, AclList::READ_ONLY);
}

/// A snapshot with any byte changed does not pass for whole, and one cut anywhere does not pass but between sections.
#[test]
fn a_damaged_snapshot_does_not_pass() {
    let path = support::fixtures().join("apache-3.9.5-prealloc-none/data/version-2/snapshot.0");
    let file = read(&path);
    for place in 0..file.len() {
        let mut damaged = file.clone();
        damaged[place] ^= 0x10;
        let passes = Snapshot::parse(&damaged).is_ok_and(|snapshot| snapshot.is_sealed());
        assert!(!passes, "{place}");
    }
    for length in 0..file.len() {
        let passes = Snapshot::parse(&file[..length]).is_ok_and(|snapshot| snapshot.is_sealed());
        assert_eq!(passes, [424, 457].contains(&length), "{length}");
    }
}
