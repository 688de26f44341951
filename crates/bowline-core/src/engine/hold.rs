//! What a run holds for its whole length. The **keeper**, a task that the server itself holds, asks for all of it under
//! one ticket when the run is submitted: it stands in the lines, stands aside, is granted and is stored as any other
//! task. No step is due before it has been granted; it ends in the commit that ends the run, which is never before the
//! last step's task has ended, and so never before the processes of the last attempt are gone.
//!
//! The steps' tasks ask for nothing of that again: they run **under** their run, and are told what it holds.

use std::sync::Arc;

use crate::answer::{Refusal, RefusalCode};
use crate::id::{NodeIndex, RunId, TaskId, TaskRef};
use crate::input::{NewTask, TaskVerb};
use crate::machine::{Event, Holder, State};
use crate::message::{Held, JobEnd};
use crate::mutant::{self, Mutant};
use crate::probe::{self, Path};
use crate::resource::{Ask, Mode};
use crate::run::{Graph, RunState};
use crate::spec::{Action, Overlap, TaskSpec, Work};

use super::Engine;
use super::lines::{Attributes, Want};
use super::out::Cause;
use super::run::Run;
use super::table::{Hot, Origin};

impl Run {
    /// Whether it asks for something as a whole and has not been granted it.
    pub(super) fn lacks_hold(&self) -> bool {
        !self.graph.asks.is_empty() && !self.is_held
    }

    /// Its keeper, where it waits for what the run asks for as a whole.
    pub(super) fn waiting_keeper(&self) -> Option<TaskRef> {
        let is_waiting = self.row.state == RunState::Running && self.lacks_hold();
        self.keeper.filter(|_| is_waiting).map(TaskRef::whole)
    }
}

impl Engine {
    /// Whether what a new run asks for as a whole could ever be granted.
    pub(super) fn check_hold(&self, graph: &Graph) -> Result<(), Refusal> {
        if graph.asks.is_empty() {
            return Ok(());
        }
        let new = keeper_of(RunId(0), &graph.asks);
        super::check::check_task(0, &new)?;
        self.check_asks(&new)
    }

    /// The run takes its ticket for all that it asks for as a whole.
    pub(super) fn begin_hold(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.graph.asks.is_empty() {
            return;
        }
        let task = self.counters.task;
        run.keeper = Some(task);
        run.is_held = false;
        let origin = Origin {
            namespace: run.row.namespace.clone(),
            created_by: run.row.created_by.clone(),
            run: Some((id, NodeIndex::KEEPER)),
            step: None,
        };
        let new = keeper_of(id, &run.graph.asks);
        let made = self.create(&new, task, origin, &mut None);
        debug_assert_eq!(made, task, "ids are given in order");
    }

