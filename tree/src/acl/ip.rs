//! Addresses as Java writes them and as ACLs of scheme `ip` name them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The text of an address as Java prints it: IPv6 in full, without `::`. A mapped IPv4 address is an IPv4 address.
pub fn java_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let mut text = String::new();
            for segment in v6.segments() {
                let separator = if text.is_empty() { "" } else { ":" };
                write!(text, "{separator}{segment:x}").expect("writing to a String cannot fail");
            }
            text
        }
    }
}

/// The id of an ACL entry: an address, and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    address: IpAddr,
    bits: u32,
}

impl Range {
    /// `None` for anything else than `address` or `address/bits`: names above all.
    pub(super) fn parse(id: &[u8]) -> Option<Range> {
        let id = std::str::from_utf8(id).ok()?;
        let (address, bits) = match id.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (id, None),
        };
        let address = if address.contains(':') {
            IpAddr::V6(parse_v6(address)?)
        } else {
            IpAddr::V4(parse_v4(address)?)
        };
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => number(bits, 10, 9).filter(|&bits| bits <= bits_max)?,
            None => bits_max,
        };
        Some(Range { address, bits })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differ = u32::from(a) ^ u32::from(b);
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differ = u128::from(a) ^ u128::from(b);
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Four numbers; leading zeros are decimal, as for Java.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(number(parts.next()?, 10, 9)?).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

/// Eight groups, or fewer around one `::`. No dotted tail: Apache has none either.
fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    let mut segments = [0; 8];
    let groups = |text: &str| -> Option<Vec<u16>> {
        if text.is_empty() {
            return Some(Vec::new());
        }
        text.split(':')
            .map(|g| u16::try_from(number(g, 16, 4)?).ok())
            .collect()
    };
    match text.split_once("::") {
        None => {
            let groups = groups(text)?;
            if groups.len() != 8 {
                return None;
            }
            segments.copy_from_slice(&groups);
        }
        Some((head, tail)) => {
            let (head, tail) = (groups(head)?, groups(tail)?);
            if head.len() + tail.len() >= 8 {
                return None;
            }
            segments[..head.len()].copy_from_slice(&head);
            segments[8 - tail.len()..].copy_from_slice(&tail);
        }
    }
    Some(Ipv6Addr::from(segments))
}

/// Digits only: neither signs nor blanks.
fn number(text: &str, radix: u32, digits_max: usize) -> Option<u32> {
    if text.len() > digits_max || !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_java_does() {
        let check = |text: &str, want: &str| assert_eq!(java_text(text.parse().unwrap()), want);
        check("127.0.0.1", "127.0.0.1");
        check("::1", "0:0:0:0:0:0:0:1");
        check("2001:db8::a0:1", "2001:db8:0:0:0:0:a0:1");
        check("::ffff:10.1.2.3", "10.1.2.3");
    }

    /// Line 71, the part about form and matching.
    #[test]
    fn ranges_match_by_family_and_bits() {
        let check = |id: &str, address: &str, want: bool| {
            let range = Range::parse(id.as_bytes()).unwrap_or_else(|| panic!("{id}"));
            assert_eq!(
                range.contains(address.parse().unwrap()),
                want,
                "{id} {address}"
            );
        };
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("10.0.0.1/31", "10.0.0.0", true);
        check("10.0.0.1/32", "10.0.0.0", false);
        check("10.1.2.3/8", "10.200.0.0", true);
        check("0.0.0.0/0", "192.168.1.1", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "fe80::1", true);
        check("::/0", "1.2.3.4", false);
        check("2001:db8::/32", "2001:db8:1::", true);
        check("2001:db8::/32", "2001:db9::", false);
        check("2001:db8::/33", "2001:db8:8000::", false);
        check("0:0:0:0:0:0:0:1", "::1", true);
        check("::1/128", "::1", true);
        check("1::", "1::", true);
        check("010.0.0.1", "10.0.0.1", true);
    }

    #[test]
    fn what_is_no_range() {
        for id in [
            "",
            "localhost",
            "10.0.0",
            "10.0.0.1.2",
            "256.0.0.1",
            "-1.0.0.1",
            "+1.0.0.1",
            "10.0.0.1/33",
            "10.0.0.1/-1",
            "10.0.0.1/",
            "10.0.0.1/8/8",
            "10.0.0.1/x",
            "1..2.3",
            ":",
            ":::",
            "1::2::3",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7::8",
            "12345::",
            "g::",
            "::1/129",
            "::ffff:1.2.3.4",
            " 10.0.0.1",
            "10.0.0.1 ",
            "1: :2",
            "::99999999999999999999",
        ] {
            assert_eq!(Range::parse(id.as_bytes()), None, "{id:?}");
        }
        assert_eq!(Range::parse(b"\xff"), None);
    }
}
