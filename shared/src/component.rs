//! The identity of a component: one container of one workload.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Namespace, kind.group, name and container of a component; written `namespace/kind.group/name/container`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComponentId {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kind and API group of the workload, such as `Deployment.apps`.
    pub kind: String,
    /// Name of the workload.
    pub name: String,
    /// Name of the container.
    pub container: String,
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.namespace, self.kind, self.name, self.container)
    }
}

impl FromStr for ComponentId {
    type Err = ComponentIdError;

    fn from_str(text: &str) -> Result<Self, ComponentIdError> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [namespace, kind, name, container] if parts.iter().all(|part| is_name(part)) => Ok(Self {
                namespace: namespace.into(),
                kind: kind.into(),
                name: name.into(),
                container: container.into(),
            }),
            _ => Err(ComponentIdError(text.into())),
        }
    }
}

/// What Kubernetes allows in the names concerned, a little widened: letters, digits, `-`, `.`; at most 253.
fn is_name(part: &str) -> bool {
    (1..=253).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

impl TryFrom<String> for ComponentId {
    type Error = ComponentIdError;

    fn try_from(text: String) -> Result<Self, ComponentIdError> {
        text.parse()
    }
}

impl From<ComponentId> for String {
    fn from(id: ComponentId) -> Self {
        id.to_string()
    }
}

/// Text that names no component.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a component: expected namespace/kind.group/name/container, such as demo/Deployment.apps/ingest/app"
)]
pub struct ComponentIdError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let text = "demo/Deployment.apps/ingest/app";
        assert_eq!(text.parse::<ComponentId>().unwrap().to_string(), text);
    }

    #[test]
    fn what_names_no_component_is_refused_with_the_shape_that_is_right() {
        for bad in ["", "a/b/c", "a/b/c/d/e", "a//c/d", "a/b/c d/e", "a/b/../e\n"] {
            let error = bad.parse::<ComponentId>().unwrap_err().to_string();
            assert!(error.contains("namespace/kind.group/name/container"), "{error}");
        }
    }
}
