//! What a suite's tests came to, and what they should.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Passed, Self::Failed, Self::Skipped]
            .into_iter()
            .find(|verdict| verdict.name() == text)
            .ok_or_else(|| format!("{text:?} is no verdict"))
    }
}

pub(crate) type Verdicts = BTreeMap<String, Verdict>;

/// Reads lines of a verdict and a test's name.
pub(crate) fn parse(text: &str) -> Result<Verdicts, String> {
    text.lines()
        .map(|line| {
            let (verdict, name) = line
                .split_once(' ')
                .ok_or_else(|| format!("{line:?} is no verdict and name"))?;
            Ok((name.to_owned(), verdict.parse()?))
        })
        .collect()
}

/// Compares with what is on record, or puts Apache's verdicts on record.
pub(crate) fn judge(suite: &str, server: super::runner::Server, found: &Verdicts) {
    let apache_file = file(suite, "apache");
    if server == super::runner::Server::Apache {
        let mut text = String::new();
        for (name, verdict) in found {
            writeln!(text, "{} {name}", verdict.name()).unwrap();
        }
        fs::write(&apache_file, text).unwrap();
        return;
    }
    let apache = parse(&fs::read_to_string(&apache_file).unwrap()).unwrap();
    let failures = failures(suite);
    let wrong = differences(found, &apache, &failures);
    assert!(
        wrong.is_empty(),
        "{} of {} tests of {suite}:\n{}",
        wrong.len(),
        found.len(),
        wrong.join("\n")
    );
}

fn file(suite: &str, what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/suites/{suite}.{what}.txt"))
}

/// The tests of a suite that fail here, with the reason. Lines of a reason, a colon and a name.
pub(crate) fn failures(suite: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file(suite, "failures")).unwrap();
    text.lines()
        .map(|line| {
            let (reason, name) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("{line:?} is no reason and name"));
            assert!(
                ["several servers", "TLS", "SASL"].contains(&reason),
                "{line:?}: no reason to fail"
            );
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}

/// Every test whose verdict is not what it should be.
fn differences(
    found: &Verdicts,
    apache: &Verdicts,
    failures: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, &theirs) in apache {
        let expected = match failures.get(name) {
            Some(_) => Verdict::Failed,
            None => theirs,
        };
        match found.get(name) {
            None => wrong.push(format!("{name}: did not run")),
            Some(&ours) if ours != expected => wrong.push(format!(
                "{name}: {}, expected {} (Apache: {})",
                ours.name(),
                expected.name(),
                theirs.name()
            )),
            Some(_) => {}
        }
        // A test that fails with Apache as well is still a failure to be explained.
        if theirs == Verdict::Failed && !failures.contains_key(name) {
            wrong.push(format!(
                "{name}: fails with Apache, and no reason is listed"
            ));
        }
    }
    for name in found.keys().filter(|name| !apache.contains_key(*name)) {
        wrong.push(format!("{name}: Apache's verdict is not on record"));
    }
    for name in failures.keys().filter(|name| !apache.contains_key(*name)) {
        wrong.push(format!(
            "{name}: listed as failing, but there is no such test"
        ));
    }
    wrong
}

#[test]
fn any_difference_is_told() {
    let apache = parse("passed a\npassed b\nskipped c\nfailed d\n").unwrap();
    let failures: BTreeMap<String, String> = [("b", "TLS"), ("d", "several servers")]
        .map(|(n, r)| (n.into(), r.into()))
        .into();
    let found = |text| differences(&parse(text).unwrap(), &apache, &failures);
    assert_eq!(
        found("passed a\nfailed b\nskipped c\nfailed d"),
        Vec::<String>::new()
    );
    for (text, told) in [
        ("failed a\nfailed b\nskipped c\nfailed d", "a: failed"),
        ("passed a\npassed b\nskipped c\nfailed d", "b: passed"),
        ("passed a\nfailed b\npassed c\nfailed d", "c: passed"),
        ("passed a\nfailed b\nskipped c", "d: did not run"),
        (
            "passed a\nfailed b\nskipped c\nfailed d\npassed e",
            "e: Apache",
        ),
    ] {
        let wrong = found(text);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with(told), "{wrong:?}");
    }
    let unexplained = differences(&apache, &apache, &BTreeMap::new());
    assert_eq!(unexplained.len(), 1);
    assert!(parse("perhaps a").is_err());
}
