//! A page of an exporter: asked for over a connection of its own, and read as it comes.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{ACCEPT, HOST, USER_AGENT};
use axum::http::{HeaderValue, Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{Failure, failure};
use crate::shipper::{Target, platform};

/// The longest page.
pub(super) const MOST_BYTES: usize = 4 << 20;
const FORMATS: &str = "application/openmetrics-text;version=1.0.0;q=0.9, text/plain;version=0.0.4";
const AGENT: &str = concat!("forebay-agent/", env!("CARGO_PKG_VERSION"));

/// The pages of one exporter.
pub(super) struct Pages {
    page: Target,
    /// Whom to trust, once it was needed.
    tls: Option<Arc<ClientConfig>>,
}

/// A connection's task, ended with it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pages {
    pub(super) fn new(page: Target) -> Self {
        Self { page, tls: None }
    }

    /// Gives the page to `take`, chunk by chunk. Takes as long as it takes: who calls it bounds the time.
    pub(super) async fn get(&mut self, take: impl FnMut(&[u8])) -> Result<(), Failure> {
        // Names and addresses are tried in turn, as `connect` does.
        let stream = TcpStream::connect((self.page.host.as_str(), self.page.port)).await;
        let stream = stream.map_err(|error| failure("unreachable", error.to_string()))?;
        if !self.page.tls {
            return self.read(stream, take).await;
        }
        let tls = match &self.tls {
            Some(tls) => Arc::clone(tls),
            None => Arc::clone(self.tls.insert(platform().map_err(|error| failure("tls", error))?)),
        };
        let name = ServerName::try_from(self.page.host.clone());
        let name = name.map_err(|_| failure("tls", "its host can be no name in a certificate"))?;
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        let stream = stream.map_err(|error| failure("tls", format!("the TLS handshake failed: {error}")))?;
        self.read(stream, take).await
    }

    async fn read(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        take: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let unreachable = |error: hyper::Error| failure("unreachable", format!("the connection ended: {error}"));
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        let _driver = Driver(tokio::spawn(async { drop(connection.await) }));
        let answer = sender.send_request(self.request()).await.map_err(unreachable)?;
        if answer.status() != StatusCode::OK {
            return Err(failure("status", format!("it answered {}: expected 200", answer.status())));
        }
        chunks(answer.into_body(), take).await
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.page.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.page.authority.clone());
        headers.insert(ACCEPT, HeaderValue::from_static(FORMATS));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        request
    }
}

async fn chunks(mut body: Incoming, mut take: impl FnMut(&[u8])) -> Result<(), Failure> {
    let mut bytes = 0;
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| failure("unreachable", "its answer was cut short"))?;
        // Trailers tell nothing.
        let chunk = frame.into_data().unwrap_or_default();
        bytes += chunk.len();
        if bytes > MOST_BYTES {
            let detail = format!("the page is longer than {MOST_BYTES} bytes: have fewer metrics exported");
            return Err(failure("size", detail));
        }
        take(&chunk);
    }
    Ok(())
}
