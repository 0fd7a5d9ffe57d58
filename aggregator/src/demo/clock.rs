//! The one speed that everything with a clock goes by.

use std::time::Duration;

use super::manifest;

/// Length of a step of the aggregator, before it is made faster than life.
const STEP: Duration = Duration::from_secs(5);
/// Time between an agent's samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// From the request of a worker until it takes batches: scheduling, pulling of the image, start.
const START_UP: Duration = Duration::from_secs(30);
/// From one training to the next.
const RETRAIN: Duration = Duration::from_secs(360);

/// How many times faster than life it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clock {
    speed: f64,
}

impl Clock {
    /// A clock that goes `speed` times faster than life.
    pub(super) fn new(speed: f64) -> Self {
        Self { speed }
    }

    /// Times faster than life.
    pub(super) fn speed(self) -> f64 {
        self.speed
    }

    /// Length of a step.
    pub(super) fn step(self) -> Duration {
        self.scaled(STEP)
    }

    /// Time between an agent's samples.
    pub(super) fn sample_interval(self) -> Duration {
        self.scaled(SAMPLE_INTERVAL)
    }

    /// From the request of a worker until it takes batches.
    pub(super) fn start_up(self) -> Duration {
        self.scaled(START_UP)
    }

    /// The longest acceptable wait.
    pub(super) fn objective(self) -> Duration {
        self.scaled(manifest::OBJECTIVE)
    }

    /// From one training to the next.
    pub(super) fn retrain(self) -> Duration {
        self.scaled(RETRAIN)
    }

    /// To whole ms, which is what goes on command lines.
    fn scaled(self, life: Duration) -> Duration {
        Duration::from_millis((life.as_secs_f64() * 1000.0 / self.speed).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_speed_scales_all() {
        let clock = Clock::new(8.0);
        let ms = Duration::from_millis;
        assert_eq!((clock.step(), clock.sample_interval()), (ms(625), ms(125)));
        assert_eq!((clock.start_up(), clock.objective(), clock.retrain()), (ms(3750), ms(3750), ms(45_000)));
        assert_eq!(Clock::new(1.0).step(), Duration::from_secs(5));
    }
}
