//! A cluster's rows as the checker keeps them: of each only what its rules need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowline_core::fair::Rule;
use bowline_core::id::{
    AttemptRef, CommitNo, Epoch, Fence, Incarnation, Round, RunId, SessionId, TaskId, TaskRef, Ticket, WorkerId,
};
use bowline_core::name::WorkerName;
use bowline_core::resource::Ask;
use bowline_core::row::{AttemptRow, Counters, Unit};
use bowline_core::run::RunState;
use bowline_core::spec::{OnWorkerLoss, Overlap, TaskSpec};
use bowline_core::state::{AttemptEnd, Outcome, StateKind};
use bowline_core::time::Timestamp;
use bowline_core::worker::Offer;

use crate::world::WorkerRole;

/// A task or an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSeen {
    /// In which round it was written last.
    pub round: Round,
    /// Its state.
    pub state: StateKind,
    /// Its newest fence.
    pub fence: Fence,
    /// Stopping: as what it will end.
    pub stop: Option<StateKind>,
}

impl UnitSeen {
    /// As its row says.
    pub fn of(round: Round, unit: &Unit) -> Self {
        let stop = unit.outcome.as_ref().filter(|_| unit.state == StateKind::Stopping).map(Outcome::state);
        Self { round, state: unit.state, fence: unit.fence(), stop }
    }
}

/// A task.
#[derive(Debug, Clone)]
pub struct TaskSeen {
    /// As a unit; of an array: as a whole.
    pub unit: UnitSeen,
    /// Its ticket.
    pub ticket: Ticket,
    /// How many elements it has. `None`: it is single.
    pub count: Option<u32>,
    /// Elements that ended, by its counts.
    pub ended: u32,
    /// Whether it is paused.
    pub paused: bool,
    /// Of which run.
    pub run: Option<RunId>,
    /// As described.
    pub spec: Arc<TaskSpec>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptSeen {
    /// Of which round.
    pub round: Round,
    /// Who has it.
    pub worker: Option<WorkerId>,
    /// For which session.
    pub session: SessionId,
    /// When it was claimed.
    pub assigned_at: Timestamp,
    /// Whether its job began.
    pub started: bool,
    /// How it ended.
    pub end: Option<AttemptEnd>,
}

impl AttemptSeen {
    /// As its row says.
    pub fn of(row: &AttemptRow) -> Self {
        let (round, worker, session, assigned_at) = (row.round, row.worker, row.session, row.assigned_at);
        Self { round, worker, session, assigned_at, started: row.started_at.is_some(), end: row.end }
    }
}

/// A worker.
#[derive(Debug, Clone)]
pub struct WorkerSeen {
    /// Its name.
    pub name: WorkerName,
    /// Its newest incarnation.
    pub incarnation: Incarnation,
    /// Drained since then.
    pub drained_since: Option<Timestamp>,
    /// Paused.
    pub paused: bool,
    /// What it can do.
    pub offer: Option<Offer>,
}

/// A cluster's rows.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// The last commit, under which epoch.
    pub commit: (Epoch, CommitNo),
    /// The next free numbers.
    pub counters: Counters,
    /// Tasks.
    pub tasks: BTreeMap<TaskId, TaskSeen>,
    /// Elements that have rows.
    pub elements: BTreeMap<(TaskId, u32), UnitSeen>,
    /// Attempts.
    pub attempts: BTreeMap<AttemptRef, AttemptSeen>,
    /// Attempts that have not ended, by unit.
    pub live: BTreeMap<TaskRef, BTreeSet<Fence>>,
    /// The same by worker.
    pub held: BTreeMap<WorkerId, BTreeSet<AttemptRef>>,
    /// Workers.
    pub workers: BTreeMap<WorkerId, WorkerSeen>,
    /// The newest incarnation under each name that was forgotten.
    pub forgotten: BTreeMap<WorkerName, Incarnation>,
    /// Workers that the last commit forgot.
    pub gone_now: BTreeSet<WorkerName>,
    /// Runs.
    pub runs: BTreeMap<RunId, RunState>,
    /// Tasks of which the last commit began a new round.
    pub retried: BTreeSet<TaskId>,
    /// Tasks and runs that were deleted, or swept.
    pub gone: BTreeSet<TaskId>,
    /// The same of runs.
    pub runs_gone: BTreeSet<RunId>,
    /// Namespaces that are paused; the empty name is everything.
    pub paused: BTreeSet<String>,
    /// Tokens, by their hash.
    pub tokens: BTreeSet<[u8; 32]>,
    /// Most attempts of a worker, by its name; by the empty one of a pool's.
    pub room: BTreeMap<String, usize>,
}

impl Book {
    /// These workers will come.
    pub fn expect(&mut self, workers: &[WorkerRole]) {
        for role in workers {
            let most = (role.slots + role.prefetch.unwrap_or(0)) as usize;
            let name = if role.pool.is_some() { "" } else { role.name.as_str() };
            let room = self.room.entry(name.to_owned()).or_default();
            *room = most.max(*room);
        }
    }

    /// Most attempts that a worker of this name may hold.
    pub fn room_of(&self, name: &WorkerName) -> usize {
        let found = self.room.get(name.as_str()).or_else(|| self.room.get(""));
        found.copied().unwrap_or(usize::MAX)
    }

    /// A unit's row, where it has one.
    pub fn unit(&self, unit: TaskRef) -> Option<&UnitSeen> {
        match unit.index {
            None => self.tasks.get(&unit.task).map(|task| &task.unit),
            Some(index) => self.elements.get(&(unit.task, index)),
        }
    }

    /// Whether no second attempt of this task may begin while a first one may live.
    pub fn forbids_overlap(&self, task: TaskId) -> bool {
        let Some(task) = self.tasks.get(&task) else { return false };
        match task.spec.overlap {
            Some(Overlap::Forbid) => true,
            Some(Overlap::Allow) => false,
            None => {
                let is_exclusive = task.spec.resources.iter().any(Ask::is_exclusive);
                // One at most under its key: two of it would be one too many.
                let key = task.spec.concurrency.as_ref().map(|under| under.rule);
                let is_alone = matches!(key, Some(Rule::AtMost(1) | Rule::NewestWins | Rule::Drop));
                is_exclusive || is_alone || task.spec.on_worker_loss == OnWorkerLoss::Fail
            }
        }
    }

    /// Tasks that have not ended.
    pub fn open_tasks(&self) -> impl Iterator<Item = (TaskId, &TaskSeen)> {
        self.tasks.iter().filter(|(_, task)| !task.unit.state.is_ended()).map(|(id, task)| (*id, task))
    }

    /// These were removed.
    pub fn remove(&mut self, tasks: &[TaskId], runs: &[RunId]) {
        for task in tasks {
            self.tasks.remove(task);
            self.gone.insert(*task);
            let elements: Vec<_> = self.elements.range((*task, 0)..=(*task, u32::MAX)).map(|(key, _)| *key).collect();
            for key in elements {
                self.elements.remove(&key);
            }
            let attempts: Vec<_> = self.attempts.keys().filter(|attempt| attempt.task.task == *task).copied().collect();
            for attempt in attempts {
                self.attempts.remove(&attempt);
            }
        }
        for run in runs {
            self.runs.remove(run);
            self.runs_gone.insert(*run);
        }
    }
}
