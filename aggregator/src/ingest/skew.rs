//! How far pods' clocks are from this one: measured with each request, and taken out of what they send.
//!
//! ```text
//! sent at (pod's clock) ─── on the way ───► received (ours):  received - sent = skew + time on the way
//! ```
//!
//! The time on the way is never negative, so the least of the last few measurements is nearest to the skew. What is
//! within [`TOLERATED`] is left alone: clocks that are kept agree better, and a request may be that long on the way.
//! A correction in force stays as long as it is about right, so that a pod's times keep their distances.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use forebay_shared::{Content, Timestamp};
use prometheus_client::metrics::gauge::Gauge;

use crate::identity::PodIdentity;

/// Measurements of which the least counts: at a request each 5 s, 40 s until a clock that was set back is seen.
const MEASUREMENTS: usize = 8;
/// Skew that is left alone, ms; half of it, where there was more before.
const TOLERATED: u64 = 2000;
/// Change of the skew that a correction follows, ms.
const STEADY: u64 = 500;
/// Pods whose measurements are kept, some 150 bytes each; beyond it all are measured anew.
const PODS: usize = 65_536;

/// The clocks of all pods; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    pods: Arc<Mutex<HashMap<String, Clock>>>,
    /// Pods whose times are corrected.
    pub(super) corrected: Gauge,
}

#[derive(Debug, Default)]
struct Clock {
    measured: VecDeque<i64>,
    correction: i64,
}

impl Clocks {
    /// The milliseconds to add to a pod's times, from what a request tells of when it was sent.
    pub(super) fn measure(&self, pod: &PodIdentity, sent: Option<Timestamp>, received: Timestamp) -> i64 {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sent) = sent else { return pods.get(&pod.uid).map_or(0, |clock| clock.correction) };
        if pods.len() >= PODS && !pods.contains_key(&pod.uid) {
            pods.clear();
            self.corrected.set(0);
        }
        let clock = pods.entry(pod.uid.clone()).or_default();
        let before = clock.correction;
        let correction = clock.measure(sent, received);
        if correction != before {
            self.corrected.inc_by(i64::from(before == 0) - i64::from(correction == 0));
            let (component, pod) = (&pod.component, &pod.pod);
            match correction {
                0 => tracing::info!(%component, pod, "the pod's clock agrees again"),
                _ => {
                    tracing::warn!(%component, pod, behind_ms = correction, "the pod's clock is off: its times are corrected")
                }
            }
        }
        correction
    }
}

impl Clock {
    fn measure(&mut self, sent: Timestamp, received: Timestamp) -> i64 {
        let skew = i128::from(received.0) - i128::from(sent.0);
        // No farther than what a time can be moved by, and back.
        let bound = i128::from(i64::MAX);
        self.measured.push_back(i64::try_from(skew.clamp(-bound, bound)).unwrap_or(0));
        if self.measured.len() > MEASUREMENTS {
            self.measured.pop_front();
        }
        let least = self.measured.iter().copied().min().unwrap_or(0);
        let tolerated = if self.correction == 0 { TOLERATED } else { TOLERATED / 2 };
        let wanted = if least.unsigned_abs() <= tolerated { 0 } else { least };
        if wanted.abs_diff(self.correction) > STEADY {
            self.correction = wanted;
        }
        self.correction
    }
}

/// Moves all times of a frame.
pub(super) fn correct(content: &mut Content, ms: i64) {
    if ms == 0 {
        return;
    }
    let correct = |time: &mut Timestamp| *time = time.moved(ms);
    correct(&mut content.closed_at);
    content.samples.iter_mut().for_each(|sample| correct(&mut sample.at));
    content.arrivals.iter_mut().for_each(|arrival| correct(&mut arrival.arrived_at));
    for progress in &mut content.progress {
        progress.started_at.iter_mut().chain(&mut progress.finished_at).for_each(correct);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    /// The corrections of requests, each with the pod's skew and the time that it was on the way.
    fn corrections(requests: &[(i64, u64)]) -> Vec<i64> {
        let mut clock = Clock::default();
        let requests = requests.iter().zip(0..);
        requests
            .map(|((skew, way), at)| {
                let sent = Timestamp(NOW + at * 5000);
                clock.measure(sent.moved(-skew), Timestamp(sent.0 + way))
            })
            .collect()
    }

    #[test]
    fn clocks_that_agree_are_left_alone_however_long_a_request_is_on_the_way_now_and_then() {
        assert_eq!(corrections(&[(0, 3), (40, 9000), (-40, 2), (1500, 400), (0, 5)]), [0; 5]);
    }

    #[test]
    fn a_clock_that_is_off_is_corrected_by_the_quickest_request() {
        assert_eq!(corrections(&[(60_000, 700), (60_000, 30), (60_010, 9000)]), [60_700, 60_030, 60_030]);
        assert_eq!(corrections(&[(-90_000, 5)]), [-89_995], "ahead");
    }

    #[test]
    fn a_correction_stands_while_it_is_about_right_and_goes_when_the_clock_is_set() {
        assert_eq!(corrections(&[(3000, 0), (2800, 0), (1800, 0), (0, 0)]), [3000, 3000, 1800, 0]);
        let mut set_back = vec![(0, 1)];
        set_back.extend([(10_000, 1); MEASUREMENTS]);
        let corrected = corrections(&set_back);
        assert_eq!((corrected[MEASUREMENTS - 1], corrected[MEASUREMENTS]), (0, 10_001));
    }

    #[test]
    fn wild_times_are_measured_without_a_panic() {
        let mut clock = Clock::default();
        for (sent, received) in [(0, u64::MAX), (u64::MAX, 0), (1 << 63, 1 << 63)] {
            let ms = clock.measure(Timestamp(sent), Timestamp(received));
            let mut content = Content { closed_at: Timestamp(sent), ..Content::default() };
            correct(&mut content, ms);
        }
    }
}
