//! TLS between the shipper and an aggregator: whom it trusts, what it says if it does not.

use std::path::Path;

use axum::Router;
use axum::routing::post;
use forebay_shared::serve::Server;
use forebay_shared::tls::ServerTls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::net::TcpListener;

use super::*;

/// A CA with its key, and its certificate in PEM.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Signs a certificate for `name`, into `tls.crt` and `tls.key`.
    fn sign(&self, dir: &Path, name: &str, years: std::ops::Range<i32>) -> ServerTls {
        std::fs::create_dir_all(dir).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        ServerTls::new(&dir.join("tls.crt"), &dir.join("tls.key")).unwrap()
    }
}

/// An aggregator that takes everything, and its URL.
async fn serve(tls: Option<ServerTls>, name: &str) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{name}:{}", listener.local_addr().unwrap().port());
    let take = |body: axum::body::Bytes| async move {
        let frames = forebay_shared::Frame::decode_all(&body).unwrap();
        format!("{{\"accepted\":{},\"duplicates\":0}}", frames.len())
    };
    let app = Router::new().route("/api/v1/observations", post(take));
    tokio::spawn(Server::new(listener).tls(tls).run(app, CancellationToken::new()));
    Target::of_aggregator(&url).unwrap()
}

fn trusting(target: Target, ca_file: &Path) -> Way {
    Way { target, ca_file: Some(ca_file.to_owned()), ..way("127.0.0.1:1".parse().unwrap()) }
}

const NOW: std::ops::Range<i32> = 2020..4000;

#[tokio::test]
async fn frames_go_to_an_aggregator_whose_ca_is_in_the_file() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let ca_file = dir.path().join("ca.crt");
    std::fs::write(&ca_file, &ca.pem).unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let target = serve(Some(ca.sign(dir.path(), name, NOW)), name).await;
        let rig = Rig::start(trusting(target, &ca_file));
        for n in 0..5 {
            rig.record(n..n + 1);
            rig.shipped().await;
        }
        assert_eq!(rig.metrics.shipper_connections.get(), 1, "one handshake serves them all");
        assert_eq!(rig.health.parts()["shipper"].state, State::Ok);
    }
}

#[tokio::test]
async fn why_an_aggregator_is_not_trusted_is_told_with_what_would_be_right() {
    let (dir, ca, other) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    let ca_file = dir.path().join("ca.crt");
    std::fs::write(&ca_file, &ca.pem).unwrap();
    let missing = dir.path().join("missing.crt");
    let folder = |n: u8| dir.path().join(n.to_string());
    for (tls, ca_file, says) in [
        (Some(other.sign(&folder(1), "localhost", NOW)), &ca_file, "has signed it; expected the PEM of its CA"),
        (Some(ca.sign(&folder(2), "forebay.ops.svc", NOW)), &ca_file, "forebay.ops.svc"),
        (Some(ca.sign(&folder(3), "forebay.ops.svc", NOW)), &ca_file, "not for `localhost`"),
        (Some(ca.sign(&folder(4), "localhost", 2001..2002)), &ca_file, "it has expired"),
        (Some(ca.sign(&folder(5), "localhost", 3999..4000)), &ca_file, "it is not valid yet"),
        (None, &ca_file, "does not speak TLS"),
        (Some(ca.sign(&folder(6), "localhost", NOW)), &missing, "--ca-file: cannot read"),
    ] {
        let target = serve(tls, "localhost").await;
        let rig = Rig::start(trusting(target, ca_file));
        rig.record(0..1);
        rig.told(says).await;
        assert_eq!(rig.health.parts()["shipper"].state, State::Degraded);
        assert!(rig.metrics.shipper_errors.get_or_create(&[("reason", "tls")]).get() > 0);
        assert_eq!(rig.buffer.size().1, 1, "nothing was sent");
    }
}

#[tokio::test]
async fn without_a_ca_file_the_platforms_roots_are_asked() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let target = serve(Some(ca.sign(dir.path(), "localhost", NOW)), "localhost").await;
    let rig = Rig::start(Way { target, ..way("127.0.0.1:1".parse().unwrap()) });
    rig.record(0..1);
    // A machine has roots that do not know this CA, or none.
    rig.told("expected --ca-file with the PEM of").await;
}

#[tokio::test]
async fn a_ca_that_rotates_is_trusted_from_the_next_request_on() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    let ca_file = dir.path().join("ca.crt");
    std::fs::write(&ca_file, &old.pem).unwrap();
    let target = serve(Some(old.sign(dir.path(), "localhost", NOW)), "localhost").await;
    let rig = Rig::start(trusting(target, &ca_file));
    rig.record(0..1);
    rig.shipped().await;
    // The aggregator's certificate first: the connection that is open goes on.
    new.sign(dir.path(), "localhost", NOW);
    rig.record(1..2);
    rig.shipped().await;
    assert_eq!(rig.metrics.shipper_connections.get(), 1);
    // Half written for a moment: the last good one holds.
    std::fs::write(&ca_file, &new.pem[..100]).unwrap();
    rig.record(2..3);
    rig.shipped().await;
    std::fs::write(&ca_file, &new.pem).unwrap();
    rig.record(3..4);
    rig.shipped().await;
    assert_eq!(rig.metrics.shipper_connections.get(), 2, "a new client connects");
}
