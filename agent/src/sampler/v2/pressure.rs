//! `{cpu,memory,io}.pressure` of a cgroup, `/proc/pressure/{cpu,memory,io}` of the machine: pressure stall
//! information, µs in all. A kernel without it has no such files, or refuses to open them.

use std::path::Path;

use forebay_shared::sample::Pressure;

use crate::sampler::kernel_file::{KernelFile, Reader};
use crate::sampler::keyed;

pub(in crate::sampler) struct PressureFiles {
    cpu: KernelFile,
    memory: KernelFile,
    io: KernelFile,
}

impl PressureFiles {
    pub(in crate::sampler) fn of_cgroup() -> Self {
        let [cpu, memory, io] = ["cpu.pressure", "memory.pressure", "io.pressure"].map(KernelFile::new);
        Self { cpu, memory, io }
    }

    pub(in crate::sampler) fn of_machine() -> Self {
        let [cpu, memory, io] = ["cpu", "memory", "io"].map(KernelFile::new);
        Self { cpu, memory, io }
    }

    pub(in crate::sampler) fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut Pressure) {
        let mut read = |file: &mut KernelFile| file.read(dir, reader).map(totals).unwrap_or_default();
        (into.cpu_some_us, into.cpu_full_us) = read(&mut self.cpu);
        (into.memory_some_us, into.memory_full_us) = read(&mut self.memory);
        (into.io_some_us, into.io_full_us) = read(&mut self.io);
    }
}

/// The totals of `some` and `full`.
pub(in crate::sampler) fn totals(text: &str) -> (Option<u64>, Option<u64>) {
    (total(text, "some"), total(text, "full"))
}

#[inline(never)]
fn total(text: &str, kind: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    keyed::number(line.split_ascii_whitespace().find_map(|pair| pair.strip_prefix("total="))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_full_leaves_it_absent() {
        assert_eq!(totals("some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n"), (Some(12), None));
        let both = "some avg10=1.00 total=12\nfull avg10=0.00 total=3\n";
        assert_eq!(totals(both), (Some(12), Some(3)));
    }
}
