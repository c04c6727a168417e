//! One kind of damage after another, each found, with the file and the place in the message.

use std::path::Path;
use std::sync::Arc;

use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{Caching, SimDisk};
use ironkeeper_storage::snapshot::format::{self, BLOCK_HEADER_BYTES, HEADER_BYTES};
use ironkeeper_storage::snapshot::{Expected, SnapshotDir, SnapshotError, SnapshotReader};

use crate::rig::{Rig, STORE, read, write};

/// Opens and reads all of it: the sentence of the first error.
fn fault(rig: &Rig, zxid: i64) -> String {
    let error = try_read(rig, zxid).expect_err("damage is found");
    error.to_string()
}

fn try_read(rig: &Rig, zxid: i64) -> Result<(), SnapshotError> {
    let dir = SnapshotDir::read_only(rig.disk.clone(), rig.root(), STORE);
    dir.open_snapshot(Zxid(zxid))?.verify(&mut |_| ()).map(drop)
}

/// As [`try_read`], of these bytes under this name, on a disk in memory.
fn try_bytes(bytes: &[u8], zxid: i64) -> Result<(), SnapshotError> {
    let disk = SimDisk::new(0);
    disk.put(Path::new(&format!("/snap/{zxid:016x}.zks")), bytes);
    let dir = SnapshotDir::read_only(Arc::new(disk), Path::new("/"), STORE);
    dir.open_snapshot(Zxid(zxid))?.verify(&mut |_| ()).map(drop)
}

fn rig_with(zxid: i64) -> Rig {
    let rig = Rig::new();
    write(&rig.open(), zxid).expect("written");
    rig
}

/// E70: a bit of every byte of the file, one at a time. (Every bit of every part is flipped in the
/// unit tests of the format.)
#[test]
fn a_flipped_bit_in_any_byte_is_found() {
    let rig = rig_with(5);
    let good = std::fs::read(rig.file(5)).expect("reads");
    try_read(&rig, 5).expect("whole before");
    let mut bytes = good.clone();
    for at in 0..bytes.len() {
        bytes[at] ^= 1 << (at % 8);
        assert!(try_bytes(&bytes, 5).is_err(), "byte {at}");
        bytes[at] = good[at];
    }
    try_bytes(&bytes, 5).expect("whole again");
}

/// Every length a lost tail may leave, the empty file among them, and a longer one.
#[test]
fn a_file_of_another_length_is_found() {
    let rig = rig_with(5);
    let good = std::fs::read(rig.file(5)).expect("reads");
    for length in (0..good.len()).filter(|n| n % 97 == 0 || good.len() - n < 100) {
        assert!(try_bytes(&good[..length], 5).is_err(), "{length} bytes");
    }
    for more in [1, 64, 4096] {
        let longer = [&good[..], &vec![0; more]].concat();
        std::fs::write(rig.file(5), longer).expect("writes");
        assert!(try_read(&rig, 5).is_err(), "{more} bytes more");
    }
    // The trailer of the same file at the end of a longer one.
    let twice = [&good[..], &good[..]].concat();
    std::fs::write(rig.file(5), twice).expect("writes");
    assert!(
        fault(&rig, 5).contains("where its trailer says"),
        "{}",
        fault(&rig, 5)
    );
}

