//! The readers' side of the in-memory store.

use std::collections::HashSet;
use std::sync::Arc;

use bowline_core::id::{CommitNo, NodeIndex, RunId, TaskId, TaskRef};
use bowline_core::input::{Fact, Need, Token};
use bowline_core::name::WorkerName;
use bowline_core::row::{
    ArtifactRow, AttemptRow, ElementRow, EndedRun, EndedTask, NodeRow, ResultRow, RunRow, Subject, TaskRow, WorkerRow,
};
use bowline_core::spec::Work;
use bowline_core::state::StateKind;

use super::MemoryStore;
use super::state::{State, StoredTask, all_attempts, with_elements};
use crate::paging::{name_matches, number_cursor, page_of, page_size};
use crate::read::{
    AttemptFilter, EventPage, HistoryPage, Page, ReadStore, RunDetail, RunFilter, TaskDetail, TaskFilter, TaskSort,
    TaskWork,
};
use crate::write::StoreError;

impl ReadStore for MemoryStore {
    fn fact(&self, need: &Need) -> Result<Fact, StoreError> {
        let state = self.state.lock();
        Ok(match need {
            Need::Task(task) => Fact::Task(state.ended_task(*task).map(Box::new)),
            Need::Run(run) => Fact::Run(state.ended_run(*run).map(Box::new)),
            Need::Key { namespace, key } => {
                Fact::Key(state.keys.get(&(namespace.clone(), key.clone())).map(|key| key.row.clone()))
            }
        })
    }

    fn commit_no(&self) -> Result<CommitNo, StoreError> {
        Ok(self.state.lock().leadership.commit_no)
    }

