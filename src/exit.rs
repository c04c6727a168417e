//! Why a server ended, in a sentence, and the exit code that scripts expect (operations 1.2).

use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use ironkeeper_storage::is_too_many_files;
use tracing::error;

use crate::commit::EngineError;
use crate::recovery::RecoveryError;

/// A reason to end other than a request to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Exit {
    #[error("{}", bind_sentence(*address, source))]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot start{}", descriptors(.0))]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("stopped at once by a second signal; the next start will recover")]
    Forced,
}

fn bind_sentence(address: SocketAddr, source: &io::Error) -> String {
    let port = address.port();
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} is in use: another server listens on {address}; stop it or set another \
             clientPort"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("not allowed to listen on {address}; use a clientPort above 1023")
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is not an address of this machine; correct clientPortAddress",
            address.ip()
        ),
        _ => format!("cannot listen on {address}{}", descriptors(source)),
    }
}

/// What to do about a lack of descriptors, if that is what it is.
pub(crate) fn descriptors(error: &io::Error) -> &'static str {
    if is_too_many_files(error) {
        "; raise the limit of open files (ulimit -n)"
    } else {
        ""
    }
}

impl Exit {
    /// Apache's exit code for this kind of end, and the line it prints for it.
    fn code(&self) -> (u8, &'static str) {
        match self {
            Self::Bind { .. } | Self::Runtime(_) | Self::Forced => {
                (1, "Unexpected exception, exiting abnormally")
            }
            Self::Recovery(error) if error.is_access() => {
                (3, "Unable to access datadir, exiting abnormally")
            }
            Self::Recovery(error) if error.is_poisoned() => {
                (10, "Severe unrecoverable error, exiting")
            }
            Self::Recovery(_) => (1, "Unexpected exception, exiting abnormally"),
            Self::Engine(_) => (10, "Severe unrecoverable error, exiting"),
        }
    }
}

/// An error with all of its causes in one line: `Display` alone says what failed, and not why.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Some errors have their cause in their own text already.
        if !sentence.ends_with(&text) {
            sentence = format!("{sentence}: {text}");
        }
        source = cause.source();
    }
    sentence
}

/// Logs the whole chain of causes and gives the exit code.
pub(crate) fn report(exit: &Exit) -> u8 {
    let sentence = chain(exit);
    let (code, line) = exit.code();
    error!("{sentence}");
    error!("{line}");
    // Unlike `eprintln`, no panic where nobody takes the output any more: the code still counts.
    let _ = writeln!(io::stderr(), "{line}\n{sentence}");
    error!("Exiting JVM with code {code}");
    code
}
