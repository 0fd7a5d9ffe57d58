//! How long what is kept, and the giving up of what is older.
//!
//! A frame that is older than what is kept is acknowledged, counted, and not stored. That is what lets watermarks go:
//! when the newest frame below one is too old, whatever of them is sent again is too old as well, and counts no twice.
//!
//! Frames that no roll-up knows of, such as those just imported, stay until one does, however old they are; beyond the age
//! of roll-ups there is nothing that they could become.

use std::time::Duration;

use forebay_shared::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::blocks::Tier;
use super::extent::shrink;
use super::frames::{ms, unsigned};
use super::writer::is_of_the_disk;

const HOUR: Duration = Duration::from_secs(3600);
/// Raw frames and gaps: two days, so that the same time yesterday is there while today is looked back on.
pub const RAW: Duration = HOUR.saturating_mul(48);
/// Roll-ups of a minute and of 15: a quarter.
pub const ROLLUPS: Duration = HOUR.saturating_mul(24 * 90);
/// Forecasts: longer than any horizon, so that each is scored.
pub const FORECASTS: Duration = HOUR.saturating_mul(24);
/// Decisions: a quarter, to account for.
pub const DECISIONS: Duration = HOUR.saturating_mul(24 * 90);
/// Least time between two prunings.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// Rows that one task gives up of a table: some 20 ms of the writer's time.
const CHUNK: usize = 2000;
/// Blocks that one task gives up, at up to some 100 kB each.
const BLOCKS: usize = 64;
/// Components that one task looks at.
const COMPONENTS: usize = 64;

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Frames, their columns, and steps of 15 s.
    pub raw: Duration,
    /// Roll-ups of a minute and of 15 minutes.
    pub rollups: Duration,
    /// Bytes of the file in use, beyond which the oldest is given up before its time.
    pub max_bytes: Option<u64>,
}

impl Keep {
    /// How long anything is kept.
    fn longest(&self) -> Duration {
        self.raw.max(self.rollups)
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self { raw: RAW, rollups: ROLLUPS, max_bytes: None }
    }
}

/// Where a pruning is: a chunk a task, so that appends go between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Blocks by age.
    Blocks,
    /// The tables of the components with ids beyond one.
    Tables(i64),
    /// Blocks by size.
    Size,
    /// Done.
    Done,
}

impl Stage {
    /// What comes after a stage that failed.
    pub(super) fn beyond(self) -> Self {
        match self {
            Self::Blocks => Self::Tables(i64::MIN),
            Self::Tables(_) => Self::Size,
            Self::Size | Self::Done => Self::Done,
        }
    }
}

/// What is too old from a pruning on, in ms. It moves on only, since watermarks may be gone; but one that lies in the future
/// comes of a clock that was ahead, and would have every frame be too old until then.
pub(super) fn horizon(before: u64, now: Timestamp, keep: Keep) -> u64 {
    let oldest = now.minus(keep.raw).0;
    if before > now.0 { oldest } else { oldest.max(before) }
}

/// Does one chunk of a stage, and tells the next.
pub(super) fn prune(connection: &Connection, now: Timestamp, keep: Keep, stage: Stage) -> rusqlite::Result<Stage> {
    match stage {
        Stage::Blocks => {
            let horizon = horizon(oldest(connection)?.0, now, keep);
            connection
                .prepare_cached("INSERT OR REPLACE INTO horizon VALUES (0, ?1)")?
                .execute([ms(Timestamp(horizon))])?;
            let mut more = false;
            let merged =
                "SELECT id FROM blocks WHERE tier = ?1 AND end_ms < ?2 AND merged = 1 ORDER BY end_ms LIMIT ?3";
            let any = "SELECT id FROM blocks WHERE tier = ?1 AND end_ms < ?2 ORDER BY end_ms LIMIT ?3";
            for (tier, sql, age) in [
                (Tier::Frames, merged, keep.raw),
                (Tier::Frames, any, keep.longest()),
                (Tier::Steps, any, keep.raw),
                (Tier::Minute, any, keep.rollups),
                (Tier::QuarterHour, any, keep.rollups),
            ] {
                let before = ms(now.minus(age));
                more |= give_up(connection, sql, params![tier as i64, before, BLOCKS as i64])? == BLOCKS;
            }
            Ok(if more { Stage::Blocks } else { Stage::Tables(i64::MIN) })
        }
        Stage::Tables(beyond) => tables(connection, now, keep, beyond),
        Stage::Size => by_size(connection, now, keep),
        Stage::Done => Ok(Stage::Done),
    }
}

