//! gRPC: each message of a request's stream is a batch.
//!
//! ```text
//! message: compressed? (1 byte), length (4 bytes, big endian), that many bytes
//! ```
//!
//! A message is finished by its answer. Which answer belongs to which message is not on the wire, so: each message of
//! the response finishes the oldest one that is open, but for the last of a request that has ended, which the end of
//! the response finishes, with its status. So a call with one message, or a stream with one answer, takes until the
//! end, and a conversation is told turn by turn.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use forebay_shared::{Outcome, Timestamp};
use tokio::sync::OwnedSemaphorePermit;

use crate::tap::passing::{Ending, Observer, Passing};

const PREFIX: usize = 5;
/// Messages of one stream that wait for their answers. The oldest of more is taken as done, as is the oldest where there is
/// no place for one more over all calls.
const MOST_OPEN: usize = 4096;

/// Whether a body is a stream of messages. The text form of gRPC-Web is base64, and so a batch as a whole.
pub(super) fn is_stream(content_type: Option<&HeaderValue>) -> bool {
    let Some(essence) = content_type.and_then(|value| value.as_bytes().get(..16)) else { return false };
    essence.eq_ignore_ascii_case(b"application/grpc") && !content_type.is_some_and(is_text)
}

fn is_text(content_type: &HeaderValue) -> bool {
    content_type.as_bytes().windows(5).any(|five| five.eq_ignore_ascii_case(b"-text"))
}

/// What a message claims to be, from what its stream claims to be.
fn message_type(stream: &HeaderValue) -> Option<Arc<str>> {
    let text = stream.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    match text.split_once('+') {
        None | Some((_, "proto")) => Some("application/x-protobuf".into()),
        Some((_, format)) => Some(format!("application/{format}").into()),
    }
}

/// Finds the borders between messages, in whatever chunks they come.
#[derive(Default)]
struct Framing {
    prefix: [u8; PREFIX],
    have: usize,
    left: u64,
}

/// What comes next in a chunk.
#[derive(Debug, PartialEq)]
enum Piece {
    /// A message begins; it says if it is compressed, and its length.
    Begin { compressed: bool, length: u64 },
    /// So many bytes of it.
    Bytes(usize),
    /// It is whole.
    End,
}

impl Framing {
    /// Tells `piece` of what is in `chunk`, with where each begins.
    fn feed(&mut self, chunk: &[u8], mut piece: impl FnMut(usize, Piece)) {
        let mut at = 0;
        while at < chunk.len() {
            if self.left > 0 {
                let bytes = self.left.min((chunk.len() - at) as u64) as usize;
                piece(at, Piece::Bytes(bytes));
                (at, self.left) = (at + bytes, self.left - bytes as u64);
            } else {
                self.prefix[self.have] = chunk[at];
                (at, self.have) = (at + 1, self.have + 1);
                if self.have < PREFIX {
                    continue;
                }
                let [compressed, length @ ..] = self.prefix;
                (self.have, self.left) = (0, u32::from_be_bytes(length).into());
                piece(at, Piece::Begin { compressed: compressed != 0, length: self.left });
            }
            if self.left == 0 && self.have == 0 {
                piece(at, Piece::End);
            }
        }
    }
}

/// The messages of a call that have no answer yet.
#[derive(Default)]
pub(super) struct Call(Mutex<Open>);

#[derive(Default)]
struct Open {
    messages: VecDeque<(Ending, OwnedSemaphorePermit)>,
    /// No more messages will come.
    whole: bool,
    ended: Option<Outcome>,
}

impl Call {
    fn begin(&self, message: Ending, observer: &Observer, at: Timestamp) {
        let mut open = self.open();
        if let Some(outcome) = open.ended {
            return message.finish(at, outcome);
        }
        let mut place = observer.message();
        if place.is_none() || open.messages.len() == MOST_OPEN {
            open.answer(at);
            place = place.or_else(|| observer.message());
        }
        match place {
            Some(place) => open.messages.push_back((message, place)),
            None => message.finish(at, Outcome::Ok),
        }
    }

    fn answer(&self, at: Timestamp) {
        let mut open = self.open();
        if !open.whole || open.messages.len() > 1 {
            open.answer(at);
        }
    }

    pub(super) fn end(&self, at: Timestamp, outcome: Outcome) {
        let mut open = self.open();
        open.ended = Some(outcome);
        open.messages.drain(..).for_each(|(message, _)| message.finish(at, outcome));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The oldest message is taken as done.
    fn answer(&mut self, at: Timestamp) {
        if let Some((oldest, _)) = self.messages.pop_front() {
            oldest.finish(at, Outcome::Ok);
        }
    }
}

/// The request's side of a call.
pub(super) struct Messages {
    observer: Observer,
    content_type: Option<Arc<str>>,
    call: Arc<Call>,
    framing: Framing,
    current: Option<Passing>,
    started: bool,
}

impl Messages {
    /// Of a request with this Content-Type.
    pub(super) fn new(observer: Observer, content_type: &HeaderValue) -> Self {
        let (call, framing) = Default::default();
        Self { observer, content_type: message_type(content_type), call, framing, current: None, started: false }
    }

    pub(super) fn call(&self) -> Arc<Call> {
        Arc::clone(&self.call)
    }

    /// The target takes the stream.
    pub(super) fn start(&mut self) {
        self.started = true;
    }

    /// The next bytes keep it waiting.
    pub(super) fn pause(&mut self) {
        self.current.iter_mut().for_each(Passing::pause);
    }

