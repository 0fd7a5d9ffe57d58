//! From rows to columns, in the background.
//!
//! ```text
//! raw rows ──gather──► blocks of the last minutes ──merge──► one block an hour, and roll-ups of it
//! ```
//!
//! A step is built on a reader's snapshot, off the writer; the writer then takes what was read away and puts in what was
//! built, in one short transaction, or does nothing at all if something of it has changed meanwhile: another process, such
//! as an import, may compact the same file. So a frame is in one place at any time, and a crash costs the work, never a
//! frame. What comes late is gathered into a block of its own, and merged into its hour when that is next looked at.
//!
//! A row or block that is damaged is reported and left out. A damaged row goes with the rows gathered; a damaged block
//! stays where it is until its time is over. Roll-ups are made anew only from as much as they were made of: where frames
//! of the hour are damaged or were given up, what is new is added to them.

use std::collections::BTreeMap;
use std::ops::Range;

use forebay_shared::Timestamp;
use rusqlite::{Connection, params};

use super::blocks::Head;
use super::blocks::{self, BUCKET_MS, Block, Tier};
use super::extent;
use super::frames::{self, ms, unsigned};
use super::pack::{self, Counts, Effort, Wanted};
use super::rollup::{self, Cells, Metric, Rolled};
use super::visit::{Pods, read_frames};
use super::{Damage, StoredContent};

/// Age of a component's oldest row from which its rows are gathered: what a restart reads frame by frame.
const GATHER_FROM_MS: u64 = 600_000;
/// Age of the rows that are left for the next time: frames of other pods may still come between.
const GATHER_TO_MS: u64 = 60_000;
/// Least time between two gatherings of a component, so that one whose clock is behind does not make a block each time.
const GATHER_EVERY_MS: u64 = GATHER_FROM_MS;
/// How long after its end an hour is merged.
const MERGE_AFTER_MS: u64 = 300_000;
/// Rows gathered at a time: a transaction of some 40 ms.
const ROWS: usize = 8192;
/// Events of a block, some 500 bytes each in memory.
const EVENTS: usize = 1 << 16;
/// Events of an hour beyond which its blocks are left as they are: a hundred pods make each of them large enough.
const MERGE_EVENTS: usize = 2 * EVENTS;

/// A step of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Rows of a component that end before a time.
    Gather { component_id: i64, before: Timestamp },
    /// The blocks of an hour.
    Merge { component_id: i64, bucket_ms: i64 },
}

impl Job {
    /// Whose it is: a component, and an hour of it.
    pub(super) fn place(self) -> (i64, Option<i64>) {
        match self {
            Self::Gather { component_id, .. } => (component_id, None),
            Self::Merge { component_id, bucket_ms } => (component_id, Some(bucket_ms)),
        }
    }
}

/// What there is to do: `gathered` tells when a component was last gathered, in this run.
pub(super) fn jobs(
    connection: &Connection,
    now: Timestamp,
    gathered: &BTreeMap<i64, Timestamp>,
) -> rusqlite::Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let mut components = connection.prepare_cached(
        "SELECT id, (SELECT min(end_ms) FROM raw WHERE component_id = components.id) FROM components",
    )?;
    let mut rows = components.query([])?;
    let old = |at: u64, age: u64| at.saturating_add(age) <= now.0;
    while let Some(row) = rows.next()? {
        let (component_id, oldest): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
        let rested = gathered.get(&component_id).is_none_or(|at| old(at.0, GATHER_EVERY_MS) || *at > now);
        if rested && oldest.is_some_and(|oldest| old(unsigned(oldest), GATHER_FROM_MS)) {
            jobs.push(Job::Gather { component_id, before: Timestamp(now.0.saturating_sub(GATHER_TO_MS)) });
        }
    }
    let mut unmerged = connection.prepare_cached(
        "SELECT DISTINCT component_id, bucket_ms FROM blocks WHERE merged = 0 AND bucket_ms <= ?1 ORDER BY bucket_ms",
    )?;
    let last = ms(now).saturating_sub(BUCKET_MS).saturating_sub(MERGE_AFTER_MS as i64);
    let merges =
        unmerged.query_map([last], |row| Ok(Job::Merge { component_id: row.get(0)?, bucket_ms: row.get(1)? }))?;
    jobs.extend(merges.collect::<rusqlite::Result<Vec<_>>>()?);
    Ok(jobs)
}

/// What a step takes away and puts in.
#[derive(Default)]
pub(super) struct Built {
    component_id: i64,
    /// Rows that go, by id and checksum: an id is used again.
    rows: Vec<(i64, i64)>,
    /// Blocks that go.
    blocks: Vec<Head>,
    /// Blocks that stay, and whose hour is merged now.
    settled: Vec<Head>,
    /// The hour whose roll-ups change.
    rolled: Option<Rolling>,
    insert: Vec<Block>,
    /// Samples and batches that could not be read.
    lost: (i64, i64),
    pub(super) damaged: Vec<Damage>,
    /// There may be more of the same.
    pub(super) more: bool,
}

