//! cgroup v1: one tree a controller, mounted alone or jointly.

pub(super) mod blkio;
pub(super) mod cpu;
pub(super) mod cpuacct;
pub(super) mod memory;

use std::path::{Path, PathBuf};

use super::cgroup::below;

/// A cgroup's directory under each controller where it has been found.
#[derive(Default)]
pub(super) struct Dirs {
    pub(super) cpu: Option<PathBuf>,
    pub(super) cpuacct: Option<PathBuf>,
    pub(super) memory: Option<PathBuf>,
    pub(super) blkio: Option<PathBuf>,
    pub(super) pids: Option<PathBuf>,
}

impl Dirs {
    /// Looks for those not found yet: whoever makes a cgroup makes one directory after the other.
    pub(super) fn find(&mut self, root: &Path, path: &Path) {
        let find = |dir: &mut Option<PathBuf>, mounts: &[&str]| {
            if dir.is_none() {
                *dir = mounts.iter().map(|mount| below(&root.join(mount), path)).find(|dir| dir.is_dir());
            }
        };
        find(&mut self.cpu, &["cpu", "cpu,cpuacct", "cpuacct,cpu"]);
        find(&mut self.cpuacct, &["cpuacct", "cpu,cpuacct", "cpuacct,cpu"]);
        find(&mut self.memory, &["memory"]);
        find(&mut self.blkio, &["blkio"]);
        find(&mut self.pids, &["pids"]);
    }

    /// One of those found.
    pub(super) fn first(&self) -> Option<&Path> {
        let dirs = [&self.cpuacct, &self.cpu, &self.memory, &self.blkio, &self.pids];
        dirs.into_iter().find_map(|dir| dir.as_deref())
    }
}
