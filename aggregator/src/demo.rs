//! The demo: the whole real system on one machine.

mod text;
pub mod worker;
mod workload;
