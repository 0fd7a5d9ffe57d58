//! Agents by the thousand, from one process: each has its own token and TLS connection, samples at 1 Hz and ships a frame
//! each 5 s, as `forebay-agent` does.
//!
//! `forebay-fleet prepare FOLDER AGENTS COMPONENTS` writes the manifest and the tokens;
//! `forebay-fleet run FOLDER AGENTS COMPONENTS ADDRESS SECONDS PID` sends, and tells how it went and what the aggregator
//! with that process id took. FOLDER holds the CA, `ca.pem`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use forebay_shared::{Backlog, BootId, Bytes, Content, Frame, ResourceSample, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Samples of a frame, a second apart.
const SAMPLES: u64 = 5;
/// Connections opened a second at the start.
const OPENED_A_SECOND: u64 = 500;
/// What an agent waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Agents that share an address of the loopback network.
const AGENTS_AN_ADDRESS: u64 = 2500;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["prepare", folder, agents, components] => prepare(Path::new(folder), agents.parse()?, components.parse()?),
        ["run", folder, agents, components, address, seconds, pid] => {
            let fleet = Fleet {
                agents: agents.parse()?,
                components: components.parse()?,
                address: address.parse()?,
                seconds: seconds.parse()?,
                pid: pid.parse()?,
                tls: connector(Path::new(folder))?,
                tally: Tally::default(),
            };
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run(fleet))
        }
        _ => bail!("expected `prepare FOLDER AGENTS COMPONENTS` or `run FOLDER AGENTS COMPONENTS ADDRESS SECONDS PID`"),
    }
}

fn prepare(folder: &Path, agents: u64, components: u64) -> anyhow::Result<()> {
    let component = |at: u64| {
        format!(
            "    - name: c{at}\n      container: app\n      \
             targetRef: {{ apiVersion: apps/v1, kind: Deployment, name: c{at} }}\n      resources: {{ cpu: 500m }}\n"
        )
    };
    let manifest = format!(
        "apiVersion: forebay.io/v1alpha1\nkind: Pipeline\nmetadata: {{ name: many, namespace: fleet }}\nspec:\n  \
         components:\n{}",
        (0..components).map(component).collect::<String>()
    );
    std::fs::write(folder.join("pipeline.yaml"), manifest)?;
    let agent = |at: u64| {
        serde_json::json!({
            "token": token(at), "component": format!("fleet/Deployment.apps/c{}/app", at % components),
            "pod": format!("pod-{at}"), "uid": format!("uid-{at}"),
        })
    };
    let agents: Vec<_> = (0..agents).map(agent).collect();
    std::fs::write(folder.join("agents.json"), serde_json::to_string(&agents)?)?;
    Ok(())
}

fn token(at: u64) -> String {
    format!("a-token-of-the-fleet-{at:06}")
}

fn connector(folder: &Path) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(folder.join("ca.pem"))? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

struct Fleet {
    agents: u64,
    components: u64,
    address: SocketAddr,
    seconds: u64,
    pid: u32,
    tls: TlsConnector,
    tally: Tally,
}

/// What became of the requests of the counted time, and all that was acknowledged.
struct Tally {
    acknowledged: AtomicU64,
    counted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    slowest_us: AtomicU64,
    /// Requests by their time, each bucket 2 % longer than the one before, from 1 µs.
    times: Vec<AtomicU64>,
}

impl Default for Tally {
    fn default() -> Self {
        let zero = AtomicU64::default;
        let times = (0..1000).map(|_| zero()).collect();
        Self { acknowledged: zero(), counted: zero(), refused: zero(), failed: zero(), slowest_us: zero(), times }
    }
}

