//! With a shared process namespace: the component's processes in `/proc`, and through one of them its own view of its
//! cgroup. Files are opened at once and stay open, so that the process may end while its container goes on.
//!
//! The kernel lets us through `/proc/PID/root` only as the same user and group, with no fewer capabilities. Where it
//! doesn't, what it tells of each process is summed instead.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::super::Unreadable;
use super::super::cgroup::{Cgroup, Layout, below};
use super::super::kernel_file::Reader;
use super::super::processes::Processes;
use super::super::processes::listing::pids;
use super::super::reading::Reading;
use super::super::source::Way;
use super::{Found, Pod, membership, mountinfo, pod};

/// A container, by those of its processes that were seen.
#[derive(Debug)]
struct Container {
    key: String,
    pids: Vec<i32>,
    /// Its pod's UID and its name.
    names: Option<(String, String)>,
    is_sandbox: bool,
}

pub(super) fn find(pod: &Pod, proc: &Path) -> Result<Found, Unreadable> {
    let container = choose(containers(proc)?, pod).map_err(Unreadable)?;
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for pid in &container.pids {
        match open(proc, *pid, &container.key, pod) {
            Ok(cgroup) => return Ok(Found::cgroup(Way::SharedPid, cgroup, container.key)),
            Err(error) => refused = error,
        }
    }
    let note = refusal(proc, container.pids[0], &refused);
    let processes = Processes::of_container(proc, container.key.clone());
    Ok(Found { identity: container.key, note: Some(note), ..Found::processes(Way::SharedPid, processes) })
}

/// The containers in sight, but for our own.
fn containers(proc: &Path) -> Result<Vec<Container>, Unreadable> {
    let mut reader = Reader::default();
    let own = reader.read_once(&proc.join("self/cgroup")).map(membership::container_key).map(str::to_owned);
    let own = own.map_err(|error| {
        Unreadable(format!("cannot read {}/self/cgroup ({error}): expected a mounted /proc", proc.display()))
    })?;
    let mut containers = BTreeMap::<String, Container>::new();
    // The oldest first: a container's first process lives as long as it does.
    for pid in pids(proc).collect::<BTreeSet<_>>() {
        let dir = proc.join(pid.to_string());
        // It may have ended since it was listed.
        let Ok(text) = reader.read_once(&dir.join("cgroup")) else { continue };
        let key = membership::container_key(text);
        if key == own {
            continue;
        }
        if let Some(container) = containers.get_mut(key) {
            container.pids.push(pid);
            continue;
        }
        let key = key.to_owned();
        let names = reader.read_once(&dir.join("mountinfo")).ok().and_then(mountinfo::kubelet_names);
        let names = names.map(|names| (names.pod_uid.to_owned(), names.container.to_owned()));
        let is_pause = reader.read_once(&dir.join("comm")).is_ok_and(|comm| comm.trim() == "pause");
        // The kubelet gives every container but the sandbox a file for its last words.
        let is_sandbox = names.is_none() && is_pause;
        containers.insert(key.clone(), Container { key, pids: vec![pid], names, is_sandbox });
    }
    Ok(containers.into_values().collect())
}

