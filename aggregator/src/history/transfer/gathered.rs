//! Lines of a file, put together to frames.

use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use forebay_shared::{BootId, ComponentId, Content, Frame, ResourceSample, Timestamp};

use super::{Cell, HEAD, Imported, set};
use crate::history::{History, LONGEST_MS, fields};
use crate::identity::PodIdentity;

/// Frames of a file that are remembered to have been stored, at 18 bytes each: all of a file of some 30 GB.
const REMEMBERED: usize = 1 << 24;

/// The latest time, and the highest number: what a double still tells one by one, in the year 287396.
const LATEST_MS: u64 = 1 << 53;

/// Frames that are being put together from their lines, in the order of the file.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) frames: BTreeMap<Key, Content>,
    pub(super) events: usize,
    /// Hashes of those that are stored: what comes of one later would be taken for sent twice.
    pub(super) stored: HashSet<u64>,
}

/// Component, uid, pod, boot, sequence.
pub(super) type Key = (String, String, String, BootId, u64);

pub(super) fn hash(key: &Key) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl Gathered {
    pub(super) fn take(&mut self, cells: &[Cell]) -> Result<(), String> {
        let [head @ .., kind] = &cells[..HEAD.len()] else { return Err("the line is too short".into()) };
        let text = |at: usize| match &head[at] {
            Cell::Text(text) => Ok(text.clone()),
            _ => Err(format!("{}: expected text", HEAD[at].0)),
        };
        let number = |at: usize| match &head[at] {
            Cell::Integer(number) => Ok(*number),
            _ => Err(format!("{}: expected a whole number", HEAD[at].0)),
        };
        let component = text(0)?;
        ComponentId::from_str(&component).map_err(|error| error.to_string())?;
        let boot = u128::from_str_radix(&text(3)?, 16).map_err(|_| "boot: expected 32 hexadecimal digits")?;
        let key = (component, text(2)?, text(1)?, BootId(boot), number(4)?);
        let (closed_at, sampling) =
            (Timestamp(number(5)?), if head[6] == Cell::Empty { String::new() } else { text(6)? });
        let rest = &cells[HEAD.len()..];
        let (samples, rest) = rest.split_at(fields::SAMPLE.len());
        let (arrivals, progress) = rest.split_at(fields::ARRIVAL.len());
        let mut content = Content { closed_at, sampling, ..Content::default() };
        match kind {
            Cell::Text(kind) if kind == "sample" => {
                let mut row = ResourceSample::default();
                set(fields::SAMPLE, samples, &mut row)?;
                content.samples.push(row);
            }
            Cell::Text(kind) if kind == "arrival" => {
                let mut row = fields::empty_arrival();
                set(fields::ARRIVAL, arrivals, &mut row)?;
                content.arrivals.push(row);
            }
            Cell::Text(kind) if kind == "progress" => {
                let mut row = fields::empty_progress();
                set(fields::PROGRESS, progress, &mut row)?;
                content.progress.push(row);
            }
            other => return Err(format!("kind: {other:?}, expected sample, arrival or progress")),
        }
        check(key.4, &content)?;
        if self.stored.contains(&hash(&key)) {
            return Err(format!("frame {} was stored before: expected the lines of a frame side by side", key.4));
        }
        self.events += 1;
        match self.frames.entry(key) {
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(content)),
            std::collections::btree_map::Entry::Occupied(mut whole) => {
                crate::history::frames::join(whole.get_mut(), content)
            }
        }
        Ok(())
    }

    /// Stores the frames, all of whose lines have been read.
    pub(super) async fn store(&mut self, history: &History, imported: &mut Imported) -> anyhow::Result<()> {
        let mut pods: BTreeMap<(String, String, String), Vec<Frame>> = BTreeMap::new();
        for (key, content) in std::mem::take(&mut self.frames) {
            if self.stored.len() < REMEMBERED {
                self.stored.insert(hash(&key));
            }
            let (component, uid, pod, boot, sequence) = key;
            pods.entry((component, uid, pod)).or_default().push(Frame { boot, sequence, first_retained: 0, content });
        }
        self.events = 0;
        for ((component, uid, pod), frames) in pods {
            let pod = PodIdentity { component: component.parse()?, pod, uid };
            for frames in frames.chunks(1024) {
                super::store(history, &pod, frames.to_vec(), imported).await?;
            }
        }
        Ok(())
    }
}

/// What the file could not hold, or what would spoil a model.
fn check(sequence: u64, content: &Content) -> Result<(), String> {
    let samples = content.samples.iter().map(|sample| sample.at);
    let progress = content.progress.iter().flat_map(|of| [of.started_at, of.finished_at]).flatten();
    let times = samples.chain(progress).chain(content.arrivals.iter().map(|arrival| arrival.arrived_at));
    if times.chain([content.closed_at]).any(|at| at.0 > LATEST_MS) {
        return Err(format!("a time is beyond {LATEST_MS} ms since the epoch"));
    }
    if let Some(long) = content.samples.iter().find(|sample| sample.interval_ms > LONGEST_MS) {
        return Err(format!("intervalMs: {}, expected at most {LONGEST_MS}", long.interval_ms));
    }
    if sequence > LATEST_MS {
        return Err(format!("sequence: expected at most {LATEST_MS}"));
    }
    let checked = content.arrivals.iter().try_for_each(|arrival| arrival.characteristics.check());
    checked.map_err(|error| format!("arrival.{error}"))
}
