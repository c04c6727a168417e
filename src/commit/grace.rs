//! Time that this process did not have: its clients could not be heard, so nobody expires for it.

/// Puts off the expiry of sessions by a tick where the engine itself comes much too late.
#[derive(Debug)]
pub(super) struct Grace {
    tick_ms: u64,
    stepped_ms: u64,
    until_ms: u64,
}

impl Grace {
    pub(super) fn new(tick_ms: u32, now_ms: u64) -> Self {
        Self {
            tick_ms: tick_ms.into(),
            stepped_ms: now_ms,
            until_ms: 0,
        }
    }

    /// The engine is awake at `now_ms`; `deadline_ms` is when the next session is due.
    pub(super) fn step(&mut self, now_ms: u64, deadline_ms: Option<u64>) {
        // An idle engine wakes for nothing but `wake_at`: if waking when a grace ends counted as
        // late, each grace would begin the next, and nobody would ever expire.
        let due_ms = deadline_ms
            .map_or(u64::MAX, |deadline_ms| self.wake_at(deadline_ms))
            .max(self.stepped_ms);
        if now_ms.saturating_sub(due_ms) > self.tick_ms / 2 {
            self.until_ms = now_ms + self.tick_ms;
        }
        self.stepped_ms = now_ms;
    }

    /// Whether nobody expires at `now_ms`, due or not.
    pub(super) fn lasts(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms
    }

    /// When to wake for a session that is due at `deadline_ms`.
    pub(super) fn wake_at(&self, deadline_ms: u64) -> u64 {
        deadline_ms.max(self.until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::Grace;

    /// Steps at these times, with a session due at 1000; whether a grace lasts after each.
    fn check(steps: &[(u64, bool)]) {
        let mut grace = Grace::new(500, 0);
        for &(now_ms, lasts) in steps {
            grace.step(now_ms, Some(1000));
            assert_eq!(grace.lasts(now_ms), lasts, "{now_ms} of {steps:?}");
        }
    }

    #[test]
    fn who_comes_in_time_has_no_grace() {
        check(&[(400, false), (1000, false)]);
        check(&[(1250, false)]);
        check(&[(900, false), (1100, false), (1300, false), (1550, false)]);
    }

    #[test]
    fn who_comes_late_has_a_tick() {
        check(&[(1251, true), (1700, true), (1751, false)]);
        check(&[(9000, true), (9100, true), (9499, true), (9500, false)]);
    }

    #[test]
    fn an_idle_engine_wakes_when_its_grace_ends_and_has_no_other() {
        let mut grace = Grace::new(500, 0);
        grace.step(1400, Some(1000));
        assert!(grace.lasts(1400));
        let woken_ms = grace.wake_at(1000);
        assert_eq!(woken_ms, 1900);
        grace.step(woken_ms, Some(1000));
        assert!(!grace.lasts(woken_ms));
    }

    #[test]
    fn who_comes_late_again_has_another() {
        check(&[(1400, true), (2151, true), (2651, false)]);
    }

    #[test]
    fn without_sessions_nothing_is_late() {
        let mut grace = Grace::new(500, 0);
        grace.step(90_000, None);
        assert!(!grace.lasts(90_000));
    }
}
