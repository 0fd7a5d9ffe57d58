//! Trees of fake kernel files, for tests.

use std::path::Path;

use tempfile::TempDir;

/// A directory that is removed with it.
pub(super) struct Tree(TempDir);

impl Tree {
    /// Of files: path below the root, and text.
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (file, text) in files {
            tree.write(file, text);
        }
        tree
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        let file = self.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

/// Empties all files below a directory. The kernel answers an open file of a cgroup or process that is gone with an
/// error, a disk goes on to tell what is in it: before a fake one is removed it must be emptied.
pub(super) fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            empty(&entry.path());
        } else if kind.is_file() {
            std::fs::write(entry.path(), "").unwrap();
        }
    }
}

/// Removes a fake cgroup or process.
pub(super) fn remove(dir: &Path) {
    empty(dir);
    std::fs::remove_dir_all(dir).unwrap();
}

/// The id of a container.
pub(super) fn id(n: u32) -> String {
    format!("{n:064x}")
}

/// Of `/proc/PID/cgroup`: a container beside our own.
pub(super) fn cgroup_line(n: u32) -> String {
    format!("0::/../cri-containerd-{}.scope\n", id(n))
}

/// A process that started soon after boot, has three threads, and used `ticks`.
pub(super) fn process(proc: &Tree, pid: i32, ticks: u64, cgroup: &str) {
    let stat = format!("{pid} (app) S 1 1 1 0 -1 0 1 2 3 4 {ticks} 0 5 6 20 0 3 0 10 1000000 250 1844 1 1\n");
    proc.write(&format!("{pid}/stat"), &stat);
    proc.write(&format!("{pid}/io"), "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\n");
    proc.write(&format!("{pid}/cgroup"), cgroup);
    proc.write(&format!("{pid}/comm"), "app\n");
}
