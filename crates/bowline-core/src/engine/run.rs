//! Runs: nodes become due by their joins, are evaluated beside the writer, make tasks, and end.
//!
//! A run fails where a node failed, or its task was cancelled, and no edge with the condition `fail`
//! or `any` leads out of it: nobody was there to handle it. A failed run's result is not evaluated.

use std::sync::Arc;

use crate::answer::{Answer, Refusal, RefusalCode, Replayed, Reply};
use crate::effect::Effect;
use crate::id::{AttemptNo, NodeIndex, RunId, TaskId, TaskRef};
use crate::input::{Evaluation, NewTask, RunVerb, StartRun};
use crate::message::Paused;
use crate::name::{Actor, Namespace};
use crate::probe::{self, Path};
use crate::row::{Made, NodeRow, RunRow, Subject};
use crate::run::{DueKind, Graph, Join, NodeEnd, NodeState, RunState};
use crate::spec::Condition;
use crate::state::{JobError, Outcome, StateKind};

use super::Engine;
use super::check::{check_graph, check_task};
use super::out::{Cause, Changed, NewRunParts};
use super::submit::other_kind;
use super::table::Origin;

/// A run in memory.
#[derive(Debug)]
pub(super) struct Run {
    pub row: RunRow,
    pub graph: Arc<Graph>,
    pub nodes: Vec<NodeHot>,
    /// Which nodes wait for each.
    outs: Vec<Vec<NodeIndex>>,
    /// Nodes that have not ended.
    pub open: usize,
    /// The task that holds what the run asks for as a whole, while the run has not ended.
    pub keeper: Option<TaskId>,
    /// Whether it has been granted that.
    pub is_held: bool,
    /// The batch in which it was last written.
    pub written: u64,
}

/// A node in memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NodeHot {
    pub version: u32,
    pub state: NodeState,
    pub outcome: Option<Outcome>,
    pub due_version: u32,
}

impl NodeHot {
    fn new() -> Self {
        Self { version: 0, state: NodeState::Pending, outcome: None, due_version: 0 }
    }

    /// From its row.
    pub(super) fn from_row(row: NodeRow) -> Self {
        Self { version: row.version, state: row.state, outcome: row.outcome, due_version: row.due_version }
    }

    fn is_ended(&self) -> bool {
        matches!(self.state, NodeState::Ended { .. })
    }
}

impl Run {
    /// From its row and shape; nodes come after.
    pub(super) fn new(row: RunRow, graph: Arc<Graph>) -> Self {
        let outs = out_edges(&graph);
        let nodes = vec![NodeHot::new(); graph.nodes.len()];
        let open = nodes.len();
        Self { row, graph, nodes, outs, open, keeper: None, is_held: false, written: 0 }
    }

    /// A node as it was stored.
    pub(super) fn set_node(&mut self, node: NodeIndex, hot: NodeHot) {
        if let Some(place) = self.nodes.get_mut(node.0 as usize) {
            if hot.is_ended() && !place.is_ended() {
                self.open = self.open.saturating_sub(1);
            }
            *place = hot;
        }
    }

    /// Whether the node's join is met, can no longer be, or is open.
    fn join(&self, node: NodeIndex) -> Joined {
        let Some(shape) = self.graph.nodes.get(node.0 as usize) else { return Joined::Open };
        let (mut met, mut lost) = (0, 0);
        for edge in &shape.needs {
            match self.nodes.get(edge.from.0 as usize).map(|from| from.state) {
                Some(NodeState::Ended { how, .. }) if is_node_met(edge.on, how) => met += 1,
                Some(NodeState::Ended { .. }) => lost += 1,
                Some(NodeState::Pending | NodeState::Due | NodeState::Active { .. }) | None => {}
            }
        }
        let needs = u32::try_from(shape.needs.len()).unwrap_or(u32::MAX);
        let wanted = match shape.join {
            Join::All => needs,
            Join::AtLeast(least) => least,
        };
        if met >= wanted {
            Joined::Met
        } else if needs - lost < wanted {
            Joined::Lost
        } else {
            Joined::Open
        }
    }

