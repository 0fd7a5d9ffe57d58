//! Buffer: what waits for the aggregator, in bounded memory.
//!
//! ```text
//! samples, arrivals, progress ─► open content ─close─► numbered, encoded frames ─► shipper
//! ```
//!
//! Frames leave when they are acknowledged. When memory is full the oldest one is given up and counted, and those
//! behind it tell so by their first retained sequence. Invariant: the sequences held are contiguous, oldest first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_shared::{BatchArrival, BatchProgress, BootId, Bytes, Content, Frame, ResourceSample, Timestamp};
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// Open content is closed at this much at the latest, however long the shipper is busy: a frame must fit a request.
const MOST_OPEN: usize = 1 << 20;
/// What a frame takes beside its bytes.
const FRAME_OVERHEAD: usize = size_of::<Closed>();

/// Shared by the stages that record and the shipper; a clone is the same buffer.
#[derive(Clone)]
pub(crate) struct Buffer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    urgent: Notify,
    metrics: Metrics,
}

struct State {
    boot: BootId,
    limit: usize,
    open: Content,
    open_bytes: usize,
    closed: VecDeque<Closed>,
    closed_bytes: usize,
    next_sequence: u64,
    /// Sequences below it were given up, or acknowledged before.
    given_up_below: u64,
}

struct Closed {
    sequence: u64,
    /// As encoded in `bytes`.
    first_retained: u64,
    bytes: Vec<u8>,
}

impl Closed {
    fn weight(&self) -> usize {
        self.bytes.capacity() + FRAME_OVERHEAD
    }
}

/// Frames to send: `count` of them from `first` on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) body: Vec<u8>,
}

impl Buffer {
    /// An empty buffer of a boot id of its own.
    pub(crate) fn new(limit: Bytes, metrics: Metrics) -> Self {
        let state = State {
            boot: BootId(fastrand::u128(..)),
            limit: usize::try_from(limit.0).unwrap_or(usize::MAX),
            open: Content::default(),
            open_bytes: 0,
            closed: VecDeque::new(),
            closed_bytes: 0,
            next_sequence: 0,
            given_up_below: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), urgent: Notify::new(), metrics }))
    }

    /// Records a sample, and how it was taken.
    pub(crate) fn sample(&self, sample: ResourceSample, how: &'static str) {
        let at = sample.at;
        self.record(at, size_of::<ResourceSample>(), |open| {
            if open.sampling != how {
                how.clone_into(&mut open.sampling);
            }
            open.samples.push(sample);
        });
    }

    /// Records a batch that arrived, to be shipped at once.
    pub(crate) fn arrival(&self, arrival: BatchArrival) {
        self.record(arrival.arrived_at, size_of::<BatchArrival>(), |open| open.arrivals.push(arrival));
        self.0.urgent.notify_one();
    }

    /// Records what became of a batch, to be shipped at once.
    pub(crate) fn progress(&self, progress: BatchProgress, at: Timestamp) {
        self.record(at, size_of::<BatchProgress>(), |open| open.progress.push(progress));
        self.0.urgent.notify_one();
    }

    /// Returns once something is to be shipped at once.
    pub(crate) async fn urgent(&self) {
        self.0.urgent.notified().await;
    }

    /// Closes the open content as a frame, if there is any.
    pub(crate) fn close(&self, at: Timestamp) {
        let dropped = self.state().close(at);
        self.0.metrics.buffer_dropped_frames.inc_by(dropped);
    }

    /// The oldest frames, as many as fit into `most` bytes and at most `frames`; one at least, if there is one.
    pub(crate) fn request(&self, most: usize, frames: usize) -> Option<Request> {
        let mut state = self.state();
        state.tell_given_up();
        let mut request = Request { first: state.closed.front()?.sequence, count: 0, body: Vec::new() };
        for closed in state.closed.iter().take(frames) {
            if request.count > 0 && request.body.len() + closed.bytes.len() > most {
                break;
            }
            request.body.extend_from_slice(&closed.bytes);
            request.count += 1;
        }
        Some(request)
    }

    /// Forgets the frames up to and with `through`: the aggregator has them.
    pub(crate) fn acknowledge(&self, through: u64) {
        let mut state = self.state();
        while state.closed.front().is_some_and(|front| front.sequence <= through) {
            state.pop();
        }
    }

    /// Gives up the frame `sequence`, the oldest one: the aggregator will never take it.
    pub(crate) fn refuse(&self, sequence: u64) {
        let mut state = self.state();
        if state.closed.front().is_some_and(|front| front.sequence == sequence) {
            state.give_up();
        }
    }

    /// What was recorded before this call leaves in this frame or an earlier one.
    pub(crate) fn open_sequence(&self) -> u64 {
        self.state().next_sequence
    }

    /// Frames below it were acknowledged or given up.
    pub(crate) fn settled_below(&self) -> u64 {
        let state = self.state();
        state.closed.front().map_or(state.next_sequence, |front| front.sequence)
    }

    /// Bytes and frames held.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.state();
        (state.held(), state.closed.len())
    }

    fn record(&self, at: Timestamp, weight: usize, push: impl FnOnce(&mut Content)) {
        let mut state = self.state();
        push(&mut state.open);
        state.open_bytes += weight;
        let full = state.open_bytes >= MOST_OPEN.min(state.limit / 4);
        let dropped = if full { state.close(at) } else { state.make_room() };
        drop(state);
        self.0.metrics.buffer_dropped_frames.inc_by(dropped);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn open_samples(&self) -> usize {
        self.state().open.samples.len()
    }
}