impl Tally {
    fn took(&self, time: Duration) {
        let us = time.as_micros().max(1) as u64;
        let bucket = ((us as f64).ln() / 1.02_f64.ln()) as usize;
        self.times[bucket.min(self.times.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.slowest_us.fetch_max(us, Ordering::Relaxed);
        self.counted.fetch_add(1, Ordering::Relaxed);
    }

    /// The time that a share of the requests took at most, ms.
    fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.counted.load(Ordering::Relaxed) as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.times.iter().enumerate() {
            seen += count.load(Ordering::Relaxed);
            if seen >= wanted {
                return 1.02_f64.powi(bucket as i32 + 1) / 1000.0;
            }
        }
        f64::NAN
    }
}

async fn run(fleet: Fleet) -> anyhow::Result<()> {
    let fleet = Arc::new(fleet);
    let start = Instant::now();
    let opening = Duration::from_secs(fleet.agents / OPENED_A_SECOND + 5);
    let (from, until) = (start + opening, start + opening + Duration::from_secs(fleet.seconds));
    let agents: Vec<_> = (0..fleet.agents).map(|at| tokio::spawn(agent(fleet.clone(), at, from, until))).collect();
    sleep_until(from.into()).await;
    let before = (cpu_seconds(fleet.pid)?, cpu_seconds(std::process::id())?);
    sleep_until(until.into()).await;
    let after = (cpu_seconds(fleet.pid)?, cpu_seconds(std::process::id())?);
    for agent in agents {
        agent.await.context("an agent panicked")?;
    }
    let Tally { acknowledged, counted, refused, failed, slowest_us, .. } = &fleet.tally;
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let seconds = fleet.seconds as f64;
    println!("{} agents of {} components, {} s after all had connected", fleet.agents, fleet.components, fleet.seconds);
    println!(
        "frames a second: {:.0}; samples a second: {:.0}",
        of(counted) as f64 / seconds,
        (of(counted) * SAMPLES) as f64 / seconds
    );
    println!(
        "acknowledged after, ms: p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, longest {:.1}",
        fleet.tally.quantile(0.5),
        fleet.tally.quantile(0.9),
        fleet.tally.quantile(0.99),
        fleet.tally.quantile(0.999),
        of(slowest_us) as f64 / 1000.0
    );
    println!("refused: {}; failed: {}; acknowledged in all: {}", of(refused), of(failed), of(acknowledged));
    println!(
        "CPU, cores: aggregator {:.2}, this generator {:.2}",
        (after.0 - before.0) / seconds,
        (after.1 - before.1) / seconds
    );
    for line in std::fs::read_to_string(format!("/proc/{}/status", fleet.pid))?.lines() {
        if line.starts_with("VmHWM") || line.starts_with("VmRSS") || line.starts_with("RssAnon") {
            println!("aggregator: {}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    Ok(())
}

/// CPU-seconds of a process so far.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the aggregator is gone")?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("a stat without a name")?.1.split_whitespace().collect();
    // Ticks of 10 ms: what the kernel tells everywhere.
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

/// One agent: connects at its turn, then a frame each 5 s until the end. What is not acknowledged is sent again.
async fn agent(fleet: Arc<Fleet>, at: u64, from: Instant, until: Instant) {
    sleep(Duration::from_micros(at * 1_000_000 / OPENED_A_SECOND)).await;
    let every = Duration::from_secs(SAMPLES);
    let mut open = None;
    let mut next = Instant::now();
    let mut random = fastrand::Rng::with_seed(at);
    let (mut sequence, mut cpu) = (0, 200_000.0_f64);
    while next < until {
        sleep_until(next.into()).await;
        let frame = frame(at, sequence, &mut cpu, &mut random);
        let Ok(body) = frame.encode() else { return };
        let sent = Instant::now();
        loop {
            let answer = timeout(PATIENCE, post(&fleet, at, &mut open, &body)).await;
            match answer {
                Ok(Ok(200)) => break,
                Ok(Ok(_)) => drop(fleet.tally.refused.fetch_add(1, Ordering::Relaxed)),
                Ok(Err(_)) | Err(_) => {
                    open = None;
                    fleet.tally.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            if Instant::now() > until + PATIENCE {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        fleet.tally.acknowledged.fetch_add(1, Ordering::Relaxed);
        if sent >= from && sent < until {
            fleet.tally.took(sent.elapsed());
        }
        sequence += 1;
        next += every;
    }
}

/// Five seconds of a busy container.
fn frame(at: u64, sequence: u64, cpu: &mut f64, random: &mut fastrand::Rng) -> Frame {
    let now = Timestamp::now();
    let sample = |second: u64, cpu: f64, noise: u64| ResourceSample {
        at: Timestamp(now.0 - (SAMPLES - 1 - second) * 1000),
        interval_ms: 1000,
        cpu_us: Some(cpu as u64),
        cpu_user_us: Some((cpu * 0.8) as u64),
        cpu_system_us: Some((cpu * 0.2) as u64),
        cpu_periods: Some(10),
        cpu_throttled_periods: Some(0),
        memory: Some(Bytes((256 << 20) + noise * 4096)),
        memory_working_set: Some(Bytes((200 << 20) + noise * 4096)),
        io_read_bytes: Some(noise * 512),
        io_write_bytes: Some(noise * 1024),
        pids: Some(24),
        backlog: Some(Backlog { waiting: noise % 4, in_service: 1, ..Backlog::default() }),
        ..ResourceSample::default()
    };
    let samples = (0..SAMPLES).map(|second| {
        *cpu = (*cpu + 20_000.0 * (random.f64() - 0.5)).clamp(10_000.0, 900_000.0);
        sample(second, *cpu, random.u64(0..512))
    });
    let content =
        Content { closed_at: now, sampling: "cgroup-v2".into(), samples: samples.collect(), ..Content::default() };
    Frame { boot: BootId(u128::from(at) + 1), sequence, first_retained: sequence, content }
}

/// Sends a frame, over the open connection or a new one; gives the status of the answer.
async fn post(fleet: &Fleet, at: u64, open: &mut Option<TlsStream<TcpStream>>, body: &[u8]) -> anyhow::Result<u16> {
    let stream = match open {
        Some(stream) => stream,
        None => open.insert(connect(fleet, at).await?),
    };
    let head = format!(
        "POST /api/v1/observations HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/vnd.forebay.frames\r\nforebay-sent-at: {}\r\ncontent-length: {}\r\n\r\n",
        token(at),
        Timestamp::now().0,
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the connection ended");
        }
        if let Some(status) = status(&answer) {
            return Ok(status);
        }
    }
}

/// The status of an answer that has come whole.
fn status(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    (body.len() >= length.unwrap_or(0)).then(|| head.get(9..12)?.parse().ok())?
}

async fn connect(fleet: &Fleet, at: u64) -> anyhow::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    // A node has one address and some agents; the aggregator bounds what comes from one.
    let from = format!("127.0.0.{}:0", 2 + at / AGENTS_AN_ADDRESS);
    socket.bind(from.parse()?)?;
    let stream = socket.connect(fleet.address).await?;
    stream.set_nodelay(true)?;
    Ok(fleet.tls.connect(ServerName::try_from("localhost")?, stream).await?)
}
