//! Flags of the sampler: what is sampled, and what is known of the component's container. In a pod the injector sets
//! most of them by the downward API.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::ensure;

use crate::sampler::{Pod, Roots, Target};

const EXPECTED: &str = "expected auto, shared-pid, host-mount, host, cgroup=PATH, pids=FILE or pid=PID";

/// What is sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// In a pod the first of the next two that works; elsewhere the machine.
    Auto,
    /// The component's container, by its processes: the pod shares its process namespace.
    SharedPid,
    /// The component's container, in the host's tree of cgroups.
    HostMount,
    /// A cgroup v2 directory, or a cgroup v1 path below each controller's mount.
    Cgroup(PathBuf),
    /// The processes that a file lists, a PID a line.
    Pids(PathBuf),
    /// A process and its descendants.
    Pid(i32),
    /// The machine's totals.
    Host,
}

impl FromStr for Sampling {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once('=').map_or((text, ""), |(kind, value)| (kind, value)) {
            ("cgroup", path) if !path.is_empty() => Ok(Self::Cgroup(path.into())),
            ("pids", file) if !file.is_empty() => Ok(Self::Pids(file.into())),
            ("pid", pid) => match pid.parse() {
                Ok(pid) if pid > 0 => Ok(Self::Pid(pid)),
                _ => anyhow::bail!(EXPECTED),
            },
            _ => match text {
                "auto" => Ok(Self::Auto),
                "shared-pid" => Ok(Self::SharedPid),
                "host-mount" => Ok(Self::HostMount),
                "host" => Ok(Self::Host),
                _ => anyhow::bail!(EXPECTED),
            },
        }
    }
}

/// Flags of the sampler. One that is empty counts as not given.
#[derive(Clone, Debug, clap::Args)]
pub struct SamplingArgs {
    /// What to sample: the component's container, found as the pod allows; the machine; a cgroup; the processes that
    /// a file lists, a PID a line; or a process and its descendants.
    #[arg(
        long,
        env = "FOREBAY_SAMPLING",
        value_name = "auto|shared-pid|host-mount|host|cgroup=PATH|pids=FILE|pid=PID",
        default_value = "auto"
    )]
    pub sampling: Sampling,

    /// UID of the pod, from metadata.uid.
    #[arg(long, env = "FOREBAY_POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,

    /// Name of the pod, from metadata.name.
    #[arg(long, env = "FOREBAY_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,

    /// Namespace of the pod, from metadata.namespace.
    #[arg(long, env = "FOREBAY_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// Name of the component's container; needed where the pod has several beside the agent's.
    #[arg(long, env = "FOREBAY_CONTAINER", value_name = "NAME")]
    pub container: Option<String>,

    /// Id of the component's container, as in status.containerStatuses; for host-mount, in place of its name.
    #[arg(long, env = "FOREBAY_CONTAINER_ID", value_name = "ID")]
    pub container_id: Option<String>,

    /// Where cgroups are mounted.
    #[arg(long, env = "FOREBAY_CGROUP_ROOT", value_name = "PATH", default_value = "/sys/fs/cgroup")]
    pub cgroup_root: PathBuf,

    /// Where the host's cgroups are mounted, for host-mount.
    #[arg(long, env = "FOREBAY_HOST_CGROUP_ROOT", value_name = "PATH", default_value = "/host/sys/fs/cgroup")]
    pub host_cgroup_root: PathBuf,

    /// Where the host's /var/log/containers is mounted, for host-mount with --container; only names are read.
    #[arg(long, env = "FOREBAY_HOST_LOGS", value_name = "PATH", default_value = "/host/var/log/containers")]
    pub host_logs: PathBuf,

    /// Where processes are told.
    #[arg(long, env = "FOREBAY_PROC_ROOT", value_name = "PATH", default_value = "/proc", hide = true)]
    pub proc_root: PathBuf,

    /// Set in every pod by the kubelet.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", value_name = "ADDRESS", hide = true)]
    pub kubernetes: Option<String>,
}

