//! What people do with tasks: cancel, retry, pause, complete, delete.

use crate::answer::{Refusal, RefusalCode};
use crate::id::{Fence, Round, TaskId, TaskRef, Ticket};
use crate::input::{Completion, TaskVerb};
use crate::machine::{Blocked, Event, Holder, Refused, State};
use crate::message::{JobEnd, Paused};
use crate::name::{Actor, Namespace};
use crate::probe::{self, Path};
use crate::spec::Dependency;
use crate::state::{JobError, Outcome, StateKind};

use super::Engine;
use super::array::Whole;
use super::out::Cause;
use super::table::At;

impl Engine {
    /// One verb on one task or element.
    pub(super) fn verb(
        &mut self,
        actor: &Actor,
        namespace: &Namespace,
        unit: TaskRef,
        verb: &TaskVerb,
    ) -> Result<StateKind, Refusal> {
        self.find(namespace, unit)?;
        self.check_verb_in_run(unit, verb)?;
        match verb {
            TaskVerb::Cancel { why } => self.cancel(actor, unit, why),
            TaskVerb::Retry => self.retry(actor, unit),
            TaskVerb::Pause => self.pause_verb(actor, unit, Paused::Yes),
            TaskVerb::Resume => self.pause_verb(actor, unit, Paused::No),
            TaskVerb::Resolve { how } => self.resolve(actor, unit, how),
            TaskVerb::Complete { how } => self.complete(actor, unit, how),
            TaskVerb::Delete => self.delete(unit),
        }
    }

    /// Whether there is such a task or element in the namespace.
    pub(super) fn find(&self, namespace: &Namespace, unit: TaskRef) -> Result<StateKind, Refusal> {
        let here = self.tasks.get(&unit.task).filter(|task| task.policy.namespace == *namespace);
        here.and_then(|_| self.dependency_state(unit)).ok_or_else(|| {
            let message =
                format!("There is no task {unit} in namespace {namespace}; look for it with `bowline task list`.");
            Refusal::new(RefusalCode::NotFound, message)
        })
    }

    fn cancel(&mut self, actor: &Actor, unit: TaskRef, why: &str) -> Result<StateKind, Refusal> {
        let reason = if why.is_empty() { format!("cancelled by {}", actor.0) } else { why.to_owned() };
        self.cancel_unit(unit, &Cause::new(actor, reason)).map_err(|refused| conflict(unit, "cancelled", refused))
    }

    /// Ends a unit, or begins to.
    pub(super) fn cancel_unit(&mut self, unit: TaskRef, cause: &Cause) -> Result<StateKind, Refused> {
        let event = Event::Cancelled(cause.reason.clone());
        let Some(task) = self.tasks.get(&unit.task) else { return Err(Refused::Ended) };
        match (unit.index, task.array()) {
            (None, Some(_)) => self.stop_array(unit.task, &event, cause),
            (Some(index), Some(array)) if !array.elements.contains_key(&index) => {
                let state = array.element_state(index, task.hot.state.kind());
                if task.is_ended() || state.is_none_or(StateKind::is_ended) {
                    return Err(Refused::Ended);
                }
                Ok(self.cancel_unstarted(unit.task, index, cause))
            }
            (None | Some(_), _) => self.shift(unit, event, cause),
        }
    }

