//! The rounds of a crash test.
//!
//! A round: the sessions load the server; at a seeded moment, with enough writes unanswered, it is
//! killed; it starts again; everything that the sessions ever did on this store is read back and
//! judged. Sessions go on over several rounds; some end themselves under load, some between two
//! rounds. After a number of rounds the server is stopped cleanly, must come back with the digest
//! it went with, and the next round begins on an empty directory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use ironkeeper_client::process::{Running, Server};
use ironkeeper_client::{Client, ClientError, ConnectOptions, mntr, poll};
use ironkeeper_proto::{Request, Zxid};

use crate::look::{self, Reattached};
use crate::model::{Change, History, Operation, QUEUE};
use crate::random::Random;
use crate::workload::{Counters, Driver, Gained};

/// How much is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides the operations, their sizes, the moments of the kills and which sessions go on.
    pub seed: u64,
    /// Kills that count.
    pub kills: usize,
    /// Kills on one data directory.
    pub kills_per_store: usize,
    /// Sessions under load.
    pub sessions: usize,
    /// Requests that each keeps outstanding.
    pub depth: usize,
    /// A kill counts only if at least so many writes were never answered.
    pub unanswered_min: u64,
    /// Highest number of answers before a kill.
    pub answers_max: usize,
    /// How long a start may take, recovery included.
    pub start_max: Duration,
    /// Whether `mntr` tells `zk_tree_digest` and `zk_last_applied_zxid`.
    pub has_digest: bool,
}

impl Plan {
    /// Eight sessions of depth 32: some 250 writes unanswered at any moment.
    #[must_use]
    pub fn new(seed: u64, kills: usize) -> Self {
        Self {
            seed,
            kills,
            kills_per_store: 10,
            sessions: 8,
            depth: 32,
            unanswered_min: 64,
            answers_max: 3_000,
            start_max: Duration::from_secs(60),
            has_digest: true,
        }
    }
}

/// How long a round's load may take; a thousand answers take a fraction of a second.
const LOAD_MAX: Duration = Duration::from_secs(60);

/// Before the last lines of a server's log.
const LOG_ENDS: &str = "its log ends";

/// What kind of promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was answered is lost, or what is left never was.
    State,
    /// The server does not start again.
    Start,
    /// Something else, which the text says.
    Other,
}

/// What a server did that it must not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What kind of promise was broken.
    pub kind: Kind,
    /// What was seen, with the last lines of the server's log.
    pub text: String,
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Kills with enough writes unanswered.
    pub kills: usize,
    /// Further kills: with too few writes unanswered, or while the server was starting.
    pub kills_beside: usize,
    /// The smallest number of unanswered writes at a kill that counts.
    pub unanswered_min: u64,
    /// Answered writes, all of which were looked for after each kill.
    pub answered: u64,
    /// Unanswered writes that were found, and those that were not.
    pub unanswered_kept: u64,
    /// See `unanswered_kept`.
    pub unanswered_lost: u64,
    /// Clean stops whose digests were compared.
    pub clean_stops: usize,
    /// The longest time from the start of the process to serving.
    pub start_longest: Duration,
    /// The run ends with the first one.
    pub violation: Option<Violation>,
}

