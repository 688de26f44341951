//! History: one line a transition. A line's key within its subject is the commit's number with its
//! place in that commit, so that writing it asks nothing; its number for people is counted when it
//! is read, and the cursor carries both.
//!
//! The row of a task is written again at nearly every transition. So the lines of its first versions lie in that row,
//! appended as JSON arrays with a newline after each: commit, place, time since the submit, what, attempt, actor, reason.
//! Those of later versions, of elements and of everything else are rows of their own: a task that is tried ten thousand
//! times does not drag all of its past along.

use std::ops::Range;

use bowline_core::effect::Batch;
use bowline_core::id::{AttemptNo, CommitNo, RunId, TaskId, TaskRef};
use bowline_core::name::{Actor, Namespace};
use bowline_core::row::{HistoryRow, Row as Changed, Subject, TaskRow};
use bowline_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Written;
use crate::codec::{Columns, element_code, int, push_json, unreadable};
use crate::writer::Writer;

const PUT_TASK: &str = "INSERT INTO task_history (namespace, at, what, attempt, actor, reason, seq, task, element) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const PUT_OTHER: &str = "INSERT INTO other_history (namespace, at, what, attempt, actor, reason, seq, subject) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const OF_TASK: &str = "SELECT seq, namespace, at, what, attempt, actor, reason FROM task_history \
     WHERE seq > ?1 AND task = ?3 AND element = ?4 ORDER BY seq LIMIT ?2";
const OF_OTHER: &str = "SELECT seq, namespace, at, what, attempt, actor, reason FROM other_history \
     WHERE seq > ?1 AND subject = ?3 ORDER BY seq LIMIT ?2";
const IN_ROW: &str = "SELECT namespace, submitted_at, lines FROM tasks WHERE id = ?1 AND lines IS NOT NULL";
const FORGET_TASKS: &str = "DELETE FROM task_history WHERE task BETWEEN ?1 AND ?2";
const FORGET_OTHER: &str = "DELETE FROM other_history WHERE subject = ?1";

/// Bits of a key that hold the place within its commit.
const PLACE_BITS: u32 = 24;
/// A task's row takes along the lines of so many of its versions.
const VERSIONS_IN_ROW: u32 = 8;

/// A line's key.
fn key(commit: u64, place: u64) -> u64 {
    commit << PLACE_BITS | place
}

/// A commit's lines: those that lie in a task's row, and the others.
pub(crate) struct Lines<'b> {
    commit: CommitNo,
    all: &'b [HistoryRow],
    /// Places of the lines of tasks as a whole, by task.
    of_tasks: Vec<(TaskId, usize)>,
    /// Of each line, whether it lies in a row that is still to be written.
    in_row: Vec<bool>,
    /// Used again and again.
    text: Vec<u8>,
}

impl<'b> Lines<'b> {
    /// Looks which go where.
    pub(crate) fn new(commit: CommitNo, batch: &'b Batch) -> Self {
        let all = &batch.history;
        let mut of_tasks: Vec<_> = (0..all.len()).filter_map(|place| Some((whole(&all[place])?, place))).collect();
        of_tasks.sort_unstable();
        let mut lines = Self { commit, all, of_tasks, in_row: vec![false; all.len()], text: Vec::new() };
        for row in &batch.rows {
            match row {
                Changed::NewTask(new) => lines.mark(&new.row),
                Changed::Task(row) => lines.mark(row),
                _ => {}
            }
        }
        lines
    }

    fn places(&self, task: TaskId) -> Range<usize> {
        let from = self.of_tasks.partition_point(|(other, _)| *other < task);
        let count = self.of_tasks[from..].iter().take_while(|(other, _)| *other == task).count();
        from..from + count
    }

    fn mark(&mut self, row: &TaskRow) {
        if row.version > VERSIONS_IN_ROW {
            return;
        }
        for at in self.places(row.id) {
            let place = self.of_tasks[at].1;
            self.in_row[place] = self.all[place].namespace.as_ref() == Some(&row.namespace);
        }
    }

    /// What this row takes along: to be appended to what it has. A row that comes twice takes it along once.
    pub(crate) fn of(&mut self, row: &TaskRow) -> rusqlite::Result<&str> {
        self.text.clear();
        for at in self.places(row.id) {
            let place = self.of_tasks[at].1;
            if std::mem::take(&mut self.in_row[place]) {
                let line = &self.all[place];
                let since = line.at.0.wrapping_sub(row.submitted_at.0);
                let (actor, reason) = (&*line.actor.0, &line.reason);
                let line = (self.commit.0, place, since, &line.what, line.attempt.0, actor, reason);
                push_json(&mut self.text, &line)?;
                self.text.push(b'\n');
            }
        }
        Ok(str::from_utf8(&self.text)?)
    }
}

/// The task as a whole that a line is about.
fn whole(line: &HistoryRow) -> Option<TaskId> {
    match line.subject {
        Subject::Task(TaskRef { task, index: None }) => Some(task),
        _ => None,
    }
}

/// How a subject that is no task is keyed.
fn subject_text(subject: &Subject) -> String {
    match subject {
        Subject::Task(task) => format!("task:{task}"),
        Subject::Run(run) => format!("run:{run}"),
        Subject::Worker(worker) => format!("worker:{worker}"),
        Subject::Namespace(Some(namespace)) => format!("namespace:{namespace}"),
        Subject::Resource(resource) => format!("resource:{resource}"),
        Subject::Namespace(None) => "everything".to_owned(),
    }
}

