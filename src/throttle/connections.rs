//! The bucket of tokens that sessions are paid from (`connection_throttle_*`), and the drops at
//! random in front of it.
//!
//! With tokens alone, who comes late every time is turned away every time. So, where a freeze time is
//! set, connections are dropped at random first, with a probability that grows while the bucket is
//! found empty and falls while it is nearly full (the BLUE algorithm for queues, as in Apache's
//! BlueThrottle).

use crate::config::throttles::ConnectionThrottle;

/// `tokens <= tokens_max`; times are monotonic milliseconds.
#[derive(Debug)]
pub(super) struct Bucket {
    settings: ConnectionThrottle,
    tokens_max: u64,
    fill_count: u64,
    tokens: u64,
    filled_ms: u64,
    frozen_ms: u64,
    drop_probability: f64,
}

impl Bucket {
    /// A full bucket; none where the throttle is off.
    pub(super) fn new(settings: &ConnectionThrottle) -> Option<Self> {
        if settings.tokens == 0 {
            return None;
        }
        // Tokens are counted for new sessions.
        let weight = if settings.weighted {
            u64::from(settings.weights.global)
        } else {
            1
        };
        let tokens_max = weight * u64::from(settings.tokens);
        Some(Self {
            settings: settings.clone(),
            tokens_max,
            fill_count: weight * u64::from(settings.fill_count),
            tokens: tokens_max,
            filled_ms: 0,
            frozen_ms: 0,
            drop_probability: 0.0,
        })
    }

    /// Takes the tokens for a connection that asks for a new session or for its own back. `random`
    /// gives numbers from 0 up to 1.
    pub(super) fn pay(&mut self, is_new: bool, now_ms: u64, random: impl FnOnce() -> f64) -> bool {
        self.fill(now_ms);
        if self.is_dropped(now_ms, random) {
            return false;
        }
        let weights = &self.settings.weights;
        let price = match (self.settings.weighted, is_new) {
            (false, _) => 1,
            (true, true) => u64::from(weights.global),
            (true, false) => u64::from(weights.renew),
        };
        match self.tokens.checked_sub(price) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    /// Tokens that it lacks.
    pub(super) fn deficit(&self) -> u64 {
        self.tokens_max - self.tokens
    }

    pub(super) fn drop_probability(&self) -> f64 {
        self.drop_probability
    }

    fn fill(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.filled_ms);
        if elapsed_ms > self.settings.fill_time_ms {
            let tokens = elapsed_ms.saturating_mul(self.fill_count) / self.settings.fill_time_ms;
            self.tokens = self.tokens.saturating_add(tokens).min(self.tokens_max);
            self.filled_ms = now_ms;
        }
    }

    fn is_dropped(&mut self, now_ms: u64, random: impl FnOnce() -> f64) -> bool {
        let Some(freeze_ms) = self.settings.freeze_time_ms else {
            return false;
        };
        if now_ms.saturating_sub(self.frozen_ms) > freeze_ms {
            self.frozen_ms = now_ms;
            #[expect(clippy::cast_precision_loss, reason = "tokens are far below 2^52")]
            let is_nearly_full = self.deficit() as f64
                <= (self.tokens_max as f64 * self.settings.decrease_ratio).round();
            if self.tokens == 0 {
                self.drop_probability =
                    (self.drop_probability + self.settings.drop_increase).min(1.0);
            } else if is_nearly_full {
                self.drop_probability =
                    (self.drop_probability - self.settings.drop_decrease).max(0.0);
            }
        }
        random() < self.drop_probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::throttles::SessionWeights;

    fn never_needed() -> f64 {
        panic!("nothing is random without a freeze time")
    }

    #[test]
    fn tokens_are_spent_and_come_back_with_time() {
        let settings = ConnectionThrottle {
            tokens: 3,
            fill_time_ms: 10,
            fill_count: 2,
            ..ConnectionThrottle::default()
        };
        let mut bucket = Bucket::new(&settings).unwrap();
        let mut pay = |now_ms| bucket.pay(true, now_ms, never_needed);
        assert_eq!([pay(5), pay(5), pay(5), pay(5)], [true, true, true, false]);
        assert!(!pay(10), "not before the fill time is over");
        assert_eq!([pay(11), pay(11), pay(11)], [true, true, false]);
        assert!(!pay(21), "the clock of the bucket started at 11");
        assert_eq!(
            [pay(26), pay(26), pay(26), pay(26)],
            [true, true, true, false]
        );
        assert_eq!(
            [pay(u64::MAX), pay(u64::MAX), pay(u64::MAX), pay(u64::MAX)],
            [true, true, true, false],
            "never more than it holds"
        );
    }

    #[test]
    fn no_tokens_are_no_throttle() {
        assert!(Bucket::new(&ConnectionThrottle::default()).is_none());
    }

    #[test]
    fn weights_multiply_the_bucket_and_are_its_prices() {
        let settings = ConnectionThrottle {
            tokens: 2,
            fill_time_ms: 10,
            weighted: true,
            weights: SessionWeights {
                global: 5,
                local: 1,
                renew: 3,
            },
            ..ConnectionThrottle::default()
        };
        let mut bucket = Bucket::new(&settings).unwrap();
        assert!(bucket.pay(true, 0, never_needed));
        assert!(bucket.pay(false, 0, never_needed));
        assert_eq!(bucket.deficit(), 8);
        assert!(!bucket.pay(false, 0, never_needed));
        assert!(!bucket.pay(true, 0, never_needed));
        // One fill is worth one new session.
        assert!(bucket.pay(true, 11, never_needed));
        assert_eq!(bucket.deficit(), 8);
    }

    #[test]
    fn an_empty_bucket_raises_the_probability_and_a_full_one_lowers_it() {
        let settings = ConnectionThrottle {
            tokens: 4,
            fill_time_ms: 1000,
            fill_count: 4,
            freeze_time_ms: Some(10),
            drop_increase: 0.5,
            drop_decrease: 0.25,
            decrease_ratio: 0.5,
            ..ConnectionThrottle::default()
        };
        let mut bucket = Bucket::new(&settings).unwrap();
        let lucky = || 0.999;
        for _ in 0..4 {
            assert!(bucket.pay(true, 1, lucky));
        }
        assert!(!bucket.pay(true, 2, lucky), "no tokens");
        assert_eq!(
            bucket.drop_probability(),
            0.0,
            "looked at once a freeze time"
        );
        assert!(!bucket.pay(true, 20, lucky));
        assert_eq!(bucket.drop_probability(), 0.5);
        assert!(!bucket.pay(true, 40, lucky));
        assert!(!bucket.pay(true, 60, lucky));
        assert_eq!(bucket.drop_probability(), 1.0, "and no more");
        // Full again: every look takes something off, and whoever is lucky gets in.
        assert!(bucket.pay(true, 2000, lucky));
        assert_eq!(bucket.drop_probability(), 0.75);
        assert!(!bucket.pay(true, 2001, || 0.5), "dropped with tokens there");
        assert_eq!(bucket.deficit(), 1, "who is dropped pays nothing");
        assert!(bucket.pay(true, 2020, lucky));
        assert_eq!(bucket.drop_probability(), 0.5, "two of four lack: half");
        assert!(bucket.pay(true, 2021, lucky));
        assert!(bucket.pay(true, 2040, lucky));
        assert_eq!(bucket.drop_probability(), 0.5, "three lack, one is left");
    }
}
