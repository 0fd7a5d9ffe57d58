//! The component's side of its agent's push tap.
//!
//! A batch is shown to the agent before it is queued, for a short time at most: an agent that is away or slow costs
//! the batch its inspection, never its way. Starts and ends are told in the background, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_shared::client::PushClient;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::queue::Batch;

/// A batch waits for its inspection no longer than this.
const PATIENCE: Duration = Duration::from_millis(250);
/// After a failure the agent is left alone for so long: batches in between go uninspected, without delay.
const REST: Duration = Duration::from_millis(500);
/// Starts and ends that wait to be told: seconds of them. More are dropped, and counted.
const TELLINGS: usize = 256;

/// An agent as its component sees it.
#[derive(Clone)]
pub(super) struct Tap {
    agent: watch::Receiver<Option<PushClient>>,
    tellings: mpsc::Sender<(String, Telling)>,
    missed: Arc<AtomicU64>,
}

enum Telling {
    Started,
    Finished { ok: bool },
}

impl Tap {
    /// A tap at the agent that `agent` tells of, while there is one.
    pub(super) fn new(agent: watch::Receiver<Option<PushClient>>) -> Self {
        let (tellings, receiver) = mpsc::channel(TELLINGS);
        let missed = Arc::<AtomicU64>::default();
        tokio::spawn(tell(agent.clone(), receiver, missed.clone()));
        Self { agent, tellings, missed }
    }

    /// Work on a batch starts.
    pub(super) fn started(&self, batch: &Batch) {
        self.tell(batch, Telling::Started);
    }

    /// Work on a batch has ended.
    pub(super) fn finished(&self, batch: &Batch, ok: bool) {
        self.tell(batch, Telling::Finished { ok });
    }

    /// Inspections, starts and ends that the agent was not told of.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn tell(&self, batch: &Batch, telling: Telling) {
        let Some(id) = batch.observed_as.clone() else { return };
        if self.tellings.try_send((id, telling)).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Shows batches to the agent, one after the other.
pub(super) struct Shower {
    tap: Tap,
    content_type: &'static str,
    resting_until: Instant,
}

impl Shower {
    /// For batches of a media type.
    pub(super) fn new(tap: Tap, content_type: &'static str) -> Self {
        Self { tap, content_type, resting_until: Instant::now() }
    }

    /// Shows a batch; gives the agent's id for it, or none if the agent could not be told in time.
    pub(super) async fn show(&mut self, bytes: &[u8]) -> Option<String> {
        let agent = self.tap.agent.borrow().clone();
        if let Some(agent) = agent.filter(|_| Instant::now() >= self.resting_until) {
            if let Ok(Ok(id)) = timeout(PATIENCE, agent.push(self.content_type, bytes.to_vec())).await {
                return Some(id);
            }
            self.resting_until = Instant::now() + REST;
        }
        self.tap.missed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

async fn tell(
    agent: watch::Receiver<Option<PushClient>>,
    mut tellings: mpsc::Receiver<(String, Telling)>,
    missed: Arc<AtomicU64>,
) {
    while let Some((id, telling)) = tellings.recv().await {
        let current = agent.borrow().clone();
        let Some(agent) = current else {
            missed.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let told = timeout(PATIENCE, async {
            match telling {
                Telling::Started => agent.start(&id).await,
                Telling::Finished { ok } => agent.finish(&id, ok).await,
            }
        });
        if !matches!(told.await, Ok(Ok(()))) {
            missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
