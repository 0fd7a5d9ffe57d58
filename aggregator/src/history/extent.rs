//! How much there is of each component: kept up to date with what is stored and given up, so that nobody has to count.

use std::collections::BTreeMap;

use forebay_shared::{ComponentId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::Extent;
use super::frames::{Kind, Prepared, unsigned};

/// What an append adds to the extent of its component.
#[derive(Default)]
pub(super) struct Growth {
    span: Option<(i64, i64)>,
    samples: i64,
    batches: i64,
}

impl Growth {
    pub(super) fn add(&mut self, frame: &Prepared) {
        for (kind, rows, _) in &frame.blocks {
            match kind {
                Kind::Samples => self.samples += *rows as i64,
                Kind::Arrivals => self.batches += *rows as i64,
                Kind::Progress => {}
            }
            let (from, to) = self.span.unwrap_or((i64::MAX, 0));
            self.span = Some((from.min(frame.start_ms), to.max(frame.end_ms)));
        }
    }

    pub(super) fn record(self, connection: &Connection, component_id: i64) -> rusqlite::Result<()> {
        let Some((from, to)) = self.span else { return Ok(()) };
        connection
            .prepare_cached(
                "INSERT INTO extents VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET \
                 from_ms = min(from_ms, excluded.from_ms), to_ms = max(to_ms, excluded.to_ms), \
                 samples = samples + excluded.samples, batches = batches + excluded.batches",
            )?
            .execute(params![component_id, from, to, self.samples, self.batches])?;
        Ok(())
    }
}

/// Takes what is no more from the extent of a component.
pub(super) fn shrink(connection: &Connection, component_id: i64, samples: i64, batches: i64) -> rusqlite::Result<()> {
    let first = |sql| -> rusqlite::Result<Option<i64>> {
        connection.prepare_cached(sql)?.query_row([component_id], |row| row.get(0))
    };
    let raw = first("SELECT min(start_ms) FROM raw WHERE component_id = ?1")?;
    let blocks = first("SELECT min(start_ms) FROM blocks WHERE component_id = ?1 AND tier = 0")?;
    let from = raw.into_iter().chain(blocks).min();
    match from {
        Some(from) => connection
            .prepare_cached(
                "UPDATE extents SET from_ms = ?2, samples = max(0, samples - ?3), batches = max(0, batches - ?4) \
                 WHERE component_id = ?1",
            )?
            .execute(params![component_id, from, samples, batches])?,
        None => connection.prepare_cached("DELETE FROM extents WHERE component_id = ?1")?.execute([component_id])?,
    };
    Ok(())
}

/// How much there is of every component.
pub(super) fn extents(connection: &Connection) -> rusqlite::Result<BTreeMap<ComponentId, Extent>> {
    let mut select = connection.prepare_cached(
        "SELECT samples, batches, from_ms, to_ms, key FROM components JOIN extents ON component_id = id",
    )?;
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(4)?, extent_of(row)?)))?;
    let named = |row: rusqlite::Result<(String, Extent)>| match row {
        Ok((key, extent)) => key.parse().ok().map(|key| Ok((key, extent))),
        Err(error) => Some(Err(error)),
    };
    rows.filter_map(named).collect()
}

fn extent_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Extent> {
    Ok(Extent {
        samples: unsigned(row.get(0)?),
        batches: unsigned(row.get(1)?),
        from: Some(Timestamp(unsigned(row.get(2)?))),
        to: Some(Timestamp(unsigned(row.get(3)?))),
    })
}

/// How much there is of a component.
pub(super) fn extent(connection: &Connection, component: &ComponentId) -> rusqlite::Result<Extent> {
    let mut select = connection.prepare_cached(
        "SELECT samples, batches, from_ms, to_ms FROM components JOIN extents ON component_id = id WHERE key = ?1",
    )?;
    let extent = select.query_row([component.to_string()], extent_of);
    Ok(extent.optional()?.unwrap_or_default())
}
