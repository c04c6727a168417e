//! Values as JSON. Numbers of 64 bits that are names (zxids, sessions, digests) are hexadecimal
//! text: a JSON reader may keep 53 bits only. Data is base64, and null stays null.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironkeeper_proto::txn::CreateTxn;
use ironkeeper_proto::{AclList, SessionId, Stat, Txn, TxnDigest, TxnHeader, Zxid};
use ironkeeper_storage::inspect::Issue;
use serde_json::{Value, json};

/// Whether hashes of passwords are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShowHashes(pub(crate) bool);

/// `0x` and hexadecimal digits.
pub(crate) fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// A zxid.
pub(crate) fn zxid(zxid: Zxid) -> String {
    hex(zxid.0.cast_unsigned())
}

/// A session id.
pub(crate) fn session(id: SessionId) -> String {
    hex(id.0.cast_unsigned())
}

/// Digits alone.
pub(crate) fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Data of a node.
pub(crate) fn data(data: Option<&[u8]>) -> Value {
    data.map_or(Value::Null, |data| Value::String(STANDARD.encode(data)))
}

/// An ACL. The id of the digest scheme is `user:hash`; who has the hash can try passwords on it, so
/// it is left out unless asked for.
pub(crate) fn acl(list: AclList<'_>, hashes: ShowHashes) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
    let entries = list.iter().map(|entry| {
        let id = match text(entry.id) {
            Some(id) if entry.scheme == Some(b"digest") && !hashes.0 => {
                let user = id.split_once(':').map_or("", |(user, _)| user);
                Some(format!("{user}:***"))
            }
            id => id,
        };
        json!({ "perms": entry.perms.0, "scheme": text(entry.scheme), "id": id })
    });
    Value::Array(entries.collect())
}

/// A stat, its fields named as clients name them.
pub(crate) fn stat(stat: &Stat) -> Value {
    json!({
        "czxid": zxid(stat.czxid),
        "mzxid": zxid(stat.mzxid),
        "pzxid": zxid(stat.pzxid),
        "ctime": stat.ctime,
        "mtime": stat.mtime,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeralOwner": hex(stat.ephemeral_owner.cast_unsigned()),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// A record of the log.
pub(crate) fn record(
    header: &TxnHeader,
    body: &Txn<'_>,
    digest: Option<&TxnDigest>,
    hashes: ShowHashes,
) -> Value {
    json!({
        "type": "record",
        "zxid": zxid(header.zxid),
        "session": session(header.session),
        "cxid": header.cxid.0,
        "time_ms": header.time_ms,
        "kind": body.kind().name(),
        "txn": txn(body, hashes),
        "digest": digest.map(|digest| json!({
            "version": digest.version,
            "value": hex(digest.tree_digest.cast_unsigned()),
        })),
    })
}

fn create(create: &CreateTxn<'_>, hashes: ShowHashes) -> Value {
    json!({
        "path": create.path,
        "data": data(create.data),
        "acl": acl(create.acl, hashes),
        "ephemeral": create.ephemeral,
        "parent_cversion": create.parent_cversion,
    })
}

/// The body of a txn.
fn txn(txn_body: &Txn<'_>, hashes: ShowHashes) -> Value {
    match txn_body {
        Txn::Create(body) | Txn::Create2(body) => create(body, hashes),
        Txn::CreateContainer(body) => json!({
            "path": body.path,
            "data": data(body.data),
            "acl": acl(body.acl, hashes),
            "parent_cversion": body.parent_cversion,
        }),
        Txn::CreateTtl(body) => json!({
            "path": body.path,
            "data": data(body.data),
            "acl": acl(body.acl, hashes),
            "parent_cversion": body.parent_cversion,
            "ttl_ms": body.ttl_ms,
        }),
        Txn::Delete { path } | Txn::DeleteContainer { path } => json!({ "path": path }),
        Txn::SetData(body) | Txn::Reconfig(body) => {
            json!({ "path": body.path, "data": data(body.data), "version": body.version })
        }
        Txn::SetAcl(body) => {
            json!({ "path": body.path, "acl": acl(body.acl, hashes), "version": body.version })
        }
        Txn::Check(body) => json!({ "path": body.path, "version": body.version }),
        // A multi does not nest, so this calls itself once.
        Txn::Multi(multi) => {
            let part =
                |part: Txn<'_>| json!({ "kind": part.kind().name(), "txn": txn(&part, hashes) });
            json!({ "parts": multi.iter().map(part).collect::<Vec<_>>() })
        }
        Txn::CreateSession { timeout_ms } => json!({ "timeout_ms": timeout_ms }),
        Txn::CloseSession { paths } => {
            let paths = paths.map(|paths| paths.iter().collect::<Vec<_>>());
            json!({ "paths": paths })
        }
        Txn::Error { code } => json!({ "code": code }),
        other => json!({ "unknown": format!("{other:?}") }),
    }
}

/// Damage in the middle of a dump.
pub(crate) fn damage(issue: &Issue) -> Value {
    match issue {
        Issue::Damage {
            path,
            offset,
            verdict,
            what,
            after,
            up_to,
        } => json!({
            "type": "damage",
            "file": path.display().to_string(),
            "offset": offset,
            "verdict": verdict.to_string(),
            "what": what,
            "after_zxid": zxid(*after),
            "up_to_zxid": up_to.map(zxid),
        }),
        Issue::Segment { path, what, up_to } => json!({
            "type": "damage",
            "file": path.display().to_string(),
            "what": what,
            "up_to_zxid": up_to.map(zxid),
        }),
        other => json!({ "type": "damage", "what": format!("{other:?}") }),
    }
}