    fn tasks(
        &self,
        filter: &TaskFilter,
        sort: TaskSort,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<TaskRow>, StoreError> {
        let state = self.state.lock();
        let (cursor, size) = (number_cursor(cursor)?, page_size(limit));
        let fits = |task: &&StoredTask| state.task_fits(task, filter);
        let row = |task: &StoredTask| task.row.clone();
        let rows: Vec<TaskRow> = match sort {
            TaskSort::Newest => {
                let before = TaskId(cursor.unwrap_or(u64::MAX));
                state.tasks.range(..before).rev().map(|(_, task)| task).filter(fits).map(row).take(size + 1).collect()
            }
            TaskSort::Oldest => {
                let from = TaskId(cursor.map_or(0, |cursor| cursor.saturating_add(1)));
                state.tasks.range(from..).map(|(_, task)| task).filter(fits).map(row).take(size + 1).collect()
            }
        };
        Ok(page_of(rows, size, |row| row.id.to_string()))
    }

    fn task(&self, task: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        let state = self.state.lock();
        Ok(state.tasks.get(&task).map(|stored| TaskDetail {
            row: stored.row.clone(),
            spec: Arc::clone(&stored.spec),
            result: state.newest_result(TaskRef::whole(task)),
        }))
    }

    fn elements(&self, task: TaskId, after: Option<u32>, limit: usize) -> Result<Vec<ElementRow>, StoreError> {
        let state = self.state.lock();
        let all = state.elements.range((task, 0)..=(task, u32::MAX));
        let rest = all.filter(|((_, index), _)| after.is_none_or(|after| *index > after));
        Ok(rest.take(page_size(limit)).map(|(_, row)| row.clone()).collect())
    }

    fn work(&self, task: TaskRef) -> Result<Option<Arc<Work>>, StoreError> {
        let state = self.state.lock();
        Ok(state.tasks.get(&task.task).and_then(|stored| work_of(stored, task.index)))
    }

    fn assigned(&self, tasks: &[TaskRef]) -> Result<Vec<Option<TaskWork>>, StoreError> {
        let state = self.state.lock();
        let one = |task: &TaskRef| {
            let stored = state.tasks.get(&task.task)?;
            Some(TaskWork { row: stored.row.clone(), work: work_of(stored, task.index)? })
        };
        Ok(tasks.iter().map(one).collect())
    }

    fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<AttemptRow>, StoreError> {
        let state = self.state.lock();
        let range = match filter {
            AttemptFilter::One(attempt) => return Ok(state.attempts.get(attempt).cloned().into_iter().collect()),
            AttemptFilter::Of(TaskRef { task, index: None }) => with_elements(*task),
            AttemptFilter::Of(element) => all_attempts(*element, *element),
        };
        let mut rows: Vec<AttemptRow> = state.attempts.range(range).map(|(_, row)| row.clone()).collect();
        rows.sort_by_key(|row| (row.assigned_at, row.attempt));
        Ok(rows)
    }

    fn results(&self, task: TaskId) -> Result<Vec<ResultRow>, StoreError> {
        let state = self.state.lock();
        let mut newest: Vec<ResultRow> = Vec::new();
        for (attempt, row) in state.results.range(with_elements(task)) {
            if newest.last().is_some_and(|last| last.attempt.task == attempt.task) {
                newest.pop();
            }
            newest.push(row.clone());
        }
        Ok(newest)
    }

    fn named_blobs(&self, digests: &[String]) -> Result<HashSet<String>, StoreError> {
        let state = self.state.lock();
        let named: HashSet<&str> = state.artifacts.values().map(|row| row.digest.as_str()).collect();
        Ok(digests.iter().filter(|digest| named.contains(digest.as_str())).cloned().collect())
    }

    fn artifacts(&self, task: TaskRef) -> Result<Vec<ArtifactRow>, StoreError> {
        let state = self.state.lock();
        let of = |row: &&ArtifactRow| row.attempt.task.task == task.task && is_of(task, row.attempt.task);
        Ok(state.artifacts.values().filter(of).cloned().collect())
    }

    fn history(&self, subject: &Subject, cursor: Option<&str>, limit: usize) -> Result<HistoryPage, StoreError> {
        let state = self.state.lock();
        let (from, size) = (number_cursor(cursor)?.unwrap_or(0).saturating_add(1), page_size(limit));
        let lines = state.history.range((subject.clone(), from)..=(subject.clone(), u64::MAX));
        let lines = lines.take(size + 1).map(|((_, number), line)| (*number, line.clone())).collect();
        Ok(page_of(lines, size, |(number, _)| number.to_string()))
    }

    fn events(&self, after: Option<(CommitNo, u32)>, limit: usize) -> Result<EventPage, StoreError> {
        let state = self.state.lock();
        let Some(after) = after else { return Ok(EventPage::Events(Vec::new())) };
        if state.swept.is_some_and(|swept| after < swept) {
            return Ok(EventPage::TooOld);
        }
        let commits = state.events.range(after.0..);
        let placed =
            commits.flat_map(|(commit, events)| (0..).zip(&events.rows).map(|(place, row)| (*commit, place, row)));
        let rest = placed.filter(|(commit, place, _)| (*commit, *place) > after).take(page_size(limit));
        Ok(EventPage::Events(rest.map(|(commit, place, row)| (commit, place, row.clone())).collect()))
    }

    fn runs(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<RunRow>, StoreError> {
        let state = self.state.lock();
        let (before, size) = (RunId(number_cursor(cursor)?.unwrap_or(u64::MAX)), page_size(limit));
        let runs = state.runs.range(..before).rev().map(|(_, run)| &run.row);
        let rows = runs.filter(|row| run_fits(row, filter)).take(size + 1).cloned().collect();
        Ok(page_of(rows, size, |row: &RunRow| row.id.0.to_string()))
    }

    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StoreError> {
        let state = self.state.lock();
        Ok(state.runs.get(&run).map(|stored| RunDetail {
            row: stored.row.clone(),
            source: Arc::clone(&stored.source),
            inputs: Arc::clone(&stored.inputs),
            graph: Arc::clone(&stored.graph),
            nodes: state.nodes_of(run),
        }))
    }

    fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        let mut rows: Vec<WorkerRow> = self.state.lock().workers.values().cloned().collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    fn worker(&self, name: &WorkerName) -> Result<Option<WorkerRow>, StoreError> {
        Ok(self.state.lock().workers.values().find(|row| row.name == *name).cloned())
    }

    fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        Ok(self.state.lock().tokens.get(hash).cloned())
    }

    fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        Ok(self.state.lock().tokens.values().cloned().collect())
    }
}

