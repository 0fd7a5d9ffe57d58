//! Buffer: what waits for the aggregator, in bounded memory, and beyond it on disk where there is a spill.
//!
//! ```text
//! samples, arrivals, progress ─► open content ─close─► queue ─────────────────► head ─► shipper
//!                                                        └─ if full ─► spill ────┘
//! ```
//!
//! The head is the request under way. It comes from the disk if anything is there, else from the queue, and leaves
//! when it is acknowledged or refused; what fails goes back to where it came from. When memory is half full the
//! oldest frames of the queue are written behind those on disk; where there is no spill, or it does not work, the
//! oldest ones that are not under way are given up and counted. Frames behind a gap tell so by their first retained
//! sequence.
//!
//! Invariant: head, disk, queue, in this order, is the order in which frames were closed; an aggregator that has a
//! frame takes none of that boot before it.

mod closed;
mod spill;
mod store;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_shared::{BatchArrival, BatchProgress, BootId, Bytes, Content, Frame, ResourceSample, Timestamp};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

pub(crate) use self::closed::{Body, Request};
use self::closed::{Closed, Most};
pub(crate) use self::spill::Place;
use self::spill::Spill;
use crate::metrics::Metrics;

/// Open content is closed at this much at the latest, however long the shipper is busy: a frame must fit a request.
const MOST_OPEN: usize = 1 << 20;
/// Bytes written to the spill at a time.
const BATCH: usize = 256 << 10;
/// The longest wait for the spill's disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shared by the stages that record and the shipper; a clone is the same buffer.
#[derive(Clone)]
pub(crate) struct Buffer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    urgent: Notify,
    /// Memory is half full.
    pressed: Notify,
    /// What was being written to the spill is written, or is not.
    spilled: Notify,
    spill: Option<Spill>,
    metrics: Metrics,
}

struct State {
    boot: BootId,
    limit: usize,
    open: Content,
    /// The request under way, of which the first `in_flight` are sent; or one that has to be sent before the disk.
    head: VecDeque<Closed>,
    head_on_disk: bool,
    in_flight: usize,
    /// Frames of the head that were acknowledged and are still on disk.
    consumed: u64,
    /// On the way to the disk.
    spilling: Vec<Closed>,
    queue: VecDeque<Closed>,
    queue_bytes: usize,
    /// Of head and spilling.
    taken_bytes: usize,
    next_sequence: u64,
}

impl Buffer {
    /// An empty buffer of a boot id of its own, in memory alone.
    #[cfg(test)]
    pub(crate) fn new(limit: Bytes, metrics: Metrics) -> Self {
        Self::of(limit, None, metrics)
    }

    /// One that goes on in `place`, if there is one.
    ///
    /// # Errors
    /// There can be no thread for the spill.
    pub(crate) fn with_spill(limit: Bytes, place: Option<Place>, metrics: Metrics) -> std::io::Result<Self> {
        let spill = place.map(|place| Spill::start(place, metrics.clone())).transpose()?;
        Ok(Self::of(limit, spill, metrics))
    }

    fn of(limit: Bytes, spill: Option<Spill>, metrics: Metrics) -> Self {
        let state = State {
            boot: BootId(fastrand::u128(..)),
            limit: usize::try_from(limit.0).unwrap_or(usize::MAX),
            open: Content::default(),
            head: VecDeque::new(),
            head_on_disk: false,
            in_flight: 0,
            consumed: 0,
            spilling: Vec::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            taken_bytes: 0,
            next_sequence: 0,
        };
        let (urgent, pressed, spilled) = (Notify::new(), Notify::new(), Notify::new());
        Self(Arc::new(Shared { state: Mutex::new(state), urgent, pressed, spilled, spill, metrics }))
    }

    /// Records a sample, and how it was taken.
    pub(crate) fn sample(&self, sample: ResourceSample, how: &'static str) {
        let at = sample.at;
        self.record(at, |open| {
            if open.sampling != how {
                how.clone_into(&mut open.sampling);
            }
            open.samples.push(sample);
        });
    }

