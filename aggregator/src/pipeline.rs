//! The `Pipeline` resource as users write it: components, their edges, limits and objectives.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use forebay_shared::{Bytes, ComponentId, Millicores};
use serde::{Deserialize, Deserializer, Serialize};

/// API group and version of the resource.
pub const API_VERSION: &str = "forebay.io/v1alpha1";

/// A `Pipeline` manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pipeline {
    /// [`API_VERSION`].
    pub api_version: String,
    /// `Pipeline`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: Metadata,
    /// What is wished.
    pub spec: Spec,
}

/// Name and namespace of a pipeline.
#[derive(Clone, Debug, Deserialize)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; `default` if left out.
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

fn default_namespace() -> String {
    "default".into()
}

/// The wishes for a pipeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Its components, in any order.
    pub components: Vec<Component>,
    /// Nothing is changed while this is set.
    #[serde(default)]
    pub paused: bool,
}

/// One component of a pipeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Component {
    /// Short name, unique in the pipeline.
    pub name: String,
    /// The workload.
    pub target_ref: TargetRef,
    /// The container; the component's name if left out.
    pub container: Option<String>,
    /// Components whose output this one takes.
    #[serde(default)]
    pub upstream: Vec<String>,
    /// Whether decisions are applied; `recommend` if left out.
    #[serde(default)]
    pub mode: Mode,
    /// What may be changed; `horizontal` if left out.
    #[serde(default)]
    pub policy: Policy,
    /// Fewest replicas; 1 if left out.
    #[serde(default = "one")]
    pub min_replicas: u32,
    /// Most replicas; without it, `auto` stays `recommend`.
    pub max_replicas: Option<u32>,
    /// Least CPU a replica; the starting CPU if left out.
    #[serde(default, deserialize_with = "quantity")]
    pub min_cpu: Option<Millicores>,
    /// Most CPU a replica; the starting CPU if left out.
    #[serde(default, deserialize_with = "quantity")]
    pub max_cpu: Option<Millicores>,
    /// Per replica, at the start.
    pub resources: Resources,
    /// Longest acceptable wait in this component's queue; 30 s if left out.
    #[serde(default = "thirty_seconds", deserialize_with = "duration")]
    pub objective: Duration,
    /// Prices of shortage and excess; 19 to 1 if left out, which plans for the 0.95 quantile.
    #[serde(default)]
    pub costs: Costs,
}

/// The workload of a component.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Name of the workload.
    pub name: String,
}

/// Whether decisions are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Told, not applied.
    #[default]
    Recommend,
    /// Applied.
    Auto,
}

/// What may be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// Replicas.
    #[default]
    Horizontal,
    /// CPU a replica.
    Vertical,
    /// CPU a replica first, replicas where that is not enough.
    Hybrid,
}

/// CPU and memory of a replica.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// CPU.
    #[serde(deserialize_with = "required_quantity")]
    pub cpu: Millicores,
    /// Memory; not limited if left out.
    #[serde(default, deserialize_with = "quantity")]
    pub memory: Option<Bytes>,
}

/// Prices of a core-second too few and of one too many, in any one unit.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Costs {
    /// Too few.
    pub shortage: f64,
    /// Too many.
    pub excess: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Self { shortage: 19.0, excess: 1.0 }
    }
}

impl Costs {
    /// The quantile of demand that balances the prices: the newsvendor's critical ratio.
    pub fn quantile(self) -> f64 {
        self.shortage / (self.shortage + self.excess)
    }
}

fn one() -> u32 {
    1
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("`{text}` is not a duration such as 30s or 2m: {error}")))
}

fn required_quantity<'de, D: Deserializer<'de>, Q>(from: D) -> Result<Q, D::Error>
where
    Q: std::str::FromStr<Err = forebay_shared::units::QuantityError>,
{
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

fn quantity<'de, D: Deserializer<'de>, Q>(from: D) -> Result<Option<Q>, D::Error>
where
    Q: std::str::FromStr<Err = forebay_shared::units::QuantityError>,
{
    required_quantity(from).map(Some)
}

impl Pipeline {
    /// Reads and checks a manifest file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read pipeline {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("pipeline {}", path.display()))
    }

    /// Reads and checks a manifest.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let pipeline: Self = serde_saphyr::from_str(text)?;
        pipeline.check()?;
        Ok(pipeline)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.api_version != API_VERSION || self.kind != "Pipeline" {
            bail!("expected {API_VERSION} Pipeline, found {} {}", self.api_version, self.kind);
        }
        let names: BTreeMap<&str, usize> =
            self.spec.components.iter().enumerate().map(|(at, c)| (c.name.as_str(), at)).collect();
        if self.spec.components.is_empty() || names.len() < self.spec.components.len() {
            bail!("spec.components: expected one or more, each with a name of its own");
        }
        for component in &self.spec.components {
            component.check(&names).with_context(|| format!("spec.components, `{}`", component.name))?;
        }
        if self.topological().is_none() {
            bail!("spec.components: `upstream` goes in a circle; a pipeline is a graph without cycles");
        }
        Ok(())
    }

    /// The identity of a component of this pipeline.
    pub fn id(&self, component: &Component) -> anyhow::Result<ComponentId> {
        let group = component.target_ref.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let kind = if group.is_empty() {
            component.target_ref.kind.clone()
        } else {
            format!("{}.{group}", component.target_ref.kind)
        };
        let container = component.container.as_ref().unwrap_or(&component.name);
        let text = format!("{}/{kind}/{}/{container}", self.metadata.namespace, component.target_ref.name);
        text.parse().context("targetRef and container")
    }

    /// Indices of the components, every one after all of its upstream; `None` if they go in a circle.
    pub fn topological(&self) -> Option<Vec<usize>> {
        let components = &self.spec.components;
        let mut order: Vec<usize> = Vec::new();
        while order.len() < components.len() {
            let done = |name: &String| order.iter().any(|&at| components[at].name == *name);
            let next =
                (0..components.len()).find(|at| !order.contains(at) && components[*at].upstream.iter().all(done))?;
            order.push(next);
        }
        Some(order)
    }
}