/// Why a run could not go on; a violation is no such reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrashError {
    /// A process or a file.
    #[error("running the server: {0}")]
    Io(#[from] io::Error),
    /// The load never got as far as it should.
    #[error(transparent)]
    Elapsed(#[from] poll::Elapsed),
}

/// One data directory and what was done to it.
struct Store {
    server: Server,
    histories: Vec<History>,
    /// Connections of the sessions that go on, by position in `histories`.
    connections: BTreeMap<usize, Client>,
    /// Every number ever given to a sequential node, and to which.
    numbers: BTreeMap<u64, String>,
    /// Highest number before the current round.
    number_floor: Option<u64>,
    highest: Zxid,
}

/// Either a violation or a reason to stop.
enum Stop {
    Violation(Kind, String),
    Error(CrashError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Error(error.into())
    }
}

impl From<poll::Elapsed> for Stop {
    fn from(error: poll::Elapsed) -> Self {
        Self::Error(error.into())
    }
}

fn misbehaved(text: impl Into<String>) -> Stop {
    Stop::Violation(Kind::Other, text.into())
}

/// An error of a client whose server should be well.
fn violation(doing: &str, error: &ClientError) -> Stop {
    misbehaved(format!("{doing}: {}", look::describe(error)))
}

/// Runs `plan` on servers made by `make`, each on a directory of its own below `directory`.
///
/// # Errors
/// [`CrashError`] where nothing can be said of the server. What it did wrong is in the outcome.
pub fn run(
    plan: &Plan,
    directory: &Path,
    mut make: impl FnMut(&Path, u64) -> io::Result<Server>,
) -> Result<Outcome, CrashError> {
    let mut random = Random::new(plan.seed);
    let mut outcome = Outcome {
        unanswered_min: u64::MAX,
        ..Outcome::default()
    };
    for number in 0.. {
        if outcome.kills >= plan.kills || outcome.violation.is_some() {
            break;
        }
        let kills = plan.kills_per_store.min(plan.kills - outcome.kills);
        let server = make(&directory.join(format!("store{number}")), random.bits())?;
        let mut crash = Crash {
            plan,
            random: random.fork(number),
            store: Store {
                server,
                histories: Vec::new(),
                connections: BTreeMap::new(),
                numbers: BTreeMap::new(),
                number_floor: None,
                highest: Zxid(0),
            },
            outcome: &mut outcome,
        };
        match crash.run(kills) {
            Ok(()) => {}
            Err(Stop::Violation(kind, text)) => {
                // Where the server ended by itself, its log is in the text already.
                let log = crash.store.server.log_tail();
                let text = match text.contains(LOG_ENDS) {
                    true => text,
                    false => format!("{text}; {LOG_ENDS}:\n{log}"),
                };
                outcome.violation = Some(Violation { kind, text });
            }
            Err(Stop::Error(error)) => return Err(error),
        }
    }
    Ok(outcome)
}

struct Crash<'a> {
    plan: &'a Plan,
    random: Random,
    store: Store,
    outcome: &'a mut Outcome,
}

