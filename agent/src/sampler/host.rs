//! The machine's totals, for an agent outside a pod.
//!
//! `sysinfo` tells the memory. It tells CPU only as a share since it was last asked, and not more often than each
//! 200 ms, so that the counters come from `/proc/stat`; those of IO from `/proc/diskstats`.

use std::path::PathBuf;

use forebay_shared::{Bytes, ResourceSample};
use sysinfo::{MemoryRefreshKind, System};

use super::Unreadable;
use super::kernel_file::{KernelFile, Reader};
use super::v2::pressure::PressureFiles;

/// diskstats(5) counts in these, whatever the device's own.
const SECTOR: u64 = 512;
/// Devices that stand for others, or for memory: their IO is counted with the others', or is none.
const VIRTUAL: [&str; 7] = ["loop", "ram", "zram", "dm-", "md", "nbd", "sr"];

pub(super) struct Host {
    proc: PathBuf,
    pressure_dir: PathBuf,
    system: Option<System>,
    stat: KernelFile,
    diskstats: KernelFile,
    loadavg: KernelFile,
    pressure: PressureFiles,
    ticks_per_second: u64,
}

impl Host {
    pub(super) fn new(proc: PathBuf) -> Self {
        Self {
            pressure_dir: proc.join("pressure"),
            proc,
            system: System::new().ok(),
            stat: KernelFile::new("stat"),
            diskstats: KernelFile::new("diskstats"),
            loadavg: KernelFile::new("loadavg"),
            pressure: PressureFiles::of_machine(),
            ticks_per_second: procfs::ticks_per_second(),
        }
    }

    pub(super) fn read(&mut self, reader: &mut Reader, whole: &mut ResourceSample) -> Result<(), Unreadable> {
        let text = self.stat.read(&self.proc, reader);
        text.and_then(|text| cpu(text, self.ticks_per_second, whole))
            .ok_or_else(|| Unreadable(format!("cannot read {}/stat: expected a mounted /proc", self.proc.display())))?;
        if let Some(text) = self.diskstats.read(&self.proc, reader) {
            disks(text, whole);
        }
        whole.pids = self.loadavg.read(&self.proc, reader).and_then(tasks);
        if let Some(system) = &mut self.system {
            memory(system, whole);
        }
        self.pressure.read(&self.pressure_dir, reader, &mut whole.pressure);
        Ok(())
    }
}

fn memory(system: &mut System, into: &mut ResourceSample) {
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let total = system.total_memory();
    if total == 0 {
        return;
    }
    into.memory = Some(Bytes(total.saturating_sub(system.free_memory())));
    into.memory_working_set = Some(Bytes(total.saturating_sub(system.available_memory())));
    into.memory_limit = Some(Bytes(total));
}

/// Time of all CPUs, of the first line of `/proc/stat` (ticks): user, nice, system, idle, iowait, irq, softirq.
pub(super) fn cpu(text: &str, ticks_per_second: u64, into: &mut ResourceSample) -> Option<()> {
    let mut fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (user, nice, system, _idle, _iowait) = (next()?, next()?, next()?, next()?, next()?);
    let (irq, softirq) = (next().unwrap_or(0), next().unwrap_or(0));
    let micros = |ticks: u64| ticks.saturating_mul(1_000_000 / ticks_per_second.max(1));
    let user = micros(user.saturating_add(nice));
    let system = micros(system.saturating_add(irq).saturating_add(softirq));
    into.cpu_us = Some(user.saturating_add(system));
    into.cpu_user_us = Some(user);
    into.cpu_system_us = Some(system);
    Some(())
}

/// Sums over the disks of `/proc/diskstats`, without their partitions.
pub(super) fn disks(text: &str, into: &mut ResourceSample) {
    let [mut reads, mut sectors_read, mut writes, mut sectors_written] = [0_u64; 4];
    let mut disk = "";
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().skip(2);
        let Some(name) = fields.next() else { continue };
        if VIRTUAL.iter().any(|prefix| name.starts_with(prefix)) || is_partition(name, disk) {
            continue;
        }
        disk = name;
        let numbers: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
        let [read, _, sectors, _, written, _, sectors_out, ..] = numbers[..] else { continue };
        reads = reads.saturating_add(read);
        sectors_read = sectors_read.saturating_add(sectors);
        writes = writes.saturating_add(written);
        sectors_written = sectors_written.saturating_add(sectors_out);
    }
    if !disk.is_empty() {
        into.io_read_ops = Some(reads);
        into.io_read_bytes = Some(sectors_read.saturating_mul(SECTOR));
        into.io_write_ops = Some(writes);
        into.io_write_bytes = Some(sectors_written.saturating_mul(SECTOR));
    }
}

/// `sda1` of `sda`, `nvme0n1p1` of `nvme0n1`. A disk is listed before its partitions.
fn is_partition(name: &str, disk: &str) -> bool {
    let Some(rest) = name.strip_prefix(disk).filter(|_| !disk.is_empty()) else { return false };
    let number = if disk.ends_with(|c: char| c.is_ascii_digit()) { rest.strip_prefix('p') } else { Some(rest) };
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Processes and threads, of `/proc/loadavg`: `0.10 0.20 0.30 1/234 5678`.
pub(super) fn tasks(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_no_use() {
        let mut sample = ResourceSample::default();
        cpu("cpu  10 5 20 9000 70 1 2 50 8 0\ncpu0 1 1 1 1 1\n", 100, &mut sample).unwrap();
        assert_eq!(
            (sample.cpu_us, sample.cpu_user_us, sample.cpu_system_us),
            (Some(380_000), Some(150_000), Some(230_000))
        );
        assert_eq!(cpu("cpu0 1 2 3 4 5\n", 100, &mut sample), None);
    }

    #[test]
    fn each_disk_counts_once() {
        let text = "   7       0 loop0 9 9 9 9 9 9 9 9 0 0 0\n\
                    \x20  8       0 sda 1 0 10 0 2 0 20 0 0 0 0\n   8       1 sda1 1 0 10 0 2 0 20 0 0 0 0\n\
                    \x20259       0 nvme0n1 3 0 30 0 4 0 40 0 0 0 0\n 259       1 nvme0n1p1 3 0 30 0 4 0 40 0\n\
                    \x20253       0 dm-0 9 9 9 9 9 9 9 9\n 8 16 sdb 5 0 50 0 6 0 60 0\nsdc\n 8 1 sdd 1\n";
        let mut sample = ResourceSample::default();
        disks(text, &mut sample);
        assert_eq!((sample.io_read_ops, sample.io_write_ops), (Some(9), Some(12)));
        assert_eq!((sample.io_read_bytes, sample.io_write_bytes), (Some(90 * 512), Some(120 * 512)));
        let mut none = ResourceSample::default();
        disks("", &mut none);
        assert_eq!(none.io_read_ops, None);
    }

    #[test]
    fn this_machine_has_memory_and_uses_cpu() {
        let (mut host, mut reader) = (Host::new("/proc".into()), Reader::default());
        let mut sample = ResourceSample::default();
        host.read(&mut reader, &mut sample).unwrap();
        assert!(sample.cpu_us > Some(0) && sample.pids > Some(1));
        assert!(sample.memory > Some(Bytes(1 << 20)) && sample.memory < sample.memory_limit);
    }
}
