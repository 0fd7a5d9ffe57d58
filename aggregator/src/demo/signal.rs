//! When somebody wants the demo to stop.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// From now on, Ctrl-C and polite requests to end cancel the token; a second one ends the program at once.
pub(super) fn stops() -> anyhow::Result<CancellationToken> {
    let stopped = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind).context("cannot listen for signals")?;
        let stopped = stopped.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if stopped.is_cancelled() {
                    std::process::exit(INTERRUPTED);
                }
                stopped.cancel();
            }
        });
    }
    Ok(stopped)
}
