//! `explain`, held to its word: everything that it says keeps a task is removed, and the task must begin.
//!
//! Whoever is told must hold what he is said to hold; what is removed must not be told again; and whoever waits must be told why.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::explain::{AsideWhy, Explanation, Nearest, PausedThing, WaitReason, WorkerReason};
use bowline_core::id::{AttemptRef, TaskRef};
use bowline_core::input::{Completion, Request, RunVerb, TaskVerb};
use bowline_core::message::{FromWorker, Paused};
use bowline_core::name::{ResourceName, WorkerName};
use bowline_core::resource::{ResourceChange, Service};
use bowline_core::spec::{Condition, Requirement};
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;
use bowline_core::worker::{Health, Offer, Room};
use bowline_store::ReadStore;

use super::Fork;
use crate::workload::resource::all_there;
use crate::workload::verbs::run_verb;

/// Rounds of asking and removing for one task in which less is left than ever before do not count: lines are long, and
/// each such round brings it on. So many others are enough.
const ROUNDS_MAX: usize = 200;
/// Dependencies of dependencies are gone through so far.
pub(super) const DEPTH_MAX: u32 = 8;
/// How long is waited where what has the room has ended.
const WAIT: Duration = Duration::from_secs(10);
/// The room of a worker that is brought so that a whole lane goes: more than a run has tasks.
const MUCH: u32 = 10_000;

/// What is told, what lives, when, and how much is left: where all of it is the same again nothing came of what was removed.
type Seen = (Explanation, Vec<(WorkerName, AttemptRef)>, Timestamp, u64);

/// How `explain` fared with one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// All that it said was removed, and the task began.
    Kept,
    /// Nothing can be said: the task ended by a limit meanwhile, or is gone; or it asks for what excludes itself.
    Open,
    /// What it said was not what kept the task.
    Broken(String),
}

/// Asks why this waits, removes what is said, and sees whether it begins.
pub fn hold_to_its_word(fork: &mut Fork, unit: TaskRef) -> Word {
    let mut before: Option<Seen> = None;
    let (mut rounds, mut least) = (0, u64::MAX);
    while rounds < ROUNDS_MAX {
        let left = fork.unfinished();
        rounds += usize::from(left >= least);
        least = least.min(left);
        let Some(told) = fork.explain(unit) else { return Word::Open };
        if told.state.is_ended() {
            return Word::Open;
        }
        if is_begun(told.state) {
            return Word::Kept;
        }
        if told.reasons.is_empty() {
            return Word::Broken(format!("{unit} is {}, and nothing says why it waits", told.state));
        }
        if let Some(lie) = fork.false_holder(&told) {
            return Word::Broken(lie);
        }
        let now = (told.clone(), fork.live(), fork.now, left);
        if before.as_ref() == Some(&now) && fork.is_hopeless {
            return Word::Open;
        }
        if before.as_ref() == Some(&now) {
            let behind = fork.behind(&told.reasons);
            return Word::Broken(format!(
                "{unit} is {}, and all was removed that is said to keep it: {:?}{behind}",
                told.state, told.reasons
            ));
        }
        before = Some(now);
        for reason in &told.reasons {
            fork.remove(unit, reason, 0);
        }
    }
    if fork.is_hopeless {
        return Word::Open;
    }
    let reasons = before.map(|(told, ..)| told.reasons).unwrap_or_default();
    Word::Broken(format!("{unit} has not begun after {ROUNDS_MAX} rounds of removing what keeps it: {reasons:?}"))
}

fn is_begun(state: StateKind) -> bool {
    match state {
        StateKind::Assigned | StateKind::Running | StateKind::Stopping | StateKind::InDoubt => true,
        StateKind::Scheduled
        | StateKind::Blocked
        | StateKind::Waiting
        | StateKind::Ready
        | StateKind::Succeeded
        | StateKind::Failed
        | StateKind::Cancelled
        | StateKind::Skipped => false,
    }
}

