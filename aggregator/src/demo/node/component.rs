//! A component: its queue, its workers, and which batch goes to whom. One task owns all of it, so that a batch is
//! always in exactly one place.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_shared::{Millicores, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::accounts::{AllocationChange, Shared, Snapshot};
use super::pool::{Change, Pool, WorkerId};
use super::process::{self, Birth, Work};
use super::{Platform, State, Target};
use crate::demo::path::{Hop, Sink};
use crate::demo::queue::{Batch, Queue};
use crate::demo::tap::Tap;
use crate::demo::worker::Stage;
use crate::demo::worker::wire::Answer;

/// Events that wait for the component: a few from each of at most 32 workers, and the queue's feeder.
const EVENTS: usize = 256;
/// A worker is given one batch at a time.
const WORK: usize = 1;
/// How often the queue is looked at for bottlenecks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What happens to a component.
pub(in crate::demo) enum Event {
    /// A batch came.
    Arrived(Batch),
    /// A worker is ready.
    Ready(WorkerId),
    /// A worker is done with a batch.
    Answered(WorkerId, Answer),
    /// What a worker made has found room downstream.
    Free(WorkerId),
    /// A worker's process is gone.
    Ended(WorkerId),
    /// It shall be scaled; tells the new state.
    Scale(Target, oneshot::Sender<State>),
    /// Tell the state.
    Tell(oneshot::Sender<State>),
    /// Let all workers go at once, and end.
    Stop,
}

/// A component as others see it.
#[derive(Clone)]
pub(in crate::demo) struct Component {
    name: &'static str,
    events: mpsc::Sender<Event>,
    /// What it did.
    pub(in crate::demo) accounts: Shared,
}

/// Where a component's results go.
pub(in crate::demo) enum Output {
    /// To the next component.
    Next(Hop),
    /// Out of the pipeline.
    Sink(Sink),
}

/// What a component is made of.
pub(in crate::demo) struct Parts {
    /// Its stage.
    pub(in crate::demo) stage: Stage,
    /// What it has at the start; these workers start without delay.
    pub(in crate::demo) target: Target,
    /// The longest acceptable wait.
    pub(in crate::demo) objective: Duration,
    /// The agent beside it.
    pub(in crate::demo) tap: Tap,
    /// Where its results go.
    pub(in crate::demo) output: Output,
}

// === impl Component ===

impl Component {
    /// Starts a component; it runs until the runtime ends or all that know it are gone.
    pub(in crate::demo) fn start(platform: Arc<Platform>, parts: Parts) -> Self {
        let (events, receiver) = mpsc::channel(EVENTS);
        let accounts = Shared::default();
        let name = parts.stage.name();
        let now = Instant::now();
        let task = Running {
            platform,
            cpu: watch::Sender::new(parts.target.cpu),
            parts: Arc::new(parts),
            events: events.clone(),
            accounts: accounts.clone(),
            queue: Queue::default(),
            pool: Pool::default(),
            workers: HashMap::new(),
            in_work: HashMap::new(),
            accounted: now,
            stopping: false,
        };
        tokio::spawn(task.run(receiver));
        Self { name, events, accounts }
    }

    /// Its name.
    pub(in crate::demo) fn name(&self) -> &'static str {
        self.name
    }

    /// Where its batches come in.
    pub(in crate::demo) fn events(&self) -> mpsc::Sender<Event> {
        self.events.clone()
    }

    /// Gives it what is asked for; none if it is stopping.
    pub(in crate::demo) async fn scale(&self, target: Target) -> Option<State> {
        let (reply, state) = oneshot::channel();
        self.events.send(Event::Scale(target, reply)).await.ok()?;
        state.await.ok()
    }

    /// What it has; none if it is stopping.
    pub(in crate::demo) async fn state(&self) -> Option<State> {
        let (reply, state) = oneshot::channel();
        self.events.send(Event::Tell(reply)).await.ok()?;
        state.await.ok()
    }

    /// Lets all workers go, and waits until they are gone.
    pub(in crate::demo) async fn stop(&self) {
        if self.events.send(Event::Stop).await.is_ok() {
            self.events.closed().await;
        }
    }

    /// One without processes: it has `ready` workers, whatever is asked of it.
    #[cfg(test)]
    pub(super) fn fake(name: &'static str, ready: u32) -> Self {
        let (events, mut receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                let state = |replicas, cpu: Millicores| State { replicas, ready, cpu: cpu.to_string() };
                match event {
                    Event::Scale(target, reply) => reply.send(state(target.replicas, target.cpu)).ok(),
                    Event::Tell(reply) => reply.send(state(ready, Millicores(100))).ok(),
                    _ => None,
                };
            }
        });
        Self { name, events, accounts: Shared::default() }
    }
}

/// The component's task.
struct Running {
    platform: Arc<Platform>,
    parts: Arc<Parts>,
    cpu: watch::Sender<Millicores>,
    events: mpsc::Sender<Event>,
    accounts: Shared,
    queue: Queue,
    pool: Pool,
    workers: HashMap<WorkerId, mpsc::Sender<Work>>,
    in_work: HashMap<WorkerId, Batch>,
    accounted: Instant,
    stopping: bool,
}

// === impl Running ===

