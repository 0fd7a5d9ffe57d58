//! An aggregator on a bare socket, so that it can do what no HTTP server would.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_shared::problem::AHEAD;
use forebay_shared::{BootId, Frame, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

/// What the aggregator does with one request; it takes all frames once the script is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Take,
    Answer(u16, Option<&'static str>, &'static str),
    /// Takes the frames, and the answer breaks off.
    TakeAndBreakOff,
    /// Takes the frames, answers, and closes the connection without having said so.
    TakeAndClose,
    /// Takes the frames, and answers late.
    TakeLate(Duration),
    /// Takes the first frames only.
    TakeSome(usize),
    /// Takes the frames, and answers twice.
    TakeTwice,
    /// Resets the connection within the request's body.
    ResetInBody,
    /// Reads the request, and closes the connection.
    Close,
    /// Answers in no language of the web.
    Garbage,
}

#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// Keeps frames as the aggregator does: those above the highest sequence that it has of their boot.
pub(super) struct Aggregator {
    pub(super) address: SocketAddr,
    pub(super) kept: Mutex<Vec<Frame>>,
    pub(super) requests: Mutex<Vec<Seen>>,
    pub(super) authorization: Mutex<Option<String>>,
    script: Mutex<VecDeque<Act>>,
    watermarks: Mutex<HashMap<BootId, u64>>,
    refused: Mutex<(Vec<u64>, bool)>,
    checks_times: Mutex<bool>,
    connections: AtomicUsize,
    accepting: Mutex<Option<AbortHandle>>,
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.abort();
        }
    }
}

