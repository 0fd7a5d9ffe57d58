//! Which workers a component has, and which come and go when it is scaled. Pure: it starts and stops nothing itself.

/// A worker, numbered in the order of their starts.
pub(in crate::demo) type WorkerId = u64;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Asked for; takes no batches yet.
    Starting,
    /// Waits for a batch.
    Idle,
    /// Works on one.
    Busy,
    /// Works on its last one.
    Leaving,
    /// Told to go; still there.
    Gone,
}

/// What has to be done so that there are as many workers as wished.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Workers to start.
    pub(super) start: Vec<WorkerId>,
    /// Workers to stop at once.
    pub(super) stop: Vec<WorkerId>,
}

/// A component's workers, oldest first.
#[derive(Default)]
pub(super) struct Pool {
    members: Vec<(WorkerId, Phase)>,
    next: WorkerId,
}

impl Pool {
    /// Makes it `replicas` that are there to stay. Those that start go first, then the youngest idle ones, then the
    /// youngest busy ones, which end their batch.
    pub(super) fn resize(&mut self, replicas: u32) -> Change {
        let mut change = Change::default();
        while self.replicas() < replicas {
            self.members.push((self.next, Phase::Starting));
            change.start.push(self.next);
            self.next += 1;
        }
        while self.replicas() > replicas {
            let youngest = |phase| self.members.iter().rposition(|member| member.1 == phase);
            let found = [Phase::Starting, Phase::Idle, Phase::Busy].into_iter().find_map(youngest);
            let Some((id, phase)) = found.map(|at| &mut self.members[at]) else { break };
            if *phase == Phase::Busy {
                *phase = Phase::Leaving;
            } else {
                *phase = Phase::Gone;
                change.stop.push(*id);
            }
        }
        change
    }

    /// A worker is ready for batches; false if it was told to go meanwhile.
    pub(super) fn ready(&mut self, id: WorkerId) -> bool {
        self.shift(id, Phase::Starting, Phase::Idle)
    }

    /// Takes the oldest idle worker for a batch.
    pub(super) fn employ(&mut self) -> Option<WorkerId> {
        let (id, phase) = self.members.iter_mut().find(|member| member.1 == Phase::Idle)?;
        *phase = Phase::Busy;
        Some(*id)
    }

    /// A worker is done with its batch; true if it is to be stopped now.
    pub(super) fn release(&mut self, id: WorkerId) -> bool {
        self.shift(id, Phase::Busy, Phase::Idle);
        self.shift(id, Phase::Leaving, Phase::Gone)
    }

    /// A worker's process has ended; true if nobody had told it to.
    pub(super) fn ended(&mut self, id: WorkerId) -> bool {
        let at = self.members.iter().position(|member| member.0 == id);
        at.is_some_and(|at| !matches!(self.members.remove(at).1, Phase::Gone | Phase::Leaving))
    }

    /// Workers that are there to stay.
    pub(super) fn replicas(&self) -> u32 {
        self.count(&[Phase::Starting, Phase::Idle, Phase::Busy])
    }

    /// Workers of these that take batches.
    pub(super) fn ready_count(&self) -> u32 {
        self.count(&[Phase::Idle, Phase::Busy])
    }

    /// Workers that take up room: until their process has ended.
    pub(super) fn present(&self) -> usize {
        self.members.len()
    }

    fn count(&self, phases: &[Phase]) -> u32 {
        self.members.iter().filter(|member| phases.contains(&member.1)).count() as u32
    }

    fn shift(&mut self, id: WorkerId, from: Phase, to: Phase) -> bool {
        let member = self.members.iter_mut().find(|member| **member == (id, from));
        member.map(|member| member.1 = to).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four workers: 0 and 1 busy, 2 idle, 3 starting.
    fn pool() -> Pool {
        let mut pool = Pool::default();
        assert_eq!(pool.resize(4), Change { start: vec![0, 1, 2, 3], stop: vec![] });
        assert!((0..3).all(|id| pool.ready(id)));
        assert_eq!((pool.employ(), pool.employ()), (Some(0), Some(1)));
        pool
    }

    #[test]
    fn starting_workers_go_first_then_idle_then_busy_ones_after_their_batch() {
        let mut pool = pool();
        assert_eq!(pool.resize(3).stop, [3]);
        assert_eq!(pool.resize(2).stop, [2]);
        assert_eq!(pool.resize(1).stop, [] as [u64; 0]);
        assert_eq!((pool.replicas(), pool.present()), (1, 4));
        assert!(!pool.release(0), "the oldest stays");
        assert!(pool.release(1), "the youngest goes when its batch is done");
    }

    #[test]
    fn a_worker_that_was_told_to_go_does_not_become_ready() {
        let mut pool = pool();
        pool.resize(3);
        assert!(!pool.ready(3));
        assert!(!pool.ended(3), "it was told to");
        assert_eq!((pool.replicas(), pool.present()), (3, 3));
    }

    #[test]
    fn a_worker_that_dies_is_told_from_one_that_was_stopped_and_is_replaced() {
        let mut pool = pool();
        assert!(pool.ended(0));
        assert_eq!(pool.resize(4), Change { start: vec![4], stop: vec![] });
    }

    #[test]
    fn resizing_twice_to_the_same_changes_nothing() {
        let mut pool = pool();
        pool.resize(6);
        assert_eq!(pool.resize(6), Change::default());
        pool.resize(1);
        assert_eq!(pool.resize(1), Change::default());
    }
}
