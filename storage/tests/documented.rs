//! The tables of docs/ name tests of this folder: each has to be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            None => sources(&path, into),
            Some(extension) if extension == "rs" => into.push(path),
            Some(_) => {}
        }
    }
}

/// Whether `text` could be the name of a test, rather than of a setting or a type.
fn is_test_name(text: &str) -> bool {
    text.matches('_').count() >= 2
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
}

#[test]
fn the_tests_that_the_documentation_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("tests"), &mut files);
    let mut tests = BTreeSet::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for (at, _) in text.match_indices("#[test]\n") {
            let name = text[at..]
                .lines()
                .find_map(|line| line.trim().strip_prefix("fn "));
            tests.extend(
                name.and_then(|name| name.split('(').next())
                    .map(str::to_owned),
            );
        }
    }
    let mut named = 0;
    for doc in ["storage-tests.md", "assumptions.md"] {
        let text = fs::read_to_string(root.join("../docs").join(doc)).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let name = quoted.rsplit("::").next().unwrap_or(quoted);
            if is_test_name(name) {
                assert!(
                    tests.contains(name),
                    "{doc} names `{quoted}`, which is no test"
                );
                named += 1;
            }
        }
    }
    assert!(named > 60, "{named}");
}
