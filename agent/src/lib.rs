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
//! probes are answered however busy the first is, a third writes to the spill if there is one, and each directory tap
//! has one, since a file system may hang.

mod app;
mod args;
mod backlog;
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
pub use args::{Args, LogFormat, Route, Sampling, SamplingArgs, TapKind};
pub use backlog::BacklogSource;
pub use characteristics::{DEFAULT_BUDGET, Finding, Inspector, characterise};
pub use inspect::inspect;

/// Doors for the fuzz targets; not there otherwise.
#[cfg(fuzzing)]
pub mod fuzzing {
    use forebay_shared::Compression;

    /// Reads a text with the reader of kernel files that its first byte picks.
    pub fn kernel_files(input: &[u8]) {
        let Some((reader, text)) = input.split_first() else { return };
        let _ = crate::sampler::readers::read_any(*reader, &String::from_utf8_lossy(text));
    }

    /// Reads a text as each of those that containers are found by.
    pub fn discovery(input: &[u8]) {
        crate::sampler::readers::discover_any(&String::from_utf8_lossy(input));
    }

    /// Looks into a batch that starts with one of `magics`. The input's first bytes say which one, and how much of the
    /// batch is held.
    pub fn binary(magics: &[&[u8]], input: &[u8]) {
        let [magic, head, tail, claim, body @ ..] = input else { return };
        let magic = magics.get(usize::from(*magic) % (magics.len() + 1)).copied().unwrap_or_default();
        let batch = [magic, body].concat();
        let share = |part: u8| if part < 128 { batch.len() } else { batch.len() * usize::from(part - 128) / 128 };
        let (head, tail) = (&batch[..share(*head)], &batch[batch.len() - share(*tail)..]);
        let claim = [None, Some("application/x-protobuf"), Some("application/msgpack")][usize::from(*claim) % 3];
        let found = crate::characteristics::examine_parts(head, tail, batch.len() as u64, claim).characteristics;
        assert!(found.data_complexity.score.is_finite());
        assert!(found.data_complexity.null_share.is_none_or(|share| (0.0..=1.0).contains(&share)));
        let passes = |size: usize| {
            let mut inspector = crate::Inspector::new(claim, usize::MAX);
            batch.chunks(size).for_each(|chunk| inspector.push(chunk));
            inspector.finish()
        };
        let (whole, parts) = (passes(batch.len().max(1)), passes(1 + usize::from(input[1])));
        // How much a damaged stream unpacks to depends on how it comes.
        let packed = !matches!(whole.characteristics.compression, Compression::None | Compression::Zip);
        assert!(packed || whole == parts, "{parts:?} of parts, {whole:?} of the whole");
    }
}
