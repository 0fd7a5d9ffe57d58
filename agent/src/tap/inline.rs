//! The inline taps: bound before the agent says that it is there, and served on a thread of their own, so that nothing
//! else that the agent does holds a batch back.
//!
//! ```text
//! port ─► accept ─► bounded? ─► a task a connection ─► http, tcp
//!                      └─ no: refused, counted
//! stop ─► no more are accepted ─► what is under way ends, within DRAIN ─► the rest is cut
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use forebay_shared::Timestamp;
use forebay_shared::health::{Health, State};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::http::Http;
use super::inspector::Inspectors;
use super::passing::Observer;
use super::target::Target;
use super::tcp;
use super::{Source, Tap};
use crate::args::{Route, TapKind};
use crate::metrics::Metrics;

/// Connections at once, over all inline taps: with one to the target for each, about what the usual limit of 1,024 file
/// descriptors allows. An idle one takes about 20 KiB, so all take 10 MiB; one whose target reads nothing holds at most
/// 128 KiB to be written and two reads of as much.
pub(super) const MOST_CONNECTIONS: usize = 500;
/// Connections that wait to be accepted.
const WAITING: i32 = 1024;
/// A pod has 30 s to end, of which the shipper needs the last.
const DRAIN: Duration = Duration::from_secs(25);
/// Time for what waits to be looked at, after the last connection.
const LOOK: Duration = Duration::from_secs(1);
/// A pause after a failure to accept, such as no file descriptors: they come back as connections end.
const PAUSE: Duration = Duration::from_millis(100);
/// A client whose machine is gone is found out in 2 minutes: nothing else ends an idle connection here.
const ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);

/// The inline taps, listening.
pub(crate) struct Inline {
    bound: Vec<(std::net::TcpListener, Served)>,
    inspection: JoinHandle<()>,
    metrics: Metrics,
}

/// What a listener's connections are served by.
#[derive(Clone)]
enum Served {
    Http(Arc<Http>),
    Tcp(Arc<Target<()>>, Observer),
}

impl Inline {
    /// Binds the ports; nothing if none of `taps` is inline.
    pub(crate) fn bind(
        taps: &[TapKind],
        tap: &Tap,
        health: &Health,
        metrics: &Metrics,
    ) -> anyhow::Result<Option<Self>> {
        if !taps.iter().any(|tap| matches!(tap, TapKind::Http(_) | TapKind::Tcp(_))) {
            return Ok(None);
        }
        let (inspectors, inspection) =
            Inspectors::start(tap.0.inspection.clone()).context("cannot start the inspection's thread")?;
        let tap = &tap.of(Source::Inline);
        tap.follow(true);
        let observer = Observer::new(tap.clone(), inspectors);
        let mut bound = Vec::new();
        for kind in taps {
            let (route, name) = match kind {
                TapKind::Http(route) => (route, format!("tap http={route}")),
                TapKind::Tcp(route) => (route, format!("tap tcp={route}")),
                TapKind::Push | TapKind::Dir(_) => continue,
            };
            // As many as there are taps, for as long as the agent runs.
            let name: &'static str = Box::leak(name.into_boxed_str());
            let listener = listen(route).with_context(|| format!("cannot listen for --{name}: is the port taken?"))?;
            tracing::info!(tap = name, address = %listener.local_addr()?, "listening");
            health.set(name, State::Degraded, "the component has not been reached yet", Timestamp::now());
            let served = match kind {
                TapKind::Tcp(_) => Served::Tcp(Arc::new(target(route, name, health, metrics)), observer.clone()),
                _ => Served::Http(Arc::new(Http::new(
                    Arc::new(target(route, name, health, metrics)),
                    observer.clone(),
                    name,
                ))),
            };
            bound.push((listener, served));
        }
        Ok(Some(Self { bound, inspection, metrics: metrics.clone() }))
    }

