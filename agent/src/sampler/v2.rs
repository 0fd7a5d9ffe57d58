//! cgroup v2: one tree, one directory.

pub(super) mod cpu;
pub(super) mod io;
pub(super) mod memory;
pub(super) mod pressure;
