//! CPU time of a processor, by the thread's own clock.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

use crate::batch::Batch;
use crate::process;

/// Times that each batch is measured; the median counts. A slow phase of the machine meets all batches, one round at a time.
const ROUNDS: usize = 7;
/// A round works on a batch for so long, seconds: the clock takes about a microsecond.
const LONG_ENOUGH: f64 = 0.4e-3;

fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// CPU-seconds of each batch: those in the file, if there is one, else measured and, if it is named, written there.
pub(crate) fn times(batches: &[Batch], file: Option<&Path>) -> Result<Vec<f64>> {
    if let Some(file) = file.filter(|file| file.exists()) {
        return read(batches, file).with_context(|| format!("cannot use `{}`", file.display()));
    }
    let times = measured(batches)?;
    if let Some(file) = file {
        let lines = batches.iter().zip(&times).map(|(batch, time)| format!("{time:e}\t{}\n", batch.name));
        fs::write(file, lines.collect::<String>()).with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    Ok(times)
}

fn read(batches: &[Batch], file: &Path) -> Result<Vec<f64>> {
    let text = fs::read_to_string(file)?;
    let known: HashMap<_, _> =
        text.lines().filter_map(|line| line.split_once('\t')).map(|(t, name)| (name, t)).collect();
    let time = |batch: &Batch| {
        let time =
            known.get(&*batch.name).with_context(|| format!("no time of `{}`: expected a line of it", batch.name))?;
        time.parse().with_context(|| format!("`{time}` is no number of seconds"))
    };
    batches.iter().map(time).collect()
}

fn measured(batches: &[Batch]) -> Result<Vec<f64>> {
    let mut repeats = Vec::new();
    for batch in batches {
        process::run(batch)?;
        repeats.push((LONG_ENOUGH / once(batch, 1)?.max(1e-7)).ceil() as u32);
    }
    let mut rounds = vec![Vec::with_capacity(ROUNDS); batches.len()];
    for _ in 0..ROUNDS {
        for ((batch, repeats), times) in batches.iter().zip(&repeats).zip(&mut rounds) {
            times.push(once(batch, *repeats)?);
        }
    }
    Ok(rounds.into_iter().map(median).collect())
}

fn once(batch: &Batch, repeats: u32) -> Result<f64> {
    let start = now();
    for _ in 0..repeats {
        black_box(process::run(black_box(batch))?);
    }
    Ok((now() - start) / f64::from(repeats))
}

/// The middle one; of none, not a number.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
