//! Texts of four-letter words as lines that can be compared: sessions and connections by the names
//! that the script gave them, times and latencies as what they are. Everything else stays; what is
//! unordered is sorted.

use std::ops::Range;

/// What the script knows of those that a text may mention.
#[derive(Clone, Default)]
pub(crate) struct Names {
    /// Session ids.
    pub(crate) sessions: Vec<(i64, String)>,
    /// Ports of the script's own connections. Any other is the asker's.
    pub(crate) ports: Vec<(u16, String)>,
}

/// Lines, and the bytes of the text that they do not depend on.
pub(crate) struct Masked {
    pub(crate) lines: Vec<String>,
    pub(crate) ranges: Vec<Range<usize>>,
}

/// Values of `cons` that no two runs share: milliseconds on some clock, and latencies.
const MASKED_FIELDS: [&str; 6] = ["est", "lresp", "llat", "minlat", "avglat", "maxlat"];

/// The lines of `text`, the last one empty if it ends with a newline.
pub(crate) fn mask(text: &str, names: &Names) -> Masked {
    let mut masker = Masker {
        names,
        lines: Vec::new(),
        ranges: Vec::new(),
    };
    let mut at = 0;
    let mut input = Vec::new();
    for line in text.split('\n') {
        input.push((at, line));
        at += line.len() + 1;
    }
    masker.all(&input);
    Masked {
        lines: masker.lines,
        ranges: masker.ranges,
    }
}

type Line<'t> = (usize, &'t str);

struct Masker<'n> {
    names: &'n Names,
    lines: Vec<String>,
    ranges: Vec<Range<usize>>,
}

