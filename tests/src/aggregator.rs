//! An aggregator of one component, and an agent's frames for it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use forebay_shared::{BatchArrival, BootId, Bytes, Content, DataCharacteristics, Frame, ResourceSample, Timestamp};
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::{Running, program, until_some};

/// The agent's token.
pub const TOKEN: &str = "a-token-of-the-test";
/// Whose frames they are.
pub const COMPONENT: &str = "demo/Deployment.apps/parse/parse";
const PIPELINE: &str = "
apiVersion: forebay.io/v1alpha1
kind: Pipeline
metadata: { name: etl, namespace: demo }
spec:
  components:
    - name: parse
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: parse }
      resources: { cpu: 500m }
";

/// A running aggregator.
#[derive(Debug)]
pub struct Aggregator {
    /// The process: of the program, or of what it runs under.
    pub running: Running,
    /// Where its API is.
    pub url: String,
}

/// Writes the manifest and the tokens into a folder.
///
/// # Errors
/// The disk's.
pub fn prepare(folder: &Path) -> anyhow::Result<()> {
    let agents = serde_json::json!([{ "token": TOKEN, "component": COMPONENT, "pod": "parse-0", "uid": "uid-0" }]);
    std::fs::write(folder.join("agents.json"), agents.to_string())?;
    Ok(std::fs::write(folder.join("pipeline.yaml"), PIPELINE)?)
}

impl Aggregator {
    /// Starts one on the store in a folder, under another program if `under` names one.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(folder: &Path, under: &[&str]) -> anyhow::Result<Self> {
        let file = |name: &str| folder.join(name);
        // It may not be there.
        let _ = std::fs::remove_file(file("address"));
        let program = program("forebay")?;
        let mut command = match under {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.args(["serve", "--listen", "127.0.0.1:0", "--step", "1s"]);
        for (flag, name) in [
            ("--store", "store.sqlite"),
            ("--pipeline", "pipeline.yaml"),
            ("--agents", "agents.json"),
            ("--address-file", "address"),
        ] {
            command.arg(flag).arg(file(name));
        }
        let running = Running::start(command.stderr(Stdio::null()))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        let address = until_some(deadline, || std::fs::read_to_string(file("address")).ok())?;
        Ok(Self { running, url: format!("http://{address}/api/v1") })
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn terminate(&mut self, pid: u32, within: Duration) -> anyhow::Result<()> {
        let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().context("there is no kill")?;
        if !asked.success() {
            bail!("{pid} is no process");
        }
        self.running.wait(within).map(drop)
    }
}

/// A frame of one sample and one batch, which arrived that long ago. The sample covers the whole of the second that the
/// batch arrived in.
pub fn frame(boot: u64, sequence: u64, ago: Duration) -> Frame {
    let at = Timestamp::now().minus(ago);
    let sample = ResourceSample {
        at: at.plus(Duration::from_secs(2)),
        interval_ms: 10_000,
        cpu_us: Some(sequence),
        memory: Some(Bytes(boot)),
        ..ResourceSample::default()
    };
    let characteristics = r#"{"dataVolume": 1000, "dataComplexity": 1, "dataType": "csv"}"#;
    let characteristics: Option<DataCharacteristics> = serde_json::from_str(characteristics).ok();
    let arrival = |characteristics| BatchArrival { batch_id: sequence, arrived_at: at, characteristics };
    let content = Content {
        samples: vec![sample],
        arrivals: characteristics.map(arrival).into_iter().collect(),
        sampling: "test".into(),
        ..Content::default()
    };
    Frame { boot: BootId(u128::from(boot)), sequence, first_retained: 0, content }
}

/// Posts a frame; gives how many were new, or `None` if there was no acknowledgement. As long as the aggregator reads
/// its history it says so, and the frame is sent again.
///
/// # Errors
/// The aggregator refuses it.
pub async fn post(client: &Client, url: &str, frame: &Frame) -> anyhow::Result<Option<u64>> {
    loop {
        let request = client.post(format!("{url}/observations")).bearer_auth(TOKEN).body(frame.encode()?);
        let Ok(answer) = request.send().await else { return Ok(None) };
        match answer.status() {
            StatusCode::OK => {
                let told = answer.json::<Value>().await;
                return Ok(told.ok().and_then(|told| told["accepted"].as_u64()));
            }
            StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(Duration::from_millis(20)).await,
            status => bail!("answered {status}"),
        }
    }
}
