//! `docs/conformance.md` names, for each line of the checklist, the tests that show it or the
//! reason why none does. A name that no test bears is an error, as is a line without either.

use std::collections::BTreeSet;
use std::path::Path;

const LINES: u32 = 105;

/// Lines of the operators' checklist that are about four-letter words.
const WORDS: std::ops::RangeInclusive<u32> = 21..=35;

/// Where tests are: this suite, and those of words on a server that does not serve.
const SOURCES: [&str; 3] = ["tests/conformance", "src/admin", "src/metrics"];

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
    let (mut seen, mut words) = (BTreeSet::new(), BTreeSet::new());
    let mut wrong = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let line = cells.first().copied().unwrap_or_default();
        if let Some(word) = line.strip_prefix("w") {
            let Ok(word) = word.parse::<u32>() else {
                continue;
            };
            words.insert(word);
        } else {
            let Ok(line) = line.parse::<u32>() else {
                continue;
            };
            seen.insert(line);
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
    wrong.extend(
        (1..=LINES)
            .filter(|n| !seen.contains(n))
            .map(|n| format!("line {n} is missing")),
    );
    wrong.extend(
        WORDS
            .filter(|n| !words.contains(n))
            .map(|n| format!("line w{n} is missing")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