impl Fork {
    /// Somebody is said to hold what he does not hold by the rows, or is left out.
    fn false_holder(&mut self, told: &Explanation) -> Option<String> {
        let is_told = |reason: &WaitReason| matches!(reason, WaitReason::Resource { .. });
        if !told.reasons.iter().any(is_told) {
            return None;
        }
        let held: BTreeMap<ResourceName, _> = self.held();
        for reason in &told.reasons {
            let WaitReason::Resource { name, holders, more: 0, .. } = reason else { continue };
            let said = holders.iter().map(|holder| holder.task).collect();
            let rows = held.get(name).cloned().unwrap_or_default();
            if rows != said {
                let task = told.task;
                return Some(format!("{task} is told that {said:?} hold {name}, and by the rows {rows:?} do"));
            }
        }
        None
    }

    /// What this reason says keeps a task is removed.
    pub(super) fn remove(&mut self, unit: TaskRef, reason: &WaitReason, depth: u32) {
        match reason {
            WaitReason::NotBefore { until }
            | WaitReason::Backoff { until, .. }
            | WaitReason::AwayFrom { until, .. }
            | WaitReason::WarmOn { until, .. }
            | WaitReason::Held { until: Some(until) } => self.pass_to(*until),
            WaitReason::Dependency { task, on, .. } => self.meet(*task, *on, depth),
            WaitReason::Paused { what, .. } => self.resume(unit, what),
            WaitReason::NoWorkerFits { .. } if self.wants_what_it_excludes(unit) => self.is_hopeless = true,
            WaitReason::NoWorkerFits { nearest: Some(nearest), .. } => self.bring_better(nearest),
            WaitReason::NoWorkerFits { nearest: None, .. } | WaitReason::Behind { .. } => self.bring_all(unit),
            WaitReason::WorkersUnavailable { workers } => {
                for (worker, _) in workers {
                    self.make_available(worker);
                }
            }
            WaitReason::NoRoom { workers, .. } => {
                let held = workers.iter().flat_map(|full| full.held_by.iter().map(|of| (full.worker.clone(), *of)));
                for (worker, attempt) in held {
                    self.finish(&worker, attempt);
                    self.end_rest(unit, attempt.task);
                }
                // What frees one slot at a time is taken by others, until it has waited long enough for one to be kept free.
                self.pass_to(self.now.plus(WAIT));
            }
            WaitReason::KeptFree { workers } => {
                for (_, other) in workers {
                    self.end(*other);
                }
            }
            WaitReason::KeptForIt { worker, .. } => self.empty(unit, worker),
            WaitReason::RunsForAnother { workers } => {
                for (worker, _) in workers {
                    self.empty(unit, worker);
                }
            }
            WaitReason::OfItsGang { .. } => self.bring_for(&[unit], true),
            WaitReason::ArrayWindow { .. } => {
                self.finish_all(TaskRef::whole(unit.task));
            }
            WaitReason::Element { element, why, .. } => self.remove(*element, why, depth),
            WaitReason::WorkerSilent { worker, .. } => self.connect(worker),
            WaitReason::Resource { holders, behind, .. } => {
                for other in holders.iter().map(|holder| holder.task).chain(*behind).filter(|other| *other != unit) {
                    self.end(other);
                    self.end_rest(unit, other);
                }
            }
            WaitReason::Aside { why, .. } => self.step_back(unit, why),
            other => self.remove_other(unit, other, depth),
        }
    }