/// What was too old at the last pruning.
pub(super) fn oldest(connection: &Connection) -> rusqlite::Result<Timestamp> {
    let oldest = connection.query_row("SELECT oldest_ms FROM horizon", [], |row| row.get(0)).optional()?;
    Ok(Timestamp(oldest.map_or(0, unsigned)))
}

/// Gives up the blocks that a query finds; tells how many.
fn give_up(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
    let mut select = connection.prepare_cached(sql)?;
    let ids: Vec<i64> = select.query_map(params, |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for id in &ids {
        let mut delete = connection
            .prepare_cached("DELETE FROM blocks WHERE id = ?1 RETURNING component_id, tier, samples, arrivals")?;
        let gone: (i64, i64, i64, i64) =
            delete.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        if gone.1 == 0 {
            shrink(connection, gone.0, gone.2, gone.3)?;
        }
    }
    Ok(ids.len())
}

fn tables(connection: &Connection, now: Timestamp, keep: Keep, beyond: i64) -> rusqlite::Result<Stage> {
    let mut components = connection.prepare_cached("SELECT id FROM components WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let components: Vec<i64> =
        components.query_map(params![beyond, COMPONENTS as i64], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut more = false;
    for component in &components {
        connection.execute_batch("SAVEPOINT component")?;
        match of_component(connection, now, keep, *component) {
            Ok(left) => {
                connection.execute_batch("RELEASE component")?;
                more |= left;
            }
            // Of the disk, or of the transaction as a whole.
            Err(error) if is_of_the_disk(&error) || connection.is_autocommit() => return Err(error),
            Err(error) => {
                connection.execute_batch("ROLLBACK TO component; RELEASE component")?;
                tracing::error!(component, %error, "what is too old of a component cannot be given up");
            }
        }
    }
    Ok(match components.last() {
        _ if more => Stage::Tables(beyond),
        Some(last) if components.len() == COMPONENTS => Stage::Tables(*last),
        _ => Stage::Size,
    })
}

/// Gives up what is too old of a component; true if there is more.
fn of_component(connection: &Connection, now: Timestamp, keep: Keep, component: i64) -> rusqlite::Result<bool> {
    let mut more = raw(connection, component, ms(now.minus(keep.longest())))?;
    for (age, sql) in [
        (
            keep.raw,
            "DELETE FROM watermarks WHERE (pod_id, boot) IN (SELECT pod_id, boot FROM watermarks \
             WHERE pod_id IN (SELECT id FROM pods WHERE component_id = ?1) AND last_ms < ?2 LIMIT ?3)",
        ),
        (
            // As long as the run is known, what comes late finds its gap: an import may be of any age.
            keep.raw,
            "DELETE FROM gaps WHERE rowid IN (SELECT rowid FROM gaps WHERE component_id = ?1 AND at_ms < ?2 \
             AND NOT EXISTS (SELECT 1 FROM watermarks AS w WHERE w.pod_id = gaps.pod_id AND w.boot = gaps.boot) \
             LIMIT ?3)",
        ),
        (
            keep.longest(),
            "DELETE FROM gaps WHERE rowid IN \
             (SELECT rowid FROM gaps WHERE component_id = ?1 AND at_ms < ?2 LIMIT ?3)",
        ),
        (
            FORECASTS,
            "DELETE FROM forecasts WHERE rowid IN \
             (SELECT rowid FROM forecasts WHERE component_id = ?1 AND made_at_ms < ?2 LIMIT ?3)",
        ),
        (
            DECISIONS,
            "DELETE FROM decisions WHERE rowid IN \
             (SELECT rowid FROM decisions WHERE component_id = ?1 AND at_ms < ?2 LIMIT ?3)",
        ),
        (
            // The change that holds at that time stays.
            DECISIONS,
            "DELETE FROM allocations WHERE component_id = ?1 AND from_ms IN (SELECT from_ms FROM allocations \
             WHERE component_id = ?1 AND from_ms < (SELECT max(from_ms) FROM allocations WHERE component_id = ?1 \
             AND from_ms <= ?2) LIMIT ?3)",
        ),
    ] {
        let oldest = ms(now.minus(age));
        let deleted = connection.prepare_cached(sql)?.execute(params![component, oldest, CHUNK as i64])?;
        more |= deleted >= CHUNK;
    }
    connection
        .prepare_cached(
            "DELETE FROM pods WHERE component_id = ?1 \
             AND NOT EXISTS (SELECT 1 FROM watermarks WHERE pod_id = pods.id) \
             AND NOT EXISTS (SELECT 1 FROM gaps WHERE pod_id = pods.id) \
             AND NOT EXISTS (SELECT 1 FROM raw WHERE component_id = ?1 AND pod_id = pods.id)",
        )?
        .execute([component])?;
    Ok(more)
}

/// Rows that could not be gathered until they are of no use; true if there is more.
fn raw(connection: &Connection, component: i64, oldest: i64) -> rusqlite::Result<bool> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM raw WHERE id IN (SELECT id FROM raw WHERE component_id = ?1 AND end_ms < ?2 \
         ORDER BY end_ms LIMIT ?3) RETURNING kind, rows",
    )?;
    let gone = delete.query_map(params![component, oldest, CHUNK as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let gone: Vec<(i64, i64)> = gone.collect::<rusqlite::Result<_>>()?;
    if gone.is_empty() {
        return Ok(false);
    }
    let of = |kind| gone.iter().filter(|row| row.0 == kind).map(|row| row.1).sum();
    shrink(connection, component, of(2), of(0))?;
    Ok(gone.len() == CHUNK)
}

/// Frames older than a day go first, then the oldest roll-ups, then the rest of the frames, and last of all those that no
/// roll-up knows of.
fn by_size(connection: &Connection, now: Timestamp, keep: Keep) -> rusqlite::Result<Stage> {
    let Some(max) = keep.max_bytes.filter(|max| used_bytes(connection).is_ok_and(|used| used > *max)) else {
        return Ok(Stage::Done);
    };
    let day_ago = ms(now.minus(HOUR * 24));
    for (sql, before) in [
        ("SELECT id FROM blocks WHERE tier IN (0, 1) AND end_ms < ?1 AND merged = 1 ORDER BY end_ms LIMIT ?2", day_ago),
        ("SELECT id FROM blocks WHERE tier IN (2, 3) AND end_ms < ?1 ORDER BY end_ms LIMIT ?2", day_ago),
        ("SELECT id FROM blocks WHERE end_ms < ?1 AND merged = 1 ORDER BY end_ms LIMIT ?2", i64::MAX),
        ("SELECT id FROM blocks WHERE end_ms < ?1 ORDER BY end_ms LIMIT ?2", day_ago),
    ] {
        let blocks = give_up(connection, sql, params![before, BLOCKS as i64])?;
        if blocks > 0 {
            tracing::warn!(
                blocks,
                max_bytes = max,
                "the history is larger than it may be: its oldest blocks were given up"
            );
            return Ok(Stage::Size);
        }
    }
    Ok(Stage::Done)
}

/// Bytes of the file that hold something.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    Ok(u64::try_from(pages.saturating_mul(number("page_size")?)).unwrap_or(0))
}
