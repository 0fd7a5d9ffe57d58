//! Frames as blocks: what one frame held of one kind, packed, with a checksum of its own.

use std::collections::HashMap;
use std::ops::Range;

use bincode::Encode;
use forebay_shared::{BatchProgress, BootId, ComponentId, Content, Frame, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{self, Packed};
use super::{Extent, Gap, StoredContent};
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
    start_ms: i64,
    end_ms: i64,
    blocks: Vec<(Kind, usize, Packed)>,
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
fn span(content: &Content) -> Option<(Timestamp, Timestamp)> {
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

/// What became of an append: for each frame whether it is new, and the gaps found.
pub(super) struct Stored {
    pub(super) new: Vec<bool>,
    pub(super) gaps: usize,
}

/// Stores the frames of a pod that are new, and moves its watermarks.
pub(super) fn store(connection: &Connection, pod: &PodIdentity, frames: &[Prepared]) -> rusqlite::Result<Stored> {
    let component_id = component_id(connection, &pod.component)?;
    let pod_id = pod_id(connection, component_id, pod)?;
    let mut watermarks: HashMap<BootId, i64> = HashMap::new();
    let mut stored = Stored { new: Vec::with_capacity(frames.len()), gaps: 0 };
    let mut longest_ms = 0;
    for frame in frames {
        let next = match watermarks.get(&frame.boot) {
            Some(&next) => next,
            None => watermark(connection, pod_id, frame.boot)?,
        };
        let new = frame.sequence >= next;
        stored.new.push(new);
        if !new {
            watermarks.insert(frame.boot, next);
            continue;
        }
        if frame.sequence > next {
            stored.gaps += 1;
            gap(connection, component_id, pod_id, frame, next)?;
        }
        watermarks.insert(frame.boot, frame.sequence + 1);
        longest_ms = longest_ms.max(frame.end_ms - frame.start_ms);
        insert(connection, component_id, pod_id, frame)?;
    }
    for (boot, next) in watermarks {
        connection
            .prepare_cached(
                "INSERT INTO watermarks VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET next_sequence = excluded.next_sequence",
            )?
            .execute(params![pod_id, boot.0.to_be_bytes(), next])?;
    }
    connection
        .prepare_cached("UPDATE components SET longest_ms = ?2 WHERE id = ?1 AND longest_ms < ?2")?
        .execute(params![component_id, longest_ms])?;
    Ok(stored)
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

fn watermark(connection: &Connection, pod_id: i64, boot: BootId) -> rusqlite::Result<i64> {
    let next = connection
        .prepare_cached("SELECT next_sequence FROM watermarks WHERE pod_id = ?1 AND boot = ?2")?
        .query_row(params![pod_id, boot.0.to_be_bytes()], |row| row.get(0))
        .optional()?;
    Ok(next.unwrap_or(0))
}

fn gap(
    connection: &Connection,
    component_id: i64,
    pod_id: i64,
    frame: &Prepared,
    expected: i64,
) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT INTO gaps VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        component_id,
        pod_id,
        frame.boot.0.to_be_bytes(),
        expected,
        frame.sequence,
        ms(frame.closed_at)
    ])?;
    Ok(())
}

fn insert(connection: &Connection, component_id: i64, pod_id: i64, frame: &Prepared) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO blocks (component_id, start_ms, end_ms, pod_id, boot, sequence, kind, rows, codec, crc32c, data) \
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

    fn same_frame(&self, other: &Self) -> bool {
        (self.pod_id, self.boot, self.sequence) == (other.pod_id, other.boot, other.sequence)
    }
}

/// A block that can't be read.
pub(super) struct Damage {
    pub(super) block: i64,
    pub(super) start_ms: i64,
    pub(super) detail: String,
}

/// Gives `each` frame of a component, cut to the range, by the time of its earliest event; and `damage` each block
/// that had to be left out.
pub(super) fn visit(
    connection: &Connection,
    component: &ComponentId,
    range: &Range<Timestamp>,
    mut each: impl FnMut(StoredContent),
    mut damage: impl FnMut(Damage),
) -> rusqlite::Result<()> {
    // `+` keeps the order of the join: blocks by their index, and the pod of each.
    let mut select = connection.prepare_cached(
        "SELECT blocks.id, blocks.component_id, start_ms, end_ms, pod_id, boot, sequence, kind, rows, codec, crc32c, \
                data, uid, name \
         FROM components CROSS JOIN blocks CROSS JOIN pods \
         WHERE components.key = ?1 AND blocks.component_id = components.id AND pods.id = blocks.pod_id \
           AND start_ms >= ?2 - longest_ms AND start_ms < ?3 AND end_ms >= ?2 \
         ORDER BY start_ms, pod_id, sequence, kind",
    )?;
    let mut rows = select.query(params![component.to_string(), ms(range.start), ms(range.end)])?;
    let mut frame: Option<(Key, StoredContent)> = None;
    while let Some(row) = rows.next()? {
        let (key, part) = match read_block(row)? {
            Ok(block) => block,
            Err(damaged) => {
                damage(damaged);
                continue;
            }
        };
        match &mut frame {
            Some((of, whole)) if of.same_frame(&key) => join(&mut whole.content, part),
            _ => {
                let next = StoredContent {
                    pod_uid: row.get(12)?,
                    pod: row.get(13)?,
                    boot: BootId(u128::from_be_bytes(key.boot)),
                    sequence: key.sequence as u64,
                    content: part,
                };
                frame.replace((key, next)).into_iter().for_each(|(_, whole)| give(whole, range, &mut each));
            }
        }
    }
    frame.into_iter().for_each(|(_, whole)| give(whole, range, &mut each));
    Ok(())
}

