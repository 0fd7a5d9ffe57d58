//! A server against peers that are slow, many, or speak another language.

use std::path::Path;
use std::time::Instant;

use axum::routing::get;
use prometheus_client::encoding::text::encode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;

struct Rig {
    address: SocketAddr,
    counters: Counters,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Rig {
    async fn start(limits: Limits, tls: Option<ServerTls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop, counters) = (listener.local_addr().unwrap(), CancellationToken::new(), Counters::default());
        let app =
            Router::new().route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }));
        let app = app.route("/slow", get(|| async { sleep(Duration::from_millis(300)).await }));
        let app = app.layer(axum::middleware::from_fn(crate::problem::uniform));
        let server = Server::new(listener).tls(tls).limits(limits).counters(counters.clone());
        let task = tokio::spawn(server.run(app, stop.clone()));
        Self { address, counters, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut chunk) = (String::new(), [0; 4096]);
    loop {
        let len = stream.read(&mut chunk).await.unwrap_or(0);
        answer.push_str(&String::from_utf8_lossy(&chunk[..len]));
        let whole = answer.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let told = head.split_once("content-length: ").and_then(|(_, told)| told.lines().next()?.parse().ok());
            body.len() >= told.unwrap_or(0)
        });
        if len == 0 || whole {
            return answer;
        }
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn limits() -> Limits {
    Limits { head: Duration::from_millis(200), handshake: Duration::from_millis(200), ..Limits::default() }
}

#[tokio::test]
async fn a_peer_that_is_slow_with_its_head_is_cut_and_others_are_answered_meanwhile() {
    let rig = Rig::start(Limits { connections: 8, ..limits() }, None).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = rig.connect().await;
        stream.write_all(b"GET / HT").await.unwrap();
        slow.push(stream);
    }
    let start = Instant::now();
    let answer = ask(&mut rig.connect().await, GET).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("127.0.0.1:"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for mut stream in slow {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(2), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    assert!(rig.counters.cut.get() >= 8);
}

#[tokio::test]
async fn a_peer_holds_no_more_than_its_share() {
    let rig = Rig::start(Limits { per_peer: 2, ..limits() }, None).await;
    let (mut one, mut two) = (rig.connect().await, rig.connect().await);
    assert!(ask(&mut one, GET).await.contains("200") && ask(&mut two, GET).await.contains("200"));
    let mut three = rig.connect().await;
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(2), three.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(rest.is_empty());
    assert_eq!((rig.counters.refused.get(), rig.counters.connections.get()), (1, 2));
    drop((one, two));
    timeout(Duration::from_secs(2), async {
        while rig.counters.connections.get() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert!(ask(&mut rig.connect().await, GET).await.contains("200"), "places come back");
}

#[tokio::test]
async fn what_the_framework_refuses_is_a_problem_document() {
    let rig = Rig::start(limits(), None).await;
    let answer = ask(&mut rig.connect().await, "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    for part in ["405", "allow: GET,HEAD", "application/problem+json", "DELETE is not allowed here"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let answer = ask(&mut rig.connect().await, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.contains("404") && answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn requests_under_way_are_answered_when_it_ends_and_idle_connections_do_not_hold_it() {
    let rig = Rig::start(Limits { head: Duration::from_secs(30), ..Limits::default() }, None).await;
    let mut idle = rig.connect().await;
    assert!(ask(&mut idle, GET).await.contains("200"));
    let mut busy = rig.connect().await;
    let answer = tokio::spawn(async move { ask(&mut busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await });
    sleep(Duration::from_millis(100)).await;
    rig.stop.cancel();
    timeout(Duration::from_secs(3), rig.task).await.expect("it ends").unwrap();
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(TcpStream::connect(rig.address).await.is_err(), "nobody listens");
}

fn certificate(dir: &Path, name: &str) -> (ServerTls, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    std::fs::write(dir.join("tls.crt"), cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), signing_key.serialize_pem()).unwrap();
    (ServerTls::new(&dir.join("tls.crt"), &dir.join("tls.key")).unwrap(), cert.pem())
}

async fn shake(rig: &Rig, ca: &str, name: &'static str) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let connector = TlsConnector::from(crate::tls::client_trusting(ca.as_bytes()).unwrap());
    connector.connect(ServerName::try_from(name).unwrap(), rig.connect().await).await
}

#[tokio::test]
async fn tls_serves_with_the_certificate_that_the_files_hold_now() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, first) = certificate(dir.path(), "one.test");
    let rig = Rig::start(limits(), Some(tls)).await;
    assert!(ask(&mut shake(&rig, &first, "one.test").await.unwrap(), GET).await.starts_with("HTTP/1.1 200"));
    let (_, second) = certificate(dir.path(), "two.test");
    assert!(shake(&rig, &first, "one.test").await.is_err());
    assert!(ask(&mut shake(&rig, &second, "two.test").await.unwrap(), GET).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn handshakes_that_stall_or_are_none_are_cut_while_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, ca) = certificate(dir.path(), "one.test");
    let rig = Rig::start(Limits { handshakes: 2, ..limits() }, Some(tls)).await;
    let stalled = (rig.connect().await, rig.connect().await);
    let plain = ask(&mut rig.connect().await, GET).await;
    assert!(!plain.contains("HTTP/1.1"), "{plain}");
    let shaken = timeout(Duration::from_secs(2), shake(&rig, &ca, "one.test")).await.unwrap();
    assert!(shaken.is_ok(), "{shaken:?}");
    assert!(rig.counters.handshakes.get() >= 2);
    drop(stalled);
    let mut registry = Registry::default();
    Counters::register("forebay_server", &mut registry).refused.inc();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("forebay_server_refused_connections_total 1"), "{text}");
}
