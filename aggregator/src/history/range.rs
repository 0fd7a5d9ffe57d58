//! Reading a range in steps, from the coarsest blocks that tell it exactly.
//!
//! ```text
//! step          read from                       kept for
//! any of 1 s    frames                          as long as raw (48 h)
//! n x 15 s      steps of 15 s: mean and sum     as long as raw
//! n x 1 min     roll-up of a minute             as long as roll-ups (90 days)
//! n x 15 min    roll-up of 15 minutes           likewise
//! ```
//!
//! Where raw is no more, a finer step becomes one of a minute. What no roll-up knows of yet, the last hour and what came
//! late, is summed up from its frames and added.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_shared::{ComponentId, Timestamp};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::blocks::{self, Tier};
use super::pack::Wanted;
use super::rollup::{self, Cells, LONGEST_MS, METRICS, Rolled, Sums, quantile95};
use super::visit::{self, Which};
use super::{Damage, History, HistoryError, StoredContent, frames};

/// How far beside a range frames are read: the sample after its end covers its last part, and batches that arrived before
/// its start are served in it.
const AROUND: Duration = Duration::from_secs(60);
/// How much is summed up second by second before it becomes steps: an hour, so that a range of any length takes no more.
const TAKE: Duration = Duration::from_secs(3600);

/// What is told of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// The mean over time.
    #[default]
    Mean,
    /// The most of any second.
    Max,
    /// What 95 % of the seconds do not exceed. Of a step that is several roll-ups long, the 0.95 quantile of theirs.
    P95,
    /// The total; of levels, times seconds.
    Sum,
}

/// How a range is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Length of a step: the one asked for, or longer where that is not kept.
    pub step_ms: u64,
    /// Length of what the steps are made of.
    pub of_ms: u64,
}

/// A range in steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranged {
    /// How it is told.
    pub resolution: Resolution,
    /// Steps that there is something of, by the time of their start.
    pub rows: Vec<(Timestamp, Rolled)>,
    /// Rows and blocks left out since they are damaged.
    pub damaged_blocks: usize,
}

/// A part of a component's recent past.
#[derive(Clone, Debug, PartialEq)]
pub enum Window {
    /// A step, by its index, and what is known of it so far. One index may come again: the parts add up.
    Step(u64, Sums),
    /// A frame that is in none of the steps.
    Frame(StoredContent),
}

impl Aggregate {
    fn needs_peaks(self) -> bool {
        matches!(self, Self::Max | Self::P95)
    }
}

impl History {
    /// A component's range in steps of `step_ms`, which is a multiple of a second. Blocks: for the blocking threads.
    ///
    /// # Errors
    /// The file's.
    pub fn range(
        &self,
        component: &ComponentId,
        range: Range<Timestamp>,
        step_ms: u64,
        aggregate: Aggregate,
    ) -> Result<Ranged, HistoryError> {
        let (tier, step_ms) = self.resolve(range.start, step_ms, aggregate);
        // To whole steps; a page that ends at one leaves the next to begin there.
        let end = range.end.0.div_ceil(step_ms).saturating_mul(step_ms);
        let range = Timestamp(range.start.0 / step_ms * step_ms)..Timestamp(end);
        let mut damaged = Vec::new();
        let rows = self.0.readers.read(|connection| read(connection, component, &range, tier, &mut damaged))?;
        damaged.iter().for_each(|damage| self.report(component, damage));
        let mut steps: BTreeMap<u64, Vec<Rolled>> = BTreeMap::new();
        for (index, row) in rows {
            steps.entry(index * tier.step_ms() / step_ms).or_default().push(row);
        }
        let of = |index: u64| Timestamp(index * step_ms);
        let steps = steps.into_iter().map(|(index, rows)| (of(index), join(&rows)));
        Ok(Ranged {
            resolution: Resolution { step_ms, of_ms: tier.step_ms() },
            rows: steps.filter(|(at, _)| range.contains(at)).collect(),
            damaged_blocks: damaged.len(),
        })
    }

    /// What live state is made of again: steps, where the length of a step allows, and the frames that are in none.
    /// Blocks: for the blocking threads.
    ///
    /// # Errors
    /// The file's.
    pub fn window(
        &self,
        component: &ComponentId,
        range: Range<Timestamp>,
        step_ms: u64,
        mut each: impl FnMut(Window),
    ) -> Result<(), HistoryError> {
        let mut damaged = Vec::new();
        let in_steps = step_ms.is_multiple_of(Tier::Steps.step_ms());
        self.0.readers.read(|connection| {
            if in_steps && let Some(id) = frames::find_component(connection, component)? {
                let mut steps: BTreeMap<u64, Sums> = BTreeMap::new();
                tier_rows(connection, id, &range, Tier::Steps, &mut damaged, |index, row| {
                    steps.entry(index * Tier::Steps.step_ms() / step_ms).or_default().add(&row.sums);
                })?;
                steps.into_iter().for_each(|(index, sums)| each(Window::Step(index, sums)));
            }
            let which = if in_steps { Which::Unmerged } else { Which::All };
            let give = |frame| each(Window::Frame(frame));
            visit::visit(connection, component, &range, (which, Wanted::Features), give, |damage| damaged.push(damage))
        })?;
        damaged.iter().for_each(|damage| self.report(component, damage));
        Ok(())
    }

