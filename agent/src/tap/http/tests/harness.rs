//! A tap on a free port, in front of a component that a test writes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use forebay_shared::health::Health;
use forebay_shared::{BatchProgress, Content, Outcome, Timestamp};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::TapKind;
use crate::buffer::Buffer;
use crate::metrics::Metrics;
use crate::tap::{Inline, Tap};

/// A tap that serves.
pub(super) struct Tapped {
    pub(super) address: SocketAddr,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    pub(super) tap: Tap,
    pub(super) stop: CancellationToken,
    pub(super) serving: JoinHandle<()>,
    buffer: Buffer,
}

impl Tapped {
    pub(super) fn http(target: SocketAddr) -> Self {
        Self::start(&format!("http=127.0.0.1:0->{target}"), Duration::from_secs(10))
    }

    pub(super) fn start(tap: &str, drain: Duration) -> Self {
        let (_, metrics) = Metrics::new();
        let (buffer, health) = (Buffer::new(forebay_shared::Bytes(64 << 20), metrics.clone()), Health::default());
        let kind: TapKind = tap.parse().unwrap();
        let tap = Tap::new(buffer.clone(), metrics.clone());
        let inline = Inline::bind(&[kind], &tap, &health, &metrics).unwrap().unwrap();
        let (address, stop) = (inline.addresses()[0], CancellationToken::new());
        let serving = tokio::spawn(inline.serve(stop.clone(), drain));
        Self { address, metrics, health, tap, stop, serving, buffer }
    }

    pub(super) async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// What has been told, once every batch has ended and `batches` of them are told of whole.
    pub(super) async fn recorded(&self, batches: usize) -> Content {
        let mut all = Content::default();
        until(|| {
            for frame in self.buffer.drain(Timestamp(0)) {
                all.arrivals.extend(frame.content.arrivals);
                all.progress.extend(frame.content.progress);
            }
            let ended = all.progress.iter().filter(|p| p.outcome != Outcome::Pending).count();
            (self.tap.open() == 0 && all.arrivals.len() >= batches && ended >= batches).then_some(())
        })
        .await;
        assert_eq!(all.arrivals.len(), batches);
        all
    }

    /// How each batch ended, in the order of their ids.
    pub(super) async fn ends(&self, batches: usize) -> Vec<BatchProgress> {
        let mut ends = self.recorded(batches).await.progress;
        ends.retain(|progress| progress.outcome != Outcome::Pending);
        ends.sort_by_key(|progress| progress.batch_id);
        assert_eq!(ends.len(), batches, "each ends once");
        ends
    }
}

/// Waits for a condition; sleeps are only between looks.
pub(super) async fn until<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(value) = ready() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(15), future).await.expect("in time")
}

/// A connection of plain bytes.
pub(super) struct Raw(pub(super) TcpStream);

impl Raw {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads up to and with `end`.
    pub(super) async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let byte = within(self.0.read_u8()).await;
            read.push(byte.unwrap_or_else(|e| panic!("{e} after {}", String::from_utf8_lossy(&read))));
        }
        String::from_utf8(read).unwrap()
    }

    /// The head of a message.
    pub(super) async fn head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    pub(super) async fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        within(self.0.read_exact(&mut read)).await.unwrap();
        read
    }

    /// What comes until the connection ends, in order or not.
    pub(super) async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        let _ = within(self.0.read_to_end(&mut read)).await;
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// A component of plain bytes: each connection is given to a script.
pub(super) async fn component<F>(script: impl Fn(Raw) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(script(Raw(stream)));
        }
    });
    address
}

/// An address where nobody listens.
pub(super) async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A component in hyper that speaks both versions; it echoes each chunk and the trailers, and keeps what it was asked.
pub(super) async fn echo() -> (SocketAddr, Arc<Mutex<Vec<Request<()>>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let kept = Arc::clone(&kept);
            let service = service_fn(move |request: Request<Incoming>| {
                let (parts, body) = request.into_parts();
                let mut response = Response::new(body);
                for name in ["trailer", "content-type"] {
                    if let Some(value) = parts.headers.get(name) {
                        response.headers_mut().insert(axum::http::HeaderName::from_static(name), value.clone());
                    }
                }
                kept.lock().unwrap().push(Request::from_parts(parts, ()));
                async { Ok::<_, hyper::Error>(response) }
            });
            tokio::spawn(async move {
                let mut first = [0; 3];
                let _ = stream.peek(&mut first).await;
                let io = TokioIo::new(stream);
                let _ = match &first == b"PRI" {
                    true => {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        builder.serve_connection(io, service).await
                    }
                    false => hyper::server::conn::http1::Builder::new().serve_connection(io, service).await,
                };
            });
        }
    });
    (address, asked)
}

/// A client over HTTP/2 with prior knowledge.
pub(super) async fn http2<B>(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<B>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A whole response, with its trailers.
pub(super) async fn whole(response: Response<Incoming>) -> (u16, Bytes, Option<axum::http::HeaderMap>) {
    let (parts, body) = response.into_parts();
    let body = within(body.collect()).await.unwrap();
    let trailers = body.trailers().cloned();
    (parts.status.as_u16(), body.to_bytes(), trailers)
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(bytes.into())
}
