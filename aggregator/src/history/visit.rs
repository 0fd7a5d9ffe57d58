//! Frames in the order of time, wherever they lie: rows as they arrived and blocks of columns, merged.
//!
//! Blocks are opened when their time has come, so memory holds those that overlap: an hour of a component, not a day.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use forebay_shared::{BootId, ComponentId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::blocks::{self, Tier};
use super::frames::{self, ms};
use super::pack::Wanted;
use super::{Damage, StoredContent};

/// What of the frames is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Every frame.
    All,
    /// Frames that no roll-up knows of yet.
    Unmerged,
}

enum Source {
    Rows(Vec<i64>),
    Block(i64),
}

/// A frame that waits for its turn.
struct Waiting {
    start: Timestamp,
    frame: StoredContent,
}

impl Waiting {
    fn key(&self) -> (Timestamp, &str, BootId, u64) {
        (self.start, &self.frame.pod_uid, self.frame.boot, self.frame.sequence)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Gives `each` frame of a component, cut to the range, by the time of its earliest event, then by pod, boot and
/// sequence; and `damage` each row or block that had to be left out.
pub(super) fn visit(
    connection: &Connection,
    component: &ComponentId,
    range: &Range<Timestamp>,
    (which, wanted): (Which, Wanted),
    mut each: impl FnMut(StoredContent),
    mut damage: impl FnMut(Damage),
) -> rusqlite::Result<()> {
    let Some(component_id) = frames::find_component(connection, component)? else { return Ok(()) };
    let mut sources: Vec<(i64, Source)> = Vec::new();
    for place in frames::places(connection, component_id, range)? {
        sources.push((place.start_ms, Source::Rows(place.rows)));
    }
    for head in blocks::heads(connection, component_id, Tier::Frames, range)? {
        if which == Which::All || !head.merged {
            sources.push((head.start_ms, Source::Block(head.id)));
        }
    }
    sources.sort_by_key(|(start, _)| *start);
    let mut pods = Pods::default();
    let mut waiting: BinaryHeap<Reverse<Waiting>> = BinaryHeap::new();
    for (start, source) in sources {
        while waiting.peek().is_some_and(|Reverse(first)| ms(first.start) < start)
            && let Some(Reverse(first)) = waiting.pop()
        {
            give(first.frame, range, &mut each);
        }
        match source {
            Source::Rows(rows) => {
                let start = Timestamp(frames::unsigned(start));
                let frames = read_frames(connection, &mut pods, &rows, &mut damage)?;
                waiting.extend(frames.into_iter().map(|frame| Reverse(Waiting { start, frame })));
            }
            Source::Block(id) => match blocks::frames(connection, id, wanted)? {
                Some(Ok(frames)) => waiting.extend(frames.into_iter().map(|frame| {
                    let content = &frame.content;
                    let start = frames::span(content).map_or(content.closed_at, |(start, _)| start);
                    Reverse(Waiting { start, frame })
                })),
                Some(Err(damaged)) => damage(damaged),
                None => {}
            },
        }
    }
    while let Some(Reverse(first)) = waiting.pop() {
        give(first.frame, range, &mut each);
    }
    Ok(())
}

fn give(mut frame: StoredContent, range: &Range<Timestamp>, each: &mut impl FnMut(StoredContent)) {
    if frames::cut(&mut frame.content, range) {
        each(frame);
    }
}

/// The frames of rows of one place: one, or as many as there are boots.
pub(super) fn read_frames(
    connection: &Connection,
    pods: &mut Pods,
    rows: &[i64],
    damage: &mut impl FnMut(Damage),
) -> rusqlite::Result<Vec<StoredContent>> {
    let mut frames: Vec<StoredContent> = Vec::new();
    for row in rows {
        let frames::Part { pod_id, boot, sequence, content } = match frames::read_row(connection, *row)? {
            Some(Ok(part)) => part,
            Some(Err(damaged)) => {
                damage(damaged);
                continue;
            }
            None => continue,
        };
        let (pod_uid, pod) = pods.get(connection, pod_id)?;
        match frames.iter_mut().find(|frame| (&frame.pod_uid, frame.boot, frame.sequence) == (&pod_uid, boot, sequence))
        {
            Some(whole) => frames::join(&mut whole.content, content),
            None => frames.push(StoredContent { pod_uid, pod, boot, sequence, content }),
        }
    }
    Ok(frames)
}

/// Pods by their ids, each looked up once.
#[derive(Default)]
pub(super) struct Pods(HashMap<i64, (Arc<str>, Arc<str>)>);

impl Pods {
    /// UID and name.
    fn get(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<(Arc<str>, Arc<str>)> {
        if let Some(known) = self.0.get(&id) {
            return Ok(known.clone());
        }
        let mut select = connection.prepare_cached("SELECT uid, name FROM pods WHERE id = ?1")?;
        let text = |row: &rusqlite::Row<'_>, at| row.get::<_, String>(at).map(Arc::from);
        let found = select.query_row(params![id], |row| Ok((text(row, 0)?, text(row, 1)?))).optional()?;
        let found = found.unwrap_or_else(|| ("unknown".into(), "unknown".into()));
        self.0.insert(id, found.clone());
        Ok(found)
    }
}
