//! Shipper: brings frames to the aggregator, in order, until each is acknowledged or given up.
//!
//! ```text
//! buffer ─► request of frames ─► POST observations ─► verdict ─┬─ acknowledged: forget them
//!    ▲            ▲                                            ├─ later: wait, send the same again
//!    │         bucket, if it is backlog                        ├─ early: what lies before it first, then wait for it
//!    └─ spill                                                  └─ refused: fewer at a time, give up the one refused
//! ```
//!
//! At least once: a frame leaves the buffer only when its request was answered. One request is under way at a time,
//! so order is kept; what an aggregator gets twice it tells by boot and sequence. What is fresh goes as it comes; what
//! has waited longer than a flush is backlog, and goes at a bounded rate, since all the other agents come back too.

mod backoff;
mod bucket;
mod connect;
mod post;
mod target;
mod token;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use forebay_shared::health::{Health, Pulse, State};
use forebay_shared::{Bytes, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff;
use self::bucket::Bucket;
pub(crate) use self::connect::platform;
use self::post::Post;
pub(crate) use self::target::Target;
use self::token::Token;
use self::verdict::Verdict;
use crate::buffer::{Buffer, Request};
use crate::metrics::Metrics;

/// Bytes of a request: seconds of samples are a few KiB, so it is minutes of an outage.
const MOST_BYTES: usize = 1 << 20;
/// Frames of a request: the aggregator takes 4096, of 64 MiB decoded.
const MOST_FRAMES: usize = 1024;
/// What is to be shipped at once waits this long for its like.
const LINGER: Duration = Duration::from_millis(20);
/// Time for the last frames when the agent stops, and then for writing them to the spill.
const LAST: Duration = Duration::from_secs(3);
const LAST_SPILL: Duration = Duration::from_secs(1);
/// A frame is no backlog as long as it has waited less than a flush and this.
const FRESH: Duration = Duration::from_secs(1);
/// Frames are given up that lie so far ahead of this node's own clock, which has been set back, or that an aggregator
/// has found early for so long: its clock and this node's do not agree.
const MOST_AHEAD: Duration = Duration::from_secs(600);
/// A turn: connecting, a request, and the longest wait that an aggregator can ask for; and as much again.
const LONGEST_TURN: Duration = Duration::from_secs(180);

/// To whom frames are shipped, and how.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) target: Target,
    /// PEM of the CAs to trust; the platform's roots if there is none.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    /// Between shipments of what is not urgent.
    pub(crate) flush: Duration,
    /// Bytes a second of backlog.
    pub(crate) catch_up: Bytes,
}

pub(crate) struct Shipper {
    buffer: Buffer,
    post: Post,
    backoff: Backoff,
    bucket: Bucket,
    /// Frames of the next request at most: halved when one is refused, doubled when one is acknowledged.
    most_frames: usize,
    most_bytes: usize,
    flush: Duration,
    last: Duration,
    /// Since when each frame was found early.
    early_since: Option<Instant>,
    health: Health,
    pulse: Pulse,
    metrics: Metrics,
}

impl Shipper {
    pub(crate) fn new(buffer: Buffer, way: Way, health: Health, metrics: Metrics) -> Self {
        // Ready all the same: the component runs on without the aggregator.
        health.set("shipper", State::Degraded, "nothing has been acknowledged yet", Timestamp::now());
        let token = way.token_file.map(Token::new);
        Self {
            buffer,
            post: Post::new(way.target, way.ca_file, token, metrics.clone()),
            backoff: Backoff::default(),
            bucket: Bucket::new(way.catch_up, Instant::now()),
            most_frames: MOST_FRAMES,
            // A second's worth of backlog at a time.
            most_bytes: MOST_BYTES.min(usize::try_from(way.catch_up.0).unwrap_or(MOST_BYTES)),
            flush: way.flush,
            last: LAST,
            early_since: None,
            pulse: health.pulse("shipper", LONGEST_TURN + way.flush),
            health,
            metrics,
        }
    }

    /// Ships all that is closed, however long it takes.
    async fn ship(&mut self) {
        loop {
            self.pulse.beat();
            let Some(request) = self.buffer.take(self.most_bytes, self.most_frames).await else { return };
            if request.is_backlog(self.flush + FRESH) {
                let wait = self.bucket.wait(Instant::now());
                if !wait.is_zero() {
                    // What waits here may still give way to newer frames.
                    self.buffer.release();
                    sleep(wait).await;
                    continue;
                }
                self.bucket.charge(request.len());
                self.metrics.shipper_backlog_bytes.inc_by(request.len() as u64);
            }
            let verdict = self.post.send(&request).await;
            if let Some(wait) = self.obey(&request, verdict) {
                self.pulse.beat();
                sleep(wait).await;
            }
        }
    }

