//! The readers: a few connections that can only read. Each call takes one for its length, reads one
//! snapshot of what is committed, and gives it back. They never hold back the writer.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowline_core::id::{CommitNo, RunId, TaskId, TaskRef};
use bowline_core::input::{Fact, Need, Token};
use bowline_core::name::WorkerName;
use bowline_core::row::{
    ArtifactRow, AttemptRow, ElementRow, EndedRun, EndedTask, ResultRow, RunRow, Subject, TaskRow, WorkerRow,
};
use bowline_core::spec::Work;
use bowline_store::paging::{bad_cursor, number_cursor, page_of, page_size};
use bowline_store::{
    AttemptFilter, EventPage, HistoryPage, Page, ReadStore, RunDetail, RunFilter, StoreError, TaskDetail, TaskFilter,
    TaskSort, TaskWork,
};
use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::connect;
use crate::tables::{
    artifacts, attempts, elements, events, history, keys, leadership, nodes, results, runs, tasks, tokens, workers,
};

/// Connections for reading: so many reads at a time, others wait their turn.
const READERS: usize = 4;

/// Reads a store file. Its calls block.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    given_back: Condvar,
}

/// A connection that goes back when it is dropped.
struct Lent<'a> {
    connection: Option<Connection>,
    of: &'a SqliteReader,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.of.idle.lock().extend(self.connection.take());
        self.of.given_back.notify_one();
    }
}

impl SqliteReader {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let idle = (0..READERS).map(|_| connect::reader(path)).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Self { path: path.to_owned(), idle: Mutex::new(idle), given_back: Condvar::new() })
    }

    fn lend(&self) -> Lent<'_> {
        let mut idle = self.idle.lock();
        loop {
            if let Some(connection) = idle.pop() {
                return Lent { connection: Some(connection), of: self };
            }
            self.given_back.wait(&mut idle);
        }
    }

    /// Reads from one snapshot.
    fn read<T>(&self, what: &str, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut lent = self.lend();
        let found = match lent.connection.as_mut() {
            Some(connection) => connection.transaction().and_then(|snapshot| read(&snapshot)),
            None => Err(rusqlite::Error::InvalidQuery),
        };
        found.map_err(|error| StoreError::new(format!("reading {what} from `{}`", self.path.display()), error))
    }
}

impl ReadStore for SqliteReader {
    fn fact(&self, need: &Need) -> Result<Fact, StoreError> {
        self.read("what a request needs", |connection| {
            Ok(match need {
                Need::Task(task) => Fact::Task(ended_task(connection, *task)?.map(Box::new)),
                Need::Run(run) => Fact::Run(ended_run(connection, *run)?.map(Box::new)),
                Need::Key { namespace, key } => Fact::Key(keys::get(connection, namespace, key)?),
            })
        })
    }

    fn commit_no(&self) -> Result<CommitNo, StoreError> {
        self.read("the commit number", leadership::commit_no)
    }

