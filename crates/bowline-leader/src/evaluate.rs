//! Evaluating what is due of runs; and the evaluators, threads that do so beside the writer.
//!
//! An evaluation is asked for by an effect, so what made it due is durable, and reading afresh sees
//! it. It names the version that it was asked for; the engine drops what is out of date.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bowline_core::id::{RunId, TaskId};
use bowline_core::input::Evaluation;
use bowline_core::name::StepName;
use bowline_core::row::NodeRow;
use bowline_core::run::{DueKind, NodeEnd, NodeState};
use bowline_core::state::{JobError, StateKind};
use bowline_store::{ReadStore, RunDetail, StoreError, TaskDetail};
use bowline_workflow::{Context, ElementView, StepView, Workflow};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::commit::panic_text;
use crate::config::{EVALUATION_RESULT_BYTES_MAX, WORKFLOWS_MAX};
use crate::fetch::chain;
use crate::returns::Return;
use crate::term::Due;

/// Elements read from the store at a time.
const ELEMENTS_PAGE: usize = 1_000;

/// What evaluators share: where they read, and workflows that were checked.
pub struct Evaluator {
    reader: Arc<dyn ReadStore>,
    /// Checked workflows, by the run that keeps their text.
    workflows: Cache<RunId, Arc<Workflow>>,
}

/// Why something was not evaluated.
enum Trouble {
    /// The store can't be read: nobody's doing, and the leadership ends.
    Store(StoreError),
    /// The run itself is to blame: its node, or it, fails with this.
    Run(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An evaluator's thread: ends when the writer drops its end, or when the store can't be read.
pub(crate) fn run(
    evaluator: &Evaluator,
    due: &Mutex<mpsc::UnboundedReceiver<Due>>,
    returns: &mpsc::UnboundedSender<Return>,
) {
    loop {
        let next = due.lock().blocking_recv();
        let Some(due) = next else { return };
        let back = match evaluator.outcome(due) {
            Ok(Some(outcome)) => Return::Evaluated { due, outcome },
            Ok(None) => continue,
            Err(error) => Return::Broken(format!("reading what run {} needs: {}", due.run, chain(&error))),
        };
        let broken = matches!(back, Return::Broken(_));
        if returns.send(back).is_err() || broken {
            return;
        }
    }
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator").field("workflows", &self.workflows.len()).finish_non_exhaustive()
    }
}

impl Evaluator {
    /// Reads there. It remembers workflows by their runs' ids, so that one outlives no change of the store.
    pub fn new(reader: Arc<dyn ReadStore>) -> Self {
        Self { reader, workflows: Cache::new(WORKFLOWS_MAX) }
    }