impl State {
    fn held(&self) -> usize {
        self.open_bytes + self.closed_bytes
    }

    /// Closes the open content; gives the number of frames that were dropped.
    fn close(&mut self, at: Timestamp) -> u64 {
        let open = &self.open;
        if open.samples.is_empty() && open.arrivals.is_empty() && open.progress.is_empty() {
            return 0;
        }
        let sampling = open.sampling.clone();
        let content = Content { closed_at: at, ..std::mem::take(&mut self.open) };
        self.open.sampling = sampling;
        self.open_bytes = 0;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let first_retained = self.closed.front().map_or(sequence, |front| front.sequence);
        let frame = Frame { boot: self.boot, sequence, first_retained, content };
        match frame.encode() {
            Ok(mut bytes) => {
                bytes.shrink_to_fit();
                let closed = Closed { sequence, first_retained, bytes };
                self.closed_bytes += closed.weight();
                self.closed.push_back(closed);
                self.make_room()
            }
            Err(error) => {
                // Open content is bounded far below the wire's limit; the frame's number is spent all the same.
                tracing::error!(%error, "cannot encode a frame; it is dropped");
                let lost = self.closed.len() as u64 + 1;
                self.closed.clear();
                self.closed_bytes = 0;
                self.given_up_below = self.next_sequence;
                lost
            }
        }
    }

    /// Has the frames that were encoded before the last ones were given up tell of it. The first frame is the one
    /// that was encoded first: if it tells, all do.
    fn tell_given_up(&mut self) {
        let floor = self.given_up_below;
        if self.closed.front().is_none_or(|front| front.first_retained >= floor) {
            return;
        }
        self.closed.iter_mut().for_each(|closed| closed.retain_from(floor));
        self.closed_bytes = self.closed.iter().map(Closed::weight).sum();
    }

    /// Gives up the oldest frames until the limit holds; gives their number.
    fn make_room(&mut self) -> u64 {
        let mut dropped = 0;
        while self.held() > self.limit && !self.closed.is_empty() {
            self.give_up();
            dropped += 1;
        }
        dropped
    }

    fn give_up(&mut self) {
        if let Some(lost) = self.pop() {
            self.given_up_below = lost.sequence + 1;
        }
    }

    fn pop(&mut self) -> Option<Closed> {
        let front = self.closed.pop_front()?;
        self.closed_bytes -= front.weight();
        Some(front)
    }
}

