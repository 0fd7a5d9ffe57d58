//! Frames as they arrive: what one frame held of one kind is a row, packed, with a checksum of its own.

use std::collections::HashMap;
use std::ops::Range;

use bincode::Encode;
use forebay_shared::{BatchProgress, BootId, ComponentId, Content, Frame, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::codec::{self, Packed};
use super::extent::Growth;
use super::{Damage, Gap};
use crate::identity::PodIdentity;

/// A kind of block. The order is that of a frame's blocks: a batch arrives before anything comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Arrivals = 0,
    Progress = 1,
    Samples = 2,
}

/// A frame, ready for the writer: what takes long is done where the frame came in.
pub(super) struct Prepared {
    boot: BootId,
    sequence: i64,
    closed_at: Timestamp,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) blocks: Vec<(Kind, usize, Packed)>,
}

/// Packs a frame; an error, in words, if it can't be stored.
pub(super) fn prepare(frame: &Frame) -> Result<Prepared, String> {
    let content = &frame.content;
    // The next sequence must be a number too.
    let sequence = i64::try_from(frame.sequence).ok().filter(|&sequence| sequence < i64::MAX);
    let sequence = sequence.ok_or_else(|| format!("sequence {}: expected less than 2^63 - 1", frame.sequence))?;
    let (start, end) = span(content).unwrap_or((content.closed_at, content.closed_at));
    let ms = |time: Timestamp| {
        i64::try_from(time.0).map_err(|_| format!("time {}: expected milliseconds since 1970, below 2^63", time.0))
    };
    let mut blocks = Vec::new();
    block(&mut blocks, Kind::Arrivals, content, &content.arrivals)?;
    block(&mut blocks, Kind::Progress, content, &content.progress)?;
    block(&mut blocks, Kind::Samples, content, &content.samples)?;
    ms(content.closed_at)?;
    Ok(Prepared {
        boot: frame.boot,
        sequence,
        closed_at: content.closed_at,
        start_ms: ms(start)?,
        end_ms: ms(end)?,
        blocks,
    })
}

fn block<T: Encode>(
    blocks: &mut Vec<(Kind, usize, Packed)>,
    kind: Kind,
    content: &Content,
    items: &Vec<T>,
) -> Result<(), String> {
    if !items.is_empty() {
        blocks.push((kind, items.len(), codec::pack(&(content.closed_at, &content.sampling, items))?));
    }
    Ok(())
}

/// The earliest and the latest event.
pub(super) fn span(content: &Content) -> Option<(Timestamp, Timestamp)> {
    let samples = content.samples.iter().map(|sample| sample.at);
    let arrivals = content.arrivals.iter().map(|arrival| arrival.arrived_at);
    let progress = content.progress.iter().map(|progress| time_of(progress, content.closed_at));
    samples.chain(arrivals).chain(progress).fold(None, |span, at| match span {
        None => Some((at, at)),
        Some((from, to)) => Some((at.min(from), at.max(to))),
    })
}

/// When a batch's progress came about; the frame's own time if it does not tell.
fn time_of(progress: &BatchProgress, closed_at: Timestamp) -> Timestamp {
    progress.finished_at.or(progress.started_at).unwrap_or(closed_at)
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Stored.
    New,
    /// It had been taken before.
    Duplicate,
    /// All of it is older than what is kept: taken, and not stored.
    TooOld,
}

/// What became of an append: of each frame, and the gaps found.
pub(super) struct Stored {
    pub(super) fates: Vec<Fate>,
    pub(super) gaps: usize,
}

/// When a gap was found that an import begins after: it may be filled, and is no frame that should have come.
const NEVER_MS: i64 = i64::MAX;

/// Which frames are stored, and how long it is known that they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// An agent: what ends before a time is too old, and watermarks go when all below them is.
    Agent { oldest: Timestamp },
    /// A file of the past: all of it, and what was imported is known for good.
    Import,
}

