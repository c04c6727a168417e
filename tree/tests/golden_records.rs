//! Logs that Apache's servers wrote, made again: each txn is turned back into the request that led to it, and prep must
//! write the very bytes that Apache wrote, digest trailer included. Txns are applied late and in batches.
#![allow(clippy::disallowed_methods, reason = "tests read fixtures")]

use flate2::read::GzDecoder;
use ironkeeper_proto::apache::{FileHeader, LogEntries};
use ironkeeper_proto::{
    AclList, CreateRequest, ErrorCode, MultiRequestBuf, OpCode, PathVersion, Request, SetAcl,
    SetData, Txn, TxnHeader, Writer, decode_record,
};
use ironkeeper_tree::Tree;
use ironkeeper_tree::acl::{AclRules, Identities};
use ironkeeper_tree::prep::{Prep, PrepOptions, RequestContext};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Members of no ensemble whose log goes back to the first zxid. The one with surrogates in ids is left out: prep
/// would store the U+FFFD that Apache's server reads them as, and the log holds what Java wrote of its own strings.
const DIRECTORIES: [&str; 7] = [
    "apache-3.4.14-logs-only",
    "apache-3.6.4-kill9-under-load",
    "apache-3.8.5-clean",
    "apache-3.9.5-close-session-txn-off",
    "apache-3.9.5-digest-off",
    "apache-3.9.5-kill9-under-load",
    "apache-3.9.5-prealloc-none",
];

fn records(directory: &Path) -> Vec<Vec<u8>> {
    let mut logs: Vec<(i64, PathBuf)> = std::fs::read_dir(directory.join("data/version-2"))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let rest = path.file_name()?.to_str()?.strip_prefix("log.")?;
            Some((i64::from_str_radix(rest.split('.').next()?, 16).ok()?, path))
        })
        .collect();
    logs.sort();
    let mut records = Vec::new();
    for (_, path) in logs {
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "gz") {
            let packed = std::mem::take(&mut bytes);
            GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
        }
        let entries = LogEntries::new(&bytes, FileHeader::ENCODED_BYTES);
        records.extend(
            entries
                .map_while(Result::ok)
                .take_while(|entry| entry.is_checksum_right())
                .map(|entry| entry.payload.to_vec()),
        );
    }
    records
}

fn create<'a>(
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: AclList<'a>,
    flags: i32,
) -> CreateRequest<'a> {
    CreateRequest {
        path: Some(path.into()),
        data,
        acl,
        flags,
        ttl_ms: -1,
    }
}

