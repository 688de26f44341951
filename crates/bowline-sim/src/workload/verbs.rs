//! What clients ask for, made of what they know: the lists that the API shows.

use std::sync::Arc;

use bowline_core::id::{RunId, TaskId, TaskRef};
use bowline_core::input::{
    Completion, DryRun, IdempotencyKey, NewTask, Request, RunVerb, StartRun, Strict, Submit, TaskVerb,
};
use bowline_core::message::{Drain, DrainMode, Exit, Paused};
use bowline_core::name::{Namespace, WorkerName};
use bowline_core::spec::{ArraySpec, Condition, Dependency};
use bowline_core::state::StateKind;

use super::Work;
use super::shape::Tastes;
use super::spec::{self, Moment};
use crate::check::book::Book;
use crate::random::Random;

/// What a client has before its eyes.
#[derive(Debug)]
pub struct Desk<'a> {
    /// What the API lists.
    pub book: &'a Book,
    /// How tasks are.
    pub tastes: &'a Tastes,
    /// What time it is.
    pub moment: Moment,
    /// The workers that there are.
    pub workers: &'a [WorkerName],
}

/// The namespace that everything lives in.
pub fn namespace() -> Namespace {
    Namespace::default()
}

/// A verb on a task or an element.
pub fn verb(unit: TaskRef, verb: TaskVerb) -> Request {
    Request::Tasks { namespace: namespace(), tasks: vec![unit], verb }
}

/// A verb on a run.
pub fn run_verb(run: RunId, verb: RunVerb) -> Request {
    Request::Run { namespace: namespace(), run, verb }
}

fn submit(tasks: Vec<NewTask>, key: Option<IdempotencyKey>) -> Request {
    Request::Submit(Submit { namespace: namespace(), tasks, key, dry_run: DryRun::No, strict: Strict::No })
}

