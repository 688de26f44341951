//! From rows to documents: runs. These block.

use std::collections::HashMap;

use bowline_api::{Progress, Run, RunArtifact, Step, StepState, from_core_time};
use bowline_core::id::{NodeIndex, TaskId, TaskRef};
use bowline_core::row::{NodeRow, RunRow, TaskRow};
use bowline_core::run::{NodeEnd, NodeState};
use bowline_core::state::StateKind;
use bowline_store::{ReadStore, RunDetail, TaskFilter, TaskSort};

use crate::api::fault::Fault;
use crate::api::show::{artifact, json, outcome, paused, run_text, time};

/// Tasks read at a time.
const PAGE: usize = 1_000;

/// A run as in a list.
pub(super) fn run(row: &RunRow) -> Run {
    Run {
        id: run_text(row.id),
        namespace: row.namespace.to_string(),
        workflow: row.workflow.to_string(),
        state: row.state.name().to_owned(),
        ended: row.state.is_ended(),
        created_by: row.created_by.0.to_string(),
        started_at: from_core_time(row.started_at),
        ended_at: time(row.ended_at),
        outcome: row.outcome.as_ref().map(outcome),
        paused: paused(row.paused.as_ref()),
        result: None,
        inputs: None,
        steps: Vec::new(),
        progress: None,
    }
}

/// A run with its steps.
pub(super) fn detail(found: &RunDetail, store: &dyn ReadStore) -> Result<Run, Fault> {
    let tasks = tasks_of(found, store)?;
    let mut doc = run(&found.row);
    doc.result = found.row.result.as_deref().map(json);
    doc.inputs = Some(json(&found.inputs));
    let mut total = Progress::default();
    for node in &found.nodes {
        let task = task_of(node).and_then(|task| tasks.get(&task));
        let step = step(found, node, task);
        add(&mut total, &step.progress);
        doc.steps.push(step);
    }
    doc.progress = Some(total);
    Ok(doc)
}

fn tasks_of(found: &RunDetail, store: &dyn ReadStore) -> Result<HashMap<TaskId, TaskRow>, Fault> {
    let filter = TaskFilter { run: Some(found.row.id), ..TaskFilter::default() };
    let mut tasks = HashMap::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = store.tasks(&filter, TaskSort::Oldest, cursor.as_deref(), PAGE)?;
        tasks.extend(page.items.into_iter().map(|row| (row.id, row)));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(tasks);
        }
    }
}

fn task_of(node: &NodeRow) -> Option<TaskId> {
    match node.state {
        NodeState::Active { task } => Some(task),
        NodeState::Ended { task, .. } => task,
        NodeState::Pending | NodeState::Due => None,
    }
}

fn step(found: &RunDetail, node: &NodeRow, task: Option<&TaskRow>) -> Step {
    let name_of = |index: NodeIndex| {
        let place = usize::try_from(index.0).unwrap_or(usize::MAX);
        found.graph.nodes.get(place).map_or_else(String::new, |node| node.name.to_string())
    };
    let place = usize::try_from(node.node.0).unwrap_or(usize::MAX);
    let needs = found.graph.nodes.get(place).map(|node| node.needs.iter().map(|edge| name_of(edge.from)).collect());
    let ended = task.and_then(|task| task.unit.outcome.as_ref());
    Step {
        name: name_of(node.node),
        state: match node.state {
            NodeState::Pending => StepState::Pending,
            NodeState::Due => StepState::Due,
            NodeState::Active { .. } => StepState::Active,
            NodeState::Ended { how: NodeEnd::Succeeded, .. } => StepState::Succeeded,
            NodeState::Ended { how: NodeEnd::Failed, .. } => StepState::Failed,
            NodeState::Ended { how: NodeEnd::Cancelled, .. } => StepState::Cancelled,
            NodeState::Ended { how: NodeEnd::Skipped, .. } => StepState::Skipped,
        },
        needs: needs.unwrap_or_default(),
        task: task_of(node).map(|task| task.to_string()),
        task_state: task.map(|task| task.unit.state.name().to_owned()),
        outcome: node.outcome.as_ref().or(ended).map(outcome),
        progress: task.map(progress).unwrap_or_default(),
        started_at: task.and_then(|task| time(task.unit.started_at)),
        ended_at: task.and_then(|task| time(task.unit.ended_at)),
    }
}

