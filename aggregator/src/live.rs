//! Live state: what the aggregator knows of a pipeline now, and one tick of it.
//!
//! ```text
//! Received ─► Series ─┐
//! Observed ───────────┼─► tick: score, forecast, solve ─► decisions, to be applied at the edge
//! Trained ────────────┘
//! ```
//!
//! No clock and no I/O in here: time, frames, allocations and models come in from the edge, so that the same code runs
//! on virtual time.

mod allocated;
mod carried;
mod component;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_shared::{BootId, ComponentId, Content, Timestamp};

use crate::features::Dataset;
use crate::forecast::Forecast;
use crate::forecaster::{Lstm, Settings, rows_needed};
use crate::orchestrator::Observed;
use crate::pipeline::{Mode, Pipeline};
use crate::planner::{Decision, Memory, Plan, Problem, solve};

pub use allocated::Allocated;
pub use carried::Carried;
pub use component::{Component, Model};

/// What has to do with time, in one place: all of it scales with the demo's speed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Length of a row, and of a tick.
    pub step: Duration,
    /// From a decision to useful capacity, before any was seen.
    pub lead_prior: Duration,
    /// From the end of a training to the next of the same component.
    pub retrain: Duration,
}

/// A tick without news for this many steps: nothing is scaled on stale data.
const STALE_STEPS: u32 = 4;

/// A pipeline, live.
pub struct State {
    /// The manifest.
    pub pipeline: Pipeline,
    /// In topological order.
    pub components: Vec<Component>,
    /// Time of the last tick.
    pub ticked_at: Timestamp,
    pace: Pace,
    settings: Settings,
    memory: Vec<Memory>,
}

/// What a tick has come to.
#[derive(Debug, Default)]
pub struct Tick {
    /// Forecasts made.
    pub forecasts: Vec<(ComponentId, Forecast)>,
    /// Decisions made, by component; not applied yet.
    pub decisions: Vec<(usize, Decision)>,
    /// Older decisions that are known better now.
    pub hindsight: Vec<Decision>,
}

/// What a forecast is made of.
pub struct Outlook {
    lstm: Arc<Lstm>,
    version: u64,
    data: Dataset,
    now: Timestamp,
    start: Timestamp,
    step_ms: u64,
}

impl Outlook {
    /// Makes the forecast; `None` where too little is known.
    pub fn forecast(&self) -> Option<Forecast> {
        Some(Forecast {
            made_at: self.now,
            start: self.start,
            step_ms: self.step_ms,
            model: crate::forecaster::LSTM.into(),
            version: self.version,
            resources: self.lstm.predict(&self.data)?,
        })
    }
}

/// A training to be done.
pub struct Training {
    /// Place of the component in [`State::components`].
    pub component: usize,
    /// Its history.
    pub data: Dataset,
    /// The model in force.
    pub champion: Option<Arc<Lstm>>,
    /// How to fit.
    pub settings: Settings,
}

impl State {
    /// Nothing known yet.
    pub fn new(pipeline: Pipeline, pace: Pace) -> anyhow::Result<Self> {
        let order = pipeline.topological().unwrap_or_default();
        let specs: Vec<_> = order.iter().map(|at| pipeline.spec.components[*at].clone()).collect();
        let place: BTreeMap<&str, usize> = specs.iter().enumerate().map(|(at, c)| (c.name.as_str(), at)).collect();
        let mut components = Vec::new();
        for spec in &specs {
            let upstream = spec.upstream.iter().filter_map(|name| place.get(name.as_str()).copied()).collect();
            components.push(Component::new(pipeline.id(spec)?, spec.clone(), upstream, pace));
        }
        let settings = Settings::default();
        Ok(Self { pipeline, components, ticked_at: Timestamp(0), pace, settings, memory: Vec::new() })
    }

    /// What has to do with time.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Place of a component.
    pub fn place(&self, id: &ComponentId) -> Option<usize> {
        self.components.iter().position(|component| component.id == *id)
    }

    /// Takes in a frame's content; content of a component that is in no pipeline is kept in the history alone.
    pub fn receive(&mut self, id: &ComponentId, pod: &str, boot: BootId, content: &Content) {
        if let Some(at) = self.place(id) {
            self.components[at].series.observe(pod, boot, content);
        }
    }

    /// One tick: learns costs, scores what has come true, forecasts, and solves.
    ///
    /// `observed` is what the platform tells, or why it tells nothing.
    pub fn tick(&mut self, now: Timestamp, observed: Result<&BTreeMap<ComponentId, Observed>, &str>) -> Tick {
        let mut out = Tick::default();
        for at in 0..self.components.len() {
            out.hindsight.extend(self.settle(at, now, observed.ok()));
        }
        for at in 0..self.components.len() {
            let forecast = self.outlook(at, now).and_then(|outlook| outlook.forecast());
            out.forecasts.extend(self.expect(at, forecast));
        }
        let problem = self.problem(now, observed.err());
        out.decisions = self.planned(now, solve(&problem, &self.memory));
        out
    }