    fn pause_verb(&mut self, actor: &Actor, unit: TaskRef, paused: Paused) -> Result<StateKind, Refusal> {
        if unit.index.is_some() {
            let message =
                format!("Task {unit} is an array's element; pause or resume the array {} instead.", unit.task);
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        let state = self.tasks.get(&unit.task).map_or(StateKind::Cancelled, |task| task.hot.state.kind());
        if state.is_ended() {
            return Err(conflict(unit, super::pause::word(paused), Refused::Ended));
        }
        self.pause_task(actor, unit.task, paused);
        Ok(state)
    }

    fn complete(&mut self, actor: &Actor, unit: TaskRef, how: &Completion) -> Result<StateKind, Refusal> {
        let hot = self.tasks.get(&unit.task).and_then(|task| task.unit(unit));
        let is_held = hot.is_some_and(|hot| matches!(hot.state, State::Running { on: Holder::Server { until: None } }));
        if !is_held {
            let message = format!("Task {unit} is no `wait` that is under way, so it cannot be completed.");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let end = match self.completion(unit, how) {
            Outcome::Error(error) => JobEnd::Error(error),
            Outcome::Succeeded
            | Outcome::Timeout { .. }
            | Outcome::Lost { .. }
            | Outcome::Rejected { .. }
            | Outcome::Cancelled { .. }
            | Outcome::Skipped { .. } => JobEnd::Success,
        };
        let cause = Cause::new(actor, "completed");
        self.shift(unit, Event::Finished(end), &cause).map_err(|refused| conflict(unit, "completed", refused))
    }

    /// Somebody knows how the doubtful attempt ended. What he says is the round's end.
    fn resolve(&mut self, actor: &Actor, unit: TaskRef, how: &Completion) -> Result<StateKind, Refusal> {
        let state = self.tasks.get(&unit.task).and_then(|task| task.unit(unit)).map(|hot| &hot.state);
        if !matches!(state, Some(State::InDoubt)) {
            return Err(conflict(unit, "resolved", Refused::NotInDoubt));
        }
        probe::reached(Path::DoubtResolved);
        let outcome = self.completion(unit, how);
        let cause = Cause::new(actor, "resolved");
        self.shift(unit, Event::Resolved(outcome), &cause).map_err(|refused| conflict(unit, "resolved", refused))
    }

    /// What somebody says of how the newest attempt ended; its result is kept.
    fn completion(&mut self, unit: TaskRef, how: &Completion) -> Outcome {
        let hot = self.tasks.get(&unit.task).and_then(|task| task.unit(unit));
        let fence = hot.map_or_else(Fence::default, super::table::Hot::fence);
        match how {
            Completion::Success(result) => {
                self.keep_result(crate::id::AttemptRef { task: unit, fence }, result.clone());
                Outcome::Succeeded
            }
            Completion::Failure(message) => {
                Outcome::Error(JobError { exit_status: None, signal: None, message: message.clone() })
            }
        }
    }

    fn retry(&mut self, actor: &Actor, unit: TaskRef) -> Result<StateKind, Refusal> {
        let cause = Cause::new(actor, "");
        let hot = self.tasks.get(&unit.task).and_then(|task| task.unit(unit));
        if hot.is_some_and(|hot| matches!(hot.state, State::InDoubt)) {
            return self.shift(unit, Event::Retried, &cause).map_err(|refused| conflict(unit, "retried", refused));
        }
        if unit.index.is_some() {
            let message = format!(
                "Task {unit} is an array's element; retry the array {} once it has ended: what succeeded stays.",
                unit.task
            );
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        let Some(task) = self.tasks.get(&unit.task) else { return Err(conflict(unit, "retried", Refused::Ended)) };
        if !task.is_ended() {
            return Err(conflict(unit, "retried", Refused::NotEnded));
        }
        self.check_not_swept(task.hot.ended_at.get(), &format!("Task {unit}"))?;
        if let Some(array) = task.array() {
            if array.counts.succeeded == array.counts.count {
                let message = format!("Every element of task {unit} succeeded, so there is nothing to retry.");
                return Err(Refusal::new(RefusalCode::Conflict, message));
            }
            if array.whole == Whole::No {
                probe::reached(Path::ArrayRetriedTooSoon);
                let message = format!("Task {unit} has only just ended; retry it in a moment.");
                return Err(Refusal::new(RefusalCode::Busy, message));
            }
        }
        self.check_not_dropped(unit.task)?;
        let of_gang = self.retry_gang(unit.task, &cause);
        of_gang.unwrap_or_else(|| Ok(self.new_round(unit.task, &cause)))
    }

    /// A new round: dependencies that have not ended are waited for; those that have are not asked
    /// how, because whoever retries has decided.
    pub(super) fn new_round(&mut self, id: TaskId, cause: &Cause) -> StateKind {
        let whole = TaskRef::whole(id);
        let now = self.now;
        self.replace_others(id, cause);
        let after = self.tasks.get(&id).and_then(|task| task.after().cloned());
        let open: Vec<Dependency> = after
            .iter()
            .flat_map(|after| after.iter())
            .filter(|dependency| self.dependency_state(dependency.task).is_some_and(|state| !state.is_ended()))
            .copied()
            .collect();
        let blocked = if open.is_empty() { Blocked::No } else { Blocked::Yes };
        if blocked == Blocked::Yes {
            probe::reached(Path::RetriedWhileADependencyIsOpen);
        }
        self.watch(id, open);
        self.begin_asking(id);
        if self.tasks.get(&id).is_some_and(|task| task.array().is_some()) {
            self.unfinished_arrays.insert(id);
            self.rewind_array(id);
        }
        let Some(task) = self.tasks.get_mut(&id) else { return StateKind::Cancelled };
        task.round = Round(task.round.0 + 1);
        task.round_at = now;
        task.ticket = Ticket(0);
        task.ticket_at = At::default();
        let hot = &mut task.hot;
        hot.state = State::begin(None, blocked);
        hot.since = now;
        hot.failures = 0;
        hot.losses = 0;
        hot.last = None;
        hot.waiting_at = At::default();
        hot.ready_at = At::default();
        hot.started_at = At::default();
        hot.ended_at = At::default();
        self.tell(whole, crate::id::AttemptNo(0), "retried", cause);
        self.begin(whole, cause);
        self.tasks.get(&id).map_or(StateKind::Cancelled, |task| task.hot.state.kind())
    }

    fn delete(&mut self, unit: TaskRef) -> Result<StateKind, Refusal> {
        let Some(task) = self.tasks.get(&unit.task) else { return Err(conflict(unit, "deleted", Refused::Ended)) };
        if unit.index.is_some() {
            let message = format!("Task {unit} is an array's element; delete the array {} instead.", unit.task);
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        if !task.is_ended() {
            return Err(conflict(unit, "deleted", Refused::NotEnded));
        }
        self.check_not_swept(task.hot.ended_at.get(), &format!("Task {unit}"))?;
        if let Some((run, _)) = task.policy.run {
            let message = format!("Task {unit} belongs to run r{run}, and goes when that goes.");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        if task.written > self.durable {
            probe::reached(Path::DeleteCrossingTheCommit);
            let message = format!("Task {unit} has only just ended; delete it in a moment.");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        let state = task.hot.state.kind();
        self.tasks.remove(&unit.task);
        self.out.tasks_gone.insert(unit.task);
        let filling = self.filling();
        self.tasks_gone.insert(unit.task, filling);
        self.evictions.push_task(filling, unit.task);
        Ok(state)
    }
}

fn conflict(unit: TaskRef, what: &str, refused: Refused) -> Refusal {
    Refusal::new(RefusalCode::Conflict, format!("Task {unit} cannot be {what}: {refused}."))
}
