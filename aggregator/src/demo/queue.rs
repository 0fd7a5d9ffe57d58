//! The queue in front of a component: first in, first out, held in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// A batch on its way through the pipeline.
pub(super) struct Batch {
    /// Unique in the demo; a batch and what is made of it have the same.
    pub(super) number: u64,
    /// Content.
    pub(super) bytes: Arc<Vec<u8>>,
    /// CRC-32C of the content, by its producer.
    pub(super) crc: u32,
    /// When it was put into this queue.
    pub(super) put_at: Instant,
    /// The agent's id for it, if the agent has looked into it.
    pub(super) observed_as: Option<String>,
    /// Its room in the queue's bound on bytes; given back when the component is done with it.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// Batches that wait, oldest first.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Batch>);

impl Queue {
    /// Puts a batch to the end.
    pub(super) fn put(&mut self, batch: Batch) {
        self.0.push_back(batch);
    }

    /// Puts a batch whose worker died back to the head; it keeps the time at which it first came.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.0.push_front(batch);
    }

    /// Takes the batch at the head.
    pub(super) fn take(&mut self) -> Option<Batch> {
        self.0.pop_front()
    }

    /// Batches that wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How long the oldest has waited; zero if none waits.
    pub(super) fn oldest_wait(&self, now: Instant) -> Duration {
        self.0.iter().map(|batch| now.duration_since(batch.put_at)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, put_at: Instant) -> Batch {
        Batch { number, bytes: Arc::default(), crc: 0, put_at, observed_as: None, _room: None }
    }

    #[test]
    fn batches_leave_in_the_order_in_which_they_came() {
        let mut queue = Queue::default();
        let now = Instant::now();
        (0..3).for_each(|number| queue.put(batch(number, now)));
        let left: Vec<u64> = std::iter::from_fn(|| queue.take()).map(|batch| batch.number).collect();
        assert_eq!(left, [0, 1, 2]);
    }

    #[test]
    fn a_batch_whose_worker_died_is_next_and_has_waited_since_it_first_came() {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.put(batch(0, start));
        queue.put(batch(1, start + Duration::from_secs(1)));
        let lost = queue.take().unwrap();
        assert_eq!(queue.oldest_wait(start + Duration::from_secs(3)), Duration::from_secs(2));
        queue.put_back(lost);
        assert_eq!(queue.oldest_wait(start + Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(queue.take().unwrap().number, 0);
        assert_eq!(queue.len(), 1);
    }
}
