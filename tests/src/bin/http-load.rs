//! What `tests/bench/http-tap` needs beside wrk: a target that takes bodies, a body to send, and requests at a fixed
//! rate, whose latency counts from when each was due.
//!
//! ```text
//! http-load body BYTES                                    a JSON body
//! http-load sink ADDRESS                                  answers 204 to whatever comes with a Content-Length
//! http-load paced ADDRESS FILE RATE CONNECTIONS SECONDS   posts FILE; prints quantiles of the latency in ms
//! ```

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["body", bytes] => body(bytes.parse()?),
        ["sink", address] => sink(address),
        ["paced", address, file, rate, connections, seconds] => {
            let body = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
            paced(address, &body, rate.parse()?, connections.parse()?, seconds.parse()?)
        }
        _ => bail!("expected body BYTES, sink ADDRESS or paced ADDRESS FILE RATE CONNECTIONS SECONDS"),
    }
}

/// An array of records, as an ingesting service is sent them.
fn body(bytes: usize) -> anyhow::Result<()> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut text = String::from("[");
    while text.len() < bytes {
        let (id, amount) = (rng.u32(..), f64::from(rng.u32(0..10_000_000)) / 100.0);
        let place = ["Basel", "Genève", "St. Gallen", "Chur"][rng.usize(..4)];
        text += &format!(
            r#"{{"id":{id},"at":"2026-03-0{}T10:00:00Z","amount":{amount},"place":"{place}","tags":["a","b"],"ok":true}},"#,
            rng.u8(1..10)
        );
    }
    let end = text.rfind("},").context("a body has at least one record")?;
    text.truncate(end + 1);
    text.push(']');
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn sink(address: &str) -> anyhow::Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        // A client that goes away ends its thread only.
        std::thread::spawn(move || drop(take(stream)));
    }
    Ok(())
}

fn take(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 256 << 10];
    let mut have = 0;
    loop {
        let head = loop {
            if let Some(end) = buffer[..have].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(have < buffer.len(), "the head is too long");
            let n = stream.read(&mut buffer[have..])?;
            ensure!(n > 0, "closed");
            have += n;
        };
        let mut left = length(&buffer[..head])?.saturating_sub(have - head);
        while left > 0 {
            let n = stream.read(&mut buffer)?;
            ensure!(n > 0, "closed");
            left = left.checked_sub(n).context("pipelined")?;
        }
        have = 0;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}

fn length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    let field = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    Ok(field.context("no Content-Length")?.trim().parse()?)
}

fn paced(address: &str, body: &[u8], rate: f64, connections: u32, seconds: f64) -> anyhow::Result<()> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    let every = Duration::from_secs_f64(f64::from(connections) / rate);
    let began = Instant::now();
    let sent: anyhow::Result<Vec<Vec<Duration>>> = std::thread::scope(|scope| {
        let post = |n| {
            let first = began + every.mul_f64(f64::from(n) / f64::from(connections));
            post(address, &request, first, every, began + Duration::from_secs_f64(seconds))
        };
        let threads: Vec<_> = (0..connections).map(|n| scope.spawn(move || post(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a sender panicked"))).collect()
    });
    let mut latencies = sent?.concat();
    latencies.sort_unstable();
    let at = |quantile: f64| latencies[((latencies.len() - 1) as f64 * quantile) as usize].as_secs_f64() * 1e3;
    ensure!(!latencies.is_empty(), "nothing was sent: expected more seconds or a higher rate");
    println!("{} {:.3} {:.3} {:.3}", latencies.len(), at(0.5), at(0.99), at(0.999));
    Ok(())
}

fn post(
    address: &str,
    request: &[u8],
    first: Instant,
    every: Duration,
    until: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (mut latencies, mut due, mut answer) = (Vec::new(), first, [0; 4096]);
    while due < until {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(request)?;
        let mut have = 0;
        while !answer[..have].windows(4).any(|four| four == b"\r\n\r\n") {
            let n = stream.read(&mut answer[have..])?;
            ensure!(n > 0, "closed in the middle of an answer");
            have += n;
        }
        ensure!(answer.starts_with(b"HTTP/1.1 204"), "not a 204: {}", String::from_utf8_lossy(&answer[..have]));
        latencies.push(due.elapsed());
        due += every;
    }
    Ok(latencies)
}
