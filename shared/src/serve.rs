//! Serves HTTP/1.1 over TCP or TLS in bounds that nobody outside can stretch.
//!
//! ```text
//! accept ─► slot: so many in all, so many a peer ─► TLS handshake, timed ─► requests, each head timed ─► app
//! ```
//!
//! A peer that sends nothing, or a byte now and then, holds a connection for a limited time; one that opens many holds
//! a limited share. At the bound of all connections newcomers wait in the kernel's queue; beyond a peer's own bound
//! they are closed. Bodies are the app's to bound.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::tls::ServerTls;

/// After an error of `accept` that is not the connection's own, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head, and of what is read ahead of a body.
const READ_BUFFER: usize = 64 << 10;

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Of them, those of one address.
    pub per_peer: usize,
    /// TLS handshakes under way.
    pub handshakes: usize,
    /// The longest that a handshake may take, with its wait for a turn.
    pub handshake: Duration,
    /// The longest that a request's head may take, from when it could have begun: idle connections end by it.
    pub head: Duration,
    /// The time for requests under way once it is to end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            per_peer: 4096,
            handshakes: 256,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            grace: Duration::from_secs(5),
        }
    }
}

/// What is counted; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    connections: Gauge,
    refused: Counter,
    handshakes: Counter,
    cut: Counter,
}

impl Counters {
    /// Registers them as `<prefix>_…`.
    pub fn register(prefix: &str, registry: &mut Registry) -> Self {
        let counters = Self::default();
        let registry = registry.sub_registry_with_prefix(prefix);
        registry.register("connections", "Open connections", counters.connections.clone());
        registry.register(
            "refused_connections",
            "Connections closed since their peer had too many",
            counters.refused.clone(),
        );
        registry.register(
            "failed_handshakes",
            "TLS handshakes that failed or took too long",
            counters.handshakes.clone(),
        );
        registry.register(
            "cut_connections",
            "Connections that ended within a request or a head, by an error or a timeout",
            counters.cut.clone(),
        );
        counters
    }
}

/// A server that is to be.
pub struct Server {
    listener: TcpListener,
    tls: Option<ServerTls>,
    limits: Limits,
    counters: Counters,
}

impl Server {
    /// Serves plain HTTP on `listener`, in the default limits.
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, tls: None, limits: Limits::default(), counters: Counters::default() }
    }

    /// Over TLS.
    #[must_use]
    pub fn tls(self, tls: Option<ServerTls>) -> Self {
        Self { tls, ..self }
    }

    /// In other limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Counting into these.
    #[must_use]
    pub fn counters(self, counters: Counters) -> Self {
        Self { counters, ..self }
    }

    /// Serves until `stop`, then ends what is under way, in the grace that the limits give. Requests carry their
    /// peer as `ConnectInfo<SocketAddr>`.
    pub async fn run(self, app: Router, stop: CancellationToken) {
        let limits = self.limits;
        let all = Arc::new(Semaphore::new(limits.connections));
        let serving = Arc::new(Serving {
            app,
            tls: self.tls,
            limits,
            counters: self.counters,
            handshakes: Semaphore::new(limits.handshakes),
            peers: Mutex::default(),
            stop: stop.clone(),
        });
        let accept = async {
            loop {
                // Never closed.
                let Ok(place) = Arc::clone(&all).acquire_owned().await else { return };
                let (stream, peer) = next(&self.listener).await;
                if let Some(slot) = Slot::take(&serving, peer.ip(), place) {
                    tokio::spawn(connection(slot, stream, peer));
                }
            }
        };
        stop.run_until_cancelled(accept).await;
        drop(self.listener);
        let whole = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        // Those that take longer are cut when their runtime ends.
        let _ = timeout(limits.grace, all.acquire_many(whole)).await;
    }
}

struct Serving {
    app: Router,
    tls: Option<ServerTls>,
    limits: Limits,
    counters: Counters,
    handshakes: Semaphore,
    peers: Mutex<HashMap<IpAddr, usize>>,
    stop: CancellationToken,
}

/// A connection's place among all, and among its peer's.
struct Slot {
    serving: Arc<Serving>,
    peer: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Slot {
    fn take(serving: &Arc<Serving>, peer: IpAddr, place: OwnedSemaphorePermit) -> Option<Self> {
        let mut peers = serving.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let held = peers.entry(peer).or_insert(0);
        if *held >= serving.limits.per_peer {
            serving.counters.refused.inc();
            return None;
        }
        *held += 1;
        serving.counters.connections.inc();
        Some(Self { serving: Arc::clone(serving), peer, _place: place })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.serving.counters.connections.dec();
        let mut peers = self.serving.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = peers.get_mut(&self.peer) {
            *held -= 1;
            if *held == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The connection was gone before it was taken.
            Err(error) if of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection; trying on");
                sleep(PAUSE).await;
            }
        }
    }
}

fn of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection(slot: Slot, stream: TcpStream, peer: SocketAddr) {
    let serving = &*slot.serving;
    // Answers are written whole; a socket that does not do it serves on.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &serving.tls else { return requests(serving, stream, peer).await };
    let handshake = async {
        let _turn = serving.handshakes.acquire().await.ok()?;
        let config =
            tls.config().inspect_err(|error| tracing::error!(error, "there is no certificate to serve")).ok()?;
        TlsAcceptor::from(config).accept(stream).await.ok()
    };
    let shaken = serving.stop.run_until_cancelled(timeout(serving.limits.handshake, handshake)).await;
    match shaken {
        Some(Ok(Some(stream))) => requests(serving, stream, peer).await,
        Some(_) => drop(serving.counters.handshakes.inc()),
        None => {}
    }
}

async fn requests(serving: &Serving, stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr) {
    let app = &serving.app;
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = app.clone().call(request);
        async { Ok::<Response<Body>, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(serving.limits.head).max_buf_size(READ_BUFFER);
    // A peer that has sent all that it will may still wait for its answer.
    http.half_close(true);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = serving.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err() {
        serving.counters.cut.inc();
    }
}

#[cfg(test)]
mod tests;