fn progress(task: &TaskRow) -> Progress {
    let Some(array) = task.array else { return one(task.unit.state) };
    let ended = array.succeeded + array.failed + array.cancelled + array.skipped;
    let begun = array.cursor.max(ended);
    Progress {
        total: u64::from(array.count),
        waiting: u64::from(array.count.saturating_sub(begun)),
        running: u64::from(begun - ended),
        succeeded: u64::from(array.succeeded),
        failed: u64::from(array.failed),
        cancelled: u64::from(array.cancelled),
        skipped: u64::from(array.skipped),
    }
}

fn one(state: StateKind) -> Progress {
    let mut progress = Progress { total: 1, ..Progress::default() };
    let place = match state {
        StateKind::Scheduled | StateKind::Blocked | StateKind::Waiting | StateKind::Ready => &mut progress.waiting,
        StateKind::Assigned | StateKind::Running | StateKind::Stopping | StateKind::InDoubt => &mut progress.running,
        StateKind::Succeeded => &mut progress.succeeded,
        StateKind::Failed => &mut progress.failed,
        StateKind::Cancelled => &mut progress.cancelled,
        StateKind::Skipped => &mut progress.skipped,
    };
    *place = 1;
    progress
}

fn add(total: &mut Progress, more: &Progress) {
    total.total += more.total;
    total.waiting += more.waiting;
    total.running += more.running;
    total.succeeded += more.succeeded;
    total.failed += more.failed;
    total.cancelled += more.cancelled;
    total.skipped += more.skipped;
}

/// Files that the run's tasks left: of each task those of its newest attempt that left any.
pub(super) fn artifacts(found: &RunDetail, store: &dyn ReadStore) -> Result<Vec<RunArtifact>, Fault> {
    let workflow = bowline_workflow::check("workflow.yaml", &found.source).ok();
    let results = workflow.map(|workflow| workflow.result_artifacts()).unwrap_or_default();
    let mut all = Vec::new();
    for node in &found.nodes {
        let Some(task) = task_of(node) else { continue };
        let place = usize::try_from(node.node.0).unwrap_or(usize::MAX);
        let step = found.graph.nodes.get(place).map_or_else(String::new, |node| node.name.to_string());
        for row in newest(store.artifacts(TaskRef::whole(task))?) {
            let result = results.iter().any(|(of, pattern)| *of == node.node && matches(pattern, &row.name));
            all.push(RunArtifact { step: step.clone(), result, artifact: artifact(&row) });
        }
    }
    Ok(all)
}

/// Of each name of each task or element the newest attempt's.
fn newest(rows: Vec<bowline_core::row::ArtifactRow>) -> Vec<bowline_core::row::ArtifactRow> {
    let mut newest: std::collections::BTreeMap<_, bowline_core::row::ArtifactRow> = std::collections::BTreeMap::new();
    for row in rows {
        let key = (row.attempt.task, row.name.clone());
        let older = newest.get(&key).is_none_or(|other| other.attempt.fence < row.attempt.fence);
        if older {
            newest.insert(key, row);
        }
    }
    newest.into_values().collect()
}

/// Whether a name fits a pattern: `*` and `?` within a part of the path, `**` across parts.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    if let Some(rest) = pattern.strip_prefix("**/") {
        return matches(rest, name) || name.match_indices('/').any(|(at, _)| matches(rest, &name[at + 1..]));
    }
    if let Some(rest) = pattern.strip_prefix("**") {
        return name.char_indices().any(|(at, _)| matches(rest, &name[at..])) || matches(rest, "");
    }
    match first {
        '*' => {
            let end = name.find('/').unwrap_or(name.len());
            name[..end].char_indices().map(|(at, _)| at).chain([end]).any(|at| matches(rest, &name[at..]))
        }
        '?' => name.chars().next().filter(|c| *c != '/').is_some_and(|c| matches(rest, &name[c.len_utf8()..])),
        plain => name.strip_prefix(plain).is_some_and(|name| matches(rest, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("census.html", "census.html", true),
            ("*.json", "census.json", true),
            ("*.json", "a/census.json", false),
            ("**/*.json", "a/b/census.json", true),
            ("**/*.json", "census.json", true),
            ("a/**", "a/b/c", true),
            ("?.txt", "é.txt", true),
            ("?.txt", "ab.txt", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn every_state_counts_once() {
        for state in StateKind::ALL {
            let progress = one(state);
            assert_eq!(progress.waiting + progress.running + progress.ended(), progress.total, "{state}");
            assert_eq!(progress.ended() == 1, state.is_ended(), "{state}");
        }
    }
}
