//! The agent's samples against the kernel's own count of known loads. On this machine's cgroups; and, in a guest, on
//! those of cgroup v2.
//!
//! Counters have to match to the last microsecond, byte and event: samples are differences of one reading to the next,
//! so from an idle cgroup to an idle cgroup they add up to what the kernel has counted in between. Levels have to match
//! but for what the kernel itself leaves open: it charges memory in batches of 64 pages a CPU and sums statistics
//! every two seconds.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use forebay_shared::{Bytes, Millicores, ResourceSample, Timestamp};
use forebay_tests::agent::Agent;
use forebay_tests::cgroup::Cgroup;
use forebay_tests::guest::{DISK_IN_GUEST, Guest};
use forebay_tests::load::Load;
use forebay_tests::{Device, program};

const MIB: u64 = 1 << 20;
/// How far a level may be from the truth.
const TOLERANCE: u64 = MIB;
/// Until the kernel has summed up what a cgroup did: stalls every two seconds.
const SETTLED: Duration = Duration::from_millis(2500);
const OFTEN: Duration = Duration::from_millis(100);

type Counter = (&'static str, fn(&ResourceSample) -> Option<u64>);

const COUNTERS: [Counter; 17] = [
    ("CPU", |sample| sample.cpu_us),
    ("periods", |sample| sample.cpu_periods),
    ("throttled periods", |sample| sample.cpu_throttled_periods),
    ("throttled time", |sample| sample.cpu_throttled_us),
    ("times at the memory limit", |sample| sample.memory_max_events),
    ("times out of memory", |sample| sample.oom_events),
    ("processes killed", |sample| sample.oom_kills),
    ("bytes read", |sample| sample.io_read_bytes),
    ("bytes written", |sample| sample.io_write_bytes),
    ("reads", |sample| sample.io_read_ops),
    ("writes", |sample| sample.io_write_ops),
    ("some stalled for CPU", |sample| sample.pressure.cpu_some_us),
    ("all stalled for CPU", |sample| sample.pressure.cpu_full_us),
    ("some stalled for memory", |sample| sample.pressure.memory_some_us),
    ("all stalled for memory", |sample| sample.pressure.memory_full_us),
    ("some stalled for IO", |sample| sample.pressure.io_some_us),
    ("all stalled for IO", |sample| sample.pressure.io_full_us),
];

/// A new cgroup, where this machine has them.
fn cgroup() -> Option<Cgroup> {
    match Cgroup::available() {
        Ok(()) => Some(Cgroup::create().unwrap()),
        Err(needs) => {
            eprintln!("skipped: {needs}");
            None
        }
    }
}

fn sum(samples: &[ResourceSample], counter: fn(&ResourceSample) -> Option<u64>) -> u64 {
    samples.iter().filter_map(counter).sum()
}

/// Every counter that the kernel offers has to add up.
fn assert_true(samples: &[ResourceSample], before: &ResourceSample, after: &ResourceSample) {
    for (name, counter) in COUNTERS {
        if let Some((before, after)) = counter(before).zip(counter(after)) {
            assert_eq!(sum(samples, counter), after - before, "{name}, before {before}, after {after}");
        }
    }
}

fn assert_near(name: &str, found: Option<Bytes>, expected: u64) {
    let found = found.unwrap_or_else(|| panic!("{name} is absent")).0;
    assert!(found.abs_diff(expected) <= TOLERANCE, "{name} is {found}, expected {expected}");
}

#[test]
fn a_busy_loop_under_a_quota_reads_its_cores_and_what_was_held_back() {
    const TRIES: usize = 3;
    let judged = (0..TRIES).any(|_| cgroup().is_none_or(|cgroup| spin_under_quota(&cgroup)));
    if !judged {
        eprintln!("cores were not judged: this machine is too busy to use them up; counts were true {TRIES} times");
    }
}

/// Counts have to be true in any case. Gives whether the machine was idle enough to judge cores too: a loop that does
/// not use up its quota in nearly every period waited for others, and what it used is anybody's guess.
fn spin_under_quota(cgroup: &Cgroup) -> bool {
    const CORES: f64 = 0.2;
    cgroup.limit_cpu(CORES).unwrap();
    let mut load = Load::start(cgroup).unwrap();
    sleep(SETTLED);
    let before = cgroup.truth();
    let agent = Agent::start(&cgroup.path(), Duration::from_secs(1)).unwrap();
    cgroup.record("idle").unwrap();

    let start = Timestamp::now();
    load.tell("spin 60").unwrap();
    sleep(Duration::from_secs(22));
    cgroup.record("busy").unwrap();
    let end = Timestamp::now();
    load.kill();
    sleep(SETTLED);
    agent.next().unwrap();
    let (samples, after) = (agent.samples(), cgroup.truth());
    assert_true(&samples, &before, &after);

    let within = |sample: &&ResourceSample| sample.at <= end && sample.at.0 - u64::from(sample.interval_ms) >= start.0;
    let busy: Vec<_> = samples.iter().filter(within).cloned().collect();
    assert!(busy.iter().all(|sample| sample.cpu_quota == Some(Millicores(200))), "{busy:?}");
    let micros: u64 = busy.iter().map(|sample| u64::from(sample.interval_ms) * 1000).sum();
    let cores = sum(&busy, |sample| sample.cpu_us) as f64 / micros as f64;
    let (periods, held) = (sum(&busy, |sample| sample.cpu_periods), sum(&busy, |sample| sample.cpu_throttled_periods));
    let told = format!(
        "{cores:.4} cores over {:.1} s; held back in {held} of {periods} periods, for {:.2} s",
        micros as f64 / 1e6,
        sum(&busy, |sample| sample.cpu_throttled_us) as f64 / 1e6
    );
    eprintln!("cpu: {told}");
    if held * 100 < periods * 99 {
        return false;
    }
    assert!(periods >= 190, "{told}");
    assert!((cores - CORES).abs() <= 0.02 * CORES, "{told}");
    let by_user = sum(&busy, |sample| sample.cpu_user_us) as f64 / micros as f64;
    assert!(by_user > 0.8 * CORES && by_user <= 1.05 * CORES, "{by_user} in user mode, {told}");
    // What is held back waits for CPU.
    assert!(!cgroup.is_v2() || sum(&busy, |sample| sample.pressure.cpu_some_us) > micros / 2, "{busy:?}");
    true
}

#[test]
fn memory_that_is_touched_kept_and_freed_reads_as_much() {
    let Some(cgroup) = cgroup() else { return };
    cgroup.limit_memory(512 * MIB).unwrap();
    let mut load = Load::start(&cgroup).unwrap();
    let agent = Agent::start(&cgroup.path(), OFTEN).unwrap();
    let mut step = |command: &str| {
        load.ask(command).unwrap();
        // Statistics are summed every two seconds.
        sleep(SETTLED);
        let (sample, truth) = (agent.next().unwrap(), cgroup.truth());
        for (name, found, truth) in [
            ("memory", sample.memory, truth.memory),
            ("working set", sample.memory_working_set, truth.memory_working_set),
            ("anonymous memory", sample.memory_anon, truth.memory_anon),
            ("page cache", sample.memory_file, truth.memory_file),
            ("peak", sample.memory_peak, truth.memory_peak),
        ] {
            assert_near(&format!("{name} after `{command}`"), found, truth.unwrap().0);
        }
        assert_eq!(sample.memory_limit, Some(Bytes(512 * MIB)));
        let mib = |bytes: Option<Bytes>| bytes.unwrap().0 as f64 / MIB as f64;
        eprintln!(
            "memory: {:.2} MiB after `{command}`, anonymous {:.2}, working set {:.2}, peak {:.2}",
            mib(sample.memory),
            mib(sample.memory_anon),
            mib(sample.memory_working_set),
            mib(sample.memory_peak)
        );
        sample
    };

    let idle = step("free");
    let (anon, all) = (idle.memory_anon.unwrap().0, idle.memory.unwrap().0);
    let some = step(&format!("touch {}", 64 * MIB));
    let more = step(&format!("touch {}", 128 * MIB));
    cgroup.record("memory").unwrap();
    let freed = step("free");
    assert_near("anonymous memory", some.memory_anon, anon + 64 * MIB);
    assert_near("anonymous memory", more.memory_anon, anon + 192 * MIB);
    assert_near("memory", more.memory, all + 192 * MIB);
    assert_near("working set", more.memory_working_set, idle.memory_working_set.unwrap().0 + 192 * MIB);
    assert_near("anonymous memory", freed.memory_anon, anon);
    assert_near("memory", freed.memory, all);
    assert_near("peak", freed.memory_peak, all + 192 * MIB);
    assert_eq!(freed.pids, Some(1));
}

#[test]
fn a_limit_that_is_hit_reads_its_events_and_its_kill() {
    let Some(cgroup) = cgroup() else { return };
    cgroup.limit_memory(32 * MIB).unwrap();
    let mut load = Load::start(&cgroup).unwrap();
    // What starts still runs for a while, and the agent's own start is later than `before`.
    sleep(SETTLED);
    let before = cgroup.truth();
    let agent = Agent::start(&cgroup.path(), OFTEN).unwrap();
    load.ask(&format!("touch {}", 16 * MIB)).unwrap();
    assert_eq!(sum(&agent.samples(), |sample| sample.oom_kills), 0);
    load.ask(&format!("touch {}", 64 * MIB)).unwrap_err();
    // What was killed is counted until it is gone.
    sleep(SETTLED);
    agent.next().unwrap();
    cgroup.record("killed").unwrap();
    let (samples, after) = (agent.samples(), cgroup.truth());
    let at_limit = sum(&samples, |sample| sample.memory_max_events);
    eprintln!("limit: hit {at_limit} times, {} killed", sum(&samples, |sample| sample.oom_kills));
    assert_eq!(sum(&samples, |sample| sample.oom_kills), 1);
    assert!(at_limit > 0);
    assert!(!cgroup.is_v2() || sum(&samples, |sample| sample.oom_events) > 0, "{samples:?}");
    assert_true(&samples, &before, &after);
    assert!(samples.iter().all(|sample| sample.memory_limit == Some(Bytes(32 * MIB))), "{samples:?}");
    assert!(samples.last().is_some_and(|sample| sample.pids == Some(0)), "{samples:?}");
}

#[test]
fn what_is_written_and_read_reads_as_bytes_and_operations() {
    const AMOUNT: u64 = 64 * MIB;
    let Some(cgroup) = cgroup() else { return };
    let disk = std::env::var_os("FOREBAY_TEST_DISK").map(PathBuf::from);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let path = disk.unwrap_or_else(|| folder.as_ref().unwrap().path().join("file"));
    let device = match Device::of(path.parent().filter(|_| !path.exists()).unwrap_or(&path)) {
        Ok(device) => device,
        Err(error) => return eprintln!("skipped: needs a block device: {error:#}"),
    };
    cgroup.count_io(device).unwrap();
    let mut load = Load::start(&cgroup).unwrap();
    // The first request makes the device known to the cgroup.
    load.ask(&format!("write {} {MIB}", path.display())).unwrap();
    load.ask(&format!("read {} {MIB}", path.display())).unwrap();
    sleep(SETTLED);
    let before = cgroup.truth();
    let agent = Agent::start(&cgroup.path(), OFTEN).unwrap();
    load.ask(&format!("write {} {AMOUNT}", path.display())).unwrap();
    load.ask(&format!("read {} {}", path.display(), AMOUNT / 2)).unwrap();
    sleep(SETTLED);
    agent.next().unwrap();
    cgroup.record("disk").unwrap();
    let (samples, after) = (agent.samples(), cgroup.truth());

    let [read, written, reads, writes] = [7, 8, 9, 10].map(|counter: usize| sum(&samples, COUNTERS[counter].1));
    let told = format!("{read} bytes in {reads} reads, {written} bytes in {writes} writes");
    eprintln!("disk: {told}");
    assert_true(&samples, &before, &after);
    // Beside the content a file system may read and write a few blocks of its own.
    assert!((AMOUNT..=AMOUNT + MIB).contains(&written), "{told}");
    assert!((AMOUNT / 2..=AMOUNT / 2 + MIB).contains(&read), "{told}");
    // A request of 1 MiB is at most eight operations to a device.
    assert!((64..=8 * 64 + 16).contains(&writes) && (32..=8 * 32 + 16).contains(&reads), "{told}");

    // What stays in the page cache is memory, but not of the working set.
    let cached = agent.next().unwrap();
    load.ask(&format!("cache {} {}", path.display(), 32 * MIB)).unwrap();
    sleep(SETTLED);
    let (sample, truth) = (agent.next().unwrap(), cgroup.truth());
    eprintln!("page cache: {:?}, working set {:?}", sample.memory_file, sample.memory_working_set);
    assert_near("page cache", sample.memory_file, cached.memory_file.unwrap().0 + 32 * MIB);
    assert_near("page cache", sample.memory_file, truth.memory_file.unwrap().0);
    assert_near("working set", sample.memory_working_set, truth.memory_working_set.unwrap().0);
    assert!(sample.memory_working_set.unwrap().0 < sample.memory.unwrap().0 - 16 * MIB, "{sample:?}");
}

#[test]
fn recorded_files_of_cgroup_v2_read_the_same_on_any_machine() {
    let read = |recorded: &str| {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/cgroup_v2").join(recorded);
        Agent::start(&folder, OFTEN).unwrap().samples().pop().unwrap()
    };
    let busy = read("busy/leaf");
    assert_eq!((busy.cpu_quota, busy.memory_limit, busy.pids), (Some(Millicores(200)), None, Some(1)));
    assert_eq!((busy.cpu_us, busy.cpu_periods, busy.pressure.cpu_full_us), (Some(0), Some(0), Some(0)));
    let memory = read("memory/leaf");
    assert_eq!((memory.cpu_quota, memory.memory_limit), (None, Some(Bytes(512 * MIB))));
    assert_near("anonymous memory", memory.memory_anon, 192 * MIB);
    assert_near("working set", memory.memory_working_set, 192 * MIB);
    assert_near("peak", memory.memory_peak, 192 * MIB);
    let killed = read("killed/leaf");
    assert_eq!((killed.memory_limit, killed.pids, killed.oom_kills), (Some(Bytes(32 * MIB)), Some(0), Some(0)));
    // The root has no limits and no memory of its own; its parts it does tell.
    let root = read("busy/root");
    assert_eq!((root.memory, root.memory_limit, root.memory_peak, root.oom_kills), (None, None, None, None));
    assert_eq!((root.cpu_us, root.io_write_bytes, root.memory_working_set), (Some(0), Some(0), None));
}

#[test]
fn all_of_it_holds_on_cgroup_v2_in_a_guest() {
    let test = std::env::current_exe().unwrap();
    let guest = match Guest::new([test.clone(), program("forebay-agent").unwrap(), program("forebay-load").unwrap()]) {
        Ok(guest) => guest,
        Err(needs) => return eprintln!("skipped: {needs}"),
    };
    let record = std::env::var_os("FOREBAY_TEST_RECORD").map(PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    let name = test.file_name().unwrap().to_string_lossy();
    let command = format!(
        "FOREBAY_TEST_DISK={DISK_IN_GUEST} FOREBAY_TEST_RECORD=/record \
         /{name} --test-threads=1 --nocapture --skip in_a_guest --skip recorded
ended=$?
/busybox tar cf {DISK_IN_GUEST} -C /record .
(exit $ended)"
    );
    let ended = guest.run(&command, folder.path()).unwrap();
    eprintln!("{}", ended.console);
    assert!(ended.success);
    assert!(ended.console.contains("4 passed") && !ended.console.contains("skipped: needs"));
    if let Some(record) = record {
        std::fs::create_dir_all(&record).unwrap();
        let mut unpack = std::process::Command::new("tar");
        unpack.arg("xf").arg(folder.path().join("disk")).arg("-C").arg(&record);
        assert!(unpack.status().unwrap().success());
    }
}
