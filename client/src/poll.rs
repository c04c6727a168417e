//! Waiting for a condition with a deadline: the only place where a test of this workspace pauses.
//!
//! A fixed sleep is either too short (a flaky test) or too long (a slow one). [`until`] asks again
//! and again, gives the processor away between two questions, and says what it waited for when the
//! deadline passes.

use std::time::{Duration, Instant};

/// How long one pause between two questions lasts. Short beside anything a caller waits for
/// (process start, a session's expiry), long enough to leave the cores to who is asked.
const PAUSE: Duration = Duration::from_millis(2);

/// The condition did not become true in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("waited {waited_ms} ms in vain for {what}")]
pub struct Elapsed {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub waited_ms: u128,
}

/// Asks `question` until it answers or `within` has passed. It is asked at least once.
///
/// # Errors
/// [`Elapsed`] when the deadline passes without an answer.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut question: impl FnMut() -> Option<T>,
) -> Result<T, Elapsed> {
    let start = Instant::now();
    loop {
        if let Some(answer) = question() {
            return Ok(answer);
        }
        let waited = start.elapsed();
        if waited >= within {
            return Err(Elapsed {
                what: what.to_owned(),
                waited_ms: waited.as_millis(),
            });
        }
        std::thread::park_timeout(PAUSE.min(within - waited));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_soon_as_the_condition_holds() {
        let mut asked = 0;
        let answer = until("three", Duration::from_secs(10), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer, Ok(3));
    }

    #[test]
    fn names_what_it_waited_for() {
        let error = until::<()>("godot", Duration::from_millis(5), || None).unwrap_err();
        assert!(error.to_string().contains("in vain for godot"), "{error}");
    }
}
