//! A cgroup of a test's own, and what the kernel's files tell of it: the truth that an agent's samples are held against.
//!
//! It is a leaf in a parent below the root of each controller, `/sys/fs/cgroup/cpu/forebay-test-PID-N/leaf` or the
//! like without `cpu`, and is removed when it is dropped. Nothing of the agent's code is used here, so that a mistake
//! there is not made again here.

mod truth;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use forebay_shared::ResourceSample;

use crate::{Device, until_some};

const ROOT: &str = "/sys/fs/cgroup";
/// cgroup v1: a tree each.
const TREES: [&str; 5] = ["cpu", "cpuacct", "memory", "blkio", "pids"];
/// cgroup v2: the controllers of the one tree.
const CONTROLLERS: &str = "+cpu +memory +io +pids";
/// A quota is per this time, the kernel's own default.
const PERIOD_US: f64 = 100_000.0;

/// A cgroup of a test's own.
#[derive(Debug)]
pub struct Cgroup {
    /// Without the root.
    path: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Cgroup {
    /// Whether this machine lets a test make one.
    ///
    /// # Errors
    /// What it lacks, as `needs …`.
    pub fn available() -> Result<(), &'static str> {
        if !crate::is_root() {
            return Err("needs root, to make a cgroup");
        }
        Version::mounted().map(|_| ()).ok_or("needs cgroups at /sys/fs/cgroup: v2, or v1's controllers one by one")
    }

    /// Makes one that has no process and no limit.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create() -> anyhow::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let parent = format!("forebay-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let version = Version::mounted().context("no cgroups are mounted")?;
        let cgroup = Self { path: Path::new(&parent).join("leaf"), version };
        for tree in cgroup.trees() {
            let dir = tree.join(&cgroup.path);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            if version == Version::V2 {
                put(&tree.join("cgroup.subtree_control"), CONTROLLERS)?;
                put(&tree.join(&parent).join("cgroup.subtree_control"), CONTROLLERS)?;
            }
        }
        Ok(cgroup)
    }

    /// As `--sampling cgroup=` wants it: a v2 directory, or a v1 path below the mounts.
    pub fn path(&self) -> PathBuf {
        match self.version {
            Version::V1 => Path::new("/").join(&self.path),
            Version::V2 => Path::new(ROOT).join(&self.path),
        }
    }

    /// Whether it is of cgroup v2.
    pub fn is_v2(&self) -> bool {
        self.version == Version::V2
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn admit(&self, pid: u32) -> anyhow::Result<()> {
        self.trees().iter().try_for_each(|tree| put(&tree.join(&self.path).join("cgroup.procs"), &pid.to_string()))
    }

    /// Gives it a CPU quota.
    ///
    /// # Errors
    /// The kernel's.
    pub fn limit_cpu(&self, cores: f64) -> anyhow::Result<()> {
        let quota = cores * PERIOD_US;
        match self.version {
            Version::V1 => put(&self.file("cpu", "cpu.cfs_period_us"), &PERIOD_US.to_string())
                .and_then(|()| put(&self.file("cpu", "cpu.cfs_quota_us"), &quota.to_string())),
            Version::V2 => put(&self.file("cpu", "cpu.max"), &format!("{quota} {PERIOD_US}")),
        }
    }

    /// Limits its memory, and keeps it out of swap where the kernel can. In v1 the limit of memory and swap together is
    /// checked first, and some kernels (seen on 6.18) count no hits of it: it lies a little above.
    ///
    /// # Errors
    /// The kernel's.
    pub fn limit_memory(&self, bytes: u64) -> anyhow::Result<()> {
        let (limit, swap, most) = match self.version {
            Version::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes + (1 << 20)),
            Version::V2 => ("memory.max", "memory.swap.max", 0),
        };
        put(&self.file("memory", limit), &bytes.to_string())?;
        // A kernel that does not count swap has no such file.
        let _ = put(&self.file("memory", swap), &most.to_string());
        Ok(())
    }

    /// Has the kernel count what goes to and from a device. In v1, newer kernels count nothing until a device has a
    /// throttling rule: this one never holds anything back.
    ///
    /// # Errors
    /// The kernel's.
    pub fn count_io(&self, device: Device) -> anyhow::Result<()> {
        let Version::V1 = self.version else { return Ok(()) };
        let rule = format!("{} {}", device.disk()?, 1_u64 << 40);
        put(&self.file("blkio", "blkio.throttle.write_bps_device"), &rule)
    }

    /// All that the kernel counts now: counters since the cgroup was made, where a sample has differences.
    pub fn truth(&self) -> ResourceSample {
        match self.version {
            Version::V1 => truth::v1(|tree, file| fs::read_to_string(self.file(tree, file)).ok()),
            Version::V2 => truth::v2(|file| fs::read_to_string(self.file("", file)).ok()),
        }
    }

    /// Copies the files of the leaf, its parent and the root to `$FOREBAY_TEST_RECORD/STEP`, if that is set.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn record(&self, step: &str) -> anyhow::Result<()> {
        let Some(to) = std::env::var_os("FOREBAY_TEST_RECORD") else { return Ok(()) };
        for tree in self.trees() {
            let (leaf, to) = (tree.join(&self.path), Path::new(&to).join(step));
            let under = tree.strip_prefix(ROOT).unwrap_or(&tree);
            for (name, dir) in ["leaf", "parent", "root"].into_iter().zip(leaf.ancestors()) {
                copy(dir, &to.join(under).join(name))?;
            }
        }
        Ok(())
    }

    fn trees(&self) -> Vec<PathBuf> {
        match self.version {
            Version::V1 => TREES.iter().map(|tree| Path::new(ROOT).join(tree)).collect(),
            Version::V2 => vec![ROOT.into()],
        }
    }

    fn file(&self, tree: &str, name: &str) -> PathBuf {
        let root = Path::new(ROOT);
        let root = if self.is_v2() { root.into() } else { root.join(tree) };
        root.join(&self.path).join(name)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that was just killed takes a moment to leave.
        let until = Instant::now() + Duration::from_secs(5);
        for tree in self.trees() {
            for dir in tree.join(&self.path).ancestors().take(2) {
                let gone = || (fs::remove_dir(dir).is_ok() || !dir.exists()).then_some(());
                if until_some(until, gone).is_err() {
                    eprintln!("cannot remove {}", dir.display());
                }
            }
        }
    }
}

impl Version {
    fn mounted() -> Option<Self> {
        let root = Path::new(ROOT);
        if root.join("cgroup.controllers").exists() {
            return Some(Self::V2);
        }
        TREES.iter().all(|tree| root.join(tree).join("cgroup.procs").exists()).then_some(Self::V1)
    }
}

fn put(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write `{text}` to {}", file.display()))
}

/// What a sampler may read of a directory.
fn copy(dir: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for name in truth::FILES {
        // Each is in some directories only: a root has no limits.
        if let Ok(text) = fs::read_to_string(dir.join(name)) {
            put(&to.join(name), &text)?;
        }
    }
    Ok(())
}
