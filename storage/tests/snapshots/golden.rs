//! A file of format version 1.0 that must stay readable: a guard against changing the format by
//! accident. It was written by this crate, so it proves nothing else.
//!
//! After a change of format that is meant: `IRONKEEPER_BLESS=1 cargo test -p ironkeeper-storage`,
//! under a new file name, with the old file kept.

use std::path::{Path, PathBuf};

use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{Caching, OsDisk};
use ironkeeper_storage::snapshot::{Expected, SnapshotReader};

use crate::rig::{Rig, STORE, blocks, read, totals, write};

const ZXID: i64 = 0x2_0000_0005;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshot-v1.0.zks")
}

#[test]
fn the_first_version_stays_readable() {
    let rig = Rig::new();
    write(&rig.open(), ZXID).expect("written");
    let now = std::fs::read(rig.file(ZXID)).expect("reads");
    if std::env::var_os("IRONKEEPER_BLESS").is_some() {
        std::fs::create_dir_all(golden().parent().expect("a directory")).expect("makes");
        std::fs::write(golden(), &now).expect("writes");
    }
    let expected = Expected {
        store: Some(STORE),
        zxid: Some(Zxid(ZXID)),
    };
    let reader = SnapshotReader::open(&OsDisk::new(), &golden(), expected, Caching::Buffered);
    let reader = reader.expect("opens");
    assert_eq!(read(&reader).expect("reads"), blocks(ZXID));
    assert_eq!(*reader.totals(), totals(ZXID));

    // The compressor may change what it makes of a block; nothing else may change.
    let then = std::fs::read(golden()).expect("reads");
    assert_eq!(then[..4096], now[..4096], "header page");
    assert_eq!(
        then[4096..4136],
        now[4096..4136],
        "header of the first block, up to its checksums"
    );
    assert_eq!(
        then[then.len() - 8..],
        now[now.len() - 8..],
        "magic at the end"
    );
}
