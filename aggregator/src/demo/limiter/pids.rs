//! Lists of each component's processes, for agents that sample by process: a number a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::demo::worker::Stage;

/// The lists, a file a component.
pub(in crate::demo) struct PidFiles {
    dir: PathBuf,
    processes: Mutex<BTreeMap<&'static str, BTreeSet<u32>>>,
}

impl PidFiles {
    /// Empty lists in `dir`.
    ///
    /// # Errors
    /// If they can't be written.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        let files = Self { dir: dir.to_owned(), processes: Mutex::default() };
        Stage::ALL.iter().try_for_each(|stage| files.change(*stage, |_| {}))?;
        Ok(files)
    }

    /// The file of a component.
    pub(super) fn path(&self, stage: Stage) -> PathBuf {
        self.dir.join(format!("{}.pids", stage.name()))
    }

    /// Adds a process.
    pub(super) fn add(&self, stage: Stage, pid: u32) -> io::Result<()> {
        self.change(stage, |pids| pids.extend([pid]))
    }

    /// Removes one. A list that can't be written keeps a process that is gone, which agents pass over.
    pub(super) fn remove(&self, stage: Stage, pid: u32) {
        self.change(stage, |pids| pids.retain(|other| *other != pid)).ok();
    }

    /// Written aside and renamed, so that a reader sees the list before or after, never half of it.
    fn change(&self, stage: Stage, change: impl FnOnce(&mut BTreeSet<u32>)) -> io::Result<()> {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        let pids = processes.entry(stage.name()).or_default();
        change(pids);
        let text: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        let path = self.path(stage);
        let aside = path.with_extension("pids.new");
        fs::write(&aside, text)?;
        fs::rename(&aside, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_processes_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let files = PidFiles::create(dir.path()).unwrap();
        files.add(Stage::Load, 7).unwrap();
        files.add(Stage::Load, 5).unwrap();
        files.add(Stage::Load, 6).unwrap();
        files.remove(Stage::Load, 5);
        assert_eq!(fs::read_to_string(files.path(Stage::Load)).unwrap(), "6\n7\n");
        assert_eq!(fs::read_to_string(files.path(Stage::Ingest)).unwrap(), "");
    }
}
