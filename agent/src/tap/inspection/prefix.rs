//! The inspector of a batch: it keeps the batch's first bytes as they pass, and examines them at the end.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::characteristics::Finding;

/// What examines first bytes of a batch of so many bytes, with its Content-Type.
pub(super) type Examine = fn(&[u8], u64, Option<&str>) -> Finding;

/// Bytes that are kept whether there is room or not: the type of most batches shows in them.
const FREE: usize = 4096;

pub(super) struct Inspector {
    examine: Examine,
    budget: usize,
    kept: Vec<u8>,
    /// Has a permit for each byte that may be kept, over all batches.
    room: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
    /// Bytes were left out for want of room: none after them can be kept.
    short: bool,
}

impl Inspector {
    pub(super) fn new(examine: Examine, room: Arc<Semaphore>, budget: usize) -> Self {
        Self { examine, budget, kept: Vec::new(), room, taken: None, short: false }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        if self.short {
            return;
        }
        let take = chunk.len().min(self.budget - self.kept.len());
        let free = FREE.saturating_sub(self.kept.len()).min(take);
        let take = if self.make_room(take - free) { take } else { free };
        self.kept.extend_from_slice(&chunk[..take]);
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.kept.len()
    }

    /// Less was seen than the budget allows.
    pub(super) fn short_of_room(&self) -> bool {
        self.short
    }

    pub(super) fn finish(self, total: u64, content_type: Option<&str>) -> Finding {
        (self.examine)(&self.kept, total.max(self.kept.len() as u64), content_type)
    }

    fn make_room(&mut self, bytes: usize) -> bool {
        let permits = u32::try_from(bytes).ok().filter(|_| bytes > 0);
        let Some(permits) = permits else { return bytes == 0 };
        match Arc::clone(&self.room).try_acquire_many_owned(permits) {
            Ok(more) => {
                match &mut self.taken {
                    Some(taken) => taken.merge(more),
                    None => self.taken = Some(more),
                }
                true
            }
            Err(_) => {
                self.short = true;
                false
            }
        }
    }
}
