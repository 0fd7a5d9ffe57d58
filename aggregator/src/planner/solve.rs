//! From forecasts to decisions: `solve(problem, previous) -> plan`, pure.
//!
//! What it always holds to (a property test each):
//! 1. It stays within the declared limits.
//! 2. `solve(solve(x)) = solve(x)`: what it has decided it does not decide again.
//! 3. It never shrinks what is in use.
//! 4. More demand never gets less.
//! 5. Constant demand is not answered with a to and fro.
//! 6. Every decision has a reason that a person understands.
//! 7. On stale data, or paused, it changes nothing.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_shared::{ComponentId, Millicores, Timestamp};
use serde::{Deserialize, Serialize};

use super::queueing::utilisation;
use super::{Allocation, Basis, Decision};
use crate::pipeline::Policy;

/// What a component may be given.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What may be changed.
    pub policy: Policy,
    /// Replicas, least and most.
    pub replicas: (u32, u32),
    /// CPU a replica, least and most.
    pub cpu: (Millicores, Millicores),
}

/// What a component is expected to need.
#[derive(Clone, Debug)]
pub enum Demand {
    /// By a model that can be trusted: cores at the quantile of the prices, a number a step from now on.
    Forecast {
        /// Cores, step by step.
        cores: Vec<f64>,
        /// When the forecast was made.
        made_at: Timestamp,
        /// Such as `lstm 3 at its 0.95 quantile`.
        source: String,
    },
    /// By what is known now, with why there is nothing better.
    Reactive {
        /// Cores.
        cores: f64,
        /// Such as `no model yet`.
        because: String,
    },
}

/// One component's part of a problem.
#[derive(Clone, Debug)]
pub struct ComponentProblem {
    /// Whose.
    pub component: ComponentId,
    /// Limits.
    pub limits: Limits,
    /// Longest acceptable wait.
    pub objective: Duration,
    /// What it has been given.
    pub current: Allocation,
    /// What it is expected to need.
    pub demand: Demand,
    /// CPU-seconds of the batches that wait.
    pub backlog: f64,
    /// Cores in use.
    pub usage: f64,
    /// CPU-seconds of a batch; 0 if unknown.
    pub service: f64,
    /// From a decision to useful capacity, for replicas.
    pub lead: Duration,
    /// Nothing may be changed: why.
    pub hold: Option<String>,
}

/// A planner's problem.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The tick's time.
    pub now: Timestamp,
    /// Length of a step, and of a tick.
    pub step: Duration,
    /// The components.
    pub components: Vec<ComponentProblem>,
}

/// What the planner remembers of one component from tick to tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// What the whole horizon needed, at the ticks of the stabilisation window.
    wanted: VecDeque<(Timestamp, Allocation)>,
}

/// The planner's answer.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Changes only, each with its reason.
    pub decisions: Vec<Decision>,
    /// For the next tick, in the problem's order.
    pub memory: Vec<Memory>,
}

/// An in-place change takes effect within this many steps.
const IN_PLACE_STEPS: usize = 2;
/// Ticks longer than the lead time that a raise looks ahead: the next tick could not do it in time.
const RAISE_MARGIN_STEPS: usize = 1;
/// The stabilisation window: a component shrinks to the most that was wanted over this many lead times.
const STABILISATION_LEADS: u32 = 2;

/// Solves one tick.
pub fn solve(problem: &Problem, previous: &[Memory]) -> Plan {
    let mut plan = Plan::default();
    for (at, component) in problem.components.iter().enumerate() {
        let mut memory = previous.get(at).cloned().unwrap_or_default();
        if component.hold.is_none() {
            plan.decisions.extend(decide(problem, component, &mut memory));
        }
        plan.memory.push(memory);
    }
    plan
}

