//! Runs one script against all servers and compares the lines.

use std::fmt::Write;
use std::path::PathBuf;

use crate::common::{Kind, Server};
use crate::normalise::normalise;
use crate::script::Script;
use crate::servers::{Servers, Variant, has_reference, shared_servers, subjects};

/// A place where Ironkeeper answers differently on purpose. It must show exactly as listed: a
/// difference that disappears, on whichever side, fails the test as one that appears does.
#[derive(Clone, Copy)]
pub(crate) struct Deviation {
    /// The number in the list of advised deviations.
    pub(crate) number: &'static str,
    pub(crate) apache: &'static [&'static str],
    pub(crate) ironkeeper: &'static [&'static str],
}

/// Runs `script` on the shared servers of `variant`, below a node of its own.
pub(crate) fn compare(
    variant: &'static Variant,
    name: &str,
    script: impl Fn(&mut Script<'_>) + Sync,
) {
    compare_with(variant, name, &[], script);
}

/// The same where differences are listed.
pub(crate) fn compare_with(
    variant: &'static Variant,
    name: &str,
    deviations: &[Deviation],
    script: impl Fn(&mut Script<'_>) + Sync,
) {
    if has_reference(name) {
        compare_on(&shared_servers(variant), name, deviations, |s| {
            s.make_prefix();
            script(s);
        });
    }
}

/// Runs `script` on servers that no other script has touched, and on the bare tree.
pub(crate) fn compare_fresh(
    variant: &'static Variant,
    name: &str,
    deviations: &[Deviation],
    script: impl Fn(&mut Script<'_>) + Sync,
) {
    if has_reference(name) {
        compare_on(&Servers::start(variant.settings), name, deviations, script);
    }
}

fn compare_on(
    servers: &Servers,
    name: &str,
    deviations: &[Deviation],
    script: impl Fn(&mut Script<'_>) + Sync,
) {
    compare_lines(servers, name, deviations, |server| {
        let mut run = Script::new(server, name);
        script(&mut run);
        normalise(&run.finish()).lines
    });
}

/// Runs anything that makes lines of a server, and compares the lines.
pub(crate) fn compare_lines(
    servers: &Servers,
    name: &str,
    deviations: &[Deviation],
    run: impl Fn(&mut Server) -> Vec<String> + Sync,
) {
    let results = servers.run(run);
    let (reference, others) = results.split_first().expect("the reference ran");
    write_transcript(name, Kind::Apache.name(), reference);
    let mut reports = String::new();
    for (kind, lines) in subjects().iter().zip(others) {
        let is_apache = *kind == Kind::Apache;
        if !is_apache {
            write_transcript(name, kind.name(), lines);
        }
        if let Err(report) = judge(reference, lines, deviations, is_apache) {
            let _ = write!(reports, "{} differs from Apache:\n{report}", kind.name());
        }
    }
    assert!(
        reports.is_empty(),
        "{name}\n{reports}{}",
        servers.keep_files()
    );
}

/// `CONFORMANCE_TRANSCRIPTS=directory` leaves what was compared there, for a person to read.
pub(crate) fn write_transcript(name: &str, kind: &str, lines: &[String]) {
    let Some(dir) = std::env::var_os("CONFORMANCE_TRANSCRIPTS").map(PathBuf::from) else {
        return;
    };
    let path = dir.join(format!("{name}.{kind}.txt"));
    std::fs::write(&path, lines.join("\n") + "\n")
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// What a line says that shows that a run did not do what it is for: two such runs agree on nothing. A script that
/// wants to see that nothing comes asks for something more, whose answer comes instead.
const FAILURES: [&str; 3] = [
    "until the deadline",
    "section failed",
    "the driver did not end",
];

/// Compares lines; the differences must be exactly the listed ones.
pub(crate) fn judge(
    reference: &[String],
    subject: &[String],
    deviations: &[Deviation],
    subject_is_apache: bool,
) -> Result<(), String> {
    let hunks = differences(reference, subject);
    let mut report = String::new();
    let failed = |line: &&String| FAILURES.iter().any(|failure| line.contains(failure));
    for line in reference.iter().filter(failed) {
        let _ = writeln!(report, "Apache does not do what this is for: {line}");
    }
    let mut unmatched: Vec<&Deviation> = deviations.iter().collect();
    if subject_is_apache {
        // Apache against itself: nothing differs, and Apache's half of each deviation is there.
        unmatched.retain(|d| {
            !reference
                .windows(d.apache.len().max(1))
                .any(|window| same(window, d.apache))
        });
    }
    for hunk in &hunks {
        let (ours, theirs) = (
            &subject[hunk.subject.clone()],
            &reference[hunk.reference.clone()],
        );
        let listed = unmatched
            .iter()
            .position(|d| same(theirs, d.apache) && same(ours, d.ironkeeper));
        match listed {
            Some(index) if !subject_is_apache => {
                unmatched.remove(index);
            }
            _ => report.push_str(&describe(reference, theirs, ours, hunk.reference.start)),
        }
    }
    for deviation in unmatched {
        let number = deviation.number;
        let _ = writeln!(
            report,
            "the listed deviation {number} did not show as listed"
        );
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report)
    }
}

fn same(lines: &[String], listed: &[&str]) -> bool {
    lines.iter().map(String::as_str).eq(listed.iter().copied())
}

fn describe(reference: &[String], theirs: &[String], ours: &[String], at: usize) -> String {
    let mut text = String::new();
    for line in &reference[at.saturating_sub(6)..at] {
        let _ = writeln!(text, "    {line}");
    }
    for line in theirs {
        let _ = writeln!(text, "  - {line}");
    }
    for line in ours {
        let _ = writeln!(text, "  + {line}");
    }
    text.push_str("    ...\n");
    text
}

struct Hunk {
    reference: std::ops::Range<usize>,
    subject: std::ops::Range<usize>,
}

/// The places where two lists of lines part, by their longest common subsequence.
fn differences(reference: &[String], subject: &[String]) -> Vec<Hunk> {
    let (rows, columns) = (reference.len(), subject.len());
    let width = columns + 1;
    let mut common = vec![0_u32; (rows + 1) * width];
    for r in (0..rows).rev() {
        for s in (0..columns).rev() {
            common[r * width + s] = if reference[r] == subject[s] {
                common[(r + 1) * width + s + 1] + 1
            } else {
                common[(r + 1) * width + s].max(common[r * width + s + 1])
            };
        }
    }
    let mut hunks: Vec<Hunk> = Vec::new();
    let (mut r, mut s) = (0, 0);
    let mut open: Option<(usize, usize)> = None;
    while r < rows || s < columns {
        if r < rows && s < columns && reference[r] == subject[s] {
            if let Some((from_r, from_s)) = open.take() {
                hunks.push(Hunk {
                    reference: from_r..r,
                    subject: from_s..s,
                });
            }
            (r, s) = (r + 1, s + 1);
            continue;
        }
        open.get_or_insert((r, s));
        let skip_reference =
            s == columns || (r < rows && common[(r + 1) * width + s] >= common[r * width + s + 1]);
        if skip_reference { r += 1 } else { s += 1 }
    }
    if let Some((from_r, from_s)) = open {
        hunks.push(Hunk {
            reference: from_r..rows,
            subject: from_s..columns,
        });
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::{Deviation, judge};

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    const LISTED: &[Deviation] = &[Deviation {
        number: "D0",
        apache: &["b"],
        ironkeeper: &["x", "y"],
    }];

    #[test]
    fn a_listed_difference_passes_only_as_listed() {
        let check = |ours: &str, ok: bool| {
            let verdict = judge(&lines("a b c"), &lines(ours), LISTED, false);
            assert_eq!(verdict.is_ok(), ok, "{ours}: {verdict:?}");
        };
        check("a x y c", true);
        check("a b c", false);
        check("a x c", false);
        check("a x y d", false);
        check("x y c", false);
        check("a x y c c", false);
    }

    #[test]
    fn agreement_on_a_failure_is_none() {
        for failure in [
            "A < silence until the deadline",
            "section failed {}",
            "the driver did not end",
        ] {
            let both = ["a".to_owned(), failure.to_owned()];
            assert!(judge(&both[..1], &both[..1], &[], false).is_ok());
            assert!(judge(&both, &both, &[], false).is_err(), "{failure}");
            assert!(judge(&both, &both, &[], true).is_err(), "{failure}");
        }
    }

    #[test]
    fn a_listed_difference_must_still_show_at_apache() {
        assert!(judge(&lines("a b c"), &lines("a b c"), LISTED, true).is_ok());
        assert!(judge(&lines("a c"), &lines("a c"), LISTED, true).is_err());
        assert!(judge(&lines("a b c"), &lines("a x y c"), LISTED, true).is_err());
        assert!(judge(&lines("a z c"), &lines("a x y c"), LISTED, false).is_err());
    }
}