    /// Where the taps listen, in their order.
    #[cfg(test)]
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|(listener, _)| listener.local_addr().unwrap()).collect()
    }

    /// Serves on a thread of its own until `stop`, and then until what is under way has ended. What it returns is told
    /// then, or dropped if the thread broke off.
    pub(crate) fn start(self, stop: CancellationToken) -> anyhow::Result<oneshot::Receiver<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the inline taps' runtime")?;
        let (ended, told) = oneshot::channel();
        let serve = move || {
            let Self { bound, inspection, metrics } = self;
            runtime.block_on(serve(bound, metrics, stop, DRAIN));
            // With it go the last batches: their ends are told, and what waits is looked at.
            drop(runtime);
            let until = Instant::now() + LOOK;
            while !inspection.is_finished() && Instant::now() < until {
                std::thread::sleep(PAUSE / 10);
            }
            let _ = ended.send(());
        };
        std::thread::Builder::new().name("taps".into()).spawn(serve).context("cannot start the inline taps' thread")?;
        Ok(told)
    }

    #[cfg(test)]
    pub(super) async fn serve(self, stop: CancellationToken, drain: Duration) {
        serve(self.bound, self.metrics, stop, drain).await;
    }
}

async fn serve(
    bound: Vec<(std::net::TcpListener, Served)>,
    metrics: Metrics,
    stop: CancellationToken,
    drain: Duration,
) {
    let (connections, room) = (TaskTracker::new(), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    // What is still under way after the grace is cut.
    let cut = CancellationToken::new();
    for (listener, served) in bound {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "cannot serve an inline tap");
                continue;
            }
        };
        let door = Door {
            served,
            connections: connections.clone(),
            room: Arc::clone(&room),
            stop: stop.clone(),
            cut: cut.clone(),
            metrics: metrics.clone(),
        };
        connections.spawn(door.served.clone().probe(stop.clone()));
        connections.spawn(door.accept(listener));
    }
    stop.cancelled().await;
    connections.close();
    if timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut what was still under way through the inline taps");
        cut.cancel();
        connections.wait().await;
    }
}

/// One listener, and what its connections need.
struct Door {
    served: Served,
    connections: TaskTracker,
    room: Arc<Semaphore>,
    stop: CancellationToken,
    cut: CancellationToken,
    metrics: Metrics,
}

impl Door {
    async fn accept(self, listener: TcpListener) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((client, _)) => self.admit(client),
                Err(error) => {
                    self.metrics.tap_refused_connections.inc();
                    tracing::debug!(%error, "cannot accept a connection");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, client: TcpStream) {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            self.metrics.tap_refused_connections.inc();
            return self.served.refuse(&client);
        };
        // Without it a client that vanished is found out later.
        let _ = SockRef::from(&client).set_tcp_keepalive(&ALIVE);
        let counted = Counted::new(permit, &self.metrics);
        let (served, stop, cut) = (self.served.clone(), self.stop.clone(), self.cut.clone());
        self.connections.spawn(async move {
            let _counted = counted;
            cut.run_until_cancelled(served.serve(client, stop)).await;
        });
    }
}

/// A connection's place, given back when it ends.
struct Counted {
    _permit: OwnedSemaphorePermit,
    metrics: Metrics,
}

impl Counted {
    fn new(permit: OwnedSemaphorePermit, metrics: &Metrics) -> Self {
        metrics.tap_connections.inc();
        Self { _permit: permit, metrics: metrics.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.tap_connections.dec();
    }
}

impl Served {
    async fn serve(self, client: TcpStream, stop: CancellationToken) {
        match self {
            Self::Http(http) => http.serve(client, stop).await,
            Self::Tcp(target, observer) => tcp::serve(client, &target, &observer, stop).await,
        }
    }

    async fn probe(self, stop: CancellationToken) {
        match self {
            Self::Http(http) => http.target.probe(stop).await,
            Self::Tcp(target, _) => target.probe(stop).await,
        }
    }

    /// Says so where there are words for it.
    fn refuse(&self, client: &TcpStream) {
        const BUSY: &[u8] =
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        if let Self::Http(_) = self {
            // A new socket takes these few bytes, or its client does without.
            let _ = client.try_write(BUSY);
        }
    }
}

fn target<C>(route: &Route, name: &'static str, health: &Health, metrics: &Metrics) -> Target<C> {
    Target::new(route.target.clone(), name, health.clone(), metrics.clone())
}

/// A listener for both families where all addresses are meant; for IPv4 alone where the machine has no other.
fn listen(route: &Route) -> std::io::Result<std::net::TcpListener> {
    let all_of_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, route.listen.port()));
    match bind(route.listen) {
        Err(_) if route.listen.is_ipv6() && route.listen.ip().is_unspecified() => bind(all_of_ipv4),
        bound => bound,
    }
}

fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // An agent that was killed is back at once, whatever its old connections are at.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(WAITING)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
