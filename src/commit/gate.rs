//! The requests of one batch before a closed gate, or an open one: which of them go on, and how the
//! others end.

use std::sync::atomic::Ordering;

use ironkeeper_proto::ErrorCode;
use ironkeeper_replica::{Outlet as _, Replica};

use crate::outbound::{Conns, Outbound};
use crate::state::Batch;
use crate::throttle::{Candidate, Counts, RequestGate, Verdict};

/// What the gate decides by.
pub(super) struct Passing<'a> {
    pub(super) gate: &'a RequestGate,
    pub(super) counts: &'a Counts,
    pub(super) conns: &'a Conns,
    pub(super) now_us: u64,
}

impl Passing<'_> {
    /// Ends the requests at the head of `batch` that are not to be carried out. True if the one behind
    /// them is, and now; false also at the end of the batch.
    pub(super) fn admits(
        &self,
        batch: &mut Batch,
        replica: &mut Replica,
        out: &mut Outbound<'_>,
    ) -> bool {
        let counts = self.counts;
        while let Some(candidate) = self.candidate(batch) {
            let verdict = self.gate.judge(&candidate, replica.in_flight());
            if verdict == Verdict::Hold {
                counts.waits.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            if let Verdict::Admit { stale } = verdict {
                counts.stale.fetch_add(stale.into(), Ordering::Relaxed);
                counts.wait_us.record(candidate.waited_us);
                return true;
            }
            let Some(request) = batch.take() else {
                break;
            };
            if verdict == Verdict::Refuse {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                counts.wait_us.record(candidate.waited_us);
                replica.refuse(&request, ErrorCode::ThrottledOp);
            } else {
                // Those behind the first are dropped with it, and not counted, as in Apache.
                let is_first = !candidate.is_behind_a_drop;
                counts
                    .stale_dropped
                    .fetch_add(is_first.into(), Ordering::Relaxed);
                out.discard(&request);
            }
        }
        false
    }

    fn candidate(&self, batch: &Batch) -> Option<Candidate> {
        let op = batch.next_op()?;
        let shared = self.conns.get(batch.conn);
        Some(Candidate {
            op,
            waited_us: self.now_us.saturating_sub(batch.received_us),
            is_abandoned: shared.is_none_or(|shared| shared.is_leaving()),
            is_behind_a_drop: shared.is_some_and(|shared| shared.outbox.is_aborted()),
            session_timeout_ms: shared.map_or(0, |shared| shared.figures.timeout_ms()),
        })
    }
}