    /// The first node whose bad end nobody handles.
    fn unhandled(&self) -> Option<NodeIndex> {
        (0u32..).zip(&self.nodes).map(|(node, hot)| (NodeIndex(node), hot)).find_map(|(node, hot)| {
            let NodeState::Ended { how: NodeEnd::Failed | NodeEnd::Cancelled, .. } = hot.state else { return None };
            let handled = self.outs.get(node.0 as usize).is_some_and(|outs| {
                outs.iter().any(|out| {
                    let needs = self.graph.nodes.get(out.0 as usize).map_or(&[][..], |shape| &shape.needs[..]);
                    needs.iter().any(|edge| edge.from == node && edge.on != Condition::Ok)
                })
            });
            (!handled).then_some(node)
        })
    }
}

enum Joined {
    Met,
    Lost,
    Open,
}

/// For each node, those that need it; one entry an edge.
pub(super) fn out_edges(graph: &Graph) -> Vec<Vec<NodeIndex>> {
    let mut outs = vec![Vec::new(); graph.nodes.len()];
    for (node, shape) in (0u32..).zip(&graph.nodes) {
        for edge in &shape.needs {
            if let Some(out) = outs.get_mut(edge.from.0 as usize) {
                out.push(NodeIndex(node));
            }
        }
    }
    outs
}

pub(super) fn is_node_met(on: Condition, how: NodeEnd) -> bool {
    match on {
        Condition::Ok => how == NodeEnd::Succeeded,
        Condition::Any => true,
        Condition::Fail => matches!(how, NodeEnd::Failed | NodeEnd::Cancelled),
    }
}

fn node_end(kind: StateKind) -> NodeEnd {
    match kind {
        StateKind::Succeeded => NodeEnd::Succeeded,
        StateKind::Cancelled => NodeEnd::Cancelled,
        StateKind::Skipped => NodeEnd::Skipped,
        StateKind::Failed
        | StateKind::Scheduled
        | StateKind::Blocked
        | StateKind::Waiting
        | StateKind::Ready
        | StateKind::Assigned
        | StateKind::Running
        | StateKind::Stopping
        | StateKind::InDoubt => NodeEnd::Failed,
    }
}

impl Engine {
    pub(super) fn start_run(&mut self, actor: &Actor, start: StartRun) -> Reply {
        if let Some(key) = &start.key {
            match self.made_under(&start.namespace, key)? {
                Some(Made::Run(run)) => {
                    return Ok(Answer::RunStarted { run, replayed: Replayed::Yes, warnings: Vec::new() });
                }
                Some(Made::Tasks(_)) => return Err(other_kind(key)),
                None => {}
            }
        }
        check_graph(&start.graph)?;
        self.check_hold(&start.graph)?;
        let warnings = self.resource_warnings(&start.graph.asks);
        Self::check_strict(start.strict, &warnings)?;
        let id = self.counters.run;
        self.counters.run = id.next();
        self.out.counters = Changed::Yes;
        let row = RunRow {
            id,
            version: 0,
            namespace: start.namespace.clone(),
            workflow: start.workflow,
            state: RunState::Running,
            created_by: actor.clone(),
            started_at: self.now,
            ended_at: None,
            outcome: None,
            result: None,
            paused: None,
            due_version: 0,
        };
        self.runs.insert(id, Run::new(row, start.graph));
        self.out.new_runs.insert(id, NewRunParts { source: start.source, inputs: start.inputs });
        self.touch_run(id);
        let cause = Cause::new(actor, "");
        self.tell_run(id, "running", &cause);
        self.touch_all_nodes(id);
        self.begin_hold(id);
        self.advance_run(id);
        if let Some(key) = &start.key {
            self.remember_run_key(&start.namespace, key, id);
        }
        Ok(Answer::RunStarted { run: id, replayed: Replayed::No, warnings })
    }

