//! What a tick leaves, in one transaction: forecasts, decisions, allocations, and what is carried over a restart.
//!
//! A decision that was carried out while the disk took nothing is kept, and recorded with the next that it takes.

use std::sync::PoisonError;

use forebay_shared::{ComponentId, Millicores, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::codec::Packed;
use super::frames::{component_id, ms, unsigned};
use super::{History, HistoryError, records};
use crate::forecast::Forecast;
use crate::live::Carried;
use crate::orchestrator::Observed;
use crate::planner::{Allocation, Decision};

/// Decisions kept until the disk takes them, at some 2 kB each; beyond it the oldest go.
const UNRECORDED: usize = 1024;
/// Changes of an allocation that a start reads of a component.
const CHANGES: i64 = 10_000;

/// What a tick leaves.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// When it was.
    pub at: Timestamp,
    /// Forecasts made.
    pub forecasts: Vec<(ComponentId, Forecast)>,
    /// Decisions made, or better known.
    pub decisions: Vec<Decision>,
    /// Allocations that have changed; `None` where they are not known any more.
    pub allocations: Vec<(ComponentId, Option<Observed>)>,
    /// What components carry over.
    pub carried: Vec<(ComponentId, Carried)>,
}

/// What a start finds of the run before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// When the last tick was, and what was carried over from it.
    pub carried: Option<(Timestamp, Carried)>,
    /// Allocations, each from a time on, oldest first.
    pub allocations: Vec<(Timestamp, Option<Observed>)>,
}

/// The same, ready for the writer.
struct Packs {
    at: Timestamp,
    /// It is a tick, rather than what a start adds.
    ticked: bool,
    forecasts: Vec<(ComponentId, (Timestamp, Packed))>,
    decisions: Vec<(Decision, String)>,
    allocations: Vec<(ComponentId, Option<Observed>)>,
    carried: Vec<(ComponentId, String)>,
}

impl History {
    /// Records what a tick leaves: all of it, or nothing.
    ///
    /// # Errors
    /// The disk's. Its decisions are recorded when the disk takes some again.
    pub async fn record_tick(&self, mut left: Left) -> Result<(), HistoryError> {
        let unrecorded = self.unrecorded(std::mem::take(&mut left.decisions));
        left.decisions.clone_from(&unrecorded);
        let history = self.clone();
        let packing = tokio::task::spawn_blocking(move || pack(left).map_err(|error| history.unstorable(error)));
        let mut packs = match packing.await.map_err(|_| HistoryError::Closed).flatten() {
            Ok(packs) => packs,
            Err(error) => return self.recorded(Err(error), unrecorded),
        };
        let carried = {
            let before = self.0.carried.lock().unwrap_or_else(PoisonError::into_inner);
            packs.carried.retain(|(id, body)| before.get(id) != Some(body));
            packs.carried.clone()
        };
        let stored = self.0.writer.write(move |connection| store(connection, &packs)).await;
        if stored.is_ok() {
            self.0.carried.lock().unwrap_or_else(PoisonError::into_inner).extend(carried);
        }
        self.recorded(stored, unrecorded)
    }

    /// Records decisions; one of the same component and time replaces the one before.
    ///
    /// # Errors
    /// The disk's: they are recorded when it takes some again.
    pub async fn record_decisions(&self, decisions: Vec<Decision>) -> Result<(), HistoryError> {
        let decisions = self.unrecorded(decisions);
        let with_body = |decision: &Decision| {
            let body = serde_json::to_string(decision).map_err(|error| self.unstorable(error))?;
            Ok((decision.clone(), body))
        };
        let stored = match decisions.iter().map(with_body).collect::<Result<Vec<_>, HistoryError>>() {
            Ok(bodies) => self.0.writer.write(move |connection| records::store_decisions(connection, &bodies)).await,
            Err(error) => Err(error),
        };
        self.recorded(stored, decisions)
    }

    /// Decisions that wait to be recorded, then these.
    fn unrecorded(&self, decisions: Vec<Decision>) -> Vec<Decision> {
        let mut waiting = self.0.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).chain(decisions).collect()
    }

    /// Has decisions that were not recorded wait.
    fn recorded(&self, outcome: Result<(), HistoryError>, decisions: Vec<Decision>) -> Result<(), HistoryError> {
        if matches!(outcome, Err(HistoryError::Full { .. } | HistoryError::Failed { .. })) {
            let mut waiting = self.0.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
            // Before those that came to wait meanwhile.
            decisions.into_iter().rev().for_each(|decision| waiting.push_front(decision));
            let gone = waiting.len().saturating_sub(UNRECORDED);
            if gone > 0 {
                tracing::error!(decisions = gone, "the disk takes nothing: the oldest decisions will not be recorded");
                waiting.drain(..gone);
            }
        }
        outcome
    }

    /// What the run before has left of a component. Blocks: for the blocking threads.
    ///
    /// # Errors
    /// The disk's.
    pub fn found(&self, component: &ComponentId, since: Timestamp) -> Result<Found, HistoryError> {
        let (found, damaged) = self.0.readers.read(|connection| found(connection, component, since))?;
        Ok(self.intact(component, (vec![found], damaged)).pop().unwrap_or_default())
    }
}

