//! Names that hold a container's id: cgroup directories, and the kubelet's links to logs.

/// What runtimes put before the id.
const PREFIXES: [&str; 4] = ["cri-containerd-", "crio-", "docker-", "libpod-"];
/// An id's length: 256 bits, hexadecimal.
const ID_LENGTH: usize = 64;

/// The id in the name of a container's cgroup: `<id>`, `cri-containerd-<id>.scope`, `crio-<id>`, or with the
/// `<slice>:cri-containerd:` that containerd writes when it takes a slice for a path.
///
/// `crio-conmon-<id>.scope` is CRI-O's monitor of the container, and none.
pub(in crate::sampler) fn id(name: &str) -> Option<&str> {
    let name = name.rsplit(':').next()?;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    is_id(id).then_some(id)
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && is_hex(text)
}

/// Not empty, and hexadecimal digits alone.
pub(in crate::sampler) fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `<pod>_<namespace>_<container>-<id>.log`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sampler) struct LogLink<'a> {
    pub(in crate::sampler) pod: &'a str,
    pub(in crate::sampler) namespace: &'a str,
    pub(in crate::sampler) container: &'a str,
    pub(in crate::sampler) id: &'a str,
}

/// The parts of a link's name. None of the names may hold an underscore.
pub(in crate::sampler) fn log_link(name: &str) -> Option<LogLink<'_>> {
    let mut parts = name.strip_suffix(".log")?.split('_');
    let (pod, namespace, last) = (parts.next()?, parts.next()?, parts.next()?);
    let (container, id) = last.rsplit_once('-')?;
    let fits = parts.next().is_none() && is_id(id) && ![pod, namespace, container].contains(&"");
    fits.then_some(LogLink { pod, namespace, container, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_id_is_found_in_the_names_of_every_runtime() {
        for name in [
            "ID",
            "cri-containerd-ID.scope",
            "crio-ID.scope",
            "crio-ID",
            "docker-ID.scope",
            "libpod-ID.scope",
            "kubepods-burstable-pod1.slice:cri-containerd:ID",
        ] {
            assert_eq!(id(&name.replace("ID", ID)), Some(ID), "{name}");
        }
        for name in ["crio-conmon-ID.scope", "", "init.scope", "0123456789abcdef", "IDa", "x-ID"] {
            assert_eq!(id(&name.replace("ID", ID)), None, "{name}");
        }
    }

    #[test]
    fn a_links_name_is_taken_apart() {
        let name = format!("ingest-7d9-x2_shop_log-reader-{ID}.log");
        let link = LogLink { pod: "ingest-7d9-x2", namespace: "shop", container: "log-reader", id: ID };
        assert_eq!(log_link(&name), Some(link));
        for bad in ["", ".log", "a_b_c-1.log", "a_b-ID.log", "a_b_-ID.log", "a_b_c_d-ID.log", "a_b_c-ID"] {
            assert_eq!(log_link(&bad.replace("ID", ID)), None, "{bad}");
        }
    }
}