    fn node_indexes(&self, id: RunId) -> Vec<NodeIndex> {
        let nodes = self.runs.get(&id).map_or(0, |run| run.nodes.len());
        (0..u32::try_from(nodes).unwrap_or(u32::MAX)).map(NodeIndex).collect()
    }

    fn touch_all_nodes(&mut self, id: RunId) {
        for node in self.node_indexes(id) {
            self.touch_node(id, node);
        }
    }

    pub(super) fn tell_run(&mut self, id: RunId, what: &str, cause: &Cause) {
        let namespace = self.runs.get(&id).map(|run| run.row.namespace.clone());
        self.tell_of(Subject::Run(id), namespace, AttemptNo(0), what, cause);
    }

    /// Looks at every pending node: at a start, a retry, when what the run asks for has been granted.
    pub(super) fn advance_run(&mut self, id: RunId) {
        for node in self.node_indexes(id) {
            self.look_at(id, node);
        }
        self.finish_run_if_done(id);
    }

    /// A pending node falls due, or is skipped, when its join says so.
    fn look_at(&mut self, id: RunId, node: NodeIndex) {
        let Some(run) = self.runs.get(&id) else { return };
        let is_pending = run.nodes.get(node.0 as usize).is_some_and(|hot| hot.state == NodeState::Pending);
        if !is_pending || run.row.state != RunState::Running {
            return;
        }
        match run.join(node) {
            Joined::Open => {}
            Joined::Met if run.lacks_hold() => {}
            Joined::Met => self.node_due(id, node),
            Joined::Lost => {
                let message = "what it needs did not end as it must".to_owned();
                self.end_node(id, node, NodeEnd::Skipped, Some(Outcome::Skipped { message }));
            }
        }
    }

