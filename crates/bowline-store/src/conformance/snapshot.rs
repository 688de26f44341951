//! Everything that can be read of a store, for comparing one with another.

use bowline_core::id::{CommitNo, RunId, TaskId, TaskRef};
use bowline_core::input::{Fact, Need, Token};
use bowline_core::row::{
    ArtifactRow, AttemptRow, ElementRow, HistoryRow, ResultRow, RunRow, Subject, TaskRow, WorkerRow,
};

use super::ok;
use crate::read::{AttemptFilter, EventPage, Page, ReadStore, RunDetail, RunFilter, TaskDetail, TaskFilter, TaskSort};

/// What there is to ask for.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// Filters of task lists.
    pub filters: Vec<TaskFilter>,
    /// Tasks to look at, whether they are there or not.
    pub tasks: Vec<TaskId>,
    /// Runs to look at.
    pub runs: Vec<RunId>,
    /// Subjects whose history is read.
    pub subjects: Vec<Subject>,
    /// Keys, in the default namespace.
    pub keys: Vec<String>,
    /// Items a page.
    pub page: usize,
}

/// The answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The commit number.
    pub commit: CommitNo,
    /// For each filter, the tasks newest first and oldest first.
    pub lists: Vec<(Vec<TaskRow>, Vec<TaskRow>)>,
    /// Each task with all that hangs on it.
    pub tasks: Vec<TaskView>,
    /// Each run.
    pub runs: Vec<Option<RunDetail>>,
    /// All runs, newest first.
    pub run_list: Vec<RunRow>,
    /// Each subject's history.
    pub histories: Vec<Vec<(u64, HistoryRow)>>,
    /// All events from the first on.
    pub events: EventPage,
    /// What is stored of each task, run and key.
    pub facts: Vec<Fact>,
    /// Workers.
    pub workers: Vec<WorkerRow>,
    /// Tokens.
    pub tokens: Vec<Token>,
}

/// A task with all that hangs on it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    /// The task.
    pub detail: Option<TaskDetail>,
    /// Its elements.
    pub elements: Vec<ElementRow>,
    /// Its attempts and its elements'.
    pub attempts: Vec<AttemptRow>,
    /// Its results and its elements'.
    pub results: Vec<ResultRow>,
    /// Its artifacts and its elements'.
    pub artifacts: Vec<ArtifactRow>,
}

/// Follows a list's cursor to its end.
pub fn all_pages<T>(mut page: impl FnMut(Option<&str>) -> Page<T>) -> Vec<T> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let next = page(cursor.as_deref());
        items.extend(next.items);
        match next.next {
            Some(next) => cursor = Some(next),
            None => return items,
        }
    }
}

impl Snapshot {
    /// Asks a store everything.
    pub fn of(reader: &dyn ReadStore, asked: &Questions) -> Self {
        let list = |filter: &TaskFilter, sort| all_pages(|cursor| ok(reader.tasks(filter, sort, cursor, asked.page)));
        let both = |filter: &TaskFilter| (list(filter, TaskSort::Newest), list(filter, TaskSort::Oldest));
        let mut needs: Vec<Need> = asked.tasks.iter().copied().map(Need::Task).collect();
        needs.extend(asked.runs.iter().copied().map(Need::Run));
        let namespace = bowline_core::name::Namespace::default();
        needs.extend(asked.keys.iter().map(|key| Need::Key { namespace: namespace.clone(), key: key.clone() }));
        Self {
            commit: ok(reader.commit_no()),
            lists: asked.filters.iter().map(both).collect(),
            tasks: asked.tasks.iter().map(|task| TaskView::of(reader, *task)).collect(),
            runs: asked.runs.iter().map(|run| ok(reader.run(*run))).collect(),
            run_list: all_pages(|cursor| ok(reader.runs(&RunFilter::default(), cursor, asked.page))),
            histories: asked
                .subjects
                .iter()
                .map(|subject| all_pages(|cursor| ok(reader.history(subject, cursor, asked.page))))
                .collect(),
            events: ok(reader.events(Some((CommitNo(0), 0)), 1_000)),
            facts: needs.iter().map(|need| ok(reader.fact(need))).collect(),
            workers: ok(reader.workers()),
            tokens: ok(reader.tokens()),
        }
    }
}

impl TaskView {
    fn of(reader: &dyn ReadStore, task: TaskId) -> Self {
        Self {
            detail: ok(reader.task(task)),
            elements: ok(reader.elements(task, None, 1_000)),
            attempts: ok(reader.attempts(&AttemptFilter::Of(TaskRef::whole(task)))),
            results: ok(reader.results(task)),
            artifacts: ok(reader.artifacts(TaskRef::whole(task))),
        }
    }
}
