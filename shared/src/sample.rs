//! What the kernel tells about a component over one interval.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{Bytes, Millicores, Timestamp};

/// One reading of a component's resources. Counters are *differences* over the interval that ends at `at`, so that a
/// restart or a lost sample never shows as a spike; levels are as read at `at`. What the kernel does not offer is
/// absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSample {
    /// End of the interval.
    pub at: Timestamp,
    /// Length of the interval, ms.
    pub interval_ms: u32,
    /// CPU time used, µs.
    pub cpu_us: Option<u64>,
    /// CPU time used in user mode, µs.
    pub cpu_user_us: Option<u64>,
    /// CPU time used in the kernel, µs.
    pub cpu_system_us: Option<u64>,
    /// CFS periods that have passed.
    pub cpu_periods: Option<u64>,
    /// CFS periods in which the quota ran out.
    pub cpu_throttled_periods: Option<u64>,
    /// Time held back by the quota, µs, summed over CPUs.
    pub cpu_throttled_us: Option<u64>,
    /// The CFS quota in force; absent where there is none.
    pub cpu_quota: Option<Millicores>,
    /// Memory charged to the cgroup.
    pub memory: Option<Bytes>,
    /// Memory less the inactive page cache, as the kubelet counts it.
    pub memory_working_set: Option<Bytes>,
    /// Anonymous memory.
    pub memory_anon: Option<Bytes>,
    /// Page cache.
    pub memory_file: Option<Bytes>,
    /// The largest charge so far.
    pub memory_peak: Option<Bytes>,
    /// The limit in force; absent where there is none.
    pub memory_limit: Option<Bytes>,
    /// Times that memory was throttled at `memory.high`.
    pub memory_high_events: Option<u64>,
    /// Times that the limit was hit.
    pub memory_max_events: Option<u64>,
    /// Times that the cgroup ran out of memory.
    pub oom_events: Option<u64>,
    /// Processes that were killed for it.
    pub oom_kills: Option<u64>,
    /// Bytes read from block devices.
    pub io_read_bytes: Option<u64>,
    /// Bytes written to block devices.
    pub io_write_bytes: Option<u64>,
    /// Read operations on block devices.
    pub io_read_ops: Option<u64>,
    /// Write operations on block devices.
    pub io_write_ops: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes received by the network namespace.
    pub net_rx_bytes: Option<u64>,
    /// Bytes sent by the network namespace.
    pub net_tx_bytes: Option<u64>,
    /// Pressure: stall time, µs.
    pub pressure: Pressure,
    /// Batches known to the taps at `at`; absent where no tap knows.
    pub backlog: Option<Backlog>,
}

/// Pressure stall information: time over the interval, µs, in which some or all tasks waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pressure {
    /// Some task waited for CPU.
    pub cpu_some_us: Option<u64>,
    /// All tasks waited for CPU.
    pub cpu_full_us: Option<u64>,
    /// Some task waited for memory.
    pub memory_some_us: Option<u64>,
    /// All tasks waited for memory.
    pub memory_full_us: Option<u64>,
    /// Some task waited for IO.
    pub io_some_us: Option<u64>,
    /// All tasks waited for IO.
    pub io_full_us: Option<u64>,
}

/// What waits in front of a component, and what it is working on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backlog {
    /// Batches arrived and not started.
    pub waiting: u64,
    /// Bytes of the waiting batches.
    pub waiting_bytes: u64,
    /// The longest that one of them has waited, ms.
    pub oldest_wait_ms: u64,
    /// Batches started and not finished.
    pub in_service: u64,
}
