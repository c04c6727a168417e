//! Configuration: `zoo.cfg`, `-D` arguments and defaults become one immutable [`Options`].
//!
//! [`read`] does all of it and logs nothing: what it noticed comes back beside the result, so that
//! a server logs it and `--check-config` prints it.

use std::path::{Path, PathBuf};

mod address;
mod authentication;
mod check;
mod ensemble;
mod error;
pub mod java;
pub mod keys;
mod membership;
pub mod options;
pub mod properties;
mod reader;
mod report;
mod resolve;
mod settings;
pub mod suggest;
pub mod throttles;

pub use error::{ConfigError, Level, Notice};
pub use options::Options;
pub use report::report;
pub use settings::{Origin, Setting, Settings};

use error::Notices;

/// Where a server's settings come from, as the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The main source.
    pub base: Base,
    /// `-D` arguments without their `-D`: the later ones win over the earlier.
    pub properties: Vec<(String, String)>,
}

/// The main source of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// None at all: port 2181, data in `./data`.
    Defaults,
    /// A `zoo.cfg`.
    File(PathBuf),
    /// `PORT DATADIR [TICKTIME] [MAXCNXNS]`.
    Arguments {
        /// `clientPort`.
        port: u16,
        /// `dataDir`.
        data_dir: PathBuf,
        /// `tickTime`.
        tick_time_ms: Option<i32>,
        /// `maxClientCnxns`.
        max_client_cnxns: Option<i32>,
    },
}

/// What reading the sources came to.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What should be logged, whatever the result.
    pub notices: Vec<Notice>,
    /// What was written, for a report.
    pub settings: Settings,
    /// The options, or the first fault.
    pub options: Result<Options, ConfigError>,
}

/// Reads all sources. Looks at the configuration file, the dynamic one it names, `myid`, and asks
/// the system for the address of a host name; writes nothing.
#[must_use]
pub fn read(sources: &Sources) -> Reading {
    let mut notices = Notices::default();
    let mut settings = Settings::default();
    let mut foreign = Vec::new();
    for (name, value) in &sources.properties {
        if !settings.argument(name, value, &mut notices) {
            foreign.push((name.as_str(), value.as_str()));
        }
    }
    let ipv4_only = foreign
        .iter()
        .any(|(name, value)| *name == "java.net.preferIPv4Stack" && java::boolean(value));
    foreign.retain(|(name, _)| *name != "java.net.preferIPv4Stack");
    if !foreign.is_empty() {
        let names: Vec<String> = foreign
            .iter()
            .map(|(name, _)| format!("-D{name}"))
            .collect();
        notices.warn(format!(
            "without effect, since there is no Java machine here: {}",
            names.join(", ").escape_debug()
        ));
    }
    let options = match &sources.base {
        Base::File(path) => read_file(path, &mut settings, &mut notices),
        Base::Defaults | Base::Arguments { .. } => Ok(()),
    }
    .and_then(|()| resolve::resolve(&sources.base, &settings, ipv4_only, &mut notices));
    Reading {
        notices: notices.0,
        settings,
        options,
    }
}

fn read_file(
    path: &Path,
    settings: &mut Settings,
    notices: &mut Notices,
) -> Result<(), ConfigError> {
    notices.info(format!("Reading configuration from: {}", path.display()));
    warn_of_relative(path, notices);
    let text = read_text(path, path)?;
    settings.file(path, &text, notices)
}

/// Reads `path`, on behalf of the configuration file `processed`.
fn read_text(processed: &Path, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => format!("{} file is missing", path.display()),
            _ => format!("{}: {error}", path.display()),
        };
        ConfigError::within(Some(processed), message)
    })
}

fn warn_of_relative(path: &Path, notices: &mut Notices) {
    if path.is_relative() && !path.starts_with(".") {
        notices.warn(format!(
            "{} is relative. Prepend ./ to indicate that you're sure!",
            path.display()
        ));
    }
}
