//! The HTTP tap: a reverse proxy to the component's own port that sees the bodies of requests as they pass.
//!
//! ```text
//! client ─► first bytes? ─┬─ HTTP/1.1, HTTP/1.0 ─► kept connections, the same version ─► component
//!                         ├─ HTTP/2 (h2c) ───────► one connection a client ───────────► component
//!                         └─ TLS ────────────────► passed through as bytes ───────────► component
//! ```
//!
//! Messages pass unchanged but for what concerns one connection alone: see [`headers`]. Bodies pass chunk by chunk as
//! they come, with back-pressure both ways, and wait for nothing here. No time limit is added, but that of connecting:
//! the client's own counts. What hyper cannot pass on is left out: informational responses but `100 Continue`, and
//! trailers that no `Trailer` field announced over HTTP/1.1.
//!
//! A batch is a request's body: it arrives with the first byte of the request's head, starts when the target takes the
//! head, and is finished with the end of the response: ok under a status below 400, failed above it or when either
//! side breaks off. A request without a body is none. gRPC: each message, see [`grpc`].

mod grpc;
mod headers;
mod request;
mod response;
mod socket;
mod upstream;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode};
use forebay_shared::problem::Problem;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::response::{Kept, Reply, problem};
use self::socket::{Clock, Socket};
use self::upstream::Shared;
use super::passing::Observer;
use super::target::Target;
use super::tcp;

/// The head of a request or response at most, one read, and what waits to be written to one side. A read takes as much
/// memory as the last ones needed, 8 KiB at first; less at once costs a fifth more CPU for bodies of 64 KiB.
const MOST_BUFFERED: usize = 128 << 10;
/// Fields of a head at most.
const MOST_FIELDS: usize = 256;
/// What an HTTP/2 client may send before it is read, a stream and a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const MOST_STREAMS: u32 = 256;
/// Time between looks at a connection that has begun with one byte or two that may be HTTP/2's, and looks at most.
const PEEK: Duration = Duration::from_millis(1);
const PEEKS: u32 = 1000;

/// An HTTP tap; shared by its connections.
pub(super) struct Http {
    pub(super) target: Arc<Target<Kept>>,
    pub(super) observer: Observer,
    /// The tap, as it was given.
    pub(super) name: &'static str,
    tls_told: std::sync::Once,
}

/// Both sides of a connection that is about to switch protocols; what follows passes as by a tcp tap.
type Switch = Mutex<Option<(OnUpgrade, OnUpgrade)>>;

/// What a client speaks.
#[derive(Debug, PartialEq)]
enum Speaks {
    Http1,
    Http2,
    Tls,
    Nothing,
}

impl Http {
    pub(super) fn new(target: Arc<Target<Kept>>, observer: Observer, name: &'static str) -> Self {
        Self { target, observer, name, tls_told: std::sync::Once::new() }
    }

    /// Serves a connection to its end; once `stop` says so, to the end of what is under way.
    pub(super) async fn serve(self: Arc<Self>, client: TcpStream, stop: CancellationToken) {
        // A client that is gone is found out below.
        let _ = client.set_nodelay(true);
        let clock = Clock::default();
        let speaks = tokio::select! {
            speaks = speaks(&client, &clock) => speaks.unwrap_or(Speaks::Nothing),
            () = stop.cancelled() => return,
        };
        match speaks {
            Speaks::Nothing => {}
            Speaks::Http1 => self.serve_http1(client, clock, stop).await,
            Speaks::Http2 => self.serve_http2(client, stop).await,
            Speaks::Tls => {
                self.tls_told.call_once(|| {
                    tracing::warn!(tap = self.name, "TLS cannot be looked into: it is passed through as by a tcp tap");
                });
                tcp::serve(client, &self.target, &self.observer, stop).await;
            }
        }
    }

    async fn serve_http1(self: Arc<Self>, client: TcpStream, clock: Clock, stop: CancellationToken) {
        let switch = Arc::new(Switch::default());
        let socket = TokioIo::new(Socket::new(client, clock.clone()));
        let service = service_fn(|request| {
            let (tap, clock, switch) = (Arc::clone(&self), clock.clone(), Arc::clone(&switch));
            async move { Ok::<_, Infallible>(tap.exchange_http1(request, clock, &switch).await) }
        });
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MOST_BUFFERED).max_header_size(MOST_BUFFERED).max_headers(MOST_FIELDS);
        builder.auto_date_header(false).preserve_header_case(true);
        let connection = builder.serve_connection(socket, service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        // Clients come and go: their errors tell nobody anything.
        tokio::select! {
            _ = connection.as_mut() => {}
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.as_mut().await;
            }
        }
        let switched = switch.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((client, target)) = switched
            && let Ok((client, target)) = tokio::try_join!(client, target)
        {
            tcp::relay(TokioIo::new(client), TokioIo::new(target), &self.observer, stop).await;
        }
    }

    async fn serve_http2(self: Arc<Self>, client: TcpStream, stop: CancellationToken) {
        let shared = Arc::new(Shared::default());
        let service = service_fn(move |request| {
            let (tap, shared) = (Arc::clone(&self), Arc::clone(&shared));
            async move { Ok::<_, Infallible>(tap.exchange_http2(request, &shared).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(MOST_BUFFERED as u32)
            .auto_date_header(false);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(client), service));
        tokio::select! {
            _ = connection.as_mut() => {}
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.as_mut().await;
            }
        }
    }

    /// What no target is asked for.
    fn refuse(request: &Request<Incoming>) -> Option<Response<Reply>> {
        let connect = request.method() == Method::CONNECT;
        connect.then(|| {
            let detail = "CONNECT opens tunnels, and this is a reverse proxy to one component: send it a request";
            problem(&Problem::new(StatusCode::NOT_IMPLEMENTED, detail))
        })
    }

    async fn exchange_http1(&self, request: Request<Incoming>, clock: Clock, switch: &Switch) -> Response<Reply> {
        let arrived_at = clock.arrived();
        if let Some(refusal) = Self::refuse(&request) {
            return refusal;
        }
        self.forward_http1(request, arrived_at, clock, switch).await
    }

    async fn exchange_http2(&self, request: Request<Incoming>, shared: &Shared) -> Response<Reply> {
        if let Some(refusal) = Self::refuse(&request) {
            return refusal;
        }
        self.forward_http2(request, shared).await
    }
}

/// Looks at a connection's first bytes without taking them.
async fn speaks(client: &TcpStream, clock: &Clock) -> std::io::Result<Speaks> {
    let mut first = [0; 3];
    for _ in 0..PEEKS {
        let n = client.peek(&mut first).await?;
        clock.came();
        match &first[..n] {
            [] => return Ok(Speaks::Nothing),
            // A handshake record; no method begins with it.
            [0x16, ..] => return Ok(Speaks::Tls),
            // No other method begins with the preface's `PRI`.
            b"PRI" => return Ok(Speaks::Http2),
            b"P" | b"PR" => sleep(PEEK).await,
            _ => break,
        }
    }
    Ok(Speaks::Http1)
}

#[cfg(test)]
mod tests;
