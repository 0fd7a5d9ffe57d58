//! How long what is kept, and the giving up of what is older.

use std::time::Duration;

use forebay_shared::Timestamp;
use rusqlite::{Connection, params};

use super::frames::ms;

const HOUR: Duration = Duration::from_secs(3600);
/// Raw blocks and gaps: two days, so that the same time yesterday is there while today is looked back on.
pub const RAW: Duration = HOUR.saturating_mul(48);
/// Forecasts: longer than any horizon, so that each is scored.
pub const FORECASTS: Duration = HOUR.saturating_mul(24);
/// Decisions: a quarter, to account for.
pub const DECISIONS: Duration = HOUR.saturating_mul(24 * 90);
/// Least time between two prunings.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// Rows that one task gives up of a table and component: some 20 ms of the writer's time.
const CHUNK: usize = 2000;

/// Gives up a chunk of what is too old; true if there is more.
pub(super) fn prune(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    let mut components = connection.prepare_cached("SELECT id FROM components")?;
    let components: Vec<i64> = components.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut more = false;
    for component in components {
        for (age, sql) in [
            (
                RAW,
                "DELETE FROM blocks WHERE id IN (SELECT id FROM blocks \
                 WHERE component_id = ?1 AND start_ms < ?2 AND end_ms < ?2 ORDER BY start_ms LIMIT ?3)",
            ),
            (
                RAW,
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
        ] {
            let oldest = ms(now.minus(age));
            let deleted = connection.prepare_cached(sql)?.execute(params![component, oldest, CHUNK as i64])?;
            more |= deleted == CHUNK;
        }
    }
    Ok(more)
}
