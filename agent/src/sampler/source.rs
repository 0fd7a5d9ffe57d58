//! A source: what readings are taken of; and how, in the words that frames, metrics, health and log share.

use super::Unreadable;
use super::cgroup::{Cgroup, Version};
use super::host::Host;
use super::kernel_file::Reader;
use super::processes::Processes;
use super::reading::Reading;

/// What is sampled.
pub(super) enum Source {
    Cgroup(Box<Cgroup>),
    Processes(Processes),
    Host(Box<Host>),
}

/// Why there is no reading of a source.
pub(super) enum Lost {
    /// It is gone; another may take its place.
    Gone,
    /// It is told where it is, and that cannot be read.
    Unreadable(Unreadable),
}

impl Source {
    /// Reads into an empty reading.
    pub(super) fn read(&mut self, reader: &mut Reader, reading: &mut Reading) -> Result<(), Lost> {
        match self {
            Self::Cgroup(cgroup) => cgroup.read(reader, reading).ok_or(Lost::Gone),
            Self::Processes(processes) => processes.read(reader, reading),
            Self::Host(host) => host.read(reader, &mut reading.whole).map_err(Lost::Unreadable),
        }
    }
}

/// Who told where the source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Given,
    SharedPid,
    HostMount,
}

/// How samples are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Cgroup(Way, Version),
    Processes(Way),
    Host,
}

impl How {
    /// One of a small closed set: it is a frame's text and a metric's label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup(Way::Given, Version::V1) => "cgroup-v1",
            Self::Cgroup(Way::Given, Version::V2) => "cgroup-v2",
            Self::Cgroup(Way::Given, Version::Hybrid) => "cgroup-hybrid",
            Self::Cgroup(Way::SharedPid, Version::V1) => "shared-pid/cgroup-v1",
            Self::Cgroup(Way::SharedPid, Version::V2) => "shared-pid/cgroup-v2",
            Self::Cgroup(Way::SharedPid, Version::Hybrid) => "shared-pid/cgroup-hybrid",
            Self::Cgroup(Way::HostMount, Version::V1) => "host-mount/cgroup-v1",
            Self::Cgroup(Way::HostMount, Version::V2) => "host-mount/cgroup-v2",
            Self::Cgroup(Way::HostMount, Version::Hybrid) => "host-mount/cgroup-hybrid",
            Self::Processes(Way::SharedPid) => "shared-pid/processes",
            Self::Processes(Way::Given | Way::HostMount) => "processes",
            Self::Host => "host",
        }
    }
}
