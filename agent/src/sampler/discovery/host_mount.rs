//! With the host's tree of cgroups mounted: the pod's directory by its UID, and in it the component's container.
//!
//! Which one that is tell, in this order: an id that was given; the newest of the kubelet's links to the container's
//! logs whose container is there (only names are read); and otherwise what is left without our own container and the
//! sandbox. The names of the links need no right to the logs.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::cgroup::{Cgroup, Layout};
use super::super::kernel_file::Reader;
use super::super::source::Way;
use super::super::{Unreadable, v1};
use super::{Found, Pod, Roots, container, membership, mountinfo, pod};

/// Links that are looked at: a node has a hundred pods with a few containers each.
const MOST_LINKS: usize = 16 << 10;

pub(super) fn find(pod: &Pod, roots: &Roots) -> Result<Found, Unreadable> {
    let root = &roots.host_cgroup;
    let uid = pod.uid.as_deref().ok_or_else(|| {
        Unreadable("the pod's UID is not known: expected --pod-uid, from metadata.uid by the downward API".into())
    })?;
    let trees = trees(root);
    if trees.is_empty() {
        let expected = "expected the host's /sys/fs/cgroup to be mounted there, read-only";
        return Err(Unreadable(format!("no cgroups at {}: {expected}", root.display())));
    }
    let (tree, dir) = trees.iter().find_map(|tree| Some((tree, pod::find(tree, uid)?))).ok_or_else(|| {
        Unreadable(format!("no cgroup of pod {uid} at {}: expected one named by the pod's UID", root.display()))
    })?;
    let containers = pod::containers(&tree.join(&dir));
    let id = choose(pod, roots, &tree.join(&dir), &containers).map_err(Unreadable)?;
    let name = containers.into_iter().find_map(|(found, name)| (found == id).then_some(name)).unwrap_or_default();
    let layout = Layout::find(root, &dir.join(&name));
    let cgroup = layout.map(Cgroup::of_container).ok_or_else(|| Unreadable(format!("container {id} is gone")))?;
    Ok(Found::cgroup(Way::HostMount, cgroup, id))
}

/// The trees at a mount: one of v2, or one a controller of v1 and perhaps one of v2 beside them.
fn trees(root: &Path) -> Vec<PathBuf> {
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let mounts = v1::MOUNTS.iter().chain(&["unified"]).map(|mount| root.join(mount));
    mounts.filter(|mount| mount.is_dir()).collect()
}

/// The id of the component's container, or why it can't be told.
fn choose(pod: &Pod, roots: &Roots, dir: &Path, containers: &[(String, String)]) -> Result<String, String> {
    let is_there = |id: &str| containers.iter().any(|(found, _)| found == id);
    if let Some(id) = &pod.container_id {
        let gone = || format!("container {id} is not in the pod: expected --container-id to be one of a running one");
        return is_there(id).then(|| id.clone()).ok_or_else(gone);
    }
    let links = links(pod, &roots.host_logs);
    if let Some(wanted) = &pod.container
        && !links.is_empty()
    {
        let of_wanted = links.iter().filter(|link| link.container == *wanted && is_there(&link.id));
        let newest = of_wanted.max_by(|one, other| one.made.cmp(&other.made));
        return newest.map(|link| link.id.clone()).ok_or_else(|| format!("container `{wanted}` is not running"));
    }
    let others = others(roots, dir, containers);
    match others.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err("no container beside the agent's is in the pod: expected a running component".into()),
        several => Err(several_left(several, &links, &roots.host_logs)),
    }
}

fn several_left(ids: &[String], links: &[Link], logs: &Path) -> String {
    let name = |id: &String| links.iter().find(|link| link.id == *id).map(|link| format!("`{}`", link.container));
    let names: Vec<String> = ids.iter().filter_map(name).collect();
    if names.len() == ids.len() {
        return format!("several containers are in the pod: expected --container to be one of {}", names.join(", "));
    }
    format!(
        "{} containers could be the component's: expected --container, --pod-name and --namespace, with the host's \
         /var/log/containers at {}, or --container-id",
        ids.len(),
        logs.display()
    )
}

/// Containers that are neither our own nor the sandbox.
fn others(roots: &Roots, dir: &Path, containers: &[(String, String)]) -> Vec<String> {
    let own = own_directories(&roots.cgroup);
    let ids = own_ids(&roots.proc);
    let is_own = |id: &str, name: &str| {
        let directory = std::fs::metadata(dir.join(name)).map(|dir| (dir.dev(), dir.ino()));
        ids.contains(id) || directory.is_ok_and(|directory| own.contains(&directory))
    };
    containers.iter().filter(|(id, name)| !is_own(id, name)).map(|(id, _)| id.clone()).collect()
}

/// Our own cgroup under each mount, by device and inode: the host's tree shows the same ones under other names.
fn own_directories(root: &Path) -> BTreeSet<(u64, u64)> {
    let own = trees(root).into_iter().filter_map(|dir| std::fs::metadata(dir).ok());
    own.map(|dir| (dir.dev(), dir.ino())).collect()
}

/// The ids of our own container and of the sandbox, as far as our own files tell.
fn own_ids(proc: &Path) -> BTreeSet<String> {
    let mut reader = Reader::default();
    let mut ids = BTreeSet::new();
    if let Ok(text) = reader.read_once(&proc.join("self/mountinfo")) {
        ids.extend(mountinfo::own_ids(text).into_iter().map(str::to_owned));
    }
    if let Ok(text) = reader.read_once(&proc.join("self/cgroup")) {
        ids.extend(container::id(membership::container_key(text)).map(str::to_owned));
    }
    ids
}

/// A link of the kubelet to a container's log.
struct Link {
    container: String,
    id: String,
    made: Option<SystemTime>,
}

/// Those of the pod.
fn links(pod: &Pod, logs: &Path) -> Vec<Link> {
    let (Some(name), Some(namespace)) = (&pod.name, &pod.namespace) else { return Vec::new() };
    let entries = std::fs::read_dir(logs).into_iter().flatten().flatten().take(MOST_LINKS);
    let links = entries.filter_map(|entry| {
        let file = entry.file_name();
        let link = container::log_link(file.to_str()?)?;
        (link.pod == *name && link.namespace == *namespace).then(|| Link {
            container: link.container.to_owned(),
            id: link.id.to_owned(),
            // Of the link itself, and not of the log behind it.
            made: entry.metadata().ok().and_then(|link| link.modified().ok()),
        })
    });
    links.collect()
}
