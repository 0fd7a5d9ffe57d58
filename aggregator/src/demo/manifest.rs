//! The demo's pipeline as its users would write it, and the tokens of its agents.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use forebay_shared::ComponentId;

use super::node::Target;
use super::worker::Stage;
use crate::identity::{AgentToken, PodIdentity};
use crate::pipeline::Pipeline;

/// Namespace of the pipeline.
pub(super) const NAMESPACE: &str = "demo";
/// Name of the pipeline.
pub(super) const NAME: &str = "tokens";
/// The longest acceptable wait, before it is made faster than life.
pub(super) const OBJECTIVE: Duration = Duration::from_secs(30);

/// The manifest; `OBJECTIVE` is filled in.
const MANIFEST: &str = "\
apiVersion: forebay.io/v1alpha1
kind: Pipeline
metadata: { name: tokens, namespace: demo }
spec:
  components:
    - name: ingest
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: ingest }
      mode: auto
      policy: vertical
      maxReplicas: 1
      minCpu: 60m
      maxCpu: 600m
      resources: { cpu: 150m }
      objective: OBJECTIVE
    - name: transform
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: transform }
      upstream: [ingest]
      mode: auto
      policy: horizontal
      maxReplicas: 8
      resources: { cpu: 120m }
      objective: OBJECTIVE
    - name: load
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: load }
      upstream: [transform]
      mode: auto
      policy: hybrid
      maxReplicas: 6
      minCpu: 60m
      maxCpu: 160m
      resources: { cpu: 100m }
      objective: OBJECTIVE
";

/// The manifest with the objective of this run.
pub(super) fn text(objective: Duration) -> String {
    MANIFEST.replace("OBJECTIVE", &format!("{}ms", objective.as_millis()))
}

/// A component's identity, as the manifest makes it.
///
/// # Errors
/// If the manifest does not have it.
pub(super) fn id(stage: Stage) -> anyhow::Result<ComponentId> {
    let pipeline = Pipeline::parse(&text(OBJECTIVE)).context("the demo's manifest")?;
    let component = pipeline.spec.components.iter().find(|component| component.name == stage.name());
    pipeline.id(component.with_context(|| format!("the demo's manifest lacks {}", stage.name()))?)
}

/// What a component has at the start.
///
/// # Errors
/// If the manifest does not have it.
pub(super) fn start(stage: Stage) -> anyhow::Result<Target> {
    let pipeline = Pipeline::parse(&text(OBJECTIVE)).context("the demo's manifest")?;
    let component = pipeline.spec.components.iter().find(|component| component.name == stage.name());
    let cpu = component.with_context(|| format!("the demo's manifest lacks {}", stage.name()))?.resources.cpu;
    let replicas = match stage {
        Stage::Ingest => 1,
        Stage::Transform => 4,
        Stage::Load => 2,
    };
    Ok(Target { replicas, cpu })
}

/// Tokens of a component's agents: of the one that runs, and of the one that recorded the history.
pub(super) struct Tokens {
    /// Whose.
    pub(super) stage: Stage,
    /// The running agent's.
    pub(super) live: String,
    /// The recorded agent's.
    pub(super) recorded: String,
}

impl Tokens {
    /// Fresh tokens of all components.
    pub(super) fn draw() -> Vec<Self> {
        let token = || format!("{:032x}", fastrand::u128(..));
        Stage::ALL.map(|stage| Self { stage, live: token(), recorded: token() }).into()
    }

    /// Writes the aggregator's agents file.
    ///
    /// # Errors
    /// If it can't be written.
    pub(super) fn write(all: &[Self], path: &Path) -> anyhow::Result<()> {
        let mut agents = Vec::new();
        for Self { stage, live, recorded } in all {
            for (token, pod) in [(live, "0"), (recorded, "recorded")] {
                let pod = format!("{}-{pod}", stage.name());
                let uid = format!("{:032x}", fastrand::u128(..));
                let identity = PodIdentity { component: id(*stage)?, pod, uid };
                agents.push(AgentToken { token: token.clone(), identity });
            }
        }
        let text = serde_json::to_vec_pretty(&agents).context("agents file")?;
        std::fs::write(path, text).with_context(|| format!("cannot write agents file {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Mode;

    #[test]
    fn the_manifest_reads_and_every_component_is_scaled_automatically() {
        let pipeline = Pipeline::parse(&text(Duration::from_millis(3750))).unwrap();
        assert_eq!((pipeline.metadata.namespace.as_str(), pipeline.metadata.name.as_str()), (NAMESPACE, NAME));
        for component in &pipeline.spec.components {
            assert_eq!(component.objective, Duration::from_millis(3750));
            assert_eq!(component.effective_mode(), Mode::Auto);
        }
        for stage in Stage::ALL {
            assert_eq!(id(stage).unwrap().name, stage.name());
            assert!(start(stage).unwrap().replicas > 0);
        }
    }

    #[test]
    fn the_agents_file_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agents.json");
        let tokens = Tokens::draw();
        Tokens::write(&tokens, &path).unwrap();
        let read = crate::identity::Tokens::load(&path).unwrap();
        let identity = read.identify(Some(&format!("Bearer {}", tokens[1].recorded))).unwrap();
        assert_eq!(identity.pod, "transform-recorded");
    }
}
