//! A connection to the aggregator: looked up, connected, trusted; each fault in words that say what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_shared::rotating::Rotating;
use forebay_shared::tls;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::Target;
use crate::buffer::Body;

/// For each address of the name, and for the handshake.
const STEP: Duration = Duration::from_secs(3);
/// Addresses of the name that are tried: one a protocol, and another.
const MOST_ADDRESSES: usize = 3;

/// Why there is no connection: the reason is a metric's label.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

impl Fault {
    pub(super) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// An open connection, closed when dropped.
pub(super) struct Open {
    pub(super) sender: SendRequest<Body>,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects to one aggregator.
pub(super) struct Connector {
    target: Target,
    trust: Trust,
}

/// Whom to trust.
enum Trust {
    /// Plain HTTP.
    Nobody,
    /// The CAs of a file.
    File(PathBuf, Rotating<Arc<ClientConfig>>),
    /// The platform's roots, once they were found.
    Platform(Option<Arc<ClientConfig>>),
}

impl Connector {
    pub(super) fn new(target: Target, ca_file: Option<PathBuf>) -> Self {
        let trust = match (target.tls, ca_file) {
            (false, _) => Trust::Nobody,
            (true, None) => Trust::Platform(None),
            (true, Some(file)) => {
                let parse = |contents: &[Vec<u8>]| tls::client_trusting(&contents.concat());
                Trust::File(file.clone(), Rotating::new([file], parse))
            }
        };
        Self { target, trust }
    }

    /// Other CAs are to be trusted than when a connection was opened last.
    pub(super) fn rotated(&mut self) -> bool {
        let Trust::File(file, config) = &mut self.trust else { return false };
        let (before, faulty) = (config.generation(), config.fault().is_some());
        let _ = config.get();
        match config.fault() {
            Some(fault) if before > 0 && !faulty => {
                tracing::warn!(file = %file.display(), fault, "cannot renew the CA file; the last good one holds");
            }
            _ => {}
        }
        before > 0 && config.generation() != before
    }

    pub(super) async fn open(&mut self) -> Result<Open, Fault> {
        let tls = self.trust.config()?;
        let stream = self.tcp().await?;
        // Frames are written whole.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return http(stream).await };
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|_| Fault::new("tls", format!("`{}` can be no name in a certificate", self.target.host)))?;
        match timeout(STEP, TlsConnector::from(tls).connect(name, stream)).await {
            Ok(Ok(stream)) => http(stream).await,
            Ok(Err(error)) => Err(Fault::new("tls", self.untrusted(&error))),
            Err(_) => Err(Fault::new("timeout", format!("{} does not answer a TLS handshake", self.target))),
        }
    }

    async fn tcp(&self) -> Result<TcpStream, Fault> {
        let Target { host, port, .. } = &self.target;
        let target = &self.target;
        let network = |why: String| Fault::new("network", format!("cannot reach the aggregator at {target}: {why}"));
        let found = lookup_host((host.as_str(), *port)).await;
        let addresses: Vec<SocketAddr> =
            found.map_err(|error| network(error.to_string()))?.take(MOST_ADDRESSES).collect();
        let mut why = "its name has no address".to_owned();
        for address in addresses {
            match timeout(STEP, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = format!("{address} does not answer"),
            }
        }
        Err(network(why))
    }

    /// What is wrong with the aggregator's certificate, and what would be right.
    fn untrusted(&self, error: &io::Error) -> String {
        let target = &self.target;
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return format!("the TLS handshake with {target} failed: {error}");
        };
        match error {
            rustls::Error::InvalidCertificate(why) => {
                format!("the certificate of {target} is not trusted: {}", self.distrust(why))
            }
            rustls::Error::InvalidMessage(_) => {
                format!("{target} does not speak TLS: expected an http URL, or the aggregator's TLS port")
            }
            error => format!("the TLS handshake with {target} failed: {error}"),
        }
    }

    fn distrust(&self, why: &CertificateError) -> String {
        match why {
            // A CA that was made anew under its old name shows as a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match &self.trust {
                Trust::File(file, _) => {
                    format!(
                        "none of the CAs in --ca-file `{}` has signed it; expected the PEM of its CA",
                        file.display()
                    )
                }
                _ => "no CA of this system has signed it; expected --ca-file with the PEM of its CA".to_owned(),
            },
            CertificateError::NotValidForName => {
                format!(
                    "it is not for the name `{}`; expected --aggregator with a name that it holds",
                    self.target.host
                )
            }
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "it is for {}, not for `{}`; expected --aggregator with a name that it holds",
                presented.join(", "),
                self.target.host
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has expired; renew it, or set this node's clock".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet; set this node's clock".to_owned()
            }
            why => why.to_string(),
        }
    }
}

impl Trust {
    fn config(&mut self) -> Result<Option<Arc<ClientConfig>>, Fault> {
        match self {
            Self::Nobody => Ok(None),
            Self::File(_, config) => {
                let config = config.get().cloned();
                config
                    .map(Some)
                    .map_err(|error| Fault::new("tls", format!("--ca-file: {error}; expected the PEM of a CA")))
            }
            Self::Platform(Some(config)) => Ok(Some(Arc::clone(config))),
            Self::Platform(config) => {
                let found = platform().map_err(|error| Fault::new("tls", error))?;
                Ok(Some(Arc::clone(config.insert(found))))
            }
        }
    }
}

/// The roots that this system trusts.
fn platform() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems list roots that are none any more.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(format!(
            "this system has no root certificates{why}, as an image FROM scratch has none; \
             expected --ca-file with the PEM of the aggregator's CA"
        ));
    }
    tls::client(roots)
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Open, Fault> {
    let shaken = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| Fault::new("network", error.to_string()))?;
    Ok(Open { sender, driver: tokio::spawn(drive(connection)) })
}

/// What ends it, its requests tell.
async fn drive<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(connection: Connection<TokioIo<T>, Body>) {
    let _ = connection.await;
}
