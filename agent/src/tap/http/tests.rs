//! The HTTP tap in one process: raw sockets or hyper as clients, raw sockets or hyper as the component.

mod batches;
mod bodies;
mod failures;
mod harness;
mod messages;
mod programs;
