//! Session liveness on one server: who owns a session, when it was last heard, when it expires.
//!
//! Holds deadlines in buckets of one tick, as ZooKeeper does, so that thousands of sessions expire
//! in a few steps. It never reads a clock: monotonic milliseconds are arguments. A touch is one
//! store into a [`Heartbeat`] that the connection shares; the bucket is corrected only when its
//! time comes, so pings cost nothing here.
//!
//! Invariants: a session is in at most one live bucket; `closing` never goes back to false.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use ironkeeper_proto::SessionId;

use crate::ConnId;

/// When a session's client was last heard, in monotonic milliseconds. Shared with the connection
/// that serves the session, which stores into it for every batch of frames.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Notes that the client was heard at `now_ms`. Never moves backwards.
    pub fn touch(&self, now_ms: u64) {
        if self.0.load(Ordering::Relaxed) < now_ms {
            self.0.fetch_max(now_ms, Ordering::Relaxed);
        }
    }

    fn heard_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One live session as this server tracks it.
#[derive(Debug)]
struct Session {
    timeout_ms: u32,
    heard: Heartbeat,
    bucket_ms: u64,
    owner: Option<ConnId>,
    closing: bool,
}

/// Why a request of a session cannot be served (client-protocol 4.0.1, step 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The session is unknown or is closing: answered with SESSIONEXPIRED.
    Expired,
    /// Another connection owns the session: the asking connection is closed without a reply.
    Moved,
}

/// The sessions that are alive, in expiry buckets.
#[derive(Debug)]
pub(crate) struct Sessions {
    tick_ms: u64,
    /// Ids are this server's own, so nobody can choose ones that collide.
    by_id: HashMap<SessionId, Session, FixedState>,
    buckets: BTreeMap<u64, Vec<SessionId>>,
}

impl Sessions {
    /// No sessions; deadlines are rounded up to multiples of `tick_ms` (at least 1).
    #[must_use]
    pub(crate) fn new(tick_ms: u32) -> Self {
        Self {
            tick_ms: u64::from(tick_ms.max(1)),
            by_id: HashMap::default(),
            buckets: BTreeMap::new(),
        }
    }

    /// Sessions tracked, closing ones included.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Starts tracking `session` with a full timeout from `now_ms`. Tracking one again restarts
    /// its clock and keeps nothing of its former state.
    pub(crate) fn track(&mut self, session: SessionId, timeout_ms: u32, now_ms: u64) {
        let heard = Heartbeat::default();
        heard.touch(now_ms);
        let bucket_ms = self.deadline(now_ms, timeout_ms);
        self.by_id.insert(
            session,
            Session {
                timeout_ms,
                heard,
                bucket_ms,
                owner: None,
                closing: false,
            },
        );
        self.buckets.entry(bucket_ms).or_default().push(session);
    }

    /// Gives `session` to `owner` with a renegotiated timeout. Returns the heartbeat to touch and
    /// the connection that owned it before, which must be closed.
    pub(crate) fn attach(
        &mut self,
        session: SessionId,
        owner: ConnId,
        timeout_ms: u32,
        now_ms: u64,
    ) -> Result<(Heartbeat, Option<ConnId>), Refusal> {
        let tick_ms = self.tick_ms;
        let entry = self.by_id.get_mut(&session).ok_or(Refusal::Expired)?;
        if entry.closing {
            return Err(Refusal::Expired);
        }
        entry.timeout_ms = timeout_ms;
        entry.heard.touch(now_ms);
        let bucket_ms = deadline(tick_ms, now_ms, timeout_ms);
        if bucket_ms != entry.bucket_ms {
            // The former bucket keeps a stale mention, which `expire` skips.
            entry.bucket_ms = bucket_ms;
            self.buckets.entry(bucket_ms).or_default().push(session);
        }
        let former = entry.owner.replace(owner).filter(|former| *former != owner);
        Ok((entry.heard.clone(), former))
    }

