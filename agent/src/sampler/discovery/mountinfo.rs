//! `/proc/PID/mountinfo`: whose container a process is in.
//!
//! The kubelet and the runtimes mount files of their own into a container, and where those lie on the host tells:
//!
//! ```text
//! 1 2 8:1 /var/lib/kubelet/pods/<uid>/containers/<name>/<hash> /dev/termination-log rw - ext4 /dev/sda1 rw
//! 1 2 0:9 /…/sandboxes/<id>/hostname                           /etc/hostname        rw - tmpfs tmpfs rw
//! ```
//!
//! Roots count from the mounted filesystem's own: `/var/lib/kubelet` may be `/` or `/kubelet` there. The kernel writes
//! a space as `\040`; none of the paths of interest has one.

use std::collections::BTreeSet;

use super::container;

/// Files that a pod's containers share, taken from its sandbox.
const OF_THE_SANDBOX: [&str; 3] = ["/etc/hostname", "/etc/resolv.conf", "/dev/shm"];

struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
}

fn mounts(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(|line| {
        let (place, filesystem) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        Some(Mount { root: place.next()?, point: place.next()?, kind: filesystem.split(' ').next()? })
    })
}

/// A container as the kubelet knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sampler) struct KubeletNames<'a> {
    pub(in crate::sampler) pod_uid: &'a str,
    pub(in crate::sampler) container: &'a str,
}

/// The pod and the container of a process, by the file for its termination message.
pub(in crate::sampler) fn kubelet_names(text: &str) -> Option<KubeletNames<'_>> {
    let found: Vec<(KubeletNames<'_>, bool)> = mounts(text)
        .filter_map(|mount| Some((termination_message(mount.root)?, mount.point == "/dev/termination-log")))
        .collect();
    // Its place in the container is the pod's to choose.
    let usual = found.iter().find(|(_, usual)| *usual).or(found.first());
    usual.map(|(names, _)| names.clone())
}

/// `…/pods/<uid>/containers/<name>/<hash>`
fn termination_message(root: &str) -> Option<KubeletNames<'_>> {
    let mut parts = root.rsplit('/');
    let (hash, container, containers, pod_uid, pods) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let fits = containers == "containers" && pods == "pods" && container::is_hex(hash) && !container.is_empty();
    (fits && !pod_uid.is_empty()).then_some(KubeletNames { pod_uid, container })
}

/// The ids of the pod's sandbox and of our own container in our own mounts: not the component's.
pub(in crate::sampler) fn own_ids(text: &str) -> BTreeSet<&str> {
    let own = mounts(text).filter(|mount| OF_THE_SANDBOX.contains(&mount.point) || mount.kind.starts_with("cgroup"));
    own.flat_map(|mount| mount.root.split('/').filter_map(container::id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "11111111-2222-3333-4444-555555555555";
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_container_is_known_by_its_termination_message_wherever_the_kubelets_directory_lies() {
        for root in ["/var/lib/kubelet", "/kubelet", ""] {
            let line = |point: &str| {
                format!(
                    "615 600 8:1 {root}/pods/{POD}/containers/ingest/ab12cd34 {point} rw shared:1 - ext4 /dev/sda rw\n"
                )
            };
            let names = KubeletNames { pod_uid: POD, container: "ingest" };
            for point in ["/dev/termination-log", "/tmp/last-words"] {
                assert_eq!(kubelet_names(&line(point)), Some(names.clone()), "{root} {point}");
            }
        }
        for other in [
            format!("1 2 8:1 /var/lib/kubelet/pods/{POD}/etc-hosts /etc/hosts rw - ext4 d rw\n"),
            format!("1 2 8:1 /var/lib/kubelet/pods/{POD}/volume-subpaths/config/ingest/0 /c rw - ext4 d rw\n"),
            "1 2 8:1 /containers/x/ab12cd34 /dev/termination-log rw - ext4 d rw\n".into(),
            "1 2 8:1\n - \n".into(),
            String::new(),
        ] {
            assert_eq!(kubelet_names(&other), None, "{other}");
        }
    }

    #[test]
    fn the_usual_place_wins_over_another_mount_that_looks_alike() {
        let text = format!(
            "1 2 8:1 /pods/{POD}/containers/other/ab /mnt rw - ext4 d rw\n\
             1 2 8:1 /pods/{POD}/containers/ingest/cd /dev/termination-log rw - ext4 d rw\n"
        );
        assert_eq!(kubelet_names(&text).unwrap().container, "ingest");
    }

    #[test]
    fn the_sandbox_is_known_of_every_runtime() {
        for root in [
            format!("/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/hostname"),
            format!("/containers/storage/overlay-containers/{ID}/userdata/hostname"),
            format!("/var/lib/docker/containers/{ID}/hostname"),
        ] {
            let text = format!("1 2 8:1 {root} /etc/hostname ro - ext4 /dev/sda ro\n");
            assert_eq!(own_ids(&text), BTreeSet::from([ID]), "{root}");
        }
        let cgroup = format!("1 2 0:3 /kubepods/pod1/{ID} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
        assert_eq!(own_ids(&cgroup), BTreeSet::from([ID]));
        let volume = format!("1 2 8:1 /data/{ID}/x /data rw - ext4 /dev/sda rw\n");
        assert_eq!(own_ids(&volume), BTreeSet::new(), "a volume tells nothing");
    }
}
