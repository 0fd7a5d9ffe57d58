//! `/proc/PID/cgroup`: the cgroups of a process, as seen from our own cgroup namespace.
//!
//! ```text
//! 0::/kubepods.slice/…/cri-containerd-<id>.scope        v2, the host's namespace
//! 0::/../cri-containerd-<id>.scope                      v2, a sibling of our own, which is `/`
//! 4:memory:/kubepods/burstable/pod<uid>/<id>            v1
//! ```

use super::container;

/// One hierarchy: its controllers (none for v2), and the path in it.
pub(in crate::sampler) fn hierarchies(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'))
}

/// The path of v2 or, without it, of the first controller that sets containers apart.
fn path(text: &str) -> Option<&str> {
    let apart = |controllers: &str, path: &str| path != "/" && !controllers.starts_with("name=");
    let of = |wanted: fn(&str) -> bool| {
        hierarchies(text)
            .find(|(controllers, path)| wanted(controllers) && apart(controllers, path))
            .map(|(_, path)| path)
    };
    // On a hybrid system v2 may not be used for containers.
    of(|controllers| controllers.is_empty()).or_else(|| of(|controllers| !controllers.is_empty()))
}

/// What the processes of one container have in common, and no other's have: its id or, without one, its path.
pub(in crate::sampler) fn container_key(text: &str) -> &str {
    let Some(path) = path(text) else { return "/" };
    if let Some(id) = path.split('/').find_map(container::id) {
        return id;
    }
    // Below our own cgroup, and not beside it: our own container.
    if path.starts_with("/../") {
        path.split('/').find(|name| !name.is_empty() && *name != "..").unwrap_or("/")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn processes_are_told_apart_by_container() {
        for (text, key) in [
            (format!("0::/../cri-containerd-{ID}.scope\n"), ID),
            (format!("0::/../cri-containerd-{ID}.scope/worker\n"), ID),
            (format!("0::/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope/container\n"), ID),
            (format!("12:name=systemd:/x\n4:memory:/kubepods/burstable/pod1/{ID}\n0::/\n"), ID),
            (format!("4:memory:/docker/{ID}\n"), ID),
            ("0::/../app/worker\n".into(), "app"),
            ("0::/\n".into(), "/"),
            ("2:cpu:/\n1:name=systemd:/init\n0::/\n".into(), "/"),
            ("0::/..\n".into(), "/.."),
            (String::new(), "/"),
            ("nonsense".into(), "/"),
        ] {
            assert_eq!(container_key(&text), key, "{text}");
        }
    }

    #[test]
    fn a_path_may_hold_colons() {
        let text = "3:cpu,cpuacct:/a:b\n0::/c\n";
        assert_eq!(hierarchies(text).collect::<Vec<_>>(), [("cpu,cpuacct", "/a:b"), ("", "/c")]);
    }
}
