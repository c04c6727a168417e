//! The command line of `zk-server`, in the shapes in which Apache's scripts, images and operators
//! start a server: a configuration file, or a port and a directory, with `-D` and `-X` flags
//! anywhere among them and in the environment.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Base, Level, Notice, Sources, java, suggest};

/// The first line of `--help`.
pub const ABOUT: &str = "\
A coordination server for clients of Apache ZooKeeper: a standalone server, in the foreground.
";

/// The last words of an end by bad arguments.
pub const USAGE: &str = "\
Usage: zk-server [start-foreground] [zoo.cfg]
       zk-server PORT DATADIR [TICKTIME] [MAXCNXNS]
       zk-server --check-config zoo.cfg
       zk-server --help | --version
";

/// The text of `--help` below [`USAGE`].
pub const HELP: &str = "
Without arguments: a standalone server on port 2181 with its data in ./data.

Examples:
  zk-server
  zk-server start-foreground /etc/zookeeper/zoo.cfg
  zk-server 2182 /tmp/zk
  zk-server -Dzookeeper.snapCount=50000 -Djute.maxbuffer=4194304 zoo.cfg
  zk-server --check-config zoo.cfg     what each key would do; exit code 2 if one is wrong
  RUST_LOG=debug zk-server zoo.cfg     more in the log

Arguments:
  -Dzookeeper.KEY=VALUE   sets a property key, as a line KEY=VALUE in the file does; the file wins
  -X..., -cp ..., and a main class of Apache's are accepted and without effect
  --config DIR            the directory of zoo.cfg, as for zkServer.sh

Environment:
  SERVER_JVMFLAGS, JVMFLAGS       read for -D arguments
  ZOOCFGDIR, ZOOCFG               where start-foreground looks without a file (conf, zoo.cfg)
  ZOO_DATADIR_AUTOCREATE_DISABLE  if not empty: a missing data directory is an error
  RUST_LOG                        error, warn, info, debug, trace, or a filter; default info
  NO_COLOR                        if not empty: no colours on a terminal

Exit codes: 0 stopped as asked, 1 unexpected error, 2 bad arguments or configuration, 3 data
directory not accessible, 10 the log could not be written.
";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run a server.
    Run(Sources),
    /// Say what a configuration would do.
    Check(Sources),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// A command line that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What to do.
    pub command: Command,
    /// What should be logged before that.
    pub notices: Vec<Notice>,
}

/// A command line that was not understood; the reason, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The environment variables that count, as text.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `SERVER_JVMFLAGS`.
    pub server_jvmflags: Option<String>,
    /// `JVMFLAGS`.
    pub jvmflags: Option<String>,
    /// `ZOOCFGDIR`.
    pub zoocfgdir: Option<PathBuf>,
    /// `ZOOCFG`.
    pub zoocfg: Option<PathBuf>,
    /// Whether `ZOO_DATADIR_AUTOCREATE_DISABLE` holds anything.
    pub datadir_autocreate_disable: bool,
}

impl Environment {
    /// The environment of this process; empty variables count as absent.
    #[must_use]
    pub fn of_process() -> Self {
        let value = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name| value(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            server_jvmflags: text("SERVER_JVMFLAGS"),
            jvmflags: text("JVMFLAGS"),
            zoocfgdir: value("ZOOCFGDIR").map(Into::into),
            zoocfg: value("ZOOCFG").map(Into::into),
            datadir_autocreate_disable: value("ZOO_DATADIR_AUTOCREATE_DISABLE").is_some(),
        }
    }
}

/// Main classes that scripts name between the flags and the arguments.
const MAIN_CLASSES: [&str; 2] = [
    "org.apache.zookeeper.server.quorum.QuorumPeerMain",
    "org.apache.zookeeper.server.ZooKeeperServerMain",
];

/// Commands of `zkServer.sh` that a server itself cannot carry out, with what to do instead.
const OTHER_VERBS: [(&str, &str); 7] = [
    (
        "start",
        "run `zk-server start-foreground` under a service manager, or in the background",
    ),
    (
        "stop",
        "send the server a SIGTERM; it stops within five seconds",
    ),
    ("restart", "send the server a SIGTERM and start it again"),
    (
        "status",
        "ask the server itself: echo srvr | nc localhost 2181",
    ),
    ("upgrade", "nothing has to be upgraded"),
    ("print-cmd", "there is no Java command line to print"),
    ("print-classpath", "there is no class path to print"),
];

