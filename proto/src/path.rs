//! Rules for znode paths. Which rule applies where is in the client protocol's section on paths; the
//! functions here are those rules and nothing else.

use std::fmt::Write as _;

/// Rule V, for create (after the suffix), setData, setACL and check: absolute, no empty, `.` or `..`
/// component, no trailing `/`, no control, surrogate, private-use or special character, nothing above U+FFFF.
pub fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    if !path.starts_with('/') || path.ends_with('/') {
        return false;
    }
    // A path of plain ASCII is nearly every path: one pass over bytes, no decoding.
    let mut component_start = 1;
    for (index, byte) in path.bytes().enumerate().skip(1) {
        match byte {
            b'/' => {
                if is_reserved(path.get(component_start..index).unwrap_or_default()) {
                    return false;
                }
                component_start = index + 1;
            }
            0..=0x1f | 0x7f => return false,
            _ => {}
        }
    }
    !is_reserved(path.get(component_start..).unwrap_or_default())
        && (path.is_ascii() || !path.chars().any(is_forbidden))
}

/// Empty, `.` or `..`: not a name.
fn is_reserved(component: &str) -> bool {
    matches!(component, "" | "." | "..")
}

fn is_forbidden(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..
    )
}

/// The reduced rule, for delete and for create before the parent is looked up: has a `/` and no U+0000.
pub fn is_roughly_valid(path: &str) -> bool {
    path.contains('/') && !path.contains('\0')
}

/// The four nodes that exist in every tree and cannot be deleted.
pub const BUILT_IN: [&str; 4] = ["/", ZOOKEEPER, QUOTA, CONFIG];
/// The built-in subtree.
pub const ZOOKEEPER: &str = "/zookeeper";
/// Where quotas live.
pub const QUOTA: &str = "/zookeeper/quota";
/// The membership of the ensemble.
pub const CONFIG: &str = "/zookeeper/config";

/// Text before the last `/`, with `/` for the root: the parent of `/a` and of `/` itself.
/// `None` if there is no `/` at all.
pub fn parent(path: &str) -> Option<&str> {
    let (parent, _) = path.rsplit_once('/')?;
    Some(if parent.is_empty() { "/" } else { parent })
}

/// Text after the last `/`; the whole path if there is none.
pub fn basename(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Appends the suffix of a sequential node: the parent's stored cversion as ten digits.
/// Past 2^31 - 1 it is the eleven characters of a negative number, as documented.
pub fn push_sequence(path: &mut String, parent_cversion: i32) {
    write!(path, "{parent_cversion:010}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_v() {
        for path in [
            "/",
            "/a",
            "/a/b",
            "/...",
            "/.a",
            "/a..",
            "/a..b",
            "/a/...",
            "/ ",
            "/\u{e9}",
            "/\u{a0}",
            "/\u{f900}",
            "/\u{ffef}",
            "/\u{d7ff}",
            "/~",
            "/zookeeper",
            "/a/zookeeper",
            "/\u{ff}",
        ] {
            assert!(is_valid(path), "{path:?}");
        }
        for path in [
            "",
            "a",
            "foo",
            "a/b",
            "//",
            "/a/",
            "/a//b",
            "//a",
            "/.",
            "/..",
            "/a/.",
            "/a/..",
            "/./a",
            "/../a",
            "/a/./b",
            "/a/../b",
            "/\0",
            "/a\0b",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{80}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{ffff}",
            "/\u{10000}",
            "/\u{1f600}",
            "/a\u{1f600}b",
            "\u{e9}/a",
        ] {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    /// The rule as it is written down: over UTF-16 units, one by one.
    fn is_valid_by_the_book(path: &str) -> bool {
        let units: Vec<u16> = path.encode_utf16().collect();
        let slash = u16::from(b'/');
        if units.first() != Some(&slash) {
            return false;
        }
        if units.len() == 1 {
            return true;
        }
        if units.last() == Some(&slash) {
            return false;
        }
        let units_fine = units.iter().all(
            |unit| !matches!(unit, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff),
        );
        let names_fine = units.split(|&unit| unit == slash).skip(1).all(|name| {
            let name = String::from_utf16_lossy(name);
            !name.is_empty() && name != "." && name != ".."
        });
        units_fine && names_fine
    }

    #[test]
    fn rule_v_agrees_with_the_rule_as_written_for_every_character() {
        for character in '\0'..=char::MAX {
            for path in [format!("/{character}"), format!("/a{character}b/c")] {
                assert_eq!(is_valid(&path), is_valid_by_the_book(&path), "{path:?}");
            }
        }
    }

    #[test]
    fn rule_v_agrees_with_the_rule_as_written_for_every_short_path() {
        const ALPHABET: [char; 6] = ['/', '.', 'a', '\0', '\u{e9}', '\u{e000}'];
        for length in 0..=6_u32 {
            for mut number in 0..ALPHABET.len().pow(length) {
                let path: String = (0..length)
                    .map(|_| {
                        let character = ALPHABET[number % ALPHABET.len()];
                        number /= ALPHABET.len();
                        character
                    })
                    .collect();
                assert_eq!(is_valid(&path), is_valid_by_the_book(&path), "{path:?}");
            }
        }
    }

    #[test]
    fn reduced_rule() {
        for path in ["/", "/a", "/a/", "/a//b", "a/b", "/."] {
            assert!(is_roughly_valid(path), "{path:?}");
        }
        for path in ["", "foo", "/a\0", "\0/"] {
            assert!(!is_roughly_valid(path), "{path:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        for (path, expected_parent, expected_name) in [
            ("/", Some("/"), ""),
            ("/a", Some("/"), "a"),
            ("/a/b", Some("/a"), "b"),
            ("/a/", Some("/a"), ""),
            ("/a//b", Some("/a/"), "b"),
            ("a/b", Some("a"), "b"),
            ("foo", None, "foo"),
            ("", None, ""),
        ] {
            assert_eq!(parent(path), expected_parent, "{path:?}");
            assert_eq!(basename(path), expected_name, "{path:?}");
        }
    }

    #[test]
    fn sequence_suffixes() {
        for (cversion, expected) in [
            (0, "/a/0000000000"),
            (7, "/a/0000000007"),
            (i32::MAX, "/a/2147483647"),
            (i32::MIN, "/a/-2147483648"),
            (-1, "/a/-000000001"),
        ] {
            let mut path = "/a/".to_owned();
            push_sequence(&mut path, cversion);
            assert_eq!(path, expected);
        }
    }
}
