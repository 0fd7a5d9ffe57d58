//! What a request's body must be: frames that decode, in bounds that the rest of the way relies on.

use std::fmt;
use std::time::Duration;

use axum::http::StatusCode;
use forebay_shared::frame::Header;
use forebay_shared::problem::{AHEAD, Problem};
use forebay_shared::{BatchArrival, BatchProgress, Content, Frame, FrameError, ResourceSample, Timestamp};

use super::Room;
use super::skew::correct;
use crate::history::LONGEST_MS;

/// Frames of a request at most: more than an hour of one a second.
const MAX_FRAMES: usize = 4096;
/// Bytes that a request's frames may take decoded: eight times the body allowed, where samples take some five times
/// as much decoded as sent.
const MAX_DECODED: usize = 64 << 20;
/// How far a pod's clock may be ahead: a pod that died must be seen as silent soon after.
const MAX_AHEAD: Duration = Duration::from_secs(60);
/// Seconds after which to send again what is not wrong for good.
const RETRY_LATER: u32 = 30;
/// Characters of the name of a way to sample.
const MAX_SAMPLING: usize = 64;

/// Bytes that the frames of a body unpack to, as their headers tell.
pub(super) fn unpacked_len(mut body: &[u8]) -> usize {
    let mut unpacked = 0_usize;
    while let Ok(header) = Header::read(body) {
        unpacked = unpacked.saturating_add(header.unpacked);
        body = body.get(header.len..).unwrap_or_default();
    }
    unpacked
}

/// Decodes and checks all frames of a body, their times corrected by `skew_ms`; total on any input, in the memory that
/// `room` has.
pub(super) fn decode(mut body: &[u8], room: &mut Room, now: Timestamp, skew_ms: i64) -> Result<Vec<Frame>, Problem> {
    if body.is_empty() {
        return Err(Problem::bad("frames", "the body is empty: expected one frame or more"));
    }
    let mut frames = Vec::new();
    let mut decoded = 0;
    while !body.is_empty() {
        let bad = |detail: String| Problem::bad(format!("frames[{}]", frames.len()), detail);
        let (mut frame, rest) = Frame::decode(body).map_err(|error| match error {
            // An aggregator that is upgraded reads it: the agent keeps it until then.
            FrameError::Schema(_) => later(bad(error.to_string())),
            error => bad(error.to_string()),
        })?;
        correct(&mut frame.content, skew_ms);
        check(&frame.content, now).map_err(|fault| match fault {
            Fault::Wrong(detail) => bad(detail),
            Fault::Early(detail) => later(bad(detail)),
        })?;
        let bytes = footprint(&frame);
        decoded += bytes;
        if decoded > MAX_DECODED || frames.len() == MAX_FRAMES {
            return Err(too_many(frames.len()));
        }
        room.grow(bytes)?;
        frames.push(frame);
        body = rest;
    }
    Ok(frames)
}

/// What is wrong with a frame.
enum Fault {
    /// It will always be.
    Wrong(String),
    /// It will pass: its time has not come.
    Early(String),
}

/// The same problem as one that passes, so that the agent keeps the frame.
fn later(problem: Problem) -> Problem {
    Problem { field: problem.field, ..Problem::unavailable(problem.detail, RETRY_LATER) }
}

/// The first frame that a request has no place for is named: as many as lie before it can be sent at once.
fn too_many(fit: usize) -> Problem {
    let detail = format!(
        "expected at most {MAX_FRAMES} frames of at most {MAX_DECODED} bytes decoded; send fewer frames a request"
    );
    Problem { field: Some(format!("frames[{fit}]")), ..Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail) }
}

/// Bytes that a frame takes in memory.
fn footprint(frame: &Frame) -> usize {
    let content = &frame.content;
    size_of::<Frame>()
        + content.sampling.len()
        + content.samples.len() * size_of::<ResourceSample>()
        + content.arrivals.len() * size_of::<BatchArrival>()
        + content.progress.len() * size_of::<BatchProgress>()
}

fn check(content: &Content, now: Timestamp) -> Result<(), Fault> {
    if content.sampling.chars().nth(MAX_SAMPLING).is_some() {
        let detail = format!("sampling: expected at most {MAX_SAMPLING} characters, such as `cgroup-v2`");
        return Err(Fault::Wrong(detail));
    }
    let time = |name: fmt::Arguments<'_>, at: Timestamp| {
        if at <= now.plus(MAX_AHEAD) {
            return Ok(());
        }
        let (ahead, allowed) = (at.since(now).as_secs(), MAX_AHEAD.as_secs());
        Err(Fault::Early(format!(
            "{name}: {} ms is {ahead} s {AHEAD}, expected at most {allowed} s; \
             set the clock of the pod's node",
            at.0
        )))
    };
    time(format_args!("closedAt"), content.closed_at)?;
    for (index, sample) in content.samples.iter().enumerate() {
        time(format_args!("samples[{index}].at"), sample.at)?;
        if sample.interval_ms > LONGEST_MS {
            return Err(Fault::Wrong(format!(
                "samples[{index}].intervalMs: {} ms, expected at most {LONGEST_MS} ms",
                sample.interval_ms
            )));
        }
    }
    for (index, arrival) in content.arrivals.iter().enumerate() {
        time(format_args!("arrivals[{index}].arrivedAt"), arrival.arrived_at)?;
        let checked = arrival.characteristics.check();
        checked.map_err(|error| Fault::Wrong(format!("arrivals[{index}].characteristics.{error}")))?;
    }
    for (index, progress) in content.progress.iter().enumerate() {
        for (name, at) in [("startedAt", progress.started_at), ("finishedAt", progress.finished_at)] {
            if let Some(at) = at {
                time(format_args!("progress[{index}].{name}"), at)?;
            }
        }
    }
    Ok(())
}
