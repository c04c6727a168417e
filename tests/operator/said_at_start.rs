//! What a start says about the keys of its `zoo.cfg`.

use ironkeeper::config::keys::{Effect, KEYS, Type};

use crate::{WITHIN, connect, line_with, log, server};

/// Something for every key to be: what Apache accepts, and what asks for something.
fn value(name: &str, kind: Type) -> &'static str {
    match name {
        "electionAlg" => "3",
        "peerType" => "participant",
        "metricsProvider.className" => {
            "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
        }
        _ => match kind {
            Type::Bool => "true",
            Type::Secret => "let-nobody-read-this",
            _ => "7",
        },
    }
}

/// A server whose file has every key that does nothing here: it serves, and its log names each with
/// the reason, one line a reason, as loudly as it is missed.
#[test]
fn every_key_without_effect_is_named_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(dir.path());
    let mut expected = Vec::new();
    for key in KEYS {
        let (why, level) = match key.effect {
            Effect::Needless(why) => (why, "- INFO "),
            Effect::Missing(why) => (why, "- WARN "),
            Effect::Honoured | Effect::Refused(_) => continue,
        };
        let name = key.name.replace('*', "1");
        server = server.with_config(&name, value(&name, key.value));
        // It has a test of its own: an ERROR, since somebody believes his port to be safe.
        if !name.starts_with("secureClientPort") {
            expected.push((name, level, why));
        }
    }
    assert!(expected.len() > 100);
    let running = server.start_and_wait(WITHIN).unwrap();
    let log = log(&server);
    for (name, level, why) in expected {
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains(level))
            .filter_map(|line| line.split_once("without effect: ")?.1.strip_suffix(why))
            .collect();
        assert_eq!(lines.len(), 1, "{why}: {log}");
        let mut names = lines[0].trim_end_matches(": ").split(", ");
        assert!(names.any(|named| named == name), "{name}: {}", lines[0]);
    }
    assert!(!log.contains("let-nobody-read-this"), "{log}");
    connect(&running).create("/served", b"").unwrap();
}

#[test]
fn what_becomes_of_old_files_is_said() {
    for (key, value, level, text) in [
        (
            "autopurge.snapRetainCount",
            "1",
            "- WARN ",
            "Invalid autopurge.snapRetainCount: 1. Defaulting to 3",
        ),
        (
            "autopurge.snapRetainCount",
            "1",
            "- INFO ",
            "autopurge.snapRetainCount set to 3",
        ),
        (
            "autopurge.purgeInterval",
            "0",
            "- INFO ",
            "Purge task is not scheduled.",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config(key, value);
        let _running = server.start_and_wait(WITHIN).unwrap();
        let said = line_with(&server, text);
        assert!(said.contains(level), "{said}");
    }
}

/// A path is taken from where the server was started, which is told unless somebody wrote `./`.
#[test]
fn relative_paths_are_warned_of() {
    let warning = "is relative. Prepend ./ to indicate that you're sure!";
    for (written, warns) in [("elsewhere", true), ("./elsewhere", false)] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("dataDir", written)
            .with_config("dataLogDir", dir.path().join("log").display());
        let running = server.start_and_wait(WITHIN).unwrap();
        connect(&running).create("/written", b"").unwrap();
        let log = log(&server);
        let warnings: Vec<_> = log.lines().filter(|line| line.contains(warning)).collect();
        assert_eq!(warnings.len(), usize::from(warns), "{log}");
        assert!(
            warnings
                .iter()
                .all(|line| line.contains(" elsewhere is relative") && line.contains("- WARN ")),
            "{log}"
        );
        assert!(dir.path().join("elsewhere").is_dir());
    }
}
