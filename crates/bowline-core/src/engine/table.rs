//! What the engine keeps in memory of a task: only what it decides by. Payloads, results and history
//! stay in the store. What many tasks have in common is kept once ([`Policy`]).

use std::collections::HashSet;
use std::sync::Arc;

use crate::gang::Member;
use crate::id::{AttemptNo, Fence, Generation, NodeIndex, Round, RunId, TaskId, TaskRef, Ticket, WorkerId};
use crate::machine::{Holder, Intent, State};
use crate::message::Held;
use crate::name::{Actor, Namespace, StepName};
use crate::resource::{Grant, Mode};
use crate::row::{PauseMark, TaskRow, Unit};
use crate::spec::{Action, Dependency, GRACE_DEFAULT, OnWorkerLoss, Overlap, RetryPolicy, TaskSpec, Timeouts};
use crate::state::{Outcome, Phase};
use crate::time::{Span, Timestamp};

use super::array::Array;
use super::lane::{LaneId, LaneKey};
use super::limit::Limits;
use super::lines::Want;

/// A moment that may be missing, in 8 bytes. 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct At(u64);

impl At {
    pub(super) fn get(self) -> Option<Timestamp> {
        (self.0 != 0).then_some(Timestamp(self.0))
    }
}

impl From<Option<Timestamp>> for At {
    fn from(at: Option<Timestamp>) -> Self {
        Self(at.map_or(0, |at| at.0.max(1)))
    }
}

impl From<Timestamp> for At {
    fn from(at: Timestamp) -> Self {
        Some(at).into()
    }
}

/// What the server itself does with a task that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum HeldBy {
    /// A worker makes the attempt.
    Worker,
    /// The server waits for `task complete`.
    ServerWait,
    /// The server waits for so long.
    ServerSleep(Span),
}

/// What many tasks have in common, kept once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Policy {
    pub namespace: Namespace,
    pub created_by: Actor,
    pub lane: LaneId,
    pub lane_key: Arc<LaneKey>,
    pub held: HeldBy,
    pub priority: i32,
    pub run: Option<(RunId, NodeIndex)>,
    pub step: Option<StepName>,
    pub retry: RetryPolicy,
    pub timeouts: Timeouts,
    pub deadline: Option<Timestamp>,
    pub grace: Span,
    pub on_worker_loss: OnWorkerLoss,
    pub overlap: Option<Overlap>,
    pub lost_after: Option<Span>,
    pub stop_after: Option<Span>,
    pub wants: Arc<[Want]>,
    pub release_while_retrying: bool,
    pub limits: Option<Arc<Limits>>,
    /// Its run holds what it needs.
    pub under_run: bool,
}

/// Whose a task is.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub namespace: Namespace,
    pub created_by: Actor,
    pub run: Option<(RunId, NodeIndex)>,
    pub step: Option<StepName>,
}

impl Policy {
    /// From a description.
    pub(super) fn of(spec: &TaskSpec, origin: Origin, lane: (LaneId, Arc<LaneKey>)) -> Self {
        Self {
            namespace: origin.namespace,
            created_by: origin.created_by,
            lane: lane.0,
            lane_key: lane.1,
            held: held_by(&spec.work.action),
            priority: spec.priority,
            run: origin.run,
            step: origin.step,
            retry: spec.retry,
            timeouts: spec.timeouts,
            deadline: spec.deadline,
            grace: spec.work.grace.unwrap_or(GRACE_DEFAULT),
            on_worker_loss: spec.on_worker_loss,
            overlap: spec.overlap,
            lost_after: spec.lost_after,
            stop_after: spec.stop_after,
            wants: Want::of(&spec.resources),
            release_while_retrying: spec.release_while_retrying,
            limits: Limits::of(spec),
            under_run: spec.under_run,
        }
    }

    /// Whether it waits for anything but a worker before it is ready.
    pub(super) fn asks(&self) -> bool {
        !self.wants.is_empty() || self.limits.is_some()
    }

    /// Whether it holds what nobody else may hold meanwhile.
    fn holds_exclusively(&self) -> bool {
        let key = self.limits.as_ref().and_then(|limits| limits.concurrency.as_ref());
        key.is_some_and(|key| key.rule.is_exclusive())
            || self.wants.iter().any(|want| matches!(want.mode, Mode::Exclusive | Mode::Unit))
    }

