//! Where a cgroup's files are: one directory (v2), one a controller (v1), or both (hybrid).

use std::path::{Path, PathBuf};

use super::super::v1;

/// A cgroup's directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sampler) struct Layout {
    pub(in crate::sampler) v1: v1::Dirs,
    pub(in crate::sampler) v2: Option<PathBuf>,
}

/// Which trees a cgroup is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sampler) enum Version {
    V1,
    V2,
    /// Controllers of v1, and a directory of v2 beside them: pressure is only told there.
    Hybrid,
}

impl Layout {
    /// Of the path that somebody gave: a directory of v2, or a path below the mounts at `root`.
    pub(in crate::sampler) fn given(root: &Path, path: &Path) -> Option<Self> {
        if path.is_absolute() && is_v2(path) {
            return Some(Self { v2: Some(path.to_owned()), v1: v1::Dirs::default() });
        }
        Self::find(root, path)
    }

    /// Of a path below the mounts at `root`; nothing if it is in none of them.
    pub(in crate::sampler) fn find(root: &Path, path: &Path) -> Option<Self> {
        Self::resolve(root, |mount| Some(below(mount, path)))
    }

    /// Of the directory that `resolve` names below each mount at `root`.
    pub(in crate::sampler) fn resolve(root: &Path, resolve: impl Fn(&Path) -> Option<PathBuf>) -> Option<Self> {
        let v2 = |mount: &Path| resolve(mount).filter(|dir| is_v2(dir));
        if is_v2(root) {
            return v2(root).map(|dir| Self { v2: Some(dir), v1: v1::Dirs::default() });
        }
        let mut layout = Self { v2: v2(&root.join("unified")).or_else(|| v2(root)), v1: v1::Dirs::default() };
        layout.v1.find(|mounts| {
            let dirs = mounts.iter().filter_map(|mount| resolve(&root.join(mount)));
            dirs.into_iter().find(|dir| dir.is_dir())
        });
        (layout.v2.is_some() || !layout.v1.is_empty()).then_some(layout)
    }

    pub(in crate::sampler) fn version(&self) -> Version {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => Version::V2,
            (Some(_), false) => Version::Hybrid,
            (None, _) => Version::V1,
        }
    }

    /// Where quota and throttling are told.
    pub(super) fn cpu_dir(&self) -> Option<&Path> {
        // With `cpuacct` of v1, use is told there: `cpu.stat` of v2 would tell it twice.
        let v2 = self.v2.as_deref().filter(|_| self.v1.cpuacct.is_none());
        self.v1.cpu.as_deref().or(v2)
    }
}

fn is_v2(dir: &Path) -> bool {
    dir.join("cgroup.controllers").exists()
}

/// `path` below `root`, even where `path` is absolute.
pub(in crate::sampler) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
