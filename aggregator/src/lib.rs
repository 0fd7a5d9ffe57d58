//! Forebay's aggregator. The modules read as the way of the data:
//!
//! ```text
//! ingest ─► history ─► features ─► forecaster ─► planner ─► orchestrator
//!    │         ▲                      │             ▲
//!    │         └───── feedback ◄──────┤             │
//!    └──► live state ─────────────────┴─────────────┘
//! ```

pub mod demo;
pub mod forecast;
pub mod history;
pub mod identity;
pub mod ingest;
pub mod pipeline;
pub mod planner;
pub mod view;
