//! A cgroup: which version it is, and what is read of it and of its children.
//!
//! CPU use is hierarchical, throttling is not: a pod's cgroup without a quota holds containers with one each. So
//! where the cgroup's own quota is unlimited, quotas and throttling are summed over the direct children.

use std::path::{Path, PathBuf};

use forebay_shared::{Millicores, ResourceSample};

use super::kernel_file::KernelFiles;
use super::reading::{Part, Reading};
use super::{Unreadable, v1, v2};

/// Children that are looked at: a pod has a handful of containers.
const MOST_CHILDREN: usize = 256;

pub(super) struct Cgroup {
    root: PathBuf,
    path: PathBuf,
    place: Place,
}

/// Where the cgroup's files are, as far as they have been found.
enum Place {
    Nowhere,
    V1(v1::Dirs),
    V2(PathBuf),
}

impl Cgroup {
    pub(super) fn new(root: PathBuf, path: PathBuf) -> Self {
        Self { root, path, place: Place::Nowhere }
    }

    /// A reading, and how it was taken. The cgroup may not be there yet, or be gone for now.
    pub(super) fn read(&mut self, files: &mut KernelFiles) -> Result<(Reading, &'static str), Unreadable> {
        self.find(files);
        let (reading, how) = match &self.place {
            Place::V2(dir) => (read_v2(dir, files), "cgroup-v2"),
            Place::V1(dirs) => (read_v1(dirs, files), "cgroup-v1"),
            Place::Nowhere => return Err(self.unreadable()),
        };
        if reading == Reading::default() {
            self.place = Place::Nowhere;
            return Err(self.unreadable());
        }
        Ok((reading, how))
    }

    /// Looks for what has not been found yet; and for all of it, if it is gone.
    fn find(&mut self, files: &mut KernelFiles) {
        let found = match &self.place {
            Place::V1(dirs) => dirs.first(),
            Place::V2(dir) => Some(dir.as_path()),
            Place::Nowhere => None,
        };
        if !found.is_some_and(Path::is_dir) {
            files.close();
            self.place = Place::Nowhere;
        }
        match &mut self.place {
            Place::V2(_) => {}
            Place::V1(dirs) => dirs.find(&self.root, &self.path),
            Place::Nowhere => self.place = self.look(),
        }
    }

    fn look(&self) -> Place {
        let below_root = below(&self.root, &self.path);
        let unified = [&self.path, &below_root].into_iter().find(|dir| dir.join("cgroup.controllers").exists());
        if let Some(dir) = unified {
            return Place::V2(dir.clone());
        }
        let mut dirs = v1::Dirs::default();
        dirs.find(&self.root, &self.path);
        if dirs.first().is_some() { Place::V1(dirs) } else { Place::Nowhere }
    }

    fn unreadable(&self) -> Unreadable {
        Unreadable(format!(
            "cannot read any file of the cgroup `{}`: expected a cgroup v2 directory, or a cgroup v1 path below \
             {}/{{cpu,cpuacct,memory,blkio,pids}}",
            self.path.display(),
            self.root.display()
        ))
    }
}

/// `path` below `root`, even where `path` is absolute.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn read_v2(dir: &Path, files: &mut KernelFiles) -> Reading {
    let mut reading = Reading::default();
    v2::cpu::usage(dir, files, &mut reading.whole);
    throttling(dir, files, &mut reading, v2::cpu::throttling);
    v2::memory::read(dir, files, &mut reading.whole);
    v2::io::read(dir, files, &mut reading.whole);
    v2::pressure::read(dir, files, &mut reading.whole.pressure);
    reading.whole.pids = files.number(&dir.join("pids.current"));
    reading
}

fn read_v1(dirs: &v1::Dirs, files: &mut KernelFiles) -> Reading {
    let mut reading = Reading::default();
    if let Some(dir) = &dirs.cpuacct {
        v1::cpuacct::read(dir, files, &mut reading.whole);
    }
    if let Some(dir) = &dirs.cpu {
        throttling(dir, files, &mut reading, v1::cpu::throttling);
    }
    if let Some(dir) = &dirs.memory {
        v1::memory::read(dir, files, &mut reading.whole);
    }
    if let Some(dir) = &dirs.blkio {
        v1::blkio::read(dir, files, &mut reading.whole);
    }
    reading.whole.pids = dirs.pids.as_ref().and_then(|dir| files.number(&dir.join("pids.current")));
    reading
}

/// Quota and throttling, of the cgroup itself or else of its children.
fn throttling(
    dir: &Path,
    files: &mut KernelFiles,
    reading: &mut Reading,
    read: fn(&Path, &mut KernelFiles, &mut ResourceSample),
) {
    let mut own = ResourceSample::default();
    read(dir, files, &mut own);
    let children = if own.cpu_quota.is_none() { children_with_quota(dir, files, read) } else { Vec::new() };
    if children.is_empty() {
        let whole = &mut reading.whole;
        whole.cpu_quota = own.cpu_quota;
        whole.cpu_periods = own.cpu_periods;
        whole.cpu_throttled_periods = own.cpu_throttled_periods;
        whole.cpu_throttled_us = own.cpu_throttled_us;
        return;
    }
    let quota = children.iter().filter_map(|(_, child)| child.cpu_quota).map(|quota| quota.0).sum();
    reading.whole.cpu_quota = Some(Millicores(quota));
    reading.parts.extend(children.into_iter().map(|(name, child)| (Part::Child(name), child)));
}

