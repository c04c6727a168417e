//! Four-letter words: the text that operators and their scripts ask a server for.
//!
//! The texts are Apache's, since scripts parse them (operations 2); what they say is ours.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::metrics;
use crate::state::Server;

/// What the words answer about the release: the release whose protocol this server speaks, then
/// our own. Tools look for three numbers in front.
pub(crate) const VERSION: &str = concat!(
    "3.9.5-ironkeeper-",
    env!("CARGO_PKG_VERSION"),
    ", built on ",
    env!("IRONKEEPER_BUILT"),
    " UTC"
);

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

macro_rules! commands {
    ($($name:ident = $word:literal,)*) => {
        /// A word that a server knows, built yet or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Command { $($name,)* TelnetClose }

        impl Command {
            /// The command that the first four bytes of a connection are, if they are one.
            pub(crate) fn parse(word: [u8; 4]) -> Option<Self> {
                $(if word == *$word { return Some(Self::$name); })*
                (word == [0xff, 0xf4, 0xff, 0xfd]).then_some(Self::TelnetClose)
            }

            fn word(self) -> &'static str {
                match self {
                    $(Self::$name => std::str::from_utf8($word).unwrap_or_default(),)*
                    Self::TelnetClose => "telnet close",
                }
            }
        }
    };
}

commands! {
    Conf = b"conf", Cons = b"cons", Crst = b"crst", Dirs = b"dirs", Dump = b"dump", Envi = b"envi",
    Gtmk = b"gtmk", Ruok = b"ruok", Stmk = b"stmk", Srst = b"srst", Srvr = b"srvr", Stat = b"stat",
    Wchc = b"wchc", Wchp = b"wchp", Wchs = b"wchs", Mntr = b"mntr", Isro = b"isro", Hash = b"hash",
}

/// The whole reply to `command`; the connection closes behind it.
pub(crate) fn answer(server: &Server, command: Command) -> String {
    if command == Command::TelnetClose {
        return String::new();
    }
    if !is_enabled(server, command) {
        let word = command.word();
        return format!("{word} is not executed because it is not in the whitelist.\n");
    }
    let serving = server.is_serving();
    match command {
        Command::Ruok => "imok".into(),
        Command::Isro => if serving { "rw" } else { "null" }.into(),
        _ if !serving => NOT_SERVING.into(),
        Command::Srvr => srvr(server, false),
        Command::Stat => srvr(server, true),
        Command::Mntr => metrics::mntr(server),
        Command::Conf => conf(server),
        Command::Envi => envi(),
        _ => format!(
            "{} is not implemented by this server yet.\n",
            command.word()
        ),
    }
}

fn is_enabled(server: &Server, command: Command) -> bool {
    let options = &server.options;
    match command {
        Command::Srvr => true,
        Command::Isro if options.read_only_mode => true,
        _ => options.four_letter_words.allows(command.word()),
    }
}

fn srvr(server: &Server, with_clients: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Zookeeper version: {VERSION}");
    if with_clients {
        out.push_str("Clients:\n");
        for conn in server.connections() {
            let _ = writeln!(
                out,
                " /{}[{:x}](queued={},recved={},sent={})",
                conn.peer,
                i32::from(conn.session().is_some()),
                conn.queued.load(Ordering::Relaxed),
                conn.received.load(Ordering::Relaxed),
                conn.sent.load(Ordering::Relaxed),
            );
        }
        out.push('\n');
    }
    let (min, mean, max) = server.stats.latency_ms();
    let stats = &server.stats;
    let (zxid, nodes) = {
        let tree = server.tree();
        (tree.last_applied(), tree.counters().znode_count)
    };
    let _ = writeln!(
        out,
        "Latency min/avg/max: {min}/{}/{max}",
        java_double(mean)
    );
    let _ = writeln!(
        out,
        "Received: {}",
        stats.packets_received.load(Ordering::Relaxed)
    );
    let _ = writeln!(out, "Sent: {}", stats.packets_sent.load(Ordering::Relaxed));
    let _ = writeln!(
        out,
        "Connections: {}",
        stats.connections.load(Ordering::Relaxed)
    );
    let _ = writeln!(
        out,
        "Outstanding: {}",
        stats.outstanding.load(Ordering::Relaxed)
    );
    let _ = writeln!(out, "Zxid: 0x{:x}", zxid.0);
    let _ = writeln!(out, "Mode: standalone");
    let _ = writeln!(out, "Node count: {nodes}");
    out
}

fn envi() -> String {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let directory = std::env::current_dir().unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        "Environment:\nzookeeper.version={VERSION}\nhost.name={}\nos.name={}\nos.arch={}\n\
         user.name={}\nuser.home={}\nuser.dir={}\n",
        host.trim(),
        std::env::consts::OS,
        std::env::consts::ARCH,
        variable("USER"),
        variable("HOME"),
        directory.display(),
    )
}

fn conf(server: &Server) -> String {
    let o = &server.options;
    let mut out = String::new();
    let port = o
        .client_address
        .map_or(-1, |address| i32::from(address.port()));
    let _ = writeln!(out, "clientPort={port}");
    let _ = writeln!(out, "secureClientPort=-1");
    let _ = writeln!(out, "dataDir={}", o.data_dir.join("version-2").display());
    let _ = writeln!(out, "dataDirSize={}", directory_bytes(&o.data_dir));
    let _ = writeln!(
        out,
        "dataLogDir={}",
        o.data_log_dir.join("version-2").display()
    );
    let _ = writeln!(out, "dataLogSize={}", directory_bytes(&o.data_log_dir));
    let _ = writeln!(out, "tickTime={}", o.tick_time_ms);
    let _ = writeln!(out, "maxClientCnxns={}", o.max_client_cnxns);
    let _ = writeln!(out, "minSessionTimeout={}", o.min_session_timeout_ms);
    let _ = writeln!(out, "maxSessionTimeout={}", o.max_session_timeout_ms);
    let _ = writeln!(
        out,
        "clientPortListenBacklog={}",
        o.client_port_listen_backlog.unwrap_or(-1)
    );
    let _ = writeln!(out, "serverId={}", o.server_id);
    out
}

/// Apparent size of what lies under `dir`, as Apache counts it.
fn directory_bytes(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => directory_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A number as Java prints a double of at most four decimals: always with a decimal point.
pub(crate) fn java_double(value: f64) -> String {
    let rounded = (value * 10_000.0).round() / 10_000.0;
    if rounded == rounded.trunc() {
        format!("{rounded:.1}")
    } else {
        format!("{rounded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_java_doubles() {
        assert_eq!(java_double(0.0), "0.0");
        assert_eq!(java_double(2.0), "2.0");
        assert_eq!(java_double(4.0 / 3.0), "1.3333");
    }

    #[test]
    fn words_are_recognised_by_their_four_bytes() {
        assert_eq!(Command::parse(*b"ruok"), Some(Command::Ruok));
        assert_eq!(Command::parse(*b"RUOK"), None);
        assert_eq!(
            Command::parse([0xff, 0xf4, 0xff, 0xfd]),
            Some(Command::TelnetClose)
        );
        assert_eq!(Command::parse([0, 0, 0, 45]), None);
    }
}