    /// Does what is to be done with a request's frames, and gives the time until the next.
    fn obey(&mut self, request: &Request, verdict: Verdict) -> Option<Duration> {
        match verdict {
            Verdict::Acknowledged { frames, duplicates, too_old } if frames <= request.count() => {
                self.metrics.shipper_too_old_frames.inc_by(too_old);
                self.acknowledged(request, frames, duplicates);
                None
            }
            Verdict::Acknowledged { frames, .. } => {
                let detail = format!("the aggregator acknowledged {frames} frames of {}", request.count());
                Some(self.later("unexpected", None, &detail))
            }
            Verdict::Later { reason, after, detail } => {
                if reason == "timeout" {
                    // A slow way carries fewer.
                    self.most_frames = request.count().div_ceil(2) as usize;
                }
                Some(self.later(reason, after, &detail))
            }
            Verdict::Early { frame, after, detail } => self.early(request, frame, after, &detail),
            Verdict::Refused { frame, detail } => {
                self.refused(request, frame, &detail);
                None
            }
        }
    }

    fn acknowledged(&mut self, request: &Request, frames: u64, duplicates: u64) {
        self.buffer.acknowledge(frames);
        self.backoff = Backoff::default();
        self.early_since = None;
        self.most_frames = self.most_frames.saturating_mul(2).min(MOST_FRAMES);
        self.metrics.shipper_frames.inc_by(frames);
        self.metrics.shipper_duplicate_frames.inc_by(duplicates);
        self.metrics.shipper_bytes.inc_by(request.len_of(frames) as u64);
        let news = self.health.parts().get("shipper").is_none_or(|part| part.state != State::Ok);
        if news {
            tracing::info!("the aggregator takes frames");
        }
        self.health.set("shipper", State::Ok, "", Timestamp::now());
    }

    fn later(&mut self, reason: &'static str, after: Option<Duration>, detail: &str) -> Duration {
        self.buffer.release();
        self.metrics.shipper_errors.get_or_create(&[("reason", reason)]).inc();
        self.degraded(detail);
        self.backoff.next(after)
    }

    /// What lies before an early frame can go. It waits itself, and all behind it, as long as that is worth it.
    fn early(&mut self, request: &Request, frame: usize, after: Option<Duration>, detail: &str) -> Option<Duration> {
        if (1..request.count() as usize).contains(&frame) {
            self.buffer.release();
            self.most_frames = frame;
            return None;
        }
        self.most_frames = 1;
        let since = *self.early_since.get_or_insert_with(Instant::now);
        let ahead = request.latest_time().map_or(Duration::ZERO, |at| at.since(Timestamp::now()));
        if ahead <= MOST_AHEAD && since.elapsed() < MOST_AHEAD {
            return Some(self.later("early", after, detail));
        }
        self.metrics.shipper_errors.get_or_create(&[("reason", "early")]).inc();
        self.metrics.shipper_early_frames.inc();
        self.degraded(detail);
        tracing::debug!(sequence = request.first(), detail, "a frame lies too far ahead; it is dropped");
        self.buffer.refuse();
        None
    }

    /// An aggregator that refuses a frame will refuse it for good; one among many is found by sending fewer: those
    /// before it, if the aggregator told which it is, else the first half.
    fn refused(&mut self, request: &Request, frame: Option<usize>, detail: &str) {
        self.metrics.shipper_errors.get_or_create(&[("reason", "refused")]).inc();
        let count = request.count() as usize;
        if count > 1 {
            self.buffer.release();
            self.most_frames = match frame {
                Some(frame) if frame < count => frame.max(1),
                _ => count.div_ceil(2),
            };
            return;
        }
        tracing::error!(sequence = request.first(), detail, "the aggregator refused a frame; it is dropped");
        self.buffer.refuse();
        self.metrics.shipper_refused_frames.inc();
        self.degraded(detail);
    }

    /// Logs when it turns bad, not each time.
    fn degraded(&self, detail: &str) {
        let known = self.health.parts().get("shipper").is_some_and(|part| part.detail == detail);
        if !known {
            tracing::warn!(detail, "cannot ship; trying on");
        }
        self.health.set("shipper", State::Degraded, detail, Timestamp::now());
    }
}

/// Closes and ships frames each flush, and at once what is urgent, until `stop`; then the last ones. What cannot be
/// shipped by then is left on the spill, if there is one.
pub(crate) async fn run(mut shipper: Shipper, stop: CancellationToken) {
    let buffer = shipper.buffer.clone();
    let ship = async {
        let _ = stop.run_until_cancelled(ship_on(&mut shipper)).await;
        buffer.close(Timestamp::now());
        timeout(shipper.last, shipper.ship()).await.is_ok()
    };
    let all = tokio::select! {
        all = ship => all,
        () = buffer.spill_on() => false,
    };
    if all {
        return;
    }
    let (_, frames) = buffer.size();
    let written = timeout(LAST_SPILL, buffer.spill_rest()).await.unwrap_or(false);
    if written {
        tracing::info!(frames, "stopped before the aggregator had all frames; they are on the spill");
    } else {
        tracing::warn!(frames, "stopped before the aggregator had all frames; those in memory are lost");
    }
}

async fn ship_on(shipper: &mut Shipper) {
    let mut ticks = interval(shipper.flush);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shipper.buffer.urgent() => sleep(LINGER).await,
        }
        shipper.buffer.close(Timestamp::now());
        shipper.ship().await;
    }
}

#[cfg(test)]
mod tests;
