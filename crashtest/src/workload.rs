//! One session under load: it keeps a number of requests outstanding until the server is gone.

use std::sync::atomic::{AtomicU64, Ordering};

use ironkeeper_client::{Client, ClientError, Reply};
use ironkeeper_proto::{ErrorCode, Zxid};

use crate::model::{Change, History, Operation};
use crate::random::Random;

/// Replies that a session reads before it sends more.
const REPLIES_AT_ONCE: usize = 4;

/// Requests of all sessions, counted where they are sent and where replies are read.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent: AtomicU64,
    answered: AtomicU64,
}

impl Counters {
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Requests sent whose reply nobody has read.
    pub(crate) fn unanswered(&self) -> u64 {
        // In this order the difference is never too large by a reply that comes in between.
        let sent = self.sent.load(Ordering::SeqCst);
        sent.saturating_sub(self.answered())
    }
}

/// A sequential node that the server has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) key: String,
    pub(crate) path: String,
}

/// What the replies of one session brought.
#[derive(Debug, Default)]
pub(crate) struct Gained {
    pub(crate) numbered: Vec<Numbered>,
    /// A reply that no server may give.
    pub(crate) violation: Option<String>,
}

pub(crate) struct Driver<'a> {
    pub(crate) client: Client,
    pub(crate) history: &'a mut History,
    pub(crate) random: Random,
    pub(crate) depth: usize,
    pub(crate) counters: &'a Counters,
    /// Every change of this round must have a higher zxid.
    pub(crate) floor: Zxid,
    /// The session ends itself after so many requests of this round.
    pub(crate) close_after: Option<usize>,
}

impl Driver<'_> {
    /// Runs until the connection ends, then reads the replies that had arrived before.
    pub(crate) fn run(mut self) -> Gained {
        let mut gained = Gained::default();
        let mut made = 0;
        loop {
            while self.history.projected.alive && self.history.pending.len() < self.depth {
                let operation = if self.close_after == Some(made) {
                    Operation::of(vec![Change::CloseSession])
                } else {
                    self.next_operation()
                };
                made += 1;
                operation.with_request(|request| self.client.submit(request));
                self.history.sent(operation);
                self.counters.sent.fetch_add(1, Ordering::SeqCst);
            }
            // After a failed write the replies that came before the end are still there to be read.
            let _ = self.client.flush();
            // A few replies at a time, so that the requests of a session, and with them those of
            // all, do not move in step with the commits.
            for _ in 0..REPLIES_AT_ONCE {
                if let Err(error) = self.take_reply(&mut gained) {
                    if !error.is_disconnect() {
                        gained.violation = Some(self.accuse(&error.to_string()));
                    }
                    return gained;
                }
                if !self.client.has_received() {
                    break;
                }
            }
        }
    }

    fn accuse(&self, what: &str) -> String {
        format!(
            "session {} ({}): {what}",
            self.history.number, self.history.session.id
        )
    }

    fn take_reply(&mut self, gained: &mut Gained) -> Result<(), ClientError> {
        let reply = self.client.reply()?;
        self.counters.answered.fetch_add(1, Ordering::SeqCst);
        let operation = self.history.pending.front();
        let operation =
            operation.ok_or_else(|| ClientError::Protocol("a reply to nothing".into()))?;
        let names = expected_answer(operation, &reply)?;
        if reply.zxid <= self.floor.max(self.history.last_zxid) {
            let text = format!(
                "a change got zxid {}, but {} was there before it",
                reply.zxid,
                self.floor.max(self.history.last_zxid)
            );
            return Err(ClientError::Protocol(text));
        }
        let operation = self.history.answered(reply.zxid, &names);
        for change in &operation.changes {
            if let Change::Sequence { key, .. } = change {
                // The sequential node is the last one that its request makes.
                let path = names.last().cloned().unwrap_or_default();
                gained.numbered.push(Numbered {
                    key: key.clone(),
                    path,
                });
            }
        }
        Ok(())
    }

    fn data(&mut self) -> Vec<u8> {
        // Mostly small; some need several sectors, a few several blocks of a disk.
        let bound = match self.random.below(20) {
            0 => 30_000,
            1..=3 => 3_000,
            _ => 200,
        };
        let length = self.random.below(bound);
        let mut data = format!("{}.{}:", self.history.number, self.history.made).into_bytes();
        data.resize(data.len() + length, b'a' + self.random.below(26) as u8);
        data
    }

    fn next_operation(&mut self) -> Operation {
        let directory = self.history.directory();
        let number = self.history.made;
        let path = |kind: &str| format!("{directory}/{kind}{number}");
        let create = |path: String, data, ephemeral| Change::Create {
            path,
            data,
            ephemeral,
        };
        // Made once, or again where a crash took it away unanswered.
        if !self.history.projected.nodes.contains_key(&directory) {
            return Operation::of(vec![create(directory, self.data(), false)]);
        }
        let data = self.data();
        let counter = Change::Set {
            path: directory.clone(),
            data: number.to_string().into_bytes(),
        };
        let key = format!("{}.{number}", self.history.number);
        match self.random.below(100) {
            0..25 => Operation::of(vec![create(path("n"), data, false)]),
            25..40 => Operation::of(vec![counter]),
            40..60 => {
                let pair = vec![
                    create(path("a"), data.clone(), false),
                    create(path("b"), data, false),
                ];
                Operation::of([pair, vec![counter]].concat())
            }
            60..65 => {
                let changes = vec![create(path("x"), data, false), counter];
                Operation {
                    changes,
                    fails: true,
                }
            }
            65..72 => Operation::of(vec![create(path("e"), data, true)]),
            72..80 => Operation::of(vec![Change::Sequence {
                key,
                ephemeral: false,
            }]),
            80..83 => Operation::of(vec![Change::Sequence {
                key,
                ephemeral: true,
            }]),
            83..86 => {
                let pair = vec![
                    create(path("n"), data, false),
                    Change::Sequence {
                        key,
                        ephemeral: false,
                    },
                ];
                Operation::of(pair)
            }
            _ => self
                .deletion()
                .unwrap_or_else(|| Operation::of(vec![counter])),
        }
    }

    /// Deletes one node, or two at once.
    fn deletion(&mut self) -> Option<Operation> {
        let directory = self.history.directory();
        let nodes = &self.history.projected.nodes;
        let (start, count) = (self.random.below(nodes.len()), 1 + self.random.below(2));
        let changes: Vec<Change> = nodes
            .iter()
            .skip(start)
            .filter(|(key, _)| **key != directory)
            .filter_map(|(key, node)| {
                // A sequential node can be deleted once its name is known.
                let path = node
                    .name
                    .as_ref()
                    .or_else(|| key.starts_with('/').then_some(key))?;
                Some(Change::Delete {
                    key: key.clone(),
                    path: path.clone(),
                })
            })
            .take(count)
            .collect();
        (!changes.is_empty()).then(|| Operation::of(changes))
    }
}

/// The names of created nodes, if the reply is the only one that `operation` may get.
fn expected_answer(operation: &Operation, reply: &Reply) -> Result<Vec<String>, ClientError> {
    let names = reply.created_paths();
    if !operation.fails {
        return names;
    }
    match names {
        Err(ClientError::Multi(codes))
            if codes.last() == Some(&ErrorCode::NoNode)
                && codes
                    .iter()
                    .rev()
                    .skip(1)
                    .all(|code| *code == ErrorCode::Ok) =>
        {
            Ok(Vec::new())
        }
        other => Err(ClientError::Protocol(format!(
            "a multi that must fail gave {other:?}"
        ))),
    }
}