    /// Gives a session that has no connection yet to the one that asked for it.
    pub(crate) fn adopt(
        &mut self,
        session: SessionId,
        owner: ConnId,
    ) -> Result<Heartbeat, Refusal> {
        let entry = self.by_id.get_mut(&session).ok_or(Refusal::Expired)?;
        if entry.closing {
            return Err(Refusal::Expired);
        }
        entry.owner.get_or_insert(owner);
        Ok(entry.heard.clone())
    }

    /// Forgets that `owner` serves `session`: its connection is gone, the session lives on.
    pub(crate) fn detach(&mut self, session: SessionId, owner: ConnId) {
        if let Some(entry) = self.by_id.get_mut(&session)
            && entry.owner == Some(owner)
        {
            entry.owner = None;
        }
    }

    /// May `owner` act for `session` now?
    pub(crate) fn check(&self, session: SessionId, owner: ConnId) -> Result<(), Refusal> {
        match self.by_id.get(&session) {
            None => Err(Refusal::Expired),
            Some(entry) if entry.closing => Err(Refusal::Expired),
            Some(entry) if entry.owner != Some(owner) => Err(Refusal::Moved),
            Some(_) => Ok(()),
        }
    }

    /// Marks `session` as closing: from now on every other request of it is refused. Returns
    /// false when it is unknown or was closing already.
    pub(crate) fn close(&mut self, session: SessionId) -> bool {
        match self.by_id.get_mut(&session) {
            Some(entry) if !entry.closing => {
                entry.closing = true;
                true
            }
            _ => false,
        }
    }

    /// Stops tracking `session`; its closing was applied. Returns the connection that served it.
    pub(crate) fn forget(&mut self, session: SessionId) -> Option<ConnId> {
        self.by_id.remove(&session).and_then(|entry| entry.owner)
    }

    /// The next instant, in monotonic milliseconds, at which [`Sessions::expire`] has work.
    #[must_use]
    pub(crate) fn poll_deadline(&self) -> Option<u64> {
        self.buckets.keys().next().copied()
    }

    /// Takes up to `max` sessions whose deadline has passed by `now_ms` and marks them closing.
    /// Sessions heard in the meantime move to their new bucket instead.
    pub(crate) fn expire(&mut self, now_ms: u64, max: usize) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some((&bucket_ms, _)) = self.buckets.first_key_value() {
            if bucket_ms > now_ms || expired.len() >= max {
                break;
            }
            let mut members = self.buckets.remove(&bucket_ms).unwrap_or_default();
            while let Some(session) = members.pop() {
                let Some(entry) = self.by_id.get_mut(&session) else {
                    continue;
                };
                if entry.closing || entry.bucket_ms != bucket_ms {
                    continue;
                }
                let due_ms = deadline(self.tick_ms, entry.heard.heard_ms(), entry.timeout_ms);
                if due_ms > now_ms {
                    entry.bucket_ms = due_ms;
                    self.buckets.entry(due_ms).or_default().push(session);
                } else {
                    entry.closing = true;
                    expired.push(session);
                    if expired.len() >= max {
                        break;
                    }
                }
            }
            if !members.is_empty() {
                self.buckets.insert(bucket_ms, members);
            }
        }
        expired
    }

    /// Sessions that are not closing, each with its deadline as it was heard last.
    pub(crate) fn deadlines(&self) -> Vec<(u64, SessionId)> {
        self.by_id
            .iter()
            .filter(|(_, entry)| !entry.closing)
            .map(|(id, entry)| (self.deadline(entry.heard.heard_ms(), entry.timeout_ms), *id))
            .collect()
    }

    fn deadline(&self, heard_ms: u64, timeout_ms: u32) -> u64 {
        deadline(self.tick_ms, heard_ms, timeout_ms)
    }
}

/// Expiry falls between `timeout` and `timeout + tick` after the last touch (client-protocol 10.2).
fn deadline(tick_ms: u64, heard_ms: u64, timeout_ms: u32) -> u64 {
    ((heard_ms + u64::from(timeout_ms)) / tick_ms + 1) * tick_ms
}