    /// What only somebody who knows can say; what is a matter of fairness; and what is not said of who waits.
    fn remove_other(&mut self, unit: TaskRef, reason: &WaitReason, depth: u32) {
        let how = Completion::Success(None);
        match reason {
            WaitReason::InDoubt { .. } => self.act(unit, TaskVerb::Resolve { how }),
            WaitReason::Held { until: None } => self.act(unit, TaskVerb::Complete { how }),
            WaitReason::Quota { namespace, .. } => self.lift_quota(namespace),
            WaitReason::Share { .. } => self.drop_shares(),
            WaitReason::Gang { absent, lacking, distinct, .. } => {
                self.gather(absent, depth);
                self.bring_for(lacking, *distinct);
            }
            // What `remove` knows itself.
            _ => {}
        }
    }

    /// What runs there ends, and what would come to its place.
    fn empty(&mut self, unit: TaskRef, worker: &WorkerName) {
        let theirs: Vec<_> = self.live().into_iter().filter(|(of, _)| of == worker).collect();
        for (_, attempt) in theirs {
            self.finish(worker, attempt);
            self.end_rest(unit, attempt.task);
        }
    }

    /// Other elements of the same array would come to its place, one after the other.
    pub(super) fn end_rest(&mut self, unit: TaskRef, other: TaskRef) {
        if other.index.is_some() && other.task != unit.task {
            self.end(TaskRef::whole(other.task));
        }
    }

    fn resume(&mut self, unit: TaskRef, what: &PausedThing) {
        let paused = Paused::No;
        match what {
            PausedThing::Task => return self.act(TaskRef::whole(unit.task), TaskVerb::Resume),
            PausedThing::Member(member) => return self.act(*member, TaskVerb::Resume),
            PausedThing::Run(run) => self.request(run_verb(*run, RunVerb::Resume)),
            PausedThing::Namespace(name) => self.request(Request::Pause { namespace: Some(name.clone()), paused }),
            PausedThing::Everything => self.request(Request::Pause { namespace: None, paused }),
        }
        .ok();
    }

    /// A dependency ends as it must.
    fn meet(&mut self, task: TaskRef, on: Condition, depth: u32) {
        match on {
            Condition::Any | Condition::Fail => self.end_badly(task),
            Condition::Ok if depth < DEPTH_MAX => self.succeed(task, depth + 1),
            Condition::Ok => self.is_hopeless = true,
        }
    }

    fn end_badly(&mut self, task: TaskRef) {
        if self.end_holding_run(task) {
            return;
        }
        self.act(task, TaskVerb::Resolve { how: Completion::Failure("no".to_owned()) });
        self.act(task, TaskVerb::Cancel { why: "it need not succeed".to_owned() });
        for (worker, attempt) in self.live() {
            if attempt.task.task == task.task {
                self.finish(&worker, attempt);
            }
        }
    }

    /// What is said of the tasks on which it depends.
    fn behind(&mut self, reasons: &[WaitReason]) -> String {
        let tasks = reasons.iter().filter_map(|reason| match reason {
            WaitReason::Dependency { task, .. } => Some(*task),
            _ => None,
        });
        let told = tasks.filter_map(|task| self.explain(task));
        let told: Vec<String> =
            told.map(|told| format!("{} is {}: {:?}", told.task, told.state, told.reasons)).collect();
        if told.is_empty() { String::new() } else { format!("; {}", told.join("; ")) }
    }

    /// A dependency is brought to a good end, by what is said to keep it.
    fn succeed(&mut self, task: TaskRef, depth: u32) {
        for _ in 0..ROUNDS_MAX {
            let Some(told) = self.explain(task) else { return };
            if told.state.is_ended() {
                return;
            }
            if !self.finish_all(task) {
                if told.reasons.is_empty() {
                    return;
                }
                let before = (told.reasons.clone(), self.now);
                for reason in &told.reasons {
                    self.remove(task, reason, depth);
                }
                let after = self.explain(task).map(|told| told.reasons);
                if after.as_ref() == Some(&before.0) && before.1 == self.now && self.live().is_empty() {
                    return;
                }
            }
        }
    }