fn children_with_quota(
    dir: &Path,
    files: &mut KernelFiles,
    read: fn(&Path, &mut KernelFiles, &mut ResourceSample),
) -> Vec<(String, ResourceSample)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let children = directories.take(MOST_CHILDREN).filter_map(|entry| {
        let mut child = ResourceSample::default();
        read(&entry.path(), files, &mut child);
        child.cpu_quota?;
        Some((entry.file_name().to_string_lossy().into_owned(), child))
    });
    children.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_shared::Bytes;

    /// Writes `files` (path below the root, text) and reads `/app`.
    fn read(root: &Path, path: &str, tree: &[(&str, &str)]) -> Result<(Reading, &'static str), Unreadable> {
        for (file, text) in tree {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Cgroup::new(root.to_owned(), path.into()).read(&mut KernelFiles::default())
    }

    #[test]
    fn a_v1_cgroup_is_found_under_each_controllers_mount() {
        let root = tempfile::tempdir().unwrap();
        let tree = [
            ("cpu,cpuacct/app/cpuacct.usage", "2500000\n"),
            ("cpu,cpuacct/app/cpuacct.stat", "user 10\nsystem 5\n"),
            ("cpu,cpuacct/app/cpu.stat", "nr_periods 7\nnr_throttled 2\nthrottled_time 9000\n"),
            ("cpu,cpuacct/app/cpu.cfs_quota_us", "50000\n"),
            ("cpu,cpuacct/app/cpu.cfs_period_us", "100000\n"),
            ("memory/app/memory.usage_in_bytes", "9000\n"),
            ("pids/app/pids.current", "3\n"),
        ];
        let (reading, how) = read(root.path(), "/app", &tree).unwrap();
        let whole = reading.whole;
        assert_eq!(how, "cgroup-v1");
        assert_eq!((whole.cpu_us, whole.cpu_user_us), (Some(2500), Some(100_000)));
        assert_eq!(
            (whole.cpu_periods, whole.cpu_throttled_periods, whole.cpu_throttled_us),
            (Some(7), Some(2), Some(9))
        );
        assert_eq!(whole.cpu_quota, Some(Millicores(500)));
        assert_eq!((whole.memory, whole.pids), (Some(Bytes(9000)), Some(3)));
        assert_eq!((whole.io_read_bytes, whole.memory_limit), (None, None));
    }

    #[test]
    fn a_v2_cgroup_is_read_from_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("unified/app");
        let tree = [
            ("unified/app/cgroup.controllers", "cpu memory\n"),
            ("unified/app/cpu.stat", "usage_usec 500\nuser_usec 300\nsystem_usec 200\nnr_periods 4\n"),
            ("unified/app/cpu.max", "150000 100000\n"),
            ("unified/app/memory.current", "4096\n"),
            ("unified/app/io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\n"),
        ];
        let (reading, how) = read(root.path(), dir.to_str().unwrap(), &tree).unwrap();
        assert_eq!(
            (how, reading.whole.cpu_us, reading.whole.cpu_quota),
            ("cgroup-v2", Some(500), Some(Millicores(1500)))
        );
        assert_eq!((reading.whole.memory, reading.whole.pressure.io_some_us), (Some(Bytes(4096)), Some(77)));
        assert_eq!((reading.whole.pids, reading.whole.oom_kills), (None, None));
    }

    #[test]
    fn without_an_own_quota_those_of_the_children_are_summed() {
        let root = tempfile::tempdir().unwrap();
        let tree = [
            ("cpu/app/cpu.cfs_quota_us", "-1\n"),
            ("cpu/app/cpu.cfs_period_us", "100000\n"),
            ("cpu/app/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n"),
            ("cpu/app/one/cpu.cfs_quota_us", "20000\n"),
            ("cpu/app/one/cpu.cfs_period_us", "100000\n"),
            ("cpu/app/one/cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 5000\n"),
            ("cpu/app/two/cpu.cfs_quota_us", "30000\n"),
            ("cpu/app/two/cpu.cfs_period_us", "100000\n"),
            ("cpu/app/two/cpu.stat", "nr_periods 6\nnr_throttled 1\nthrottled_time 1000\n"),
            ("cpu/app/pause/cpu.cfs_quota_us", "-1\n"),
        ];
        let (before, _) = read(root.path(), "/app", &tree).unwrap();
        assert_eq!(before.whole.cpu_quota, Some(Millicores(500)));
        let later = [("cpu/app/one/cpu.stat", "nr_periods 15\nnr_throttled 6\nthrottled_time 8000\n")];
        let (now, _) = read(root.path(), "/app", &later).unwrap();
        let sample = now.since(&before);
        assert_eq!(
            (sample.cpu_periods, sample.cpu_throttled_periods, sample.cpu_throttled_us),
            (Some(5), Some(2), Some(3))
        );
    }
}
