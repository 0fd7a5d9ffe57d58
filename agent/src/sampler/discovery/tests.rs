use std::os::unix::fs::symlink;

use super::*;
use crate::sampler::cgroup::Version;
use crate::sampler::kernel_file::Reader;
use crate::sampler::reading::Reading;
use crate::sampler::testing::{Tree, cgroup_line, id, process, remove};

const UID: &str = "11111111-2222-3333-4444-555555555555";
/// What the fakes are of.
const OWN: u32 = 1;
const SANDBOX: u32 = 2;
const INGEST: u32 = 3;
const PROXY: u32 = 4;

fn target(tree: &Tree, sampling: Sampling, container: Option<&str>) -> Target {
    let pod = Pod {
        uid: Some(UID.into()),
        name: Some("ingest-7d9".into()),
        namespace: Some("shop".into()),
        container: container.map(str::to_owned),
        container_id: None,
    };
    let below = |dir: &str| tree.path().join(dir);
    let roots =
        Roots { proc: below("proc"), cgroup: below("own"), host_cgroup: below("host"), host_logs: below("logs") };
    Target { sampling, pod, roots, in_pod: true }
}

/// How it was found and the memory that it reads; or why not.
fn find(target: &Target) -> Result<(&'static str, u64), String> {
    let mut found = target.find().map_err(|error| error.to_string())?;
    let mut reading = Reading::default();
    found.source.read(&mut Reader::default(), &mut reading).map_err(|_| "unreadable".to_owned())?;
    Ok((found.how.as_str(), reading.whole.memory.map_or(0, |memory| memory.0)))
}

/// A process of a container beside our own, as in a pod that shares its process namespace.
fn member(tree: &Tree, pid: i32, container: u32, name: Option<&str>) {
    let proc = Tree::new(&[]);
    process(&proc, pid, 100, &cgroup_line(container));
    for file in ["stat", "io", "cgroup", "comm"] {
        let text = std::fs::read_to_string(proc.path().join(format!("{pid}/{file}"))).unwrap();
        tree.write(&format!("proc/{pid}/{file}"), &text);
    }
    let mount = name.map_or_else(String::new, |name| {
        format!(
            "9 8 8:1 /var/lib/kubelet/pods/{UID}/containers/{name}/ab12 /dev/termination-log rw - ext4 /dev/sda rw\n"
        )
    });
    tree.write(&format!("proc/{pid}/mountinfo"), &mount);
}

/// A pod that shares its process namespace: pause, the agent, and `ingest` as 7 and 8.
fn shared() -> Tree {
    let tree =
        Tree::new(&[("proc/self/cgroup", "0::/\n"), ("proc/uptime", "100.00 1.00\n"), ("proc/5/cgroup", "0::/\n")]);
    member(&tree, 1, SANDBOX, None);
    tree.write("proc/1/comm", "pause\n");
    member(&tree, 7, INGEST, Some("ingest"));
    member(&tree, 8, INGEST, Some("ingest"));
    tree
}

fn view(tree: &Tree, pid: i32, files: &[(&str, &str)]) {
    for (file, text) in files {
        tree.write(&format!("proc/{pid}/root/sys/fs/cgroup/{file}"), text);
    }
}

const V2_VIEW: [(&str, &str); 3] =
    [("cgroup.controllers", "cpu memory\n"), ("cgroup.type", "domain\n"), ("memory.current", "42\n")];
const V1_VIEW: [(&str, &str); 2] = [("memory/memory.usage_in_bytes", "42\n"), ("cpuacct/cpuacct.usage", "1\n")];

#[test]
fn a_process_shows_its_containers_cgroup_of_each_version() {
    let hybrid =
        [V1_VIEW.as_slice(), &[("unified/cgroup.controllers", "\n"), ("unified/cgroup.type", "domain\n")]].concat();
    for (files, how) in [
        (V2_VIEW.as_slice(), "shared-pid/cgroup-v2"),
        (V1_VIEW.as_slice(), "shared-pid/cgroup-v1"),
        (hybrid.as_slice(), "shared-pid/cgroup-hybrid"),
    ] {
        let tree = shared();
        view(&tree, 8, files);
        assert_eq!(find(&target(&tree, Sampling::SharedPid, None)), Ok((how, 42)));
        assert_eq!(find(&target(&tree, Sampling::Auto, Some("ingest"))), Ok((how, 42)));
    }
}

