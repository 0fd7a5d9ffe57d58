//! The block device that a test may write to.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A block device: where a file lies, or what a device file stands for.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    number: u64,
}

impl Device {
    /// Of a path.
    ///
    /// # Errors
    /// The path is not there, or what it lies on is no block device (but an overlay, or memory).
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let metadata = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
        let number = if metadata.file_type().is_block_device() { metadata.rdev() } else { metadata.dev() };
        let device = Self { number };
        anyhow::ensure!(device.sys().exists(), "{} is not on a block device", path.display());
        Ok(device)
    }

    /// `major:minor` of the disk, even of a partition: throttling and counting are the whole disk's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn disk(self) -> anyhow::Result<String> {
        let of = if self.sys().join("partition").exists() { "../dev" } else { "dev" };
        let number = fs::read_to_string(self.sys().join(of)).context("the device has no number")?;
        Ok(number.trim().to_owned())
    }

    fn sys(self) -> PathBuf {
        format!("/sys/dev/block/{}:{}", libc::major(self.number), libc::minor(self.number)).into()
    }
}