    /// Records a batch that arrived, to be shipped at once.
    pub(crate) fn arrival(&self, arrival: BatchArrival) {
        self.record(arrival.arrived_at, |open| open.arrivals.push(arrival));
        self.0.urgent.notify_one();
    }

    /// Records what became of a batch, to be shipped at once.
    pub(crate) fn progress(&self, progress: BatchProgress, at: Timestamp) {
        self.record(at, |open| open.progress.push(progress));
        self.0.urgent.notify_one();
    }

    /// Returns once something is to be shipped at once.
    pub(crate) async fn urgent(&self) {
        self.0.urgent.notified().await;
    }

    /// Closes the open content as a frame, if there is any.
    pub(crate) fn close(&self, at: Timestamp) {
        let mut state = self.state();
        let dropped = state.close(at) + state.make_room();
        self.settle(state, dropped);
    }

    /// The oldest frames, as many as fit into `most` bytes and at most `frames`; one at least, if there is one. They
    /// are under way from now on, and those of the request before are not any more.
    pub(crate) async fn take(&self, most: usize, frames: usize) -> Option<Request> {
        self.release();
        // A quarter of the memory at the most: the request under way is not given up.
        let most = Most { bytes: most, frames, weight: self.state().limit / 4 };
        if let Some(request) = self.state().take_head(most) {
            return Some(request);
        }
        let Some(spill) = &self.0.spill else { return self.state().take_queued(most) };
        match timeout(PATIENCE, self.take_spilled(spill, most)).await {
            Ok(request) => request,
            Err(_) => {
                spill.abandon();
                let mut state = self.state();
                state.finish_spilling(false);
                state.take_queued(most)
            }
        }
    }

    /// From the disk, as long as anything is there or on its way; else from the queue.
    async fn take_spilled(&self, spill: &Spill, most: Most) -> Option<Request> {
        loop {
            let mut spilled = std::pin::pin!(self.0.spilled.notified());
            spilled.as_mut().enable();
            let consumed = {
                let mut state = self.state();
                match (state.spilling.is_empty(), spill.holds()) {
                    (true, false) => return state.take_queued(most),
                    (true, true) => Some(std::mem::take(&mut state.consumed)),
                    (false, _) => None,
                }
            };
            let Some(consumed) = consumed else {
                spilled.await;
                continue;
            };
            let read = spill.read(consumed, most.bytes.min(most.weight), most.frames).await;
            if let Some(request) = self.state().take_read(read, most) {
                return Some(request);
            }
        }
    }

    /// Forgets the first `count` frames of the request under way: the aggregator has them. The others are not under
    /// way any more.
    pub(crate) fn acknowledge(&self, count: u64) {
        let mut state = self.state();
        for _ in 0..count.min(state.in_flight as u64) {
            state.pop_head();
        }
        self.released(state);
    }

    /// Forgets the first frame of the request under way: the aggregator will never take it.
    pub(crate) fn refuse(&self) {
        self.acknowledge(1);
    }

    /// The request failed: what gives way to newer frames may be of it again.
    pub(crate) fn release(&self) {
        self.released(self.state());
    }

    fn released(&self, mut state: MutexGuard<'_, State>) {
        let disk_is_older = self.0.spill.as_ref().is_some_and(Spill::holds) || !state.spilling.is_empty();
        state.release(disk_is_older);
        let dropped = state.make_room();
        self.settle(state, dropped);
    }

