//! Forebay's aggregator. The modules read as the way of the data:
//!
//! ```text
//! ingest ─► history ─► features ─► forecaster ─► planner ─► orchestrator
//!    │         ▲                      │             ▲
//!    │         └───── feedback ◄──────┤             │
//!    └──► live state ─────────────────┴─────────────┘
//! ```

mod api;
mod app;
mod args;
pub mod cost;
pub mod demo;
pub mod features;
pub mod feedback;
pub mod forecast;
pub mod forecaster;
pub mod history;
mod history_cli;
pub mod identity;
pub mod ingest;
pub mod lead_time;
pub mod live;
mod metrics;
pub mod orchestrator;
pub mod pipeline;
pub mod planner;
mod trainer;
pub mod view;

pub use args::main;