/// The roll-ups of an hour as they were read, and whether each is replaced.
struct Rolling {
    bucket_ms: i64,
    old: Vec<(Tier, Head, bool)>,
}

impl Built {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.blocks.is_empty() && self.settled.is_empty()
    }

    /// Rows that become columns.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Puts it into the file; false, and nothing is changed, if something of it has changed meanwhile.
    pub(super) fn apply(&self, connection: &Connection) -> rusqlite::Result<bool> {
        connection.execute_batch("SAVEPOINT compaction")?;
        let done = self.replace(connection)?;
        let end = if done { "RELEASE compaction" } else { "ROLLBACK TO compaction; RELEASE compaction" };
        connection.execute_batch(end)?;
        Ok(done)
    }

    fn replace(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut statement = connection.prepare_cached("DELETE FROM raw WHERE id = ?1 AND crc32c = ?2")?;
        for (id, crc32c) in &self.rows {
            if statement.execute([id, crc32c])? != 1 {
                return Ok(false);
            }
        }
        let old = self.rolled.iter().flat_map(|rolled| &rolled.old);
        // Roll-ups made meanwhile know of more, or of the same.
        if let Some(Rolling { bucket_ms, .. }) = &self.rolled {
            let mut now = Vec::new();
            for tier in Tier::ROLLED {
                now.extend(blocks::rolled_of(connection, self.component_id, tier, *bucket_ms)?);
            }
            if !now.iter().map(|head| (head.id, head.crc32c)).eq(old.clone().map(|(_, head, _)| (head.id, head.crc32c)))
            {
                return Ok(false);
            }
        }
        let replaced = old.filter(|(_, _, replaced)| *replaced).map(|(_, head, _)| head);
        let delete = "DELETE FROM blocks WHERE id = ?1 AND crc32c = ?2 AND merged = ?3";
        let settle = "UPDATE blocks SET merged = 1 WHERE id = ?1 AND crc32c = ?2 AND merged = ?3 AND merged = 0";
        let changes = self.blocks.iter().chain(replaced).map(|head| (delete, head));
        for (sql, head) in changes.chain(self.settled.iter().map(|head| (settle, head))) {
            if connection.prepare_cached(sql)?.execute(params![head.id, head.crc32c, head.merged])? != 1 {
                return Ok(false);
            }
        }
        for block in &self.insert {
            block.insert(connection)?;
        }
        if self.lost != (0, 0) {
            extent::shrink(connection, self.component_id, self.lost.0, self.lost.1)?;
        }
        Ok(true)
    }
}

/// Does a step, less the writing.
pub(super) fn build(connection: &Connection, job: Job) -> rusqlite::Result<Built> {
    match job {
        Job::Gather { component_id, before } => gather(connection, component_id, before),
        Job::Merge { component_id, bucket_ms } => merge(connection, component_id, bucket_ms),
    }
}

