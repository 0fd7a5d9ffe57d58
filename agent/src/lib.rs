//! Forebay's sidecar: samples what a component uses, inspects the batches that it handles, and ships both.
//!
//! ```text
//! cgroup, /proc ──► sampler ─────────────┐
//!                                        ├──► buffer ──► shipper ──► aggregator
//! batches ──► tap ──► characteristics ───┘
//! ```
//!
//! It lives in somebody else's pod: memory is bounded, nothing waits for it, and no failure of its own reaches the
//! component. One thread does all the work, but for the inspection of large batches, and for directories, whose file systems
//! may hang.

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
pub use args::{Args, LogFormat, Sampling, TapKind};
pub use backlog::BacklogSource;
pub use characteristics::{DEFAULT_BUDGET, characterise};
pub use inspect::inspect;