    /// Bytes in memory, and frames held there and on disk.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.state();
        let in_memory = if state.head_on_disk { 0 } else { state.head.len() };
        let on_disk = self.0.spill.as_ref().map_or(0, |spill| spill.frames().saturating_sub(state.consumed));
        (state.held(), in_memory + state.spilling.len() + state.queue.len() + on_disk as usize)
    }

    /// Bytes and frames on disk.
    pub(crate) fn spilled(&self) -> (u64, u64) {
        self.0.spill.as_ref().map_or((0, 0), |spill| (spill.bytes(), spill.frames()))
    }

    /// Writes frames to the spill whenever memory is half full; never returns.
    pub(crate) async fn spill_on(&self) {
        let Some(spill) = &self.0.spill else { return std::future::pending().await };
        loop {
            self.0.pressed.notified().await;
            loop {
                let Some(frames) = self.state().start_spilling() else { break };
                let written = spill.append(frames).await;
                let mut state = self.state();
                state.finish_spilling(written);
                let dropped = state.make_room();
                self.settle(state, dropped);
                self.0.spilled.notify_waiters();
                if !written {
                    break;
                }
            }
        }
    }

    /// Writes all that is left in memory to the spill: the agent ends. False if there is none, or it did not work.
    pub(crate) async fn spill_rest(&self) -> bool {
        let Some(spill) = &self.0.spill else { return false };
        let (head, rest) = self.state().rest();
        if !head.is_empty() && !spill.prepend(head).await {
            return false;
        }
        let mut rest = rest.into_iter().peekable();
        while rest.peek().is_some() {
            let mut bytes = 0;
            let batch: Vec<Closed> = std::iter::from_fn(|| {
                rest.next_if(|next| bytes == 0 || bytes + next.bytes.len() <= BATCH)
                    .inspect(|next| bytes += next.bytes.len())
            })
            .collect();
            if !spill.append(batch).await {
                return false;
            }
        }
        true
    }

    fn record(&self, at: Timestamp, push: impl FnOnce(&mut Content)) {
        let mut state = self.state();
        push(&mut state.open);
        let full = state.open_bytes() >= MOST_OPEN.min(state.limit / 4);
        let unencodable = if full { state.close(at) } else { 0 };
        let dropped = unencodable + state.make_room();
        self.settle(state, dropped);
    }

    fn settle(&self, state: MutexGuard<'_, State>, dropped: u64) {
        let press = state.is_pressed() && self.0.spill.as_ref().is_some_and(Spill::may_write);
        drop(state);
        self.0.metrics.buffer_dropped_frames.inc_by(dropped);
        if press {
            self.0.pressed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn boot(&self) -> BootId {
        self.state().boot
    }

    #[cfg(test)]
    pub(crate) fn open_samples(&self) -> usize {
        self.state().open.samples.len()
    }

    /// What [`Buffer::take`] would send from memory; nothing comes under way by it.
    #[cfg(test)]
    pub(crate) fn request(&self, most: usize, frames: usize) -> Option<Seen> {
        let state = self.state();
        let request =
            Request::of(state.head.iter().chain(&state.queue), Most { bytes: most, frames, weight: usize::MAX })?;
        Some(Seen { body: request.body().whole() })
    }
}

/// A request, as a test looks at it.
#[cfg(test)]
pub(crate) struct Seen {
    pub(crate) body: Vec<u8>,
}

impl State {
    fn held(&self) -> usize {
        self.open_bytes() + self.queue_bytes + self.taken_bytes
    }

    /// What could be spilled is half of the limit: the head and what comes meanwhile have the other half.
    fn is_pressed(&self) -> bool {
        self.open_bytes() + self.queue_bytes > self.limit / 2
    }

    /// As allocated, not as used.
    fn open_bytes(&self) -> usize {
        self.open.samples.capacity() * size_of::<ResourceSample>()
            + self.open.arrivals.capacity() * size_of::<BatchArrival>()
            + self.open.progress.capacity() * size_of::<BatchProgress>()
    }

    /// Closes the open content; gives the number of frames that were lost by it.
    fn close(&mut self, at: Timestamp) -> u64 {
        let open = &self.open;
        if open.samples.is_empty() && open.arrivals.is_empty() && open.progress.is_empty() {
            return 0;
        }
        let sampling = open.sampling.clone();
        let content = Content { closed_at: at, ..std::mem::take(&mut self.open) };
        self.open.sampling = sampling;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        // What lies before it is told when it is sent.
        match (Frame { boot: self.boot, sequence, first_retained: sequence, content }).encode() {
            Ok(mut bytes) => {
                bytes.shrink_to_fit();
                let closed = Closed { boot: self.boot, sequence, at: Some(Instant::now()), bytes: bytes.into() };
                self.queue_bytes += closed.weight();
                self.queue.push_back(closed);
                0
            }
            Err(error) => {
                // Open content is bounded far below the wire's limit; the frame's number is spent all the same.
                tracing::error!(%error, "cannot encode a frame; it is dropped");
                1
            }
        }
    }

    /// Gives up the oldest frames that are not under way until the limit holds; gives their number.
    fn make_room(&mut self) -> u64 {
        let mut dropped = 0;
        while self.held() > self.limit {
            if self.pop_queue().is_none() {
                break;
            }
            dropped += 1;
        }
        dropped
    }

    fn pop_queue(&mut self) -> Option<Closed> {
        let oldest = self.queue.pop_front()?;
        self.queue_bytes -= oldest.weight();
        Some(oldest)
    }

    fn push_back_to_queue(&mut self, taken: Closed) {
        self.taken_bytes -= taken.weight();
        self.queue_bytes += taken.weight();
        self.queue.push_front(taken);
    }

    fn take_head(&mut self, most: Most) -> Option<Request> {
        if self.head_on_disk {
            self.drop_head();
        }
        let request = Request::of(self.head.iter(), most)?;
        self.in_flight = request.count() as usize;
        Some(request)
    }

    fn take_read(&mut self, read: Vec<Closed>, most: Most) -> Option<Request> {
        let request = Request::of(read.iter(), most)?;
        self.head = read.into();
        self.head.truncate(request.count() as usize);
        self.head_on_disk = true;
        self.in_flight = self.head.len();
        self.taken_bytes += self.head.iter().map(Closed::weight).sum::<usize>();
        Some(request)
    }

    fn take_queued(&mut self, most: Most) -> Option<Request> {
        let request = Request::of(self.queue.iter(), most)?;
        self.in_flight = request.count() as usize;
        self.head = std::iter::from_fn(|| self.pop_queue()).take(request.count() as usize).collect();
        self.taken_bytes += self.head.iter().map(Closed::weight).sum::<usize>();
        self.head_on_disk = false;
        Some(request)
    }

    fn pop_head(&mut self) {
        if let Some(done) = self.head.pop_front() {
            self.taken_bytes -= done.weight();
            self.in_flight = self.in_flight.saturating_sub(1);
            self.consumed += u64::from(self.head_on_disk);
        }
    }

    fn drop_head(&mut self) {
        self.taken_bytes -= self.head.iter().map(Closed::weight).sum::<usize>();
        self.head.clear();
        self.head_on_disk = false;
        self.in_flight = 0;
    }

    /// Puts the head back: it is on disk still, or the queue's first, or older than the disk and stays the head.
    fn release(&mut self, disk_is_older_than_the_queue: bool) {
        self.in_flight = 0;
        if self.head_on_disk {
            self.drop_head();
        } else if !disk_is_older_than_the_queue {
            while let Some(last) = self.head.pop_back() {
                self.push_back_to_queue(last);
            }
        }
    }

    /// The oldest of the queue, if it is time.
    fn start_spilling(&mut self) -> Option<Vec<Closed>> {
        if self.open_bytes() + self.queue_bytes <= self.limit / 3 || !self.spilling.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let most = BATCH.min(self.limit / 8);
        while let Some(oldest) = self.queue.front()
            && (bytes == 0 || bytes + oldest.bytes.len() <= most)
        {
            bytes += oldest.bytes.len();
            let taken = self.pop_queue();
            self.spilling.extend(taken);
        }
        self.taken_bytes += self.spilling.iter().map(Closed::weight).sum::<usize>();
        (!self.spilling.is_empty()).then(|| self.spilling.clone())
    }

    fn finish_spilling(&mut self, written: bool) {
        while let Some(last) = self.spilling.pop() {
            if written {
                self.taken_bytes -= last.weight();
            } else {
                self.push_back_to_queue(last);
            }
        }
    }

    /// All that is in memory alone: what is older than the disk, and what is younger.
    fn rest(&mut self) -> (Vec<Closed>, Vec<Closed>) {
        if self.head_on_disk {
            self.drop_head();
        }
        let spilling = std::mem::take(&mut self.spilling);
        let queued = std::mem::take(&mut self.queue);
        (self.head.drain(..).collect(), spilling.into_iter().chain(queued).collect())
    }
}

#[cfg(test)]
mod tests;