#[cfg(test)]
mod tests {
    use ironkeeper_tree::watch::WatcherId;

    use super::*;

    const A: SessionId = SessionId(10);
    const B: SessionId = SessionId(11);

    fn conn(slot: u32) -> ConnId {
        ConnId {
            watcher: WatcherId(slot),
            generation: 1,
        }
    }

    #[test]
    fn a_session_expires_between_timeout_and_timeout_plus_tick() {
        let mut sessions = Sessions::new(2000);
        sessions.track(A, 4000, 500);
        assert_eq!(sessions.poll_deadline(), Some(6000));
        assert!(sessions.expire(5999, 10).is_empty());
        assert_eq!(sessions.expire(6000, 10), [A]);
        assert_eq!(sessions.check(A, conn(1)), Err(Refusal::Expired));
    }

    #[test]
    fn a_heartbeat_moves_the_deadline() {
        let mut sessions = Sessions::new(100);
        sessions.track(A, 400, 0);
        let (heard, _) = sessions.attach(A, conn(1), 400, 0).unwrap();
        heard.touch(450);
        assert_eq!(
            sessions.deadlines(),
            [(900, A)],
            "seen before the bucket is"
        );
        assert!(sessions.expire(500, 10).is_empty());
        assert_eq!(sessions.poll_deadline(), Some(900));
        assert_eq!(sessions.expire(900, 10), [A]);
    }

    #[test]
    fn reattaching_renegotiates_and_names_the_former_owner() {
        let mut sessions = Sessions::new(100);
        sessions.track(A, 10_000, 0);
        assert_eq!(sessions.attach(A, conn(1), 10_000, 0).unwrap().1, None);
        assert_eq!(
            sessions.attach(A, conn(2), 300, 0).unwrap().1,
            Some(conn(1))
        );
        assert_eq!(sessions.check(A, conn(1)), Err(Refusal::Moved));
        assert_eq!(sessions.check(A, conn(2)), Ok(()));
        assert_eq!(sessions.expire(400, 10), [A], "the shorter timeout counts");
        assert!(
            sessions.expire(20_000, 10).is_empty(),
            "the stale mention is skipped"
        );
    }

    #[test]
    fn a_detached_session_lives_until_its_timeout() {
        let mut sessions = Sessions::new(100);
        sessions.track(A, 300, 0);
        sessions.attach(A, conn(1), 300, 0).unwrap();
        sessions.detach(A, conn(9));
        assert_eq!(
            sessions.check(A, conn(1)),
            Ok(()),
            "only its owner detaches it"
        );
        sessions.detach(A, conn(1));
        assert_eq!(sessions.check(A, conn(1)), Err(Refusal::Moved));
        assert_eq!(sessions.expire(400, 10), [A]);
    }

    #[test]
    fn expiry_is_bounded_a_step_and_loses_nobody() {
        let mut sessions = Sessions::new(100);
        sessions.track(A, 300, 0);
        sessions.track(B, 300, 0);
        let mut all = sessions.expire(400, 1);
        assert_eq!(all.len(), 1);
        all.extend(sessions.expire(400, 1));
        all.sort();
        assert_eq!(all, [A, B]);
        assert_eq!(sessions.poll_deadline(), None);
    }

    #[test]
    fn closing_is_final() {
        let mut sessions = Sessions::new(100);
        sessions.track(A, 300, 0);
        assert!(sessions.close(A));
        assert!(!sessions.close(A));
        assert!(sessions.deadlines().is_empty());
        assert_eq!(
            sessions.attach(A, conn(1), 300, 0).unwrap_err(),
            Refusal::Expired
        );
        assert!(sessions.expire(1000, 10).is_empty(), "it is closed once");
        assert_eq!(sessions.forget(A), None);
        assert_eq!(sessions.len(), 0);
    }
}
