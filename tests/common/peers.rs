//! Where the programs of others are: Apache's jars and a Python with kazoo, under `.peers`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[path = "not_run.rs"]
mod not_run;

/// The peers that are installed; `cargo xtask peers` installs them.
pub(crate) struct Peers {
    /// A class path that holds Apache's server and Java client.
    pub(crate) class_path: Option<String>,
    /// A Python interpreter that can import kazoo.
    pub(crate) python: Option<PathBuf>,
}

impl Peers {
    /// Looks once, and remembers.
    pub(crate) fn find() -> &'static Peers {
        static FOUND: OnceLock<Peers> = OnceLock::new();
        FOUND.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers");
            let jars = root.join("zookeeper-3.9.5");
            let has_server = jars.join("zookeeper-3.9.5.jar").is_file();
            let class_path = has_server.then(|| format!("{}/*", jars.display()));
            let python = root.join("venv/bin/python");
            let has_kazoo = python.is_file() && has_module(&root.join("venv"), "kazoo");
            Peers {
                class_path,
                python: has_kazoo.then_some(python),
            }
        })
    }
}

fn has_module(venv: &Path, module: &str) -> bool {
    let Ok(versions) = std::fs::read_dir(venv.join("lib")) else {
        return false;
    };
    versions
        .flatten()
        .any(|v| v.path().join("site-packages").join(module).is_dir())
}

/// Says that `test` could not run for want of `what`; with `CI=true` it fails.
pub(crate) fn missing_peer(test: &str, what: &str) {
    not_run::not_run(&format!(
        "{test}: {what} is missing; `cargo xtask peers` installs it"
    ));
}