    /// Whether a second attempt may begin while a lost first one may still live.
    pub(super) fn overlaps(&self) -> bool {
        match (self.overlap, self.on_worker_loss) {
            (Some(Overlap::Allow), OnWorkerLoss::Rerun | OnWorkerLoss::Fail) => true,
            (None, OnWorkerLoss::Rerun) => !self.holds_exclusively(),
            (Some(Overlap::Forbid), OnWorkerLoss::Rerun | OnWorkerLoss::Fail) | (None, OnWorkerLoss::Fail) => false,
        }
    }
}

fn held_by(action: &Action) -> HeldBy {
    match action {
        Action::Command(_) | Action::Noop | Action::Http(_) => HeldBy::Worker,
        Action::Wait => HeldBy::ServerWait,
        Action::Sleep(length) => HeldBy::ServerSleep(*length),
    }
}

/// Policies by value, so that equal ones are one. Only looked up, never gone through in order.
#[derive(Debug, Default)]
pub(super) struct Policies {
    known: HashSet<Arc<Policy>>,
    sweep_at: usize,
    /// At a take-over: that of the task before, with its description.
    last: Option<(Arc<TaskSpec>, Arc<Policy>)>,
}

/// Policies that nobody uses are looked for when there are at least so many.
const POLICIES_SWEEP_MIN: usize = 1_024;

