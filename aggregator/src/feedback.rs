//! Forecasts against fact: every forecast is scored when its time has come, and every raise is looked back on.

use std::collections::{BTreeMap, VecDeque};

use forebay_shared::Timestamp;
use serde::{Deserialize, Serialize};

use crate::features::Series;
use crate::forecast::{Forecast, QUANTILES, Resource};
use crate::forecaster::Tally;
use crate::planner::Decision;
use crate::view::FeedbackView;

/// Forecasts waiting for their facts: as many as a horizon of 12 steps has at a tick a step, and some.
const WAITING_FORECASTS: usize = 64;
/// Steps of past forecasts kept to be shown: a day of 15 s steps.
const KEPT_STEPS: usize = 5760;
/// Steps after a forecast's last at which facts have come in.
const SETTLED_STEPS: u64 = 2;

/// What had been forecast for a step, one lead time before it.
pub type Past = BTreeMap<u64, [f64; QUANTILES.len()]>;

/// The scores of one component's forecasts.
#[derive(Default)]
pub struct Feedback {
    waiting: VecDeque<Forecast>,
    tally: Tally,
    past: BTreeMap<Resource, Past>,
    raises: VecDeque<Raise>,
}

/// A raise that is looked back on once its horizon has passed: kept over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Raise {
    decision: Decision,
    /// Work that the old allocation served within the objective, cores.
    served_before: f64,
    /// The last step that the decision was for.
    until: u64,
}

impl Feedback {
    /// Takes in a forecast; the step `lead_steps` ahead is kept to be shown beside its fact.
    pub fn expect(&mut self, forecast: &Forecast, lead_steps: usize) {
        let first = forecast.start.0 / forecast.step_ms.max(1);
        for (resource, curve) in &forecast.resources {
            let past = self.past.entry(*resource).or_default();
            if let Some(row) = curve.get(lead_steps.min(curve.len().saturating_sub(1))) {
                past.insert(first + lead_steps.min(curve.len() - 1) as u64, *row);
            }
            while past.len() > KEPT_STEPS {
                past.pop_first();
            }
        }
        self.waiting.push_back(forecast.clone());
        if self.waiting.len() > WAITING_FORECASTS {
            self.waiting.pop_front();
        }
    }

    /// Scores the forecasts whose last step has passed and settled before step `now`.
    pub fn score(&mut self, series: &Series, now: u64) {
        while let Some(forecast) = self.waiting.front() {
            let first = series.index(forecast.start);
            let curve = forecast.resources.get(&Resource::Cpu);
            let last = first + curve.map_or(0, Vec::len) as u64;
            if last + SETTLED_STEPS > now {
                break;
            }
            for (step, row) in (first..).zip(curve.into_iter().flatten()) {
                if let Some(fact) = series.demand(step) {
                    self.tally.add(row, fact);
                }
            }
            self.waiting.pop_front();
        }
    }

    /// Remembers a raise: `served_before` is the work that the old allocation served, `steps` the horizon.
    pub fn raised(&mut self, decision: Decision, served_before: f64, now: u64, steps: usize) {
        self.raises.push_back(Raise { decision, served_before, until: now + steps as u64 });
        if self.raises.len() > WAITING_FORECASTS {
            self.raises.pop_front();
        }
    }

    /// The raises that are still to be looked back on.
    pub fn raises(&self) -> &VecDeque<Raise> {
        &self.raises
    }

    /// Goes on from the raises of before a restart.
    pub fn restore(&mut self, mut raises: VecDeque<Raise>) {
        raises.truncate(WAITING_FORECASTS);
        self.raises = raises;
    }

    /// The raises whose horizon has passed, with [`Decision::ahead`] told: the load was not there yet when it was
    /// decided, and came.
    pub fn look_back(&mut self, series: &Series, now: u64) -> Vec<Decision> {
        let mut told = Vec::new();
        while self.raises.front().is_some_and(|raise| raise.until + SETTLED_STEPS <= now) {
            let Some(Raise { mut decision, served_before, until }) = self.raises.pop_front() else { break };
            let decided = series.index(decision.at);
            let over = |step: u64| series.demand(step).is_some_and(|demand| demand > served_before);
            let already = decided.checked_sub(1).is_some_and(over);
            decision.ahead = Some(!already && (decided..=until).any(over));
            told.push(decision);
        }
        told
    }

