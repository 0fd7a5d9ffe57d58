//! When somebody wants the demo to stop.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};

/// Comes back at Ctrl-C or a polite request to end.
pub(super) async fn stop_signal() {
    tokio::select! {
        () = first(SignalKind::interrupt()) => {}
        () = first(SignalKind::terminate()) => {}
    }
}

async fn first(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => pending().await,
    }
}