impl Closed {
    /// Tells that what lies below `floor` was given up. The checksum covers the header, so the frame is encoded anew.
    fn retain_from(&mut self, floor: u64) {
        if self.first_retained >= floor {
            return;
        }
        self.first_retained = floor;
        if let Ok((frame, _)) = Frame::decode(&self.bytes)
            && let Ok(mut bytes) = (Frame { first_retained: floor, ..frame }).encode()
        {
            bytes.shrink_to_fit();
            self.bytes = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(limit: u64) -> (Buffer, Metrics) {
        let (_, metrics) = Metrics::new();
        (Buffer::new(Bytes(limit), metrics.clone()), metrics)
    }

    fn fill(buffer: &Buffer, frames: u64) {
        for n in 0..frames {
            buffer
                .sample(ResourceSample { at: Timestamp(n), cpu_us: Some(n), ..ResourceSample::default() }, "cgroup-v2");
            buffer.close(Timestamp(n));
        }
    }

    fn frames(buffer: &Buffer) -> Vec<Frame> {
        buffer.request(usize::MAX, usize::MAX).map_or_else(Vec::new, |r| Frame::decode_all(&r.body).unwrap())
    }

    #[test]
    fn frames_are_numbered_from_zero_and_leave_when_acknowledged() {
        let (buffer, _) = buffer(1 << 20);
        buffer.close(Timestamp(0));
        assert_eq!(buffer.request(1 << 20, 9), None, "an empty frame is not worth sending");
        fill(&buffer, 3);
        let held = frames(&buffer);
        assert_eq!(held.iter().map(|frame| frame.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(held.iter().all(|frame| frame.boot == held[0].boot && frame.content.sampling == "cgroup-v2"));
        buffer.acknowledge(1);
        assert_eq!(buffer.request(1 << 20, 9).map(|r| (r.first, r.count)), Some((2, 1)));
        buffer.acknowledge(2);
        assert_eq!(buffer.size(), (0, 0));
    }

    #[test]
    fn what_is_given_up_is_counted_and_told_by_the_frames_behind_it() {
        let (buffer, metrics) = buffer(64 << 10);
        fill(&buffer, 2000);
        let (bytes, _) = buffer.size();
        assert!(bytes <= 64 << 10, "{bytes}");
        let held = frames(&buffer);
        let dropped = metrics.buffer_dropped_frames.get();
        assert_eq!(held[0].sequence, dropped);
        assert!(held.iter().all(|frame| frame.first_retained == dropped));
        assert_eq!(held.last().unwrap().sequence, 1999);
        assert!(buffer.size().0 <= 64 << 10);
    }

    #[test]
    fn a_refused_frame_leaves_a_gap_that_is_told() {
        let (buffer, _) = buffer(1 << 20);
        fill(&buffer, 3);
        buffer.refuse(1);
        assert_eq!(frames(&buffer).len(), 3, "only the oldest can be refused");
        buffer.refuse(0);
        assert!(frames(&buffer).iter().all(|frame| frame.first_retained == 1));
    }

    #[test]
    fn open_content_is_bounded_while_nobody_closes_it() {
        let (buffer, _) = buffer(64 << 10);
        for n in 0..100_000 {
            buffer.sample(ResourceSample { at: Timestamp(n), ..ResourceSample::default() }, "cgroup-v2");
        }
        assert!(buffer.size().0 <= 64 << 10);
        assert!(buffer.size().1 > 0, "it was closed by its size");
    }

    #[test]
    fn a_request_holds_what_fits_and_one_frame_at_least() {
        let (buffer, _) = buffer(1 << 20);
        fill(&buffer, 10);
        assert_eq!(buffer.request(1, 10).unwrap().count, 1);
        assert_eq!(buffer.request(1 << 20, 4).unwrap().count, 4);
        let two = buffer.request(1 << 20, 2).unwrap().body.len();
        assert_eq!(buffer.request(two, 10).unwrap().count, 2);
    }
}