impl SamplingArgs {
    /// The flags, checked.
    pub(super) fn target(self) -> anyhow::Result<Target> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        let named = |flag: &str, value: Option<String>, expected: &str, fits: fn(char) -> bool| {
            let value = given(value);
            let is_right = value.as_deref().is_none_or(|value| value.len() <= 253 && value.chars().all(fits));
            ensure!(is_right, "{flag} is `{}`: expected {expected}", value.unwrap_or_default());
            anyhow::Ok(value)
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let name = "a name of letters, digits, `-` and `.`";
        let pod = Pod {
            uid: named("--pod-uid", self.pod_uid, "letters, digits and `-`, as in metadata.uid", |c| {
                c.is_ascii_alphanumeric() || c == '-'
            })?,
            name: named("--pod-name", self.pod_name, name, is_name)?,
            namespace: named("--namespace", self.namespace, name, is_name)?,
            container: named("--container", self.container, name, is_name)?,
            container_id: given(self.container_id).map(|id| container_id(&id)).transpose()?,
        };
        let in_pod = pod.uid.is_some() || given(self.kubernetes).is_some();
        let roots = Roots {
            proc: self.proc_root,
            cgroup: self.cgroup_root,
            host_cgroup: self.host_cgroup_root,
            host_logs: self.host_logs,
        };
        Ok(Target { sampling: self.sampling, pod, roots, in_pod })
    }
}

/// The digits of `containerd://0123…` or `0123…`.
fn container_id(text: &str) -> anyhow::Result<String> {
    let id = text.rsplit('/').next().unwrap_or(text);
    let is_right = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    ensure!(is_right, "--container-id is `{text}`: expected 64 hexadecimal digits, as in status.containerStatuses");
    Ok(id.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SamplingArgs,
    }

    fn target(flags: &[&str]) -> Result<Target, String> {
        let flags = std::iter::once("forebay-agent").chain(flags.iter().copied());
        let cli = Cli::try_parse_from(flags).map_err(|error| error.to_string())?;
        cli.args.target().map_err(|error| error.to_string())
    }

    #[test]
    fn each_kind_is_told_by_its_name() {
        for (text, sampling) in [
            ("auto", Sampling::Auto),
            ("shared-pid", Sampling::SharedPid),
            ("host-mount", Sampling::HostMount),
            ("host", Sampling::Host),
            ("cgroup=/a=b", Sampling::Cgroup("/a=b".into())),
            ("pids=/run/pids", Sampling::Pids("/run/pids".into())),
            ("pid=42", Sampling::Pid(42)),
        ] {
            assert_eq!(target(&["--sampling", text]).unwrap().sampling, sampling);
        }
        for bad in ["", "hosts", "cgroup", "cgroup=", "pids=", "pid=", "pid=0", "pid=-1", "pid=x", "auto=1", "host="] {
            let error = target(&["--sampling", bad]).unwrap_err();
            assert!(error.contains("--sampling") && error.contains("shared-pid"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_pod_is_known_by_its_uid_or_by_the_kubelets_variable() {
        assert!(target(&["--pod-uid", "1-a"]).unwrap().in_pod);
        assert!(target(&["--kubernetes", "10.0.0.1"]).unwrap().in_pod);
        let empty = target(&["--pod-uid=", "--kubernetes=", "--container="]).unwrap();
        assert!(!empty.in_pod && empty.pod == Pod::default());
    }

    #[test]
    fn what_names_a_container_is_checked() {
        let id = "0123456789abcdef".repeat(4);
        let of = |text: String| target(&["--container-id", &text]).unwrap().pod.container_id;
        assert_eq!((of(id.clone()), of(format!("containerd://{id}"))), (Some(id.clone()), Some(id)));
        for (flag, bad) in [
            ("--container-id", "012"),
            ("--pod-uid", "../x"),
            ("--pod-name", "a/b"),
            ("--namespace", "a b"),
            ("--container", "a_b"),
        ] {
            let error = target(&[flag, bad]).unwrap_err();
            assert!(error.contains(flag) && error.contains(bad) && error.contains("expected"), "{error}");
        }
    }
}
