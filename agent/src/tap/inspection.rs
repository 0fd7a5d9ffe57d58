//! Inspection of bodies: off the async thread where it takes long, within bounded memory, and fenced against panics.

use std::panic::catch_unwind;
use std::sync::Arc;

use forebay_shared::DataCharacteristics;
use tokio::sync::Semaphore;

use super::body::{Collected, Kept};
use crate::characteristics::{DEFAULT_BUDGET, Finding, volume_only};
use crate::metrics::Metrics;

/// Bytes kept for inspection, over all batches: two of the largest. At 500 MB/s they are looked at in 34 ms; what
/// comes faster than that is recorded by its volume alone.
const ROOM: usize = 2 * DEFAULT_BUDGET;
/// Shorter bodies are inspected where they are: 256 KiB take half a millisecond, about what a hand-over costs.
const INLINE: usize = 256 << 10;

type Examine = fn(&[u8], u64, Option<&str>) -> Finding;

pub(super) struct Inspection {
    pub(super) room: Arc<Semaphore>,
    examine: Examine,
    metrics: Metrics,
}

impl Inspection {
    pub(super) fn new(examine: Examine, metrics: Metrics) -> Self {
        Self { room: Arc::new(Semaphore::new(ROOM)), examine, metrics }
    }

    /// The vector of a body; its volume alone if nobody could look into it.
    pub(super) async fn inspect(&self, body: Collected, content_type: Option<&str>) -> DataCharacteristics {
        let Collected { total, kept } = body;
        let Some(kept) = kept else {
            self.metrics.tap_uninspected_batches.inc();
            return volume_only(total, content_type);
        };
        self.examine(kept, total, content_type).await.unwrap_or_else(|| {
            self.metrics.tap_inspection_panics.inc();
            tracing::error!(bytes = total, "inspection of a batch panicked; the batch is recorded by its volume");
            volume_only(total, content_type)
        })
    }

    /// Nothing if the inspection panicked.
    async fn examine(&self, kept: Kept, total: u64, content_type: Option<&str>) -> Option<DataCharacteristics> {
        let examine = self.examine;
        let fenced = move |kept: Kept, content_type: Option<&str>| {
            catch_unwind(|| examine(&kept.bytes, total, content_type).characteristics).ok()
        };
        if kept.bytes.len() <= INLINE {
            return fenced(kept, content_type);
        }
        let content_type = content_type.map(str::to_owned);
        tokio::task::spawn_blocking(move || fenced(kept, content_type.as_deref())).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use forebay_shared::DataType;

    async fn inspect(inspection: &Inspection, bytes: Vec<u8>) -> DataCharacteristics {
        let body = super::super::body::collect(Body::from(bytes), &inspection.room).await.unwrap();
        inspection.inspect(body, Some("text/csv")).await
    }

    #[tokio::test]
    async fn a_panic_costs_the_batch_its_vector_only() {
        let (_, metrics) = Metrics::new();
        let inspection = Inspection::new(|_, _, _| panic!("caught on purpose"), metrics.clone());
        for len in [10, INLINE + 1] {
            let vector = inspect(&inspection, vec![b'a'; len]).await;
            assert_eq!((vector.data_volume.bytes, vector.data_type), (len as u64, DataType::Csv));
            assert!(vector.estimated);
        }
        assert_eq!(metrics.tap_inspection_panics.get(), 2);
        assert_eq!(inspection.room.available_permits(), ROOM, "room comes back after a panic");
    }

    #[tokio::test]
    async fn a_batch_without_room_is_recorded_by_its_volume_and_counted() {
        let (_, metrics) = Metrics::new();
        let inspection = Inspection::new(crate::characteristics::examine, metrics.clone());
        let taken = Arc::clone(&inspection.room).try_acquire_many_owned(ROOM as u32 - 100).unwrap();
        let vector = inspect(&inspection, vec![b'a'; 101]).await;
        assert_eq!((vector.data_volume.bytes, vector.data_volume.records, vector.estimated), (101, None, true));
        assert_eq!(metrics.tap_uninspected_batches.get(), 1);
        drop(taken);
        assert!(!inspect(&inspection, b"a,b\n1,2\n".to_vec()).await.estimated);
        assert_eq!(inspection.room.available_permits(), ROOM);
    }
}
