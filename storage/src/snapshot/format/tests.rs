use std::fmt;

use super::bytes::put;
use super::footer::at;
use super::*;

const STORE: [u8; 16] = *b"0123456789abcdef";

fn header() -> Header {
    Header {
        version: (VERSION_MAJOR, VERSION_MINOR),
        store: STORE,
        server: 3,
        zxid: Zxid(0x2_0000_0005),
        epoch: 2,
        digest: true,
        block_raw_bytes_target: 1 << 20,
        created_ms: 1_700_000_000_123,
    }
}

fn block_header() -> BlockHeader {
    BlockHeader {
        kind: BlockKind::Nodes,
        number: 7,
        record_count: 1000,
        base_ordinal: 0x1_0000_0001,
        raw_length: 5000,
        stored_length: 901,
        stored_crc: 0x1234_5678,
        raw_crc: 0x9abc_def0,
        zxid: Zxid(0x2_0000_0005),
    }
}

fn footer() -> Footer {
    let entry = |offset, kind, path: &str| DirectoryEntry {
        offset,
        base_ordinal: 1,
        stored_length: 901,
        raw_length: 5000,
        record_count: 10,
        header_crc: 0xdead_beef,
        kind,
        first_path: path.as_bytes().into(),
    };
    Footer {
        zxid: Zxid(0x2_0000_0005),
        totals: Totals {
            nodes: 20,
            sessions: 2,
            acls: 1,
            data_bytes: 999,
            ephemerals: 4,
            digest: Some((2, 0xfeed_f00d_0000_0001)),
        },
        directory: vec![
            entry(4096, BlockKind::Sessions, ""),
            entry(4096 + 64 + 904, BlockKind::Nodes, "/zookeeper"),
        ],
    }
}

const FOOTER_OFFSET: u64 = 4096 + 2 * (64 + 904);

fn trailer() -> Trailer {
    let (bytes, footer_crc) = footer().encode(FOOTER_OFFSET).expect("within bounds");
    Trailer {
        footer_offset: FOOTER_OFFSET,
        footer_length: bytes.len() as u64,
        footer_crc,
        chain: chain(1, [2, 3]),
        zxid: Zxid(0x2_0000_0005),
        file_length: FOOTER_OFFSET + bytes.len() as u64 + 64,
    }
}

#[test]
fn every_part_comes_back_as_it_was() {
    let (bytes, crc) = header().encode();
    assert_eq!(Header::decode(&bytes), Ok((header(), crc)));
    let (bytes, crc) = block_header().encode();
    assert_eq!(BlockHeader::decode(&bytes, 7), Ok((block_header(), crc)));
    let (bytes, _) = footer().encode(FOOTER_OFFSET).expect("within bounds");
    assert_eq!(Footer::decode(&bytes, FOOTER_OFFSET, true), Ok(footer()));
    assert_eq!(
        Trailer::decode(&trailer().encode(), trailer().file_length),
        Ok(trailer())
    );
    assert_eq!(trailer().file_length % 4096, 0, "a whole number of pages");
}

/// Flips every bit of `bytes`, one at a time, and wants an error each time.
fn no_flip_passes<T: fmt::Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, Fault>) {
    assert!(decode(bytes).is_ok());
    let mut flipped = bytes.to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            flipped[at] ^= 1 << bit;
            assert!(decode(&flipped).is_err(), "bit {bit} of byte {at}");
            flipped[at] ^= 1 << bit;
        }
    }
}

#[test]
fn no_flipped_bit_passes_in_any_part() {
    no_flip_passes(&header().encode().0, Header::decode);
    no_flip_passes(&block_header().encode().0, |bytes| {
        BlockHeader::decode(bytes, 7)
    });
    let (bytes, _) = footer().encode(FOOTER_OFFSET).expect("within bounds");
    no_flip_passes(&bytes, |bytes| Footer::decode(bytes, FOOTER_OFFSET, true));
    let length = trailer().file_length;
    no_flip_passes(&trailer().encode(), |bytes| Trailer::decode(bytes, length));
}

#[test]
fn no_shorter_part_passes_and_none_panics() {
    let (footer_bytes, _) = footer().encode(FOOTER_OFFSET).expect("within bounds");
    for length in 0..HEADER_BYTES {
        let zeros = vec![0; length];
        for bytes in [&zeros, &header().encode().0[..length]] {
            assert!(Header::decode(bytes).is_err());
            assert!(BlockHeader::decode(bytes, 0).is_err());
            assert!(Trailer::decode(bytes, 5000).is_err());
            assert!(Footer::decode(bytes, 4096, true).is_err());
        }
        if let Some(bytes) = footer_bytes.get(..length.min(footer_bytes.len() - 1)) {
            assert!(Footer::decode(bytes, FOOTER_OFFSET, true).is_err());
        }
    }
}

