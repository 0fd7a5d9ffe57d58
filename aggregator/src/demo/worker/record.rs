//! What goes from ingest to transform.

use serde::{Deserialize, Serialize};

/// A checked request in pieces.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Unique in the workload.
    pub(super) id: String,
    /// ms from the trace's start.
    pub(super) at: u64,
    /// The model that was asked.
    pub(super) model: String,
    /// Tokens asked with.
    pub(super) context_tokens: u32,
    /// Tokens answered.
    pub(super) generated_tokens: u32,
    /// Mean of the tokens' negative log-probabilities, nats.
    pub(super) surprise: f32,
    /// Distance of the text's profile of letters from the usual one, 0 to 1.
    pub(super) oddness: f64,
    /// The text, cut into pieces of the vocabulary.
    pub(super) pieces: Vec<u32>,
}
