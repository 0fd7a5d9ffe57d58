//! A pod's directory in a tree of cgroups, by the pod's UID.
//!
//! ```text
//! kubepods/burstable/pod<uid>                                                         cgroupfs driver
//! kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid with _>.slice    systemd driver
//! kubelet.slice/kubelet-kubepods.slice/…, kubelet/kubepods/…                          below a root of the kubelet's
//! ```
//!
//! Guaranteed pods lie directly below `kubepods`.

use std::path::{Path, PathBuf};

use super::container;

/// Directories that are looked into: a node has a hundred pods, a few levels deep.
const MOST: usize = 4096;
const DEEPEST: usize = 8;

/// The pod's directory, below `tree`.
pub(super) fn find(tree: &Path, uid: &str) -> Option<PathBuf> {
    let mut open = vec![PathBuf::new()];
    let mut looked_into = 0;
    while let Some(dir) = open.pop() {
        let depth = dir.components().count();
        looked_into += 1;
        if looked_into > MOST || depth > DEEPEST {
            continue;
        }
        for name in directories(&tree.join(&dir)) {
            if is_pod(&name, uid) {
                return Some(dir.join(name));
            }
            // Below the root any name may hold the kubelet's, and nothing else is looked into.
            if depth == 0 || leads_to_pods(&name) {
                open.push(dir.join(name));
            }
        }
    }
    None
}

/// The containers below a pod's directory: id, and the directory's name.
pub(super) fn containers(pod: &Path) -> Vec<(String, String)> {
    let named = directories(pod).filter_map(|name| Some((container::id(&name)?.to_owned(), name)));
    let mut containers: Vec<_> = named.collect();
    containers.sort_unstable();
    containers
}

fn directories(dir: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(MOST);
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.filter_map(|entry| entry.file_name().into_string().ok())
}

pub(in crate::sampler) fn is_pod(name: &str, uid: &str) -> bool {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let Some((before, found)) = name.rsplit_once("pod") else { return false };
    let systemd = before.ends_with('-') && found == uid.replace('-', "_");
    !uid.is_empty() && (systemd || (before.is_empty() && found == uid))
}

fn leads_to_pods(name: &str) -> bool {
    ["kubepods", "kubelet"].iter().any(|part| name.contains(part)) && !name.contains("-pod")
        || ["burstable", "besteffort", "guaranteed"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::testing::Tree;

    const UID: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn a_pod_is_found_with_either_driver_in_every_class_and_below_any_root() {
        let dashes = UID.replace('-', "_");
        for dir in [
            format!("kubepods/pod{UID}"),
            format!("kubepods/burstable/pod{UID}"),
            format!("kubepods/besteffort/pod{UID}"),
            format!("kubepods.slice/kubepods-pod{dashes}.slice"),
            format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{dashes}.slice"),
            format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{dashes}.slice"),
            format!("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{dashes}.slice"),
            format!("kubelet/kubepods/burstable/pod{UID}"),
            format!("node/kubepods/burstable/pod{UID}"),
        ] {
            let tree = Tree::new(&[("system.slice/deep/er/file", ""), ("kubepods/burstable/podother/x/y", "")]);
            tree.write(&format!("{dir}/cgroup.procs"), "");
            assert_eq!(find(tree.path(), UID), Some(PathBuf::from(&dir)), "{dir}");
            assert_eq!(find(tree.path(), "22222222-2222-3333-4444-555555555555"), None);
        }
    }

    #[test]
    fn a_uid_is_matched_whole() {
        assert!(is_pod("pod1234", "1234") && is_pod("kubepods-pod1_2.slice", "1-2"));
        for (name, uid) in [("pod1234", "123"), ("pod1234", "234"), ("mypod1234", "1234"), ("pod", ""), ("x", "x")] {
            assert!(!is_pod(name, uid), "{name} {uid}");
        }
    }
}
