//! A cgroup: what is read of it and of its children.
//!
//! CPU use is hierarchical, throttling is not: a pod's cgroup without a quota holds containers with one each. So
//! where the cgroup's own quota is unlimited, quotas and throttling are summed over the direct children. A container's
//! own cgroup is read without them: what it makes below itself has no quota as a rule, and looking costs.

mod children;
mod layout;

use std::path::{Path, PathBuf};

use forebay_shared::{Millicores, ResourceSample};

use self::children::Children;
pub(super) use self::layout::{Layout, Version, below};
use super::kernel_file::Reader;
use super::reading::{Part, Reading};
use super::{v1, v2};

pub(super) struct Cgroup {
    layout: Layout,
    v1: v1::Files,
    v2: Option<v2::Files>,
    cpu: Option<CpuFiles>,
    /// Where it was found, if what is missing may still come.
    given: Option<(PathBuf, PathBuf)>,
    children: Option<Children>,
    as_opened: bool,
}

impl Cgroup {
    /// A container's.
    pub(super) fn of_container(layout: Layout) -> Self {
        let v2 = layout.v2.is_some().then(|| v2::Files::beside(&layout.v1));
        let cpu = CpuFiles::of(&layout, true);
        Self { layout, v1: v1::Files::default(), v2, cpu, given: None, children: None, as_opened: false }
    }

    /// The one that was given as `path` below `root`, where it is there; its children count too.
    pub(super) fn given(root: &Path, path: &Path) -> Option<Self> {
        let layout = Layout::given(root, path)?;
        let children = layout.cpu_dir().map(|dir| Children::new(dir.to_owned()));
        Some(Self { given: Some((root.to_owned(), path.to_owned())), children, ..Self::of_container(layout) })
    }

    /// From now on nothing is opened: its path may come to lead elsewhere.
    pub(super) fn keep_as_opened(&mut self) {
        self.as_opened = true;
    }

    pub(super) fn version(&self) -> Version {
        self.layout.version()
    }

    /// Reads into an empty reading; nothing once the cgroup is gone.
    pub(super) fn read(&mut self, reader: &mut Reader, reading: &mut Reading) -> Option<()> {
        if self.as_opened {
            reader.stop_looking();
        } else if reader.looks() {
            self.look_for_missing();
        }
        let whole = &mut reading.whole;
        // Before all others: it sets the use of v2 as well.
        if let (Some(cpu), Some(dir)) = (&mut self.cpu, self.layout.cpu_dir()) {
            cpu.read(dir, reader, whole);
        }
        if !self.layout.v1.is_empty() {
            self.v1.read(&self.layout.v1, reader, whole);
        }
        if let (Some(v2), Some(dir)) = (&mut self.v2, &self.layout.v2) {
            v2.read(dir, reader, whole);
        }
        let there = whole.cpu_us.or(whole.memory.map(|bytes| bytes.0)).or(whole.pids).is_some();
        if reader.take_gone() || !there {
            return None;
        }
        if whole.cpu_quota.is_none() {
            self.read_children(reader, reading);
        }
        Some(())
    }

    /// Whoever makes a cgroup of v1 makes one directory after the other.
    fn look_for_missing(&mut self) {
        let Some((root, path)) = &self.given else { return };
        let Some(layout) = Layout::given(root, path).filter(|layout| *layout != self.layout) else { return };
        let old = std::mem::replace(&mut self.layout, layout);
        self.v2 = self.layout.v2.is_some().then(|| v2::Files::beside(&self.layout.v1));
        if old.cpu_dir() != self.layout.cpu_dir() {
            self.cpu = CpuFiles::of(&self.layout, true);
            self.children = self.layout.cpu_dir().map(|dir| Children::new(dir.to_owned()));
        }
    }

    /// Quota and throttling of the children, in place of the own, if any child has a quota.
    fn read_children(&mut self, reader: &mut Reader, reading: &mut Reading) {
        let Some(children) = &mut self.children else { return };
        let mut quota = None;
        for (id, child) in children.read(reader) {
            let Some(Millicores(more)) = child.cpu_quota else { continue };
            quota = Some(quota.unwrap_or(0_u64).saturating_add(more));
            reading.parts.insert(Part::Child(id), child);
        }
        if quota.is_some() {
            let whole = &mut reading.whole;
            whole.cpu_quota = quota.map(Millicores);
            (whole.cpu_periods, whole.cpu_throttled_periods, whole.cpu_throttled_us) = (None, None, None);
        }
    }
}

/// Files of a cgroup's quota and throttling and, of v2, its use.
enum CpuFiles {
    V1(v1::cpu::Cpu),
    V2(v2::cpu::Cpu),
}

impl CpuFiles {
    fn of(layout: &Layout, hold: bool) -> Option<Self> {
        layout.cpu_dir().map(|_| {
            if layout.v1.cpu.is_some() { Self::V1(v1::cpu::Cpu::new(hold)) } else { Self::V2(v2::cpu::Cpu::new(hold)) }
        })
    }

    fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut ResourceSample) {
        match self {
            Self::V1(files) => files.read(dir, reader, into),
            Self::V2(files) => files.read(dir, reader, into),
        }
    }
}

#[cfg(test)]
mod tests;