/// Appends a commit's lines that lie in no row.
pub(crate) fn append(writer: &mut Writer<'_>, lines: &Lines<'_>) -> Written {
    for ((place, line), in_row) in (0_u64..).zip(lines.all).zip(&lines.in_row) {
        if *in_row {
            continue;
        }
        let seq = key(lines.commit.0, place);
        let sql = if matches!(line.subject, Subject::Task(_)) { PUT_TASK } else { PUT_OTHER };
        let binding = writer
            .bind(sql)?
            .put(line.namespace.as_ref().map(Namespace::as_str))?
            .time(line.at)?
            .put(&line.what)?
            .put(line.attempt.0)?
            .put(&*line.actor.0)?
            .put(&line.reason)?
            .u64(seq)?;
        match &line.subject {
            Subject::Task(TaskRef { task, index }) => binding.u64(task.0)?.put(element_code(*index))?.run()?,
            other => binding.put(subject_text(other))?.run()?,
        };
    }
    Ok(())
}

pub(crate) fn forget_tasks(writer: &mut Writer<'_>, (first, last): (TaskId, TaskId)) -> Written {
    writer.bind(FORGET_TASKS)?.u64(first.0)?.u64(last.0)?.run()?;
    Ok(())
}

pub(crate) fn forget_run(writer: &mut Writer<'_>, run: RunId) -> Written {
    writer.bind(FORGET_OTHER)?.put(subject_text(&Subject::Run(run)))?.run()?;
    Ok(())
}

/// At most `size` lines of a subject after a key, each with its own.
pub(crate) fn list(
    connection: &Connection,
    subject: &Subject,
    after: u64,
    size: usize,
) -> rusqlite::Result<Vec<(u64, HistoryRow)>> {
    let limit = i64::try_from(size).unwrap_or(i64::MAX);
    let read = |row: &Row<'_>| read(row, subject);
    match subject {
        Subject::Task(task) => {
            let mut lines = if task.index.is_none() { in_row(connection, *task, after)? } else { Vec::new() };
            let mut statement = connection.prepare_cached(OF_TASK)?;
            let others = params![int(after), limit, int(task.task.0), element_code(task.index)];
            for line in statement.query_map(others, read)? {
                lines.push(line?);
            }
            lines.sort_by_key(|(key, _)| *key);
            lines.truncate(size);
            Ok(lines)
        }
        other => connection
            .prepare_cached(OF_OTHER)?
            .query_map(params![int(after), limit, subject_text(other)], read)?
            .collect(),
    }
}

/// The lines in a task's row after a key.
fn in_row(connection: &Connection, task: TaskRef, after: u64) -> rusqlite::Result<Vec<(u64, HistoryRow)>> {
    let read = |row: &Row<'_>| {
        let mut columns = Columns::of(row);
        let (namespace, submitted_at): (Namespace, Timestamp) = (columns.name()?, columns.time()?);
        let mut lines = Vec::new();
        for text in columns.text()?.lines() {
            let (commit, place, since, what, attempt, actor, reason): (u64, u64, u64, String, u32, String, String) =
                serde_json::from_str(text).map_err(|error| unreadable(2, error))?;
            let line = HistoryRow {
                subject: Subject::Task(task),
                namespace: Some(namespace.clone()),
                at: Timestamp(submitted_at.0.wrapping_add(since)),
                what,
                attempt: AttemptNo(attempt),
                actor: Actor(actor.into()),
                reason,
            };
            lines.push((key(commit, place), line));
        }
        lines.retain(|(key, _)| *key > after);
        Ok(lines)
    };
    let found = connection.prepare_cached(IN_ROW)?.query_row([int(task.task.0)], read).optional()?;
    Ok(found.unwrap_or_default())
}

/// Moves all lines that lie in tasks' rows into rows of their own.
pub(crate) fn out_of_rows(connection: &Connection) -> rusqlite::Result<()> {
    let mut with_lines = connection.prepare("SELECT id FROM tasks WHERE lines IS NOT NULL")?;
    let mut put = connection.prepare(PUT_TASK)?;
    let mut tasks = with_lines.query([])?;
    while let Some(row) = tasks.next()? {
        let task = TaskRef::whole(TaskId(Columns::of(row).u64()?));
        for (key, line) in in_row(connection, task, 0)? {
            let namespace = line.namespace.as_ref().map(Namespace::as_str);
            let (at, attempt) = (int(line.at.0), line.attempt.0);
            put.execute(params![
                namespace,
                at,
                line.what,
                attempt,
                &*line.actor.0,
                line.reason,
                int(key),
                int(task.task.0),
                element_code(None)
            ])?;
        }
    }
    Ok(())
}

fn read(row: &Row<'_>, subject: &Subject) -> rusqlite::Result<(u64, HistoryRow)> {
    let mut columns = Columns::of(row);
    let key = columns.u64()?;
    let line = HistoryRow {
        subject: subject.clone(),
        namespace: columns.name_if_any()?,
        at: columns.time()?,
        what: columns.get()?,
        attempt: AttemptNo(columns.get()?),
        actor: columns.actor()?,
        reason: columns.get()?,
    };
    Ok((key, line))
}