/// A wrong value under a right checksum: a bug or an attack, not a bad disk. Never believed.
#[test]
fn values_that_cannot_be_are_refused_under_a_right_checksum() {
    let decode = |change: &dyn Fn(&mut Footer)| {
        let mut changed = footer();
        change(&mut changed);
        let (bytes, _) = changed.encode(FOOTER_OFFSET).expect("within bounds");
        Footer::decode(&bytes, FOOTER_OFFSET, true)
    };
    let refused = |change: &dyn Fn(&mut Footer), expected: &str| {
        let error = decode(change).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&|f| f.directory[1].offset += 8, "a hole or an overlap");
    refused(
        &|f| f.directory[1].stored_length += 8,
        "end where the footer begins",
    );
    refused(&|f| f.directory[0].raw_length = u32::MAX, "raw length");
    refused(&|f| f.directory[0].raw_length = 1, "stored length");
    refused(&|f| drop(f.directory.pop()), "end where the footer begins");
    refused(&|f| f.zxid = Zxid(-1), "negative");
    assert_eq!(decode(&|_| ()), Ok(footer()));

    let mut bytes = footer().encode(FOOTER_OFFSET).expect("within bounds").0;
    put(&mut bytes, at::COUNT, &u32::MAX.to_le_bytes());
    reseal(&mut bytes);
    let error = Footer::decode(&bytes, FOOTER_OFFSET, true).expect_err("refused");
    assert!(error.to_string().contains("more than fit"), "{error}");

    let mut late = header();
    late.version = (VERSION_MAJOR + 1, 0);
    assert_eq!(
        Header::decode(&late.encode().0),
        Err(Fault::Version {
            major: VERSION_MAJOR + 1,
            minor: 0
        })
    );
    late.version = (VERSION_MAJOR, VERSION_MINOR + 1);
    assert!(
        Header::decode(&late.encode().0).is_ok(),
        "a later minor version is readable"
    );
}

fn reseal(bytes: &mut [u8]) {
    let at = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..at]);
    put(bytes, at, &crc.to_le_bytes());
}

#[test]
fn the_trailer_ties_the_parts_together() {
    let refused = |change: &dyn Fn(&mut Trailer), length: u64| {
        let mut changed = trailer();
        change(&mut changed);
        Trailer::decode(&changed.encode(), length).expect_err("refused")
    };
    let length = trailer().file_length;
    assert!(matches!(
        refused(&|_| (), length - 1),
        Fault::Truncated { .. }
    ));
    assert!(matches!(refused(&|_| (), length + 1), Fault::Longer { .. }));
    for change in [
        &(|t: &mut Trailer| t.footer_offset = 0) as &dyn Fn(&mut Trailer),
        &|t| t.footer_offset = u64::MAX,
        &|t| t.footer_length = u64::MAX,
        &|t| t.footer_length += 1,
        &|t| t.footer_offset += 1,
    ] {
        assert!(matches!(
            refused(change, length),
            Fault::Field {
                part: Part::Trailer,
                ..
            }
        ));
    }
    assert_ne!(chain(1, [2, 3]), chain(1, [3, 2]));
    assert_ne!(chain(1, [2, 3]), chain(1, [2]));
    assert_ne!(chain(1, [2, 3]), chain(2, [2, 3]));
}

#[test]
fn a_name_has_one_spelling() {
    assert_eq!(file_name(Zxid(0x2_0000_000a)), "000000020000000a.zks");
    assert_eq!(
        parse_file_name("000000020000000a.zks"),
        Some(Zxid(0x2_0000_000a))
    );
    assert_eq!(parse_file_name("0000000000000000.zks"), Some(Zxid(0)));
    for name in [
        "000000020000000A.zks",
        "00000002000000a.zks",
        "+00000020000000a.zks",
        "0000000020000000a.zks",
        "000000020000000a.zks.tmp",
        "000000020000000a.zk",
        "000000020000000azks",
        "ffffffffffffffff.zks",
        ".zks",
        "",
    ] {
        assert_eq!(parse_file_name(name), None, "{name}");
    }
}

#[test]
fn the_stored_bound_holds_for_what_zstd_makes_of_noise() {
    for length in [0_usize, 1, 100, 4096, 128 << 10, 300_000] {
        assert_eq!(
            stored_bytes_max(length),
            zstd::zstd_safe::compress_bound(length)
        );
    }
}
