//! Processes: `/proc/PID/stat` and `/proc/PID/io` of those that a file names, a PID a line.
//!
//! For components whose cgroup is out of sight, and for local runs. The file is read anew for each sample, so that its
//! owner adds and removes workers as they start and end. What a process used after its last sample is lost with it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use forebay_shared::{Bytes, ResourceSample};
use procfs::process::Process;
use procfs::{Current, Uptime};

use super::Unreadable;
use super::kernel_file::KernelFiles;
use super::reading::{Part, Reading};

pub(super) struct Processes {
    file: PathBuf,
    micros_per_tick: u64,
    page_size: u64,
}

impl Processes {
    pub(super) fn new(file: PathBuf) -> Self {
        let micros_per_tick = 1_000_000 / procfs::ticks_per_second().max(1);
        Self { file, micros_per_tick, page_size: procfs::page_size() }
    }

    pub(super) fn read(&self, files: &mut KernelFiles) -> Result<Reading, Unreadable> {
        let pids = files.read_anew(&self.file).map(pids).ok_or_else(|| self.unreadable())?;
        let ticks =
            self.now().ok_or_else(|| Unreadable("cannot read /proc/uptime: expected a mounted /proc".into()))?;
        let zero = ResourceSample {
            cpu_us: Some(0),
            cpu_user_us: Some(0),
            cpu_system_us: Some(0),
            memory: Some(Bytes(0)),
            pids: Some(0),
            ..ResourceSample::default()
        };
        let mut reading = Reading { whole: zero, ticks, ..Reading::default() };
        for pid in pids {
            // A process may end at any time: what cannot be read is gone.
            let _ = self.read_process(pid, &mut reading);
        }
        Ok(reading)
    }

    fn read_process(&self, pid: i32, reading: &mut Reading) -> procfs::ProcResult<()> {
        let process = Process::new(pid)?;
        let stat = process.stat()?;
        let io = process.io().ok();
        let counters = ResourceSample {
            cpu_us: Some((stat.utime + stat.stime) * self.micros_per_tick),
            cpu_user_us: Some(stat.utime * self.micros_per_tick),
            cpu_system_us: Some(stat.stime * self.micros_per_tick),
            io_read_bytes: io.map(|io| io.read_bytes),
            io_write_bytes: io.map(|io| io.write_bytes),
            ..ResourceSample::default()
        };
        reading.parts.insert(Part::Process(pid, stat.starttime), counters);
        let whole = &mut reading.whole;
        whole.memory = whole.memory.map(|sum| Bytes(sum.0.saturating_add(stat.rss * self.page_size)));
        whole.pids = whole.pids.map(|sum| sum + u64::try_from(stat.num_threads).unwrap_or(0));
        Ok(())
    }

    /// Ticks since boot.
    fn now(&self) -> Option<u64> {
        let uptime = Uptime::current().ok()?.uptime_duration();
        Some(uptime.as_micros() as u64 / self.micros_per_tick)
    }

    fn unreadable(&self) -> Unreadable {
        Unreadable(format!("cannot read `{}`: expected a file with a PID a line", self.file.display()))
    }
}

/// The PIDs of a file; lines that are none are left out.
fn pids(text: &str) -> BTreeSet<i32> {
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_own_process_is_read_and_one_that_is_gone_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids");
        std::fs::write(&file, format!("{}\n999999999\nnone\n", std::process::id())).unwrap();
        let reading = Processes::new(file).read(&mut KernelFiles::default()).unwrap();
        assert_eq!(reading.parts.len(), 1);
        assert!(reading.whole.memory.unwrap().0 > 1 << 20);
        assert!(reading.whole.pids.unwrap() >= 1);
    }

    #[test]
    fn no_process_is_no_use_and_no_file_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids");
        let processes = Processes::new(file.clone());
        let error = processes.read(&mut KernelFiles::default()).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()) && error.contains("a PID a line"), "{error}");
        std::fs::write(&file, "").unwrap();
        let reading = processes.read(&mut KernelFiles::default()).unwrap();
        assert_eq!(reading.since(&reading).cpu_us, Some(0));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text: String) {
            let _ = pids(&text);
        }
    }
}