fn is_of(wanted: TaskRef, task: TaskRef) -> bool {
    wanted.index.is_none() || wanted == task
}

fn work_of(stored: &StoredTask, index: Option<u32>) -> Option<Arc<Work>> {
    let Some(index) = index else { return Some(Arc::new(stored.spec.work.clone())) };
    let place = usize::try_from(stored.spec.array.as_ref()?.place_of(index)?).ok()?;
    Some(Arc::new(stored.works.get(place).unwrap_or(&stored.spec.work).clone()))
}

fn run_fits(row: &RunRow, filter: &RunFilter) -> bool {
    filter.namespace.as_ref().is_none_or(|namespace| *namespace == row.namespace)
        && (filter.states.is_empty() || filter.states.contains(&row.state))
        && filter.workflow.as_ref().is_none_or(|workflow| workflow == row.workflow.as_str())
}

impl State {
    fn task_fits(&self, task: &StoredTask, filter: &TaskFilter) -> bool {
        let (row, spec) = (&task.row, &task.spec);
        let worker_id =
            |name: &WorkerName| self.workers.values().find(|worker| worker.name == *name).map(|worker| worker.id);
        filter.namespace.as_ref().is_none_or(|namespace| *namespace == row.namespace)
            && (filter.states.is_empty()
                || filter.states.contains(&row.unit.state)
                || (filter.takes_element_in_doubt() && self.has_element_in_doubt(row.id)))
            && filter.name.as_ref().is_none_or(|name| row.name.as_ref().is_some_and(|has| name_matches(name, has)))
            && filter.labels.iter().all(|(key, value)| spec.labels.get(key) == Some(value))
            && filter.resource.as_ref().is_none_or(|name| spec.resources.iter().any(|ask| ask.name() == Some(name)))
            && filter.worker.as_ref().is_none_or(|name| row.unit.worker.is_some() && row.unit.worker == worker_id(name))
            && filter.since.is_none_or(|since| row.submitted_at >= since)
            && filter.created_by.as_ref().is_none_or(|by| *row.created_by.0 == **by)
            && filter.run.is_none_or(|run| row.run.is_some_and(|(of, _)| of == run))
            && filter.node.is_none_or(|node| row.run.is_some_and(|(_, of)| of == node))
    }

    fn has_element_in_doubt(&self, task: TaskId) -> bool {
        let mut elements = self.elements.range((task, 0)..=(task, u32::MAX));
        elements.any(|(_, row)| row.unit.state == StateKind::InDoubt)
    }

    fn newest_result(&self, task: TaskRef) -> Option<ResultRow> {
        self.results.range(all_attempts(task, task)).next_back().map(|(_, row)| row.clone())
    }

    fn nodes_of(&self, run: RunId) -> Vec<NodeRow> {
        let nodes = self.nodes.range((run, NodeIndex(0))..=(run, NodeIndex(u32::MAX)));
        nodes.map(|(_, row)| row.clone()).collect()
    }

    fn ended_task(&self, task: TaskId) -> Option<EndedTask> {
        let stored = self.tasks.get(&task).filter(|stored| stored.row.unit.state.is_ended())?;
        let elements = self.elements.range((task, 0)..=(task, u32::MAX)).map(|(_, row)| row.clone()).collect();
        Some(EndedTask { row: stored.row.clone(), spec: Arc::clone(&stored.spec), elements })
    }

    fn ended_run(&self, run: RunId) -> Option<EndedRun> {
        let stored = self.runs.get(&run).filter(|stored| stored.row.state.is_ended())?;
        Some(EndedRun { row: stored.row.clone(), graph: Arc::clone(&stored.graph), nodes: self.nodes_of(run) })
    }
}
