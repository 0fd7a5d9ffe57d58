//! Blocks of columns in the file: each is found by component, tier and time, and checked as a whole.

use std::ops::Range;

use forebay_shared::Timestamp;
use rusqlite::{Connection, Row, params};

use super::frames::ms;
use super::pack::{self, Counts, Wanted};
use super::{Damage, StoredContent};

/// Length of a bucket: what is merged into one block. Longer ones pack a few percent better, and leave more of the recent
/// past to be read frame by frame.
pub(super) const BUCKET_MS: i64 = 3_600_000;

/// What blocks hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Whole frames.
    Frames = 0,
    /// Steps of 15 s, which live state is made of.
    Steps = 1,
    /// A roll-up of one minute.
    Minute = 2,
    /// A roll-up of 15 minutes.
    QuarterHour = 3,
}

impl Tier {
    /// Those that are made of frames.
    pub(super) const ROLLED: [Self; 3] = [Self::Steps, Self::Minute, Self::QuarterHour];

    /// Length of a step; of frames, that of the finest cells they are summed to.
    pub(super) fn step_ms(self) -> u64 {
        match self {
            Self::Frames => 1000,
            Self::Steps => 15_000,
            Self::Minute => 60_000,
            Self::QuarterHour => 900_000,
        }
    }
}

/// A block to be stored.
pub(super) struct Block {
    pub(super) component_id: i64,
    pub(super) tier: Tier,
    pub(super) bucket_ms: i64,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) counts: Counts,
    pub(super) merged: bool,
    pub(super) data: Vec<u8>,
}

impl Block {
    pub(super) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let key = Key {
            component_id: self.component_id,
            tier: self.tier as i64,
            bucket_ms: self.bucket_ms,
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            counts: [self.counts.frames, self.counts.samples, self.counts.arrivals, self.counts.progress]
                .map(|count| count as i64),
        };
        let [rows, samples, arrivals, progress] = key.counts;
        connection
            .prepare_cached(
                "INSERT INTO blocks (component_id, tier, bucket_ms, start_ms, end_ms, rows, samples, arrivals, \
                 progress, merged, crc32c, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                key.component_id,
                key.tier,
                key.bucket_ms,
                key.start_ms,
                key.end_ms,
                rows,
                samples,
                arrivals,
                progress,
                self.merged,
                key.checksum(&self.data),
                self.data
            ])?;
        Ok(())
    }
}

/// The columns of a block that its checksum covers beside the data.
struct Key {
    component_id: i64,
    tier: i64,
    bucket_ms: i64,
    start_ms: i64,
    end_ms: i64,
    /// Rows, samples, arrivals, progress.
    counts: [i64; 4],
}

impl Key {
    fn checksum(&self, data: &[u8]) -> u32 {
        let mut crc = 0;
        for number in [self.component_id, self.tier, self.bucket_ms, self.start_ms, self.end_ms] {
            crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
        }
        for number in self.counts {
            crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
        }
        crc32c::crc32c_append(crc, data)
    }
}

/// A block without its data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: i64,
    pub(super) start_ms: i64,
    pub(super) merged: bool,
    /// Samples, arrivals and progress.
    pub(super) events: usize,
    /// As stored. With the id it tells a block from one that has taken the id since.
    pub(super) crc32c: i64,
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let events: i64 = row.get(3)?;
    Ok(Head {
        id: row.get(0)?,
        start_ms: row.get(1)?,
        merged: row.get(2)?,
        events: usize::try_from(events).unwrap_or(0),
        crc32c: row.get(4)?,
    })
}

/// The blocks of a component and a tier that reach into a range, by their start; from the index alone, without their
/// numbers.
pub(super) fn heads(
    connection: &Connection,
    component_id: i64,
    tier: Tier,
    range: &Range<Timestamp>,
) -> rusqlite::Result<Vec<Head>> {
    let mut select = connection.prepare_cached(
        "SELECT id, start_ms, merged, 0, 0 FROM blocks \
         WHERE component_id = ?1 AND tier = ?2 AND end_ms >= ?3 AND start_ms < ?4 ORDER BY start_ms, id",
    )?;
    select.query_map(params![component_id, tier as i64, ms(range.start), ms(range.end)], head)?.collect()
}

/// The blocks of frames of a bucket.
pub(super) fn of_bucket(connection: &Connection, component_id: i64, bucket_ms: i64) -> rusqlite::Result<Vec<Head>> {
    let mut select = connection.prepare_cached(
        "SELECT id, start_ms, merged, samples + arrivals + progress, crc32c FROM blocks \
         WHERE component_id = ?1 AND tier = 0 AND end_ms >= ?2 AND bucket_ms = ?2 ORDER BY start_ms, id",
    )?;
    select.query_map(params![component_id, bucket_ms], head)?.collect()
}

/// The blocks of a roll-up of a bucket.
pub(super) fn rolled_of(
    connection: &Connection,
    component_id: i64,
    tier: Tier,
    bucket_ms: i64,
) -> rusqlite::Result<Vec<Head>> {
    let mut select = connection.prepare_cached(
        "SELECT id, start_ms, merged, 0, crc32c FROM blocks \
         WHERE component_id = ?1 AND tier = ?2 AND bucket_ms = ?3 ORDER BY id",
    )?;
    select.query_map(params![component_id, tier as i64, bucket_ms], head)?.collect()
}

/// Gives `with` a block's data, and what it holds, if it is whole. `None` if it is no more.
pub(super) fn read<T>(
    connection: &Connection,
    id: i64,
    with: impl FnOnce(&[u8], &Counts) -> Result<T, String>,
) -> rusqlite::Result<Option<Result<T, Damage>>> {
    let mut select = connection.prepare_cached(
        "SELECT component_id, tier, bucket_ms, start_ms, end_ms, rows, samples, arrivals, progress, crc32c, data \
         FROM blocks WHERE id = ?1",
    )?;
    let mut rows = select.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let key = Key {
        component_id: row.get(0)?,
        tier: row.get(1)?,
        bucket_ms: row.get(2)?,
        start_ms: row.get(3)?,
        end_ms: row.get(4)?,
        counts: [row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?],
    };
    let (expected, data): (i64, &[u8]) = (row.get(9)?, row.get_ref(10)?.as_blob()?);
    let found = key.checksum(data);
    let damage = |detail| Damage { table: "blocks", id, start_ms: key.start_ms, detail };
    if i64::from(found) != expected {
        return Ok(Some(Err(damage(format!("its checksum is {found:08x}, expected {expected:08x}")))));
    }
    let [frames, samples, arrivals, progress] = key.counts.map(|count| usize::try_from(count).unwrap_or(0));
    Ok(Some(with(data, &Counts { frames, samples, arrivals, progress }).map_err(damage)))
}

/// The frames of a block.
pub(super) fn frames(
    connection: &Connection,
    id: i64,
    wanted: Wanted,
) -> rusqlite::Result<Option<Result<Vec<StoredContent>, Damage>>> {
    read(connection, id, |data, counts| pack::unpack(data, counts, wanted))
}
