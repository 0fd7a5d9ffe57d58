//! A cgroup a worker, with a CFS quota.
//!
//! ```text
//! v1  /sys/fs/cgroup/{cpu,cpuacct,memory}/forebay-demo-PID/COMPONENT/WORKER
//! v2  /sys/fs/cgroup/(own or a delegated ancestor)/forebay-demo-PID/COMPONENT/WORKER
//! ```
//!
//! Only directories of this name are ever made, changed or removed. Those of demos that are dead are removed first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use forebay_shared::Millicores;

use crate::demo::node::WorkerId;
use crate::demo::worker::Stage;

const PREFIX: &str = "forebay-demo-";
/// Length of a quota's period, µs: short beside the time that a batch takes.
const PERIOD_US: u64 = 50_000;
/// The least quota that the kernel takes, µs.
const LEAST_QUOTA_US: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The demo's cgroups; removed when dropped.
pub(in crate::demo) struct Cgroups {
    version: Version,
    /// The demo's directory in each hierarchy; the one with the quotas first.
    dirs: Vec<PathBuf>,
    /// The same below the hierarchy's root, as agents name it.
    path: String,
}

impl Cgroups {
    /// Makes the demo's cgroup and one a component; tells why if that can't be done.
    pub(super) fn create() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::create_in(Path::new("/sys/fs/cgroup"), &own, process::id())
    }

    fn create_in(root: &Path, own: &str, pid: u32) -> Result<Self, String> {
        let name = format!("{PREFIX}{pid}");
        let v1 = v1_parents(root);
        if !v1.is_empty() {
            // Memory is only watched: a demo that may not have it goes without.
            let memory = fs::canonicalize(root.join("memory")).ok();
            let watched = v1.iter().cloned().chain(memory).collect();
            let path = format!("/{name}");
            return Self::create_at(Version::V1, watched, &name, path.clone())
                .or_else(|_| Self::create_at(Version::V1, v1, &name, path));
        }
        let mut problem = "no cgroup of this process has a cpu controller".to_owned();
        for parent in v2_parents(own) {
            let dir = root.join(parent.trim_start_matches('/'));
            match Self::create_at(Version::V2, vec![dir], &name, format!("{}/{name}", parent.trim_end_matches('/'))) {
                Ok(cgroups) => return Ok(cgroups),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    fn create_at(version: Version, parents: Vec<PathBuf>, name: &str, path: String) -> Result<Self, String> {
        parents.iter().for_each(|parent| remove_leftovers(parent));
        let dirs = parents.iter().map(|parent| parent.join(name)).collect();
        // From here on, a failure removes what is there.
        let cgroups = Self { version, dirs, path };
        for dir in &cgroups.dirs {
            cgroups.make(dir).map_err(|error| format!("{} cannot be made: {error}", dir.display()))?;
            for stage in Stage::ALL {
                let dir = dir.join(stage.name());
                cgroups.make(&dir).map_err(|error| format!("{} cannot be made: {error}", dir.display()))?;
            }
        }
        cgroups.probe()?;
        Ok(cgroups)
    }

    /// Makes one cgroup, with the cpu controller on in it.
    fn make(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)?;
        let parent = dir.parent().unwrap_or(dir);
        if self.version == Version::V2 && !has_cpu(parent)? {
            fs::write(parent.join("cgroup.subtree_control"), "+cpu")?;
        }
        Ok(())
    }

    /// Limits a process of no consequence: all that `admit` will need must work.
    fn probe(&self) -> Result<(), String> {
        let problem = |error: io::Error| format!("a process cannot be moved into {}: {error}", self.path);
        let mut child = process::Command::new("sleep").arg("5").spawn().map_err(problem)?;
        let admitted = self.admit(Stage::Ingest, WorkerId::MAX, child.id(), Millicores(100));
        child.kill().and_then(|()| child.wait()).map_err(problem)?;
        self.dismiss(Stage::Ingest, WorkerId::MAX);
        admitted.map_err(problem)
    }

    /// The demo's cgroup.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// A component's cgroup.
    pub(super) fn component_path(&self, stage: Stage) -> String {
        format!("{}/{}", self.path, stage.name())
    }

    /// Makes a worker's cgroup and moves its process there.
    pub(super) fn admit(&self, stage: Stage, id: WorkerId, pid: u32, share: Millicores) -> io::Result<()> {
        for dir in self.worker_dirs(stage, id) {
            fs::create_dir(&dir)?;
        }
        self.set(stage, id, share)?;
        self.worker_dirs(stage, id).try_for_each(|dir| fs::write(dir.join("cgroup.procs"), pid.to_string()))
    }

    /// Sets a worker's quota.
    pub(super) fn set(&self, stage: Stage, id: WorkerId, share: Millicores) -> io::Result<()> {
        let Some(dir) = self.worker_dirs(stage, id).next() else { return Ok(()) };
        let (quota, period) = quota(share);
        match self.version {
            Version::V1 => {
                fs::write(dir.join("cpu.cfs_period_us"), period.to_string())?;
                fs::write(dir.join("cpu.cfs_quota_us"), quota.to_string())
            }
            Version::V2 => fs::write(dir.join("cpu.max"), format!("{quota} {period}")),
        }
    }

    /// Removes a worker's cgroup, once its process has ended.
    pub(super) fn dismiss(&self, stage: Stage, id: WorkerId) {
        self.worker_dirs(stage, id).for_each(|dir| drop(fs::remove_dir(dir)));
    }

    fn worker_dirs(&self, stage: Stage, id: WorkerId) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().map(move |dir| dir.join(stage.name()).join(id.to_string()))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.dirs.iter().for_each(|dir| remove(dir));
    }
}

