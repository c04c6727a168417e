//! How Java reads numbers and booleans from text, which is how existing files were written.

/// `Integer.parseInt`: decimal, one sign allowed, nothing else.
#[must_use]
pub fn parse_int(text: &str) -> Option<i32> {
    parse_long(text).and_then(|n| i32::try_from(n).ok())
}

/// `Long.parseLong`.
#[must_use]
pub fn parse_long(text: &str) -> Option<i64> {
    // Rust reads exactly this: an optional sign, then decimal digits.
    text.parse().ok()
}

/// `Long.decode`: decimal, `0x` or `#` hexadecimal, and a leading zero means octal.
#[must_use]
pub fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(hex) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        (16, hex)
    } else if let Some(hex) = digits.strip_prefix('#') {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    // `from_str_radix` would accept a second sign.
    if !digits.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// The booleans of keys that the parser itself knows: `true` or `false` in any case.
#[must_use]
pub fn strict_boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// `Boolean.parseBoolean`: `true` in any case, everything else is false.
#[must_use]
pub fn boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("+7", Some(7)),
            ("-7", Some(-7)),
            ("007", Some(7)),
            ("2147483647", Some(i32::MAX)),
            ("2147483648", None),
            ("", None),
            ("-", None),
            ("abc", None),
            ("0x10", None),
            ("2000 # ms", None),
            ("1_000", None),
        ] {
            assert_eq!(parse_int(text), expected, "{text}");
        }
    }

    #[test]
    fn decoded_integers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("010", Some(8)),
            ("0x10", Some(16)),
            ("0XfF", Some(255)),
            ("#ff", Some(255)),
            ("-0x10", Some(-16)),
            ("+010", Some(8)),
            ("09", None),
            ("0x", None),
            ("--1", None),
            ("0x-1", None),
            ("10ms", None),
            ("", None),
            ("-", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }

    #[test]
    fn booleans() {
        assert_eq!(strict_boolean("TRUE"), Some(true));
        assert_eq!(strict_boolean("False"), Some(false));
        assert_eq!(strict_boolean("yes"), None);
        assert!(boolean("True"));
        assert!(!boolean("yes"));
    }
}