#[test]
fn a_container_that_sees_the_whole_machines_tree_is_found_in_it() {
    let own = format!("kubepods.slice/kubepods-pod{}.slice/cri-containerd-{}.scope", UID.replace('-', "_"), id(INGEST));
    for line in [cgroup_line(INGEST), format!("0::/{own}\n")] {
        let tree = shared();
        for pid in [7, 8] {
            tree.write(&format!("proc/{pid}/cgroup"), &line);
        }
        view(&tree, 7, &[("cgroup.controllers", "\n"), ("memory.current", "999\n")]);
        view(&tree, 7, &[(&format!("{own}/cgroup.controllers"), "\n"), (&format!("{own}/memory.current"), "42\n")]);
        assert_eq!(find(&target(&tree, Sampling::SharedPid, None)), Ok(("shared-pid/cgroup-v2", 42)), "{line}");
    }
    let tree = shared();
    let path = format!("kubepods/pod{UID}/{}", id(INGEST));
    for pid in [7, 8] {
        tree.write(&format!("proc/{pid}/cgroup"), &format!("4:memory:/{path}\n0::/\n"));
    }
    view(&tree, 7, &[("memory/release_agent", ""), ("memory/memory.usage_in_bytes", "999\n")]);
    view(&tree, 7, &[(&format!("memory/{path}/memory.usage_in_bytes"), "42\n"), ("unified/cgroup.controllers", "\n")]);
    assert_eq!(find(&target(&tree, Sampling::SharedPid, None)), Ok(("shared-pid/cgroup-v1", 42)), "not the machine's");
}

#[test]
fn of_several_containers_the_named_one_is_taken_and_none_is_guessed() {
    let tree = shared();
    member(&tree, 9, PROXY, Some("proxy"));
    view(&tree, 7, &V2_VIEW);
    view(&tree, 9, &[("cgroup.controllers", "\n"), ("cgroup.type", "domain\n"), ("memory.current", "7\n")]);
    assert_eq!(find(&target(&tree, Sampling::SharedPid, Some("proxy"))), Ok(("shared-pid/cgroup-v2", 7)));
    let error = find(&target(&tree, Sampling::SharedPid, None)).unwrap_err();
    assert!(error.contains("--container") && error.contains("`ingest`, `proxy`"), "{error}");
    let error = find(&target(&tree, Sampling::SharedPid, Some("other"))).unwrap_err();
    assert!(error.contains("`other`") && error.contains("`ingest`"), "{error}");
}

#[test]
fn without_a_way_to_the_cgroup_the_processes_are_summed_and_the_reason_is_told() {
    let tree = shared();
    let target = target(&tree, Sampling::SharedPid, None);
    let found = target.find().ok().unwrap();
    assert!(found.note.unwrap().contains("proc/7/root"));
    assert_eq!(find(&target), Ok(("shared-pid/processes", 2 * 250 * procfs::page_size())));
}

#[test]
fn without_a_shared_namespace_only_our_own_processes_are_in_sight() {
    let tree =
        Tree::new(&[("proc/self/cgroup", "0::/\n"), ("proc/1/cgroup", "0::/\n"), ("proc/1/comm", "forebay-agent\n")]);
    let error = find(&target(&tree, Sampling::SharedPid, None)).unwrap_err();
    assert!(error.contains("shareProcessNamespace"), "{error}");
    let error = find(&target(&Tree::new(&[]), Sampling::SharedPid, None)).unwrap_err();
    assert!(error.contains("mounted /proc"), "{error}");
}

/// A container's files in the host's tree: in each controller's of v1, in that of v2, or in both.
fn on_host(tree: &Tree, version: Version, dir: &str, memory: u32) {
    if version != Version::V2 {
        tree.write(&format!("host/memory/{dir}/memory.usage_in_bytes"), &format!("{memory}\n"));
        tree.write(&format!("host/cpu,cpuacct/{dir}/cpuacct.usage"), "1000\n");
    }
    let root = match version {
        Version::V1 => return,
        Version::V2 => "host",
        Version::Hybrid => "host/unified",
    };
    tree.write(&format!("{root}/cgroup.controllers"), "memory\n");
    tree.write(&format!("{root}/{dir}/cgroup.controllers"), "memory\n");
    tree.write(&format!("{root}/{dir}/memory.current"), &format!("{memory}\n"));
}

