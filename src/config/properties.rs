//! Java `Properties` text, the syntax of `zoo.cfg`, by the rules of `java.util.Properties.load`.
//!
//! Bytes are ISO-8859-1. A logical line is natural lines joined where one ends in an odd number
//! of backslashes; a comment starts at `#` or `!` as first non-blank character of a logical line
//! and nowhere else, so that `tickTime=2000 # ms` has the value `2000 # ms`.

use std::fmt;

/// One `key = value`, in the order of the text; blanks around both are gone, as Apache trims them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// What stands before the separator, escapes resolved.
    pub key: String,
    /// What stands behind it.
    pub value: String,
    /// Number of the natural line that the logical line starts in, from 1.
    pub line: usize,
}

/// A `\u` that four hexadecimal digits do not follow: Java refuses the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedEscape {
    /// Number of the logical line's first natural line.
    pub line: usize,
}

impl fmt::Display for MalformedEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Java's own words, which people search for.
        write!(f, "Malformed \\uxxxx encoding. (line {})", self.line)
    }
}

impl std::error::Error for MalformedEscape {}

/// Parses a whole text. Repeated keys are all returned; the last one counts.
///
/// # Errors
/// [`MalformedEscape`], the only thing that Java refuses.
pub fn parse(text: &[u8]) -> Result<Vec<Property>, MalformedEscape> {
    let mut properties = Vec::new();
    for LogicalLine { text, line } in logical_lines(text) {
        let (key, value) = split(&text);
        let malformed = MalformedEscape { line };
        properties.push(Property {
            key: unescape(key)
                .ok_or(malformed)?
                .trim_matches(is_trimmed)
                .to_owned(),
            value: unescape(value)
                .ok_or(malformed)?
                .trim_matches(is_trimmed)
                .to_owned(),
            line,
        });
    }
    Ok(properties)
}

/// What Java's `String.trim` removes.
fn is_trimmed(c: char) -> bool {
    c <= ' '
}

struct LogicalLine {
    /// Without line ends and without the backslashes that joined lines.
    text: Vec<u8>,
    line: usize,
}

fn logical_lines(text: &[u8]) -> Vec<LogicalLine> {
    let mut lines = Vec::new();
    let mut logical: Option<LogicalLine> = None;
    for (number, natural) in natural_lines(text).into_iter().enumerate() {
        let start = natural
            .iter()
            .position(|c| !is_blank(*c))
            .unwrap_or(natural.len());
        let natural = &natural[start..];
        // An empty logical line so far may still turn out to be a comment, continued or not.
        let at_start = logical
            .as_ref()
            .is_none_or(|logical| logical.text.is_empty());
        if at_start && matches!(natural.first(), None | Some(b'#' | b'!')) {
            continue;
        }
        let current = logical.get_or_insert_with(|| LogicalLine {
            text: Vec::new(),
            line: number + 1,
        });
        let backslashes = natural.iter().rev().take_while(|c| **c == b'\\').count();
        let continues = backslashes % 2 == 1;
        current
            .text
            .extend_from_slice(&natural[..natural.len() - usize::from(continues)]);
        if !continues {
            lines.extend(logical.take());
        }
    }
    // The text may end behind a backslash.
    lines.extend(logical.filter(|logical| !logical.text.is_empty()));
    lines
}

/// Lines ended by LF, CR or CR LF.
fn natural_lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|c| matches!(c, b'\n' | b'\r'))
            .unwrap_or(rest.len());
        lines.push(&rest[..end]);
        let behind = &rest[end..];
        let terminator = if behind.starts_with(b"\r\n") {
            2
        } else {
            usize::from(end < rest.len())
        };
        rest = &behind[terminator..];
    }
    lines
}

fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | 0x0c)
}

/// The key ends at the first unescaped `=`, `:` or blank; blanks, at most one `=` or `:`, and
/// blanks again part it from the value.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let end = line
        .iter()
        .position(|c| {
            if !escaped && (matches!(c, b'=' | b':') || is_blank(*c)) {
                return true;
            }
            escaped = *c == b'\\' && !escaped;
            false
        })
        .unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_ascii_blanks();
    let rest = match rest.first() {
        Some(b'=' | b':') => rest[1..].trim_ascii_blanks(),
        _ => rest,
    };
    (key, rest)
}

trait TrimBlanks {
    fn trim_ascii_blanks(&self) -> &Self;
}