    fn tasks(
        &self,
        filter: &TaskFilter,
        sort: TaskSort,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<TaskRow>, StoreError> {
        let (cursor, size) = (number_cursor(cursor)?, page_size(limit));
        let rows = self.read("tasks", |connection| tasks::list(connection, filter, sort, cursor, size + 1))?;
        Ok(page_of(rows, size, |row| row.id.to_string()))
    }

    fn task(&self, task: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        self.read("a task", |connection| {
            let Some(row) = tasks::get(connection, task)? else { return Ok(None) };
            let spec = tasks::spec_of(connection, task)?;
            Ok(Some(TaskDetail { row, spec, result: results::newest(connection, TaskRef::whole(task))? }))
        })
    }

    fn elements(&self, task: TaskId, after: Option<u32>, limit: usize) -> Result<Vec<ElementRow>, StoreError> {
        let limit = i64::try_from(page_size(limit)).unwrap_or(i64::MAX);
        self.read("elements", |connection| elements::of_task(connection, task, after, limit))
    }

    fn work(&self, task: TaskRef) -> Result<Option<Arc<Work>>, StoreError> {
        self.read("a task's work", |connection| tasks::work(connection, task))
    }

    fn assigned(&self, tasks: &[TaskRef]) -> Result<Vec<Option<TaskWork>>, StoreError> {
        self.read("the work of tasks", |connection| {
            let one = |task: &TaskRef| {
                let Some(work) = tasks::work(connection, *task)? else { return Ok(None) };
                Ok(tasks::get(connection, task.task)?.map(|row| TaskWork { row, work }))
            };
            tasks.iter().map(one).collect()
        })
    }

    fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<AttemptRow>, StoreError> {
        self.read("attempts", |connection| attempts::list(connection, filter))
    }

    fn results(&self, task: TaskId) -> Result<Vec<ResultRow>, StoreError> {
        self.read("results", |connection| results::of_task(connection, task))
    }

    fn named_blobs(&self, digests: &[String]) -> Result<HashSet<String>, StoreError> {
        self.read("artifacts", |connection| artifacts::named(connection, digests))
    }

    fn artifacts(&self, task: TaskRef) -> Result<Vec<ArtifactRow>, StoreError> {
        self.read("artifacts", |connection| artifacts::list(connection, task))
    }

    fn artifacts_named(&self, task: TaskRef, name: &str) -> Result<Vec<ArtifactRow>, StoreError> {
        self.read("artifacts", |connection| artifacts::of_name(connection, task, name))
    }

    fn history(&self, subject: &Subject, cursor: Option<&str>, limit: usize) -> Result<HistoryPage, StoreError> {
        let size = page_size(limit);
        let (key, number) = history_cursor(cursor)?;
        let lines = self.read("a history", |connection| history::list(connection, subject, key, size + 1))?;
        let numbered = (number + 1..).zip(lines).map(|(number, (key, line))| (key, (number, line))).collect();
        let page = page_of(numbered, size, |(key, (number, _)): &(u64, (u64, _))| format!("{key}.{number}"));
        Ok(Page { items: page.items.into_iter().map(|(_, line)| line).collect(), next: page.next })
    }

    fn events(&self, after: Option<(CommitNo, u32)>, limit: usize) -> Result<EventPage, StoreError> {
        let Some(after) = after else { return Ok(EventPage::Events(Vec::new())) };
        self.read("events", |connection| {
            if leadership::swept(connection)?.is_some_and(|swept| after < swept) {
                return Ok(EventPage::TooOld);
            }
            Ok(EventPage::Events(events::after(connection, after, page_size(limit))?))
        })
    }

    fn runs(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<RunRow>, StoreError> {
        let (cursor, size) = (number_cursor(cursor)?, page_size(limit));
        let rows = self.read("runs", |connection| runs::list(connection, filter, cursor, size + 1))?;
        Ok(page_of(rows, size, |row: &RunRow| row.id.0.to_string()))
    }

    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StoreError> {
        self.read("a run", |connection| {
            let Some(row) = runs::get(connection, run)? else { return Ok(None) };
            let (source, inputs, graph) = runs::spec_of(connection, run)?;
            Ok(Some(RunDetail { row, source, inputs, graph, nodes: nodes::of_run(connection, run)? }))
        })
    }

    fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.read("workers", workers::by_name)
    }

    fn worker(&self, name: &WorkerName) -> Result<Option<WorkerRow>, StoreError> {
        self.read("workers", |connection| workers::named(connection, name))
    }

    fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.read("tokens", |connection| tokens::one_of(connection, hash))
    }

    fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.read("tokens", tokens::all)
    }
}

/// The last line's key and number.
fn history_cursor(cursor: Option<&str>) -> Result<(u64, u64), StoreError> {
    let Some(text) = cursor else { return Ok((0, 0)) };
    let parsed = text.split_once('.').and_then(|(key, number)| Some((key.parse().ok()?, number.parse().ok()?)));
    parsed.ok_or_else(|| bad_cursor(text))
}

fn ended_task(connection: &Connection, task: TaskId) -> rusqlite::Result<Option<EndedTask>> {
    let Some(row) = tasks::get(connection, task)?.filter(|row| row.unit.state.is_ended()) else { return Ok(None) };
    let spec = tasks::spec_of(connection, task)?;
    Ok(Some(EndedTask { row, spec, elements: elements::of_task(connection, task, None, -1)? }))
}

fn ended_run(connection: &Connection, run: RunId) -> rusqlite::Result<Option<EndedRun>> {
    let Some(row) = runs::get(connection, run)?.filter(|row| row.state.is_ended()) else { return Ok(None) };
    let (_, _, graph) = runs::spec_of(connection, run)?;
    Ok(Some(EndedRun { row, graph, nodes: nodes::of_run(connection, run)? }))
}
