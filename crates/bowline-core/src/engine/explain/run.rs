//! Why a run has not ended: its steps, and what their tasks wait for, in sums.

use crate::answer::{Answer, Refusal, RefusalCode, Reply};
use crate::explain::{PausedThing, RunExplanation, StepExplanation, StepWait, WHY_LISTED_MAX, WaitReason, Waiting};
use crate::id::{NodeIndex, RunId, TaskId, TaskRef};
use crate::name::{Namespace, StepName};
use crate::run::{Edge, Join, NodeState};

use super::super::Engine;
use super::super::run::{Run, is_node_met};
use super::super::table::Task;

/// Elements of one step that are looked at one by one; the engine stands still meanwhile.
const LOOKED_AT_MAX: usize = 1_000;

impl Engine {
    /// What keeps each step that has not ended.
    pub(in super::super) fn explain_run(&self, namespace: &Namespace, id: RunId) -> Reply {
        let here = self.runs.get(&id).filter(|run| run.row.namespace == *namespace);
        let run = here.ok_or_else(|| {
            let message = format!("There is no unfinished run r{id} in namespace {namespace}; `bowline runs show` it.");
            Refusal::new(RefusalCode::NotFound, message)
        })?;
        let nodes = (0u32..).zip(&run.nodes).map(|(node, hot)| (NodeIndex(node), hot.state));
        let steps: Vec<StepExplanation> = nodes.filter_map(|(node, state)| self.step(run, node, state)).collect();
        Ok(Answer::RunExplained(Box::new(RunExplanation {
            run: id,
            state: run.row.state,
            since: run.row.started_at,
            reasons: self.reasons_of_run(id, run),
            ended: (run.nodes.len() - steps.len()) as u64,
            steps,
        })))
    }

    fn step(&self, run: &Run, node: NodeIndex, state: NodeState) -> Option<StepExplanation> {
        let step = name_of(run, node)?;
        let nothing = |state| StepExplanation {
            step: step.clone(),
            state,
            task: None,
            total: 0,
            ended: 0,
            running: 0,
            waiting: 0,
            why: Vec::new(),
        };
        match state {
            NodeState::Pending => Some(nothing(match steps_before(run, node) {
                StepWait::Steps { after, .. } if after.is_empty() && run.lacks_hold() => StepWait::Hold,
                wait => wait,
            })),
            NodeState::Due => Some(nothing(StepWait::Evaluated)),
            NodeState::Active { task: id } => {
                let mut told = nothing(StepWait::Tasks);
                told.task = Some(id);
                if let Some(task) = self.tasks.get(&id) {
                    self.sum_up(id, task, &mut told);
                }
                Some(told)
            }
            NodeState::Ended { .. } => None,
        }
    }

    /// Each task once, by its first reason.
    fn sum_up(&self, id: TaskId, task: &Task, told: &mut StepExplanation) {
        let mut why: Vec<Waiting> = Vec::new();
        let mut count = |first: TaskRef, tasks: u64| {
            let Some(reason) = self.reasons(first).into_iter().next() else { return 0 };
            match why.iter_mut().find(|known| known.reason.is_like(&reason)) {
                Some(known) => known.tasks += tasks,
                None => why.push(Waiting { tasks, first, reason }),
            }
            tasks
        };
        if let Some(array) = task.array() {
            told.total = u64::from(array.counts.count);
            told.ended = u64::from(array.ended());
            let open = array.elements.iter().filter(|(_, element)| !element.hot.state.kind().is_ended());
            let open: Vec<u32> = open.map(|(index, _)| *index).collect();
            for index in open.iter().take(LOOKED_AT_MAX) {
                told.waiting += count(TaskRef::element(id, *index), 1);
            }
            if let Some(next) = array.next_index() {
                // Those that never began wait for what the next of them waits for.
                told.waiting += count(TaskRef::element(id, next), u64::from(array.unstarted()));
            }
        } else {
            told.total = 1;
            told.waiting = count(TaskRef::whole(id), 1);
        }
        told.running = told.total.saturating_sub(told.ended + told.waiting);
        why.sort_by_key(|known| std::cmp::Reverse(known.tasks));
        why.truncate(WHY_LISTED_MAX);
        told.why = why;
    }

    /// Pauses; and what keeps the run from what it asks for as a whole.
    fn reasons_of_run(&self, id: RunId, run: &Run) -> Vec<WaitReason> {
        let mut reasons = self.pauses_of_run(id, run);
        if let Some(keeper) = run.waiting_keeper() {
            let is_new = |reason: &WaitReason| !matches!(reason, WaitReason::Paused { .. });
            reasons.extend(self.reasons(keeper).into_iter().filter(is_new));
        }
        reasons
    }

    fn pauses_of_run(&self, id: RunId, run: &Run) -> Vec<WaitReason> {
        let namespace = &run.row.namespace;
        let own = run.row.paused.as_ref().map(|mark| (PausedThing::Run(id), mark));
        let of_namespace = self.pauses.of(namespace).map(|mark| (PausedThing::Namespace(namespace.clone()), mark));
        let of_all = self.pauses.all().map(|mark| (PausedThing::Everything, mark));
        let pauses = own.into_iter().chain(of_namespace).chain(of_all);
        let told = pauses.map(|(what, mark)| WaitReason::Paused {
            what,
            by: mark.by.0.as_ref().to_owned(),
            since: mark.since,
        });
        told.collect()
    }
}

fn name_of(run: &Run, node: NodeIndex) -> Option<StepName> {
    Some(run.graph.nodes.get(node.0 as usize)?.name.clone())
}

/// Steps before this one that have not ended, and how many of them it still needs.
fn steps_before(run: &Run, node: NodeIndex) -> StepWait {
    let Some(shape) = run.graph.nodes.get(node.0 as usize) else {
        return StepWait::Steps { after: Vec::new(), at_least: None };
    };
    let state = |from: NodeIndex| run.nodes.get(from.0 as usize).map(|hot| hot.state);
    let is_open = |from: NodeIndex| !matches!(state(from), Some(NodeState::Ended { .. }));
    let after = shape.needs.iter().filter(|edge| is_open(edge.from)).filter_map(|edge| name_of(run, edge.from));
    let at_least = match shape.join {
        Join::All => None,
        Join::AtLeast(least) => {
            let is_met = |edge: &&Edge| match state(edge.from) {
                Some(NodeState::Ended { how, .. }) => is_node_met(edge.on, how),
                _ => false,
            };
            let met = shape.needs.iter().filter(is_met).count();
            Some(least.saturating_sub(u32::try_from(met).unwrap_or(u32::MAX)))
        }
    };
    StepWait::Steps { after: after.collect(), at_least }
}