    /// What comes out. `None`: there is no such run any more.
    pub fn outcome(&self, due: Due) -> Result<Option<Evaluation>, StoreError> {
        let Some(run) = self.reader.run(due.run)? else {
            tracing::warn!(run = %due.run, "a run that is not there was due");
            return Ok(None);
        };
        // A panic in an expression must not be evaluated again and again: the node fails.
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.evaluate(&run, due.what)));
        let evaluated = evaluated.unwrap_or_else(|panic| {
            let said = panic_text(panic.as_ref());
            tracing::error!(run = %due.run, what = ?due.what, said, "an evaluation panicked");
            Err(Trouble::Run(format!("the evaluation {said}; please report this as a bug")))
        });
        match evaluated {
            Ok(outcome) => Ok(Some(outcome)),
            Err(Trouble::Store(error)) => Err(error),
            Err(Trouble::Run(message)) => {
                Ok(Some(Evaluation::Failed(JobError { exit_status: None, signal: None, message })))
            }
        }
    }

    fn evaluate(&self, run: &RunDetail, what: DueKind) -> Result<Evaluation, Trouble> {
        let workflow = self.workflow(run)?;
        let context = self.context(run, &workflow, what)?;
        Ok(match what {
            DueKind::Node(node) => workflow.evaluate(node, &context),
            DueKind::Result => workflow.result(&context),
        })
    }

    fn workflow(&self, run: &RunDetail) -> Result<Arc<Workflow>, Trouble> {
        self.workflows.get_or_insert_with(&run.row.id, || {
            let name = run.row.workflow.as_str();
            bowline_workflow::check(name, &run.source).map(Arc::new).map_err(|mistakes| {
                let first = mistakes.first().map_or_else(String::new, |mistake| {
                    format!(": line {}, column {}: {}", mistake.line, mistake.column, mistake.message)
                });
                Trouble::Run(format!("this version of Bowline cannot read the run's workflow `{name}` any more{first}"))
            })
        })
    }

    fn context(&self, run: &RunDetail, workflow: &Workflow, what: DueKind) -> Result<Context, Trouble> {
        let inputs = serde_json::from_str(&run.inputs)
            .map_err(|error| Trouble::Run(format!("the run's inputs are not JSON: {error}")))?;
        let mut steps = BTreeMap::new();
        let mut budget = EVALUATION_RESULT_BYTES_MAX;
        for index in workflow.steps_read_by(what) {
            let place = usize::try_from(index.0).unwrap_or(usize::MAX);
            let (Some(node), Some(row)) = (run.graph.nodes.get(place), run.nodes.get(place)) else { continue };
            if let Some(view) = self.step(&node.name, row, &mut budget)? {
                steps.insert(node.name.clone(), view);
            }
        }
        Ok(Context { run: run.row.id, inputs, steps })
    }

    /// A step as it ended. `None`: it has not.
    fn step(&self, name: &StepName, node: &NodeRow, budget: &mut usize) -> Result<Option<StepView>, Trouble> {
        let NodeState::Ended { how: end, task } = node.state else { return Ok(None) };
        let mut view = StepView { end, outcome: node.outcome.clone(), result: None, elements: None };
        let Some(task) = task else {
            // It succeeded without a task: a list of nothing.
            view.elements = (end == NodeEnd::Succeeded).then(Vec::new);
            return Ok(Some(view));
        };
        let Some(detail) = self.reader.task(task)? else {
            return Err(Trouble::Run(format!("task {task} of step `{name}` was removed before its result was read")));
        };
        view.outcome = view.outcome.or_else(|| detail.row.unit.outcome.clone()).filter(|_| end != NodeEnd::Succeeded);
        if detail.row.array.is_some() {
            view.elements = Some(self.elements(name, &detail, budget)?);
        } else if let Some(result) = detail.result {
            spend(budget, result.json.len(), name)?;
            view.result = Some(parse(&result.json));
        }
        Ok(Some(view))
    }

    /// All elements of an array, by index; those that never began too.
    fn elements(&self, name: &StepName, task: &TaskDetail, budget: &mut usize) -> Result<Vec<ElementView>, Trouble> {
        let id = task.row.id;
        let mut results = BTreeMap::new();
        for result in self.reader.results(id)? {
            spend(budget, result.json.len(), name)?;
            if let Some(index) = result.attempt.task.index {
                results.insert(index, parse(&result.json));
            }
        }
        let mut rows = self.element_rows(id)?;
        let array = task.spec.array.as_ref();
        let count = array.map_or(0, |array| array.count);
        let indexes = (0..count).filter_map(|place| array.and_then(|array| array.index_at(place)));
        Ok(indexes
            .map(|index| {
                let row = rows.remove(&index);
                let state = row.as_ref().map_or(StateKind::Skipped, |(state, _)| *state);
                let outcome = row.and_then(|(_, outcome)| outcome).filter(|_| state != StateKind::Succeeded);
                ElementView { index, state, outcome, result: results.remove(&index) }
            })
            .collect())
    }

    fn element_rows(
        &self,
        task: TaskId,
    ) -> Result<BTreeMap<u32, (StateKind, Option<bowline_core::state::Outcome>)>, StoreError> {
        let mut rows = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.reader.elements(task, after, ELEMENTS_PAGE)?;
            let Some(last) = page.last() else { return Ok(rows) };
            after = Some(last.index);
            rows.extend(page.into_iter().map(|row| (row.index, (row.unit.state, row.unit.outcome))));
        }
    }
}

fn spend(budget: &mut usize, bytes: usize, step: &StepName) -> Result<(), Trouble> {
    *budget = budget.checked_sub(bytes).ok_or_else(|| {
        let max = bowline_core::size::format_size(EVALUATION_RESULT_BYTES_MAX as u64);
        Trouble::Run(format!("the results up to step `{step}` are larger than the {max} that one evaluation may read"))
    })?;
    Ok(())
}

/// Results are checked before they are stored; anything else is text.
fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned()))
}