fn decide(problem: &Problem, component: &ComponentProblem, memory: &mut Memory) -> Option<Decision> {
    let soon = Need::within(component, Some(component.raise_steps(problem.step)));
    let whole = Need::within(component, None);
    let raise = allocate(component, soon.cores);
    let keep = allocate(component, whole.cores.max(soon.cores));

    let window = component.lead * STABILISATION_LEADS;
    memory.wanted.retain(|(at, _)| problem.now.since(*at) < window && *at < problem.now);
    memory.wanted.push_back((problem.now, keep));
    // Nothing shrinks on a short memory: at a start, or after a hold.
    let remembers =
        memory.wanted.front().is_some_and(|(at, _)| problem.now.since(*at) + problem.step * 3 / 2 >= window);
    let settled = memory.wanted.iter().map(|(_, wanted)| component.clamped(*wanted)).max_by_key(capacity)?;

    let current = component.current;
    let base = component.clamped(current);
    let (to, need) = if capacity(&raise) > capacity(&base) {
        // What has to grow in place grows at once to what the horizon will ask for, not a little at each tick.
        if component.limits.policy == Policy::Vertical { (keep, whole) } else { (raise, soon) }
    } else if capacity(&settled) < capacity(&base) && remembers && is_quiet(component) {
        (settled, whole)
    } else {
        (base, whole)
    };
    (to != current).then(|| component.decision(problem, to, &need))
}

/// Nothing shrinks while batches wait that are not yet served within the objective.
fn is_quiet(component: &ComponentProblem) -> bool {
    component.backlog <= component.current.cores() * component.objective.as_secs_f64()
}

fn capacity(allocation: &Allocation) -> u64 {
    u64::from(allocation.replicas) * allocation.cpu.0
}

/// Cores needed, and when most of them.
struct Need {
    cores: f64,
    step: usize,
}

impl Need {
    /// The most that is needed over the first `steps` steps (all if `None`): work expected, and the backlog drained
    /// within the objective.
    fn within(component: &ComponentProblem, steps: Option<usize>) -> Self {
        let drain = component.backlog / component.objective.as_secs_f64().max(1e-3);
        let (peak, at) = match &component.demand {
            Demand::Reactive { cores, .. } => (*cores, 0),
            Demand::Forecast { cores, .. } => {
                let until = steps.unwrap_or(cores.len()).min(cores.len());
                let peak = (0..until).max_by(|a, b| cores[*a].total_cmp(&cores[*b])).unwrap_or(0);
                (cores.get(peak).copied().unwrap_or(0.0), peak)
            }
        };
        Self { cores: peak.max(0.0) + drain.max(0.0), step: at }
    }
}

/// The least allocation within the limits that serves `cores` of work within the objective.
fn allocate(component: &ComponentProblem, cores: f64) -> Allocation {
    let Limits { policy, replicas: (fewest, most), cpu: (_, most_cpu) } = component.limits;
    let current = component.clamped(component.current);
    let vertical = |replicas: u32| {
        let spread = |cpu: Millicores| component.serves(Allocation { replicas, cpu }) >= cores;
        component.cpu_range().find(|cpu| spread(*cpu)).map(|cpu| Allocation { replicas, cpu })
    };
    let horizontal = |cpu: Millicores| {
        let fitting = (fewest..=most).find(|&replicas| component.serves(Allocation { replicas, cpu }) >= cores);
        Allocation { replicas: fitting.unwrap_or(most), cpu }
    };
    let wanted = match policy {
        Policy::Horizontal => horizontal(current.cpu),
        Policy::Vertical => {
            vertical(current.replicas).unwrap_or(Allocation { replicas: current.replicas, cpu: most_cpu })
        }
        Policy::Hybrid => vertical(fewest).unwrap_or_else(|| horizontal(most_cpu)),
    };
    component.no_less_than_used(wanted)
}

impl Allocation {
    /// Cores in all.
    pub fn cores(&self) -> f64 {
        capacity(self) as f64 / 1000.0
    }
}

impl ComponentProblem {
    fn raise_steps(&self, step: Duration) -> usize {
        match self.limits.policy {
            Policy::Vertical => IN_PLACE_STEPS + RAISE_MARGIN_STEPS,
            Policy::Horizontal | Policy::Hybrid => {
                let lead = self.lead.as_secs_f64() / step.as_secs_f64().max(1e-3);
                lead.ceil() as usize + RAISE_MARGIN_STEPS
            }
        }
    }

