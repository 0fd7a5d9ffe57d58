//! The server while the agent is busy, and what it answers to requests that are wrong.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::Instant;

use clap::Parser as _;

use super::*;
use crate::args::Args;

/// An agent on a runtime of its own, as the program has it, for which an aggregator is never there.
struct Agent {
    address: SocketAddr,
    runtime: Handle,
    _stop: oneshot::Sender<()>,
    dir: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (pids, file) = (dir.path().join("pids"), dir.path().join("address"));
        std::fs::write(&pids, std::process::id().to_string()).unwrap();
        let args = Args::parse_from([
            "forebay-agent".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            format!("--address-file={}", file.display()),
            "--aggregator=http://127.0.0.1:1".to_owned(),
            format!("--sampling=pids={}", pids.display()),
            "--tap=push".to_owned(),
            "--interval=20ms".to_owned(),
        ]);
        let (stop, stopped) = oneshot::channel::<()>();
        let (handle, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
            let runtime = runtime.unwrap();
            handle.send(runtime.handle().clone()).unwrap();
            let _ = runtime.block_on(crate::run(args, async { drop(stopped.await) }));
            runtime.shutdown_background();
        });
        let runtime = told.recv().unwrap();
        let address = address(&file);
        Self { address, runtime, _stop: stop, dir }
    }

    /// Sends a request, and gives the status and the whole answer.
    fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = self.send(request.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }
}

#[test]
fn an_agent_that_is_not_ready_tells_each_part_and_why() {
    let agent = Agent::start();
    std::fs::remove_file(agent.dir.path().join("pids")).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    // It starts, may be ready, and then is not.
    let (status, answer) = loop {
        let (status, answer) = agent.get("/readyz");
        if answer.contains("failed") || Instant::now() > until {
            break (status, answer);
        }
        sleep(Duration::from_millis(5));
    };
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("application/json") && answer.contains(r#""sampler":{"state":"failed""#), "{answer}");
    assert!(answer.contains("/pids"), "the reason names the file: {answer}");
}

fn address(file: &Path) -> SocketAddr {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(address) = std::fs::read_to_string(file).ok().and_then(|text| text.parse().ok()) {
            return address;
        }
        assert!(Instant::now() < until, "the agent does not start");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn probes_are_answered_while_the_agent_is_saturated() {
    let agent = Agent::start();
    // Large pushes, half of each sent; and the inspection's threads and the agent's own kept busy.
    let half = vec![b'a'; 2 << 20];
    let head = format!("POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 4 << 20);
    let pushes: Vec<TcpStream> = (0..6).map(|_| agent.send(&[head.as_bytes(), &half].concat())).collect();
    for _ in 0..4 {
        agent.runtime.spawn_blocking(|| sleep(Duration::from_secs(3)));
    }
    let busy = Duration::from_secs(3);
    let start = Instant::now();
    agent.runtime.spawn(async move {
        while start.elapsed() < busy {
            std::hint::spin_loop();
        }
    });
    sleep(Duration::from_millis(100));
    let blocked = agent.send(b"POST /v1/batches/1/start HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut slowest = Duration::ZERO;
    let mut asked = 0;
    while start.elapsed() < busy - Duration::from_millis(500) {
        let asked_at = Instant::now();
        let path = ["/livez", "/metrics", "/healthz"][asked % 3];
        assert_eq!(agent.get(path).0, 200);
        slowest = slowest.max(asked_at.elapsed());
        asked += 1;
        sleep(Duration::from_millis(10));
    }
    println!("the slowest of {asked} answers of a saturated agent took {slowest:?}");
    assert!(slowest < Duration::from_millis(100), "{slowest:?} of {asked}");
    blocked.set_nonblocking(true).unwrap();
    let pending = (&blocked).read(&mut [0]).unwrap_err();
    assert_eq!(pending.kind(), std::io::ErrorKind::WouldBlock, "the agent was busy all the while");
    blocked.set_nonblocking(false).unwrap();
    let mut answer = String::new();
    (&blocked).read_to_string(&mut answer).unwrap();
    assert!(answer.contains("404"), "it is answered once the agent has time: {answer}");
    drop(pushes);
}

#[test]
fn what_is_wrong_with_a_request_is_told_in_a_problem_document() {
    let agent = Agent::start();
    for (request, status, says) in [
        ("DELETE /livez", 405, "DELETE is not allowed here"),
        ("DELETE /livez", 405, "allow: GET,HEAD"),
        ("GET /v1/batches", 405, "allow: POST"),
        ("GET /nowhere", 404, "expected /livez"),
        ("GET /livez/", 404, "expected /livez"),
        ("GET /%FF%2F", 404, "expected /livez"),
        ("POST /v1/batches/%FF/start", 400, "UTF-8"),
        ("POST /v1/batches/1/finish?outcome=%", 400, "expected ok or failed"),
        ("POST /v1/batches/1/finish?outcome=maybe", 400, "expected ok or failed"),
    ] {
        let (found, answer) = agent.ask(&format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert_eq!(found, status, "{request}: {answer}");
        assert!(answer.contains("application/problem+json") && answer.contains(says), "{request}: {answer}");
    }
    for broken in ["GET / HTTP/9.9\r\n\r\n", "\u{0}\u{1}\r\n\r\n", "GET  \r\n\r\n"] {
        assert!(matches!(agent.ask(broken).0, 0 | 400 | 505), "{broken:?}");
    }
    assert_eq!(agent.get("/livez").0, 200);
}

#[test]
fn an_agent_is_alive_as_long_as_its_loops_turn() {
    let agent = Agent::start();
    let until = Instant::now() + Duration::from_secs(10);
    while agent.get("/readyz").0 != 200 {
        assert!(Instant::now() < until, "{}", agent.get("/readyz").1);
        sleep(Duration::from_millis(10));
    }
    let (_, parts) = agent.get("/healthz");
    for part in ["\"sampler\":{\"state\":\"ok\"", "\"shipper\":{\"state\":\"degraded\"", "\"since\":", "\"detail\":"] {
        assert!(parts.contains(part), "{part}: {parts}");
    }
    let (_, metrics) = agent.get("/metrics");
    assert!(metrics.contains("forebay_server_connections 1"), "{metrics}");
}

#[tokio::test]
async fn a_loop_that_stalls_fails_the_liveness_probe() {
    let (registry, metrics) = Metrics::new();
    let buffer = Buffer::new(forebay_shared::Bytes(1 << 20), metrics.clone());
    let facts = Facts { health: Health::default(), registry: Arc::new(registry), metrics, buffer, tap: None };
    let pulse = facts.health.pulse("sampler", Duration::from_millis(20));
    tokio::time::sleep(Duration::from_millis(60)).await;
    let problem = livez(State(facts.clone())).await.unwrap_err();
    assert!(problem.status == 503 && problem.detail.contains("the sampler has made no turn"), "{problem:?}");
    pulse.beat();
    assert!(livez(State(facts)).await.is_ok());
}
