//! The workload: a recorded one, replayed.
//!
//! When requests came and how long they were is from the Azure LLM inference trace 2023 (see `README.md` beside this
//! file); what they said is made up from a seed. The requests of one second of the trace are one batch. The trace's
//! first 24 minutes are the history that models are trained on, the rest is what the demo replays.

use std::time::Duration;

use anyhow::{Context, bail};
use fastrand::Rng;

use super::text::Words;

/// Origin and licence, for the banner.
pub(super) const ORIGIN: &str = "Azure LLM inference trace 2023, conversation (Microsoft, CC-BY 4.0)";
/// `gap_ms,context,generated`, a request a line.
const TRACE: &str = include_str!("azure_llm_conv.csv");
/// Where the history ends and the replay starts, in seconds of the trace.
pub(super) const SPLIT_SECONDS: usize = 24 * 60;
/// One in so many batches is malformed, if at all: about one a minute of the trace.
const MALFORMED_EVERY: u64 = 60;
/// One in so many requests says nearly what another one of its time said.
const NEAR_DUPLICATE_EVERY: u64 = 3;
/// Different texts that near-duplicates go round at a time.
const SHARED_TEXTS: u64 = 8;
/// One in so many words of a near-duplicate is another one.
const EDIT_EVERY: u32 = 20;

/// One request of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    at_ms: u64,
    context: u32,
    generated: u32,
}

/// Which part of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Minutes 0 to 24.
    History,
    /// From minute 24 on; at the end it starts again from there.
    Replay,
}

/// The requests, by the second of the trace in which they came.
pub(super) struct Workload {
    seconds: Vec<Vec<Request>>,
    words: Words,
    seed: u64,
    malformed: bool,
}

/// A batch to be put, at a time of the trace.
pub(super) struct Due {
    /// Time of the trace since the part's start: the end of the batch's second.
    pub(super) after: Duration,
    /// The batch: NDJSON, a request a line.
    pub(super) bytes: Vec<u8>,
}

impl Workload {
    /// The committed trace, with texts made from `seed`.
    pub(super) fn new(seed: u64, malformed: bool) -> anyhow::Result<Self> {
        let requests = parse(TRACE).context("azure_llm_conv.csv")?;
        let length = requests.last().map_or(0, |last| last.at_ms / 1000 + 1) as usize;
        let mut seconds = vec![Vec::new(); length];
        for request in requests {
            seconds[(request.at_ms / 1000) as usize].push(request);
        }
        Ok(Self { seconds, words: Words::new(), seed, malformed })
    }

    /// Length of a part.
    pub(super) fn length(&self, part: Part) -> Duration {
        let (from, to) = self.bounds(part);
        Duration::from_secs((to - from) as u64)
    }

    /// The batch of second `index` of a part, counted on over the part's end; none if nobody asked in that second.
    pub(super) fn due(&self, part: Part, index: u64) -> Option<Due> {
        let (from, to) = self.bounds(part);
        let length = (to - from) as u64;
        let second = from as u64 + index % length;
        let requests = &self.seconds[second as usize];
        if requests.is_empty() {
            return None;
        }
        let mut bytes = Vec::new();
        for (at, request) in requests.iter().enumerate() {
            self.write(request, &format!("{}-{second}-{at}", index / length), &mut bytes);
        }
        if self.malformed && second.is_multiple_of(MALFORMED_EVERY) {
            bytes.truncate(bytes.len() / 2);
        }
        Some(Due { after: Duration::from_secs(index + 1), bytes })
    }

    fn bounds(&self, part: Part) -> (usize, usize) {
        match part {
            Part::History => (0, SPLIT_SECONDS),
            Part::Replay => (SPLIT_SECONDS, self.seconds.len()),
        }
    }

    /// `{"id":…,"at":…,"model":…,"context_tokens":…,"generated_tokens":…,"tokens":[["word",-1.23],…]}`
    fn write(&self, request: &Request, id: &str, out: &mut Vec<u8>) {
        let Request { at_ms, context, generated } = *request;
        let model = ["conv-7b", "conv-13b", "conv-70b"][(at_ms % 3) as usize];
        let head = format!(
            r#"{{"id":"{id}","at":{at_ms},"model":"{model}","context_tokens":{context},"generated_tokens":{generated},"tokens":["#
        );
        out.extend_from_slice(head.as_bytes());
        let (mut text, mut edits) = self.texts(at_ms);
        for at in 0..context + generated {
            let shared = self.words.draw(&mut text);
            let word = if edits.u32(..EDIT_EVERY) == 0 { self.words.draw(&mut edits) } else { shared };
            let separator = if at == 0 { "" } else { "," };
            write_token(separator, word, edits.u32(..), out);
        }
        out.extend_from_slice(b"]}\n");
    }

