//! A worker of the demo's pipeline: one replica of a stage, a process of its own.
//!
//! ```text
//! stdin ──► reader thread ──┬─ batch ──► stage: parse, work, write ──► stdout
//!                           └─ share ──► pace: sleeps so that CPU time stays within the share
//! ```
//!
//! It works on one batch at a time, on one thread. When its stdin ends, whoever started it is gone, and it goes too.

mod cpu;
mod ingest;
mod load;
mod pace;
mod profile;
mod record;
mod transform;
pub(super) mod wire;

use std::io::{self, Write};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::Context;

use self::ingest::Ingest;
use self::load::Load;
use self::pace::Pace;
use self::transform::Transform;
use self::wire::{Answer, Message, Order};

/// Batches that may wait inside a worker: it is given the next one when it is done with the last.
const WAITING: usize = 1;

/// What a worker is.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The stage of the pipeline.
    #[arg(long)]
    stage: Stage,
}

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(super) enum Stage {
    /// NDJSON in, checked and normalised NDJSON out.
    Ingest,
    /// NDJSON in, near-duplicates marked, CSV out.
    Transform,
    /// CSV in, an index out.
    Load,
}

impl Stage {
    /// Every stage, in the order of the data.
    pub(super) const ALL: [Self; 3] = [Self::Ingest, Self::Transform, Self::Load];

    /// The component's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Transform => "transform",
            Self::Load => "load",
        }
    }

    /// The media type of the batches that it takes.
    pub(super) fn takes(self) -> &'static str {
        match self {
            Self::Ingest | Self::Transform => "application/x-ndjson",
            Self::Load => "text/csv",
        }
    }
}

/// Works on the batches that come in over stdin until it ends.
///
/// # Errors
/// If stdout can't be written.
pub fn main(args: Args) -> anyhow::Result<()> {
    let share = Arc::new(AtomicU64::new(0));
    let (sender, orders) = sync_channel(WAITING);
    thread::Builder::new()
        .name("reader".into())
        .spawn({
            let share = share.clone();
            move || read(&share, &sender)
        })
        .context("cannot start the reader thread")?;
    work(args.stage, &orders, Pace::new(share))
}

/// Hands on batches and applies shares at once; ends the process with its input.
fn read(share: &AtomicU64, sender: &SyncSender<(u64, Vec<u8>)>) {
    let mut stdin = io::stdin().lock();
    loop {
        match Order::read(&mut stdin) {
            Ok(Order::Share(millicores)) => share.store(millicores, Ordering::Relaxed),
            Ok(Order::Batch { number, bytes }) => {
                if sender.send((number, bytes)).is_err() {
                    exit(1);
                }
            }
            Err(_) => exit(0),
        }
    }
}

fn work(stage: Stage, orders: &Receiver<(u64, Vec<u8>)>, mut pace: Pace) -> anyhow::Result<()> {
    let mut run = Run::new(stage);
    let mut stdout = io::stdout().lock();
    let mut send = |message: Message| message.write(&mut stdout).and_then(|()| stdout.flush());
    send(Message::Hello).context("cannot write to stdout")?;
    while let Ok((number, bytes)) = orders.recv() {
        let before = cpu::thread_time();
        let input_crc = crc32c::crc32c(&bytes);
        let output = run.work(&bytes, &mut || pace.keep()).map_err(|problem| format!("batch {number}: {problem}"));
        let cpu_us = cpu::thread_time().saturating_sub(before).as_micros() as u64;
        let answer = Answer { number, input_crc, cpu_us, output };
        send(Message::Answer(answer)).context("cannot write to stdout")?;
    }
    Ok(())
}

/// A stage with what it remembers from batch to batch.
enum Run {
    Ingest(Box<Ingest>),
    Transform(Box<Transform>),
    Load(Load),
}

impl Run {
    fn new(stage: Stage) -> Self {
        match stage {
            Stage::Ingest => Self::Ingest(Box::new(Ingest::new())),
            Stage::Transform => Self::Transform(Box::default()),
            Stage::Load => Self::Load(Load),
        }
    }