    /// Scores so far; `None` before the first.
    pub fn view(&self) -> Option<FeedbackView> {
        (self.tally.scored > 0).then(|| FeedbackView {
            scored: self.tally.scored,
            wql: self.tally.wql(),
            coverage90: self.tally.coverage(2),
            coverage95: self.tally.coverage(3),
        })
    }

    /// What had been forecast of a resource for the steps from `from` on.
    pub fn past(&self, resource: Resource, from: Timestamp, step_ms: u64) -> Past {
        let from = from.0 / step_ms.max(1);
        self.past
            .get(&resource)
            .map(|past| past.range(from..).map(|(at, row)| (*at, *row)).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::{Allocation, Basis};
    use forebay_shared::{BootId, Content, Millicores, ResourceSample};
    use std::time::Duration;

    /// A component without taps whose usage in cores is given, a second a step.
    fn series(usage: &[f64]) -> Series {
        let mut series = Series::new(Duration::from_secs(1));
        let samples = usage.iter().enumerate().map(|(at, cores)| ResourceSample {
            at: Timestamp(1000 * (at as u64 + 1)),
            interval_ms: 1000,
            cpu_us: Some((cores * 1e6) as u64),
            ..ResourceSample::default()
        });
        series.observe("pod", BootId(1), &Content { samples: samples.collect(), ..Content::default() });
        series
    }

    fn forecast(first: u64, steps: usize, quantiles: [f64; 5]) -> Forecast {
        Forecast {
            made_at: Timestamp(first * 1000),
            start: Timestamp(first * 1000),
            step_ms: 1000,
            model: "lstm".into(),
            version: 1,
            resources: [(Resource::Cpu, vec![quantiles; steps])].into(),
        }
    }

    fn raise(at_ms: u64) -> Decision {
        Decision {
            at: Timestamp(at_ms),
            component: "demo/Deployment.apps/parse/app".parse().unwrap(),
            from: Allocation { replicas: 1, cpu: Millicores(500) },
            to: Allocation { replicas: 2, cpu: Millicores(500) },
            reason: String::new(),
            basis: Basis::Forecast,
            forecast_at: None,
            applied: true,
            refusal: None,
            ahead: None,
        }
    }

    #[test]
    fn a_forecast_is_scored_once_its_last_step_has_settled_and_not_before() {
        let mut feedback = Feedback::default();
        feedback.expect(&forecast(2, 3, [0.0, 1.0, 2.0, 3.0, 4.0]), 1);
        let facts = series(&[1.0, 1.0, 1.0, 2.5, 9.0, 1.0, 1.0]);
        feedback.score(&facts, 6);
        assert_eq!(feedback.view(), None);
        feedback.score(&facts, 7);
        let view = feedback.view().unwrap();
        assert_eq!(view.scored, 3);
        assert!((view.coverage90 - 1.0 / 3.0).abs() < 1e-9 && (view.coverage95 - 2.0 / 3.0).abs() < 1e-9, "{view:?}");
        feedback.score(&facts, 99);
        assert_eq!(feedback.view().unwrap().scored, 3, "once is enough");
        assert_eq!(feedback.past(Resource::Cpu, Timestamp(0), 1000).keys().copied().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_raise_was_ahead_if_the_load_was_not_there_and_came() {
        for (usage, expected) in [
            ([0.2, 0.2, 0.2, 0.2, 0.8, 0.2, 0.2, 0.2], true),
            ([0.2, 0.8, 0.8, 0.8, 0.8, 0.2, 0.2, 0.2], false),
            ([0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2], false),
        ] {
            let mut feedback = Feedback::default();
            feedback.raised(raise(2000), 0.45, 2, 3);
            assert!(feedback.look_back(&series(&usage), 6).is_empty(), "not before the horizon has passed");
            let told = feedback.look_back(&series(&usage), 7);
            assert_eq!(told[0].ahead, Some(expected), "{usage:?}");
        }
    }
}
