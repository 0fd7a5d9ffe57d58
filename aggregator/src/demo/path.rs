//! The way of a batch from its producer to the next component's queue, and out of the pipeline at the end.
//!
//! ```text
//! producer ─► room in the queue? ─► agent's tap ─► queue ─► worker ─► next hop … ─► sink
//! ```
//!
//! A producer that finds no room waits: the pipeline's own back-pressure. The producer notes the CRC-32C of each batch;
//! the worker at the other end notes that of what it got.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::Instant;

use super::node::Event;
use super::queue::Batch;
use super::tap::{Shower, Tap};

/// Room in a component's queue, KiB: minutes of batches.
const ROOM_KIB: usize = 128 << 10;
/// Batches between their producer and the tap: the queue's bound on bytes bounds the rest.
const ON_THE_WAY: usize = 8;

/// The way into a component.
#[derive(Clone)]
pub(super) struct Hop {
    room: Arc<Semaphore>,
    entrance: mpsc::Sender<Batch>,
}

impl Hop {
    /// The way into the component whose task hears `events`, past its agent's tap.
    pub(super) fn new(tap: Tap, content_type: &'static str, events: mpsc::Sender<Event>) -> Self {
        let (entrance, batches) = mpsc::channel(ON_THE_WAY);
        tokio::spawn(usher(Shower::new(tap, content_type), batches, events));
        Self { room: Arc::new(Semaphore::new(ROOM_KIB)), entrance }
    }

    /// Puts a batch into the component's queue; waits while there is no room for it.
    pub(super) async fn put(&self, number: u64, bytes: Vec<u8>) {
        let put_at = Instant::now();
        let size = (bytes.len() / 1024 + 1).min(ROOM_KIB) as u32;
        // Neither is closed before the demo's end.
        let Ok(room) = self.room.clone().acquire_many_owned(size).await else { return };
        let crc = crc32c::crc32c(&bytes);
        let batch = Batch { number, bytes: Arc::new(bytes), crc, put_at, observed_as: None, _room: Some(room) };
        self.entrance.send(batch).await.ok();
    }
}

/// Takes batches past the tap, in order.
async fn usher(mut shower: Shower, mut batches: mpsc::Receiver<Batch>, events: mpsc::Sender<Event>) {
    while let Some(mut batch) = batches.recv().await {
        batch.observed_as = shower.show(&batch.bytes).await;
        if events.send(Event::Arrived(batch)).await.is_err() {
            return;
        }
    }
}

/// Where the pipeline's results go: a file, each with its length before it.
#[derive(Clone)]
pub(super) struct Sink {
    file: Arc<Mutex<File>>,
    batches: Arc<AtomicU64>,
}

impl Sink {
    /// Creates the file.
    ///
    /// # Errors
    /// If that can't be done.
    pub(super) async fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).await.with_context(|| format!("cannot create output file {}", path.display()))?;
        Ok(Self { file: Arc::new(Mutex::new(file)), batches: Arc::default() })
    }

    /// Appends a result.
    pub(super) async fn put(&self, bytes: Vec<u8>) {
        let mut file = self.file.lock().await;
        let length = (bytes.len() as u32).to_le_bytes();
        let written = async {
            file.write_all(&length).await?;
            file.write_all(&bytes).await
        };
        if written.await.is_ok() {
            self.batches.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Results written.
    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }
}
