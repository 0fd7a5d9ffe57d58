//! Frames that agents sent earlier, kept in a file.
//!
//! ```text
//! "FBAYREC1"                                                      magic and version
//! {"speed":…,"seconds":…,"endedAt":…,…}\n                         header: one line of JSON
//! component u8 · length u32 · CRC-32C u32 · frame                 repeated; little-endian
//! ```
//!
//! Before they are sent again they are moved in time, so that the recording ends now.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use forebay_shared::{BootId, Frame, Timestamp};
use serde::{Deserialize, Serialize};

use super::worker::Stage;

const MAGIC: &[u8] = b"FBAYREC1";
const ENTRY_HEADER: usize = 9;
/// Frames that are joined to one.
const JOINED: usize = 32;

/// The recording that the demo trains on; `README.md` tells how it was made.
const HISTORY: &[u8] = include_bytes!("history.frames");

/// Under what conditions a recording was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Header {
    /// Times faster than life.
    pub(super) speed: f64,
    /// Length, real time.
    pub(super) seconds: f64,
    /// When it ended.
    pub(super) ended_at: Timestamp,
    /// Seed of the workload's texts.
    pub(super) seed: u64,
    /// What each component had all the time.
    pub(super) components: BTreeMap<String, Given>,
    /// Cores of the machine.
    pub(super) cores: usize,
    /// What kept the workers to their share.
    pub(super) limiter: String,
}

/// What a component had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Given {
    /// Replicas.
    pub(super) replicas: u32,
    /// CPU of each.
    pub(super) cpu: String,
}

/// A recording.
#[derive(Debug, PartialEq)]
pub(super) struct Recording {
    /// How it was made.
    pub(super) header: Header,
    /// Frames and whose they are: the component's place in [`Stage::ALL`].
    pub(super) frames: Vec<(u8, Vec<u8>)>,
}

impl Recording {
    /// The committed one.
    ///
    /// # Errors
    /// If it is damaged.
    pub(super) fn committed() -> anyhow::Result<Self> {
        Self::read(HISTORY).context("history.frames")
    }

    /// Joins each component's frames to longer ones, which take a fraction of the room: agents tell of batches at once,
    /// and so send many short ones. What they tell, and its order, stays the same.
    ///
    /// # Errors
    /// If a frame does not decode.
    pub(super) fn joined(header: Header, frames: &[(u8, Vec<u8>)]) -> anyhow::Result<Self> {
        let mut joined = Vec::new();
        for component in 0..Stage::ALL.len() as u8 {
            let of_component = frames.iter().filter(|(of, _)| *of == component);
            let mut decoded = Vec::new();
            for (_, bytes) in of_component {
                decoded.push(Frame::decode(bytes)?.0);
            }
            for (frame, sequence) in decoded.chunks(JOINED).filter_map(join).zip(0..) {
                joined.push((component, Frame { sequence, first_retained: 0, ..frame }.encode()?));
            }
        }
        Ok(Self { header, frames: joined })
    }

    /// As a file.
    ///
    /// # Errors
    /// If a frame is longer than 4 GiB.
    pub(super) fn write(&self) -> anyhow::Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        serde_json::to_writer(&mut out, &self.header)?;
        out.push(b'\n');
        for (component, frame) in &self.frames {
            out.push(*component);
            out.extend_from_slice(&u32::try_from(frame.len())?.to_le_bytes());
            out.extend_from_slice(&crc32c::crc32c(frame).to_le_bytes());
            out.extend_from_slice(frame);
        }
        Ok(out)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is none, or damaged.
    pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let rest = bytes.strip_prefix(MAGIC).context("not a recording: expected it to start with FBAYREC1")?;
        let end = rest.iter().position(|byte| *byte == b'\n').context("the header does not end: expected a line")?;
        let header: Header = serde_json::from_slice(&rest[..end]).context("header")?;
        if !(header.speed > 0.0 && header.speed.is_finite()) {
            bail!("header: speed {}: expected a positive number", header.speed);
        }
        let mut rest = &rest[end + 1..];
        let mut frames = Vec::new();
        while let Some((&[component, a, b, c, d, e, f, g, h], body)) = rest.split_first_chunk::<ENTRY_HEADER>() {
            let at = frames.len();
            let length = u32::from_le_bytes([a, b, c, d]) as usize;
            let (frame, after) = body.split_at_checked(length).with_context(|| format!("frame {at} is cut short"))?;
            if crc32c::crc32c(frame) != u32::from_le_bytes([e, f, g, h]) {
                bail!("frame {at} is damaged: its checksum does not hold");
            }
            frames.push((component, frame.to_vec()));
            rest = after;
        }
        if !rest.is_empty() {
            bail!("{} bytes are left over after frame {}", rest.len(), frames.len());
        }
        Ok(Self { header, frames })
    }

    /// A component's frames, moved so that the recording ends at `now` for a run at `speed`, as if sent by a new agent.
    ///
    /// # Errors
    /// If a frame does not decode.
    pub(super) fn retimed(
        &self,
        stage: Stage,
        now: Timestamp,
        speed: f64,
        boot: BootId,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let shift = Shift { from: self.header.ended_at, to: now, factor: self.header.speed / speed };
        let of_stage = |component: u8| Stage::ALL.get(usize::from(component)) == Some(&stage);
        let frames = self.frames.iter().filter(|(component, _)| of_stage(*component));
        frames
            .map(|(_, bytes)| {
                let (mut frame, _) = Frame::decode(bytes)?;
                frame.boot = boot;
                shift.frame(&mut frame);
                Ok(frame.encode()?)
            })
            .collect()
    }
}