#[test]
fn the_message_says_what_and_where_and_what_to_do() {
    let expect = |change: &dyn Fn(&mut Vec<u8>), what: &str, at: u64| {
        let rig = rig_with(0x1f);
        rig.edit(0x1f, change);
        let message = fault(&rig, 0x1f);
        assert!(message.contains("000000000000001f.zks"), "{message}");
        assert!(message.contains(what), "{message}");
        assert!(message.contains(&format!("(at byte {at})")), "{message}");
        assert!(message.contains("zk-fsck"), "{message}");
    };
    let rig = rig_with(0x1f);
    let length = std::fs::metadata(rig.file(0x1f)).expect("there").len();
    let (block_2, footer) = {
        let dir = SnapshotDir::read_only(rig.disk.clone(), rig.root(), STORE);
        let reader = dir.open_snapshot(Zxid(0x1f)).expect("opens");
        let last = reader.directory().last().expect("blocks");
        (
            reader.directory()[2].offset,
            last.offset + last.bytes_on_disk(),
        )
    };
    let byte = |at: u64| usize::try_from(at).expect("small");
    expect(&|b| b.clear(), "the file is empty", 0);
    expect(&|b| b.truncate(100), "cut short: 100 bytes", 0);
    expect(
        &|b| b.truncate(b.len() - 1),
        "trailer does not begin or end as it must",
        length - 65,
    );
    expect(&|b| b[20] ^= 1, "checksum of the header", 0);
    expect(&|b| b[byte(block_2)] ^= 1, "header of block 2", block_2);
    expect(
        &|b| b[byte(block_2) + 9] ^= 1,
        "checksum of the header of block 2",
        block_2,
    );
    expect(
        &|b| b[byte(block_2) + 70] ^= 1,
        "compressed bytes of block 2",
        block_2,
    );
    expect(
        &|b| b[byte(footer) + 40] ^= 1,
        "checksum of the footer",
        footer,
    );
    expect(
        &|b| b[byte(length) - 60] ^= 1,
        "checksum of the trailer",
        length - 64,
    );
}

/// A whole block in the wrong place: a misdirected write, or the sector of an older snapshot.
#[test]
fn a_whole_block_that_belongs_elsewhere_is_found() {
    let rig = rig_with(0x11);
    write(&rig.open(), 0x12).expect("written");
    let dir = SnapshotDir::read_only(rig.disk.clone(), rig.root(), STORE);
    let reader = dir.open_snapshot(Zxid(0x12)).expect("opens");
    let other = std::fs::read(rig.file(0x11)).expect("reads");
    let entry = reader.directory()[0].clone();
    let (from, to) = (entry.offset, entry.offset + entry.bytes_on_disk());
    let range = usize::try_from(from).expect("small")..usize::try_from(to).expect("small");
    rig.edit(0x12, |bytes| {
        bytes[range.clone()].copy_from_slice(&other[range.clone()])
    });
    let message = fault(&rig, 0x12);
    assert!(message.contains("block 0"), "{message}");
}

/// Checksums of parts that are each whole, but of two files.
#[test]
fn parts_of_two_snapshots_make_none() {
    let rig = rig_with(0x11);
    write(&rig.open(), 0x12).expect("written");
    let other = std::fs::read(rig.file(0x11)).expect("reads");
    rig.edit(0x12, |bytes| {
        bytes[..HEADER_BYTES].copy_from_slice(&other[..HEADER_BYTES])
    });
    let message = fault(&rig, 0x12);
    assert!(
        message.contains("chain over all block checksums"),
        "{message}"
    );
}

#[test]
fn a_name_that_lies_is_found() {
    let rig = rig_with(0x11);
    std::fs::rename(rig.file(0x11), rig.file(0x22)).expect("renames");
    let message = fault(&rig, 0x22);
    assert!(
        message.contains("the name says zxid 0x22, the header 0x11"),
        "{message}"
    );
}

#[test]
fn a_snapshot_of_another_store_is_found_and_is_not_called_damaged() {
    let rig = rig_with(0x11);
    let dir = SnapshotDir::read_only(rig.disk.clone(), rig.root(), *b"another store !!");
    let error = dir.open_snapshot(Zxid(0x11)).expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("it belongs to store 7468652073746f72"),
        "{error}"
    );
    assert!(!error.is_damage(), "it may be somebody's backup");
    let any = Expected::default();
    SnapshotReader::open(rig.disk.as_ref(), &rig.file(0x11), any, Caching::Buffered)
        .expect("whoever does not ask whose it is may read it");
}

