//! How soon a batch that is pushed to an agent is at its aggregator, and what the agent costs at rest: a real agent
//! process, and an aggregator of this process that it ships to over TLS on loopback.
//!
//! ```text
//! cargo build --release -p forebay-agent --example at_once && target/release/examples/at_once target/release/forebay-agent
//! ```
//!
//! Arguments: the agent's binary, the number of batches (2000), seconds at rest before its memory is read (60).

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use forebay_shared::Frame;
use forebay_shared::serve::Server;
use forebay_shared::tls::ServerTls;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// When each batch was at the aggregator.
type Arrived = Arc<Mutex<HashMap<u64, Instant>>>;
type Outcome<T> = Result<T, Box<dyn Error>>;

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next().ok_or("expected the path of forebay-agent")?;
    let batches: usize = arguments.next().map_or(Ok(2000), |count| count.parse())?;
    let rest: u64 = arguments.next().map_or(Ok(60), |seconds| seconds.parse())?;
    let dir = std::env::temp_dir().join(format!("forebay-at-once-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let measured = measure(&binary, batches, rest, &dir).await;
    std::fs::remove_dir_all(&dir)?;
    measured
}

async fn measure(binary: &str, batches: usize, rest: u64, dir: &Path) -> Outcome<()> {
    let (arrived, aggregator) = aggregator(dir).await?;
    let (agent, address) = agent(binary, &aggregator, dir).await?;
    sleep(Duration::from_secs(rest)).await;
    println!("at rest for {rest} s: {}", resident(agent.0.id())?);
    let pushed = push(&address, batches).await?;
    sleep(Duration::from_secs(1)).await;
    let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    let mut waits: Vec<Duration> =
        pushed.iter().filter_map(|(id, at)| Some(arrived.get(id)?.saturating_duration_since(*at))).collect();
    waits.sort_unstable();
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or_default();
    let (p50, p99, most) = (at(0.5), at(0.99), waits.last().copied().unwrap_or_default());
    println!(
        "from push to ingest: {} of {batches} batches, p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?}",
        waits.len()
    );
    println!("after them: {}", resident(agent.0.id())?);
    Ok(())
}

async fn aggregator(dir: &Path) -> Outcome<(Arrived, String)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let arrived = Arrived::default();
    let seen = Arc::clone(&arrived);
    let take = move |body: Bytes| async move {
        let now = Instant::now();
        let frames = Frame::decode_all(&body).unwrap_or_default();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(frames.iter().flat_map(|frame| &frame.content.arrivals).map(|arrival| (arrival.batch_id, now)));
        format!("{{\"accepted\":{},\"duplicates\":0}}", frames.len())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    let app = Router::new().route("/api/v1/observations", post(take));
    let server = Server::new(listener).tls(Some(ServerTls::new(&certificate, &key)?));
    tokio::spawn(server.run(app, CancellationToken::new()));
    Ok((arrived, url))
}

async fn agent(binary: &str, aggregator: &str, dir: &Path) -> Outcome<(Agent, String)> {
    let (pids, address_file, token) = (dir.join("pids"), dir.join("address"), dir.join("token"));
    std::fs::write(&pids, std::process::id().to_string())?;
    std::fs::write(&token, "token")?;
    let mut command = Command::new(binary);
    command.args(["--listen=127.0.0.1:0", "--tap=push", &format!("--aggregator={aggregator}")]);
    command.arg(format!("--address-file={}", address_file.display()));
    command.arg(format!("--token-file={}", token.display()));
    command.arg(format!("--ca-file={}", dir.join("tls.crt").display()));
    command.arg(format!("--sampling=pids={}", pids.display()));
    let agent = Agent(command.spawn()?);
    for _ in 0..500 {
        if let Ok(address) = std::fs::read_to_string(&address_file) {
            return Ok((agent, address));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err("the agent does not start".into())
}

/// Pushes batches at random times, 40 a second, and gives when each was sent.
async fn push(address: &str, batches: usize) -> Outcome<Vec<(u64, Instant)>> {
    let client = forebay_shared::client::PushClient::new(format!("http://{address}"));
    let mut rng = fastrand::Rng::with_seed(1);
    let mut pushed = Vec::new();
    for _ in 0..batches {
        // Exponential: arrivals that know nothing of each other.
        sleep(Duration::from_secs_f64(-0.025 * (1.0 - rng.f64()).ln())).await;
        let at = Instant::now();
        let id = client.push("text/csv", b"a,b\n1,2\n".repeat(rng.usize(1..200))).await?;
        pushed.push((id.parse()?, at));
    }
    Ok(pushed)
}

fn resident(pid: u32) -> Outcome<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let lines = status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("RssAnon") || line.starts_with("Threads"));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "))
}
