//! The project's own checks of its files: what neither rustfmt nor clippy looks at.
//!
//! Lengths are a ratchet: `xtask/long-files.txt` lists the files above the limit with the length
//! that each may not exceed, so that nothing gets worse; `cargo xtask fix` lowers the numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, root};

/// Lines of a source file above which it has to be listed.
const LINES_MAX: usize = 600;

/// Where the longer ones are listed.
const LONG_FILES: &str = "xtask/long-files.txt";

/// Folders of bytes that nobody wrote by hand.
const FOREIGN: [&str; 3] = ["fixtures/", "fuzz/seeds/", "fuzz/artifacts/"];

/// What no source may contain, and why. Written in parts, since this file is checked as well.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/ho", "me/"), "a path of one machine"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/Us", "ers/"), "a path of one machine"),
    (
        concat!("crates", ".io"),
        "a registry's host: name packages, not places",
    ),
    (
        concat!("pypi", ".org"),
        "a registry's host: name packages, not places",
    ),
    (
        concat!("repo.maven", ".apache"),
        "a registry's host: name packages, not places",
    ),
    (
        concat!("repo1", ".maven"),
        "a registry's host: name packages, not places",
    ),
    (
        concat!("npmjs", ".org"),
        "a registry's host: name packages, not places",
    ),
    (
        concat!("#[ign", "ore"),
        "a test that does not run: assert today's behaviour instead",
    ),
    (concat!("tod", "o!("), "code that is not there"),
    (concat!("unimplem", "ented!("), "code that is not there"),
    (
        concat!("FIX", "ME"),
        "say what is wrong, and where it will be mended",
    ),
    (concat!("<<<<", "<<< "), "a merge that was not finished"),
    (concat!(">>>>", ">>> "), "a merge that was not finished"),
];

/// One thing that is wrong with a file.
struct Finding {
    path: String,
    line: usize,
    what: String,
}

/// Runs all checks.
pub(crate) fn check() -> Result<(), Failure> {
    let files = sources()?;
    let limits = limits()?;
    let mut findings = Vec::new();
    for path in &files {
        let bytes = fs::read(root().join(path)).map_err(|e| Failure(format!("{path}: {e}")))?;
        let Ok(text) = str::from_utf8(&bytes) else {
            findings.push(Finding {
                path: path.clone(),
                line: 1,
                what: "is not UTF-8".into(),
            });
            continue;
        };
        check_text(path, text, &mut findings);
        check_length(path, text.lines().count(), &limits, &mut findings);
    }
    for path in limits.keys().filter(|path| !files.contains(path)) {
        let what = format!("{LONG_FILES} lists it, but it is gone: cargo xtask fix");
        findings.push(Finding {
            path: path.clone(),
            line: 1,
            what,
        });
    }
    if findings.is_empty() {
        return Ok(());
    }
    for Finding { path, line, what } in &findings {
        eprintln!("{path}:{line}: {what}");
    }
    Err(Failure(format!("{} findings", findings.len())))
}

/// Writes the list of long files anew.
pub(crate) fn fix() -> Result<(), Failure> {
    let mut list = String::new();
    for path in sources()? {
        let text = fs::read(root().join(&path)).map_err(|e| Failure(format!("{path}: {e}")))?;
        let lines = String::from_utf8_lossy(&text).lines().count();
        if lines > LINES_MAX && is_counted(&path) {
            let _ = writeln!(list, "{lines} {path}");
        }
    }
    fs::write(root().join(LONG_FILES), list).map_err(|e| Failure(format!("{LONG_FILES}: {e}")))
}

fn check_text(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut found = |line: usize, what: String| {
        findings.push(Finding {
            path: path.to_owned(),
            line,
            what,
        });
    };
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        if !line.is_ascii() {
            found(number, "is not ASCII".into());
        }
        if line.ends_with([' ', '\t', '\r']) {
            found(number, "has blanks at its end".into());
        }
        for (forbidden, why) in FORBIDDEN {
            if line.contains(forbidden) {
                found(number, format!("contains {forbidden:?}: {why}"));
            }
        }
        if path.ends_with(".md") {
            for link in links(line) {
                let folder = Path::new(path).parent().unwrap_or(Path::new(""));
                if !root().join(folder).join(link).exists() {
                    found(number, format!("links to {link}, which is not there"));
                }
            }
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        found(text.lines().count(), "has no line end at its end".into());
    }
}