fn pod_dirs() -> Vec<String> {
    let dashes = UID.replace('-', "_");
    vec![
        format!("kubepods/pod{UID}"),
        format!("kubepods/burstable/pod{UID}"),
        format!("kubepods/besteffort/pod{UID}"),
        format!("kubepods.slice/kubepods-pod{dashes}.slice"),
        format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{dashes}.slice"),
        format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{dashes}.slice"),
    ]
}

/// Mounts of ours that tell the sandbox.
const SANDBOX_MOUNTS: [&str; 3] = [
    "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/ID/hostname",
    "/run/overlay-containers/ID/userdata/hostname",
    "/var/lib/docker/containers/ID/hostname",
];

fn own_files(tree: &Tree, sandbox_mount: &str) {
    let mount = sandbox_mount.replace("ID", &id(SANDBOX));
    tree.write("proc/self/mountinfo", &format!("9 8 8:1 {mount} /etc/hostname ro - ext4 /dev/sda ro\n"));
    tree.write("proc/self/cgroup", "0::/\n");
}

#[test]
fn every_runtime_driver_class_and_version_of_a_host_is_known() {
    let runtimes = [("cri-containerd-ID.scope", 0), ("crio-ID.scope", 1), ("docker-ID.scope", 2), ("ID", 0)];
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        let how = How::Cgroup(Way::HostMount, version).as_str();
        for pod in pod_dirs() {
            for (runtime, mount) in runtimes {
                let dir = |n: u32| format!("{pod}/{}", runtime.replace("ID", &id(n)));
                let tree = Tree::new(&[]);
                for n in [OWN, SANDBOX, INGEST] {
                    on_host(&tree, version, &dir(n), 40 + n);
                }
                on_host(&tree, version, &format!("{pod}/crio-conmon-{}.scope", id(INGEST)), 999);
                on_host(&tree, version, &format!("kubepods/burstable/podother/{}", id(8)), 999);
                own_files(&tree, SANDBOX_MOUNTS[mount]);
                // Our own view is our directory in the host's tree, under another name.
                let own = |tree_of: &str| tree.path().join(format!("host/{tree_of}/{}", dir(OWN)));
                if version == Version::V2 {
                    symlink(own(""), tree.path().join("own")).unwrap();
                } else {
                    std::fs::create_dir(tree.path().join("own")).unwrap();
                    symlink(own("memory"), tree.path().join("own/memory")).unwrap();
                }
                let target = target(&tree, Sampling::HostMount, None);
                assert_eq!(find(&target), Ok((how, 43)), "{pod} {runtime}");
                let by_id = Target { pod: Pod { container_id: Some(id(SANDBOX)), ..target.pod.clone() }, ..target };
                assert_eq!(find(&by_id), Ok((how, 42)), "an id that is given is what is meant");
            }
        }
    }
}

/// A pod on a host of v2, with the agent, the sandbox and two other containers.
fn mounted() -> (Tree, String) {
    let tree = Tree::new(&[]);
    let pod = pod_dirs().swap_remove(4);
    for n in [OWN, SANDBOX, INGEST, PROXY] {
        on_host(&tree, Version::V2, &format!("{pod}/cri-containerd-{}.scope", id(n)), 40 + n);
    }
    own_files(&tree, SANDBOX_MOUNTS[0]);
    tree.write("proc/self/cgroup", &format!("0::/x/cri-containerd-{}.scope\n", id(OWN)));
    (tree, pod)
}

fn link(tree: &Tree, pod: &str, container: &str, n: u32) {
    let logs = tree.path().join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    symlink("/nowhere", logs.join(format!("{pod}_shop_{container}-{}.log", id(n)))).unwrap();
}