    /// At a take-over: the run knows its keeper again.
    pub(super) fn load_keeper(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id).filter(|task| !task.is_ended()) else { return };
        let Some((run, NodeIndex::KEEPER)) = task.policy.run else { return };
        let is_held = matches!(task.hot.state, State::Running { on: Holder::Server { .. } });
        if let Some(run) = self.runs.get_mut(&run) {
            run.keeper = Some(id);
            run.is_held = is_held;
        }
    }

    /// The run of which this task is the keeper.
    pub(super) fn kept_run(&self, id: TaskId) -> Option<RunId> {
        let (run, _) = self.tasks.get(&id)?.policy.run.filter(|(_, node)| *node == NodeIndex::KEEPER)?;
        Some(run)
    }

    /// A keeper has been granted all that its run asks for: its first steps are due.
    pub(super) fn keeper_began(&mut self, id: TaskId) {
        let Some(run_id) = self.kept_run(id) else { return };
        let Some(run) = self.runs.get_mut(&run_id).filter(|run| run.keeper == Some(id)) else { return };
        run.is_held = true;
        self.advance_run(run_id);
    }

    /// The run has ended: whoever is next gets what it held, in this commit.
    pub(super) fn end_hold(&mut self, id: RunId, cause: &Cause) {
        let Some(keeper) = self.runs.get_mut(&id).and_then(|run| run.keeper.take()) else { return };
        let unit = TaskRef::whole(keeper);
        let is_held = self.runs.get_mut(&id).is_some_and(|run| std::mem::take(&mut run.is_held));
        if is_held {
            self.shift(unit, Event::Finished(JobEnd::Success), cause).ok();
        } else {
            probe::reached(Path::RunEndedBeforeItHeld);
            self.shift(unit, Event::Cancelled(cause.reason.clone()), cause).ok();
        }
    }

    /// What a mutant does: what the run holds is free while its tasks are still being stopped.
    pub(super) fn let_go_too_early(&mut self, id: RunId, cause: &Cause) {
        if mutant::is(Mutant::StoppingRunLetsGo) {
            self.end_hold(id, cause);
        }
    }

    /// The task of a step as it runs under what its run holds. `Err`: it asks for more.
    pub(super) fn under_run(&self, id: RunId, new: &NewTask) -> Result<Option<NewTask>, Refusal> {
        let Some(run) = self.runs.get(&id).filter(|run| !run.graph.asks.is_empty()) else { return Ok(None) };
        let keeper = run.keeper.and_then(|keeper| self.tasks.get(&keeper));
        let held = keeper.map(|keeper| Arc::clone(&keeper.policy.wants)).unwrap_or_default();
        let named = self.with_names(&new.spec)?;
        let asked = Want::of(&named.as_ref().unwrap_or(&new.spec).resources);
        if let Some(more) = asked.iter().find(|want| !held.iter().any(|held| covers(held, want))) {
            let message = format!(
                "its step asks for {}, which is more than its run holds as a whole; write that at the top of the workflow",
                more.describe()
            );
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        let mut spec = named.unwrap_or_else(|| (*new.spec).clone());
        spec.resources.clear();
        spec.under_run = true;
        if held.iter().any(|want| matches!(want.mode, Mode::Exclusive | Mode::Unit)) {
            // Nobody else may use it meanwhile: neither may an earlier attempt of the same task.
            spec.overlap.get_or_insert(Overlap::Forbid);
        }
        Ok(Some(NewTask { spec: Arc::new(spec), ..new.clone() }))
    }

    /// What the worker of a task is told of resources: what it holds itself, or its run.
    pub(super) fn told(&self, unit: TaskRef) -> Vec<Held> {
        let Some(task) = self.tasks.get(&unit.task) else { return Vec::new() };
        let run = task.policy.run.filter(|_| task.policy.under_run).and_then(|(run, _)| self.runs.get(&run));
        let keeper = run.and_then(|run| self.tasks.get(&run.keeper?)).map(|keeper| &keeper.hot);
        keeper.or_else(|| task.unit(unit)).map(Hot::told).unwrap_or_default()
    }

    /// What is done with the whole run, and not with one task of it.
    pub(super) fn check_verb_in_run(&self, unit: TaskRef, verb: &TaskVerb) -> Result<(), Refusal> {
        let Some(task) = self.tasks.get(&unit.task) else { return Ok(()) };
        let Some((run, node)) = task.policy.run else { return Ok(()) };
        let is_keeper = node == NodeIndex::KEEPER;
        let what = match verb {
            TaskVerb::Cancel { .. } | TaskVerb::Complete { .. } if is_keeper => {
                format!("holds what run r{run} asks for as a whole, to its end; `bowline runs cancel r{run}` ends that")
            }
            TaskVerb::Retry if (is_keeper || task.policy.under_run) && task.is_ended() => {
                format!("goes with what run r{run} held as a whole; `bowline runs retry r{run}` takes that again")
            }
            _ => return Ok(()),
        };
        Err(Refusal::new(RefusalCode::Conflict, format!("Task {} {what}.", unit.task)))
    }
}

/// Who holds it for the run.
fn keeper_of(run: RunId, asks: &[Ask]) -> NewTask {
    let mut spec = TaskSpec::new(Work::new(Action::Wait));
    spec.name = Some(format!("what run r{run} holds"));
    spec.resources = asks.to_vec();
    NewTask { spec: Arc::new(spec), elements: Arc::default(), after_earlier: Vec::new() }
}

/// Whether who holds the one has the other too.
fn covers(held: &Want, want: &Want) -> bool {
    let is_enough = match (held.mode, want.mode) {
        (Mode::Exclusive, _) | (Mode::Shared, Mode::Shared) => true,
        (Mode::Counted, Mode::Counted) => want.amount <= held.amount,
        (Mode::Unit, Mode::Unit) => covers_units(&held.units, &want.units),
        (Mode::Shared | Mode::Counted | Mode::Unit, _) => false,
    };
    held.name == want.name && is_enough
}

/// Whether there is a different held unit for each wanted one, each with all that is wanted of it.
fn covers_units(held: &[Attributes], wanted: &[Attributes]) -> bool {
    let mut left: Vec<&Attributes> = held.iter().collect();
    // Who wants the most chooses first.
    let mut wanted: Vec<&Attributes> = wanted.iter().collect();
    wanted.sort_by_key(|with| std::cmp::Reverse(with.len()));
    wanted.into_iter().all(|with| {
        let has = |unit: &&Attributes| with.iter().all(|(key, value)| unit.get(key) == Some(value));
        let found = left.iter().position(has);
        found.map(|at| left.swap_remove(at)).is_some()
    })
}
