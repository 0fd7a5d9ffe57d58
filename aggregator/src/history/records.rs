//! What the forecaster and the planner leave: models, forecasts, decisions.

use std::collections::BTreeMap;
use std::ops::Range;

use bincode::{Decode, Encode};
use forebay_shared::{ComponentId, Timestamp};
use rusqlite::{Connection, Row, params};

use super::StoredModel;
use super::codec::{self, Packed};
use super::frames::{component_id, ms, unsigned};
use crate::forecast::{Curve, Forecast, QUANTILES, Resource};
use crate::planner::Decision;

/// Models kept of a component: the active one, and two to go back to.
const MODELS: i64 = 3;

/// Stores decisions by component and time; one that is there already is replaced.
pub(super) fn store_decisions(connection: &Connection, decisions: &[(Decision, String)]) -> rusqlite::Result<()> {
    for (decision, body) in decisions {
        let component_id = component_id(connection, &decision.component)?;
        connection.prepare_cached("INSERT OR REPLACE INTO decisions VALUES (?1, ?2, ?3)")?.execute(params![
            component_id,
            ms(decision.at),
            body
        ])?;
    }
    Ok(())
}

/// The newest decisions, newest first, and how many can't be read.
pub(super) fn decisions(
    connection: &Connection,
    component: &ComponentId,
    limit: usize,
) -> rusqlite::Result<(Vec<Decision>, Vec<String>)> {
    let mut select = connection.prepare_cached(
        "SELECT body FROM decisions WHERE component_id = (SELECT id FROM components WHERE key = ?1) \
         ORDER BY at_ms DESC LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    collect(select.query(params![component.to_string(), limit])?, |row| {
        let body: String = row.get(0)?;
        Ok(serde_json::from_str(&body).map_err(|error| format!("a decision does not read: {error}")))
    })
}

/// A forecast as it is packed.
#[derive(Encode, Decode)]
struct ForecastRow {
    start: Timestamp,
    step_ms: u64,
    model: String,
    version: u64,
    /// By index in [`Resource::ALL`].
    curves: Vec<(u8, Vec<[f64; QUANTILES.len()]>)>,
}

/// Packs a forecast for the writer.
pub(super) fn pack_forecast(forecast: &Forecast) -> Result<(Timestamp, Packed), String> {
    let index = |resource| Resource::ALL.iter().position(|of| *of == resource).unwrap_or_default() as u8;
    let row = ForecastRow {
        start: forecast.start,
        step_ms: forecast.step_ms,
        model: forecast.model.clone(),
        version: forecast.version,
        curves: forecast.resources.iter().map(|(resource, curve)| (index(*resource), curve.clone())).collect(),
    };
    Ok((forecast.made_at, codec::pack(&row)?))
}

/// Stores forecasts of a component by the time they were made.
pub(super) fn store_forecasts(
    connection: &Connection,
    component: &ComponentId,
    forecasts: &[(Timestamp, Packed)],
) -> rusqlite::Result<()> {
    let component_id = component_id(connection, component)?;
    for (made_at, Packed { codec, data }) in forecasts {
        connection.prepare_cached("INSERT OR REPLACE INTO forecasts VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            component_id,
            ms(*made_at),
            codec,
            crc32c::crc32c(data),
            data
        ])?;
    }
    Ok(())
}

/// The forecasts made in a range, oldest first, and what can't be read.
pub(super) fn forecasts(
    connection: &Connection,
    component: &ComponentId,
    range: &Range<Timestamp>,
) -> rusqlite::Result<(Vec<Forecast>, Vec<String>)> {
    let mut select = connection.prepare_cached(
        "SELECT made_at_ms, codec, crc32c, data FROM forecasts \
         WHERE component_id = (SELECT id FROM components WHERE key = ?1) AND made_at_ms >= ?2 AND made_at_ms < ?3 \
         ORDER BY made_at_ms",
    )?;
    collect(select.query(params![component.to_string(), ms(range.start), ms(range.end)])?, |row| {
        let made_at: i64 = row.get(0)?;
        let forecast = unpack_forecast(unsigned(made_at), row.get(1)?, row.get(2)?, row.get_ref(3)?.as_blob()?);
        Ok(forecast.map_err(|error| format!("the forecast of {made_at} does not read: {error}")))
    })
}

