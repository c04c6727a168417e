//! What `--check-config` prints: every key that was written or could have been, and what it does.

use std::fmt::Write as _;

use super::keys::{self, Effect, Key};
use super::{Level, Origin, Reading};

/// The report for a person; secrets are hidden.
#[must_use]
pub fn report(reading: &Reading) -> String {
    let mut out = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = writeln!(out, "{title}");
            for line in lines {
                let _ = writeln!(out, "  {line}");
            }
        }
    };
    let written = |wanted: &dyn Fn(&Effect) -> bool| {
        reading
            .settings
            .iter()
            .filter(|(name, _)| keys::find(name).is_some_and(|key| wanted(&key.effect)))
            .map(|(name, setting)| {
                let origin = match setting.origin {
                    Origin::File(line) => format!("line {line}"),
                    Origin::Argument => "argument".to_owned(),
                };
                format!("{name} = {}  ({origin})", keys::shown(name, &setting.value))
            })
            .collect::<Vec<String>>()
    };
    section(
        "honoured:",
        written(&|effect| matches!(effect, Effect::Honoured)),
    );
    section(
        "refused when they ask for something:",
        written(&|e| matches!(e, Effect::Refused(_))),
    );
    section(
        "without effect:",
        written(&|effect| matches!(effect, Effect::Needless(_) | Effect::Missing(_))),
    );
    let is_defaulted = |key: &&Key| {
        matches!(key.effect, Effect::Honoured)
            && !key.name.ends_with('*')
            && !key.default.is_empty()
            && reading.settings.get(key.name).is_none()
    };
    let defaulted = keys::KEYS.iter().filter(is_defaulted);
    section(
        "defaults that count:",
        defaulted
            .map(|key| format!("{} = {}", key.name, key.default))
            .collect(),
    );
    let notices = reading.notices.iter().map(|notice| {
        let level = match notice.level {
            Level::Info => "info ",
            Level::Warn => "WARN ",
            Level::Error => "ERROR",
        };
        format!("{level} {}", notice.text)
    });
    section("what a server would log:", notices.collect());
    let _ = match &reading.options {
        Ok(_) => writeln!(out, "a server would start with this configuration"),
        Err(error) => writeln!(out, "a server would not start: {error}"),
    };
    out
}
