//! The directory of a run: store, logs, addresses, output.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// The directory; removed when dropped, unless it was asked for or is to be kept.
pub(super) struct RunDirectory {
    path: PathBuf,
    temporary: Cell<Option<TempDir>>,
}

impl RunDirectory {
    /// The one asked for, or a temporary one.
    ///
    /// # Errors
    /// If it can't be made.
    pub(super) fn create(asked: Option<&Path>) -> anyhow::Result<Self> {
        let temporary = match asked {
            Some(_) => None,
            None => {
                Some(tempfile::Builder::new().prefix("forebay-demo-").tempdir().context("cannot make a directory")?)
            }
        };
        let path = match (asked, &temporary) {
            (Some(path), _) => path.to_owned(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => PathBuf::new(),
        };
        fs::create_dir_all(path.join("logs")).with_context(|| format!("cannot make directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot find directory {}", path.display()))?;
        Ok(Self { path, temporary: Cell::new(temporary) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it, since something went wrong; says where it is.
    pub(super) fn keep(&self) -> String {
        if let Some(temporary) = self.temporary.take() {
            drop(temporary.keep());
        }
        format!("the demo failed; its directory is {}", self.path.display())
    }
}
