//! Four-letter words that tell of sessions, watches and connections, on the same state.

use std::time::{Duration, Instant};

use crate::common::Server;
use crate::compare::compare_lines;
use crate::ops::{self, Entry, OPEN, Op, PERSISTENT, code};
use crate::script::{Conn, Hello, Script};
use crate::servers::{BASE, Servers, has_reference, lock};
use crate::word_mask::{Names, mask};

/// How long a server may take to notice that a connection is gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Connections with sessions, and the names that texts get for them.
pub(crate) struct Scene {
    pub(crate) names: Names,
    pub(crate) conns: Vec<Conn>,
}

impl Scene {
    /// Three sessions with watches of every kind and with ephemerals, and a connection that has
    /// not said anything.
    pub(crate) fn set(s: &Script<'_>) -> Scene {
        let mut scene = Scene {
            names: Names::default(),
            conns: Vec::new(),
        };
        scene.session(s, "A", 30_000);
        scene.session(s, "B", 10_000);
        scene.session(s, "C", 5_000);
        let silent = s.connect("silent");
        scene.add(silent, "silent");
        scene.ask(0, &ops::create("/w", "data", OPEN, PERSISTENT));
        scene.ask(0, &ops::create("/w/e1", "", OPEN, ops::EPHEMERAL));
        scene.ask(0, &ops::create("/w/e2", "", OPEN, ops::EPHEMERAL));
        scene.ask(0, &ops::get_data("/w", true));
        scene.ask(0, &ops::get_children("/w", true));
        scene.ask(0, &ops::exists("/w/none", true));
        scene.ask(1, &ops::add_watch("/w", 0));
        scene.ask(1, &ops::add_watch("/", 1));
        scene.ask(1, &ops::get_data("/w", true));
        scene.ask(1, &ops::create("/w/of b", "", OPEN, ops::EPHEMERAL));
        // A watch that fires leaves its connection on Apache's list; one that is taken back does not.
        scene.ask(2, &ops::get_data("/w/e1", true));
        scene.ask(0, &ops::set_data("/w/e1", "changed", -1));
        scene.settle();
        scene
    }

    fn session(&mut self, s: &Script<'_>, name: &str, timeout_ms: i32) {
        let hello = Hello {
            timeout_ms,
            ..Hello::default()
        };
        let (conn, session) = s.session_with(name, &hello);
        self.names.sessions.push((session.id, name.to_owned()));
        self.add(conn, name);
    }

    fn add(&mut self, conn: Conn, name: &str) {
        let port = conn.port().expect("the connection is open");
        self.names.ports.push((port, format!("at {name}")));
        self.conns.push(conn);
    }

    pub(crate) fn ask(&mut self, conn: usize, op: &Op) {
        self.conns[conn].call(op);
    }

    /// Everybody with a session has got what was due.
    pub(crate) fn settle(&mut self) {
        let sessions = self.names.sessions.len();
        self.conns.iter_mut().take(sessions).for_each(Conn::settle);
    }
}

pub(crate) fn word(s: &mut Script<'_>, word: &str) -> String {
    let text = s.server().word(word);
    text.unwrap_or_else(|e| format!("{word}: {e}"))
}

fn masked(s: &mut Script<'_>, asked: &str, names: &Names) -> Vec<String> {
    quiet(s);
    let text = word(s, asked);
    let mut lines = vec![format!("--- {asked}")];
    lines.extend(mask(&text, names).lines);
    lines
}

/// Waits until Apache has put away what it has answered: it counts a reply after its client has it.
/// Returns how many words that took.
pub(crate) fn quiet(s: &mut Script<'_>) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    let mut asked = 0;
    loop {
        let text = word(s, "cons");
        asked += 1;
        let mut sessions = text.lines().filter(|line| line.contains(",sid="));
        let is_quiet = sessions.all(|line| line.contains("[1](queued=0,"));
        if is_quiet || Instant::now() > deadline {
            return asked;
        }
    }
}

