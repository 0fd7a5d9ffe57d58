//! How a worker is kept to its share of a core: by the kernel where cgroups can be made, else by its own restraint.

mod cgroup;
mod pids;

use std::io;
use std::path::Path;

use forebay_shared::Millicores;

use self::cgroup::Cgroups;
use self::pids::PidFiles;
use super::node::WorkerId;
use super::worker::Stage;

/// Which limiter to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Choice {
    /// Cgroups if they can be made, else cooperative.
    Auto,
    /// Quotas of the kernel; fails where cgroups can't be made.
    Cgroup,
    /// Workers that pace themselves.
    Cooperative,
}

/// The limiter in use.
pub(super) enum Limiter {
    /// A CFS quota a worker, in a cgroup of its own.
    Cgroup(Cgroups),
    /// Workers pace themselves; the agents are told of their processes.
    Cooperative {
        /// Lists of processes for the agents.
        pids: PidFiles,
        /// Why not the other.
        because: String,
    },
}

impl Limiter {
    /// Sets up what was chosen; `run` is where lists of processes may be kept.
    ///
    /// # Errors
    /// If cgroups are insisted on and can't be made, or the lists can't be written.
    pub(super) fn set_up(choice: Choice, run: &Path) -> anyhow::Result<Self> {
        let cgroups = match choice {
            Choice::Cooperative => Err("it was asked for".to_owned()),
            Choice::Auto | Choice::Cgroup => Cgroups::create(),
        };
        match cgroups {
            Ok(cgroups) => Ok(Self::Cgroup(cgroups)),
            Err(because) if choice == Choice::Cgroup => {
                anyhow::bail!("--limiter cgroup: {because}; expected root or a delegated cgroup, or --limiter auto")
            }
            Err(because) => Ok(Self::Cooperative { pids: PidFiles::create(run)?, because }),
        }
    }

    /// For the banner.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Cgroup(cgroups) => format!("CFS quotas of the kernel, in cgroup {}", cgroups.path()),
            Self::Cooperative { because, .. } => format!("cooperative: workers pace themselves, as {because}"),
        }
    }

    /// The agent's `--sampling`.
    pub(super) fn sampling(&self, stage: Stage) -> String {
        match self {
            Self::Cgroup(cgroups) => format!("cgroup={}", cgroups.component_path(stage)),
            Self::Cooperative { pids, .. } => format!("pids={}", pids.path(stage).display()),
        }
    }

    /// Workers pace themselves: they have to be told their share.
    pub(super) fn is_cooperative(&self) -> bool {
        matches!(self, Self::Cooperative { .. })
    }

    /// Takes in a worker's process, before its first batch.
    pub(super) fn admit(&self, stage: Stage, id: WorkerId, pid: u32, share: Millicores) -> io::Result<()> {
        match self {
            Self::Cgroup(cgroups) => cgroups.admit(stage, id, pid, share),
            Self::Cooperative { pids, .. } => pids.add(stage, pid),
        }
    }

    /// Changes a worker's quota.
    pub(super) fn set(&self, stage: Stage, id: WorkerId, share: Millicores) -> io::Result<()> {
        match self {
            Self::Cgroup(cgroups) => cgroups.set(stage, id, share),
            Self::Cooperative { .. } => Ok(()),
        }
    }

    /// Forgets a worker whose process has ended.
    pub(super) fn dismiss(&self, stage: Stage, id: WorkerId, pid: u32) {
        match self {
            Self::Cgroup(cgroups) => cgroups.dismiss(stage, id),
            Self::Cooperative { pids, .. } => pids.remove(stage, pid),
        }
    }
}