    /// CPU a replica that can be asked for: steps of about 10 %, so that noise does not become churn.
    fn cpu_range(&self) -> impl Iterator<Item = Millicores> {
        let (least, most) = self.limits.cpu;
        std::iter::successors(Some(least), move |cpu| {
            (*cpu < most).then(|| Millicores((cpu.0 + (cpu.0 / 10).max(1)).min(most.0)))
        })
    }

    /// Work that an allocation serves within the objective, cores.
    pub fn serves(&self, allocation: Allocation) -> f64 {
        let service = self.service / allocation.cpu.cores().clamp(1e-3, 1.0);
        allocation.cores() * utilisation(allocation.replicas, service, self.objective.as_secs_f64())
    }

    fn clamped(&self, allocation: Allocation) -> Allocation {
        let Limits { replicas: (fewest, most), cpu: (least_cpu, most_cpu), .. } = self.limits;
        Allocation {
            replicas: allocation.replicas.clamp(fewest, most.max(fewest)),
            cpu: allocation.cpu.clamp(least_cpu, most_cpu.max(least_cpu)),
        }
    }

    /// Never shrinks below what is in use, within the limits.
    fn no_less_than_used(&self, mut wanted: Allocation) -> Allocation {
        let Limits { policy, replicas: (_, most), cpu: (_, most_cpu) } = self.limits;
        if policy != Policy::Horizontal && wanted.cores() < self.usage {
            let each = Millicores::from_cores(self.usage / f64::from(wanted.replicas.max(1)));
            wanted.cpu = each.clamp(wanted.cpu, most_cpu);
        }
        if policy != Policy::Vertical && wanted.cores() < self.usage {
            let needed = (self.usage / wanted.cpu.cores().max(1e-3)).ceil() as u32;
            wanted.replicas = needed.clamp(wanted.replicas, most.max(wanted.replicas));
        }
        wanted
    }

    fn decision(&self, problem: &Problem, to: Allocation, need: &Need) -> Decision {
        let (basis, forecast_at) = match &self.demand {
            Demand::Forecast { made_at, .. } => (Basis::Forecast, Some(*made_at)),
            Demand::Reactive { .. } => (Basis::Reactive, None),
        };
        Decision {
            at: problem.now,
            component: self.component.clone(),
            from: self.current,
            to,
            reason: self.reason(problem, to, need),
            basis,
            forecast_at,
            applied: false,
            refusal: None,
            ahead: None,
        }
    }

