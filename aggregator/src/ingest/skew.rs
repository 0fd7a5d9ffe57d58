//! How far pods' clocks are from this one: measured with each request, and taken out of what they send.
//!
//! ```text
//! sent at (pod's clock) ─── on the way ───► received (ours):  received - sent = skew + time on the way
//! ```
//!
//! The time on the way is never negative, so the least of the last few measurements is nearest to the skew. What is
//! within [`TOLERATED`] is left alone: clocks that are kept agree better, and a request may be that long on the way. A
//! clock that is behind by no more than [`CLEAR`] looks like a slow request, until a few say the same. A correction in
//! force stays as long as it is about right, so that a pod's times keep their distances; one of the two clocks was set
//! where a measurement is far from those before, and all begins anew.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_shared::{Content, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::identity::PodIdentity;

/// Measurements of which the least counts: at a request each 5 s, 40 s until a clock that was set back is seen.
const MEASUREMENTS: usize = 8;
/// Measurements that must agree on a clock that is behind by no more than [`CLEAR`].
const AGREEING: usize = 3;
/// What no request is on the way for, ms: a difference beyond it comes of a clock.
const CLEAR: u64 = 30_000;
/// How long a pod is remembered that sends nothing: many times an agent's longest pause between two tries.
const REMEMBERED: Duration = Duration::from_secs(600);
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
}

#[derive(Debug, Default)]
struct Clock {
    measured: VecDeque<i64>,
    correction: i64,
    seen: Timestamp,
}

/// Tells how many pods' times are corrected, of those that are still there.
impl Collector for Clocks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(self.corrected(Timestamp::now()));
        let help = "Pods whose clock is off, and whose times are corrected";
        gauge.encode(encoder.encode_descriptor("skewed_pods", help, None, gauge.metric_type())?)
    }
}

impl Clocks {
    fn corrected(&self, now: Timestamp) -> i64 {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.retain(|_, clock| now.since(clock.seen) < REMEMBERED);
        pods.values().map(|clock| i64::from(clock.correction != 0)).sum()
    }

    /// The milliseconds to add to a pod's times, from what a request tells of when it was sent.
    pub(super) fn measure(&self, pod: &PodIdentity, sent: Option<Timestamp>, received: Timestamp) -> i64 {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sent) = sent else { return pods.get(&pod.uid).map_or(0, |clock| clock.correction) };
        if pods.len() >= PODS && !pods.contains_key(&pod.uid) {
            pods.clear();
        }
        let clock = pods.entry(pod.uid.clone()).or_default();
        let before = clock.correction;
        let correction = clock.measure(sent, received);
        clock.seen = received;
        if correction != before {
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
        let skew = i64::try_from(skew.clamp(-bound, bound)).unwrap_or(0);
        if self.measured.iter().min().is_some_and(|least| least.abs_diff(skew) > CLEAR) {
            self.measured.clear();
        }
        self.measured.push_back(skew);
        if self.measured.len() > MEASUREMENTS {
            self.measured.pop_front();
        }
        let least = self.measured.iter().copied().min().unwrap_or(0);
        let tolerated = if self.correction == 0 { TOLERATED } else { TOLERATED / 2 };
        // A clock that is ahead is so however long the way was.
        let is_clear = least < 0 || least.unsigned_abs() > CLEAR || self.measured.len() >= AGREEING;
        let wanted = match least.unsigned_abs() <= tolerated {
            true => 0,
            false if is_clear => least,
            false => self.correction,
        };
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
        let about = [(3000, 0), (3000, 0), (2900, 0), (2800, 0), (1800, 0), (0, 0)];
        assert_eq!(corrections(&about), [0, 0, 2900, 2900, 1800, 0]);
        let mut set_back = vec![(0, 1)];
        set_back.extend([(10_000, 1); MEASUREMENTS]);
        let corrected = corrections(&set_back);
        assert_eq!((corrected[MEASUREMENTS - 1], corrected[MEASUREMENTS]), (0, 10_001));
    }

    #[test]
    fn a_slow_first_request_is_no_clock_that_is_behind() {
        assert_eq!(corrections(&[(0, 9000), (0, 8000), (0, 20)]), [0; 3]);
        assert_eq!(corrections(&[(9000, 1), (9000, 2), (9000, 3)]), [0, 0, 9001]);
    }

    #[test]
    fn a_clock_that_is_set_by_far_is_followed_at_once_whichever_it_is() {
        let hour = 3_600_000;
        assert_eq!(corrections(&[(0, 5), (hour, 5), (0, 5), (-hour, 5), (0, 5)]), [0, hour + 5, 0, 5 - hour, 0]);
    }

    #[test]
    fn a_pod_that_is_gone_is_not_counted_any_more() {
        let clocks = Clocks::default();
        let pod = |uid: &str| PodIdentity {
            component: "demo/Deployment.apps/parse/app".parse().unwrap(),
            pod: uid.into(),
            uid: uid.into(),
        };
        let now = Timestamp(NOW);
        clocks.measure(&pod("a"), Some(now.moved(-90_000)), now);
        clocks.measure(&pod("b"), Some(now), now);
        assert_eq!(clocks.corrected(now), 1);
        let later = now.plus(REMEMBERED);
        clocks.measure(&pod("c"), Some(later.moved(-90_000)), later);
        assert_eq!((clocks.corrected(later), clocks.pods.lock().unwrap().len()), (1, 1));
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