#[test]
fn of_several_on_a_host_the_links_to_logs_tell_which_and_the_newest_is_the_running_one() {
    let (tree, pod) = mounted();
    let error = find(&target(&tree, Sampling::HostMount, None)).unwrap_err();
    for part in ["2 containers", "--container", "--container-id", "--pod-name"] {
        assert!(error.contains(part), "{error}");
    }
    link(&tree, "ingest-7d9", "ingest", INGEST);
    link(&tree, "ingest-7d9", "proxy", PROXY);
    link(&tree, "ingest-7d8", "ingest", PROXY);
    let error = find(&target(&tree, Sampling::HostMount, None)).unwrap_err();
    assert!(error.contains("`ingest`, `proxy`"), "{error}");
    assert_eq!(find(&target(&tree, Sampling::HostMount, Some("ingest"))), Ok(("host-mount/cgroup-v2", 43)));
    assert_eq!(find(&target(&tree, Sampling::HostMount, Some("proxy"))), Ok(("host-mount/cgroup-v2", 44)));
    // File systems tell times to a few ms.
    std::thread::sleep(std::time::Duration::from_millis(30));
    link(&tree, "ingest-7d9", "ingest", 9);
    assert_eq!(
        find(&target(&tree, Sampling::HostMount, Some("ingest"))),
        Ok(("host-mount/cgroup-v2", 43)),
        "9 is gone"
    );
    on_host(&tree, Version::V2, &format!("{pod}/cri-containerd-{}.scope", id(9)), 49);
    assert_eq!(find(&target(&tree, Sampling::HostMount, Some("ingest"))), Ok(("host-mount/cgroup-v2", 49)));
    let error = find(&target(&tree, Sampling::HostMount, Some("other"))).unwrap_err();
    assert!(error.contains("`other`"), "{error}");
}

#[test]
fn what_a_host_mount_lacks_is_told() {
    let (tree, pod) = mounted();
    let with = |change: &dyn Fn(&mut Target)| {
        let mut target = target(&tree, Sampling::HostMount, None);
        change(&mut target);
        find(&target).unwrap_err()
    };
    assert!(with(&|target| target.pod.uid = None).contains("--pod-uid"));
    assert!(with(&|target| target.pod.uid = Some("2".into())).contains("no cgroup of pod 2"));
    assert!(with(&|target| target.roots.host_cgroup = tree.path().join("logs")).contains("to be mounted there"));
    assert!(with(&|target| target.pod.container_id = Some(id(99))).contains("--container-id"));
    for n in [INGEST, PROXY] {
        remove(&tree.path().join(format!("host/{pod}/cri-containerd-{}.scope", id(n))));
    }
    assert!(with(&|_| {}).contains("no container beside the agent's"));
}

#[test]
fn auto_takes_a_cgroup_before_processes_and_tells_both_reasons_where_nothing_works() {
    let (tree, _) = mounted();
    link(&tree, "ingest-7d9", "ingest", INGEST);
    let auto = target(&tree, Sampling::Auto, Some("ingest"));
    assert_eq!(find(&auto), Ok(("host-mount/cgroup-v2", 43)));
    tree.write("proc/uptime", "100.00 1.00\n");
    member(&tree, 7, INGEST, Some("ingest"));
    assert_eq!(find(&auto), Ok(("host-mount/cgroup-v2", 43)), "its processes alone tell less");
    view(&tree, 7, &V2_VIEW);
    assert_eq!(find(&auto), Ok(("shared-pid/cgroup-v2", 42)));
    std::fs::remove_dir_all(tree.path().join("proc/7/root")).unwrap();
    std::fs::remove_dir_all(tree.path().join("host")).unwrap();
    assert_eq!(find(&auto).unwrap().0, "shared-pid/processes");
    std::fs::remove_dir_all(tree.path().join("proc/7")).unwrap();
    let error = find(&auto).unwrap_err();
    for part in ["shared-pid:", "shareProcessNamespace", "host-mount:", "/sys/fs/cgroup"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn outside_a_pod_auto_is_the_machine() {
    let tree = Tree::new(&[("proc/stat", "cpu  1 2 3 4 5 6 7\n")]);
    let auto = target(&tree, Sampling::Auto, None);
    assert_eq!(find(&Target { in_pod: false, ..auto }).unwrap().0, "host");
}
