//! The component's own port, behind an inline tap: connects to it, keeps idle connections, and knows if it is there.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::uri::Authority;
use forebay_shared::Timestamp;
use forebay_shared::health::{Health, State};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// As long as a busy component may leave a connection waiting: a shorter limit would fail what it could have done.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between attempts to reach a target that is down, for the health check's sake; requests try by themselves.
const PROBE: Duration = Duration::from_secs(2);
/// Idle connections that are kept, as many as a busy Service has clients; each takes about 10 KiB here.
const MOST_IDLE: usize = 64;

/// Why a target cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error("the component does not listen on {0}: {1}")]
    Down(SocketAddr, io::Error),
    #[error("the component did not take a connection on {0} within {CONNECT_TIMEOUT:?}")]
    Busy(SocketAddr),
}

/// A target, and `C`, the kind of connections that are kept to it.
pub(super) struct Target<C> {
    addresses: Vec<SocketAddr>,
    idle: Mutex<Vec<C>>,
    up: AtomicBool,
    part: &'static str,
    health: Health,
    metrics: Metrics,
}

impl<C> Target<C> {
    pub(super) fn new(addresses: Vec<SocketAddr>, part: &'static str, health: Health, metrics: Metrics) -> Self {
        Self { addresses, idle: Mutex::default(), up: AtomicBool::new(false), part, health, metrics }
    }

    /// A fresh connection, by the first address that takes it.
    pub(super) async fn connect(&self) -> Result<TcpStream, Unreachable> {
        let mut failure = None;
        for address in &self.addresses {
            failure = Some(match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    self.set_up(true, "");
                    // Only a socket that is gone refuses it; its first use will tell.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => Unreachable::Down(*address, error),
                Err(_) => Unreachable::Busy(*address),
            });
        }
        let failure = failure.unwrap_or_else(|| {
            Unreachable::Down(SocketAddr::from(([127, 0, 0, 1], 0)), io::ErrorKind::AddrNotAvailable.into())
        });
        let reason = match failure {
            Unreachable::Down(..) => "refused",
            Unreachable::Busy(_) => "timeout",
        };
        self.metrics.tap_target_errors.get_or_create(&[("reason", reason)]).inc();
        self.set_up(false, &failure.to_string());
        Err(failure)
    }

    /// The target's name in a request that has none.
    pub(super) fn authority(&self) -> Option<Authority> {
        self.addresses.first()?.to_string().parse().ok()
    }

    /// Counts a connection that failed in use.
    pub(super) fn failed(&self) {
        self.metrics.tap_target_errors.get_or_create(&[("reason", "reset")]).inc();
    }

    /// The connection that was put back last and still is `good`; those that are not are dropped.
    pub(super) fn take(&self, good: impl Fn(&C) -> bool) -> Option<C> {
        let mut idle = self.idle();
        while let Some(connection) = idle.pop() {
            if good(&connection) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection; the oldest one goes if there are too many.
    pub(super) fn put_back(&self, connection: C) {
        let mut idle = self.idle();
        if idle.len() >= MOST_IDLE {
            idle.remove(0);
        }
        idle.push(connection);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<C>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_up(&self, up: bool, why: &str) {
        if self.up.swap(up, Ordering::Relaxed) != up || !up {
            let state = if up { State::Ok } else { State::Degraded };
            self.health.set(self.part, state, why, Timestamp::now());
        }
    }

    /// Looks after a target that is down until it is up, so that its health is known without requests.
    pub(super) async fn probe(&self, stop: CancellationToken) {
        let looking = async {
            loop {
                if !self.up.load(Ordering::Relaxed) {
                    // What it finds is in the health part.
                    let _ = self.connect().await;
                }
                sleep(PROBE).await;
            }
        };
        stop.run_until_cancelled(looking).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_put_back_last_is_taken_first_and_the_oldest_goes() {
        let (_, metrics) = Metrics::new();
        let target = Target::new(Vec::new(), "tap", Health::default(), metrics);
        (0..=MOST_IDLE).for_each(|n| target.put_back(n));
        assert_eq!(target.take(|_| true), Some(MOST_IDLE));
        assert_eq!(target.take(|n| *n < 10), Some(9), "those that are not good are dropped");
        assert_eq!(target.take(|n| *n == 0), None, "the oldest had to go");
    }

    #[tokio::test]
    async fn a_target_that_is_down_is_degraded_and_either_address_of_it_will_do() {
        let (_, metrics) = Metrics::new();
        let health = Health::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (up, down) = (listener.local_addr().unwrap(), "127.0.0.1:1".parse().unwrap());
        let target = Target::<()>::new(vec![down], "tap", health.clone(), metrics.clone());
        let error = target.connect().await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1"), "{error}");
        assert_eq!(health.parts()["tap"].state, State::Degraded);
        assert!(health.ready(), "the agent is ready though the component is not");
        let target = Target::<()>::new(vec![down, up], "tap", health.clone(), metrics);
        target.connect().await.unwrap();
        assert_eq!(health.parts()["tap"].state, State::Ok);
    }
}
