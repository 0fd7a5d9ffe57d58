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

mod component;
mod views;

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_shared::{BootId, ComponentId, Content, Timestamp};

use crate::features::Dataset;
use crate::forecast::Forecast;
use crate::forecaster::{Lstm, Settings, rows_needed};
use crate::orchestrator::Observed;
use crate::pipeline::{Mode, Pipeline};
use crate::planner::{Decision, Memory, Problem, solve};

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

/// A training to be done.
pub struct Training {
    /// Place of the component in [`State::components`].
    pub component: usize,
    /// Its history.
    pub data: Dataset,
    /// The model in force.
    pub champion: Option<Lstm>,
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
        let silence = observed.err().map(str::to_owned);
        for component in &mut self.components {
            component.settle(now, observed.ok().and_then(|all| all.get(&component.id)));
            out.hindsight.extend(component.look_back(now));
        }
        for at in 0..self.components.len() {
            let forecast = self.forecast(at, now);
            let component = &mut self.components[at];
            if let Some(forecast) = &forecast {
                component.expect(forecast);
                out.forecasts.push((component.id.clone(), forecast.clone()));
            }
            component.forecast = forecast;
        }
        let problem = self.problem(now, silence.as_deref());
        let plan = solve(&problem, &self.memory);
        self.memory = plan.memory;
        for decision in plan.decisions {
            let Some(at) = self.place(&decision.component) else { continue };
            out.decisions.push((at, decision));
        }
        self.ticked_at = now;
        out
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
                && self.known_rows(*at, now) >= rows_needed(&self.settings)
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

    fn known_rows(&self, at: usize, now: Timestamp) -> usize {
        let rows = self.rows(at, now);
        (rows.end - rows.start) as usize
    }

    fn dataset(&self, at: usize, rows: std::ops::Range<u64>) -> Dataset {
        let component = &self.components[at];
        let upstream: Vec<_> = component.upstream.iter().map(|at| &self.components[*at].series).collect();
        Dataset::build(&component.series, &upstream, rows)
    }

    fn forecast(&self, at: usize, now: Timestamp) -> Option<Forecast> {
        let component = &self.components[at];
        let model = component.model.as_ref()?;
        let start = component.series.index(now);
        let data = self.dataset(at, start.saturating_sub(model.lstm.window as u64)..start);
        let step_ms = component.series.step_ms();
        Some(Forecast {
            made_at: now,
            start: Timestamp(start * step_ms),
            step_ms,
            model: crate::forecaster::LSTM.into(),
            version: model.version,
            resources: model.lstm.predict(&data)?,
        })
    }

    fn problem(&self, now: Timestamp, silence: Option<&str>) -> Problem {
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