fn unpack_forecast(made_at: u64, codec: u8, crc: u32, data: &[u8]) -> Result<Forecast, String> {
    if crc32c::crc32c(data) != crc {
        return Err("its checksum does not fit".into());
    }
    let row: ForecastRow = codec::unpack(codec, data)?;
    let named = |(index, curve): (u8, Curve)| {
        let resource = Resource::ALL.get(usize::from(index)).ok_or_else(|| format!("no resource {index}"))?;
        Ok((*resource, curve))
    };
    Ok(Forecast {
        made_at: Timestamp(made_at),
        start: row.start,
        step_ms: row.step_ms,
        model: row.model,
        version: row.version,
        resources: row.curves.into_iter().map(named).collect::<Result<BTreeMap<_, _>, String>>()?,
    })
}

/// Stores a model as the active one, and gives up the oldest beyond those that are kept.
pub(super) fn store_model(connection: &Connection, model: &StoredModel, scores: &str) -> rusqlite::Result<()> {
    let component_id = component_id(connection, &model.component)?;
    let version = i64::try_from(model.version).unwrap_or(i64::MAX);
    connection.prepare_cached("UPDATE models SET active = 0 WHERE component_id = ?1")?.execute([component_id])?;
    connection.prepare_cached("INSERT OR REPLACE INTO models VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8)")?.execute(
        params![
            component_id,
            version,
            model.kind,
            ms(model.trained_at),
            scores,
            model.confidence,
            crc32c::crc32c(&model.weights),
            model.weights
        ],
    )?;
    connection
        .prepare_cached(
            "DELETE FROM models WHERE component_id = ?1 AND version NOT IN \
             (SELECT version FROM models WHERE component_id = ?1 ORDER BY active DESC, version DESC LIMIT ?2)",
        )?
        .execute(params![component_id, MODELS])?;
    Ok(())
}

/// The models of a component, the active one first, then the newest first; and what can't be read.
pub(super) fn models(
    connection: &Connection,
    component: &ComponentId,
) -> rusqlite::Result<(Vec<StoredModel>, Vec<String>)> {
    let mut select = connection.prepare_cached(
        "SELECT version, kind, trained_at_ms, scores, confidence, crc32c, weights FROM models \
         WHERE component_id = (SELECT id FROM components WHERE key = ?1) ORDER BY active DESC, version DESC",
    )?;
    collect(select.query([component.to_string()])?, |row| {
        let version: i64 = row.get(0)?;
        let weights: Vec<u8> = row.get(6)?;
        if crc32c::crc32c(&weights) != row.get::<_, u32>(5)? {
            return Ok(Err(format!("the checksum of the weights of model {version} does not fit")));
        }
        let scores = match serde_json::from_str(&row.get::<_, String>(3)?) {
            Ok(scores) => scores,
            Err(error) => return Ok(Err(format!("the scores of model {version} do not read: {error}"))),
        };
        Ok(Ok(StoredModel {
            component: component.clone(),
            kind: row.get(1)?,
            version: unsigned(version),
            trained_at: Timestamp(unsigned(row.get(2)?)),
            scores,
            confidence: row.get(4)?,
            weights,
        }))
    })
}

/// Every row, those that read apart from what is wrong with the others.
fn collect<T>(
    mut rows: rusqlite::Rows<'_>,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<Result<T, String>>,
) -> rusqlite::Result<(Vec<T>, Vec<String>)> {
    let (mut values, mut damaged) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        match read(row)? {
            Ok(value) => values.push(value),
            Err(detail) => damaged.push(detail),
        }
    }
    Ok((values, damaged))
}