/// Runs a script on fresh servers and compares the lines it makes.
pub(crate) fn compare_words(name: &str, script: impl Fn(&mut Script<'_>) -> Vec<String> + Sync) {
    if !has_reference(name) {
        return;
    }
    compare_lines(&Servers::start(BASE.settings), name, &[], |server| {
        let mut s = Script::new(server, "words");
        let lines = script(&mut s);
        s.finish();
        lines
    });
}

#[test]
fn watches_sessions_and_connections() {
    compare_words("word_watches_sessions_and_connections", |s| {
        let mut scene = Scene::set(s);
        let mut lines = Vec::new();
        for asked in ["wchs", "wchc", "wchp", "dump", "cons"] {
            lines.extend(masked(s, asked, &scene.names));
        }
        // What is taken back or fires is listed no more, and a closed session least of all.
        scene.ask(1, &ops::remove_watches("/w", 3));
        scene.ask(1, &ops::set_data("/w", "changed", -1));
        scene.ask(1, &ops::remove_watches("/", 5));
        let mut c = scene.conns.remove(2);
        c.call(&ops::get_data("/w", true));
        c.call(&ops::remove_watches("/w", 2));
        c.close();
        scene.names.sessions.pop();
        scene.settle();
        for asked in ["wchs", "wchc", "wchp", "dump", "cons"] {
            lines.extend(masked(s, asked, &scene.names));
        }
        lines
    });
}

/// `crst` and `srst` start counting anew; what they leave shows in the words behind them.
#[test]
fn what_is_reset() {
    compare_words("word_what_is_reset", |s| {
        let mut scene = Scene::set(s);
        let mut lines = masked(s, "crst", &scene.names);
        lines.extend(masked(s, "cons", &scene.names));
        scene.ask(0, &ops::get_data("/w", false));
        scene.settle();
        lines.extend(masked(s, "cons", &scene.names));
        lines.extend(masked(s, "srst", &scene.names));
        let mut polls = 0;
        for _ in 0..2 {
            scene.ask(0, &ops::set_data("/w", "again", -1));
            scene.settle();
            polls += quiet(s);
            for asked in ["srvr", "stat"] {
                let text = word(s, asked);
                let text = mask(&text, &scene.names).lines;
                let counted = text.into_iter().filter(|line| !has_time(line));
                lines.extend(counted.map(|line| without(polls, line)));
            }
        }
        lines
    });
}

/// A count of packets without those of the words that only waited.
fn without(polls: i64, line: String) -> String {
    match line.split_once(": ") {
        Some((key @ ("Received" | "Sent"), value)) => match value.parse::<i64>() {
            Ok(count) => format!("{key}: {}", count - polls),
            Err(_) => line,
        },
        _ => line,
    }
}

fn has_time(line: &str) -> bool {
    line.starts_with("Latency") || line.starts_with("Zookeeper version")
}

/// What `cons` says of one connection after each kind of request, refused ones included.
#[test]
fn the_last_operation_of_a_connection() {
    let requests = |s: &Script<'_>| {
        let node = s.path("/node");
        let none = s.path("/none/none");
        vec![
            ops::create(&node, "", OPEN, PERSISTENT),
            ops::create2(&s.path("/two"), "", OPEN, PERSISTENT),
            ops::create_container(&s.path("/box"), ops::CONTAINER),
            ops::create(&none, "", OPEN, PERSISTENT),
            ops::get_data(&node, false),
            ops::get_data(&none, false),
            ops::set_data(&node, "", 77),
            ops::set_data(&node, "", -1),
            ops::exists(&node, false),
            ops::get_acl(&node),
            ops::set_acl(&node, OPEN, -1),
            ops::set_acl(&node, &[] as &[Entry<'_>], -1),
            ops::get_children(&node, false),
            ops::get_children2(&node, false),
            ops::sync(Some(&node)),
            ops::multi(&[ops::check(&node, 1)]),
            ops::multi(&[ops::check(&node, 0)]),
            ops::multi_read(&[ops::get_data(&node, false)]),
            ops::path_only(code::GET_EPHEMERALS, None),
            ops::path_only(code::GET_ALL_CHILDREN_NUMBER, Some(&node)),
            ops::bare(code::WHO_AM_I),
            ops::add_watch(&node, 0),
            ops::check_watches(&node, 4),
            ops::remove_watches(&node, 4),
            ops::remove_watches(&node, 4),
            ops::set_watches(0, &[&[], &[], &[]]),
            ops::set_watches(0, &[&[], &[], &[], &[], &[]]),
            ops::digest("bob:pw"),
            ops::bare(code::PING),
            ops::delete(&none, -1),
            ops::delete(&node, -1),
        ]
    };
    compare_words("word_the_last_operation_of_a_connection", |s| {
        s.make_prefix();
        let mut scene = Scene {
            names: Names::default(),
            conns: Vec::new(),
        };
        scene.session(s, "A", 30_000);
        let mut lines = masked(s, "cons", &scene.names);
        for op in requests(s) {
            match op.code {
                code::PING => scene.conns[0].settle(),
                _ => scene.ask(0, &op),
            }
            lines.push(format!("after {}{}", op.code, op.hint()));
            lines.extend(masked(s, "cons", &scene.names));
        }
        lines
    });
}

/// A connection that takes up a session has done nothing yet, whatever the session did before.
#[test]
fn a_session_taken_up_again() {
    compare_words("word_a_session_taken_up_again", |s| {
        // Apache's server, when it is slow, notes the lost connection once more after it has put it away, and
        // lists it until its time is over.
        let brief = Hello {
            timeout_ms: 4000,
            ..Hello::default()
        };
        let (mut a, session) = s.session_with("A", &brief);
        a.call(&ops::create("/taken", "", OPEN, ops::EPHEMERAL));
        a.drop_connection();
        let again = Hello {
            timeout_ms: 40_000,
            ..Hello::again(&session)
        };
        let (again, _) = s.session_with("A again", &again);
        let mut scene = Scene {
            names: Names::default(),
            conns: Vec::new(),
        };
        scene.names.sessions.push((session.id, "A".to_owned()));
        scene.add(again, "A");
        // The server may need a moment to see that the other connection is gone: the interval at which its connections
        // expire is ten seconds.
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            let mut lines = masked(s, "cons", &scene.names);
            let is_gone_from_cons = lines.len() == 5;
            let dump = masked(s, "dump", &scene.names);
            let listed = dump.iter().filter(|line| line.contains("sessionId:"));
            let is_gone = is_gone_from_cons && listed.count() == 2;
            if is_gone || Instant::now() > deadline {
                lines.extend(dump);
                return lines;
            }
        }
    });
}

/// A session whose ephemerals are all gone goes on being listed.
#[test]
fn a_session_whose_ephemerals_are_gone_is_listed() {
    compare_words("word_a_session_whose_ephemerals_are_gone", |s| {
        let mut scene = Scene {
            names: Names::default(),
            conns: Vec::new(),
        };
        scene.session(s, "A", 30_000);
        scene.ask(0, &ops::create("/gone", "", OPEN, ops::EPHEMERAL));
        scene.ask(0, &ops::delete("/gone", -1));
        masked(s, "dump", &scene.names)
    });
}

/// Requests that wait for their answers are told; `stat` and `cons` print both families of addresses.
#[test]
fn addresses_of_both_families() {
    compare_words("word_addresses_of_both_families", |s| {
        let port = s.server().address().port();
        let _six = s.connect_to("six", (std::net::Ipv6Addr::LOCALHOST, port).into());
        ["stat", "cons"]
            .into_iter()
            .flat_map(|asked| {
                let text = word(s, asked);
                let line = text
                    .lines()
                    .find(|line| line.contains("[0:"))
                    .unwrap_or("none");
                let (address, rest) = line.split_once("]:").unwrap_or((line, ""));
                let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                [format!("{asked} {address} {rest}")]
            })
            .collect()
    });
}

/// Sessions and connections expire within their timeouts and one step of the clock they are kept by.
#[test]
fn expiry_dates_lie_ahead() {
    compare_words("word_expiry_dates_lie_ahead", |s| {
        let _scene = Scene::set(s);
        let text = word(s, "dump");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is past 1970")
            .as_secs();
        let second_of_day = |date: &str| -> Option<u64> {
            let mut parts = date.split(' ').nth(3)?.split(':').map(str::parse::<u64>);
            let mut next = || parts.next()?.ok();
            Some(next()? * 3600 + next()? * 60 + next()?)
        };
        // Buckets that hold somebody: the zone is the machine's, so minutes and seconds count.
        let mut ahead = Vec::new();
        for (section, limit) in [("Session Sets", 30 + 2), ("Connections Sets", 30 + 10)] {
            let lines = text.lines().skip_while(|line| !line.starts_with(section));
            let buckets = lines
                .skip(1)
                .take_while(|line| line.starts_with('\t') || line.contains(" expire at "))
                .filter(|line| !line.starts_with('0') && !line.starts_with('\t'));
            for bucket in buckets {
                let date = bucket
                    .split_once(" expire at ")
                    .map_or("", |(_, date)| date);
                let due = second_of_day(date).map(|due| (due + 3600 - now % 3600) % 3600);
                // A bucket may be due this very second.
                let is_near = due.is_some_and(|due| due <= limit || due >= 3599);
                let zone = date.split(' ').nth(4).unwrap_or("none");
                ahead.push(format!("{section} within {limit} s: {is_near}, {zone}"));
            }
        }
        ahead.dedup();
        ahead
    });
}

/// The trace mask is eight bytes behind the word, and stays.
#[test]
fn the_trace_mask() {
    compare_words("word_the_trace_mask", |s| {
        let mut lines = masked(s, "gtmk", &Names::default());
        for mask in [0_i64, 8, i64::MAX, -1] {
            for surplus in ["", "\n"] {
                let mut a = s.connect("stmk");
                let bytes = [b"stmk", &mask.to_be_bytes()[..], surplus.as_bytes()].concat();
                a.send_bytes(&bytes);
                let text = a.text_until_closed();
                lines.push(format!("stmk: {}", text.escape_ascii()));
            }
            lines.extend(masked(s, "gtmk", &Names::default()));
        }
        let mut a = s.connect("cut short");
        a.send_bytes(b"stmk\0\0\0");
        a.half_close();
        let text = a.text_until_closed();
        lines.push(format!("stmk without its mask: {}", text.escape_ascii()));
        lines.extend(masked(s, "gtmk", &Names::default()));
        lines
    });
}

/// One digest for each 128 transactions, those that were refused included; a restart finds them in
/// the log again.
#[test]
fn digests_of_every_128th_transaction() {
    compare_words("word_digests_of_every_128th_transaction", |s| {
        let (mut a, _) = s.session_with("A", &Hello::default());
        a.call(&ops::create("/counted", "", OPEN, PERSISTENT));
        let mut lines = masked(s, "hash", &Names::default());
        for n in 0..300 {
            // Each third one fails and takes its zxid all the same.
            let version = if n % 3 == 0 { 9999 } else { -1 };
            a.call(&ops::set_data("/counted", "x", version));
        }
        a.close();
        let show = |s: &mut Script<'_>| -> Vec<String> {
            let text = word(s, "hash");
            let line = |line: &str| match line.split_once(": ") {
                // The digest holds the times at which nodes changed.
                Some((zxid, digest)) if digest.parse::<i64>().is_ok() => format!("{zxid}: number"),
                _ => line.to_owned(),
            };
            text.split('\n').map(line).collect()
        };
        lines.extend(show(s));
        let before = word(s, "hash");
        s.server().kill_and_restart().expect("it starts again");
        lines.extend(show(s));
        lines.push(format!(
            "the same after a restart: {}",
            before == word(s, "hash")
        ));
        lines
    });
}