/// Targets of Markdown links to files of this tree.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split_once(')')?.0;
        let file = target.split('#').next().unwrap_or_default();
        let is_local = !file.is_empty() && !target.contains("://") && !target.starts_with('#');
        is_local.then_some(file)
    })
}

fn check_length(
    path: &str,
    lines: usize,
    limits: &BTreeMap<String, usize>,
    findings: &mut Vec<Finding>,
) {
    let limit = limits.get(path).copied().unwrap_or(LINES_MAX);
    if lines > limit && is_counted(path) {
        let what = format!(
            "has {lines} lines, and {limit} are its limit: split it, or run `cargo xtask fix` and \
             say why in the commit"
        );
        findings.push(Finding {
            path: path.to_owned(),
            line: lines,
            what,
        });
    }
}

fn is_counted(path: &str) -> bool {
    [".rs", ".py", ".java", ".sh"]
        .iter()
        .any(|end| path.ends_with(end))
}

fn limits() -> Result<BTreeMap<String, usize>, Failure> {
    let text = fs::read_to_string(root().join(LONG_FILES))
        .map_err(|e| Failure(format!("{LONG_FILES}: {e}")))?;
    text.lines()
        .map(|line| {
            line.split_once(' ')
                .and_then(|(lines, path)| Some((path.to_owned(), lines.parse().ok()?)))
                .ok_or_else(|| Failure(format!("{LONG_FILES}: not `lines path`: {line}")))
        })
        .collect()
}

/// Text files under version control, or about to be.
fn sources() -> Result<Vec<String>, Failure> {
    const ENDS: [&str; 12] = [
        ".rs",
        ".toml",
        ".md",
        ".py",
        ".java",
        ".sh",
        ".yml",
        ".txt",
        ".xml",
        ".ci/run",
        "LICENSE",
        ".gitignore",
    ];
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root())
        .output()
        .map_err(|e| Failure(format!("git: {e}")))?;
    if !output.status.success() {
        return Err(Failure(
            "tidy asks git which files there are, and this is no clone".into(),
        ));
    }
    let mut files: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|path| ENDS.iter().any(|end| path.ends_with(end)))
        .filter(|path| !FOREIGN.iter().any(|folder| path.starts_with(folder)))
        .filter(|path| root().join(PathBuf::from(path)).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check_text(path, text, &mut findings);
        findings
            .into_iter()
            .map(|finding| format!("{}: {}", finding.line, finding.what))
            .collect()
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        assert_eq!(found("a.rs", "fn main() {}\n"), [""; 0]);
        assert_eq!(
            found(
                "README.md",
                "[x](Cargo.toml#a) [y](#here) [z](https://e.org)\n"
            ),
            [""; 0]
        );
    }

    #[test]
    fn each_check_can_fail() {
        assert_eq!(found("a.rs", "caf\u{e9}\n"), ["1: is not ASCII"]);
        assert_eq!(found("a.rs", "x \n"), ["1: has blanks at its end"]);
        assert_eq!(found("a.rs", "x"), ["1: has no line end at its end"]);
        assert_eq!(
            found("a.md", "\n[x](no/such)\n"),
            ["2: links to no/such, which is not there"]
        );
        for (forbidden, _) in FORBIDDEN {
            assert_eq!(
                found("a.rs", &format!("// {forbidden}x\n")).len(),
                1,
                "{forbidden}"
            );
        }
        let mut findings = Vec::new();
        let limits = BTreeMap::from([("long.rs".to_owned(), 900)]);
        for (path, lines) in [
            ("a.rs", 600),
            ("a.rs", 601),
            ("long.rs", 900),
            ("long.rs", 901),
        ] {
            check_length(path, lines, &limits, &mut findings);
        }
        let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [601, 901]);
    }
}