fn read_block(row: &Row<'_>) -> rusqlite::Result<Result<(Key, Content), Damage>> {
    let (block, start_ms) = (row.get(0)?, row.get(2)?);
    let key = Key {
        component_id: row.get(1)?,
        start_ms,
        end_ms: row.get(3)?,
        pod_id: row.get(4)?,
        boot: match row.get(5) {
            Ok(boot) => boot,
            Err(error) => return Ok(Err(Damage { block, start_ms, detail: error.to_string() })),
        },
        sequence: row.get(6)?,
        kind: row.get(7)?,
        rows: row.get(8)?,
        codec: row.get(9)?,
    };
    let (expected, data): (i64, &[u8]) = (row.get(10)?, row.get_ref(11)?.as_blob()?);
    let found = key.checksum(data);
    if i64::from(found) != expected {
        let detail = format!("its checksum is {found:08x}, expected {expected:08x}");
        return Ok(Err(Damage { block, start_ms, detail }));
    }
    Ok(match unpack(&key, data) {
        Ok(content) => Ok((key, content)),
        Err(detail) => Err(Damage { block, start_ms, detail }),
    })
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

fn join(whole: &mut Content, mut part: Content) {
    whole.arrivals.append(&mut part.arrivals);
    whole.progress.append(&mut part.progress);
    whole.samples.append(&mut part.samples);
}

fn give(mut stored: StoredContent, range: &Range<Timestamp>, each: &mut impl FnMut(StoredContent)) {
    let content = &mut stored.content;
    let closed_at = content.closed_at;
    content.samples.retain(|sample| range.contains(&sample.at));
    content.arrivals.retain(|arrival| range.contains(&arrival.arrived_at));
    content.progress.retain(|progress| range.contains(&time_of(progress, closed_at)));
    if !(content.samples.is_empty() && content.arrivals.is_empty() && content.progress.is_empty()) {
        each(stored);
    }
}

/// The gaps found in a range, oldest first.
pub(super) fn gaps(
    connection: &Connection,
    component: &ComponentId,
    range: &Range<Timestamp>,
) -> rusqlite::Result<Vec<Gap>> {
    let mut select = connection.prepare_cached(
        "SELECT uid, boot, from_sequence, to_sequence, at_ms \
         FROM components CROSS JOIN gaps CROSS JOIN pods \
         WHERE components.key = ?1 AND gaps.component_id = components.id AND pods.id = gaps.pod_id \
           AND at_ms >= ?2 AND at_ms < ?3 \
         ORDER BY at_ms",
    )?;
    let rows = select.query_map(params![component.to_string(), ms(range.start), ms(range.end)], |row| {
        Ok(Gap {
            pod_uid: row.get(0)?,
            boot: BootId(u128::from_be_bytes(row.get(1)?)),
            sequences: unsigned(row.get(2)?)..unsigned(row.get(3)?),
            at: Timestamp(unsigned(row.get(4)?)),
        })
    })?;
    rows.collect()
}

/// How much there is of a component.
pub(super) fn extent(connection: &Connection, component: &ComponentId) -> rusqlite::Result<Extent> {
    let mut select = connection.prepare_cached(
        "SELECT sum(rows) FILTER (WHERE kind = 2), sum(rows) FILTER (WHERE kind = 0), min(start_ms), max(end_ms) \
         FROM components CROSS JOIN blocks \
         WHERE components.key = ?1 AND blocks.component_id = components.id",
    )?;
    let number = |row: &Row<'_>, at| row.get::<_, Option<i64>>(at).map(|number| number.map(unsigned));
    select.query_row([component.to_string()], |row| {
        Ok(Extent {
            samples: number(row, 0)?.unwrap_or(0),
            batches: number(row, 1)?.unwrap_or(0),
            from: number(row, 2)?.map(Timestamp),
            to: number(row, 3)?.map(Timestamp),
        })
    })
}

/// Milliseconds as SQLite holds them. What lies beyond, some 292 million years from now, is its last one.
pub(super) fn ms(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
