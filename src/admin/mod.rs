//! Four-letter words: the text that operators and their scripts ask a server for.
//!
//! The texts are Apache's, since scripts parse them (operations 2); what they say is ours.

mod clients;
mod digests;
mod places;
mod sessions;
mod watches;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use ironkeeper_replica::ConnId;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::info;

use crate::logging::local_zone;
use crate::metrics;
use crate::state::Server;

pub(crate) use digests::DigestLog;

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
        /// A word that a server knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Command { $($name,)* TelnetClose }

        impl Command {
            /// All but the telnet close.
            const ALL: &[Self] = &[$(Self::$name,)*];

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

impl Command {
    /// Bytes that belong to it on the wire: `stmk` has an argument, which nobody reads unless the
    /// word is enabled.
    pub(crate) fn bytes(self, server: &Server) -> usize {
        match self {
            Self::Stmk if is_enabled(server, self) => 4 + size_of::<i64>(),
            _ => 4,
        }
    }

    /// Whether the answer is at hand, whatever the server holds.
    pub(crate) fn is_quick(self, server: &Server) -> bool {
        let walks = matches!(
            self,
            Self::Conf
                | Self::Cons
                | Self::Dirs
                | Self::Dump
                | Self::Envi
                | Self::Mntr
                | Self::Stat
                | Self::Wchc
                | Self::Wchp
        );
        !walks || !is_enabled(server, self)
    }

    /// Whether it answers the same while the server does not serve.
    fn is_always_answered(self) -> bool {
        matches!(
            self,
            Self::Ruok | Self::Isro | Self::Envi | Self::Gtmk | Self::Stmk
        )
    }
}

/// Says which words there are and which are answered, in the lines that operators look for.
pub(crate) fn announce(server: &Server) {
    let list = |commands: Vec<&str>| commands.join(", ");
    let known = Command::ALL.iter().map(|command| command.word()).collect();
    let enabled = Command::ALL
        .iter()
        .filter(|command| is_enabled(server, **command))
        .map(|command| command.word())
        .collect();
    info!(
        "The list of known four letter word commands is : [{}]",
        list(known)
    );
    info!(
        "The list of enabled four letter word commands is : [{}]",
        list(enabled)
    );
}

/// The whole reply to `command` from the connection `asker`; the connection closes behind it.
pub(crate) fn answer(server: &Server, command: Command, argument: &[u8], asker: ConnId) -> String {
    if command == Command::TelnetClose {
        return String::new();
    }
    if !is_enabled(server, command) {
        let word = command.word();
        return format!("{word} is not executed because it is not in the whitelist.\n");
    }
    let serving = server.is_serving();
    if !serving && !command.is_always_answered() {
        return match command {
            Command::Hash => NOT_SERVING.trim_end().into(),
            _ => NOT_SERVING.into(),
        };
    }
    match command {
        Command::Ruok => "imok".into(),
        Command::Isro => if serving { "rw" } else { "null" }.into(),
        Command::Srvr => srvr(server, None),
        Command::Stat => srvr(server, Some(asker)),
        Command::Cons => clients::cons(server, asker),
        Command::Crst => {
            for conn in server.connections() {
                conn.figures.reset();
            }
            "Connection stats reset.\n".into()
        }
        Command::Srst => {
            server.stats.reset();
            server.throttles.counts.reset();
            server.watches.lock().reset_fired();
            "Server stats reset.\n".into()
        }
        Command::Dump => sessions::dump(server),
        Command::Wchs => watches::summary(server),
        Command::Wchc => watches::by_session(server),
        Command::Wchp => watches::by_path(server),
        Command::Mntr => metrics::mntr(server),
        Command::Hash => server.digests.lock().text(),
        Command::Gtmk => server.trace_mask.load(Ordering::Relaxed).to_string(),
        Command::Stmk => {
            let mask = argument
                .first_chunk()
                .map_or(0, |mask| i64::from_be_bytes(*mask));
            server.trace_mask.store(mask, Ordering::Relaxed);
            mask.to_string()
        }
        Command::Conf => places::conf(server),
        Command::Dirs => places::dirs(server),
        Command::Envi => places::envi(),
        Command::TelnetClose => String::new(),
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

/// `srvr`, and `stat`, which lists the connections as well, for the one that asks.
fn srvr(server: &Server, asker: Option<ConnId>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Zookeeper version: {VERSION}");
    if let Some(asker) = asker {
        out.push_str("Clients:\n");
        for conn in server.connections() {
            clients::line(&mut out, &conn, asker, true);
            out.push('\n');
        }
        out.push('\n');
    }
    let stats = &server.stats;
    let (min, mean, max) = stats.latency_ms();
    let (zxid, nodes) = {
        let tree = server.tree();
        (tree.last_applied(), tree.counters().znode_count)
    };
    let mean = java_double(mean);
    let received = stats.packets_received.load(Ordering::Relaxed);
    let sent = stats.packets_sent.load(Ordering::Relaxed);
    let connections = stats.connections.load(Ordering::Relaxed);
    let outstanding = stats.outstanding.load(Ordering::Relaxed);
    let _ = writeln!(out, "Latency min/avg/max: {min}/{mean}/{max}");
    let _ = writeln!(out, "Received: {received}");
    let _ = writeln!(out, "Sent: {sent}");
    let _ = writeln!(out, "Connections: {connections}");
    let _ = writeln!(out, "Outstanding: {outstanding}");
    let _ = writeln!(out, "Zxid: 0x{:x}", zxid.0);
    let _ = writeln!(out, "Mode: standalone");
    let _ = writeln!(out, "Node count: {nodes}");
    out
}

/// One instant on both clocks.
struct Moment {
    mono_ms: u64,
    wall_ms: u64,
    zone: TimeZone,
}

impl Moment {
    fn now(server: &Server) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            mono_ms: server.now_ms(),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            zone: local_zone(),
        }
    }

    /// The date of an instant on the monotonic clock.
    fn date(&self, mono_ms: u64) -> String {
        let unix_ms = (self.wall_ms + mono_ms).saturating_sub(self.mono_ms);
        java_date(unix_ms, &self.zone)
    }
}

/// What expires, by the instant at which it does; as Apache's ExpiryQueue prints itself.
fn write_buckets(out: &mut String, moment: &Moment, buckets: &BTreeMap<u64, Vec<String>>) {
    let all: usize = buckets.values().map(Vec::len).sum();
    let _ = writeln!(out, "Sets ({})/({all}):", buckets.len());
    for (due_ms, members) in buckets {
        let date = moment.date(*due_ms);
        let _ = writeln!(out, "{} expire at {date}:", members.len());
        for member in members {
            let _ = writeln!(out, "\t{member}");
        }
    }
}

/// A date as Java prints one: `Sat Nov 21 01:57:24 UTC 2026`.
fn java_date(unix_ms: u64, zone: &TimeZone) -> String {
    let date = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
        .to_zoned(zone.clone());
    date.strftime("%a %b %d %H:%M:%S %Z %Y").to_string()
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
    use ironkeeper_tree::watch::WatcherId;

    use super::*;
    use crate::config::Options;
    use crate::config::options::FourLetterWords;
    use crate::state::Phase;

    #[test]
    fn numbers_look_like_java_doubles() {
        assert_eq!(java_double(0.0), "0.0");
        assert_eq!(java_double(2.0), "2.0");
        assert_eq!(java_double(4.0 / 3.0), "1.3333");
    }

    #[test]
    fn dates_look_like_javas() {
        let utc = |unix_ms| java_date(unix_ms, &TimeZone::UTC);
        assert_eq!(utc(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(utc(1_795_226_244_999), "Sat Nov 21 01:57:24 UTC 2026");
        assert_eq!(utc(1_709_164_799_000), "Wed Feb 28 23:59:59 UTC 2024");
        assert!(utc(u64::MAX).ends_with("9999"));
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        let local = |unix_ms| java_date(unix_ms, &berlin);
        assert_eq!(local(1_795_226_244_000), "Sat Nov 21 02:57:24 CET 2026");
        assert_eq!(local(1_782_864_000_000), "Wed Jul 01 02:00:00 CEST 2026");
    }

    #[test]
    fn what_expires_is_listed_by_its_instant() {
        let moment = Moment {
            mono_ms: 500,
            wall_ms: 1_795_226_244_500,
            zone: TimeZone::UTC,
        };
        let mut buckets: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let mut out = String::new();
        write_buckets(&mut out, &moment, &buckets);
        assert_eq!(out, "Sets (0)/(0):\n");
        out.clear();
        buckets.insert(4000, vec!["0x2".into(), "0x3".into()]);
        buckets.insert(2000, vec!["0x1".into()]);
        write_buckets(&mut out, &moment, &buckets);
        assert_eq!(
            out,
            "Sets (2)/(3):\n1 expire at Sat Nov 21 01:57:26 UTC 2026:\n\t0x1\n\
             2 expire at Sat Nov 21 01:57:28 UTC 2026:\n\t0x2\n\t0x3\n"
        );
    }

    fn server(words: &str) -> Server {
        Server::new(Options {
            four_letter_words: FourLetterWords::parse(words),
            ..Options::default()
        })
    }

    fn ask(server: &Server, command: Command) -> String {
        let asker = ConnId {
            watcher: WatcherId(0),
            generation: 0,
        };
        answer(server, command, &7_i64.to_be_bytes(), asker)
    }

    /// A server that reads its data, or stops, answers what needs none of it.
    #[test]
    fn while_not_serving_most_words_say_so() {
        let server = server("*");
        for phase in [Phase::Recovering, Phase::Stopping] {
            server.enter(phase);
            for &command in Command::ALL {
                let text = ask(&server, command);
                let not_serving = "This ZooKeeper instance is not currently serving requests";
                match command {
                    Command::Ruok => assert_eq!(text, "imok"),
                    Command::Isro => assert_eq!(text, "null"),
                    Command::Gtmk if phase == Phase::Recovering => assert_eq!(text, "306"),
                    Command::Gtmk | Command::Stmk => assert_eq!(text, "7"),
                    Command::Envi => assert!(text.starts_with("Environment:\nzookeeper.version=")),
                    Command::Hash => assert_eq!(text, not_serving),
                    _ => assert_eq!(text, format!("{not_serving}\n"), "{command:?}"),
                }
            }
        }
    }

    /// `srvr` is always answered; `isro` where read-only mode is on as well.
    #[test]
    fn what_is_not_on_the_list_is_not_executed() {
        let mut server = server("ruok, wchs");
        server.enter(Phase::Serving);
        for &command in Command::ALL {
            let text = ask(&server, command);
            let refused = format!(
                "{} is not executed because it is not in the whitelist.\n",
                command.word()
            );
            let is_on = [Command::Srvr, Command::Ruok, Command::Wchs].contains(&command);
            assert_eq!(text != refused, is_on, "{command:?}: {text}");
        }
        assert_eq!(Command::Stmk.bytes(&server), 4, "nobody waits for its mask");
        server.options.read_only_mode = true;
        assert_eq!(ask(&server, Command::Isro), "rw");
        server.options.four_letter_words = FourLetterWords::parse("stmk");
        assert_eq!(Command::Stmk.bytes(&server), 12);
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
