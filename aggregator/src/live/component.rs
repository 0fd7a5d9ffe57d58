//! Live state of one component.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use forebay_shared::{ComponentId, Timestamp};

use super::{Allocated, Pace};
use crate::features::Series;
use crate::feedback::Feedback;
use crate::forecast::{Forecast, QUANTILES, Resource};
use crate::forecaster::Lstm;
use crate::lead_time::LeadTime;
use crate::orchestrator::Observed;
use crate::pipeline::{self, Policy};
use crate::planner::{Allocation, Basis, ComponentProblem, Decision, Demand, Limits};
use crate::view::Scores;

/// Decisions kept in memory; all of them are in the history.
const RECENT_DECISIONS: usize = 200;
/// A model whose confidence is below this is no better than the last value, beyond the noise of its backtest.
const TRUSTED: f64 = 0.45;
/// Rows whose most is the demand of a component that has no model to trust.
const REACTIVE_ROWS: u64 = 4;

/// The model in force.
#[derive(Clone, Debug)]
pub struct Model {
    /// The model itself.
    pub lstm: Arc<Lstm>,
    /// Counts the component's models.
    pub version: u64,
    /// When it was trained.
    pub trained_at: Timestamp,
    /// Its backtest.
    pub scores: Scores,
}

/// One component, live.
pub struct Component {
    /// Identity.
    pub id: ComponentId,
    /// As declared.
    pub spec: pipeline::Component,
    /// Places of the components upstream.
    pub upstream: Vec<usize>,
    /// Its history, row by row.
    pub series: Series,
    /// The model in force; none before the first training.
    pub model: Option<Model>,
    /// The forecast of the last tick.
    pub forecast: Option<Forecast>,
    /// Forecasts against fact.
    pub feedback: Feedback,
    /// What the platform told last.
    pub observed: Option<Observed>,
    /// Newest last.
    pub decisions: VecDeque<Decision>,
    /// From a decision to useful capacity.
    pub lead: LeadTime,
    /// What was allocated, by step.
    pub allocated: Allocated,
    /// A training is under way.
    pub training: bool,
    /// No training before.
    pub train_after: Timestamp,
}

impl Component {
    /// Nothing known yet.
    pub(super) fn new(id: ComponentId, spec: pipeline::Component, upstream: Vec<usize>, pace: Pace) -> Self {
        Self {
            id,
            spec,
            upstream,
            series: Series::new(pace.step),
            model: None,
            forecast: None,
            feedback: Feedback::default(),
            observed: None,
            decisions: VecDeque::new(),
            lead: LeadTime::new(pace.lead_prior),
            allocated: Allocated::default(),
            training: false,
            train_after: Timestamp(0),
        }
    }

    /// As declared: what it starts with.
    pub fn declared(&self) -> Allocation {
        Allocation { replicas: self.spec.min_replicas, cpu: self.spec.resources.cpu }
    }

    /// Steps of lead time, at least one.
    pub fn lead_steps(&self) -> usize {
        let lead = self.lead.value().as_millis() as u64;
        lead.div_ceil(self.series.step_ms()).max(1) as usize
    }

    /// Notes what it has, or that nobody knows.
    pub(super) fn observe(&mut self, now: Timestamp, observed: Option<&Observed>) {
        if let Some(observed) = observed {
            self.observed = Some(*observed);
            self.lead.ready(now, observed.ready, observed.allocation.replicas);
        }
        self.allocated.note(self.series.index(now), observed.copied());
    }

    pub(super) fn settle(&mut self, now: Timestamp, observed: Option<&Observed>) {
        self.observe(now, observed);
        let step = self.series.index(now);
        self.series.settle(now);
        self.feedback.score(&self.series, step);
    }

    pub(super) fn look_back(&mut self, now: Timestamp) -> Vec<Decision> {
        let told = self.feedback.look_back(&self.series, self.series.index(now));
        for decision in &told {
            if let Some(kept) = self.decisions.iter_mut().find(|kept| kept.at == decision.at) {
                kept.ahead = decision.ahead;
            }
        }
        told
    }

    pub(super) fn expect(&mut self, forecast: &Forecast) {
        let lead = self.lead_steps();
        self.feedback.expect(forecast, lead);
    }

    /// A decision that is refused for the same reason at each tick is told once.
    pub fn is_news(&self, decision: &Decision) -> bool {
        let same = |last: &Decision| {
            !last.applied
                && !decision.applied
                && (last.from, last.to) == (decision.from, decision.to)
                && last.refusal == decision.refusal
        };
        !self.decisions.back().is_some_and(same)
    }

    pub(super) fn decided(&mut self, decision: Decision, horizon: usize) {
        let raise = decision.to.cores() > decision.from.cores();
        if decision.applied && decision.to.replicas > decision.from.replicas {
            self.lead.raised(decision.at, decision.to.replicas);
        }
        if raise && decision.applied && decision.basis == Basis::Forecast {
            let served = self.problem(decision.at, Duration::MAX).serves(decision.from);
            self.feedback.raised(decision.clone(), served, self.series.index(decision.at), horizon);
        }
        self.decisions.push_back(decision);
        if self.decisions.len() > RECENT_DECISIONS {
            self.decisions.pop_front();
        }
    }

