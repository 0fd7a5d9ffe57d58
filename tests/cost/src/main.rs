//! Does the data characteristic vector predict what a batch costs?
//!
//! ```text
//! sample files ─► cut, copied, rewritten, packed ─┬─► the agent's inspector ─► vector ─┐
//!                                                 └─► a processor ─► CPU time ─────────┴─► regression, whole sources left out
//! ```
//!
//! Processors are fixed, one a type: parse it as a component would, then aggregate. Nothing of a source is seen when its
//! batches are predicted, whatever their format: `cars.json` and `cars.msgpack` are one source.

mod batch;
mod cut;
mod features;
mod measure;
mod pack;
mod process;
mod regression;
mod report;
mod score;
mod tally;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (directory, times) = (args.next().map(PathBuf::from), args.next().map(PathBuf::from));
    let Some(directory) = directory else {
        bail!("expected: forebay-cost DIRECTORY-OF-BATCHES [FILE-OF-TIMES]");
    };
    let batches = batch::all(&directory).with_context(|| format!("cannot use `{}`", directory.display()))?;
    let times = measure::times(&batches, times.as_deref())?;
    report::print(&batches, &times);
    Ok(())
}
