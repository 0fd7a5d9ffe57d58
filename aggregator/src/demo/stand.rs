//! The pipeline, its platform and its agents, wired together.
//!
//! ```text
//! replay ─► ingest ─► transform ─► load ─► sink
//!            │ agent     │ agent     │ agent ─► aggregator
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use forebay_shared::client::PushClient;
use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::children::{Program, Supervised};
use super::clock::Clock;
use super::limiter::Limiter;
use super::manifest::Tokens;
use super::node::{Component, Event, Output, Parts, Platform, Target};
use super::notices::Notices;
use super::path::{Hop, Sink};
use super::tap::Tap;
use super::worker::Stage;

/// How often the file with an agent's address is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long an agent may take to start.
const AGENT_START: Duration = Duration::from_secs(15);

/// Where things are, and how fast they go.
#[derive(Clone)]
pub(super) struct Site {
    /// The directory of this run.
    pub(super) run: PathBuf,
    /// This program.
    pub(super) binary: PathBuf,
    /// The clock's speed.
    pub(super) clock: Clock,
    /// Where to say what has happened.
    pub(super) notices: Notices,
    /// Somebody wants it to stop.
    pub(super) stopped: CancellationToken,
}

impl Site {
    /// A program beside the demo, with a log of its own.
    pub(super) fn program(&self, name: &str, args: Vec<String>) -> Program {
        let log = self.logs().join(format!("{name}.log"));
        let pid_file = self.run.join(format!("{name}.pid"));
        Program { name: name.into(), binary: self.binary.clone(), args, log, pid_file }
    }

    /// Where logs are.
    pub(super) fn logs(&self) -> PathBuf {
        self.run.join("logs")
    }
}

/// The pipeline on its platform.
pub(super) struct Stand {
    /// The components, in the order of the data.
    pub(super) components: Vec<Component>,
    /// The taps at their agents.
    pub(super) taps: Vec<Tap>,
    /// The way in.
    pub(super) entry: Hop,
    /// The way out.
    pub(super) sink: Sink,
    limiter: Arc<Limiter>,
    addresses: Vec<watch::Sender<Option<PushClient>>>,
    agents: Vec<Supervised>,
    site: Site,
}

impl Stand {
    /// Starts the components, without agents.
    ///
    /// # Errors
    /// If the output file can't be made.
    pub(super) async fn start(site: &Site, limiter: Limiter, targets: [Target; 3]) -> anyhow::Result<Self> {
        let limiter = Arc::new(limiter);
        let platform = Arc::new(Platform {
            binary: site.binary.clone(),
            logs: site.logs(),
            start_up: site.clock.start_up(),
            limiter: limiter.clone(),
            notices: site.notices.clone(),
        });
        let sink = Sink::create(&site.run.join("loaded.lz4s")).await?;
        let (addresses, agents): (Vec<_>, Vec<_>) = Stage::ALL.iter().map(|_| watch::channel(None)).unzip();
        let taps: Vec<Tap> = agents.into_iter().map(Tap::new).collect();
        let objective = site.clock.objective();
        let mut output = Output::Sink(sink.clone());
        let mut components = Vec::new();
        for ((stage, target), tap) in Stage::ALL.into_iter().zip(targets).zip(&taps).rev() {
            let parts = Parts { stage, target, objective, tap: tap.clone(), output };
            let component = Component::start(platform.clone(), parts);
            output = Output::Next(entrance(stage, tap, component.events()));
            components.insert(0, component);
        }
        let Output::Next(entry) = output else { bail!("the pipeline has no components") };
        let (site, agents) = (site.clone(), Vec::new());
        Ok(Self { components, taps, entry, sink, limiter, addresses, agents, site })
    }

    /// Starts an agent a component, and waits until all are there.
    ///
    /// # Errors
    /// If one does not start, with what its log says.
    pub(super) async fn start_agents(&mut self, aggregator: &str, tokens: &[Tokens]) -> anyhow::Result<()> {
        for (tokens, address) in tokens.iter().zip(&self.addresses) {
            let stage = tokens.stage;
            let file = |suffix: &str| self.site.run.join(format!("{}.{suffix}", stage.name()));
            fs::write(file("token"), &tokens.live).context("cannot write an agent's token")?;
            fs::remove_file(file("agent")).ok();
            let sampling = self.limiter.sampling(stage);
            let args = agent_args(&self.site, aggregator, &file("agent"), &file("token"), &sampling);
            let program = self.site.program(&format!("{}-agent", stage.name()), args);
            self.agents.push(Supervised::start(program, self.site.notices.clone()));
            tokio::spawn(follow(file("agent"), address.clone()));
        }
        let deadline = Instant::now() + AGENT_START;
        for (agent, address) in self.agents.iter().zip(&self.addresses) {
            while address.borrow().is_none() {
                if Instant::now() > deadline || agent.restarts() > 2 {
                    bail!("an agent does not start; {}", agent.log_tail());
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// How often agents died and were started anew.
    pub(super) fn agent_restarts(&self) -> u64 {
        self.agents.iter().map(Supervised::restarts).sum()
    }

    /// Batches that are through: out of the pipeline, or refused on the way.
    pub(super) fn through(&self) -> u64 {
        self.sink.batches() + self.components.iter().map(|component| component.accounts.lock().failed).sum::<u64>()
    }

    /// Waits until `put` batches are through, or the patience is over.
    pub(super) async fn drain(&self, put: u64, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.through() < put && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the agents, which send the rest of what they have if there is still somebody to take it.
    pub(super) async fn stop_agents(&mut self) {
        join_all(self.agents.drain(..).map(Supervised::stop)).await;
    }

    /// Ends the workers.
    pub(super) async fn stop(mut self) {
        self.stop_agents().await;
        join_all(self.components.iter().map(Component::stop)).await;
    }
}

fn entrance(stage: Stage, tap: &Tap, events: mpsc::Sender<Event>) -> Hop {
    Hop::new(tap.clone(), stage.takes(), events)
}

fn agent_args(site: &Site, aggregator: &str, address: &Path, token: &Path, sampling: &str) -> Vec<String> {
    let (interval, flush) = (site.clock.sample_interval(), site.clock.step());
    let text = |path: &Path| path.display().to_string();
    let args = [
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--address-file", text(address)),
        ("--aggregator", aggregator.to_owned()),
        ("--token-file", text(token)),
        ("--sampling", sampling.to_owned()),
        ("--tap", "push".to_owned()),
        ("--interval", format!("{}ms", interval.as_millis())),
        ("--flush", format!("{}ms", flush.as_millis())),
    ];
    let flags = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    ["agent".to_owned()].into_iter().chain(flags).chain(["--exit-with-stdin".to_owned()]).collect()
}

/// Tells the tap where the agent is: an agent that is started anew has another port.
async fn follow(file: PathBuf, address: watch::Sender<Option<PushClient>>) {
    let mut last = String::new();
    while !address.is_closed() {
        let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
        let text = text.trim();
        if !text.is_empty() && text != last {
            last = text.to_owned();
            address.send_replace(Some(PushClient::new(format!("http://{text}"))));
        }
        sleep(LOOK_EVERY).await;
    }
}