    pub(super) fn chunk(&mut self, chunk: &Bytes, at: Timestamp) {
        let Self { observer, content_type, call, framing, current, started } = self;
        framing.feed(chunk, |from, piece| match piece {
            Piece::Begin { compressed, length } => {
                let claimed = if compressed { None } else { content_type.clone() };
                let mut message = observer.open(at, Some(length), claimed);
                call.begin(message.ending(), observer, at);
                if *started {
                    message.start(at);
                }
                *current = Some(message);
            }
            Piece::Bytes(bytes) => {
                if let Some(message) = current {
                    message.chunk(&chunk.slice(from..from + bytes));
                }
            }
            // Dropped, it ends.
            Piece::End => *current = None,
        });
    }
}

impl Drop for Messages {
    /// The request has ended, or no more of it comes.
    fn drop(&mut self) {
        self.current = None;
        self.call.open().whole = true;
    }
}

/// The response's side of a call.
pub(super) struct Answers {
    call: Arc<Call>,
    framing: Framing,
    status: Option<bool>,
}

impl Answers {
    pub(super) fn new(call: Arc<Call>, headers: &HeaderMap) -> Self {
        Self { call, framing: Framing::default(), status: status(headers) }
    }

    pub(super) fn chunk(&mut self, chunk: &[u8], at: Timestamp) {
        let Self { call, framing, .. } = self;
        framing.feed(chunk, |_, piece| {
            if let Piece::Begin { .. } = piece {
                call.answer(at);
            }
        });
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.status = status(trailers).or(self.status);
    }

    /// `http` is what the response's own status says.
    pub(super) fn end(&self, at: Timestamp, http: Outcome) {
        self.call.end(at, if self.status == Some(false) { Outcome::Failed } else { http });
    }
}

/// Whether `grpc-status` is OK, if it is there.
fn status(headers: &HeaderMap) -> Option<bool> {
    headers.get("grpc-status").map(|status| status.as_bytes() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_of_messages_is_told_from_other_bodies() {
        for (content_type, is) in [
            ("application/grpc", true),
            ("application/GRPC+proto", true),
            ("application/grpc-web+proto", true),
            ("application/grpc-web-text", false),
            ("application/json", false),
            ("application/g", false),
        ] {
            assert_eq!(is_stream(Some(&HeaderValue::from_static(content_type))), is, "{content_type}");
        }
        assert!(!is_stream(None));
        let claimed = |stream| message_type(&HeaderValue::from_static(stream)).unwrap();
        assert_eq!(&*claimed("application/grpc"), "application/x-protobuf");
        assert_eq!(&*claimed("application/grpc+json; x=1"), "application/json");
    }

    #[tokio::test]
    async fn answers_finish_messages_turn_by_turn_and_the_end_what_is_left() {
        let (_, metrics) = crate::metrics::Metrics::new();
        let buffer = crate::buffer::Buffer::new(forebay_shared::Bytes(1 << 20), metrics.clone());
        let tap = crate::tap::Tap::new(buffer, metrics);
        let (inspectors, _thread) = crate::tap::inspector::Inspectors::start(tap.0.inspection.clone()).unwrap();
        let observer = Observer::new(tap.clone(), inspectors);
        let stream = HeaderValue::from_static("application/grpc");
        let at = Timestamp::now();
        let mut messages = Messages::new(observer, &stream);
        let mut answers = Answers::new(messages.call(), &HeaderMap::new());
        messages.start();
        messages.chunk(&Bytes::from([0, 0, 0, 0, 1, 7].repeat(3)), at);
        assert_eq!(tap.open(), 3);
        answers.chunk(&[0, 0, 0, 0, 2], at);
        assert_eq!(tap.open(), 2, "an answer's first bytes finish one");
        answers.chunk(&[1, 1, 0, 0, 0, 0, 0], at);
        assert_eq!(tap.open(), 1);
        drop(messages);
        answers.chunk(&[0, 0, 0, 0, 0], at);
        assert_eq!(tap.open(), 1, "the last of a request that has ended waits for the status");
        answers.trailers(&HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("13"))]));
        answers.end(at, Outcome::Ok);
        assert_eq!(tap.open(), 0);
    }

    proptest! {
        #[test]
        fn messages_are_found_in_whatever_chunks_they_come(
            lengths in prop::collection::vec(0..40usize, 0..12),
            sizes in prop::collection::vec(1..17usize, 1..9),
        ) {
            let mut stream = Vec::new();
            for (n, length) in lengths.iter().enumerate() {
                stream.push(u8::from(n % 2 == 1));
                stream.extend((*length as u32).to_be_bytes());
                stream.extend(vec![n as u8; *length]);
            }
            let (mut framing, mut found, mut whole) = (Framing::default(), Vec::new(), 0);
            let (mut rest, mut sizes) = (&stream[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                framing.feed(chunk, |from, piece| match piece {
                    Piece::Begin { compressed, length } => found.push((compressed, length, Vec::new())),
                    Piece::Bytes(n) => found.last_mut().unwrap().2.extend(&chunk[from..from + n]),
                    Piece::End => whole += 1,
                });
                rest = after;
            }
            let sent = lengths.iter().enumerate().map(|(n, len)| (n % 2 == 1, *len as u64, vec![n as u8; *len]));
            let sent: Vec<_> = sent.collect();
            prop_assert_eq!(whole, sent.len());
            prop_assert_eq!(found, sent);
        }
    }
}