impl Masker<'_> {
    fn all(&mut self, input: &[Line<'_>]) {
        let mut rest = input;
        while let Some((&(_, line), behind)) = rest.split_first() {
            let used = if let Some(title) = sets_title(line) {
                self.buckets(title, line, behind)
            } else if line.starts_with(" /") {
                self.run(rest, |(_, line)| line.starts_with(" /"), Self::client)
            } else if is_group(line, behind) {
                self.groups(rest)
            } else {
                self.lines.push(self.ids(line));
                1
            };
            rest = &rest[used..];
        }
    }

    /// Lines of one kind, in no order.
    fn run(
        &mut self,
        input: &[Line<'_>],
        is: impl Fn(&Line<'_>) -> bool,
        mut show: impl FnMut(&mut Self, Line<'_>) -> String,
    ) -> usize {
        let count = input.iter().take_while(|line| is(line)).count();
        let mut lines: Vec<String> = input[..count].iter().map(|l| show(self, *l)).collect();
        lines.sort();
        self.lines.append(&mut lines);
        count
    }

    /// A path or a session and what belongs to it, indented; both in no order.
    fn groups(&mut self, input: &[Line<'_>]) -> usize {
        let (mut groups, mut used) = (Vec::new(), 0);
        while let Some((&(_, head), behind)) = input[used..].split_first() {
            let is_title = head.starts_with('/') || head.starts_with("0x");
            if !is_title {
                break;
            }
            let members = behind.iter().take_while(|(_, l)| l.starts_with('\t'));
            let mut members: Vec<String> = members.map(|(_, l)| self.ids(l)).collect();
            used += 1 + members.len();
            members.sort();
            members.insert(0, self.ids(head));
            groups.push(members);
        }
        groups.sort();
        self.lines.extend(groups.into_iter().flatten());
        used.max(1)
    }

    /// `Session Sets (2)/(1):` and its buckets. How many there are, and which one something is in,
    /// depends on when it was heard; what there is does not.
    fn buckets(
        &mut self,
        (kind, sets, all): (&str, usize, usize),
        title: &str,
        input: &[Line<'_>],
    ) -> usize {
        let (mut members, mut used, mut found) = (Vec::new(), 0, 0);
        let mut dates = Vec::new();
        while let Some(&(at, line)) = input.get(used) {
            let Some((count, date)) = bucket_title(line) else {
                break;
            };
            let inside = input.get(used + 1..used + 1 + count).unwrap_or_default();
            if inside.len() < count || !inside.iter().all(|(_, l)| l.starts_with('\t')) {
                break;
            }
            dates.push(at + date.start..at + date.end);
            members.extend_from_slice(inside);
            used += 1 + count;
            found += 1;
        }
        if found != sets || members.len() != all {
            // Not what it says it is: compared as it stands.
            self.lines.push(format!("inconsistent {title}"));
            return 1;
        }
        self.ranges.append(&mut dates);
        self.lines.push(format!("{kind} Sets ({all}):"));
        self.run(&members, |_| true, Self::member);
        1 + used
    }

    /// `\tip: /127.0.0.1:40000 sessionId: 0x1` or `\t0x1`.
    fn member(&mut self, (at, line): Line<'_>) -> String {
        match line.strip_prefix("\tip: /127.0.0.1:") {
            Some(rest) => {
                let (port, rest_at) = self.port(at + "\tip: /127.0.0.1:".len(), rest);
                format!("\tip: {port}{}", self.ids(&rest[rest_at..]))
            }
            None => self.ids(line),
        }
    }

    /// ` /127.0.0.1:40000[1](queued=0,...)`.
    fn client(&mut self, (at, line): Line<'_>) -> String {
        let prefix = " /127.0.0.1:";
        let Some(rest) = line.strip_prefix(prefix) else {
            return line.to_owned();
        };
        let (port, rest_at) = self.port(at + prefix.len(), rest);
        let mut shown = format!(" {port}");
        let mut field_at = at + prefix.len() + rest_at;
        for (n, field) in rest[rest_at..].split(',').enumerate() {
            if n > 0 {
                shown.push(',');
            }
            let (bare, tail) = field.strip_suffix(')').map_or((field, ""), |b| (b, ")"));
            match bare.split_once('=') {
                Some((key, value)) if MASKED_FIELDS.contains(&key) && is_number(value) => {
                    let start = field_at + key.len() + 1;
                    self.ranges.push(start..start + value.len());
                    shown.push_str(&format!("{key}=number{tail}"));
                }
                _ => shown.push_str(&self.ids(field)),
            }
            field_at += field.len() + 1;
        }
        shown
    }

    /// The name of the connection whose port a text begins with, and where the text goes on.
    fn port(&mut self, at: usize, text: &str) -> (String, usize) {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(port) = text[..digits].parse::<u16>() else {
            return (text[..digits].to_owned(), digits);
        };
        let known = self.names.ports.iter().find(|(p, _)| *p == port);
        let name = match known {
            Some((_, name)) => name.clone(),
            None => {
                self.ranges.push(at..at + digits);
                "asker".to_owned()
            }
        };
        (name, digits)
    }

    /// A line with the names of sessions for their ids.
    fn ids(&self, line: &str) -> String {
        let mut shown = line.to_owned();
        for (id, name) in &self.names.sessions {
            // Ids are too long to be found inside anything else.
            shown = shown.replace(&format!("0x{id:x}"), name);
        }
        shown
    }
}

/// Whether a line begins a group of `wchc`, `wchp` or the ephemerals of `dump`.
fn is_group(line: &str, behind: &[Line<'_>]) -> bool {
    let indented = behind.first().is_some_and(|(_, l)| l.starts_with('\t'));
    line.starts_with("0x") || (line.starts_with('/') && indented)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `Session Sets (2)/(1):` as its kind and numbers.
fn sets_title(line: &str) -> Option<(&str, usize, usize)> {
    let (kind, rest) = line.split_once(" Sets (")?;
    let (sets, all) = rest.strip_suffix("):")?.split_once(")/(")?;
    (is_number(sets) && is_number(all)).then_some(())?;
    Some((kind, sets.parse().ok()?, all.parse().ok()?))
}

/// `1 expire at Sat Nov 21 01:57:24 UTC 2026:` as its number and where the date is.
fn bucket_title(line: &str) -> Option<(usize, Range<usize>)> {
    let (count, rest) = line.split_once(" expire at ")?;
    let date = rest.strip_suffix(':')?;
    let is_count = is_number(count) && is_date(date);
    let start = line.len() - rest.len();
    is_count.then_some((count.parse().ok()?, start..start + date.len()))
}

/// A date as Java prints one.
fn is_date(text: &str) -> bool {
    const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let parts: Vec<&str> = text.split(' ').collect();
    let [weekday, month, day, time, zone, year] = parts.as_slice() else {
        return false;
    };
    let shape: String = format!("{day} {time} {year}")
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    WEEKDAYS.contains(weekday)
        && MONTHS.contains(month)
        && !zone.is_empty()
        && zone.bytes().all(|b| b.is_ascii_uppercase())
        && shape == "99 99:99:99 9999"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            sessions: vec![(0x0100_1234_5678_0000, "A".into())],
            ports: vec![(40_000, "a".into())],
        }
    }

    fn lines(text: &str) -> Vec<String> {
        mask(text, &names()).lines
    }

    #[test]
    fn connections_have_names_and_no_times() {
        let text = " /127.0.0.1:50000[0](queued=0,recved=1,sent=0)\n \
                    /127.0.0.1:40000[1](queued=0,recved=7,sent=7,sid=0x100123456780000,lop=PING,\
                    est=17,to=30000,lcxid=0x5,lzxid=0xeb,lresp=1,llat=0,minlat=0,avglat=1,maxlat=7)\n\n";
        assert_eq!(
            lines(text),
            [
                " a[1](queued=0,recved=7,sent=7,sid=A,lop=PING,est=number,to=30000,lcxid=0x5,\
                 lzxid=0xeb,lresp=number,llat=number,minlat=number,avglat=number,maxlat=number)",
                " asker[0](queued=0,recved=1,sent=0)",
                "",
                ""
            ]
        );
    }

    #[test]
    fn buckets_are_their_members() {
        let date = "Sat Nov 21 01:57:24 UTC 2026";
        let text = format!(
            "Session Sets (2)/(1):\n0 expire at {date}:\n1 expire at {date}:\n\t0x100123456780000\nend"
        );
        assert_eq!(lines(&text), ["Session Sets (1):", "\tA", "end"]);
        for wrong in [
            ("(2)", "(3)"),
            ("(1)", "(2)"),
            ("\n1 ", "\n0 "),
            ("Sat", "Cat"),
        ] {
            let wrong = text.replacen(wrong.0, wrong.1, 1);
            assert_ne!(lines(&wrong), lines(&text), "{wrong}");
        }
    }

    #[test]
    fn groups_are_sorted_inside_and_out() {
        let text = "/b\n\t0x2\n\t0x100123456780000\n/a\n\t0x2\n\n";
        assert_eq!(lines(text), ["/a", "\t0x2", "/b", "\t0x2", "\tA", "", ""]);
    }
}