impl Crash<'_> {
    fn run(&mut self, kills: usize) -> Result<(), Stop> {
        let mut running = self.start()?;
        self.connect(&running, &ConnectOptions::default())?
            .create(QUEUE, b"")
            .map_err(|error| violation("making the parent of the sequential nodes", &error))?;
        let kills_before = self.outcome.kills;
        let attempts_max = 3 * kills + 5;
        for _ in 0..attempts_max {
            if self.outcome.kills - kills_before == kills {
                break;
            }
            self.load_and_kill(running)?;
            if self.random.one_in(4) {
                self.kill_while_starting()?;
            }
            running = self.start()?;
            self.judge(&running)?;
        }
        if self.outcome.kills - kills_before < kills {
            let text = format!("{attempts_max} kills, too few of them with enough unanswered");
            return Err(Stop::Error(CrashError::Io(io::Error::other(text))));
        }
        self.stop_and_compare(running)
    }

    fn start(&mut self) -> Result<Running, Stop> {
        let started = Instant::now();
        let mut running = self.store.server.start()?;
        // Not starting on a directory that only a kill has touched is the server's fault.
        running
            .wait_serving(self.plan.start_max)
            .map_err(|error| Stop::Violation(Kind::Start, format!("starting again: {error}")))?;
        self.outcome.start_longest = self.outcome.start_longest.max(started.elapsed());
        Ok(running)
    }

    /// A start that is interrupted somewhere in its first 100 ms.
    fn kill_while_starting(&mut self) -> Result<(), Stop> {
        let moment = Duration::from_millis(self.random.below(100) as u64);
        let started = Instant::now();
        let mut running = self.store.server.start()?;
        let ended = poll::until(
            "a moment of the start",
            Duration::from_secs(10),
            || match running.try_wait() {
                Ok(None) => (started.elapsed() >= moment).then_some(None),
                other => Some(Some(other)),
            },
        )?;
        if let Some(status) = ended {
            return Err(misbehaved(format!(
                "the server ended while starting: {status:?}"
            )));
        }
        running.kill()?;
        self.outcome.kills_beside += 1;
        Ok(())
    }

    fn connect(&self, running: &Running, options: &ConnectOptions) -> Result<Client, Stop> {
        Client::connect(running.address(), options)
            .map_err(|error| violation("a new session", &error))
    }

    fn load_and_kill(&mut self, running: Running) -> Result<(), Stop> {
        let mut connections = std::mem::take(&mut self.store.connections);
        while connections.len() < self.plan.sessions {
            let client = self.connect(&running, &ConnectOptions::default())?;
            let number = self.store.histories.len();
            // The handshake has no zxid; the session's first change will be above all others.
            let history = History::new(number, client.session().clone(), Zxid(0));
            self.store.histories.push(history);
            connections.insert(number, client);
        }
        let counters = Counters::default();
        let kill_after = 1 + self.random.below(self.plan.answers_max) as u64;
        let (plan, floor) = (self.plan, self.store.highest);
        let depth = plan.depth;
        let mut gained: Vec<Gained> = Vec::new();
        let mut killed = Ok(());
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (number, history) in self.store.histories.iter_mut().enumerate() {
                let Some(client) = connections.remove(&number) else {
                    continue;
                };
                let mut random = self.random.fork(number as u64);
                // Some end themselves under load: then the kill may meet the end half way. Not the
                // first one, so that the load never dries up.
                let close_after = (!threads.is_empty() && random.one_in(4))
                    .then(|| 1 + random.below(self.plan.answers_max / self.plan.sessions));
                let counters = &counters;
                let driver = Driver {
                    client,
                    history,
                    random,
                    depth,
                    counters,
                    floor,
                    close_after,
                };
                threads.push(scope.spawn(move || driver.run()));
            }
            killed = kill_at(running, &counters, kill_after, plan.unanswered_min, || {
                threads
                    .iter()
                    .all(std::thread::ScopedJoinHandle::is_finished)
            });
            for thread in threads {
                gained.push(thread.join().expect("a session under load does not panic"));
            }
        });
        // What a reply showed tells more than how the load ended.
        self.take_gained(gained)?;
        killed?;
        self.outcome.answered += counters.answered();
        let unanswered = self
            .store
            .histories
            .iter()
            .map(|history| history.pending.len() as u64)
            .sum();
        if unanswered >= self.plan.unanswered_min {
            self.outcome.kills += 1;
            self.outcome.unanswered_min = self.outcome.unanswered_min.min(unanswered);
        } else {
            self.outcome.kills_beside += 1;
        }
        Ok(())
    }

    fn take_gained(&mut self, gained: Vec<Gained>) -> Result<(), Stop> {
        for gained in gained {
            if let Some(text) = gained.violation {
                return Err(misbehaved(text));
            }
            for numbered in gained.numbered {
                match look::sequence_number(&numbered.path) {
                    Some(number) => self.take_number(number, numbered.key)?,
                    None => {
                        let text = format!("{:?} is no name of a sequential node", numbered.path);
                        return Err(misbehaved(text));
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes the number of a sequential node; it must be new, or this node's already.
    fn take_number(&mut self, number: u64, key: String) -> Result<(), Stop> {
        match self.store.numbers.get(&number) {
            Some(other) if *other != key => {
                let text = format!("number {number} was given to {other}, then to {key}");
                Err(misbehaved(text))
            }
            Some(_) => Ok(()),
            None if self.store.number_floor.is_some_and(|floor| number <= floor) => {
                let text = format!("{key} got number {number}, below one of an earlier round");
                Err(misbehaved(text))
            }
            None => {
                self.store.numbers.insert(number, key);
                Ok(())
            }
        }
    }

    /// Looks at everything on the restarted server.
    fn judge(&mut self, running: &Running) -> Result<(), Stop> {
        let address = running.address();
        let mut alive = BTreeMap::new();
        for (number, history) in self.store.histories.iter().enumerate() {
            match look::reattach(address, history) {
                Ok(Reattached::Alive(client)) => drop(alive.insert(number, *client)),
                Ok(Reattached::Refused) => {}
                // So it refuses a client that has seen more than it has.
                Err(ClientError::Closed) => {
                    let text = format!(
                        "the server is behind {}, which session {number} has seen",
                        history.last_zxid
                    );
                    return Err(Stop::Violation(Kind::State, text));
                }
                Err(error) => {
                    let doing = format!("taking up session {number} again");
                    return Err(violation(&doing, &error));
                }
            }
        }
        let victim = self.random.below(self.store.histories.len());
        match look::refuses_wrong_password(address, &self.store.histories[victim]) {
            Ok(true) => {}
            Ok(false) => return Err(misbehaved("a wrong password was accepted".to_owned())),
            Err(error) => return Err(violation("offering a wrong password", &error)),
        }
        let mut reader = self.connect(running, &ConnectOptions::default())?;
        let mut nodes = look::read(&mut reader, &self.store.histories)
            .map_err(|error| violation("reading everything back", &error))?;
        self.store.highest = self.store.highest.max(reader.last_zxid());
        reader
            .close()
            .map_err(|error| violation("ending a session", &error))?;
        if !nodes.strays.is_empty() {
            let text = format!("nodes that nobody made: {}", nodes.strays.join(", "));
            return Err(misbehaved(text));
        }
        for (number, history) in self.store.histories.iter_mut().enumerate() {
            let observed = look::observed(&mut nodes, number, alive.contains_key(&number));
            let pending = history.pending.len();
            let kept = history
                .judge(&observed)
                .map_err(|text| Stop::Violation(Kind::State, text))?;
            self.outcome.unanswered_kept += kept as u64;
            self.outcome.unanswered_lost += (pending - kept) as u64;
            self.store.highest = self.store.highest.max(history.last_zxid);
        }
        for (number, key) in std::mem::take(&mut nodes.numbers) {
            self.take_number(number, key)?;
        }
        self.store.number_floor = self
            .store
            .numbers
            .last_key_value()
            .map(|(number, _)| *number);
        for (number, client) in alive {
            if self.random.one_in(3) {
                self.end(number, client)?;
            } else {
                self.store.connections.insert(number, client);
            }
        }
        Ok(())
    }

    /// Ends a session between two rounds; its ephemeral nodes must be gone from then on.
    fn end(&mut self, number: usize, mut client: Client) -> Result<(), Stop> {
        let history = &mut self.store.histories[number];
        history.sent(Operation::of(vec![Change::CloseSession]));
        let reply = client
            .call(&Request::CloseSession)
            .map_err(|error| violation("ending a session", &error))?;
        history.answered(reply.zxid, &[]);
        self.store.highest = self.store.highest.max(reply.zxid);
        Ok(())
    }

    /// A clean stop and start: same digest, same zxid, and all that was there is there.
    fn stop_and_compare(&mut self, running: Running) -> Result<(), Stop> {
        self.store.connections.clear();
        let before = self.digest(&running)?;
        let status = running.terminate(Duration::from_secs(20))?;
        // Apache's process ends by the signal; ours ends by itself.
        if self.plan.has_digest && !status.success() {
            return Err(misbehaved(format!("a clean stop ended with {status}")));
        }
        let running = self.start()?;
        let after = self.digest(&running)?;
        if before != after {
            let text = format!("stopped cleanly with {before:?}, came back with {after:?}");
            return Err(misbehaved(text));
        }
        self.outcome.clean_stops += usize::from(before.is_some());
        self.judge(&running)?;
        self.store.connections.clear();
        running.kill()?;
        Ok(())
    }

    /// Digest and zxid of the tree, if the server tells them.
    fn digest(&self, running: &Running) -> Result<Option<(String, String)>, Stop> {
        if !self.plan.has_digest {
            return Ok(None);
        }
        let mut figures = mntr(running.address(), Duration::from_secs(20))?;
        let mut take = |key: &str| {
            let text = format!("mntr does not tell {key}");
            figures.remove(key).ok_or(misbehaved(text))
        };
        Ok(Some((
            take("zk_tree_digest")?,
            take("zk_last_applied_zxid")?,
        )))
    }
}

/// Kills the server once `kill_after` writes are answered and at least `unanswered_min` are not.
fn kill_at(
    running: Running,
    counters: &Counters,
    kill_after: u64,
    unanswered_min: u64,
    over: impl Fn() -> bool,
) -> Result<(), Stop> {
    let deadline = Instant::now() + LOAD_MAX;
    // Finer than the pauses of `poll`: one of 2 ms is many commits long, and waking from it may
    // well fall together with a phase of the server's loop.
    while !over() && Instant::now() < deadline {
        if counters.answered() >= kill_after && counters.unanswered() >= unanswered_min {
            break;
        }
        std::thread::park_timeout(Duration::from_micros(50));
    }
    let (answered, over) = (counters.answered(), over());
    // An error here: it had ended by itself.
    running
        .kill()
        .map_err(|error| misbehaved(error.to_string()))?;
    if answered < kill_after {
        let why = if over {
            "all connections were closed"
        } else {
            "time was up"
        };
        let text = format!("under load {why} after {answered} of {kill_after} answers");
        return Err(misbehaved(text));
    }
    Ok(())
}