impl Component {
    /// The mode in force: `auto` needs a declared maximum.
    pub fn effective_mode(&self) -> Mode {
        let bounded = match self.policy {
            Policy::Horizontal => self.max_replicas.is_some(),
            Policy::Vertical => self.max_cpu.is_some(),
            Policy::Hybrid => self.max_replicas.is_some() && self.max_cpu.is_some(),
        };
        if bounded { self.mode } else { Mode::Recommend }
    }

    fn check(&self, names: &BTreeMap<&str, usize>) -> anyhow::Result<()> {
        if let Some(unknown) = self.upstream.iter().find(|name| !names.contains_key(name.as_str())) {
            bail!("upstream: `{unknown}` is no component; there are {:?}", names.keys());
        }
        let max = self.max_replicas.unwrap_or(u32::MAX);
        if self.min_replicas > max || self.min_replicas == 0 {
            bail!("minReplicas {} and maxReplicas {max}: expected 1 <= min <= max", self.min_replicas);
        }
        if self.resources.cpu.0 == 0 {
            bail!("resources.cpu: expected more than 0");
        }
        let (min, max) = (self.min_cpu.unwrap_or(self.resources.cpu), self.max_cpu.unwrap_or(self.resources.cpu));
        if min > max || min.0 == 0 {
            bail!("minCpu {min} and maxCpu {max}: expected 0 < min <= max");
        }
        if self.objective.is_zero() {
            bail!("objective: expected more than 0s");
        }
        let Costs { shortage, excess } = self.costs;
        if !(shortage > 0.0 && excess > 0.0 && shortage.is_finite() && excess.is_finite()) {
            bail!("costs: shortage {shortage} and excess {excess}: expected two positive numbers");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETL: &str = "
apiVersion: forebay.io/v1alpha1
kind: Pipeline
metadata: { name: etl, namespace: demo }
spec:
  components:
    - name: load
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: load }
      upstream: [parse]
      resources: { cpu: 500m, memory: 512Mi }
    - name: parse
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: parse }
      container: app
      mode: auto
      maxReplicas: 20
      resources: { cpu: '1' }
      objective: 10s
";

    #[test]
    fn a_manifest_reads_with_its_defaults() {
        let pipeline = Pipeline::parse(ETL).unwrap();
        let [load, parse] = &pipeline.spec.components[..] else { panic!() };
        assert_eq!(load.objective, Duration::from_secs(30));
        assert_eq!(load.effective_mode(), Mode::Recommend);
        assert_eq!(parse.effective_mode(), Mode::Auto);
        assert_eq!(pipeline.id(parse).unwrap().to_string(), "demo/Deployment.apps/parse/app");
        assert_eq!(pipeline.topological(), Some(vec![1, 0]));
        assert!((parse.costs.quantile() - 0.95).abs() < 1e-9);
    }

    #[test]
    fn auto_without_a_declared_maximum_stays_recommend() {
        let pipeline = Pipeline::parse(&ETL.replace("      maxReplicas: 20\n", "")).unwrap();
        assert_eq!(pipeline.spec.components[1].effective_mode(), Mode::Recommend);
    }

    #[test]
    fn a_bad_manifest_is_refused_by_the_field_that_is_wrong() {
        for (from, to, says) in [
            ("upstream: [parse]", "upstream: [pars]", "`pars` is no component"),
            ("container: app", "upstream: [load]", "circle"),
            ("objective: 10s", "objective: ten", "duration such as 30s"),
            ("cpu: 500m", "cpu: lots", "`lots` is not a CPU quantity"),
            ("maxReplicas: 20", "maxReplica: 20", "maxReplica"),
            ("maxReplicas: 20", "minReplicas: 3\n      maxReplicas: 2", "minReplicas 3"),
            ("kind: Pipeline", "kind: Pod", "expected forebay.io/v1alpha1 Pipeline"),
        ] {
            let error = format!("{:#}", Pipeline::parse(&ETL.replace(from, to)).unwrap_err());
            assert!(error.contains(says), "{to}: {error}");
        }
    }
}