    /// What the platform told beside a tick, such as at the start: until the first tick nothing else is known of it.
    pub fn observed(&mut self, now: Timestamp, observed: &BTreeMap<ComponentId, Observed>) {
        for component in &mut self.components {
            component.observe(now, observed.get(&component.id));
        }
    }

    /// First part of a tick, for one component: learns costs, and scores what has come true. Gives older decisions that
    /// are known better now.
    pub fn settle(
        &mut self,
        at: usize,
        now: Timestamp,
        observed: Option<&BTreeMap<ComponentId, Observed>>,
    ) -> Vec<Decision> {
        let component = &mut self.components[at];
        component.settle(now, observed.and_then(|all| all.get(&component.id)));
        component.look_back(now)
    }

    /// Second part, for one component: what its forecast is made of, which takes longer; `None` without a model.
    pub fn outlook(&self, at: usize, now: Timestamp) -> Option<Outlook> {
        let component = &self.components[at];
        let Model { lstm, version, .. } = component.model.as_ref()?;
        let start = component.series.index(now);
        let data = self.dataset(at, start.saturating_sub(lstm.window as u64)..start);
        let step_ms = component.series.step_ms();
        Some(Outlook { lstm: lstm.clone(), version: *version, data, now, start: Timestamp(start * step_ms), step_ms })
    }

    /// Takes the forecast in, or that there is none.
    pub fn expect(&mut self, at: usize, forecast: Option<Forecast>) -> Option<(ComponentId, Forecast)> {
        let component = &mut self.components[at];
        component.forecast = forecast;
        let forecast = component.forecast.clone()?;
        component.expect(&forecast);
        Some((component.id.clone(), forecast))
    }

    /// Last part, after the problem was solved: the decisions by component, not applied yet.
    pub fn planned(&mut self, now: Timestamp, plan: Plan) -> Vec<(usize, Decision)> {
        self.memory = plan.memory;
        self.ticked_at = now;
        let placed = |decision: Decision| Some((self.place(&decision.component)?, decision));
        plan.decisions.into_iter().filter_map(placed).collect()
    }

    /// What the planner remembers, in the order of the components.
    pub fn memory(&self) -> &[Memory] {
        &self.memory
    }

    /// Why a decision for a component is not applied, if it is not to be.
    pub fn withheld(&self, at: usize) -> Option<String> {
        let spec = &self.components[at].spec;
        match (spec.effective_mode(), spec.mode) {
            (Mode::Auto, _) => None,
            (Mode::Recommend, Mode::Auto) => Some("auto needs a declared maximum: mode is recommend".into()),
            (Mode::Recommend, Mode::Recommend) => Some("mode is recommend".into()),
        }
    }

    /// Takes in a decision's fate.
    pub fn decided(&mut self, at: usize, decision: Decision) {
        let horizon = self.settings.horizon;
        self.components[at].decided(decision, horizon);
    }

    /// Trainings that are due, the most urgent first: components without a model, then the longest untrained.
    pub fn due(&self, now: Timestamp) -> Option<Training> {
        let due = |at: &usize| {
            let component = &self.components[*at];
            !component.training
                && now >= component.train_after
                && component.series.known_rows() >= rows_needed(&self.settings)
        };
        let at = (0..self.components.len()).filter(due).min_by_key(|at| {
            let component = &self.components[*at];
            (component.model.is_some(), component.train_after)
        })?;
        let component = &self.components[at];
        Some(Training {
            component: at,
            data: self.dataset(at, self.rows(at, now)),
            champion: component.model.as_ref().map(|model| model.lstm.clone()),
            settings: self.settings,
        })
    }

    /// Closed rows of a component.
    fn rows(&self, at: usize, now: Timestamp) -> std::ops::Range<u64> {
        let series = &self.components[at].series;
        let extent = series.extent();
        extent.start..extent.end.min(series.index(now)).max(extent.start)
    }

    fn dataset(&self, at: usize, rows: std::ops::Range<u64>) -> Dataset {
        let component = &self.components[at];
        let upstream: Vec<_> = component.upstream.iter().map(|at| &self.components[*at].series).collect();
        Dataset::build(&component.series, &upstream, rows)
    }

    /// What is to be solved; `silence` is why the platform tells nothing, if it does not.
    pub fn problem(&self, now: Timestamp, silence: Option<&str>) -> Problem {
        let stale = self.pace.step * STALE_STEPS;
        let components = self.components.iter().map(|component| {
            let mut problem = component.problem(now, stale);
            let paused = self.pipeline.spec.paused.then(|| "the pipeline is paused".to_owned());
            problem.hold = paused.or(silence.map(str::to_owned)).or(problem.hold);
            problem
        });
        Problem { now, step: self.pace.step, components: components.collect() }
    }
}

#[cfg(test)]
mod tests;