/// Stores the frames of a pod that are new and not too old, and moves its watermarks.
pub(super) fn store(
    connection: &Connection,
    pod: &PodIdentity,
    frames: &[Prepared],
    origin: Origin,
) -> rusqlite::Result<Stored> {
    let component_id = component_id(connection, &pod.component)?;
    let pod_id = pod_id(connection, component_id, pod)?;
    let mut watermarks: HashMap<BootId, Watermark> = HashMap::new();
    let mut stored = Stored { fates: Vec::with_capacity(frames.len()), gaps: 0 };
    let mut growth = Growth::default();
    for frame in frames {
        let mark = match watermarks.get(&frame.boot) {
            Some(mark) => *mark,
            None => watermark(connection, pod_id, frame.boot)?,
        };
        if frame.sequence < mark.next && !fill(connection, component_id, pod_id, frame)? {
            watermarks.insert(frame.boot, mark);
            stored.fates.push(Fate::Duplicate);
            continue;
        }
        if frame.sequence > mark.next {
            let at_ms = if origin == Origin::Import { NEVER_MS } else { ms(frame.closed_at) };
            stored.gaps += usize::from(at_ms != NEVER_MS);
            gap(connection, component_id, pod_id, frame, (mark.next, frame.sequence, at_ms))?;
        }
        let (last_ms, oldest_ms) = match origin {
            Origin::Agent { oldest } => (frame.end_ms, ms(oldest)),
            Origin::Import => (i64::MAX, 0),
        };
        let mark = Watermark { next: mark.next.max(frame.sequence + 1), last_ms: mark.last_ms.max(last_ms) };
        watermarks.insert(frame.boot, mark);
        if frame.end_ms < oldest_ms {
            stored.fates.push(Fate::TooOld);
            continue;
        }
        stored.fates.push(Fate::New);
        growth.add(frame);
        insert(connection, component_id, pod_id, frame)?;
    }
    for (boot, Watermark { next, last_ms }) in watermarks {
        connection
            .prepare_cached(
                "INSERT INTO watermarks VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE \
                 SET next_sequence = excluded.next_sequence, last_ms = excluded.last_ms",
            )?
            .execute(params![pod_id, boot.0.to_be_bytes(), next, last_ms])?;
    }
    growth.record(connection, component_id)?;
    Ok(stored)
}

#[derive(Clone, Copy)]
struct Watermark {
    next: i64,
    last_ms: i64,
}

/// The id of a component, which is made if it is new.
pub(super) fn component_id(connection: &Connection, component: &ComponentId) -> rusqlite::Result<i64> {
    if let Some(id) = find_component(connection, component)? {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO components (key) VALUES (?1) RETURNING id")?
        .query_row([component.to_string()], |row| row.get(0))
}

/// The id of a component that there is.
pub(super) fn find_component(connection: &Connection, component: &ComponentId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM components WHERE key = ?1")?
        .query_row([component.to_string()], |row| row.get(0))
        .optional()
}

fn pod_id(connection: &Connection, component_id: i64, pod: &PodIdentity) -> rusqlite::Result<i64> {
    let found = connection
        .prepare_cached("SELECT id FROM pods WHERE component_id = ?1 AND uid = ?2")?
        .query_row(params![component_id, pod.uid], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO pods (component_id, uid, name) VALUES (?1, ?2, ?3) RETURNING id")?
        .query_row(params![component_id, pod.uid, pod.pod], |row| row.get(0))
}

fn watermark(connection: &Connection, pod_id: i64, boot: BootId) -> rusqlite::Result<Watermark> {
    let mark = connection
        .prepare_cached("SELECT next_sequence, last_ms FROM watermarks WHERE pod_id = ?1 AND boot = ?2")?
        .query_row(params![pod_id, boot.0.to_be_bytes()], |row| {
            Ok(Watermark { next: row.get(0)?, last_ms: row.get(1)? })
        })
        .optional()?;
    Ok(mark.unwrap_or(Watermark { next: 0, last_ms: 0 }))
}

fn gap(
    connection: &Connection,
    component_id: i64,
    pod_id: i64,
    frame: &Prepared,
    (from, to, at_ms): (i64, i64, i64),
) -> rusqlite::Result<()> {
    if from < to {
        let boot = frame.boot.0.to_be_bytes();
        connection.prepare_cached("INSERT INTO gaps VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
            component_id,
            pod_id,
            boot,
            from,
            to,
            at_ms
        ])?;
    }
    Ok(())
}

/// Takes a frame that comes late out of the gap that it falls in; false if it falls in none: it had been taken before.
fn fill(connection: &Connection, component_id: i64, pod_id: i64, frame: &Prepared) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT rowid, from_sequence, to_sequence, at_ms FROM gaps \
         WHERE pod_id = ?1 AND boot = ?2 AND to_sequence > ?3 ORDER BY to_sequence LIMIT 1",
    )?;
    let found = select.query_row(params![pod_id, frame.boot.0.to_be_bytes(), frame.sequence], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    });
    let Some((id, from, to, at_ms)) = found.optional()?.filter(|found| found.1 <= frame.sequence) else {
        return Ok(false);
    };
    connection.prepare_cached("DELETE FROM gaps WHERE rowid = ?1")?.execute([id])?;
    gap(connection, component_id, pod_id, frame, (from, frame.sequence, at_ms))?;
    gap(connection, component_id, pod_id, frame, (frame.sequence + 1, to, at_ms))?;
    Ok(true)
}

