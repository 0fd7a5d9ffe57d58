//! What Forebay's agent and aggregator have in common: the terms of the field as types, and the wire between them.
//!
//! ```text
//! ResourceSample, BatchArrival, BatchProgress ──► Content ──► Frame ──► bytes (header, CRC-32C, compressed bincode)
//! ```
//!
//! Nothing of it does I/O. What does: `client`, the small client for an agent's push tap, and `serve`, `tls`, `rotating`
//! and `log`, which both programs serve with.

pub mod batch;
#[cfg(feature = "client")]
pub mod client;
pub mod component;
pub mod frame;
pub mod health;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod problem;
#[cfg(feature = "server")]
pub mod rotating;
pub mod sample;
#[cfg(feature = "server")]
pub mod serve;
#[cfg(feature = "server")]
pub mod tls;
pub mod units;

pub use batch::{
    BatchArrival, BatchProgress, Compression, DataCharacteristics, DataComplexity, DataType, DataVolume, Outcome,
    VectorError,
};
pub use component::ComponentId;
pub use frame::{BootId, Content, Frame, FrameError};
pub use sample::{Backlog, ResourceSample};
pub use units::{Bytes, Millicores, Timestamp};