/// A request that leads to the txn, within multi or alone.
fn request_of<'a>(txn: &Txn<'a>) -> Option<Request<'a>> {
    let versioned = |path: &'a str, version| PathVersion {
        path: Some(path.into()),
        version,
    };
    Some(match *txn {
        Txn::Create(c) => Request::Create(create(c.path, c.data, c.acl, i32::from(c.ephemeral))),
        Txn::Create2(c) => Request::Create2(create(c.path, c.data, c.acl, i32::from(c.ephemeral))),
        Txn::CreateContainer(c) => Request::CreateContainer(create(c.path, c.data, c.acl, 4)),
        Txn::CreateTtl(c) => Request::CreateTtl(CreateRequest {
            ttl_ms: c.ttl_ms,
            ..create(c.path, c.data, c.acl, 5)
        }),
        Txn::Delete { path } => Request::Delete(versioned(path, -1)),
        Txn::SetData(s) => Request::SetData(SetData {
            path: Some(s.path.into()),
            data: s.data,
            version: s.version - 1,
        }),
        Txn::SetAcl(s) => Request::SetAcl(SetAcl {
            path: Some(s.path.into()),
            acl: s.acl,
            version: s.version - 1,
        }),
        Txn::Check(c) => Request::Check(versioned(c.path, c.version - 1)),
        // Requests that fail with these codes on any tree.
        Txn::Error { code } => match ErrorCode::from_i32(code)? {
            ErrorCode::NoNode | ErrorCode::RuntimeInconsistency => {
                Request::Check(versioned("/zookeeper/absent", -1))
            }
            ErrorCode::BadVersion => Request::Check(versioned("/zookeeper/config", 12_345)),
            ErrorCode::BadArguments => Request::Check(versioned("/a/", 0)),
            ErrorCode::NodeExists => {
                Request::Create(create("/zookeeper/quota", None, AclList::OPEN, 0))
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// Makes the record again, where `ahead` has what `tree` has not applied yet. `None`: this kind of txn does not come
/// from a client's request.
fn remake(
    prep: &mut Prep,
    tree: &Tree,
    ahead: &Tree,
    header: &TxnHeader,
    txn: &Txn<'_>,
) -> Option<Vec<u8>> {
    let context = RequestContext {
        session: header.session,
        cxid: header.cxid,
        zxid: header.zxid,
        time_ms: header.time_ms,
        identities: &Identities::NONE,
        local_session: false,
        session_error: None,
    };
    let mut record = Vec::new();
    match txn {
        Txn::CreateSession { timeout_ms } => {
            prep.create_session(tree, &context, *timeout_ms, &mut record);
        }
        Txn::CloseSession { .. } => {
            prep.close_session(tree, &context, &mut record);
        }
        Txn::Error { code } => {
            prep.refuse(&context, ErrorCode::from_i32(*code)?, &mut record);
        }
        Txn::DeleteContainer { path } => {
            let written = ahead.get(path)?.stored_stat().mzxid;
            assert!(
                prep.reap(tree, &context, path, written, &mut record),
                "{path}"
            );
        }
        Txn::Multi(multi) => {
            let mut body = MultiRequestBuf::new();
            for part in multi.iter() {
                body.push(&request_of(&part)?);
            }
            prep.prepare(tree, &context, OpCode::Multi, &body.finish(), &mut record);
        }
        txn => {
            let request = request_of(txn)?;
            let mut body = Vec::new();
            request.encode(&mut Writer::new(&mut body));
            prep.prepare(tree, &context, request.op(), &body, &mut record);
        }
    }
    Some(record)
}

/// The order of the paths in closeSession is free.
fn same(ours: &[u8], theirs: &[u8]) -> bool {
    if ours == theirs {
        return true;
    }
    let parts = |record| {
        let (header, txn, digest) = decode_record(record).unwrap();
        let Txn::CloseSession { paths: Some(paths) } = txn else {
            return None;
        };
        let mut paths: Vec<_> = paths.iter().map(str::to_owned).collect();
        paths.sort();
        Some((header, paths, digest))
    };
    ours.len() == theirs.len() && parts(ours).is_some() && parts(ours) == parts(theirs)
}

/// Returns how many records were made again.
fn check(directory: &Path, batch: usize) -> usize {
    let records = records(directory);
    let decoded: Vec<_> = records
        .iter()
        .map(|record| decode_record(record).unwrap())
        .collect();
    let no_paths = decoded
        .iter()
        .any(|(_, txn, _)| matches!(txn, Txn::CloseSession { paths: None }));
    let mut prep = Prep::new(PrepOptions {
        digest: decoded[0].2.is_some(),
        extended_types: true,
        close_session_paths: !no_paths,
        acl: AclRules {
            skip_acl: true,
            ..AclRules::default()
        },
        ..PrepOptions::default()
    });
    let (mut tree, mut ahead) = (Tree::new(), Tree::new());
    let mut waiting = Vec::new();
    let mut made = 0;
    for (record, (header, txn, digest)) in records.iter().zip(&decoded) {
        let ours = remake(&mut prep, &tree, &ahead, header, txn)
            .unwrap_or_else(|| panic!("{}: {txn:?}", directory.display()));
        assert!(
            same(&ours, record),
            "{}: {}: {:?} instead of {txn:?} {digest:?}",
            directory.display(),
            header.zxid,
            decode_record(&ours),
        );
        made += 1;
        ahead.apply(header, txn, None, &mut ());
        waiting.push((header, txn));
        if waiting.len() >= batch {
            for (header, txn) in waiting.drain(..) {
                tree.apply(header, txn, None, &mut ());
            }
        }
    }
    made
}

#[test]
fn prep_writes_what_apache_wrote() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    for directory in DIRECTORIES {
        for batch in [1, 7, 100_000] {
            let made = check(&root.join(directory), batch);
            assert!(made > 50, "{directory}: only {made}");
        }
    }
}
