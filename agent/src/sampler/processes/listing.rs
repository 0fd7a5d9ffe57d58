//! Which processes are the component's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::Unreadable;
use super::super::discovery::membership;
use super::super::kernel_file::Reader;
use super::super::source::Lost;

/// Processes that are looked at.
const MOST: usize = 4096;

pub(super) enum Listing {
    /// A file with a PID a line; it may be replaced.
    File(PathBuf),
    /// A process and its descendants: one whose parent has ended stays.
    Tree { root: i32, members: BTreeSet<i32> },
    /// A container's processes by their key; of each process in sight, whether it is one.
    Container { key: String, members: BTreeMap<i32, bool> },
}

impl Listing {
    pub(super) fn tree(root: i32) -> Self {
        Self::Tree { root, members: BTreeSet::from([root]) }
    }

    pub(super) fn container(key: String) -> Self {
        Self::Container { key, members: BTreeMap::new() }
    }

    pub(super) fn pids(&mut self, proc: &Path, reader: &mut Reader) -> Result<BTreeSet<i32>, Lost> {
        match self {
            Self::File(file) => match reader.read_once(file) {
                Ok(text) => Ok(numbers(text).take(MOST).collect()),
                Err(error) => {
                    let file = file.display();
                    let text = format!("cannot read `{file}` ({error}): expected a file with a PID a line");
                    Err(Lost::Unreadable(Unreadable(text)))
                }
            },
            Self::Tree { root, members } => {
                grow(proc, members, reader);
                if members.is_empty() {
                    let text = format!("process {root} has ended: expected --sampling pid= to be a running one");
                    return Err(Lost::Unreadable(Unreadable(text)));
                }
                Ok(members.clone())
            }
            Self::Container { key, members } => {
                check(proc, key, members, reader);
                let of_container: BTreeSet<i32> =
                    members.iter().filter_map(|(pid, is_member)| is_member.then_some(*pid)).take(MOST).collect();
                if of_container.is_empty() { Err(Lost::Gone) } else { Ok(of_container) }
            }
        }
    }

    /// A process has ended.
    pub(super) fn forget(&mut self, pid: i32) {
        match self {
            Self::File(_) => {}
            Self::Tree { members, .. } => drop(members.remove(&pid)),
            Self::Container { members, .. } => drop(members.remove(&pid)),
        }
    }
}

/// Adds the children of members, and theirs. Each thread has its own.
fn grow(proc: &Path, members: &mut BTreeSet<i32>, reader: &mut Reader) {
    let mut open: Vec<i32> = members.iter().copied().collect();
    while let Some(pid) = open.pop() {
        let threads = proc.join(pid.to_string()).join("task");
        for thread in pids(&threads) {
            let Ok(text) = reader.read_once(&threads.join(thread.to_string()).join("children")) else { continue };
            for child in text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).filter(|pid| *pid > 0) {
                if members.len() < MOST && members.insert(child) {
                    open.push(child);
                }
            }
        }
    }
}

/// Looks at the processes that are new; now and then at all, since PIDs are used again.
fn check(proc: &Path, key: &str, members: &mut BTreeMap<i32, bool>, reader: &mut Reader) {
    let there: BTreeSet<i32> = pids(proc).collect();
    let all = reader.looks();
    members.retain(|pid, is_member| there.contains(pid) && (*is_member || !all));
    for pid in there {
        members.entry(pid).or_insert_with(|| {
            let text = reader.read_once(&proc.join(pid.to_string()).join("cgroup"));
            text.is_ok_and(|text| membership::container_key(text) == key)
        });
    }
}

/// The numbers among the names in `/proc` or in `task`.
pub(in crate::sampler) fn pids(dir: &Path) -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| *pid > 0).take(16 * MOST)
}

/// The PIDs of a list; lines that are none are left out.
pub(in crate::sampler) fn numbers(text: &str) -> impl Iterator<Item = i32> {
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0)
}
