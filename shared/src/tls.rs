//! TLS with rustls and ring: the provider, a server's certificate, a client's roots. Certificates and keys are read
//! again when their files rotate, and a pair that does not match is one that is being replaced: the last good one
//! serves on.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::rotating::Rotating;

/// The one provider of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

/// A server's certificate and key, in files; clones share them.
#[derive(Clone)]
pub struct ServerTls(Arc<Mutex<Rotating<Arc<ServerConfig>>>>);

impl ServerTls {
    /// Reads both, as PEM: the chain with the server's own certificate first, and its key.
    ///
    /// # Errors
    /// A file cannot be read, holds no PEM of its kind, or the key is not the certificate's; names the file.
    pub fn new(certificates: &Path, key: &Path) -> Result<Self, String> {
        let (certificate_file, key_file) = (certificates.display().to_string(), key.display().to_string());
        let mut files = Rotating::new([certificates.to_owned(), key.to_owned()], move |contents| {
            let [chain, key] = contents else { return Err("expected a certificate and a key".to_owned()) };
            let chain = chain_of(chain).map_err(|error| format!("`{certificate_file}` {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| format!("`{key_file}` holds no private key in PEM: {error}"))?;
            server_config(chain, key)
                .map_err(|error| format!("`{certificate_file}` and `{key_file}` do not belong together: {error}"))
        });
        files.get()?;
        Ok(Self(Arc::new(Mutex::new(files))))
    }

    /// What the next handshake uses.
    pub fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = files.fault().is_some();
        let config = files.get().cloned();
        match (before, files.fault()) {
            (false, Some(fault)) => tracing::warn!(fault, "cannot renew the certificate; the last good one serves on"),
            (true, None) => tracing::info!("the certificate is renewed"),
            _ => {}
        }
        config
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn chain_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("is damaged: {error}"))?;
    if chain.is_empty() { Err("holds no certificate in PEM".to_owned()) } else { Ok(chain) }
}

/// A client that trusts the certificates of a PEM file, and no others.
///
/// # Errors
/// There is none in it, or one is damaged.
pub fn client_trusting(pem: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain_of(pem)? {
        roots.add(certificate).map_err(|error| format!("holds a certificate that is none: {error}"))?;
    }
    client(roots)
}

/// A client that trusts `roots`.
///
/// # Errors
/// The provider lacks what TLS needs, which ring does not.
pub fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // One server, seldom connected to: the default keeps sessions of 256.
    config.resumption = rustls::client::Resumption::in_memory_sessions(4);
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    fn pair(name: &str) -> (String, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_that_is_half_replaced_leaves_the_last_good_one_in_service() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let put = |(chain, secret): &(String, String)| {
            std::fs::write(&certificate, chain).unwrap();
            std::fs::write(&key, secret).unwrap();
        };
        let (first, second) = (pair("one.test"), pair("two.test"));
        put(&first);
        let tls = ServerTls::new(&certificate, &key).unwrap();
        let before = tls.config().unwrap();
        assert!(Arc::ptr_eq(&before, &tls.config().unwrap()));
        std::fs::write(&certificate, &second.0).unwrap();
        assert!(Arc::ptr_eq(&before, &tls.config().unwrap()), "the key is still the old one");
        put(&second);
        assert!(!Arc::ptr_eq(&before, &tls.config().unwrap()));
    }

    #[test]
    fn files_that_are_no_pair_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let error = |cert: &str, secret: &str| {
            std::fs::write(&certificate, cert).unwrap();
            std::fs::write(&key, secret).unwrap();
            ServerTls::new(&certificate, &key).err().unwrap()
        };
        let (one, two) = (pair("one.test"), pair("two.test"));
        assert!(error("text", &one.1).contains("tls.crt` holds no certificate"));
        assert!(error(&one.0, "text").contains("tls.key` holds no private key"));
        assert!(error(&one.0, &two.1).contains("do not belong together"));
        assert!(client_trusting(b"text").unwrap_err().contains("holds no certificate"));
        assert!(client_trusting(one.0.as_bytes()).is_ok());
    }
}
