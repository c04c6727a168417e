//! The gate in front of the commit path (`request_throttle_*`): no more than so many requests are in
//! it, and what waits too long is dropped or refused.
//!
//! Reads of a connection that has no unanswered write are answered where they are read and never
//! come here: there is nothing that they could overload.

use std::time::Duration;

use ironkeeper_proto::OpCode;

use crate::config::throttles::RequestThrottle;

/// Decides about one request after the other, in the order in which they came.
#[derive(Debug)]
pub(crate) struct RequestGate {
    settings: RequestThrottle,
}

/// The first request that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) op: OpCode,
    pub(crate) waited_us: u64,
    /// Its connection is gone, or is about to be closed.
    pub(crate) is_abandoned: bool,
    /// An earlier request of its connection was dropped, so this one must not be carried out.
    pub(crate) is_behind_a_drop: bool,
    pub(crate) session_timeout_ms: u32,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes its way; `stale` is for the record.
    Admit { stale: bool },
    /// It goes its way as an error: it has waited too long.
    Refuse,
    /// It is not carried out, and its connection is closed.
    Drop,
    /// It has to wait, and everything behind it.
    Hold,
}

impl RequestGate {
    /// None where the throttle is off.
    pub(super) fn new(settings: &RequestThrottle) -> Option<Self> {
        (settings.requests_max > 0).then(|| Self {
            settings: settings.clone(),
        })
    }

    /// Whether there is room for one more beside `inside`.
    pub(crate) fn is_open(&self, inside: usize) -> bool {
        inside < self.settings.requests_max
    }

    /// After this time the first one that waits is judged again, whether or not there is room.
    pub(crate) fn stall_time(&self) -> Duration {
        self.settings.stall_time
    }

    pub(crate) fn judge(&self, candidate: &Candidate, inside: usize) -> Verdict {
        if candidate.is_behind_a_drop {
            return Verdict::Drop;
        }
        let stale = self.is_stale(candidate);
        if stale && self.settings.drop_stale {
            return Verdict::Drop;
        }
        if !self.is_open(inside) {
            return Verdict::Hold;
        }
        let is_exempt = matches!(candidate.op, OpCode::Ping | OpCode::CloseSession);
        let wait_max = self.settings.wait_max.filter(|_| !is_exempt);
        // Whole milliseconds, as Apache counts them.
        match wait_max {
            Some(most) if u128::from(candidate.waited_us / 1000) > most.as_millis() => {
                Verdict::Refuse
            }
            _ => Verdict::Admit { stale },
        }
    }

    /// The end of a session is never stale: it cleans up behind its client.
    fn is_stale(&self, candidate: &Candidate) -> bool {
        let settings = &self.settings;
        let waited_ms = candidate.waited_us / 1000;
        candidate.op != OpCode::CloseSession
            && (settings.check_connection && candidate.is_abandoned
                || settings.check_latency && waited_ms > u64::from(candidate.session_timeout_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Candidate = Candidate {
        op: OpCode::SetData,
        waited_us: 0,
        is_abandoned: false,
        is_behind_a_drop: false,
        session_timeout_ms: 4000,
    };

    fn gate(change: impl FnOnce(&mut RequestThrottle)) -> RequestGate {
        let mut settings = RequestThrottle {
            requests_max: 2,
            ..RequestThrottle::default()
        };
        change(&mut settings);
        RequestGate::new(&settings).unwrap()
    }

    #[test]
    fn as_many_are_let_in_as_may_be_inside() {
        assert!(RequestGate::new(&RequestThrottle::default()).is_none());
        let gate = gate(|_| {});
        let judge = |inside| gate.judge(&SET, inside);
        assert_eq!(judge(1), Verdict::Admit { stale: false });
        assert_eq!(judge(2), Verdict::Hold);
        assert_eq!(judge(300), Verdict::Hold);
    }

    #[test]
    fn what_comes_from_a_connection_that_is_gone_is_dropped_unless_told_otherwise() {
        let abandoned = Candidate {
            is_abandoned: true,
            ..SET
        };
        // Whether or not there is room.
        assert_eq!(gate(|_| {}).judge(&abandoned, 0), Verdict::Drop);
        assert_eq!(gate(|_| {}).judge(&abandoned, 2), Verdict::Drop);
        let kept = gate(|s| s.drop_stale = false);
        assert_eq!(kept.judge(&abandoned, 0), Verdict::Admit { stale: true });
        assert_eq!(kept.judge(&abandoned, 2), Verdict::Hold);
        let unchecked = gate(|s| s.check_connection = false);
        assert_eq!(
            unchecked.judge(&abandoned, 0),
            Verdict::Admit { stale: false }
        );
        let close = Candidate {
            op: OpCode::CloseSession,
            ..abandoned
        };
        assert_eq!(
            gate(|_| {}).judge(&close, 0),
            Verdict::Admit { stale: false }
        );
        let behind = Candidate {
            is_behind_a_drop: true,
            ..close
        };
        assert_eq!(unchecked.judge(&behind, 0), Verdict::Drop, "order is kept");
    }

    #[test]
    fn what_outlives_its_sessions_timeout_is_stale_where_that_is_asked() {
        let late = Candidate {
            waited_us: 4_001_000,
            ..SET
        };
        let checked = gate(|s| s.check_latency = true);
        assert_eq!(
            gate(|_| {}).judge(&late, 0),
            Verdict::Admit { stale: false }
        );
        assert_eq!(checked.judge(&late, 2), Verdict::Drop);
        let in_time = Candidate {
            waited_us: 4_000_999,
            ..SET
        };
        assert_eq!(checked.judge(&in_time, 2), Verdict::Hold);
    }

    #[test]
    fn what_waited_too_long_is_refused_but_for_pings_and_ends_of_sessions() {
        let gate = gate(|s| s.wait_max = Some(Duration::from_millis(50)));
        let judge = |op, waited_us| {
            let candidate = Candidate {
                op,
                waited_us,
                ..SET
            };
            gate.judge(&candidate, 0)
        };
        assert_eq!(judge(OpCode::Multi, 51_000), Verdict::Refuse);
        assert_eq!(judge(OpCode::GetData, 51_000), Verdict::Refuse);
        assert_eq!(
            judge(OpCode::Multi, 50_999),
            Verdict::Admit { stale: false }
        );
        for exempt in [OpCode::Ping, OpCode::CloseSession] {
            assert_eq!(judge(exempt, 51_000), Verdict::Admit { stale: false });
        }
    }
}