    fn reason(&self, problem: &Problem, to: Allocation, need: &Need) -> String {
        let drain = self.backlog / self.objective.as_secs_f64().max(1e-3);
        let work = need.cores - drain;
        let mut text = match &self.demand {
            Demand::Forecast { source, .. } => {
                let ahead = problem.step.as_secs_f64() * (need.step + 1) as f64;
                format!("{work:.2} cores of work expected within {ahead:.0} s ({source})")
            }
            Demand::Reactive { because, .. } => format!("{work:.2} cores of work arriving ({because})"),
        };
        if drain > 0.005 {
            text += &format!(", {drain:.2} more to drain the backlog within {:.0} s", self.objective.as_secs_f64());
        }
        let served = self.serves(to);
        if served + 1e-9 < need.cores {
            text += &format!("; the limits allow {} x {}, which serves {served:.2}", to.replicas, to.cpu);
        } else {
            text += &format!("; {} x {} serves {served:.2} within the objective", to.replicas, to.cpu);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEP: Duration = Duration::from_secs(15);

    fn component(policy: Policy, replicas: u32, cores: Vec<f64>) -> ComponentProblem {
        let cpu = if policy == Policy::Horizontal { (500, 500) } else { (100, 2000) };
        ComponentProblem {
            component: "demo/Deployment.apps/parse/app".parse().unwrap(),
            limits: Limits { policy, replicas: (1, 20), cpu: (Millicores(cpu.0), Millicores(cpu.1)) },
            objective: Duration::from_secs(30),
            current: Allocation { replicas, cpu: Millicores(500) },
            demand: Demand::Forecast { cores, made_at: Timestamp(0), source: "lstm 1 at its 0.95 quantile".into() },
            backlog: 0.0,
            usage: 0.0,
            service: 0.5,
            lead: Duration::from_secs(30),
            hold: None,
        }
    }

    fn at(tick: u64, component: ComponentProblem) -> Problem {
        Problem { now: Timestamp(1_000_000 + tick * 15_000), step: STEP, components: vec![component] }
    }

    /// Runs ticks of the same demand, applying each decision; gives the allocations.
    fn run(mut component: ComponentProblem, ticks: u64) -> Vec<Allocation> {
        let mut memory = Vec::new();
        (0..ticks)
            .map(|tick| {
                let plan = solve(&at(tick, component.clone()), &memory);
                memory = plan.memory;
                if let Some(decision) = plan.decisions.first() {
                    component.current = decision.to;
                }
                component.current
            })
            .collect()
    }

    #[test]
    fn a_raise_comes_when_the_load_is_a_lead_time_away_and_not_before() {
        let mut cores = vec![0.4; 12];
        cores[6..].fill(2.0);
        assert!(solve(&at(0, component(Policy::Horizontal, 1, cores.clone())), &[]).decisions.is_empty());
        cores[2] = 2.0;
        let plan = solve(&at(0, component(Policy::Horizontal, 1, cores)), &[]);
        let [decision] = &plan.decisions[..] else { panic!("{plan:?}") };
        assert_eq!(decision.to.replicas, 5);
        assert_eq!(decision.basis, Basis::Forecast);
        assert!(decision.reason.contains("2.00 cores of work expected within 45 s"), "{}", decision.reason);
    }

    #[test]
    fn it_shrinks_only_when_the_whole_horizon_fits_below_and_has_for_the_stabilisation_window() {
        let mut cores = vec![0.4; 12];
        cores[11] = 2.0;
        assert_eq!(run(component(Policy::Horizontal, 5, cores), 10).last().unwrap().replicas, 5);
        // A peak in memory holds the size for two lead times, four ticks here.
        let mut memory = solve(&at(0, component(Policy::Horizontal, 5, vec![2.0; 12])), &[]).memory;
        let mut sizes = Vec::new();
        for tick in 1..6 {
            let plan = solve(&at(tick, component(Policy::Horizontal, 5, vec![0.4; 12])), &memory);
            sizes.push(plan.decisions.first().map_or(5, |decision| decision.to.replicas));
            memory = plan.memory;
        }
        assert_eq!(sizes, [5, 5, 5, 1, 1]);
    }

    #[test]
    fn a_backlog_is_drained_within_the_objective() {
        let idle = component(Policy::Horizontal, 1, vec![0.1; 12]);
        let plan = solve(&at(0, ComponentProblem { backlog: 60.0, ..idle }), &[]);
        let decision = &plan.decisions[0];
        assert!(decision.to.cores() * 30.0 >= 60.0, "{decision:?}");
        assert!(decision.reason.contains("2.00 more to drain the backlog within 30 s"), "{}", decision.reason);
    }

    #[test]
    fn vertical_changes_cpu_alone_and_hybrid_replicas_only_where_cpu_does_not_suffice() {
        let grown = run(component(Policy::Vertical, 2, vec![1.5; 12]), 1)[0];
        assert_eq!(grown.replicas, 2);
        assert!(grown.cpu > Millicores(750));
        let one = run(component(Policy::Hybrid, 1, vec![1.0; 12]), 1)[0];
        assert_eq!(one.replicas, 1);
        let many = run(component(Policy::Hybrid, 1, vec![5.0; 12]), 1)[0];
        assert!(many.replicas > 1 && many.cpu == Millicores(2000), "{many:?}");
    }

    #[test]
    fn without_a_model_it_reacts_and_says_so() {
        let mut blind = component(Policy::Horizontal, 1, vec![]);
        blind.demand = Demand::Reactive { cores: 2.0, because: "no model yet".into() };
        let decision = solve(&at(0, blind), &[]).decisions.remove(0);
        assert_eq!(decision.basis, Basis::Reactive);
        assert!(decision.reason.contains("no model yet"), "{}", decision.reason);
    }

    #[test]
    fn limits_that_do_not_suffice_are_named() {
        let decision = solve(&at(0, component(Policy::Horizontal, 1, vec![50.0; 12])), &[]).decisions.remove(0);
        assert_eq!(decision.to.replicas, 20);
        assert!(decision.reason.contains("the limits allow 20 x 500m"), "{}", decision.reason);
    }

    fn any_component() -> impl Strategy<Value = ComponentProblem> {
        let policy = prop_oneof![Just(Policy::Horizontal), Just(Policy::Vertical), Just(Policy::Hybrid)];
        let numbers = (0.0..30.0_f64, 0.0..8.0_f64, 0.0..5.0_f64);
        (policy, 1..25_u32, prop::collection::vec(0.0..12.0_f64, 0..13), numbers, 1..120_u64).prop_map(
            |(policy, replicas, cores, (backlog, usage, service), objective)| ComponentProblem {
                backlog,
                usage,
                service,
                objective: Duration::from_secs(objective),
                ..component(policy, replicas, cores)
            },
        )
    }

    fn applied(problem: &ComponentProblem) -> (Allocation, Vec<Memory>) {
        let plan = solve(&at(0, problem.clone()), &[]);
        (plan.decisions.first().map_or(problem.current, |decision| decision.to), plan.memory)
    }

    proptest! {
        #[test]
        fn it_stays_within_the_limits(problem in any_component()) {
            let (to, _) = applied(&problem);
            if to != problem.current {
                let Limits { replicas, cpu, .. } = problem.limits;
                prop_assert!((replicas.0..=replicas.1).contains(&to.replicas) && cpu.0 <= to.cpu && to.cpu <= cpu.1);
            }
        }

        #[test]
        fn what_it_has_decided_it_does_not_decide_again(problem in any_component()) {
            let (to, memory) = applied(&problem);
            let again = ComponentProblem { current: to, ..problem };
            let plan = solve(&at(0, again.clone()), &memory);
            prop_assert!(plan.decisions.is_empty(), "{:?}", plan.decisions);
            prop_assert_eq!(plan.memory, memory);
        }

        #[test]
        fn it_never_shrinks_what_is_in_use(problem in any_component()) {
            let (to, _) = applied(&problem);
            let inside = problem.clamped(problem.current) == problem.current;
            if inside && to.cores() < problem.current.cores() {
                prop_assert!(to.cores() + 1e-9 >= problem.usage, "{:?} {}", to, problem.usage);
            }
        }

        #[test]
        fn more_demand_never_gets_less(problem in any_component(), more in 1.0..3.0_f64) {
            let mut busier = problem.clone();
            if let Demand::Forecast { cores, .. } = &mut busier.demand {
                cores.iter_mut().for_each(|cores| *cores *= more);
            }
            prop_assert!(applied(&busier).0.cores() + 1e-9 >= applied(&problem).0.cores());
        }

        #[test]
        fn constant_demand_is_not_answered_with_a_to_and_fro(problem in any_component()) {
            let allocations = run(problem.clone(), 12);
            let mut changes = 0;
            let mut before = problem.current;
            for now in allocations {
                changes += usize::from(now != before);
                before = now;
            }
            prop_assert!(changes <= 2, "{changes} changes");
        }

        #[test]
        fn every_decision_has_a_reason(problem in any_component()) {
            for decision in solve(&at(0, problem), &[]).decisions {
                prop_assert!(decision.reason.contains("cores of work") && decision.reason.contains("serves"));
            }
        }

        #[test]
        fn on_hold_it_changes_nothing(problem in any_component()) {
            let held = ComponentProblem { hold: Some("stale data".into()), ..problem };
            prop_assert!(solve(&at(0, held), &[]).decisions.is_empty());
        }
    }
}