/// The cpu controller is on for the children of a cgroup of v2; cpuset is another one.
fn has_cpu(dir: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(dir.join("cgroup.subtree_control"))?.split_whitespace().any(|name| name == "cpu"))
}

/// Quota and period of a share, µs. Below the least quota, the period is made longer.
fn quota(share: Millicores) -> (u64, u64) {
    let quota = PERIOD_US * share.0 / 1000;
    if quota >= LEAST_QUOTA_US {
        return (quota, PERIOD_US);
    }
    (LEAST_QUOTA_US, LEAST_QUOTA_US * 1000 / share.0.max(1))
}

/// Roots of the hierarchies of cpu and cpuacct, which may be one; empty if this is not v1.
fn v1_parents(root: &Path) -> Vec<PathBuf> {
    let find = |names: &[&str]| {
        names.iter().map(|name| root.join(name)).find(|dir| dir.is_dir()).and_then(|dir| fs::canonicalize(dir).ok())
    };
    let cpu = find(&["cpu", "cpu,cpuacct", "cpuacct,cpu"]);
    let cpuacct = find(&["cpuacct", "cpu,cpuacct", "cpuacct,cpu"]);
    match (cpu, cpuacct) {
        (Some(cpu), Some(cpuacct)) if cpu == cpuacct => vec![cpu],
        (Some(cpu), Some(cpuacct)) => vec![cpu, cpuacct],
        _ => Vec::new(),
    }
}

/// This process's own cgroup of v2 and its ancestors, nearest first, from the text of `/proc/self/cgroup`.
fn v2_parents(own: &str) -> Vec<&str> {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")) else { return Vec::new() };
    let ancestors = Path::new(path).ancestors();
    ancestors.filter_map(Path::to_str).collect()
}

/// Removes the cgroups of demos whose process is gone.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&entry.path());
        }
    }
}

/// Removes a cgroup and those in it, from the leaves up. One that still holds processes stays.
fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(dir).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_becomes_a_quota_that_the_kernel_takes() {
        assert_eq!(quota(Millicores(100)), (5000, 50_000));
        assert_eq!(quota(Millicores(1000)), (50_000, 50_000));
        assert_eq!(quota(Millicores(10)), (1000, 100_000));
    }

    #[test]
    fn own_and_ancestors_are_tried_nearest_first() {
        let own = "1:cpu:/x\n0::/user.slice/a.scope\n";
        assert_eq!(v2_parents(own), ["/user.slice/a.scope", "/user.slice", "/"]);
        assert_eq!(v2_parents("1:cpu:/x\n"), [] as [&str; 0]);
    }

    #[test]
    fn joint_and_separate_hierarchies_of_v1_are_found() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(v1_parents(root.path()).len(), 0);
        fs::create_dir(root.path().join("cpu,cpuacct")).unwrap();
        assert_eq!(v1_parents(root.path()).len(), 1);
        fs::create_dir(root.path().join("cpu")).unwrap();
        fs::create_dir(root.path().join("cpuacct")).unwrap();
        assert_eq!(v1_parents(root.path()).len(), 2);
    }

    #[test]
    fn leftovers_of_dead_demos_go_and_all_else_stays() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str| fs::create_dir_all(root.path().join(name)).unwrap();
        // Above the kernel's highest process number.
        make("forebay-demo-4194305/ingest/3");
        make(&format!("forebay-demo-{}/load", process::id()));
        make("forebay-demo-x");
        make("other/ingest");
        remove_leftovers(root.path());
        let left = |name: &str| root.path().join(name).exists();
        assert!(!left("forebay-demo-4194305"));
        assert!(
            left(&format!("forebay-demo-{}/load", process::id())) && left("forebay-demo-x") && left("other/ingest")
        );
    }
}