impl Desk<'_> {
    /// What a piece of work asks for: nothing, one thing, or several at once.
    pub fn ask(&self, work: Work, random: &mut Random) -> Vec<Request> {
        match work {
            Work::Single => vec![Self::submit_some(vec![self.task(random)], random)],
            Work::Chain => vec![Self::submit_some(self.chain(random), random)],
            Work::Array => vec![submit(vec![self.array(random)], None)],
            Work::After => self.after(random).into_iter().collect(),
            Work::Run => run(self.tastes, random).into_iter().collect(),
            Work::KeyTwice | Work::KeyReused => self.keyed(work, random),
            Work::DrainFinish | Work::DrainRelease | Work::Handoff | Work::Undrain => {
                self.worker(work, random).into_iter().collect()
            }
            Work::PauseMany => self.pause_many(random),
            Work::RunCancel | Work::RunRetry => self.run(work, random).into_iter().collect(),
            Work::Overview => vec![Request::Overview],
            Work::Cancel
            | Work::Retry
            | Work::Pause
            | Work::Resume
            | Work::Complete
            | Work::Resolve
            | Work::Delete
            | Work::Explain => self.one(work, random).into_iter().collect(),
            Work::Whatever => self.whatever(random).into_iter().collect(),
            Work::Resource => super::resource::change(random),
            Work::Quota => vec![super::limit::change(random)],
            Work::Gang => vec![super::gang::submit(self.tastes, self.moment, random)],
            Work::Rarely => vec![super::trial::rarely(random)],
            Work::BadArray => vec![super::trial::bad_array(random)],
            Work::HeldQuota => vec![super::trial::held(random)],
            Work::Contest => super::trial::contest(),
            // Whoever drives the world sees to it that the worker is gone first, or waits for the moment.
            Work::Forget | Work::AtEnd | Work::RetryAtClose => Vec::new(),
        }
    }

    fn task(&self, random: &mut Random) -> NewTask {
        spec::new_task(spec::any(self.tastes, self.moment, random))
    }

    fn submit_some(tasks: Vec<NewTask>, random: &mut Random) -> Request {
        let key = random.per_mille(150).then(|| key(random.below(6), random.next()));
        submit(tasks, key)
    }

    fn chain(&self, random: &mut Random) -> Vec<NewTask> {
        let count = usize::try_from(random.between(2, 5)).unwrap_or(2);
        let on = [Condition::Ok, Condition::Any, Condition::Fail];
        (0..count)
            .map(|place| {
                let mut task = self.task(random);
                if let Some(earlier) = random.place(place) {
                    task.after_earlier.push((earlier, on[random.place(3).unwrap_or(0)]));
                }
                task
            })
            .collect()
    }

    fn array(&self, random: &mut Random) -> NewTask {
        let mut spec = spec::any(self.tastes, self.moment, random);
        let at_most = random.per_mille(500).then(|| u32::try_from(random.between(1, 3)).unwrap_or(1));
        let count = u32::try_from(random.between(1, self.tastes.elements)).unwrap_or(1);
        let (first, step) = if random.per_mille(200) { (5, 3) } else { (0, 1) };
        spec.array = Some(ArraySpec { first, count, step, at_most });
        spec::new_task(spec)
    }

    fn after(&self, random: &mut Random) -> Option<Request> {
        let unit = self.unit(random, |_| true)?;
        let mut spec = spec::any(self.tastes, self.moment, random);
        let on = [Condition::Ok, Condition::Any, Condition::Fail][random.place(3)?];
        spec.after.push(Dependency { task: unit, on });
        if random.per_mille(300)
            && let Some(other) = self.unit(random, |_| true)
            && other != unit
        {
            spec.after.push(Dependency { task: other, on: Condition::Any });
        }
        Some(submit(vec![spec::new_task(spec)], None))
    }

    fn keyed(&self, work: Work, random: &mut Random) -> Vec<Request> {
        let name = random.below(6);
        // What a key stands for never changes, but for whoever uses it for something else.
        let body = if work == Work::KeyReused { random.below(3) } else { 0 };
        let mut own = Random::new(name, body);
        let task = spec::new_task(spec::any(self.tastes, Moment { at_us: 0, ..self.moment }, &mut own));
        let request = submit(vec![task], Some(key(name, body)));
        if work == Work::KeyTwice { vec![request.clone(), request] } else { vec![request] }
    }

    /// Any task, or element of one, of which this holds.
    fn unit(&self, random: &mut Random, fits: impl Fn(StateKind) -> bool) -> Option<TaskRef> {
        let all: Vec<TaskId> =
            self.book.tasks.iter().filter(|(_, task)| fits(task.unit.state)).map(|(id, _)| *id).collect();
        let task = *random.one_of(&all)?;
        let array = self.book.tasks.get(&task).and_then(|task| task.spec.array.as_ref());
        let (element, place) = (random.per_mille(600), random.next());
        Some(match array {
            Some(array) if element => {
                let place = u32::try_from(place % u64::from(array.count.max(1))).unwrap_or(0);
                array.index_at(place).map_or(TaskRef::whole(task), |index| TaskRef::element(task, index))
            }
            _ => TaskRef::whole(task),
        })
    }

    fn one(&self, work: Work, random: &mut Random) -> Option<Request> {
        let how = if random.per_mille(600) { Completion::Success(None) } else { Completion::Failure("no".to_owned()) };
        Some(match work {
            Work::Cancel => {
                verb(self.unit(random, |state| !state.is_ended())?, TaskVerb::Cancel { why: "enough".to_owned() })
            }
            Work::Retry => verb(self.unit(random, StateKind::is_ended)?, TaskVerb::Retry),
            Work::Pause => verb(TaskRef::whole(self.unit(random, |state| !state.is_ended())?.task), TaskVerb::Pause),
            Work::Resume => verb(TaskRef::whole(self.unit(random, |state| !state.is_ended())?.task), TaskVerb::Resume),
            Work::Complete => verb(self.unit(random, |state| state == StateKind::Running)?, TaskVerb::Complete { how }),
            Work::Resolve => verb(self.unit(random, |state| state == StateKind::InDoubt)?, TaskVerb::Resolve { how }),
            Work::Delete => verb(self.unit(random, StateKind::is_ended)?, TaskVerb::Delete),
            _ => {
                let task = self.unit(random, |state| !state.is_ended())?;
                Request::Explain { namespace: namespace(), task }
            }
        })
    }

    fn whatever(&self, random: &mut Random) -> Option<Request> {
        let unit = self.unit(random, |_| true)?;
        Some(self.crossing(unit, random))
    }

    /// What crosses the end of a unit, or comes after it.
    pub fn crossing(&self, unit: TaskRef, random: &mut Random) -> Request {
        let whole = TaskRef::whole(unit.task);
        let run = self.book.tasks.get(&unit.task).and_then(|task| task.run);
        if let Some(run) = run.filter(|_| random.per_mille(500)) {
            let said = [RunVerb::Pause, RunVerb::Resume, RunVerb::Cancel, RunVerb::Retry];
            return run_verb(run, said[random.place(said.len()).unwrap_or(0)]);
        }
        match random.below(6) {
            0 | 1 => verb(unit, TaskVerb::Cancel { why: "too late".to_owned() }),
            2 => verb(whole, TaskVerb::Cancel { why: "too late".to_owned() }),
            3 => verb(whole, TaskVerb::Delete),
            4 => verb(whole, TaskVerb::Retry),
            _ => verb(whole, TaskVerb::Pause),
        }
    }

    fn run(&self, work: Work, random: &mut Random) -> Option<Request> {
        let runs: Vec<RunId> = self.book.runs.keys().copied().collect();
        let run = *random.one_of(&runs)?;
        let said = match (work, random.below(4)) {
            (Work::RunRetry, _) => RunVerb::Retry,
            (_, 0) => RunVerb::Pause,
            (_, 1) => RunVerb::Resume,
            (_, _) => RunVerb::Cancel,
        };
        Some(run_verb(run, said))
    }

    fn worker(&self, work: Work, random: &mut Random) -> Option<Request> {
        let worker = random.one_of(self.workers)?.clone();
        let within = random.per_mille(300).then(|| std::time::Duration::from_secs(random.below(30)));
        let drain =
            |mode, exit| Some(Request::DrainWorker { worker: worker.clone(), drain: Drain { mode, within, exit } });
        match work {
            Work::DrainFinish => drain(DrainMode::Finish, Exit::No),
            Work::DrainRelease => drain(DrainMode::Release, Exit::No),
            Work::Handoff => drain(DrainMode::Handoff, Exit::Yes),
            _ => Some(Request::UndrainWorker { worker }),
        }
    }

    fn pause_many(&self, random: &mut Random) -> Vec<Request> {
        let paused = if random.per_mille(600) { Paused::Yes } else { Paused::No };
        match random.below(3) {
            0 => vec![Request::Pause { namespace: None, paused }],
            1 => vec![Request::Pause { namespace: Some(namespace()), paused }],
            _ => {
                let worker = random.one_of(self.workers).cloned();
                worker.map(|worker| Request::PauseWorker { worker, paused }).into_iter().collect()
            }
        }
    }
}

