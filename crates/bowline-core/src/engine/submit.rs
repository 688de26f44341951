//! New tasks: checked, then all of them in one commit, or none.

use std::sync::Arc;

use crate::answer::{Answer, Refusal, RefusalCode, Replayed, Reply};
use crate::gang::Terms;
use crate::id::{Round, TaskId, TaskRef, Ticket};
use crate::input::{DryRun, IdempotencyKey, NewTask, Submit};
use crate::machine::{Blocked, State};
use crate::mutant::{self, Mutant};
use crate::name::{Actor, Namespace};
use crate::row::{self, KeyRow};
use crate::spec::{Dependency, SUBMIT_TASKS_MAX, TaskSpec};
use crate::time::Span;

use super::Engine;
use super::array::Array;
use super::check::check_task;
use super::element::is_met;
use super::lane::LaneKey;
use super::out::{Cause, Changed};
use super::table::{At, Hot, Origin, Policy, Rare, Task};

/// The task that was made last in a submit: most are followed by their like.
pub(super) struct Made {
    spec: Arc<TaskSpec>,
    policy: Arc<Policy>,
}

impl Engine {
    /// A submit, whole or not at all.
    pub(super) fn submit(&mut self, actor: &Actor, submit: &Submit, gang: Option<Terms>) -> Reply {
        if let Some(key) = &submit.key {
            match self.made_under(&submit.namespace, key)? {
                Some(row::Made::Tasks(tasks)) => {
                    return Ok(Answer::Submitted { tasks, replayed: Replayed::Yes, warnings: Vec::new() });
                }
                Some(row::Made::Run(_)) => return Err(other_kind(key)),
                None => {}
            }
        }
        self.check_submit(submit)?;
        gang.map_or(Ok(()), |terms| self.check_gang(submit, terms))?;
        let mut warnings = self.warnings(submit);
        warnings.extend(gang.and_then(|terms| self.gang_warning(submit, terms)));
        Self::check_strict(submit.strict, &warnings)?;
        if submit.dry_run == DryRun::Yes {
            return Ok(Answer::Submitted { tasks: Vec::new(), replayed: Replayed::No, warnings });
        }
        let first = self.counters.task;
        let mut tasks = Vec::with_capacity(submit.tasks.len());
        let size = u32::try_from(submit.tasks.len()).unwrap_or(u32::MAX);
        if let Some(terms) = gang {
            self.begin_gang(first, terms, size);
        }
        let mut last = None;
        for (new, index) in submit.tasks.iter().zip(0..) {
            let origin =
                Origin { namespace: submit.namespace.clone(), created_by: actor.clone(), run: None, step: None };
            let member = gang.map(|terms| super::gang::member(new, first, (index, size), terms));
            tasks.push(self.create(member.as_ref().unwrap_or(new), first, origin, &mut last));
        }
        if let Some(key) = &submit.key {
            self.remember_key(&submit.namespace, key, row::Made::Tasks(tasks.clone()));
        }
        Ok(Answer::Submitted { tasks, replayed: Replayed::No, warnings })
    }