impl Running {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let change = self.pool.resize(self.parts.target.replicas);
        self.carry_out(&change, Duration::ZERO);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => {
                        self.account();
                        self.handle(event);
                    }
                    None => return,
                },
                _ = look.tick() => self.account(),
            }
            if self.stopping && self.pool.present() == 0 {
                return;
            }
            self.dispatch();
            self.accounts.lock().now = self.snapshot();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrived(batch) => {
                self.accounts.lock().arrived += 1;
                self.queue.put(batch);
            }
            Event::Ready(id) => {
                if self.pool.ready(id) {
                    self.accounts.lock().started += 1;
                }
            }
            Event::Answered(id, answer) => self.answered(id, answer),
            Event::Free(id) => {
                if self.pool.release(id) {
                    self.workers.remove(&id);
                }
            }
            Event::Ended(id) => self.ended(id),
            Event::Scale(target, reply) => {
                self.scale(target);
                reply.send(self.state()).ok();
            }
            Event::Tell(reply) => {
                reply.send(self.state()).ok();
            }
            Event::Stop => {
                self.stopping = true;
                self.pool.resize(0);
                self.workers.clear();
            }
        }
    }

    /// Gives waiting batches to idle workers.
    fn dispatch(&mut self) {
        while self.queue.len() > 0 {
            let Some(id) = self.pool.employ() else { return };
            let Some(batch) = self.queue.take() else { return };
            let work = Work { number: batch.number, bytes: batch.bytes.clone() };
            self.parts.tap.started(&batch);
            self.accounts.lock().waits.push(batch.put_at.elapsed());
            self.in_work.insert(id, batch);
            // A worker that can't take it is dying: its end puts the batch back.
            if let Some(worker) = self.workers.get(&id) {
                worker.try_send(work).ok();
            }
        }
    }

    fn answered(&mut self, id: WorkerId, answer: Answer) {
        let Some(batch) = self.in_work.remove(&id) else { return };
        let intact = answer.number == batch.number && answer.input_crc == batch.crc;
        self.parts.tap.finished(&batch, answer.output.is_ok());
        {
            let mut accounts = self.accounts.lock();
            *(if intact { &mut accounts.identical } else { &mut accounts.damaged }) += 1;
            *(if answer.output.is_ok() { &mut accounts.finished } else { &mut accounts.failed }) += 1;
            accounts.bytes_in += batch.bytes.len() as u64;
            accounts.used += answer.cpu_us as f64 / 1e6;
        }
        let number = batch.number;
        match answer.output {
            Ok(bytes) => self.pass_on(id, number, bytes),
            Err(problem) => {
                self.platform.notices.say(format!("{}: {problem}", self.parts.stage.name()));
                self.free(id);
            }
        }
    }

    /// Passes a result on. Until it has found room downstream, its worker takes no other batch.
    fn pass_on(&self, id: WorkerId, number: u64, bytes: Vec<u8>) {
        let (parts, events) = (self.parts.clone(), self.events.clone());
        tokio::spawn(async move {
            match &parts.output {
                Output::Next(hop) => hop.put(number, bytes).await,
                Output::Sink(sink) => sink.put(bytes).await,
            }
            events.send(Event::Free(id)).await.ok();
        });
    }

    fn free(&mut self, id: WorkerId) {
        self.handle(Event::Free(id));
    }

    /// A worker is gone: what it worked on goes back to the head of the queue, and another one starts if it was to stay.
    fn ended(&mut self, id: WorkerId) {
        self.workers.remove(&id);
        if let Some(batch) = self.in_work.remove(&id) {
            self.accounts.lock().put_back += 1;
            self.queue.put_back(batch);
        }
        let replicas = self.pool.replicas();
        if self.pool.ended(id) && !self.stopping {
            self.accounts.lock().died += 1;
            let change = self.pool.resize(replicas);
            self.carry_out(&change, self.platform.start_up);
        }
    }

    fn scale(&mut self, target: Target) {
        let before = self.pool.replicas();
        // In place: every worker's process watches it.
        self.cpu.send_if_modified(|cpu| std::mem::replace(cpu, target.cpu) != target.cpu);
        let change = self.pool.resize(target.replicas);
        let started = change.start.len() as u64;
        self.carry_out(&change, self.platform.start_up);
        let replicas = (before, target.replicas);
        self.accounts.lock().changes.push(AllocationChange { at: Timestamp::now(), replicas, started });
    }

    fn carry_out(&mut self, change: &Change, after: Duration) {
        for &id in &change.start {
            let (sender, work) = mpsc::channel(WORK);
            let birth = Birth { stage: self.parts.stage, id, after, share: self.cpu.subscribe(), work };
            tokio::spawn(process::live(self.platform.clone(), birth, self.events.clone()));
            self.workers.insert(id, sender);
        }
        for id in &change.stop {
            self.workers.remove(id);
        }
    }

    /// Counts what was given since the last time, and whether the queue was a bottleneck.
    fn account(&mut self) {
        let now = Instant::now();
        let since = now.duration_since(self.accounted);
        self.accounted = now;
        let mut accounts = self.accounts.lock();
        accounts.allocated += self.pool.present() as f64 * self.cpu.borrow().cores() * since.as_secs_f64();
        if self.queue.oldest_wait(now) > self.parts.objective {
            accounts.bottleneck += since;
        }
    }

    fn state(&self) -> State {
        let (replicas, ready) = (self.pool.replicas(), self.pool.ready_count());
        State { replicas, ready, cpu: self.cpu.borrow().to_string() }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            waiting: self.queue.len(),
            oldest_wait: self.queue.oldest_wait(Instant::now()),
            replicas: self.pool.replicas(),
            ready: self.pool.ready_count(),
            cpu: *self.cpu.borrow(),
        }
    }
}
