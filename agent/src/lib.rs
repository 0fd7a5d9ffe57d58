//! Forebay's sidecar: samples what a component uses, inspects the batches that it handles, and ships both.
//!
//! ```text
//! cgroup, /proc ──► sampler ─────────────┐
//!                                        ├──► buffer ──► shipper ──► aggregator
//! batches ──► tap ──► characteristics ───┘
//! ```
//!
//! It lives in somebody else's pod: memory is bounded, nothing waits for it, and no failure of its own reaches the
//! component. One thread does all the work, but for the inspection of large batches; another answers HTTP, so that
//! probes are answered however busy the first is, and a third writes to the spill if there is one.

mod app;
mod args;
mod buffer;
mod characteristics;
mod inspect;
mod metrics;
mod sampler;
mod server;
mod shipper;
mod tap;
mod telemetry;

pub use app::{main, run, stdin_closes};
pub use args::{Args, LogFormat, Sampling, SamplingArgs, TapKind};
pub use characteristics::{DEFAULT_BUDGET, characterise};
pub use inspect::inspect;

/// Doors for the fuzz targets; not there otherwise.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Reads a text with the reader of kernel files that its first byte picks.
    pub fn kernel_files(input: &[u8]) {
        let Some((reader, text)) = input.split_first() else { return };
        let _ = crate::sampler::readers::read_any(*reader, &String::from_utf8_lossy(text));
    }

    /// Reads a text as each of those that containers are found by.
    pub fn discovery(input: &[u8]) {
        crate::sampler::readers::discover_any(&String::from_utf8_lossy(input));
    }
}