fn pack(left: Left) -> Result<Packs, String> {
    let json = |error: serde_json::Error| error.to_string();
    let forecast = |(id, forecast): (ComponentId, Forecast)| Ok((id, records::pack_forecast(&forecast)?));
    let decision = |decision: Decision| {
        let body = serde_json::to_string(&decision).map_err(json)?;
        Ok((decision, body))
    };
    let carried = |(id, carried): (ComponentId, Carried)| Ok((id, serde_json::to_string(&carried).map_err(json)?));
    Ok(Packs {
        at: left.at,
        ticked: !left.carried.is_empty(),
        forecasts: left.forecasts.into_iter().map(forecast).collect::<Result<_, String>>()?,
        decisions: left.decisions.into_iter().map(decision).collect::<Result<_, String>>()?,
        allocations: left.allocations,
        carried: left.carried.into_iter().map(carried).collect::<Result<_, String>>()?,
    })
}

fn store(connection: &Connection, packs: &Packs) -> rusqlite::Result<()> {
    for (component, forecast) in &packs.forecasts {
        records::store_forecasts(connection, component, std::slice::from_ref(forecast))?;
    }
    records::store_decisions(connection, &packs.decisions)?;
    for (component, observed) in &packs.allocations {
        let id = component_id(connection, component)?;
        let allocation = observed.map(|observed| observed.allocation);
        connection.prepare_cached("INSERT OR REPLACE INTO allocations VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
            params![
                id,
                ms(packs.at),
                allocation.map(|allocation| allocation.replicas),
                observed.map(|observed| observed.ready),
                allocation.map(|allocation| i64::try_from(allocation.cpu.0).unwrap_or(i64::MAX)),
            ],
        )?;
    }
    if packs.ticked {
        connection.prepare_cached("INSERT OR REPLACE INTO ticked VALUES (0, ?1)")?.execute([ms(packs.at)])?;
    }
    for (component, body) in &packs.carried {
        let id = component_id(connection, component)?;
        connection.prepare_cached("INSERT OR REPLACE INTO carried VALUES (?1, ?2, ?3)")?.execute(params![
            id,
            ms(packs.at),
            body
        ])?;
    }
    Ok(())
}

fn found(connection: &Connection, component: &ComponentId, since: Timestamp) -> rusqlite::Result<(Found, Vec<String>)> {
    let (mut found, mut damaged) = (Found::default(), Vec::new());
    let mut select = connection.prepare_cached("SELECT id FROM components WHERE key = ?1")?;
    let id: Option<i64> = select.query_row([component.to_string()], |row| row.get(0)).optional()?;
    let Some(id) = id else { return Ok((found, damaged)) };
    let mut select = connection.prepare_cached(
        "SELECT max(at_ms, ifnull((SELECT at_ms FROM ticked), 0)), body FROM carried WHERE component_id = ?1",
    )?;
    let carried: Option<(i64, String)> = select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    if let Some((at, body)) = carried {
        match serde_json::from_str(&body) {
            Ok(carried) => found.carried = Some((Timestamp(unsigned(at)), carried)),
            Err(error) => damaged.push(format!("what was carried over does not read: {error}")),
        }
    }
    // From the change that holds at `since` on; the newest, should there be very many.
    let mut select = connection.prepare_cached(
        "SELECT from_ms, replicas, ready, cpu_millicores FROM allocations WHERE component_id = ?1 AND from_ms >= \
         ifnull((SELECT max(from_ms) FROM allocations WHERE component_id = ?1 AND from_ms <= ?2), 0) \
         ORDER BY from_ms DESC LIMIT ?3",
    )?;
    let rows = select.query_map(params![id, ms(since), CHANGES], |row| {
        let told: (Option<u32>, Option<u32>, Option<i64>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let observed = match told {
            (Some(replicas), Some(ready), Some(cpu)) => {
                Some(Observed { allocation: Allocation { replicas, cpu: Millicores(unsigned(cpu)) }, ready })
            }
            _ => None,
        };
        Ok((Timestamp(unsigned(row.get(0)?)), observed))
    })?;
    found.allocations = rows.collect::<rusqlite::Result<_>>()?;
    found.allocations.reverse();
    Ok((found, damaged))
}
