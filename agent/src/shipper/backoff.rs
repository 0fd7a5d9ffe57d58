//! How long to wait before the next attempt: exponential, with full jitter, so that agents do not come back at once.
//!
//! Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(10);
/// The longest that an aggregator may ask to wait.
const MOST_ASKED: Duration = Duration::from_secs(60);

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    /// The wait after one more failure. What the aggregator asked for is honoured, and jittered upwards by a tenth.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let cap = FIRST.saturating_mul(1 << self.0.min(10)).min(MOST);
        self.0 = self.0.saturating_add(1);
        match asked {
            Some(asked) => asked.clamp(FIRST, MOST_ASKED).mul_f64(1.0 + 0.1 * fastrand::f64()),
            None => cap.mul_f64(fastrand::f64()).max(Duration::from_millis(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_honour_what_was_asked() {
        let mut backoff = Backoff::default();
        for round in 0..100 {
            let cap = FIRST.saturating_mul(1 << round.min(10)).min(MOST);
            assert!(backoff.next(None) <= cap);
        }
        let asked = backoff.next(Some(Duration::from_secs(3)));
        assert!((Duration::from_secs(3)..Duration::from_millis(3301)).contains(&asked));
        assert!(backoff.next(Some(Duration::from_secs(3600))) <= MOST_ASKED.mul_f64(1.1));
        assert!(backoff.next(Some(Duration::ZERO)) >= FIRST);
    }
}
