//! `docs/conformance.md` names, for each line of the checklist, the tests that show it or the
//! reason why none does. A name that no test bears is an error, as is a line without either.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

/// The lists, by the letter in front of their lines: the protocol's checklist; the operators', as far
/// as it is about four-letter words; habits of clients; mistakes that are easily made; and what the
/// Java client does by itself.
const LISTS: [(&str, RangeInclusive<u32>); 5] = [
    ("", 1..=105),
    ("w", 21..=35),
    ("q", 1..=21),
    ("m", 1..=18),
    ("j", 1..=15),
];

/// Where tests are: this suite, those of words on a server that does not serve, and those of what
/// cannot be brought about from outside.
const SOURCES: [&str; 7] = [
    "tests/conformance",
    "src/admin",
    "src/metrics",
    "replica/src",
    "replica/tests",
    "tree/src/acl",
    "tree/tests",
];

/// Names of all tests there.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    let entries = SOURCES
        .iter()
        .flat_map(|dir| std::fs::read_dir(root.join(dir)).expect("the sources are here"));
    for entry in entries.flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        for part in text.split("#[test]\n").skip(1) {
            let name = part
                .trim_start()
                .strip_prefix("fn ")
                .and_then(|rest| rest.split('(').next());
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_line_of_the_checklist_has_a_test_or_a_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let text = std::fs::read_to_string(&path).expect("docs/conformance.md is there");
    let tests = tests();
    assert!(
        tests.len() > 100,
        "the sources were not understood: {}",
        tests.len()
    );
    let mut missing: BTreeSet<String> = LISTS
        .into_iter()
        .flat_map(|(list, lines)| lines.map(move |line| format!("{list}{line}")))
        .collect();
    let mut wrong = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let line = cells.first().copied().unwrap_or_default();
        if !missing.remove(line) {
            continue;
        }
        let shown = cells.get(2).copied().unwrap_or_default();
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !shown.starts_with("later:") {
            wrong.push(format!("line {line} has neither a test nor a reason"));
        }
        for name in names.iter().filter(|name| !tests.contains(**name)) {
            wrong.push(format!("line {line} names `{name}`, which is no test"));
        }
    }
    wrong.extend(missing.iter().map(|line| format!("line {line} is missing")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