/// The component's container, or why it can't be told.
fn choose(containers: Vec<Container>, pod: &Pod) -> Result<Container, String> {
    let of_pod = |container: &Container| match (&container.names, &pod.uid) {
        (Some((uid, _)), Some(wanted)) => uid == wanted,
        _ => true,
    };
    let mut left: Vec<_> = containers.into_iter().filter(|one| !one.is_sandbox && of_pod(one)).collect();
    if left.is_empty() {
        return Err(
            "no process of another container is in sight: expected `shareProcessNamespace: true` in the pod's \
                    spec, and a running component"
                .into(),
        );
    }
    let known: Vec<String> = left.iter().filter_map(|one| one.names.as_ref().map(|(_, name)| name.clone())).collect();
    if !known.is_empty() {
        // Where one has a name, those without are no containers of the kubelet's.
        let is_wanted = |name: &String| pod.container.as_ref().is_none_or(|wanted| wanted == name);
        left.retain(|one| one.names.as_ref().is_some_and(|(_, name)| is_wanted(name)));
    }
    match (left.len(), &pod.container) {
        (1, _) => Ok(left.remove(0)),
        (0, Some(wanted)) => Err(format!("container `{wanted}` has no process in sight, only {}", list(&known))),
        (_, None) if !known.is_empty() => {
            Err(format!("several containers are in sight: expected --container to be one of {}", list(&known)))
        }
        _ => Err(format!(
            "{} containers are in sight whose names are not: expected one beside the agent's, or --sampling host-mount",
            left.len()
        )),
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The cgroup as `pid` sees it, with all its files open.
fn open(proc: &Path, pid: i32, key: &str, pod: &Pod) -> io::Result<Cgroup> {
    let dir = proc.join(pid.to_string());
    let root = dir.join("root/sys/fs/cgroup");
    std::fs::metadata(&root)?;
    let mut reader = Reader::default();
    let text = reader.read_once(&dir.join("cgroup"))?.to_owned();
    let layout = Layout::resolve(&root, |mount| directory(mount, &text, pod.uid.as_deref()));
    let mut cgroup = layout.map(Cgroup::of_container).ok_or(io::ErrorKind::NotFound)?;
    cgroup.read(&mut reader, &mut Reading::default()).ok_or(io::ErrorKind::NotFound)?;
    cgroup.keep_as_opened();
    // Had the process ended meanwhile, its PID could be another container's by now.
    let same = reader.read_once(&dir.join("cgroup")).is_ok_and(|text| membership::container_key(text) == key);
    if same { Ok(cgroup) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The container's directory below a mount of its own: the mount itself, as a rule. A container may also have been
/// given the whole machine's tree.
fn directory(mount: &Path, membership: &str, pod_uid: Option<&str>) -> Option<PathBuf> {
    let is_v2 = mount.join("cgroup.controllers").exists();
    let whole_machine = if is_v2 { !mount.join("cgroup.type").exists() } else { mount.join("release_agent").exists() };
    if !whole_machine {
        return Some(mount.to_owned());
    }
    let wanted = if is_v2 { "" } else { mount.file_name()?.to_str()?.split(',').next()? };
    let mut hierarchies = membership::hierarchies(membership);
    let (_, path) = hierarchies.find(|(controllers, _)| controllers.split(',').any(|name| name == wanted))?;
    let mut names = path.split('/').filter(|name| !name.is_empty());
    if path.split('/').any(|name| name == "..") {
        // Told from below our own: only its name is known, and the pod that it is in.
        let name = names.find(|name| *name != "..")?;
        return Some(mount.join(pod::find(mount, pod_uid?)?).join(name));
    }
    names.next()?;
    Some(below(mount, Path::new(path)))
}

fn refusal(proc: &Path, pid: i32, error: &io::Error) -> String {
    let root = proc.join(pid.to_string()).join("root");
    let root = root.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        format!(
            "the kernel refuses {root}: expected the agent to run as the component's user and group (runAsUser, \
             runAsGroup) with no fewer capabilities, or --sampling host-mount; until then only processes are summed"
        )
    } else {
        format!("no cgroup is in sight below {root}/sys/fs/cgroup ({error}): only processes are summed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(key: &str, name: Option<&str>) -> Container {
        let names = name.map(|name| ("uid".to_owned(), name.to_owned()));
        Container { key: key.into(), pids: vec![7], names, is_sandbox: false }
    }

    fn named(container: &str) -> Pod {
        Pod { container: Some(container.into()), ..Pod::default() }
    }

    #[test]
    fn the_only_one_is_taken_and_of_several_the_one_that_was_named() {
        let one = || vec![container("a", Some("ingest"))];
        let two = || vec![container("a", Some("ingest")), container("b", Some("proxy"))];
        assert_eq!(choose(one(), &Pod::default()).unwrap().key, "a");
        assert_eq!(choose(two(), &named("proxy")).unwrap().key, "b");
        assert_eq!(choose(vec![container("a", None)], &named("ingest")).unwrap().key, "a", "no other can be meant");
        let with_init = vec![container("init", None), container("a", Some("ingest"))];
        assert_eq!(choose(with_init, &Pod::default()).unwrap().key, "a", "the host's processes are no containers");
        let error = choose(two(), &Pod::default()).unwrap_err();
        assert!(error.contains("--container") && error.contains("`ingest`, `proxy`"), "{error}");
        let error = choose(one(), &named("proxy")).unwrap_err();
        assert!(error.contains("`proxy`") && error.contains("`ingest`"), "another one is never taken: {error}");
        let error = choose(vec![container("a", None), container("b", None)], &Pod::default()).unwrap_err();
        assert!(error.contains("2 containers") && error.contains("host-mount"), "{error}");
        let error = choose(Vec::new(), &named("ingest")).unwrap_err();
        assert!(error.contains("shareProcessNamespace"), "{error}");
    }

    #[test]
    fn neither_the_sandbox_nor_another_pods_container_is_taken() {
        let sandbox = Container { is_sandbox: true, ..container("pause", None) };
        let containers = || vec![Container { is_sandbox: true, ..container("pause", None) }, container("a", Some("x"))];
        assert_eq!(choose(containers(), &Pod::default()).unwrap().key, "a");
        assert!(choose(vec![sandbox], &Pod::default()).is_err());
        let other_pod = Pod { uid: Some("other".into()), ..Pod::default() };
        assert!(choose(containers(), &other_pod).unwrap_err().contains("no process of another container"));
    }

    #[test]
    fn a_refusal_explains_the_rule_of_the_same_user() {
        let text = refusal(Path::new("/proc"), 7, &io::ErrorKind::PermissionDenied.into());
        for part in ["/proc/7/root", "runAsUser", "runAsGroup", "host-mount"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!refusal(Path::new("/proc"), 7, &io::ErrorKind::NotFound.into()).contains("runAsUser"));
    }
}