/// As if a later version had written it: refused, and left alone for that version.
#[test]
fn a_newer_format_is_refused_and_is_not_called_damaged() {
    let rig = rig_with(0x11);
    rig.edit(0x11, |bytes| {
        bytes[8..10].copy_from_slice(&9_u16.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    });
    let error = try_read(&rig, 0x11).expect_err("refused");
    assert!(
        error.to_string().contains("format version 9.0 is newer"),
        "{error}"
    );
    assert!(!error.is_damage());
}

/// A sector that the device cannot read is an error at its offset, not the end of the process.
#[test]
fn an_unreadable_sector_is_named() {
    let rig = Rig::new();
    let dir = rig.open();
    let mut noise = 1_u64;
    let raw: Vec<u8> = (0..200_000)
        .map(|_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            noise.to_le_bytes()[7]
        })
        .collect();
    let given = vec![(
        ironkeeper_storage::snapshot::BlockKind::Nodes,
        0,
        1,
        "/".to_owned(),
        raw,
    )];
    crate::rig::write_blocks(&dir, 1, &given, Default::default()).expect("written");
    rig.disk.bad_sector(Some(16 * 4096));
    let reader = dir.open_snapshot(Zxid(1)).expect("its ends can be read");
    let error = read(&reader).expect_err("the middle cannot");
    assert!(
        error
            .to_string()
            .ends_with(&format!("at byte {}", 16 * 4096)),
        "{error}"
    );
    assert!(
        !error.is_damage(),
        "it may be read another time: it stays where it is"
    );
    rig.disk.bad_sector(None);
    read(&reader).expect("reads");
}

/// Bytes from anywhere: an error, never a panic, never memory for a length that is not there.
#[test]
fn noise_with_right_ends_is_refused() {
    let rig = rig_with(1);
    let good = std::fs::read(rig.file(1)).expect("reads");
    let mut noise = 7_u64;
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..8 {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1442);
            let at = usize::try_from(noise >> 33).expect("31 bits") % bytes.len();
            bytes[at] = noise.to_le_bytes()[6];
        }
        if bytes != good {
            assert!(try_bytes(&bytes, 1).is_err());
        }
    }
}

/// A zstd frame that says more than it holds, under checksums that are right.
#[test]
fn a_block_that_decompresses_to_another_length_is_refused() {
    for (raw_length, what) in [(500_u32, "does not decompress"), (5000, "bytes where 5000")] {
        let rig = rig_with(1);
        rig.edit(1, |bytes| forge_raw_length(bytes, raw_length));
        let message = fault(&rig, 1);
        assert!(message.contains(what), "{message}");
    }
}

/// Rewrites the raw length of block 2 and every checksum above it.
fn forge_raw_length(bytes: &mut [u8], raw_length: u32) {
    let length = bytes.len() as u64;
    let at = |n: u64| usize::try_from(n).expect("small");
    let trailer_at = bytes.len() - format::TRAILER_BYTES;
    let mut trailer = format::Trailer::decode(&bytes[trailer_at..], length).expect("whole");
    let (_, header_crc) = format::Header::decode(bytes).expect("whole");
    let footer_range = at(trailer.footer_offset)..trailer_at;
    let footer = &bytes[footer_range.clone()];
    let mut footer = format::Footer::decode(footer, trailer.footer_offset, true).expect("whole");
    let entry = &mut footer.directory[2];
    let place = at(entry.offset)..at(entry.offset) + BLOCK_HEADER_BYTES;
    let (mut header, _) = format::BlockHeader::decode(&bytes[place.clone()], 2).expect("whole");
    header.raw_length = raw_length;
    entry.raw_length = raw_length;
    let (encoded, crc) = header.encode();
    entry.header_crc = crc;
    bytes[place].copy_from_slice(&encoded);
    let (encoded, crc) = footer.encode(trailer.footer_offset).expect("within bounds");
    bytes[footer_range].copy_from_slice(&encoded);
    trailer.footer_crc = crc;
    trailer.chain = format::chain(header_crc, footer.directory.iter().map(|b| b.header_crc));
    bytes[trailer_at..].copy_from_slice(&trailer.encode());
}