    /// Where a request's text comes from, and what is edited in it.
    fn texts(&self, at_ms: u64) -> (Rng, Rng) {
        let mut own = Rng::with_seed(self.seed ^ at_ms.rotate_left(32));
        let shared = own.u64(..NEAR_DUPLICATE_EVERY) == 0;
        let text = if shared { at_ms / 60_000 * SHARED_TEXTS + own.u64(..SHARED_TEXTS) } else { own.u64(..) };
        (Rng::with_seed(self.seed.wrapping_add(text)), own)
    }
}

/// `["word",-1.23]`: one in eight starts with a space and a capital, as the tokens of texts do.
fn write_token(separator: &str, word: &str, bits: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(separator.as_bytes());
    out.extend_from_slice(b"[\"");
    match word.split_at_checked(1) {
        Some((first, rest)) if bits.is_multiple_of(8) => {
            out.push(b' ');
            out.extend(first.bytes().map(|letter| letter.to_ascii_uppercase()));
            out.extend_from_slice(rest.as_bytes());
        }
        _ => out.extend_from_slice(word.as_bytes()),
    }
    let hundredths = bits / 8 % 600;
    let digit = |value: u32| b'0' + (value % 10) as u8;
    out.extend_from_slice(b"\",-");
    out.extend_from_slice(&[digit(hundredths / 100), b'.', digit(hundredths / 10), digit(hundredths), b']']);
}

fn parse(text: &str) -> anyhow::Result<Vec<Request>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    if reader.headers()? != ["gap_ms", "context", "generated"][..] {
        bail!("expected the header gap_ms,context,generated, found {:?}", reader.headers()?);
    }
    let mut at_ms = 0;
    let mut requests = Vec::new();
    for row in reader.deserialize() {
        let (gap_ms, context, generated): (u64, u32, u32) = row?;
        at_ms += gap_ms;
        requests.push(Request { at_ms, context, generated });
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(seed: u64) -> Vec<Vec<u8>> {
        let workload = Workload::new(seed, false).unwrap();
        (0..40).filter_map(|index| workload.due(Part::Replay, index)).map(|due| due.bytes).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(batches(7), batches(7));
        assert_ne!(batches(7), batches(8));
    }

    #[test]
    fn the_whole_trace_is_there() {
        let workload = Workload::new(0, false).unwrap();
        assert_eq!(workload.seconds.iter().map(Vec::len).sum::<usize>(), 19_366);
        assert_eq!(workload.length(Part::History), Duration::from_secs(24 * 60));
        assert_eq!(workload.length(Part::Replay), Duration::from_secs(3502 - 24 * 60));
    }

    #[test]
    fn a_batch_is_as_long_as_its_tokens_are_many() {
        let workload = Workload::new(0, false).unwrap();
        for index in 0..200 {
            let Some(due) = workload.due(Part::Replay, index) else { continue };
            let requests = &workload.seconds[SPLIT_SECONDS + index as usize];
            let tokens: u32 = requests.iter().map(|request| request.context + request.generated).sum();
            let per_token = (due.bytes.len() - 100 * requests.len()) as f64 / f64::from(tokens);
            assert!((10.0..20.0).contains(&per_token), "second {index}: {per_token} bytes a token");
        }
    }

    #[test]
    fn the_replay_starts_again_at_its_end_with_ids_of_its_own() {
        let workload = Workload::new(0, false).unwrap();
        let length = workload.length(Part::Replay).as_secs();
        let first = workload.due(Part::Replay, 5).unwrap();
        let again = workload.due(Part::Replay, 5 + length).unwrap();
        assert_eq!(again.after, first.after + Duration::from_secs(length));
        assert!(first.bytes.starts_with(b"{\"id\":\"0-") && again.bytes.starts_with(b"{\"id\":\"1-"));
    }

    #[test]
    fn malformed_batches_are_there_only_if_asked_for() {
        let whole = Workload::new(0, false).unwrap();
        let broken = Workload::new(0, true).unwrap();
        let differ = |index: &u64| {
            let bytes = |workload: &Workload| workload.due(Part::Replay, *index).map(|due| due.bytes);
            bytes(&whole) != bytes(&broken)
        };
        assert_eq!((0..600).filter(differ).count(), 10);
    }
}
