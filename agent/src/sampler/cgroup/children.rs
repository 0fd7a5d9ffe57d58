//! The children of a cgroup. They are listed when their number changes, when one of them is gone and, since one may
//! take another's place in between, now and then: the kernel counts a directory's children among its links, so that
//! one call on an open directory tells.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_shared::ResourceSample;

use super::super::kernel_file::Reader;
use super::{CpuFiles, v1, v2};

/// Children that are looked at: a pod has a handful of containers.
const MOST: usize = 256;
/// Of them, those whose files (three each) stay open.
const MOST_HELD: usize = 32;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

pub(super) struct Children {
    dir: PathBuf,
    open: Option<File>,
    links: u64,
    stale: bool,
    list: Vec<Child>,
}

struct Child {
    /// Never given twice: a cgroup that is made anew counts from zero.
    id: u64,
    dir: PathBuf,
    files: CpuFiles,
    gone: bool,
}

impl Children {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, open: None, links: 0, stale: true, list: Vec::new() }
    }

    /// Quota and throttling of each.
    pub(super) fn read(&mut self, reader: &mut Reader) -> impl Iterator<Item = (u64, ResourceSample)> {
        if self.is_stale(reader) {
            self.list();
        }
        let stale = &mut self.stale;
        self.list.iter_mut().filter_map(move |child| {
            let mut read = ResourceSample::default();
            child.files.read(&child.dir, reader, &mut read);
            child.gone = reader.take_gone();
            *stale |= child.gone;
            // Their use is in the whole's already.
            let read = ResourceSample {
                cpu_quota: read.cpu_quota,
                cpu_periods: read.cpu_periods,
                cpu_throttled_periods: read.cpu_throttled_periods,
                cpu_throttled_us: read.cpu_throttled_us,
                ..ResourceSample::default()
            };
            (!child.gone).then_some((child.id, read))
        })
    }

    fn is_stale(&mut self, reader: &Reader) -> bool {
        if self.open.is_none() {
            self.open = File::open(&self.dir).ok();
        }
        let links = self.open.as_ref().and_then(|dir| dir.metadata().ok()).map_or(0, |dir| dir.nlink());
        let changed = std::mem::replace(&mut self.links, links) != links;
        std::mem::take(&mut self.stale) | changed | reader.looks()
    }

    fn list(&mut self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut known = std::mem::take(&mut self.list);
        for dir in directories.take(MOST).map(|entry| entry.path()) {
            let old = known.iter().position(|child| child.dir == dir && !child.gone);
            let child = old.map(|at| known.swap_remove(at)).unwrap_or_else(|| self.child(dir));
            self.list.push(child);
        }
    }

    fn child(&self, dir: PathBuf) -> Child {
        let hold = self.list.len() < MOST_HELD;
        let is_v2 = dir.join("cgroup.controllers").exists();
        let files = if is_v2 { CpuFiles::V2(v2::cpu::Cpu::new(hold)) } else { CpuFiles::V1(v1::cpu::Cpu::new(hold)) };
        Child { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), dir, files, gone: false }
    }
}