impl Policies {
    /// The one that is equal to this one.
    pub(super) fn shared(&mut self, policy: Policy) -> Arc<Policy> {
        if policy.run.is_some() {
            return Arc::new(policy);
        }
        if let Some(known) = self.known.get(&policy) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at.max(POLICIES_SWEEP_MIN) {
            self.known.retain(|policy| Arc::strong_count(policy) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        let policy = Arc::new(policy);
        self.known.insert(Arc::clone(&policy));
        policy
    }

    /// That of the task that was loaded before, where this one has the same description, and is of no run.
    pub(super) fn last_loaded(&self, row: &TaskRow, spec: &Arc<TaskSpec>) -> Option<Arc<Policy>> {
        let (last, policy) = self.last.as_ref()?;
        let is_same = Arc::ptr_eq(last, spec) && row.run.is_none() && policy.run.is_none();
        let is_its =
            policy.namespace == row.namespace && policy.created_by == row.created_by && policy.step == row.step;
        (is_same && is_its).then(|| Arc::clone(policy))
    }

    /// The description and the policy of a task that was loaded.
    pub(super) fn note_loaded(&mut self, spec: Arc<TaskSpec>, policy: Arc<Policy>) {
        self.last = Some((spec, policy));
    }

    /// Every task is loaded.
    pub(super) fn end_loading(&mut self) {
        self.last = None;
    }
}

/// Whatever can be claimed, and an array as a whole: its state and what is counted beside it.
#[derive(Debug, Clone)]
pub(super) struct Hot {
    pub state: State,
    pub since: Timestamp,
    pub attempt: AttemptNo,
    pub generation: Generation,
    pub worker: Option<WorkerId>,
    pub failures: u32,
    pub losses: u32,
    /// The last failure or loss.
    pub last: Option<Box<Outcome>>,
    pub waiting_at: At,
    pub ready_at: At,
    pub started_at: At,
    pub ended_at: At,
    /// When its timer fires.
    pub timer: At,
    held: Option<Box<Box<[Grant]>>>,
}

impl Hot {
    /// In this state, with nothing behind it.
    pub(super) fn new(state: State, now: Timestamp) -> Self {
        Self {
            state,
            since: now,
            attempt: AttemptNo(0),
            generation: Generation(0),
            worker: None,
            failures: 0,
            losses: 0,
            last: None,
            waiting_at: At::default(),
            ready_at: At::default(),
            started_at: At::default(),
            ended_at: At::default(),
            timer: At::default(),
            held: None,
        }
    }

    /// What its worker is told of the resources that it holds.
    pub(super) fn told(&self) -> Vec<Held> {
        let told = |grant: &Grant| Held { name: grant.name.clone(), amount: grant.amount, units: grant.units.clone() };
        self.held().iter().map(told).collect()
    }

    /// The resources that it holds.
    pub(super) fn held(&self) -> &[Grant] {
        self.held.as_ref().map_or(&[], |held| held)
    }

    /// Now it holds these.
    pub(super) fn set_held(&mut self, held: Box<[Grant]>) {
        self.held = (!held.is_empty()).then(|| Box::new(held));
    }

    /// Now it holds nothing any more: what it held.
    pub(super) fn take_held(&mut self) -> Option<Box<[Grant]>> {
        self.held.take().map(|held| *held)
    }

    /// The newest attempt's fence.
    pub(super) fn fence(&self) -> Fence {
        Fence { generation: self.generation, attempt: self.attempt }
    }

    /// As it is stored.
    pub(super) fn row(&self) -> Unit {
        let (phase, until, outcome) = match &self.state {
            State::Scheduled { until } => (Phase::Ended, Some(*until), self.last.clone()),
            State::Blocked
            | State::Waiting
            | State::Ready
            | State::InDoubt
            | State::Running { on: Holder::Elements } => (Phase::Ended, None, self.last.clone()),
            State::Assigned { .. } => (Phase::Assigned, None, self.last.clone()),
            State::Running { on: Holder::Server { until } } => (Phase::Running, *until, self.last.clone()),
            State::Running { on: Holder::Worker(_) } => (Phase::Running, None, self.last.clone()),
            State::Stopping { on: Holder::Elements, intent } => (Phase::Ended, None, outcome_of(intent)),
            State::Stopping { intent, .. } => (Phase::Stopping, None, outcome_of(intent)),
            State::Ended { outcome } => (Phase::Ended, None, Some(outcome.clone())),
        };
        Unit {
            state: self.state.kind(),
            since: self.since,
            phase,
            attempt: self.attempt,
            generation: self.generation,
            worker: self.worker,
            until,
            failures: self.failures,
            losses: self.losses,
            outcome: outcome.map(|outcome| *outcome),
            waiting_at: self.waiting_at.get(),
            ready_at: self.ready_at.get(),
            started_at: self.started_at.get(),
            ended_at: self.ended_at.get(),
            held: self.held().to_vec(),
        }
    }

    /// From its row. An array as a whole is held by its elements.
    pub(super) fn from_row(row: &Unit, is_array: IsArray) -> Self {
        let mut last = row.outcome.clone().map(Box::new);
        let holder = match (is_array, row.worker) {
            (IsArray::Yes, _) => Holder::Elements,
            (IsArray::No, Some(worker)) => Holder::Worker(worker),
            (IsArray::No, None) => Holder::Server { until: row.until },
        };
        let state = state_from(row, holder, &mut last);
        Self {
            state,
            since: row.since,
            attempt: row.attempt,
            generation: row.generation,
            worker: row.worker,
            failures: row.failures,
            losses: row.losses,
            last,
            waiting_at: row.waiting_at.into(),
            ready_at: row.ready_at.into(),
            started_at: row.started_at.into(),
            ended_at: row.ended_at.into(),
            timer: At::default(),
            held: (!row.held.is_empty()).then(|| Box::new(row.held.clone().into())),
        }
    }
}

/// Whether a row is an array's as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsArray {
    /// It is a single task's, or an element's.
    No,
    /// It is.
    Yes,
}

/// What is stored of an intent: nothing where it gives back.
fn outcome_of(intent: &Intent) -> Option<Box<Outcome>> {
    match intent {
        Intent::End(outcome) => Some(outcome.clone()),
        Intent::GiveBack => None,
    }
}

fn state_from(row: &Unit, on: Holder, last: &mut Option<Box<Outcome>>) -> State {
    use crate::state::StateKind as K;
    match row.state {
        K::Scheduled => State::Scheduled { until: row.until.unwrap_or_default() },
        K::Blocked => State::Blocked,
        K::Waiting => State::Waiting,
        K::Ready => State::Ready,
        K::Assigned => State::Assigned { worker: row.worker.unwrap_or_default() },
        K::Running => State::Running { on },
        K::Stopping => State::Stopping { on, intent: last.take().map_or(Intent::GiveBack, Intent::End) },
        K::InDoubt => State::InDoubt,
        K::Succeeded | K::Failed | K::Cancelled | K::Skipped => {
            State::Ended { outcome: last.take().unwrap_or_else(|| Box::new(Outcome::Succeeded)) }
        }
    }
}

/// What few tasks have. It lies elsewhere: most tasks have nothing of it, and it costs them 8 bytes.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub name: Option<Box<str>>,
    pub paused: Option<Box<PauseMark>>,
    pub after: Option<Arc<[Dependency]>>,
    /// Dependencies that are still open.
    pub open: Option<Box<[Dependency]>>,
    pub array: Option<Box<Array>>,
    /// Its place in a gang.
    pub gang: Option<Box<Member>>,
}