fn key(name: u64, body: u64) -> IdempotencyKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&body.to_le_bytes());
    IdempotencyKey { key: format!("key-{name}"), body: bytes }
}

fn step(name: &str, tastes: &Tastes, more: &str, random: &mut Random) -> String {
    let argv = spec::plan(tastes, random).to_argv();
    let argv: Vec<String> = argv.iter().map(|word| format!("\"{word}\"")).collect();
    format!("  {name}:\n    argv: [{}]\n{more}", argv.join(", "))
}

/// A run of a workflow with conditions, a list, and a result.
fn run(tastes: &Tastes, random: &mut Random) -> Option<Request> {
    let items = random.below(4);
    let list: Vec<String> = (0..items).map(|item| item.to_string()).collect();
    let source = [
        "name: census\ninputs:\n  words:\n    type: list\n    default: [".to_owned() + &list.join(", ") + "]\nsteps:\n",
        step("first", tastes, "", random),
        step("each", tastes, "    needs: first\n    for_each: \"{{ inputs.words }}\"\n    at_most: 2\n", random),
        step("sorry", tastes, "    needs: {step: first, on: fail}\n", random),
        step("last", tastes, "    needs: [{step: first, on: any}, {step: each, on: any}]\n    env:\n      SAID: \"{{ steps.first.state }}\"\n", random),
        "result:\n  first: \"{{ steps.first.state }}\"\n".to_owned(),
    ]
    .concat();
    let workflow = bowline_workflow::check("census.yaml", &source).ok()?;
    let inputs = workflow.inputs(&std::iter::empty().collect()).ok()?;
    let mut graph = workflow.graph();
    if items > 1 && tastes.are_runs_holding {
        // Of the list's length alone, so that what comes after is what it would be without.
        graph.asks = super::resource::held_by_a_run(items);
    }
    let key = random.per_mille(200).then(|| IdempotencyKey { key: format!("run-{}", random.below(3)), body: [7; 32] });
    Some(Request::StartRun(StartRun {
        namespace: namespace(),
        workflow: workflow.name().clone(),
        source: source.into(),
        inputs: inputs.to_string().into(),
        graph: Arc::new(graph),
        key,
        strict: Strict::No,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::shape::Shape;

    #[test]
    fn the_workflow_is_one() {
        for seed in 0..20 {
            let shape = Shape::new(seed);
            assert!(run(&shape.tastes, &mut Random::new(seed, 9)).is_some());
        }
    }
}