/// Understands a command line (without the program's name) and its environment.
///
/// # Errors
/// [`UsageError`]: the caller prints it with [`USAGE`] and exits with code 2.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Parsed, UsageError> {
    let mut flags = Flags::default();
    if environment.datadir_autocreate_disable {
        flags
            .properties
            .push(("zookeeper.datadir.autocreate".into(), "false".into()));
    }
    // Later flags win: the scripts put these before what they got as arguments.
    for flag in [&environment.server_jvmflags, &environment.jvmflags]
        .into_iter()
        .flatten()
    {
        flags.take_words(flag);
    }
    let mut arguments = arguments.into_iter();
    let mut positional: Vec<OsString> = Vec::new();
    let mut check = false;
    let mut config_dir = environment.zoocfgdir.clone();
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().unwrap_or_default();
        match text {
            "--help" | "-h" | "-help" | "help" => return Ok(plain(Command::Help)),
            "--version" | "-version" | "-V" | "version" => return Ok(plain(Command::Version)),
            "--check-config" => check = true,
            "--config" => match arguments.next() {
                Some(dir) => config_dir = Some(dir.into()),
                None => return Err(UsageError("--config needs a directory".into())),
            },
            "-cp" | "-classpath" | "--class-path" => {
                arguments.next();
                flags.ignored.push(text.into());
            }
            _ if MAIN_CLASSES.contains(&text) => {}
            _ if text.starts_with('-') => {
                if !flags.take(text) {
                    return Err(unknown_option(text));
                }
            }
            _ => positional.push(argument),
        }
    }
    let base = base(
        &positional,
        check,
        config_dir.as_deref(),
        environment.zoocfg.as_deref(),
    )?;
    let sources = Sources {
        base,
        properties: flags.properties,
    };
    let mut notices = Vec::new();
    if !flags.ignored.is_empty() {
        notices.push(Notice {
            level: Level::Warn,
            text: format!(
                "without effect, since there is no Java machine here: {}",
                flags.ignored.join(" ").escape_debug()
            ),
        });
    }
    let command = if check {
        Command::Check(sources)
    } else {
        Command::Run(sources)
    };
    Ok(Parsed { command, notices })
}

fn plain(command: Command) -> Parsed {
    Parsed {
        command,
        notices: Vec::new(),
    }
}

#[derive(Default)]
struct Flags {
    properties: Vec<(String, String)>,
    ignored: Vec<String>,
}

impl Flags {
    /// Flags in a variable, parted by blanks as the scripts part them; what is no flag is left out.
    fn take_words(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            if !self.take(word) {
                self.ignored.push(word.into());
            }
            if matches!(word, "-cp" | "-classpath" | "--class-path") {
                words.next();
            }
        }
    }

    /// True if `flag` is one that a Java machine takes.
    fn take(&mut self, flag: &str) -> bool {
        const JAVA: [&str; 10] = [
            "-X",
            "-agentlib:",
            "-agentpath:",
            "-javaagent:",
            "-verbose",
            "-ea",
            "-da",
            "-server",
            "-client",
            "--add-",
        ];
        if let Some(property) = flag.strip_prefix("-D") {
            let (name, value) = property.split_once('=').unwrap_or((property, ""));
            self.properties
                .push((name.trim().into(), value.trim().into()));
            return true;
        }
        let known = JAVA.iter().any(|start| flag.starts_with(start));
        if known {
            self.ignored.push(flag.into());
        }
        known
    }
}

fn unknown_option(text: &str) -> UsageError {
    let known = ["--help", "--version", "--check-config", "--config"];
    let hint = suggest::nearest(text, known)
        .map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
    UsageError(format!("unknown option {}{hint}", text.escape_debug()))
}

fn base(
    positional: &[OsString],
    check: bool,
    config_dir: Option<&Path>,
    config_name: Option<&Path>,
) -> Result<Base, UsageError> {
    let verb = positional
        .first()
        .and_then(|verb| verb.to_str())
        .unwrap_or_default();
    if let Some((verb, instead)) = OTHER_VERBS.iter().find(|(other, _)| *other == verb) {
        return Err(UsageError(format!(
            "zk-server has no command {verb}: {instead}"
        )));
    }
    let foreground = verb == "start-foreground";
    let rest = &positional[usize::from(foreground)..];
    match rest {
        [] if foreground || check => {
            let dir = config_dir.unwrap_or(Path::new("conf"));
            Ok(Base::File(
                dir.join(config_name.unwrap_or(Path::new("zoo.cfg"))),
            ))
        }
        [] => Ok(Base::Defaults),
        [file] => Ok(Base::File(found(
            file,
            if foreground { config_dir } else { None },
        ))),
        [port, data_dir, more @ ..] if more.len() <= 2 => {
            let port = number(port, "PORT")?;
            let optional = |at: usize, name| more.get(at).map(|n| number(n, name)).transpose();
            Ok(Base::Arguments {
                port: u16::try_from(port)
                    .map_err(|_| UsageError(format!("port out of range:{port}")))?,
                data_dir: data_dir.into(),
                tick_time_ms: optional(0, "TICKTIME")?,
                max_client_cnxns: optional(1, "MAXCNXNS")?,
            })
        }
        _ => Err(UsageError(format!(
            "Invalid number of arguments: {}",
            rest.len()
        ))),
    }
}

/// A bare file name is looked for in the configuration's directory first, as `zkServer.sh` does.
fn found(file: &OsStr, config_dir: Option<&Path>) -> PathBuf {
    let file = PathBuf::from(file);
    let is_bare = file
        .parent()
        .is_some_and(|parent| parent.as_os_str().is_empty());
    match config_dir.map(|dir| dir.join(&file)) {
        Some(inside) if is_bare && inside.exists() => inside,
        _ => file,
    }
}

fn number(text: &OsStr, name: &str) -> Result<i32, UsageError> {
    text.to_str().and_then(java::parse_int).ok_or_else(|| {
        let text = text.to_string_lossy();
        UsageError(format!(
            "{name} is no number: For input string: \"{}\"",
            text.escape_debug()
        ))
    })
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