impl Aggregator {
    pub(super) async fn start(script: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    pub(super) fn on(listener: TcpListener, script: impl IntoIterator<Item = Act>) -> Arc<Self> {
        let aggregator = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            script: Mutex::new(script.into_iter().collect()),
            kept: Mutex::default(),
            requests: Mutex::default(),
            authorization: Mutex::default(),
            watermarks: Mutex::default(),
            refused: Mutex::default(),
            checks_times: Mutex::default(),
            connections: AtomicUsize::default(),
            accepting: Mutex::default(),
        });
        let weak = Arc::downgrade(&aggregator);
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(aggregator) = weak.upgrade() else { return };
                aggregator.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move { aggregator.serve(stream).await });
            }
        });
        *aggregator.accepting.lock().unwrap() = Some(accept.abort_handle());
        aggregator
    }

    /// Frames that are refused from now on, and whether the answer tells which.
    pub(super) fn refuse(&self, sequences: impl IntoIterator<Item = u64>, tells: bool) {
        *self.refused.lock().unwrap() = (sequences.into_iter().collect(), tells);
    }

    /// Frames that lie ahead are refused as early from now on.
    pub(super) fn check_times(&self) {
        *self.checks_times.lock().unwrap() = true;
    }

    pub(super) fn then(&self, script: impl IntoIterator<Item = Act>) {
        self.script.lock().unwrap().extend(script);
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn sequences(&self) -> Vec<u64> {
        self.kept.lock().unwrap().iter().map(|frame| frame.sequence).collect()
    }

    /// Sequences by boot, in the order of arrival.
    pub(super) fn boots(&self) -> Vec<(BootId, Vec<u64>)> {
        let mut boots: Vec<(BootId, Vec<u64>)> = Vec::new();
        for frame in &*self.kept.lock().unwrap() {
            match boots.iter_mut().find(|(boot, _)| *boot == frame.boot) {
                Some((_, sequences)) => sequences.push(frame.sequence),
                None => boots.push((frame.boot, vec![frame.sequence])),
            }
        }
        boots
    }

    async fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        while let Some(head) = read_head(&mut stream).await {
            let Some(answer) = self.request(&head, &mut stream).await else { return };
            if stream.get_mut().write_all(&answer.bytes).await.is_err() || answer.closes {
                return;
            }
        }
    }

    /// Nothing if the connection is to be closed at once.
    async fn request(&self, head: &str, stream: &mut BufReader<TcpStream>) -> Option<Answer> {
        assert!(head.starts_with("POST /api/v1/observations HTTP/1.1\r\n"), "{head}");
        let header = |name: &str| {
            let found =
                head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
            found.map(|(_, value)| value.to_owned())
        };
        assert_eq!(header("content-type").as_deref(), Some("application/vnd.forebay.frames"));
        *self.authorization.lock().unwrap() = header("authorization");
        let act = self.script.lock().unwrap().pop_front().unwrap_or(Act::Take);
        let len: usize = header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; len];
        if matches!(act, Act::ResetInBody) {
            self.requests.lock().unwrap().push(Seen { at: Instant::now(), frames: 0, bytes: 0 });
            // What was not read when a socket is closed resets it.
            let _ = stream.read_exact(&mut body[..len / 3]).await;
            return None;
        }
        stream.read_exact(&mut body).await.ok()?;
        let frames = Frame::decode_all(&body).unwrap();
        self.requests.lock().unwrap().push(Seen { at: Instant::now(), frames: frames.len(), bytes: len });
        match act {
            Act::Answer(status, after, body) => Some(Answer::of(status, after, body)),
            Act::Close | Act::ResetInBody => None,
            Act::Garbage => Some(Answer { bytes: b"220 mail.example ESMTP\r\n".to_vec(), closes: true }),
            act => self.judge(act, frames).await,
        }
    }

    async fn judge(&self, act: Act, mut frames: Vec<Frame>) -> Option<Answer> {
        if let Some(refusal) = self.refusal(&frames) {
            return Some(refusal);
        }
        if let Act::TakeSome(some) = act {
            frames.truncate(some);
        }
        let mut answer = Answer::of(200, None, &self.take(frames));
        match act {
            Act::TakeAndBreakOff => {
                answer.bytes.truncate(answer.bytes.len() - 6);
                answer.closes = true;
            }
            Act::TakeAndClose => answer.closes = true,
            Act::TakeLate(late) => sleep(late).await,
            Act::TakeTwice => answer.bytes.extend(answer.bytes.clone()),
            _ => {}
        }
        Some(answer)
    }

    fn refusal(&self, frames: &[Frame]) -> Option<Answer> {
        let (refused, tells) = &*self.refused.lock().unwrap();
        if let Some(at) = frames.iter().position(|frame| refused.contains(&frame.sequence)) {
            let problem = format!(r#"{{"detail": "bad", "field": "frames[{at}]"}}"#);
            return Some(Answer::of(422, None, if *tells { &problem } else { "" }));
        }
        let checks = *self.checks_times.lock().unwrap();
        let early = |frame: &Frame| checks && frame.content.closed_at > Timestamp::now();
        let at = frames.iter().position(early)?;
        let problem = format!(r#"{{"detail": "closedAt: 9 ms is 9 s {AHEAD}", "field": "frames[{at}]"}}"#);
        Some(Answer::of(503, Some("0"), &problem))
    }

    fn take(&self, frames: Vec<Frame>) -> String {
        let (mut accepted, mut duplicates) = (0, 0);
        for frame in frames {
            let mut watermarks = self.watermarks.lock().unwrap();
            if watermarks.get(&frame.boot).is_some_and(|highest| *highest >= frame.sequence) {
                duplicates += 1;
            } else {
                accepted += 1;
                watermarks.insert(frame.boot, frame.sequence);
                self.kept.lock().unwrap().push(frame);
            }
        }
        format!("{{\"accepted\":{accepted},\"duplicates\":{duplicates}}}")
    }
}

struct Answer {
    bytes: Vec<u8>,
    closes: bool,
}

impl Answer {
    fn of(status: u16, after: Option<&str>, body: &str) -> Self {
        let after = after.map_or_else(String::new, |after| format!("retry-after: {after}\r\n"));
        let location = if status == 302 { "location: http://127.0.0.1:1/\r\n" } else { "" };
        let bytes = format!("HTTP/1.1 {status} X\r\n{after}{location}content-length: {}\r\n\r\n{body}", body.len());
        Self { bytes: bytes.into_bytes(), closes: false }
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
