//! What a request's body must be: frames that decode, in bounds that the rest of the way relies on.

use std::fmt;
use std::time::Duration;

use axum::http::StatusCode;
use forebay_shared::problem::Problem;
use forebay_shared::{BatchArrival, BatchProgress, Content, DataCharacteristics, Frame, ResourceSample, Timestamp};

use super::Room;

/// Frames of a request at most: more than an hour of one a second.
const MAX_FRAMES: usize = 4096;
/// Bytes that a request's frames may take decoded: eight times the body allowed, where samples take some five times
/// as much decoded as sent.
const MAX_DECODED: usize = 64 << 20;
/// How far a pod's clock may be ahead.
const MAX_AHEAD: Duration = Duration::from_secs(3600);
/// Characters of the name of a way to sample.
const MAX_SAMPLING: usize = 64;

/// Decodes and checks all frames of a body; total on any input, in the memory that `room` has.
pub(super) fn decode(mut body: &[u8], room: &mut Room, now: Timestamp) -> Result<Vec<Frame>, Problem> {
    if body.is_empty() {
        return Err(Problem::bad("frames", "the body is empty: expected one frame or more"));
    }
    let mut frames = Vec::new();
    let mut decoded = 0;
    while !body.is_empty() {
        let bad = |detail: String| Problem::bad(format!("frames[{}]", frames.len()), detail);
        let (frame, rest) = Frame::decode(body).map_err(|error| bad(error.to_string()))?;
        check(&frame.content, now).map_err(bad)?;
        let bytes = footprint(&frame);
        decoded += bytes;
        if decoded > MAX_DECODED || frames.len() == MAX_FRAMES {
            return Err(too_many());
        }
        room.grow(bytes)?;
        frames.push(frame);
        body = rest;
    }
    Ok(frames)
}

fn too_many() -> Problem {
    let detail = format!(
        "expected at most {MAX_FRAMES} frames of at most {MAX_DECODED} bytes decoded; send fewer frames a request"
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
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

fn check(content: &Content, now: Timestamp) -> Result<(), String> {
    if content.sampling.chars().nth(MAX_SAMPLING).is_some() {
        return Err(format!("sampling: expected at most {MAX_SAMPLING} characters, such as `cgroup-v2`"));
    }
    let time = |name: fmt::Arguments<'_>, at: Timestamp| {
        if at <= now.plus(MAX_AHEAD) {
            return Ok(());
        }
        let (ahead, allowed) = (at.since(now).as_secs(), MAX_AHEAD.as_secs());
        Err(format!(
            "{name}: {} ms is {ahead} s ahead of the aggregator's clock, expected at most {allowed} s; \
             set the clock of the pod's node",
            at.0
        ))
    };
    time(format_args!("closedAt"), content.closed_at)?;
    for (index, sample) in content.samples.iter().enumerate() {
        time(format_args!("samples[{index}].at"), sample.at)?;
    }
    for (index, arrival) in content.arrivals.iter().enumerate() {
        time(format_args!("arrivals[{index}].arrivedAt"), arrival.arrived_at)?;
        vector(&arrival.characteristics)
            .map_err(|(field, expected)| format!("arrivals[{index}].characteristics.{field}: expected {expected}"))?;
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

/// The numbers that models learn from are numbers: one NaN would spoil a training.
fn vector(vector: &DataCharacteristics) -> Result<(), (&'static str, &'static str)> {
    let complexity = &vector.data_complexity;
    let within = |value: Option<f64>, most: f64| value.is_none_or(|value| (0.0..=most).contains(&value));
    if !within(Some(complexity.score), f64::MAX) {
        return Err(("dataComplexity.score", "a number, 0 or more"));
    }
    if !within(complexity.entropy, 8.0) {
        return Err(("dataComplexity.entropy", "a number from 0 to 8"));
    }
    if !within(complexity.null_share, 1.0) {
        return Err(("dataComplexity.nullShare", "a number from 0 to 1"));
    }
    Ok(())
}
