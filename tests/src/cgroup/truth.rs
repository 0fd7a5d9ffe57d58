//! The kernel's files, read plainly: whole, by the keys that Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst tell.

use forebay_shared::sample::Pressure;
use forebay_shared::{Bytes, ResourceSample};

/// All that is of use to a sampler, of both versions.
pub(super) const FILES: [&str; 31] = [
    "cgroup.controllers",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpu.max",
    "cpu.pressure",
    "cpu.stat",
    "cpuacct.stat",
    "cpuacct.usage",
    "blkio.throttle.io_service_bytes",
    "blkio.throttle.io_service_bytes_recursive",
    "blkio.throttle.io_serviced",
    "blkio.throttle.io_serviced_recursive",
    "io.pressure",
    "io.stat",
    "memory.current",
    "memory.events",
    "memory.failcnt",
    "memory.high",
    "memory.limit_in_bytes",
    "memory.max",
    "memory.max_usage_in_bytes",
    "memory.memsw.failcnt",
    "memory.memsw.limit_in_bytes",
    "memory.oom_control",
    "memory.peak",
    "memory.pressure",
    "memory.stat",
    "memory.swap.current",
    "memory.usage_in_bytes",
    "pids.current",
    "pids.max",
];

/// Of the trees of cgroup v1 that samples are taken from.
pub(super) fn v1(file: impl Fn(&str, &str) -> Option<String>) -> ResourceSample {
    let number = |tree: &str, name: &str| file(tree, name)?.trim().parse::<u64>().ok();
    let keyed = |tree: &str, name: &str, key: &str| value(&file(tree, name)?, key);
    let blkio = |name: &str, kind: &str| {
        let text = file("blkio", name)?;
        let of_kind = text.lines().filter_map(|line| line.split_once(&format!(" {kind} ")));
        // Without a device nothing is counted, which is not the same as nothing being done.
        of_kind.map(|(_, value)| value.trim().parse::<u64>().ok()).reduce(|sum, more| Some(sum? + more?))?
    };
    let memory = number("memory", "memory.usage_in_bytes");
    let inactive = keyed("memory", "memory.stat", "total_inactive_file");
    ResourceSample {
        cpu_us: number("cpuacct", "cpuacct.usage").map(|nanos| nanos / 1000),
        cpu_periods: keyed("cpu", "cpu.stat", "nr_periods"),
        cpu_throttled_periods: keyed("cpu", "cpu.stat", "nr_throttled"),
        cpu_throttled_us: keyed("cpu", "cpu.stat", "throttled_time").map(|nanos| nanos / 1000),
        memory: memory.map(Bytes),
        memory_working_set: memory.zip(inactive).map(|(memory, inactive)| Bytes(memory - inactive)),
        memory_anon: keyed("memory", "memory.stat", "total_rss").map(Bytes),
        memory_file: keyed("memory", "memory.stat", "total_cache").map(Bytes),
        memory_peak: number("memory", "memory.max_usage_in_bytes").map(Bytes),
        memory_max_events: number("memory", "memory.failcnt")
            .map(|hits| hits + number("memory", "memory.memsw.failcnt").unwrap_or(0)),
        oom_kills: keyed("memory", "memory.oom_control", "oom_kill"),
        io_read_bytes: blkio("blkio.throttle.io_service_bytes", "Read"),
        io_write_bytes: blkio("blkio.throttle.io_service_bytes", "Write"),
        io_read_ops: blkio("blkio.throttle.io_serviced", "Read"),
        io_write_ops: blkio("blkio.throttle.io_serviced", "Write"),
        pids: number("pids", "pids.current"),
        ..ResourceSample::default()
    }
}

/// Of a directory of cgroup v2.
pub(super) fn v2(file: impl Fn(&str) -> Option<String>) -> ResourceSample {
    let number = |name: &str| file(name)?.trim().parse::<u64>().ok();
    let keyed = |name: &str, key: &str| value(&file(name)?, key);
    let io = |key: &str| Some(labelled(&file("io.stat")?, key).sum());
    let stalled = |name: &str, kind: &str| {
        let text = file(name)?;
        let line = text.lines().find(|line| line.starts_with(kind))?;
        labelled(line, "total").next()
    };
    let memory = number("memory.current");
    let inactive = keyed("memory.stat", "inactive_file");
    ResourceSample {
        cpu_us: keyed("cpu.stat", "usage_usec"),
        cpu_periods: keyed("cpu.stat", "nr_periods"),
        cpu_throttled_periods: keyed("cpu.stat", "nr_throttled"),
        cpu_throttled_us: keyed("cpu.stat", "throttled_usec"),
        memory: memory.map(Bytes),
        memory_working_set: memory.zip(inactive).map(|(memory, inactive)| Bytes(memory - inactive)),
        memory_anon: keyed("memory.stat", "anon").map(Bytes),
        memory_file: keyed("memory.stat", "file").map(Bytes),
        memory_peak: number("memory.peak").map(Bytes),
        memory_max_events: keyed("memory.events", "max"),
        oom_events: keyed("memory.events", "oom"),
        oom_kills: keyed("memory.events", "oom_kill"),
        io_read_bytes: io("rbytes"),
        io_write_bytes: io("wbytes"),
        io_read_ops: io("rios"),
        io_write_ops: io("wios"),
        pids: number("pids.current"),
        pressure: Pressure {
            cpu_some_us: stalled("cpu.pressure", "some"),
            cpu_full_us: stalled("cpu.pressure", "full"),
            memory_some_us: stalled("memory.pressure", "some"),
            memory_full_us: stalled("memory.pressure", "full"),
            io_some_us: stalled("io.pressure", "some"),
            io_full_us: stalled("io.pressure", "full"),
        },
        ..ResourceSample::default()
    }
}

/// The number after `key ` at the start of a line.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The numbers after each `key=`.
fn labelled(text: &str, key: &str) -> impl Iterator<Item = u64> {
    text.split_whitespace().filter_map(move |word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}