impl Rare {
    /// Nothing, where there is nothing of it.
    pub(super) fn kept(self) -> Option<Box<Self>> {
        let Self { name, paused, after, open, array, gang } = &self;
        let has_any = name.is_some() || paused.is_some() || after.is_some() || open.is_some() || array.is_some();
        (has_any || gang.is_some()).then(|| Box::new(self))
    }
}

/// A task in memory.
#[derive(Debug)]
pub(super) struct Task {
    pub policy: Arc<Policy>,
    pub version: u32,
    pub round: Round,
    pub round_at: Timestamp,
    pub submitted_at: Timestamp,
    pub ticket: Ticket,
    /// When it took its ticket: priority counts from here.
    pub ticket_at: At,
    pub hot: Hot,
    pub rare: Option<Box<Rare>>,
    /// The batch in which it was last written.
    pub written: u64,
}

impl Task {
    /// As it is stored.
    pub(super) fn row(&self, id: TaskId) -> TaskRow {
        TaskRow {
            id,
            version: self.version,
            namespace: self.policy.namespace.clone(),
            name: self.name().map(str::to_owned),
            action: self.policy.lane_key.action.to_owned(),
            priority: self.policy.priority,
            run: self.policy.run,
            step: self.policy.step.clone(),
            created_by: self.policy.created_by.clone(),
            submitted_at: self.submitted_at,
            round: self.round,
            round_at: self.round_at,
            ticket: self.ticket,
            ticket_at: self.ticket_at.get(),
            paused: self.paused().cloned(),
            unit: self.hot.row(),
            array: self.array().map(|array| array.counts),
        }
    }

    /// What people call it.
    pub(super) fn name(&self) -> Option<&str> {
        self.rare.as_ref()?.name.as_deref()
    }

    /// By whom it is paused, and since when.
    pub(super) fn paused(&self) -> Option<&PauseMark> {
        self.rare.as_ref()?.paused.as_deref()
    }

    /// What it depends on.
    pub(super) fn after(&self) -> Option<&Arc<[Dependency]>> {
        self.rare.as_ref()?.after.as_ref()
    }

    /// What of that is still open.
    pub(super) fn open(&self) -> Option<&[Dependency]> {
        self.rare.as_ref()?.open.as_deref()
    }

    /// Its elements, where it is an array.
    pub(super) fn array(&self) -> Option<&Array> {
        self.rare.as_ref()?.array.as_deref()
    }

    /// The same, to change them.
    pub(super) fn array_mut(&mut self) -> Option<&mut Array> {
        self.rare.as_mut()?.array.as_deref_mut()
    }

    /// Its place in a gang.
    pub(super) fn gang(&self) -> Option<&Member> {
        self.rare.as_ref()?.gang.as_deref()
    }

    /// It is paused, or not any more.
    pub(super) fn set_paused(&mut self, mark: Option<PauseMark>) {
        self.change_rare(|rare| rare.paused = mark.map(Box::new));
    }

    /// What it still waits for.
    pub(super) fn set_open(&mut self, open: Vec<Dependency>) {
        self.change_rare(|rare| rare.open = (!open.is_empty()).then(|| open.into()));
    }

    /// It waits for nothing any more: for what it did.
    pub(super) fn take_open(&mut self) -> Option<Box<[Dependency]>> {
        self.rare.as_mut()?.open.take()
    }

    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().map(|rare| *rare).unwrap_or_default();
        change(&mut rare);
        self.rare = rare.kept();
    }

    /// Of this name, as it is given back to the worker's messages.
    pub(super) fn unit(&self, unit: TaskRef) -> Option<&Hot> {
        match (unit.index, self.array()) {
            (None, _) => Some(&self.hot),
            (Some(index), Some(array)) => array.elements.get(&index).map(|element| &element.hot),
            (Some(_), None) => None,
        }
    }

    /// The same, to change it.
    pub(super) fn unit_mut(&mut self, unit: TaskRef) -> Option<&mut Hot> {
        let Some(index) = unit.index else { return Some(&mut self.hot) };
        self.array_mut()?.elements.get_mut(&index).map(|element| &mut element.hot)
    }

    /// Whether its round is over.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.hot.state, State::Ended { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_no_larger_than_it_has_to_be() {
        // A million queued tasks are held in memory.
        assert!(size_of::<Task>() <= 176, "{}", size_of::<Task>());
    }
}