    fn node_due(&mut self, id: RunId, node: NodeIndex) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(hot) = run.nodes.get_mut(node.0 as usize) else { return };
        hot.state = NodeState::Due;
        hot.due_version += 1;
        let (version, is_paused) = (hot.due_version, run.row.paused.is_some());
        let step = run.graph.nodes[node.0 as usize].name.clone();
        self.touch_node(id, node);
        self.tell_run(id, "due", &Cause::server(format!("step `{step}`")));
        if !is_paused {
            self.out.effects.push(Effect::Evaluate { run: id, what: DueKind::Node(node), version });
        }
    }

    /// A node has ended: those that wait for it are looked at, and so on.
    fn end_node(&mut self, id: RunId, node: NodeIndex, how: NodeEnd, outcome: Option<Outcome>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(hot) = run.nodes.get_mut(node.0 as usize) else { return };
        let task = match hot.state {
            NodeState::Active { task } => Some(task),
            NodeState::Pending | NodeState::Due => None,
            NodeState::Ended { .. } => return,
        };
        hot.state = NodeState::Ended { how, task };
        hot.outcome = outcome;
        run.open = run.open.saturating_sub(1);
        let outs = run.outs.get(node.0 as usize).cloned().unwrap_or_default();
        self.touch_node(id, node);
        for out in outs {
            self.look_at(id, out);
        }
    }

    /// The task of a node has ended.
    pub(super) fn node_task_ended(&mut self, task: TaskId, kind: StateKind) {
        let Some((id, node)) = self.tasks.get(&task).and_then(|task| task.policy.run) else { return };
        let hot = self.runs.get(&id).and_then(|run| run.nodes.get(node.0 as usize));
        if hot.is_none_or(|hot| hot.state != (NodeState::Active { task })) {
            return;
        }
        self.end_node(id, node, node_end(kind), None);
        self.finish_run_if_done(id);
    }

    fn finish_run_if_done(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.open > 0 {
            return;
        }
        match run.row.state {
            RunState::Stopping => {
                let message = "cancelled".to_owned();
                let outcome = run.row.outcome.clone().unwrap_or(Outcome::Cancelled { message });
                self.end_run(id, RunState::Cancelled, outcome, None);
            }
            RunState::Running => match run.unhandled() {
                Some(node) => {
                    let message = self.node_failure(id, node);
                    let outcome = Outcome::Error(JobError { exit_status: None, signal: None, message });
                    self.end_run(id, RunState::Failed, outcome, None);
                }
                None => self.result_due(id),
            },
            RunState::Finishing | RunState::Succeeded | RunState::Failed | RunState::Cancelled => {}
        }
    }

    fn node_failure(&self, id: RunId, node: NodeIndex) -> String {
        let Some(run) = self.runs.get(&id) else { return String::new() };
        let Some((shape, hot)) = run.graph.nodes.get(node.0 as usize).zip(run.nodes.get(node.0 as usize)) else {
            return String::new();
        };
        let task = match hot.state {
            NodeState::Ended { task, .. } => task,
            NodeState::Pending | NodeState::Due | NodeState::Active { .. } => None,
        };
        let of_task = task.and_then(|task| self.tasks.get(&task)).and_then(|task| task.hot.row().outcome);
        let why = hot.outcome.clone().or(of_task).map_or_else(|| "failed".to_owned(), |outcome| outcome.message());
        match task {
            Some(task) => format!("step `{}` (task {task}): {why}", shape.name),
            // An evaluation's own words begin with the step already.
            None if why.starts_with("step `") => why,
            None => format!("step `{}`: {why}", shape.name),
        }
    }

    fn result_due(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.row.state = RunState::Finishing;
        run.row.due_version += 1;
        let (version, is_paused) = (run.row.due_version, run.row.paused.is_some());
        self.touch_run(id);
        self.tell_run(id, RunState::Finishing.name(), &Cause::server("every step has ended"));
        if !is_paused {
            self.out.effects.push(Effect::Evaluate { run: id, what: DueKind::Result, version });
        }
    }

    fn end_run(&mut self, id: RunId, state: RunState, outcome: Outcome, result: Option<String>) {
        let now = self.now;
        let Some(run) = self.runs.get_mut(&id) else { return };
        let reason = if outcome == Outcome::Succeeded { String::new() } else { outcome.message() };
        run.row.state = state;
        run.row.outcome = Some(outcome);
        run.row.result = result;
        run.row.ended_at = Some(now);
        run.row.paused = None;
        self.touch_run(id);
        let cause = Cause::server(reason);
        self.tell_run(id, state.name(), &cause);
        self.end_hold(id, &cause);
        let filling = self.filling();
        self.evictions.push_run(filling, id);
    }

    /// What was due has been evaluated. What is no longer due, or was due anew, is dropped.
    pub(super) fn evaluated(&mut self, id: RunId, what: DueKind, version: u32, outcome: Evaluation) {
        let Some(run) = self.runs.get(&id) else { return };
        match what {
            DueKind::Node(node) => {
                let is_due = run.nodes.get(node.0 as usize).is_some_and(|hot| {
                    hot.state == NodeState::Due && hot.due_version == version && run.row.state == RunState::Running
                });
                if is_due {
                    self.node_evaluated(id, node, outcome);
                    self.finish_run_if_done(id);
                } else {
                    probe::reached(Path::EvaluationOutOfDate);
                }
            }
            DueKind::Result => {
                if run.row.state == RunState::Finishing && run.row.due_version == version {
                    self.result_evaluated(id, outcome);
                }
            }
        }
    }

    fn node_evaluated(&mut self, id: RunId, node: NodeIndex, outcome: Evaluation) {
        match outcome {
            Evaluation::Task(new) => self.node_task(id, node, &new),
            Evaluation::Nothing => self.end_node(id, node, NodeEnd::Succeeded, Some(Outcome::Succeeded)),
            Evaluation::Failed(error) => self.end_node(id, node, NodeEnd::Failed, Some(Outcome::Error(error))),
            Evaluation::Result(_) => {
                let message = "its evaluation gave a run's result".to_owned();
                self.end_node(id, node, NodeEnd::Failed, Some(Outcome::Rejected { message }));
            }
        }
    }

    fn node_task(&mut self, id: RunId, node: NodeIndex, new: &NewTask) {
        let Some(run) = self.runs.get(&id) else { return };
        let namespace = run.row.namespace.clone();
        let origin = Origin {
            namespace: namespace.clone(),
            created_by: run.row.created_by.clone(),
            run: Some((id, node)),
            step: run.graph.nodes.get(node.0 as usize).map(|shape| shape.name.clone()),
        };
        if let Err(refusal) = check_task(0, new)
            .and_then(|()| self.check_stop_after(new))
            .and_then(|()| self.check_asks(new))
            .and_then(|()| self.check_dependencies(&namespace, new))
        {
            return self.reject_node(id, node, refusal);
        }
        let under = match self.under_run(id, new) {
            Ok(under) => under,
            Err(refusal) => return self.reject_node(id, node, refusal),
        };
        let new = under.as_ref().unwrap_or(new);
        let task = self.counters.task;
        if let Some(hot) = self.runs.get_mut(&id).and_then(|run| run.nodes.get_mut(node.0 as usize)) {
            hot.state = NodeState::Active { task };
        }
        self.touch_node(id, node);
        let made = self.create(new, task, origin, &mut None);
        debug_assert_eq!(made, task, "ids are given in order");
    }

    fn reject_node(&mut self, id: RunId, node: NodeIndex, refusal: Refusal) {
        let outcome = Outcome::Rejected { message: refusal.message };
        self.end_node(id, node, NodeEnd::Failed, Some(outcome));
    }

    fn result_evaluated(&mut self, id: RunId, outcome: Evaluation) {
        match outcome {
            Evaluation::Result(json) => self.end_run(id, RunState::Succeeded, Outcome::Succeeded, Some(json)),
            Evaluation::Nothing => self.end_run(id, RunState::Succeeded, Outcome::Succeeded, None),
            Evaluation::Failed(error) => self.end_run(id, RunState::Failed, Outcome::Error(error), None),
            Evaluation::Task(_) => {
                let message = "the evaluation of its result gave a task".to_owned();
                self.end_run(id, RunState::Failed, Outcome::Rejected { message }, None);
            }
        }
    }

    /// A verb on a run.
    pub(super) fn run_verb(&mut self, actor: &Actor, namespace: &Namespace, id: RunId, verb: RunVerb) -> Reply {
        if self.runs.get(&id).is_none_or(|run| run.row.namespace != *namespace) {
            let message =
                format!("There is no run r{id} in namespace {namespace}; `bowline runs list` shows those there are.");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        match verb {
            RunVerb::Cancel => self.cancel_run(actor, id),
            RunVerb::Retry => self.retry_run(actor, id),
            RunVerb::Pause => self.pause_run(actor, id, Paused::Yes),
            RunVerb::Resume => self.pause_run(actor, id, Paused::No),
        }
    }

    fn run_state(&self, id: RunId) -> RunState {
        self.runs.get(&id).map_or(RunState::Cancelled, |run| run.row.state)
    }

    fn cancel_run(&mut self, actor: &Actor, id: RunId) -> Reply {
        let reason = format!("cancelled by {}", actor.0);
        let outcome = Outcome::Cancelled { message: reason.clone() };
        match self.run_state(id) {
            RunState::Running => {}
            RunState::Finishing => {
                self.end_run(id, RunState::Cancelled, outcome, None);
                return Ok(Answer::Done);
            }
            RunState::Stopping => return Ok(Answer::Done),
            state @ (RunState::Succeeded | RunState::Failed | RunState::Cancelled) => {
                let message = format!("Run r{id} cannot be cancelled: it has already {}.", state.name());
                return Err(Refusal::new(RefusalCode::Conflict, message));
            }
        }
        if let Some(run) = self.runs.get_mut(&id) {
            run.row.state = RunState::Stopping;
            run.row.outcome = Some(outcome.clone());
        }
        self.touch_run(id);
        let cause = Cause::new(actor, reason);
        self.tell_run(id, RunState::Stopping.name(), &cause);
        self.let_go_too_early(id, &cause);
        for node in self.node_indexes(id) {
            let state = self.runs.get(&id).and_then(|run| run.nodes.get(node.0 as usize)).map(|hot| hot.state);
            match state {
                Some(NodeState::Pending | NodeState::Due) => {
                    self.end_node(id, node, NodeEnd::Cancelled, Some(outcome.clone()));
                }
                Some(NodeState::Active { task }) => {
                    self.cancel_unit(TaskRef::whole(task), &cause).ok();
                }
                Some(NodeState::Ended { .. }) | None => {}
            }
        }
        self.finish_run_if_done(id);
        Ok(Answer::Done)
    }

    /// From the first failure: what did not succeed is pending again; what did stays.
    fn retry_run(&mut self, actor: &Actor, id: RunId) -> Reply {
        match self.run_state(id) {
            RunState::Failed | RunState::Cancelled => {}
            state @ (RunState::Running | RunState::Stopping | RunState::Finishing | RunState::Succeeded) => {
                let message = format!(
                    "Run r{id} cannot be retried: it is {}; only what failed or was cancelled can.",
                    state.name()
                );
                return Err(Refusal::new(RefusalCode::Conflict, message));
            }
        }
        self.check_not_swept(self.runs.get(&id).and_then(|run| run.row.ended_at), &format!("Run r{id}"))?;
        let mut again = Vec::new();
        if let Some(run) = self.runs.get_mut(&id) {
            run.row.state = RunState::Running;
            run.row.outcome = None;
            run.row.result = None;
            run.row.ended_at = None;
            for (node, hot) in (0u32..).zip(&mut run.nodes) {
                if matches!(hot.state, NodeState::Ended { how: NodeEnd::Succeeded, .. }) {
                    continue;
                }
                if hot.is_ended() {
                    run.open += 1;
                }
                hot.state = NodeState::Pending;
                hot.outcome = None;
                again.push(NodeIndex(node));
            }
        }
        self.touch_run(id);
        self.tell_run(id, "retried", &Cause::new(actor, ""));
        for node in again {
            self.touch_node(id, node);
        }
        self.begin_hold(id);
        self.advance_run(id);
        Ok(Answer::Done)
    }

    fn pause_run(&mut self, actor: &Actor, id: RunId, paused: Paused) -> Reply {
        if self.run_state(id).is_ended() {
            let message = format!("Run r{id} has ended; there is nothing to pause or resume.");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let is_marked = self.runs.get(&id).is_some_and(|run| run.row.paused.is_some());
        let Some(mark) = self.new_mark(is_marked, paused, actor) else { return Ok(Answer::Done) };
        if let Some(run) = self.runs.get_mut(&id) {
            run.row.paused = mark;
        }
        self.touch_run(id);
        self.tell_run(id, super::pause::word(paused), &Cause::new(actor, ""));
        self.stand_run_anew(id);
        if paused == Paused::No {
            self.evaluate_due(id);
        }
        Ok(Answer::Done)
    }

    /// Asks again for everything that is due: after a take-over, a resume.
    pub(super) fn evaluate_due(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id).filter(|run| run.row.paused.is_none()) else { return };
        let mut due = Vec::new();
        if run.row.state == RunState::Running {
            for (node, hot) in (0u32..).zip(&run.nodes) {
                if hot.state == NodeState::Due {
                    due.push((DueKind::Node(NodeIndex(node)), hot.due_version));
                }
            }
        }
        if run.row.state == RunState::Finishing {
            due.push((DueKind::Result, run.row.due_version));
        }
        self.out.effects.extend(due.into_iter().map(|(what, version)| Effect::Evaluate { run: id, what, version }));
    }
}