    fn check_submit(&self, submit: &Submit) -> Result<(), Refusal> {
        if submit.tasks.is_empty() {
            return Err(Refusal::new(RefusalCode::Invalid, "The submit holds no task; send at least one."));
        }
        if submit.tasks.len() > SUBMIT_TASKS_MAX {
            let message = format!(
                "The submit holds {} tasks; at most {SUBMIT_TASKS_MAX} are allowed, so send them in parts, or as an array.",
                submit.tasks.len()
            );
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        self.check_quotas(&submit.namespace, &submit.tasks)?;
        for (place, new) in submit.tasks.iter().enumerate().filter(|(place, _)| !is_as_before(&submit.tasks, *place)) {
            check_task(place, new)?;
            self.check_stop_after(new)?;
            self.check_asks(new)?;
            self.check_dependencies(&submit.namespace, new)?;
        }
        Ok(())
    }

    /// Between two heartbeats nothing is answered: a shorter limit would stop healthy jobs.
    pub(super) fn check_stop_after(&self, new: &NewTask) -> Result<(), Refusal> {
        let least = self.config.timing.heartbeat * 2;
        match new.spec.stop_after {
            Some(limit) if limit.0 < least => {
                let message = format!(
                    "Its `stop_after` of {limit} is shorter than two heartbeats, and would stop a healthy job; ask for {} \
                     or more.",
                    Span(least)
                );
                Err(Refusal::new(RefusalCode::Invalid, message))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Every dependency exists in the same namespace. Ended ones were brought into memory before.
    pub(super) fn check_dependencies(&self, namespace: &Namespace, new: &NewTask) -> Result<(), Refusal> {
        for dependency in &new.spec.after {
            let is_here = self.tasks.get(&dependency.task.task).is_some_and(|task| task.policy.namespace == *namespace);
            if !is_here || self.dependency_state(dependency.task).is_none() {
                let message = format!(
                    "There is no task {} in namespace {namespace} to depend on; look for it with `bowline task list`.",
                    dependency.task
                );
                return Err(Refusal::new(RefusalCode::NotFound, message));
            }
        }
        Ok(())
    }

    /// What the submitter should know: tasks that no worker known could ever run.
    fn warnings(&self, submit: &Submit) -> Vec<String> {
        let asks = submit.tasks.iter().flat_map(|new| new.spec.resources.iter());
        let mut warnings: Vec<String> = self.resource_warnings(asks);
        for (place, new) in submit.tasks.iter().enumerate() {
            if is_as_before(&submit.tasks, place) {
                continue;
            }
            let key = LaneKey::of(&submit.namespace, &new.spec);
            if key.is_held_by_server || self.workers.values().any(|w| w.row.offer.as_ref().is_some_and(|o| key.fits(o)))
            {
                continue;
            }
            let warning = format!("no worker known can run this: {}", key.describe());
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        warnings
    }

    /// Makes one task. Everything was checked. `first` is the first id of its submit; `last` is of the task before it
    /// there, of the same origin.
    pub(super) fn create(&mut self, new: &NewTask, first: TaskId, origin: Origin, last: &mut Option<Made>) -> TaskId {
        let id = self.counters.task;
        self.counters.task = id.next();
        self.out.counters = Changed::Yes;
        let spec = resolve(new, first);
        let spec = self.with_names(&spec).ok().flatten().map_or(spec, Arc::new);
        let cause = Cause::new(&origin.created_by, "");
        let known = last.as_ref().filter(|last| Arc::ptr_eq(&last.spec, &spec)).map(|last| Arc::clone(&last.policy));
        let policy = known.unwrap_or_else(|| {
            let lane = self.lanes.intern(self.lane_key(&origin, &spec));
            let policy = self.policies.shared(Policy::of(&spec, origin, lane));
            *last = Some(Made { spec: Arc::clone(&spec), policy: Arc::clone(&policy) });
            policy
        });
        let rare = Rare {
            name: spec.name.as_deref().map(Into::into),
            paused: None,
            after: (!spec.after.is_empty()).then(|| spec.after.as_slice().into()),
            open: None,
            array: spec.array.as_ref().map(|array| Box::new(Array::new(array.clone()).asking(spec.asks()))),
            gang: spec.gang.map(Box::new),
        };
        let task = Task {
            policy,
            version: 0,
            round: Round(1),
            round_at: self.now,
            submitted_at: self.now,
            ticket: Ticket(0),
            ticket_at: At::default(),
            hot: Hot::new(State::Waiting, self.now),
            rare: rare.kept(),
            written: 0,
        };
        if task.array().is_some() {
            self.unfinished_arrays.insert(id);
        }
        self.tasks.insert(id, task);
        self.begin_asking(id);
        self.out.new_tasks.insert(id, (Arc::clone(&spec), Arc::clone(&new.elements)));
        self.touch_task(id);
        self.tell(TaskRef::whole(id), crate::id::AttemptNo(0), "submitted", &cause);
        self.begin_round(id, &spec, &cause);
        id
    }

    fn begin_round(&mut self, id: TaskId, spec: &TaskSpec, cause: &Cause) {
        let whole = TaskRef::whole(id);
        let delay = spec.delay.map(|delay| self.now.plus(delay.0));
        let until = delay.max(spec.at).filter(|until| *until > self.now);
        // Before anything is waited for: one of those may be what it depends on.
        self.replace_others(id, cause);
        let (open, lost) = self.open_dependencies(&spec.after);
        let lost = lost.or_else(|| self.dropped_for(id));
        let blocked = if open.is_empty() && lost.is_none() { Blocked::No } else { Blocked::Yes };
        self.watch(id, open);
        if let Some(hot) = self.hot_mut(whole) {
            hot.state = State::begin(until, blocked);
        }
        self.begin(whole, cause);
        if let Some(message) = lost {
            let cause = Cause::server(message.clone());
            self.shift(whole, crate::machine::Event::Unmeetable(message), &cause).ok();
        }
    }

    /// Which dependencies are still open, and whether one can no longer be met.
    fn open_dependencies(&self, after: &[Dependency]) -> (Vec<Dependency>, Option<String>) {
        let mut open = Vec::new();
        let mut lost = None;
        for dependency in after {
            let Some(state) = self.dependency_state(dependency.task) else { continue };
            if !state.is_ended() {
                open.push(*dependency);
            } else if !is_met(dependency.on, state) {
                lost = Some(format!("task {}, on which it depends, ended as {state}", dependency.task));
            }
        }
        (open, lost)
    }

    fn remember_key(&mut self, namespace: &Namespace, key: &IdempotencyKey, made: row::Made) {
        let row = KeyRow { namespace: namespace.clone(), key: key.key.clone(), body: key.body, made, at: self.now };
        if !mutant::is(Mutant::KeyNotRemembered) {
            self.keep_key(row);
        }
    }

    /// The same for a run.
    pub(super) fn remember_run_key(&mut self, namespace: &Namespace, key: &IdempotencyKey, run: crate::id::RunId) {
        self.remember_key(namespace, key, row::Made::Run(run));
    }
}

/// Whether a task of a submit is the one before it once more: what is so of that one is so of it.
fn is_as_before(tasks: &[NewTask], place: usize) -> bool {
    let is_plain = |task: &NewTask| task.elements.is_empty() && task.after_earlier.is_empty();
    let before = place.checked_sub(1).and_then(|before| tasks.get(before));
    before
        .zip(tasks.get(place))
        .is_some_and(|(before, task)| Arc::ptr_eq(&before.spec, &task.spec) && is_plain(before) && is_plain(task))
}

/// The refusal of a key that made something of another kind.
pub(super) fn other_kind(key: &IdempotencyKey) -> Refusal {
    let message = format!("The key `{}` was used for something else; choose another one.", key.key);
    Refusal::new(RefusalCode::KeyReused, message)
}

/// Dependencies on earlier tasks of the same submit become ids.
fn resolve(new: &NewTask, first: TaskId) -> Arc<TaskSpec> {
    if new.after_earlier.is_empty() {
        return Arc::clone(&new.spec);
    }
    let mut spec = (*new.spec).clone();
    for (place, on) in &new.after_earlier {
        let task = TaskRef::whole(TaskId(first.0 + *place as u64));
        spec.after.push(Dependency { task, on: *on });
    }
    Arc::new(spec)
}