fn insert(connection: &Connection, component_id: i64, pod_id: i64, frame: &Prepared) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO raw (component_id, start_ms, end_ms, pod_id, boot, sequence, kind, rows, codec, crc32c, data) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for (kind, rows, packed) in &frame.blocks {
        let key = Key {
            component_id,
            start_ms: frame.start_ms,
            end_ms: frame.end_ms,
            pod_id,
            boot: frame.boot.0.to_be_bytes(),
            sequence: frame.sequence,
            kind: *kind as i64,
            rows: *rows as i64,
            codec: packed.codec.into(),
        };
        insert.execute(params![
            key.component_id,
            key.start_ms,
            key.end_ms,
            key.pod_id,
            key.boot,
            key.sequence,
            key.kind,
            key.rows,
            key.codec,
            key.checksum(&packed.data),
            packed.data
        ])?;
    }
    Ok(())
}

/// The columns of a block beside its data.
#[derive(Clone, PartialEq)]
struct Key {
    component_id: i64,
    start_ms: i64,
    end_ms: i64,
    pod_id: i64,
    boot: [u8; 16],
    sequence: i64,
    kind: i64,
    rows: i64,
    codec: i64,
}

impl Key {
    fn checksum(&self, data: &[u8]) -> u32 {
        let mut crc = 0;
        for number in [self.component_id, self.start_ms, self.end_ms, self.pod_id] {
            crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
        }
        crc = crc32c::crc32c_append(crc, &self.boot);
        for number in [self.sequence, self.kind, self.rows, self.codec] {
            crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
        }
        crc32c::crc32c_append(crc, data)
    }
}

/// Where the rows of one frame are: they lie side by side, and share all but the kind.
pub(super) struct Place {
    pub(super) start_ms: i64,
    pub(super) rows: Vec<i64>,
}

/// The frames of a component that reach into a range, by their start.
pub(super) fn places(
    connection: &Connection,
    component_id: i64,
    range: &Range<Timestamp>,
) -> rusqlite::Result<Vec<Place>> {
    let mut select = connection.prepare_cached(
        "SELECT id, start_ms, pod_id, sequence FROM raw \
         WHERE component_id = ?1 AND end_ms >= ?2 AND start_ms < ?3 ORDER BY start_ms, pod_id, sequence, end_ms, kind",
    )?;
    let mut rows = select.query(params![component_id, ms(range.start), ms(range.end)])?;
    let mut places: Vec<Place> = Vec::new();
    let mut before = None;
    while let Some(row) = rows.next()? {
        let (id, key): (i64, (i64, i64, i64)) = (row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?));
        match places.last_mut() {
            Some(place) if before == Some(key) => place.rows.push(id),
            _ => places.push(Place { start_ms: key.0, rows: vec![id] }),
        }
        before = Some(key);
    }
    Ok(places)
}

/// A row of a frame: whose it is, and what it holds.
pub(super) struct Part {
    pub(super) pod_id: i64,
    pub(super) boot: BootId,
    pub(super) sequence: u64,
    pub(super) content: Content,
}