    /// Works on one batch; calls `pace` often.
    fn work(&mut self, batch: &[u8], pace: &mut dyn FnMut()) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::Ingest(stage) => stage.work(batch, pace),
            Self::Transform(stage) => stage.work(batch, pace),
            Self::Load(stage) => stage.work(batch, pace),
        }
    }
}

/// What is wrong with a batch.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("line {line}: {problem}; expected a request in JSON")]
    Json { line: usize, problem: String },
    #[error("line {line}: {found} tokens, expected context_tokens + generated_tokens = {expected}")]
    Tokens { line: usize, found: usize, expected: u64 },
    #[error("line {line}: token {at} is empty or its log-probability is above 0")]
    Token { line: usize, at: usize },
    #[error("row {row}: {problem}; expected the columns that transform writes")]
    Csv { row: usize, problem: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::workload::{Part, Workload};

    /// Takes a batch through all stages.
    fn through(batch: &[u8]) -> Result<(String, Vec<u8>), Malformed> {
        let mut pace = || {};
        let normalised = Run::new(Stage::Ingest).work(batch, &mut pace)?;
        let table = Run::new(Stage::Transform).work(&normalised, &mut pace)?;
        let index = Run::new(Stage::Load).work(&table, &mut pace)?;
        Ok((String::from_utf8(table).unwrap(), index))
    }

    fn batch(index: u64) -> Vec<u8> {
        Workload::new(3, false).unwrap().due(Part::Replay, index).unwrap().bytes
    }

    #[test]
    fn a_batch_goes_through_all_stages_record_by_record() {
        let batch = batch(0);
        let (table, index) = through(&batch).unwrap();
        let records = batch.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(table.lines().count(), 1 + records);
        assert!(!index.is_empty());
    }

    #[test]
    fn a_stage_gives_the_same_bytes_for_the_same_bytes() {
        assert_eq!(through(&batch(1)).unwrap(), through(&batch(1)).unwrap());
    }

    #[test]
    fn a_malformed_batch_is_refused_with_the_line_that_is_wrong() {
        let good = batch(2);
        let cut = &good[..good.len() - 20];
        let lines = good.iter().filter(|byte| **byte == b'\n').count();
        let error = through(cut).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {lines}: ")) && error.contains("expected a request"), "{error}");
        let request = |tokens: &str| {
            format!(r#"{{"id":"a","at":1,"model":"m","context_tokens":1,"generated_tokens":1,"tokens":[{tokens}]}}"#)
        };
        for (tokens, says) in [
            (r#"["ba",-1.0]"#, "1 tokens, expected context_tokens + generated_tokens = 2"),
            (r#"["ba",-1.0],["",-1.0]"#, "token 1 is empty"),
            (r#"["ba",-1.0],["ba",0.5]"#, "token 1 is empty or its log-probability"),
            (r#"["ba",-1.0],["ba"]"#, "expected a request in JSON"),
        ] {
            let error = through(request(tokens).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{tokens}: {error}");
        }
        let error = Run::new(Stage::Load).work(b"id,at\n1,2\n", &mut || {}).unwrap_err().to_string();
        assert!(error.starts_with("row 1: "), "{error}");
    }

    #[test]
    fn near_duplicates_are_found() {
        let workload = Workload::new(3, false).unwrap();
        let (mut ingest, mut transform) = (Run::new(Stage::Ingest), Run::new(Stage::Transform));
        let mut marked = 0;
        for due in (0..40).filter_map(|index| workload.due(Part::Replay, index)) {
            let normalised = ingest.work(&due.bytes, &mut || {}).unwrap();
            let table = transform.work(&normalised, &mut || {}).unwrap();
            let mut reader = csv::Reader::from_reader(&table[..]);
            marked += reader.records().filter(|row| !row.as_ref().unwrap()[7].is_empty()).count();
        }
        assert!((10..120).contains(&marked), "{marked}");
    }
}