impl TrimBlanks for [u8] {
    fn trim_ascii_blanks(&self) -> &Self {
        let start = self
            .iter()
            .position(|c| !is_blank(*c))
            .unwrap_or(self.len());
        &self[start..]
    }
}

/// Resolves escapes; `None` for a malformed `\u`. A surrogate without its other half becomes
/// U+FFFD, since it is no character.
fn unescape(text: &[u8]) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&c, behind)) = rest.split_first() {
        rest = behind;
        if c != b'\\' {
            units.push(u16::from(c));
            continue;
        }
        let Some((&escape, behind)) = rest.split_first() else {
            break;
        };
        rest = behind;
        units.push(match escape {
            b'u' => {
                let digits = std::str::from_utf8(rest.get(..4)?).ok()?;
                // `from_str_radix` would accept a sign.
                if !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
                    return None;
                }
                rest = &rest[4..];
                u16::from_str_radix(digits, 16).ok()?
            }
            b't' => 0x09,
            b'n' => 0x0a,
            b'f' => 0x0c,
            b'r' => 0x0d,
            other => u16::from(other),
        });
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<(String, String)> {
        parse(text)
            .unwrap()
            .into_iter()
            .map(|p| (p.key, p.value))
            .collect()
    }

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        assert_eq!(pairs(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn separators() {
        check("dataDir : /x", &[("dataDir", "/x")]);
        check("tickTime   2500", &[("tickTime", "2500")]);
        check("server.1 = a:1:2", &[("server.1", "a:1:2")]);
        check("a==b", &[("a", "=b")]);
        check("a = = b", &[("a", "= b")]);
        check("a:=b", &[("a", "=b")]);
        check("a\tb", &[("a", "b")]);
        check("flag", &[("flag", "")]);
        check("=b", &[("", "b")]);
        check("a\\ b = c", &[("a b", "c")]);
        check("a\\=b=c", &[("a=b", "c")]);
        check("a\\\\=c", &[("a\\", "c")]);
        check("  key = v  \t\r\n", &[("key", "v")]);
    }

    #[test]
    fn comments_only_at_the_start_of_a_logical_line() {
        check("# a=b\n ! c=d\n\n   \ne=f", &[("e", "f")]);
        check("tickTime=2000 # ms", &[("tickTime", "2000 # ms")]);
        check("# never continued \\\na=b", &[("a", "b")]);
        check("a=b\\\n# part of it", &[("a", "b# part of it")]);
    }

    #[test]
    fn continuation() {
        check("a=b\\\n   c\nd=e", &[("a", "bc"), ("d", "e")]);
        check("a=b\\\r\n\tc", &[("a", "bc")]);
        check("a=b\\\\\nc=d", &[("a", "b\\"), ("c", "d")]);
        check("a=b\\\\\\\nc", &[("a", "b\\c")]);
        check("ke\\\n  y=v", &[("key", "v")]);
        check("a=b\\\n\nc=d", &[("a", "b"), ("c", "d")]);
        check("a=b\\", &[("a", "b")]);
        check("\\\n# a comment after all\na=b", &[("a", "b")]);
    }

    #[test]
    fn escapes() {
        check("a=\\u0041\\u00e9", &[("a", "A\u{e9}")]);
        check("\\u0061=1", &[("a", "1")]);
        check("a=x\\ty\\nz\\q", &[("a", "x\ty\nzq")]);
        check("a=C:\\data", &[("a", "C:data")]);
        check("a=\\ud83d\\ude00 \\ud83d", &[("a", "\u{1f600} \u{fffd}")]);
        for bad in ["a=\\u00g1", "a=\\u12", "a=\\u+123", "a=\\u"] {
            assert_eq!(
                parse(bad.as_bytes()),
                Err(MalformedEscape { line: 1 }),
                "{bad}"
            );
        }
        assert_eq!(parse(b"x=1\n\\u=2"), Err(MalformedEscape { line: 2 }));
    }

    #[test]
    fn bytes_are_latin_1() {
        assert_eq!(pairs(b"a=\xe9\xff"), [("a".into(), "\u{e9}\u{ff}".into())]);
    }

    #[test]
    fn repeated_keys_keep_their_order_and_lines_are_counted() {
        let parsed = parse(b"a=1\r\rb=\\\n2\na=3").unwrap();
        let seen: Vec<_> = parsed
            .iter()
            .map(|p| (p.key.as_str(), p.value.as_str(), p.line))
            .collect();
        assert_eq!(seen, [("a", "1", 1), ("b", "2", 3), ("a", "3", 5)]);
    }
}
