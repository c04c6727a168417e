//! Why a configuration does not start a server.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, said as Apache says it, and more plainly where Apache is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    message: String,
}

impl ConfigError {
    /// A fault of the configuration as a whole.
    pub(crate) fn top(message: impl Into<String>) -> Self {
        Self {
            file: None,
            message: message.into(),
        }
    }

    /// A fault inside a file; shown as `Error processing <file>: <message>`.
    pub(crate) fn within(file: Option<&Path>, message: impl Into<String>) -> Self {
        Self {
            file: file.map(Into::into),
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "Error processing {}: ", file.display())?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// How loud a [`Notice`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth a line.
    Info,
    /// Somebody should act.
    Warn,
    /// Something that was asked for is not done.
    Error,
}

/// Something that the reader of a configuration noticed. Collected, not logged on the spot: the
/// check of a file prints what a server logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How loud.
    pub level: Level,
    /// One sentence.
    pub text: String,
}

/// Notices in the order in which they came up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(pub(crate) Vec<Notice>);

impl Notices {
    pub(crate) fn info(&mut self, text: impl Into<String>) {
        self.push(Level::Info, text.into());
    }

    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.push(Level::Warn, text.into());
    }

    pub(crate) fn error(&mut self, text: impl Into<String>) {
        self.push(Level::Error, text.into());
    }

    fn push(&mut self, level: Level, text: String) {
        self.0.push(Notice { level, text });
    }
}