    fn step_back(&mut self, unit: TaskRef, why: &AsideWhy) {
        match why {
            AsideWhy::OutOfService { name, .. } => {
                let change = ResourceChange { service: Some(Service::In), ..ResourceChange::default() };
                self.request(Request::SetResource { name: name.clone(), change }).ok();
            }
            AsideWhy::TooMuch { .. } => {
                for more in all_there() {
                    self.request(more).ok();
                }
            }
            // The reason beside it says what to do.
            AsideWhy::Paused | AsideWhy::NoWorker { .. } | AsideWhy::Window => {}
            fair @ (AsideWhy::Concurrency { .. }
            | AsideWhy::Rate { .. }
            | AsideWhy::Running { .. }
            | AsideWhy::Held { .. }) => self.make_fair(unit, fair),
        }
    }

    /// What a worker says of itself is set right.
    fn make_available(&mut self, worker: &WorkerName) {
        for reason in self.explain_worker(worker) {
            match reason {
                WorkerReason::NotConnected { .. } => self.connect(worker),
                WorkerReason::Suspect { .. } => self.say(worker, FromWorker::Heartbeat),
                WorkerReason::Broken { .. } => self.say(worker, FromWorker::Health(Health::Ok)),
                WorkerReason::Paused { .. } => {
                    self.request(Request::PauseWorker { worker: worker.clone(), paused: Paused::No }).ok();
                }
                WorkerReason::Drained { .. } | WorkerReason::PutAside { .. } => {
                    self.request(Request::UndrainWorker { worker: worker.clone() }).ok();
                }
                WorkerReason::EverythingPaused { .. } => {
                    self.request(Request::Pause { namespace: None, paused: Paused::No }).ok();
                }
                WorkerReason::NoSlot { held_by, .. } | WorkerReason::NoMoreAsked { held_by, .. } => {
                    for attempt in held_by {
                        self.finish(worker, attempt);
                    }
                }
                // That has no remedy here, or needs none.
                _ => {}
            }
        }
    }

    /// No worker can ever have what it requires without what it excludes.
    fn wants_what_it_excludes(&self, unit: TaskRef) -> bool {
        let Ok(Some(found)) = self.store.task(unit.task) else { return false };
        let spec = found.spec;
        spec.requires.iter().any(|wanted| {
            let mut same = spec.placement.excludes.iter().filter(|not| not.key == wanted.key);
            same.any(|not| not.value.is_none() || not.value == wanted.value)
        })
    }

    /// A worker like the nearest, with what that one is said to lack, and nothing else.
    fn bring_better(&mut self, nearest: &Nearest) {
        let Ok(Some(row)) = self.store.worker(&nearest.worker) else { return };
        let Some(mut offer) = row.offer else { return };
        for Requirement { key, value } in &nearest.missing {
            match value {
                Some(action) if key.as_str() == "action" => offer.actions.push(action.clone()),
                value => {
                    offer.capabilities.insert(key.clone(), value.clone());
                }
            }
        }
        for Requirement { key, .. } in &nearest.excluded {
            offer.capabilities.remove(key);
        }
        for (name, wanted, _) in &nearest.too_small {
            if name.as_str() == "slots" {
                offer.room.slots = u32::try_from(*wanted).unwrap_or(u32::MAX);
            } else {
                offer.room.amounts.insert(name.clone(), *wanted);
            }
        }
        self.bring(offer);
    }

    /// A worker that fits, with room for everybody in its lane.
    pub(super) fn bring_all(&mut self, unit: TaskRef) {
        let Ok(Some(found)) = self.store.task(unit.task) else { return };
        let spec = found.spec;
        let capabilities = spec.requires.iter().map(|wanted| (wanted.key.clone(), wanted.value.clone())).collect();
        let amounts = spec.amounts.keys().map(|name| (name.clone(), u64::from(u32::MAX))).collect();
        let actions = vec![spec.work.action.name().to_owned()];
        self.bring(Offer { capabilities, actions, room: Room { slots: MUCH, amounts } });
    }
}
