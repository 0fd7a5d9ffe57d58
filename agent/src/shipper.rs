//! Shipper: brings frames to the aggregator, in order, until each is acknowledged or refused.
//!
//! ```text
//! buffer ─► request of frames ─► POST observations ─► verdict ─┬─ acknowledged: forget them
//!                 ▲                                            ├─ later: wait, send the same again
//!                 └────────────────────────────────────────────┴─ refused: one by one, give up the one refused
//! ```
//!
//! At least once: a frame leaves the buffer only when its request was answered. One request is under way at a time,
//! so order is kept; what an aggregator gets twice it tells by boot and sequence.

mod backoff;
mod post;
mod token;
mod verdict;

use std::time::Duration;

use forebay_shared::Timestamp;
use forebay_shared::health::{Health, State};
use reqwest::Url;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff;
use self::post::Post;
pub(crate) use self::token::Token;
use self::verdict::Verdict;
use crate::buffer::{Buffer, Request};
use crate::metrics::Metrics;

/// Bytes of a request: seconds of samples are a few KiB, so it is minutes of an outage.
const MOST_BYTES: usize = 1 << 20;
/// What is to be shipped at once waits this long for its like.
const LINGER: Duration = Duration::from_millis(20);
/// Time for the last frames when the agent stops.
const LAST: Duration = Duration::from_secs(3);

pub(crate) struct Shipper {
    buffer: Buffer,
    post: Post,
    backoff: Backoff,
    /// Frames up to this one are sent one by one: one of them was refused.
    single_until: Option<u64>,
    health: Health,
    metrics: Metrics,
}

impl Shipper {
    pub(crate) fn new(
        buffer: Buffer,
        observations: Url,
        token: Option<Token>,
        health: Health,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let post = Post::new(observations, token)?;
        // Ready all the same: the component runs on without the aggregator.
        health.set("shipper", State::Degraded, "nothing has been acknowledged yet", Timestamp::now());
        Ok(Self { buffer, post, backoff: Backoff::default(), single_until: None, health, metrics })
    }

    /// Ships all that is closed, however long it takes.
    async fn ship(&mut self) {
        while let Some(request) = self.next() {
            let verdict = self.post.send(request.body.clone()).await;
            self.obey(&request, verdict).await;
        }
    }

    fn next(&mut self) -> Option<Request> {
        let one_by_one = self.single_until.is_some();
        let request = self.buffer.request(MOST_BYTES, if one_by_one { 1 } else { usize::MAX })?;
        if self.single_until.is_some_and(|until| request.first > until) {
            self.single_until = None;
            return self.buffer.request(MOST_BYTES, usize::MAX);
        }
        Some(request)
    }

    async fn obey(&mut self, request: &Request, verdict: Verdict) {
        match verdict {
            Verdict::Acknowledged { frames, duplicates } => self.acknowledged(request, frames, duplicates),
            Verdict::Later { reason, after, detail } => {
                self.metrics.shipper_errors.get_or_create(&[("reason", reason)]).inc();
                self.degraded(&detail);
                sleep(self.backoff.next(after)).await;
            }
            Verdict::Refused { detail } => {
                self.metrics.shipper_errors.get_or_create(&[("reason", "refused")]).inc();
                self.refused(request, &detail);
            }
        }
    }

    fn acknowledged(&mut self, request: &Request, frames: u64, duplicates: u64) {
        let frames = frames.min(request.count);
        self.buffer.acknowledge(request.first + frames.saturating_sub(1));
        self.backoff = Backoff::default();
        self.metrics.shipper_frames.inc_by(frames);
        self.metrics.shipper_duplicate_frames.inc_by(duplicates);
        self.metrics.shipper_bytes.inc_by(request.body.len() as u64);
        self.health.set("shipper", State::Ok, "", Timestamp::now());
    }

    /// An aggregator that refuses a frame will refuse it for good; one among many is found by sending them alone.
    fn refused(&mut self, request: &Request, detail: &str) {
        if request.count > 1 {
            self.single_until = Some(request.first + request.count - 1);
            return;
        }
        tracing::error!(sequence = request.first, detail, "the aggregator refused a frame; it is dropped");
        self.buffer.refuse(request.first);
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

/// Closes and ships frames each `flush`, and at once what is urgent, until `stop`; then the last ones.
pub(crate) async fn run(mut shipper: Shipper, flush: Duration, stop: CancellationToken) {
    let buffer = shipper.buffer.clone();
    let _ = stop.run_until_cancelled(ship_on(&mut shipper, flush)).await;
    buffer.close(Timestamp::now());
    let last = timeout(LAST, shipper.ship()).await;
    if last.is_err() {
        let (_, frames) = buffer.size();
        tracing::warn!(frames, "stopped before the aggregator had all frames");
    }
}

async fn ship_on(shipper: &mut Shipper, flush: Duration) {
    let mut ticks = interval(flush);
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
