//! Processes: `/proc/PID/stat` and `/proc/PID/io` of those that a file lists, of a process and its descendants, or of
//! a container whose cgroup is out of reach.
//!
//! The list is made anew for each sample. A process's files stay open: they answer for that very process, also when
//! its PID is used again. What a process used after its last sample is lost with it.

pub(super) mod counters;
pub(super) mod listing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forebay_shared::{Bytes, ResourceSample};

use self::listing::Listing;
use super::Unreadable;
use super::kernel_file::{KernelFile, Reader};
use super::reading::{Part, Reading};
use super::source::Lost;

/// Processes whose files (two each) stay open.
const MOST_HELD: usize = 32;

pub(super) struct Processes {
    proc: PathBuf,
    listing: Listing,
    known: BTreeMap<i32, Process>,
    uptime: KernelFile,
    micros_per_tick: u64,
    page_size: u64,
}

struct Process {
    dir: PathBuf,
    stat: KernelFile,
    io: KernelFile,
    started: u64,
}

impl Processes {
    /// Those that a file lists, a PID a line.
    pub(super) fn listed(proc: &Path, file: PathBuf) -> Self {
        Self::new(proc, Listing::File(file))
    }

    /// A process and its descendants.
    pub(super) fn tree(proc: &Path, pid: i32) -> Self {
        Self::new(proc, Listing::tree(pid))
    }

    /// Those of a container, by its key of `/proc/PID/cgroup`.
    pub(super) fn of_container(proc: &Path, key: String) -> Self {
        Self::new(proc, Listing::container(key))
    }

    fn new(proc: &Path, listing: Listing) -> Self {
        Self {
            proc: proc.to_owned(),
            listing,
            known: BTreeMap::new(),
            uptime: KernelFile::new("uptime"),
            micros_per_tick: 1_000_000 / procfs::ticks_per_second().max(1),
            page_size: procfs::page_size(),
        }
    }

    pub(super) fn read(&mut self, reader: &mut Reader, reading: &mut Reading) -> Result<(), Lost> {
        let pids = self.listing.pids(&self.proc, reader)?;
        let ticks = self.now(reader).ok_or_else(|| {
            let proc = self.proc.display();
            Lost::Unreadable(Unreadable(format!("cannot read {proc}/uptime: expected a mounted /proc")))
        })?;
        reading.ticks = ticks;
        reading.whole = ResourceSample {
            cpu_us: Some(0),
            cpu_user_us: Some(0),
            cpu_system_us: Some(0),
            memory: Some(Bytes(0)),
            pids: Some(0),
            ..ResourceSample::default()
        };
        self.known.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            if self.read_process(pid, reader, reading).is_none() {
                self.known.remove(&pid);
                self.listing.forget(pid);
            }
        }
        // What a process may refuse is no news of the source.
        reader.take_gone();
        Ok(())
    }

    /// Nothing if the process has ended.
    fn read_process(&mut self, pid: i32, reader: &mut Reader, reading: &mut Reading) -> Option<()> {
        let hold = self.known.len() < MOST_HELD;
        let process = self.known.entry(pid).or_insert_with(|| Process {
            dir: self.proc.join(pid.to_string()),
            stat: KernelFile::held("stat", hold),
            io: KernelFile::held("io", hold),
            started: 0,
        });
        let stat = counters::stat(process.stat.read(&process.dir, reader)?)?;
        if process.started != stat.started {
            // Not held, and the PID has been used again.
            process.io = KernelFile::held("io", hold);
            process.started = stat.started;
        }
        let io = process.io.read(&process.dir, reader).and_then(counters::io);
        let micros = |ticks: u64| ticks.saturating_mul(self.micros_per_tick);
        let counters = ResourceSample {
            cpu_us: Some(micros(stat.user.saturating_add(stat.system))),
            cpu_user_us: Some(micros(stat.user)),
            cpu_system_us: Some(micros(stat.system)),
            io_read_bytes: io.map(|(read, _)| read),
            io_write_bytes: io.map(|(_, written)| written),
            ..ResourceSample::default()
        };
        reading.parts.insert(Part::Process(pid, stat.started), counters);
        let whole = &mut reading.whole;
        let resident = stat.resident_pages.saturating_mul(self.page_size);
        whole.memory = whole.memory.map(|sum| Bytes(sum.0.saturating_add(resident)));
        whole.pids = whole.pids.map(|sum| sum.saturating_add(stat.threads));
        Some(())
    }

    /// Ticks since boot.
    fn now(&mut self, reader: &mut Reader) -> Option<u64> {
        let hundredths = counters::uptime(self.uptime.read(&self.proc, reader)?)?;
        Some(hundredths.saturating_mul(10_000) / self.micros_per_tick.max(1))
    }
}

#[cfg(test)]
mod tests;
