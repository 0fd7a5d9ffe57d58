//! cgroup v2: one tree, one directory.

pub(super) mod cpu;
pub(super) mod io;
pub(super) mod memory;
pub(super) mod pressure;

use std::path::Path;

use forebay_shared::ResourceSample;

use self::memory::Memory;
use self::pressure::PressureFiles;
use super::kernel_file::{KernelFile, Reader};
use super::v1;

/// The files of a directory, but those of the CPU. Where some controllers are of v1 (hybrid), only the others are read.
pub(super) struct Files {
    memory: Option<Memory>,
    io: Option<KernelFile>,
    pids: Option<KernelFile>,
    pressure: PressureFiles,
}

impl Files {
    /// Those that are not `elsewhere`.
    pub(super) fn beside(elsewhere: &v1::Dirs) -> Self {
        Self {
            memory: elsewhere.memory.is_none().then(Memory::default),
            io: elsewhere.blkio.is_none().then(|| KernelFile::new("io.stat")),
            pids: elsewhere.pids.is_none().then(|| KernelFile::new("pids.current")),
            pressure: PressureFiles::of_cgroup(),
        }
    }

    pub(super) fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut ResourceSample) {
        if let Some(memory) = &mut self.memory {
            memory.read(dir, reader, into);
        }
        if let Some(text) = self.io.as_mut().and_then(|file| file.read(dir, reader)) {
            io::stat(text, into);
        }
        if let Some(pids) = &mut self.pids {
            into.pids = pids.number(dir, reader);
        }
        self.pressure.read(dir, reader, &mut into.pressure);
    }
}