    /// The oldest waiting batch has waited longer than the objective.
    pub fn bottleneck(&self, now: Timestamp) -> bool {
        self.waiting(now).is_some_and(|waiting| waiting.oldest > self.spec.objective)
    }

    /// What waits, by pods heard of lately.
    pub fn waiting(&self, now: Timestamp) -> Option<crate::features::Waiting> {
        let lately = Duration::from_millis(self.series.step_ms() * u64::from(super::STALE_STEPS));
        self.series.backlog(now.minus(lately))
    }

    /// No news for `stale`.
    pub fn is_stale(&self, now: Timestamp, stale: Duration) -> bool {
        self.series.heard_at().is_none_or(|heard| now.since(heard) > stale)
    }

    pub(super) fn problem(&self, now: Timestamp, stale: Duration) -> ComponentProblem {
        let current = self.observed.map_or_else(|| self.declared(), |observed| observed.allocation);
        let recent = |rows: u64, fact: &dyn Fn(u64) -> Option<f64>| {
            let now = self.series.index(now);
            (now.saturating_sub(rows)..now).filter_map(fact).reduce(f64::max)
        };
        let usage = recent(2, &|row| self.series.row(row)?.usage(self.series.step_ms()));
        let demand = self.demand(recent(REACTIVE_ROWS, &|row| self.series.demand(row)));
        let hold = if self.observed.is_none() {
            Some("nothing is known of its allocation".into())
        } else if self.is_stale(now, stale) {
            Some(format!("no news of it for {} s", stale.as_secs()))
        } else if usage.is_none() || demand.is_none() {
            Some("its use over the last steps is not known".into())
        } else {
            None
        };
        ComponentProblem {
            component: self.id.clone(),
            limits: self.limits(current),
            objective: self.spec.objective,
            current,
            demand: demand.unwrap_or(Demand::Reactive { cores: 0.0, because: "nothing is known".into() }),
            backlog: self.waiting(now).map_or(0.0, |waiting| self.series.work_of(&waiting)),
            usage: usage.unwrap_or(0.0),
            service: self.series.service_seconds().unwrap_or(0.0),
            lead: self.lead.value(),
            hold,
        }
    }

    /// What the policy leaves alone stays as it is found.
    fn limits(&self, current: Allocation) -> Limits {
        let spec = &self.spec;
        // Undeclared, a recommendation may say what it will; it is not applied.
        let declared = (spec.min_replicas, spec.max_replicas.unwrap_or(1000));
        let start = spec.resources.cpu;
        let (replicas, cpu) = match spec.policy {
            Policy::Horizontal => (declared, (current.cpu, current.cpu)),
            Policy::Vertical => {
                let found = (current.replicas, current.replicas);
                (found, (spec.min_cpu.unwrap_or(start), spec.max_cpu.unwrap_or(start)))
            }
            Policy::Hybrid => (declared, (spec.min_cpu.unwrap_or(start), spec.max_cpu.unwrap_or(start))),
        };
        Limits { policy: spec.policy, replicas, cpu }
    }

    /// What is expected, or else the most of `recent` rows; `None` where neither is known.
    fn demand(&self, recent: Option<f64>) -> Option<Demand> {
        let reactive = |because: String| recent.map(|cores| Demand::Reactive { cores, because });
        let Some(model) = &self.model else { return reactive("no model yet".into()) };
        let confidence = model.scores.confidence();
        if confidence < TRUSTED {
            return reactive(format!("lstm {} is not trusted: confidence {confidence:.2}", model.version));
        }
        let forecast = self.forecast.as_ref();
        let Some(curve) = forecast.and_then(|forecast| forecast.resources.get(&Resource::Cpu)) else {
            return reactive("no forecast of late".into());
        };
        let quantile = self.spec.costs.quantile();
        Some(Demand::Forecast {
            cores: curve.iter().map(|row| at_quantile(row, quantile)).collect(),
            made_at: forecast.map_or(Timestamp(0), |forecast| forecast.made_at),
            source: format!("lstm {} at its {quantile:.2} quantile", model.version),
        })
    }
}

/// A quantile between those that a forecast tells, by straight lines; the outermost beyond them.
fn at_quantile(row: &[f64; QUANTILES.len()], quantile: f64) -> f64 {
    let above = QUANTILES.iter().position(|tau| *tau >= quantile).unwrap_or(QUANTILES.len() - 1);
    let Some(below) = above.checked_sub(1) else { return row[0] };
    let share = ((quantile - QUANTILES[below]) / (QUANTILES[above] - QUANTILES[below])).clamp(0.0, 1.0);
    row[below] + share * (row[above] - row[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_between_two_lies_between_them() {
        let row = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(at_quantile(&row, 0.95), 4.0);
        assert!((at_quantile(&row, 0.7) - 2.5).abs() < 1e-9);
        assert_eq!([at_quantile(&row, 0.01), at_quantile(&row, 0.999)], [1.0, 5.0]);
    }
}
