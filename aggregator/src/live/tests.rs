//! The whole loop on virtual time: frames in, decisions out, with a training between.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_shared::{
    Backlog, BatchArrival, BatchProgress, BootId, Compression, Content, DataCharacteristics, DataComplexity, DataType,
    DataVolume, Millicores, Outcome, ResourceSample, Timestamp,
};

use super::*;
use crate::forecaster::challenge;
use crate::pipeline;
use crate::planner::{Allocation, Basis};

const STEP_MS: u64 = 15_000;
const PIPELINE: &str = "
apiVersion: forebay.io/v1alpha1
kind: Pipeline
metadata: { name: etl, namespace: demo }
spec:
  components:
    - name: parse
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: parse }
      mode: auto
      maxReplicas: 10
      resources: { cpu: 500m }
";

/// A component that works off each batch at 0.5 CPU-seconds a MiB, fed with a wave of a 40-step period.
struct World {
    state: State,
    allocation: Allocation,
    tick: u64,
}

impl World {
    fn new() -> Self {
        let pace = Pace {
            step: Duration::from_millis(STEP_MS),
            lead_prior: Duration::from_secs(30),
            retrain: Duration::from_secs(3600),
        };
        let state = State::new(Pipeline::parse(PIPELINE).unwrap(), pace).unwrap();
        Self { state, allocation: Allocation { replicas: 4, cpu: Millicores(500) }, tick: 1000 }
    }

    /// MiB that arrive in a step: 12 to 48, which is 0.4 to 1.6 cores.
    fn load(step: u64) -> f64 {
        30.0 + 18.0 * (step as f64 / 40.0 * std::f64::consts::TAU).sin()
    }

    /// One step passes: its frame, and the tick after it.
    fn step(&mut self) -> Tick {
        let (start, end) = (self.tick * STEP_MS, (self.tick + 1) * STEP_MS);
        let bytes = (Self::load(self.tick) * f64::from(1 << 20)) as u64;
        let content = Content {
            samples: vec![ResourceSample {
                at: Timestamp(end),
                interval_ms: STEP_MS as u32,
                cpu_us: Some((bytes * 500_000) >> 20),
                backlog: Some(Backlog::default()),
                ..ResourceSample::default()
            }],
            arrivals: vec![BatchArrival {
                batch_id: self.tick,
                arrived_at: Timestamp(start),
                characteristics: DataCharacteristics {
                    data_volume: DataVolume { bytes, ..DataVolume::default() },
                    data_complexity: DataComplexity { score: 1.0, ..DataComplexity::default() },
                    data_type: DataType::Ndjson,
                    compression: Compression::None,
                    estimated: false,
                },
            }],
            progress: vec![BatchProgress {
                batch_id: self.tick,
                started_at: Some(Timestamp(start)),
                finished_at: Some(Timestamp(end)),
                outcome: Outcome::Ok,
            }],
            ..Content::default()
        };
        let id = self.id();
        self.state.receive(&id, "pod", BootId(1), &content);
        self.tick += 1;
        self.tick_at(Timestamp(end + 100))
    }

    fn id(&self) -> ComponentId {
        self.state.components[0].id.clone()
    }

    fn tick_at(&mut self, now: Timestamp) -> Tick {
        let observed =
            BTreeMap::from([(self.id(), Observed { allocation: self.allocation, ready: self.allocation.replicas })]);
        let tick = self.state.tick(now, Ok(&observed));
        for (at, decision) in tick.decisions.clone() {
            self.allocation = decision.to;
            self.state.decided(at, Decision { applied: true, ..decision });
        }
        tick
    }

    /// Does the training that is due, if one is.
    fn train(&mut self) -> bool {
        let now = Timestamp(self.tick * STEP_MS + 100);
        let Some(training) = self.state.due(now) else { return false };
        let trained = challenge(&training.data, training.settings, training.champion.as_deref()).unwrap().unwrap();
        let component = &mut self.state.components[training.component];
        component.model =
            Some(Model { lstm: trained.model.into(), version: 1, trained_at: now, scores: trained.scores });
        component.train_after = now.plus(Duration::from_secs(3600));
        true
    }
}

#[test]
fn a_component_starts_reactive_graduates_and_then_scales_ahead_of_its_load() {
    let mut world = World::new();
    let mut basis = Vec::new();
    while !world.train() {
        basis.extend(world.step().decisions.into_iter().map(|(_, decision)| decision.basis));
        assert!(world.tick < 2000, "a training falls due");
    }
    assert!(!basis.is_empty() && basis.iter().all(|basis| *basis == Basis::Reactive), "{basis:?}");

    let mut ahead = Vec::new();
    for _ in 0..100 {
        let tick = world.step();
        assert!(tick.decisions.iter().all(|(_, decision)| decision.basis == Basis::Forecast), "{:?}", tick.decisions);
        ahead.extend(tick.hindsight.into_iter().map(|decision| decision.ahead));
    }
    let came = ahead.iter().filter(|ahead| **ahead == Some(true)).count();
    assert!(came >= 2 && 2 * came > ahead.len(), "two waves came, and most raises were ahead of them: {ahead:?}");
    let feedback = world.state.components[0].feedback.view().unwrap();
    assert!(feedback.scored > 500 && feedback.wql < 0.1, "{feedback:?}");
}

