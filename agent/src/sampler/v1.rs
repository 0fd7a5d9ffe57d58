//! cgroup v1: one tree a controller, mounted alone or jointly.

pub(super) mod blkio;
pub(super) mod cpu;
pub(super) mod cpuacct;
pub(super) mod memory;

use std::path::PathBuf;

use forebay_shared::ResourceSample;

use self::blkio::Blkio;
use self::cpuacct::Cpuacct;
use self::memory::Memory;
use super::kernel_file::{KernelFile, Reader};

/// Where each controller's tree may be mounted, below the root.
pub(super) const CPU: &[&str] = &["cpu", "cpu,cpuacct", "cpuacct,cpu"];
pub(super) const CPUACCT: &[&str] = &["cpuacct", "cpu,cpuacct", "cpuacct,cpu"];
pub(super) const MEMORY: &[&str] = &["memory"];
pub(super) const BLKIO: &[&str] = &["blkio"];
pub(super) const PIDS: &[&str] = &["pids"];
/// All of them, once each.
pub(super) const MOUNTS: [&str; 7] = ["memory", "cpu", "cpu,cpuacct", "cpuacct,cpu", "cpuacct", "pids", "blkio"];

/// A cgroup's directory under each controller where it has been found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dirs {
    pub(super) cpu: Option<PathBuf>,
    pub(super) cpuacct: Option<PathBuf>,
    pub(super) memory: Option<PathBuf>,
    pub(super) blkio: Option<PathBuf>,
    pub(super) pids: Option<PathBuf>,
}

impl Dirs {
    /// Asks `find` (names of mounts) for those not found yet: whoever makes a cgroup makes one directory after the
    /// other.
    pub(super) fn find(&mut self, mut find: impl FnMut(&[&str]) -> Option<PathBuf>) {
        let dirs = [&mut self.cpu, &mut self.cpuacct, &mut self.memory, &mut self.blkio, &mut self.pids];
        for (dir, mounts) in dirs.into_iter().zip([CPU, CPUACCT, MEMORY, BLKIO, PIDS]) {
            if dir.is_none() {
                *dir = find(mounts);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The files below [`Dirs`].
#[derive(Default)]
pub(super) struct Files {
    cpuacct: Cpuacct,
    memory: Memory,
    blkio: Blkio,
    pids: Pids,
}

struct Pids(KernelFile);

impl Default for Pids {
    fn default() -> Self {
        Self(KernelFile::new("pids.current"))
    }
}

impl Files {
    /// All but quota and throttling.
    pub(super) fn read(&mut self, dirs: &Dirs, reader: &mut Reader, into: &mut ResourceSample) {
        if let Some(dir) = &dirs.cpuacct {
            self.cpuacct.read(dir, reader, into);
        }
        if let Some(dir) = &dirs.memory {
            self.memory.read(dir, reader, into);
        }
        if let Some(dir) = &dirs.blkio {
            self.blkio.read(dir, reader, into);
        }
        if let Some(dir) = &dirs.pids {
            into.pids = self.pids.0.number(dir, reader);
        }
    }
}
