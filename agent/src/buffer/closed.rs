//! Frames that are closed, and requests of them. Bytes are shared, never copied: a request's body is made of the
//! buffer's own frames as it is sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use forebay_shared::frame::{HEADER_LEN, Header};
use forebay_shared::{BootId, Frame, Timestamp};
use hyper::body::{Frame as Chunk, SizeHint};
use tokio::time::Instant;

/// What a frame takes beside its bytes: its place in a queue, which may be half empty, and what an allocation costs.
const OVERHEAD: usize = 2 * size_of::<Closed>() + 48;
/// Bytes of a request's body that are put together at a time.
const CHUNK: usize = 64 << 10;

/// An encoded frame.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(super) boot: BootId,
    pub(super) sequence: u64,
    /// Nothing if it was read from the disk.
    pub(super) at: Option<Instant>,
    pub(super) bytes: Bytes,
}

impl Closed {
    /// Bytes that it takes in memory.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    fn follows(&self, other: &Self) -> bool {
        self.boot == other.boot && self.sequence == other.sequence + 1
    }
}

/// What a request may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) bytes: usize,
    pub(super) frames: usize,
    /// Bytes in memory.
    pub(super) weight: usize,
}

/// Frames to send, the oldest first; one at least.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    frames: Vec<Closed>,
    len: usize,
}

impl Request {
    /// The first of `frames`, as many as fit, and one at least if there is one.
    pub(super) fn of<'a>(frames: impl Iterator<Item = &'a Closed>, most: Most) -> Option<Self> {
        let mut request = Self { frames: Vec::new(), len: 0 };
        let mut weight = 0;
        for frame in frames.take(most.frames.max(1)) {
            weight += frame.weight();
            if request.len > 0 && (request.len + frame.bytes.len() > most.bytes || weight > most.weight) {
                break;
            }
            request.len += frame.bytes.len();
            request.frames.push(frame.clone());
        }
        (request.len > 0).then_some(request)
    }

    pub(crate) fn count(&self) -> u64 {
        self.frames.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the first `frames` of it.
    pub(crate) fn len_of(&self, frames: u64) -> usize {
        self.frames.iter().take(frames as usize).map(|frame| frame.bytes.len()).sum()
    }

    pub(crate) fn first(&self) -> u64 {
        self.frames.first().map_or(0, |frame| frame.sequence)
    }

    /// Its first frame was closed longer than `fresh` ago, or waited on the disk.
    pub(crate) fn is_backlog(&self, fresh: Duration) -> bool {
        self.frames.first().is_some_and(|frame| frame.at.is_none_or(|at| at.elapsed() > fresh))
    }

    /// The latest time that its first frame tells of.
    pub(crate) fn latest_time(&self) -> Option<Timestamp> {
        let content = Frame::decode(&self.frames.first()?.bytes).ok()?.0.content;
        let samples = content.samples.iter().map(|sample| sample.at);
        let arrivals = content.arrivals.iter().map(|arrival| arrival.arrived_at);
        let progress = content.progress.iter().flat_map(|progress| [progress.started_at, progress.finished_at]);
        samples.chain(arrivals).chain(progress.flatten()).chain([content.closed_at]).max()
    }

    /// The body to send.
    pub(crate) fn body(&self) -> Body {
        Body { frames: self.frames.clone().into(), left: self.len, before: None }
    }
}

/// A request's body. Each frame tells the oldest one of the unbroken row before it, so that a gap is known to be one.
pub(crate) struct Body {
    frames: VecDeque<Closed>,
    left: usize,
    /// The frame sent last, and its first retained sequence.
    before: Option<(Closed, u64)>,
}

impl Body {
    fn push_next(&mut self, out: &mut Vec<u8>) {
        let Some(frame) = self.frames.pop_front() else { return };
        let retained = match &self.before {
            Some((before, retained)) if frame.follows(before) => *retained,
            _ => frame.sequence,
        };
        let as_it_is = Header::read(&frame.bytes).is_ok_and(|header| header.first_retained == retained);
        match if as_it_is { None } else { Header::retaining_from(&frame.bytes, retained) } {
            Some(header) => {
                out.extend_from_slice(&header);
                out.extend_from_slice(&frame.bytes[HEADER_LEN..]);
            }
            None => out.extend_from_slice(&frame.bytes),
        }
        self.left -= frame.bytes.len();
        self.before = Some((frame, retained));
    }

    /// All of it at once.
    #[cfg(test)]
    pub(crate) fn whole(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while !self.frames.is_empty() {
            self.push_next(&mut out);
        }
        out
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Chunk<Bytes>, Infallible>>> {
        let mut out = Vec::with_capacity(self.left.min(CHUNK));
        while let Some(next) = self.frames.front()
            && (out.is_empty() || out.len() + next.bytes.len() <= CHUNK)
        {
            self.push_next(&mut out);
        }
        Poll::Ready((!out.is_empty()).then(|| Ok(Chunk::data(out.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