#[test]
fn nothing_is_scaled_on_stale_data_or_without_the_platform() {
    let mut world = World::new();
    world.allocation.replicas = 1;
    for _ in 0..3 {
        world.step();
    }
    world.allocation.replicas = 9;
    let silent = world.tick_at(Timestamp((world.tick + 20) * STEP_MS));
    assert!(silent.decisions.is_empty(), "{:?}", silent.decisions);
    world.step();
    world.allocation.replicas = 1;
    let away = world.state.tick(Timestamp(world.tick * STEP_MS + 200), Err("the node is away"));
    assert!(away.decisions.is_empty());
}

#[test]
fn a_recommendation_that_stands_is_told_once() {
    let mut world = World::new();
    world.state.pipeline = Pipeline::parse(&PIPELINE.replace("mode: auto", "mode: recommend")).unwrap();
    world.state.components[0].spec.mode = Mode::Recommend;
    world.allocation.replicas = 9;
    let mut told = Vec::new();
    for _ in 0..20 {
        let before = world.allocation;
        let tick = world.step();
        world.allocation = before;
        // The world has applied it; a recommendation is not.
        for (at, decision) in tick.decisions {
            world.state.components[at].decisions.pop_back();
            let decision = Decision { applied: false, refusal: world.state.withheld(at), ..decision };
            if world.state.components[at].is_news(&decision) {
                told.push(decision.to);
                world.state.decided(at, decision);
            }
        }
    }
    assert!(world.state.withheld(0).is_some_and(|why| why == "mode is recommend"));
    told.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
    assert!(!told.is_empty() && told.len() < 10, "{told:?}");
}

#[test]
fn what_could_not_be_carried_out_is_decided_again() {
    let mut world = World::new();
    world.allocation.replicas = 1;
    let mut tries = 0;
    for _ in 0..6 {
        let before = world.allocation;
        let tick = world.step();
        world.allocation = before;
        for (at, decision) in tick.decisions {
            world.state.components[at].decisions.pop_back();
            let refusal = Some("cannot reach the node".to_owned());
            world.state.decided(at, Decision { applied: false, refusal, ..decision });
            tries += 1;
        }
    }
    assert!(tries >= 3, "{tries}");
}

#[test]
fn a_component_whose_use_is_not_known_yet_is_left_as_it_is() {
    let mut world = World::new();
    world.allocation.replicas = 8;
    let id = world.id();
    // Its first sample lies in the step that has just begun.
    let sample = ResourceSample {
        at: Timestamp(world.tick * STEP_MS + 1000),
        interval_ms: 1000,
        cpu_us: Some(500_000),
        ..ResourceSample::default()
    };
    let content = Content { samples: vec![sample], ..Content::default() };
    world.state.receive(&id, "pod", BootId(1), &content);
    let tick = world.tick_at(Timestamp(world.tick * STEP_MS + 1100));
    assert!(tick.decisions.is_empty(), "{:?}", tick.decisions);
}

#[test]
fn what_the_policy_leaves_alone_stays_as_it_is_found() {
    for (policy, found) in [("vertical", 3), ("horizontal", 4)] {
        let mut world = World::new();
        let spec = &mut world.state.components[0].spec;
        spec.policy = if policy == "vertical" { pipeline::Policy::Vertical } else { pipeline::Policy::Horizontal };
        spec.max_cpu = Some(Millicores(1000));
        world.allocation = Allocation { replicas: found, cpu: Millicores(750) };
        for _ in 0..20 {
            for (_, decision) in world.step().decisions {
                match policy {
                    "vertical" => assert_eq!(decision.to.replicas, found),
                    _ => assert_eq!(decision.to.cpu, Millicores(750)),
                }
            }
        }
    }
}

#[test]
fn a_restart_changes_no_decision_and_loses_no_raise() {
    let (mut whole, mut restarted) = (World::new(), World::new());
    loop {
        if whole.train() {
            break;
        }
        whole.step();
        restarted.step();
    }
    restarted.state.components[0].model = whole.state.components[0].model.clone();
    let (mut decisions, mut looked_back) = (0, 0);
    for _ in 0..60 {
        let expected = whole.step();
        let tick = restarted.step();
        assert_eq!(tick.decisions, expected.decisions);
        assert_eq!(tick.hindsight, expected.hindsight);
        (decisions, looked_back) = (decisions + tick.decisions.len(), looked_back + tick.hindsight.len());

        // The next start has what the history has: the rows, the model, and what was carried over.
        let carried = restarted.state.carried(0);
        let read: Carried = serde_json::from_str(&serde_json::to_string(&carried).unwrap()).unwrap();
        assert_eq!(read, carried);
        let mut next = World::new().state;
        let (old, new) = (&mut restarted.state.components[0], &mut next.components[0]);
        std::mem::swap(&mut old.series, &mut new.series);
        std::mem::swap(&mut old.decisions, &mut new.decisions);
        new.model = old.model.clone();
        next.carry_on(0, read);
        restarted.state = next;
    }
    assert!(decisions > 5 && looked_back > 0, "{decisions} {looked_back}");
}

#[test]
fn what_the_platform_tells_at_the_start_is_known_before_the_first_tick() {
    let mut world = World::new();
    let now = Timestamp(world.tick * STEP_MS + 3000);
    let observed = Observed { allocation: world.allocation, ready: 3 };
    world.state.observed(now, &[(world.id(), observed)].into());
    let component = &world.state.components[0];
    assert_eq!(component.observed, Some(observed));
    assert_eq!(component.allocated.at(component.series.index(now)), Some(observed));
}