    /// How a range from a time on is told: what [`range`](Self::range) answers.
    pub fn resolution(&self, from: Timestamp, step_ms: u64, aggregate: Aggregate) -> Resolution {
        let (tier, step_ms) = self.resolve(from, step_ms, aggregate);
        Resolution { step_ms, of_ms: tier.step_ms() }
    }

    /// How many samples, arrivals and progress there are of a component in a range: what a range that is told of frames is
    /// summed up from. Blocks: for the blocking threads.
    ///
    /// # Errors
    /// The file's.
    pub fn events(&self, component: &ComponentId, range: &Range<Timestamp>) -> Result<u64, HistoryError> {
        self.0.readers.read(|connection| {
            let Some(id) = frames::find_component(connection, component)? else { return Ok(0) };
            let mut select = connection.prepare_cached(
                "SELECT (SELECT ifnull(sum(samples + arrivals + progress), 0) FROM blocks \
                 WHERE component_id = ?1 AND tier = 0 AND end_ms >= ?2 AND start_ms < ?3) + (SELECT ifnull(sum(rows), 0) \
                 FROM raw WHERE component_id = ?1 AND end_ms >= ?2 AND start_ms < ?3)",
            )?;
            let events = select.query_row(
                rusqlite::params![id, frames::ms(range.start), frames::ms(range.end)],
                |row| row.get(0),
            )?;
            Ok(frames::unsigned(events))
        })
    }

    fn resolve(&self, from: Timestamp, step_ms: u64, aggregate: Aggregate) -> (Tier, u64) {
        let of = |tier: Tier| step_ms.is_multiple_of(tier.step_ms());
        let minute = Tier::Minute.step_ms();
        if of(Tier::QuarterHour) {
            (Tier::QuarterHour, step_ms)
        } else if of(Tier::Minute) {
            (Tier::Minute, step_ms)
        } else if from.0 < self.0.oldest.load(Ordering::Relaxed) {
            (Tier::Minute, step_ms.div_ceil(minute) * minute)
        } else if of(Tier::Steps) && !aggregate.needs_peaks() {
            (Tier::Steps, step_ms)
        } else {
            (Tier::Frames, step_ms)
        }
    }
}

/// The steps of a tier, with what no roll-up knows of yet.
fn read(
    connection: &Connection,
    component: &ComponentId,
    range: &Range<Timestamp>,
    tier: Tier,
    damaged: &mut Vec<Damage>,
) -> rusqlite::Result<BTreeMap<u64, Rolled>> {
    let mut rows: BTreeMap<u64, Rolled> = BTreeMap::new();
    let Some(id) = frames::find_component(connection, component)? else { return Ok(rows) };
    let which = if tier == Tier::Frames { Which::All } else { Which::Unmerged };
    if tier != Tier::Frames {
        tier_rows(connection, id, range, tier, damaged, |index, row| rows.entry(index).or_default().join(row))?;
    }
    let mut cells = Cells::new(Tier::Frames.step_ms());
    let what = (which, Wanted::Features);
    let range = range.start.minus(AROUND)..range.end.plus(AROUND);
    let mut taken = Timestamp(0);
    let add = |frame: StoredContent| {
        // Frames come in the order of their start, and none reaches back by more than what a sample may stand for: what
        // lies farther back is whole.
        let start = frames::span(&frame.content).map_or(taken, |span| span.0);
        let whole = start.minus(Duration::from_millis(LONGEST_MS.into()));
        if whole >= taken.plus(TAKE) {
            taken = whole;
            for (index, row) in cells.take_before(tier.step_ms(), whole.0) {
                rows.entry(index).or_default().join(&row);
            }
        }
        cells.add(&frame);
    };
    visit::visit(connection, component, &range, what, add, |damage| damaged.push(damage))?;
    for (index, row) in cells.roll(tier.step_ms()) {
        rows.entry(index).or_default().join(&row);
    }
    Ok(rows)
}

fn tier_rows(
    connection: &Connection,
    component_id: i64,
    range: &Range<Timestamp>,
    tier: Tier,
    damaged: &mut Vec<Damage>,
    mut each: impl FnMut(u64, &Rolled),
) -> rusqlite::Result<()> {
    let step_ms = tier.step_ms();
    let indices = range.start.0 / step_ms..range.end.0.div_ceil(step_ms);
    for head in blocks::heads(connection, component_id, tier, range)? {
        let peaks = tier != Tier::Steps;
        let rows = |data: &[u8], counts: &super::pack::Counts| rollup::unpack(data, counts.frames, step_ms, peaks);
        match blocks::read(connection, head.id, rows)? {
            Some(Ok(rows)) => {
                rows.iter().filter(|row| indices.contains(&row.0)).for_each(|(index, row)| each(*index, row));
            }
            Some(Err(damage)) => damaged.push(damage),
            None => {}
        }
    }
    Ok(())
}

/// One step of several rows.
fn join(rows: &[Rolled]) -> Rolled {
    let mut whole = Rolled::default();
    rows.iter().for_each(|row| whole.join(row));
    if rows.len() > 1 {
        for at in 0..METRICS {
            let mut values: Vec<f64> = rows.iter().filter_map(|row| row.peaks.p95[at]).collect();
            values.sort_by(f64::total_cmp);
            whole.peaks.p95[at] = quantile95(&values);
        }
    }
    whole
}