/// One frame with the content of all.
fn join(frames: &[Frame]) -> Option<Frame> {
    let (first, rest) = frames.split_first()?;
    let mut joined = first.clone();
    for Frame { content, .. } in rest.iter().cloned() {
        joined.content.closed_at = content.closed_at;
        joined.content.samples.extend(content.samples);
        joined.content.arrivals.extend(content.arrivals);
        joined.content.progress.extend(content.progress);
    }
    Some(joined)
}

/// Moves and stretches times.
struct Shift {
    from: Timestamp,
    to: Timestamp,
    factor: f64,
}

impl Shift {
    fn frame(&self, frame: &mut Frame) {
        let content = &mut frame.content;
        self.time(&mut content.closed_at);
        for sample in &mut content.samples {
            self.time(&mut sample.at);
            sample.interval_ms = (f64::from(sample.interval_ms) * self.factor).round().max(1.0) as u32;
            if let Some(backlog) = &mut sample.backlog {
                backlog.oldest_wait_ms = (backlog.oldest_wait_ms as f64 * self.factor).round() as u64;
            }
        }
        content.arrivals.iter_mut().for_each(|arrival| self.time(&mut arrival.arrived_at));
        for progress in &mut content.progress {
            progress.started_at.iter_mut().chain(&mut progress.finished_at).for_each(|at| self.time(at));
        }
    }

    /// What came after the end, while the pipeline ran empty, is put at the end.
    fn time(&self, at: &mut Timestamp) {
        let before_end = self.from.since(*at).mul_f64(self.factor);
        *at = self.to.minus(before_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_shared::{Backlog, BatchProgress, Content, Outcome, ResourceSample};

    fn recording() -> Recording {
        let sample = ResourceSample {
            at: Timestamp(99_000),
            interval_ms: 125,
            cpu_us: Some(5000),
            backlog: Some(Backlog { oldest_wait_ms: 40, ..Backlog::default() }),
            ..ResourceSample::default()
        };
        let progress = BatchProgress {
            batch_id: 1,
            started_at: Some(Timestamp(98_000)),
            finished_at: None,
            outcome: Outcome::Pending,
        };
        let content = Content {
            closed_at: Timestamp(99_500),
            samples: vec![sample],
            progress: vec![progress],
            ..Content::default()
        };
        let frame = Frame { boot: BootId(1), sequence: 4, first_retained: 0, content };
        let header = Header {
            speed: 8.0,
            seconds: 180.0,
            ended_at: Timestamp(100_000),
            seed: 1,
            components: BTreeMap::new(),
            cores: 2,
            limiter: "cgroup".into(),
        };
        Recording { header, frames: vec![(0, frame.encode().unwrap()), (2, frame.encode().unwrap())] }
    }

    fn retimed(speed: f64) -> Frame {
        let frames = recording().retimed(Stage::Load, Timestamp(1_000_000), speed, BootId(9)).unwrap();
        assert_eq!(frames.len(), 1);
        Frame::decode(&frames[0]).unwrap().0
    }

    #[test]
    fn a_recording_reads_back_as_it_was_written() {
        assert_eq!(Recording::read(&recording().write().unwrap()).unwrap(), recording());
    }

    #[test]
    fn joined_frames_tell_the_same_in_the_same_order() {
        let Recording { header, frames } = recording();
        let many: Vec<_> = frames.iter().cycle().take(2 * (JOINED + 1)).cloned().collect();
        let joined = Recording::joined(header, &many).unwrap();
        let frames: Vec<(u8, Frame)> =
            joined.frames.iter().map(|(component, bytes)| (*component, Frame::decode(bytes).unwrap().0)).collect();
        let shape = |(component, frame): &(u8, Frame)| (*component, frame.sequence, frame.content.samples.len());
        let shapes: Vec<_> = frames.iter().map(shape).collect();
        assert_eq!(shapes, [(0, 0, JOINED), (0, 1, 1), (2, 0, JOINED), (2, 1, 1)]);
    }

    #[test]
    fn a_damaged_or_cut_recording_is_refused() {
        let whole = recording().write().unwrap();
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        for (bytes, says) in [
            (&damaged[..], "frame 1 is damaged"),
            (&whole[..whole.len() - 1], "frame 1 is cut short"),
            (&whole[1..], "expected it to start with FBAYREC1"),
            (&whole[..20], "header does not end"),
        ] {
            let error = format!("{:#}", Recording::read(bytes).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn at_the_same_speed_times_are_moved_alone() {
        let Content { closed_at, samples, progress, .. } = retimed(8.0).content;
        assert_eq!((closed_at, samples[0].at), (Timestamp(999_500), Timestamp(999_000)));
        assert_eq!((samples[0].interval_ms, samples[0].cpu_us), (125, Some(5000)));
        assert_eq!((progress[0].started_at, progress[0].finished_at), (Some(Timestamp(998_000)), None));
    }

    #[test]
    fn at_another_speed_times_are_stretched_and_work_stays_the_same() {
        let frame = retimed(4.0);
        assert_eq!((frame.boot, frame.sequence), (BootId(9), 4));
        let sample = &frame.content.samples[0];
        assert_eq!((sample.at, sample.interval_ms, sample.cpu_us), (Timestamp(998_000), 250, Some(5000)));
        assert_eq!(sample.backlog.unwrap().oldest_wait_ms, 80);
    }

    #[test]
    fn the_committed_history_is_whole_and_has_frames_of_every_component() {
        let history = Recording::committed().unwrap();
        for stage in Stage::ALL {
            let frames = history.retimed(stage, Timestamp::now(), 8.0, BootId(1)).unwrap();
            assert!(frames.len() > 10, "{}: {}", stage.name(), frames.len());
        }
    }
}
