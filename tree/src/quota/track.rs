//! The text of a limits or stats node: `count=4,bytes=50=;byteHardLimit=100`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A text longer than this is taken for an empty one: it is read at every change below the quota. Apache's own are
/// shorter than 100 bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// What "unlimited" and "not said" look like.
const NONE: i64 = -1;

/// Numbers by name. In a limits node `count` and `bytes` are the soft limits, in a stats node what is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) count: i64,
    pub(super) bytes: i64,
    /// Every other key, known or not.
    more: BTreeMap<String, i64>,
}

impl Track {
    pub(super) fn of(count: i64, bytes: i64) -> Track {
        Track {
            count,
            bytes,
            more: BTreeMap::new(),
        }
    }

    /// Reads pairs apart at any run of `,` and `;`. A value ends at the next `=`. Whatever is no number is -1:
    /// Apache's server stops at such a text.
    pub(super) fn parse(text: Option<&[u8]>) -> Track {
        let mut track = Track::of(NONE, NONE);
        let text = text.filter(|text| text.len() <= TEXT_BYTES_MAX);
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split('=');
            let key = parts.next().unwrap_or_default();
            let value = parts.next().and_then(|value| value.parse().ok());
            let value = value.unwrap_or(NONE);
            match key {
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                _ => {
                    track.more.insert(key.to_owned(), value);
                }
            }
        }
        track
    }

    pub(super) fn count_hard_limit(&self) -> i64 {
        self.more.get("countHardLimit").copied().unwrap_or(NONE)
    }

    pub(super) fn byte_hard_limit(&self) -> i64 {
        self.more.get("byteHardLimit").copied().unwrap_or(NONE)
    }

    /// The text that Apache writes, with the odd `=` that keeps old readers going.
    pub(super) fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        if !self.more.is_empty() {
            text.push('=');
        }
        for (key, value) in &self.more {
            // Writing to a string does not fail.
            let _ = write!(text, ";{key}={value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_as_apache_does() {
        let check = |text: &str, written: &str| {
            assert_eq!(Track::parse(Some(text.as_bytes())).text(), written);
        };
        check("", "count=-1,bytes=-1");
        check("count=3", "count=3,bytes=-1");
        check("bytes=5;count=3", "count=3,bytes=5");
        check("count=3,,;;bytes=+5", "count=3,bytes=5");
        let hard = "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=4";
        check(hard, hard);
        check(
            "countHardLimit=4,z=1,byteHardLimit=20,a=2",
            "count=-1,bytes=-1=;a=2;byteHardLimit=20;countHardLimit=4;z=1",
        );
        check("count==,bytes=7==9", "count=-1,bytes=7");
        check("count=1,count=2", "count=2,bytes=-1");
    }

    #[test]
    fn whatever_is_no_number_is_unlimited() {
        for text in [
            "count",
            "=",
            ",",
            "count=x",
            "count=99999999999999999999",
            "count= 5",
        ] {
            assert_eq!(Track::parse(Some(text.as_bytes())).count, -1, "{text}");
        }
        assert_eq!(Track::parse(None), Track::of(-1, -1));
        assert_eq!(Track::parse(Some(b"\xff\xfe=\x00")).count, -1);
        let long = format!("count=5,{}", "x".repeat(TEXT_BYTES_MAX));
        assert_eq!(Track::parse(Some(long.as_bytes())), Track::of(-1, -1));
    }
}
