//! Discovery: where the component's container is to be seen from, and as whom.
//!
//! ```text
//!              ┌─ shared-pid ─► its processes in /proc ─► its own view of its cgroup, or else their counters
//! auto ─ pod ──┤
//!   │          └─ host-mount ─► its directory in the host's tree of cgroups
//!   └─ elsewhere ─► the machine's totals
//! ```
//!
//! Invariant: neither our own container nor the pod's sandbox is ever taken for the component's, and where several
//! containers could be it, none is: a reading of the wrong one is worse than none.

pub(super) mod container;
mod host_mount;
pub(super) mod membership;
pub(super) mod mountinfo;
pub(super) mod pod;
mod shared_pid;

use std::path::PathBuf;

use super::Unreadable;
use super::cgroup::Cgroup;
use super::host::Host;
use super::processes::Processes;
use super::source::{How, Source, Way};
use crate::args::Sampling;

/// What is known of the component's container. What is not known is absent, never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) uid: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    /// The name of the component's container.
    pub(crate) container: Option<String>,
    pub(crate) container_id: Option<String>,
}

/// Where the kernel's and the kubelet's files are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roots {
    pub(crate) proc: PathBuf,
    pub(crate) cgroup: PathBuf,
    pub(crate) host_cgroup: PathBuf,
    pub(crate) host_logs: PathBuf,
}

/// What is to be sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) sampling: Sampling,
    pub(crate) pod: Pod,
    pub(crate) roots: Roots,
    /// We run in a pod, so that the machine's totals are not the component's.
    pub(crate) in_pod: bool,
}

/// A way to the component.
pub(super) struct Found {
    pub(super) source: Source,
    pub(super) how: How,
    /// Tells containers apart: one that restarts is another.
    pub(super) identity: String,
    /// Why it is not the best way.
    pub(super) note: Option<String>,
}

impl Found {
    fn cgroup(way: Way, cgroup: Cgroup, identity: String) -> Self {
        let how = How::Cgroup(way, cgroup.version());
        Self { source: Source::Cgroup(Box::new(cgroup)), how, identity, note: None }
    }

    fn processes(way: Way, processes: Processes) -> Self {
        let source = Source::Processes(processes);
        Self { source, how: How::Processes(way), identity: String::new(), note: None }
    }

    /// Whether both see the same container in the same way.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.how == other.how && self.identity == other.identity
    }
}

impl Target {
    /// The component's container is sought among others: it may come later, and be replaced.
    pub(super) fn is_sought(&self) -> bool {
        match self.sampling {
            Sampling::Auto => self.in_pod,
            Sampling::SharedPid | Sampling::HostMount => true,
            Sampling::Cgroup(_) | Sampling::Pids(_) | Sampling::Pid(_) | Sampling::Host => false,
        }
    }

    /// Looks once.
    pub(super) fn find(&self) -> Result<Found, Unreadable> {
        let Roots { proc, cgroup: root, .. } = &self.roots;
        match &self.sampling {
            Sampling::Auto if self.in_pod => self.best(),
            Sampling::Auto | Sampling::Host => Ok(self.host()),
            Sampling::SharedPid => shared_pid::find(&self.pod, proc),
            Sampling::HostMount => host_mount::find(&self.pod, &self.roots),
            Sampling::Cgroup(path) => {
                let cgroup = Cgroup::given(root, path).ok_or_else(|| no_cgroup(path, root))?;
                Ok(Found::cgroup(Way::Given, cgroup, String::new()))
            }
            Sampling::Pids(file) => Ok(Found::processes(Way::Given, Processes::listed(proc, file.clone()))),
            Sampling::Pid(pid) => Ok(Found::processes(Way::Given, Processes::tree(proc, *pid))),
        }
    }

    /// A cgroup tells more than processes do.
    fn best(&self) -> Result<Found, Unreadable> {
        let shared = shared_pid::find(&self.pod, &self.roots.proc);
        if shared.as_ref().is_ok_and(|found| matches!(found.how, How::Cgroup(..))) {
            return shared;
        }
        let mounted = match host_mount::find(&self.pod, &self.roots) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        shared.map_err(|error| {
            Unreadable(format!("the component's container is not in sight; shared-pid: {error}; host-mount: {mounted}"))
        })
    }

    fn host(&self) -> Found {
        let source = Source::Host(Box::new(Host::new(self.roots.proc.clone())));
        Found { source, how: How::Host, identity: String::new(), note: None }
    }

    /// What to say once a source that was found cannot be read.
    pub(super) fn lost(&self) -> Unreadable {
        match &self.sampling {
            Sampling::Cgroup(path) => no_cgroup(path, &self.roots.cgroup),
            _ => Unreadable("the component's container is gone: expected it to restart".into()),
        }
    }
}

fn no_cgroup(path: &std::path::Path, root: &std::path::Path) -> Unreadable {
    Unreadable(format!(
        "cannot read any file of the cgroup `{}`: expected a cgroup v2 directory, or a cgroup v1 path below \
         {}/{{cpu,cpuacct,memory,blkio,pids}}",
        path.display(),
        root.display()
    ))
}

#[cfg(test)]
mod tests;