/// Keys and their order; values where they say something of the machine that both run on.
#[test]
fn environment_and_directories() {
    compare_words("word_environment_and_directories", |s| {
        let same = [
            "os.name",
            "os.arch",
            "os.version",
            "user.name",
            "user.home",
            "java.io.tmpdir",
        ];
        let text = word(s, "envi");
        let mut lines: Vec<String> = text
            .split('\n')
            .map(|line| match line.split_once('=') {
                Some((key, value)) if key.starts_with("os.memory.") => {
                    let number = value.strip_suffix("MB").map(str::parse::<u64>);
                    format!("{key} in MB: {}", matches!(number, Some(Ok(_))))
                }
                Some((key, _)) if !same.contains(&key) => key.to_owned(),
                _ => line.to_owned(),
            })
            .collect();
        let text = word(s, "dirs");
        lines.extend(text.split('\n').map(|line| match line.split_once(": ") {
            Some((key, value)) => {
                let bytes = value.parse::<u64>();
                format!(
                    "{key} has something in it: {}",
                    bytes.is_ok_and(|n| n > 100)
                )
            }
            None => line.to_owned(),
        }));
        lines
    });
}

/// The comparison can fail: every byte of a text that is not masked matters, and what is masked
/// must still look like what it is.
#[test]
fn every_byte_of_a_word_matters() {
    if !has_reference("every_byte_of_a_word_matters") {
        return;
    }
    let servers = Servers::start(BASE.settings);
    let mut server = lock(&servers.reference);
    let (texts, names) = sample(&mut server);
    let (mut compared, mut passed) = (0, 0);
    for text in texts {
        let original = mask(&text, &names);
        for at in 0..text.len() {
            let masked = original.ranges.iter().any(|range| range.contains(&at));
            for other in ["~", "0", "7", "\n", "\t", " ", "S"] {
                let mut mutated = text.clone();
                mutated.replace_range(at..=at, other);
                if mutated == text {
                    continue;
                }
                if mask(&mutated, &names).lines != original.lines {
                    compared += 1;
                    continue;
                }
                assert!(
                    masked,
                    "byte {at} is compared by nobody:\n{text}\n{mutated}"
                );
                assert!(
                    !["~", "\t"].contains(&other),
                    "byte {at} may be anything:\n{text}"
                );
                passed += 1;
            }
        }
    }
    assert!(compared > 1000, "the sample is too small: {compared}");
    assert!(passed > 0, "nothing is masked: the test proves nothing");
}

fn sample(server: &mut Server) -> (Vec<String>, Names) {
    let mut s = Script::new(server, "mask");
    let scene = Scene::set(&s);
    let asked = ["wchs", "wchc", "wchp", "dump", "cons", "stat"];
    let texts = asked.map(|asked| word(&mut s, asked)).to_vec();
    let names = scene.names.clone();
    drop(scene);
    s.finish();
    (texts, names)
}
