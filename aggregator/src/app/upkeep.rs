//! The history's upkeep: compaction and retention, beside everything else.

use std::sync::Arc;
use std::time::Duration;

use forebay_shared::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Shared, set_health};

/// From the end of one look to the next.
const PAUSE: Duration = Duration::from_secs(10);

/// Looks again and again until stopped.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let maintained = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            maintained = shared.history.maintain(Timestamp::now()) => maintained,
        };
        if let Err(error) = maintained {
            tracing::error!(%error, "the history's upkeep failed: it is tried again");
        }
        set_health(&shared, "history", shared.history.trouble().map_or(Ok(()), Err));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
