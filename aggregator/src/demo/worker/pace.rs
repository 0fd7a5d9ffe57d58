//! The cooperative limiter, for where there is no quota of the kernel's: a worker that has used up its share of a
//! period sleeps for the rest of it, as CFS would make it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cpu;

/// Length of a period, as of the kernel's quota in this demo. What is left of it is lost at its end.
const PERIOD: Duration = Duration::from_millis(50);
/// No look at the CPU's account more often than this.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Keeps the calling thread to a share that others set.
pub(super) struct Pace {
    millicores: Arc<AtomicU64>,
    looked: Instant,
    period: Period,
}

impl Pace {
    /// Keeps to `millicores`; 0 is without a limit.
    pub(super) fn new(millicores: Arc<AtomicU64>) -> Self {
        let now = Instant::now();
        Self { millicores, looked: now, period: Period { started: now, cpu: cpu::rough_thread_time() } }
    }

    /// Sleeps if the share is used up.
    pub(super) fn keep(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.looked) < LOOK_EVERY {
            return;
        }
        self.looked = now;
        let cpu = cpu::rough_thread_time();
        let millicores = self.millicores.load(Ordering::Relaxed);
        if millicores == 0 {
            self.period = Period { started: now, cpu };
            return;
        }
        let pause = self.period.advance(now, cpu, millicores as f64 / 1000.0);
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
}

/// A period of the limiter: when it started, and the CPU time used by then.
struct Period {
    started: Instant,
    cpu: Duration,
}

impl Period {
    /// How long to sleep, so that CPU time over time stays at most `share`. Starts the next period when this one is
    /// over, or will be after the sleep.
    fn advance(&mut self, now: Instant, cpu: Duration, share: f64) -> Duration {
        let elapsed = now.duration_since(self.started);
        let used = cpu.saturating_sub(self.cpu);
        let allowed_at = used.div_f64(share);
        let pause = if used >= PERIOD.mul_f64(share) { allowed_at.saturating_sub(elapsed) } else { Duration::ZERO };
        if elapsed + pause >= PERIOD {
            *self = Self { started: now + pause, cpu };
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// Lets a thread that always has work go for `wall`, `slice` of CPU between two looks; gives the CPU it got.
    fn run(share: f64, slice: Duration, wall: Duration) -> Duration {
        let start = Instant::now();
        let (mut now, mut cpu) = (start, ms(7));
        let mut period = Period { started: start, cpu };
        while now.duration_since(start) < wall {
            now += slice;
            cpu += slice;
            now += period.advance(now, cpu, share);
        }
        cpu - ms(7)
    }

    #[test]
    fn a_busy_thread_gets_its_share_and_no_more() {
        for (share, slice) in [(0.1, 1), (0.25, 2), (0.5, 3), (0.9, 1), (1.0, 1)] {
            let got = run(share, ms(slice), ms(10_000)).as_secs_f64() / 10.0;
            assert!((got - share).abs() < 0.02, "share {share}: got {got}");
        }
    }

    #[test]
    fn what_a_period_leaves_is_lost() {
        let start = Instant::now();
        let mut period = Period { started: start, cpu: ms(0) };
        assert_eq!(period.advance(start + ms(1000), ms(0), 0.1), ms(0));
        // 6 ms in 6 ms of the next period: its 5 ms are used up, whatever the idle second before.
        assert_eq!(period.advance(start + ms(1006), ms(6), 0.1), ms(54));
    }

    #[test]
    fn a_share_is_used_at_full_speed_at_the_start_of_a_period() {
        let start = Instant::now();
        let mut period = Period { started: start, cpu: ms(0) };
        assert_eq!(period.advance(start + ms(4), ms(4), 0.1), ms(0));
        assert_eq!(period.advance(start + ms(5), ms(5), 0.1), ms(45));
    }
}