/// Reads a row; `None` if it is no more.
pub(super) fn read_row(connection: &Connection, id: i64) -> rusqlite::Result<Option<Result<Part, Damage>>> {
    let mut select = connection.prepare_cached(
        "SELECT component_id, start_ms, end_ms, pod_id, boot, sequence, kind, rows, codec, crc32c, data \
         FROM raw WHERE id = ?1",
    )?;
    let mut rows = select.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let start_ms = row.get(1)?;
    let damage = |detail| Some(Err(Damage { table: "raw", id, start_ms, detail }));
    let boot = match row.get(4) {
        Ok(boot) => boot,
        Err(error) => return Ok(damage(error.to_string())),
    };
    let key = Key {
        component_id: row.get(0)?,
        start_ms,
        end_ms: row.get(2)?,
        pod_id: row.get(3)?,
        boot,
        sequence: row.get(5)?,
        kind: row.get(6)?,
        rows: row.get(7)?,
        codec: row.get(8)?,
    };
    let (expected, data): (i64, &[u8]) = (row.get(9)?, row.get_ref(10)?.as_blob()?);
    let found = key.checksum(data);
    if i64::from(found) != expected {
        return Ok(damage(format!("its checksum is {found:08x}, expected {expected:08x}")));
    }
    let (pod_id, boot, sequence) = (key.pod_id, BootId(u128::from_be_bytes(key.boot)), unsigned(key.sequence));
    match unpack(&key, data) {
        Ok(content) => Ok(Some(Ok(Part { pod_id, boot, sequence, content }))),
        Err(detail) => Ok(damage(detail)),
    }
}

fn unpack(key: &Key, data: &[u8]) -> Result<Content, String> {
    let codec = u8::try_from(key.codec).map_err(|_| format!("codec {} is unknown", key.codec))?;
    let mut content = Content::default();
    if key.kind == Kind::Arrivals as i64 {
        (content.closed_at, content.sampling, content.arrivals) = codec::unpack(codec, data)?;
    } else if key.kind == Kind::Progress as i64 {
        (content.closed_at, content.sampling, content.progress) = codec::unpack(codec, data)?;
    } else {
        (content.closed_at, content.sampling, content.samples) = codec::unpack(codec, data)?;
    }
    Ok(content)
}

/// Adds what another row of the frame holds.
pub(super) fn join(whole: &mut Content, mut part: Content) {
    whole.arrivals.append(&mut part.arrivals);
    whole.progress.append(&mut part.progress);
    whole.samples.append(&mut part.samples);
}

/// Cuts a frame to a range; false if nothing is left.
pub(super) fn cut(content: &mut Content, range: &Range<Timestamp>) -> bool {
    let closed_at = content.closed_at;
    content.samples.retain(|sample| range.contains(&sample.at));
    content.arrivals.retain(|arrival| range.contains(&arrival.arrived_at));
    content.progress.retain(|progress| range.contains(&time_of(progress, closed_at)));
    !(content.samples.is_empty() && content.arrivals.is_empty() && content.progress.is_empty())
}

/// The newest `most` gaps found in a range, oldest first.
pub(super) fn gaps(
    connection: &Connection,
    component: &ComponentId,
    range: &Range<Timestamp>,
    most: usize,
) -> rusqlite::Result<Vec<Gap>> {
    let mut select = connection.prepare_cached(
        "SELECT uid, boot, from_sequence, to_sequence, at_ms \
         FROM components CROSS JOIN gaps CROSS JOIN pods \
         WHERE components.key = ?1 AND gaps.component_id = components.id AND pods.id = gaps.pod_id \
           AND at_ms >= ?2 AND at_ms < ?3 \
         ORDER BY at_ms DESC LIMIT ?4",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = select.query_map(params![component.to_string(), ms(range.start), ms(range.end), most], |row| {
        Ok(Gap {
            pod_uid: row.get(0)?,
            boot: BootId(u128::from_be_bytes(row.get(1)?)),
            sequences: unsigned(row.get(2)?)..unsigned(row.get(3)?),
            at: Timestamp(unsigned(row.get(4)?)),
        })
    })?;
    let mut gaps = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    gaps.reverse();
    Ok(gaps)
}

/// How many frames are missing in all gaps found in a range.
pub(super) fn missing(
    connection: &Connection,
    component: &ComponentId,
    range: &Range<Timestamp>,
) -> rusqlite::Result<u64> {
    // As a double: a sum of whole numbers could be too large for one.
    let mut select = connection.prepare_cached(
        "SELECT total(to_sequence - from_sequence) FROM gaps \
         WHERE component_id = (SELECT id FROM components WHERE key = ?1) AND at_ms >= ?2 AND at_ms < ?3",
    )?;
    let missing: f64 =
        select.query_row(params![component.to_string(), ms(range.start), ms(range.end)], |row| row.get(0))?;
    Ok(missing as u64)
}

/// Milliseconds as SQLite holds them. What lies beyond, some 292 million years from now, is its last one.
pub(super) fn ms(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