fn gather(connection: &Connection, component_id: i64, before: Timestamp) -> rusqlite::Result<Built> {
    let mut built = Built { component_id, ..Built::default() };
    let mut pods = Pods::default();
    let mut buckets: BTreeMap<i64, Vec<StoredContent>> = BTreeMap::new();
    let mut events = 0;
    let mut told = Counts::default();
    for Place { start_ms, rows, counts: of } in places(connection, component_id, before)? {
        if built.rows.len() >= ROWS || events >= EVENTS {
            built.more = true;
            break;
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let frames = read_frames(connection, &mut pods, &ids, &mut |damage| built.damaged.push(damage))?;
        built.rows.extend(rows);
        (told.samples, told.arrivals) = (told.samples + of.samples, told.arrivals + of.arrivals);
        let counts = Counts::of(&frames);
        events += counts.samples + counts.arrivals + counts.progress;
        buckets.entry(start_ms / BUCKET_MS * BUCKET_MS).or_default().extend(frames);
    }
    let mut kept = Counts::default();
    for (bucket_ms, mut frames) in buckets {
        let counts = Counts::of(&frames);
        (kept.samples, kept.arrivals) = (kept.samples + counts.samples, kept.arrivals + counts.arrivals);
        built.insert.extend(block(component_id, bucket_ms, &mut frames, false)?);
    }
    let lost = |told: usize, kept: usize| i64::try_from(told.saturating_sub(kept)).unwrap_or(0);
    built.lost = (lost(told.samples, kept.samples), lost(told.arrivals, kept.arrivals));
    Ok(built)
}

/// The rows of one frame, by id and checksum, and the samples and arrivals that they tell of.
struct Place {
    start_ms: i64,
    rows: Vec<(i64, i64)>,
    counts: Counts,
}

/// The oldest rows of a component by frame.
fn places(connection: &Connection, component_id: i64, before: Timestamp) -> rusqlite::Result<Vec<Place>> {
    let mut select = connection.prepare_cached(
        "SELECT id, start_ms, end_ms, pod_id, sequence, kind, rows, crc32c FROM raw \
         WHERE component_id = ?1 AND end_ms < ?2 ORDER BY end_ms, start_ms, pod_id, sequence, kind LIMIT ?3",
    )?;
    // Some more than are gathered: the rows of the last frame may be cut.
    let mut rows = select.query(params![component_id, ms(before), 2 * ROWS as i64])?;
    let mut places: Vec<Place> = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let key: (i64, i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        if last != Some(key) {
            places.push(Place { start_ms: key.0, rows: Vec::new(), counts: Counts::default() });
        }
        last = Some(key);
        let Some(Place { rows, counts, .. }) = places.last_mut() else { continue };
        rows.push((row.get(0)?, row.get(7)?));
        let (kind, number): (i64, i64) = (row.get(5)?, row.get(6)?);
        let number = usize::try_from(number).unwrap_or(0);
        match kind {
            0 => counts.arrivals += number,
            2 => counts.samples += number,
            _ => {}
        }
    }
    Ok(places)
}

/// A block of frames; none of no frames.
fn block(
    component_id: i64,
    bucket_ms: i64,
    frames: &mut [StoredContent],
    merged: bool,
) -> rusqlite::Result<Option<Block>> {
    let spans = || {
        frames.iter().map(|StoredContent { content, .. }| {
            frames::span(content).unwrap_or((content.closed_at, content.closed_at))
        })
    };
    let (Some(start), Some(end)) = (spans().map(|span| span.0).min(), spans().map(|span| span.1).max()) else {
        return Ok(None);
    };
    let counts = Counts::of(frames);
    let data = pack::pack(frames, if merged { Effort::Full } else { Effort::Quick }).map_err(unpackable)?;
    let (tier, start_ms, end_ms) = (Tier::Frames, ms(start), ms(end));
    Ok(Some(Block { component_id, tier, bucket_ms, start_ms, end_ms, counts, merged, data }))
}

fn merge(connection: &Connection, component_id: i64, bucket_ms: i64) -> rusqlite::Result<Built> {
    let mut built = Built { component_id, ..Built::default() };
    let old = Roll::read(connection, component_id, bucket_ms, &mut built.damaged)?;
    let heads = blocks::of_bucket(connection, component_id, bucket_ms)?;
    let join = heads.iter().map(|head| head.events).sum::<usize>() <= MERGE_EVENTS;
    let cells = || Cells::new(Tier::Frames.step_ms());
    let mut hour = Hour { all: cells(), known: cells(), fresh: cells() };
    expect(connection, component_id, bucket_ms - BUCKET_MS, |frame| {
        hour.all.expect(frame);
        hour.fresh.expect(frame);
    })?;
    let mut whole = Vec::new();
    for head in heads {
        match blocks::frames(connection, head.id, Wanted::All)? {
            Some(Ok(mut frames)) => {
                frames.iter().for_each(|frame| hour.add(frame, head.merged, old.is_empty()));
                if join {
                    whole.extend(frames);
                    built.blocks.push(head);
                } else if !head.merged {
                    built.insert.extend(block(component_id, bucket_ms, &mut frames, true)?);
                    built.blocks.push(head);
                }
            }
            Some(Err(damage)) => {
                built.damaged.push(damage);
                built.settled.extend(Some(head).filter(|head| !head.merged));
            }
            None => {}
        }
    }
    built.insert.extend(block(component_id, bucket_ms, &mut whole, true)?);
    let left_out = hour.all.left_out();
    if left_out > 0 {
        tracing::warn!(component_id, bucket_ms, left_out, "frames reach over more time than a roll-up is made of");
    }
    roll_up(&mut built, bucket_ms, old, &hour)?;
    Ok(built)
}

/// What the frames of an hour add up to.
struct Hour {
    all: Cells,
    /// Of those that the roll-ups know of.
    known: Cells,
    /// Of the others.
    fresh: Cells,
}

impl Hour {
    fn add(&mut self, frame: &StoredContent, merged: bool, is_first: bool) {
        self.all.add(frame);
        // Without roll-ups there is nothing to be added to.
        if is_first {
            return;
        }
        if merged {
            self.known.add(frame);
            self.fresh.expect(frame);
        } else {
            self.fresh.add(frame);
        }
    }
}

/// Makes the roll-ups of an hour anew if nothing that they know of is missing; else adds what is new to them.
fn roll_up(built: &mut Built, bucket_ms: i64, old: Vec<Roll>, hour: &Hour) -> rusqlite::Result<()> {
    let is_whole = |roll: &Roll| roll.rows.as_ref().is_none_or(|rows| is_all_there(rows, &hour.known, roll.tier));
    let anew = old.iter().all(is_whole);
    for tier in Tier::ROLLED {
        let mut rows = if anew { &hour.all } else { &hour.fresh }.roll(tier.step_ms());
        if !anew {
            for (index, row) in
                old.iter().filter(|roll| roll.tier == tier).filter_map(|roll| roll.rows.as_ref()).flatten()
            {
                rows.entry(*index).or_default().join(row);
            }
        }
        built.insert.extend(rolled(built.component_id, bucket_ms, tier, rows)?);
    }
    // A damaged one goes with those that tell that nothing is missing; else nobody knows what was in it.
    let told = anew && old.iter().any(|roll| roll.rows.is_some());
    let old = old.into_iter().map(|roll| (roll.tier, roll.head, told || roll.rows.is_some())).collect();
    built.rolled = Some(Rolling { bucket_ms, old });
    Ok(())
}

/// Whether frames hold all that a roll-up was made of.
fn is_all_there(rows: &[(u64, Rolled)], known: &Cells, tier: Tier) -> bool {
    let known = known.roll(tier.step_ms());
    let missing = |of: &dyn Fn(&Rolled) -> f64| {
        rows.iter().map(|(_, row)| of(row)).sum::<f64>() - known.values().map(of).sum::<f64>()
    };
    // Each row was rounded: to the ms, and the sums to what they are stored in.
    let rounded = rows.len() as f64;
    let rounding = |metric: Metric| {
        let over = if metric.is_level() { tier.step_ms() as f64 } else { 1.0 };
        rounded * over / metric.scale()
    };
    // What is served in the hour depends on what is known of the one before.
    let mut metrics = Metric::ALL.into_iter().filter(|metric| *metric != Metric::Served);
    missing(&|row| row.sums.covered_ms) <= rounded
        && metrics.all(|metric| missing(&|row| row.sums.sum(metric).unwrap_or(0.0)) <= rounding(metric))
}

/// A roll-up that there is already; without rows if it is damaged.
struct Roll {
    tier: Tier,
    head: Head,
    rows: Option<Vec<(u64, Rolled)>>,
}

impl Roll {
    fn read(
        connection: &Connection,
        component_id: i64,
        bucket_ms: i64,
        damaged: &mut Vec<Damage>,
    ) -> rusqlite::Result<Vec<Self>> {
        let mut rolls = Vec::new();
        for tier in Tier::ROLLED {
            let unpack =
                |data: &[u8], counts: &Counts| rollup::unpack(data, counts.frames, tier.step_ms(), tier != Tier::Steps);
            for head in blocks::rolled_of(connection, component_id, tier, bucket_ms)? {
                let rows = match blocks::read(connection, head.id, unpack)? {
                    Some(Ok(rows)) => Some(rows),
                    Some(Err(damage)) => {
                        damaged.push(damage);
                        None
                    }
                    None => continue,
                };
                rolls.push(Self { tier, head, rows });
            }
        }
        Ok(rolls)
    }
}

/// Lets batches that arrived in the hour before be served in this one.
fn expect(
    connection: &Connection,
    component_id: i64,
    bucket_ms: i64,
    mut each: impl FnMut(&StoredContent),
) -> rusqlite::Result<()> {
    for head in blocks::of_bucket(connection, component_id, bucket_ms)? {
        // Damage of it is told when its own hour is read.
        if let Some(Ok(frames)) = blocks::frames(connection, head.id, Wanted::Batches)? {
            frames.iter().for_each(&mut each);
        }
    }
    Ok(())
}

fn rolled(
    component_id: i64,
    bucket_ms: i64,
    tier: Tier,
    rows: BTreeMap<u64, Rolled>,
) -> rusqlite::Result<Option<Block>> {
    let step_ms = tier.step_ms();
    let (Some(first), Some(last)) = (rows.keys().next(), rows.keys().next_back()) else { return Ok(None) };
    let Range { start, end } = *first * step_ms..last.saturating_add(1).saturating_mul(step_ms) - 1;
    let data = rollup::pack(&rows, step_ms, tier != Tier::Steps).map_err(unpackable)?;
    let counts = Counts { frames: rows.len(), ..Counts::default() };
    let (start_ms, end_ms) = (ms(Timestamp(start)), ms(Timestamp(end)));
    Ok(Some(Block { component_id, tier, bucket_ms, start_ms, end_ms, counts, merged: true, data }))
}

fn unpackable(error: String) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}
