//! A token bucket: how long what is to be sent must wait, so that so many bytes a second are sent and no more.

use std::time::Duration;

use forebay_shared::Bytes;
use tokio::time::Instant;

/// What a request costs at the least: a small one costs the aggregator a write to its disk too.
const LEAST: usize = 4 << 10;

/// A second's worth may be sent at once; what goes beyond is owed and waited for.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket of `rate` bytes a second.
    pub(super) fn new(rate: Bytes, now: Instant) -> Self {
        let rate = (rate.0 as f64).max(1.0);
        Self { rate, left: rate, at: now }
    }

    /// The wait before more may be sent.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let grown = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.at = now;
        self.left = (self.left + grown).min(self.rate);
        // Rounded up: a timer that fires in time finds nothing owed.
        let owed = (-self.left / self.rate * 1000.0).ceil().max(0.0);
        Duration::from_millis(owed as u64)
    }

    /// Counts what is sent, however much is left: it is owed.
    pub(super) fn charge(&mut self, bytes: usize) {
        self.left -= bytes.max(LEAST) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_keeps_to_the_rate_after_one_second_of_burst() {
        let start = Instant::now();
        let (mut bucket, mut now) = (Bucket::new(Bytes(100_000), start), start);
        for _ in 0..100 {
            now += bucket.wait(now);
            assert_eq!(bucket.wait(now), Duration::ZERO);
            bucket.charge(50_000);
        }
        let took = (now + bucket.wait(now) - start).as_secs_f64();
        assert!((48.9..49.2).contains(&took), "5 MB at 100 kB/s, the first 100 kB at once: {took}");
        now += Duration::from_secs(3600);
        bucket.wait(now);
        bucket.charge(100_000);
        assert_eq!(bucket.wait(now), Duration::ZERO, "an idle hour saves up a second's worth");
        bucket.charge(10);
        assert!(bucket.wait(now) >= Duration::from_millis(40), "a small request counts as 4 KiB");
    }
}
