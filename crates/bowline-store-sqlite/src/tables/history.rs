//! History: one line a transition. A line's key within its subject is the commit's number with its
//! place in that commit, so that writing it asks nothing; its number for people is counted when it
//! is read, and the cursor carries both.

use bowline_core::id::{AttemptNo, CommitNo, RunId, TaskId, TaskRef};
use bowline_core::name::Namespace;
use bowline_core::row::{HistoryRow, Subject};
use rusqlite::{Connection, Row, params};

use super::Written;
use crate::codec::{Columns, element_code, int};
use crate::writer::Writer;

const PUT_TASK: &str = "INSERT INTO task_history (namespace, at, what, attempt, actor, reason, seq, task, element) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const PUT_OTHER: &str = "INSERT INTO other_history (namespace, at, what, attempt, actor, reason, seq, subject) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const OF_TASK: &str = "SELECT seq, namespace, at, what, attempt, actor, reason FROM task_history \
     WHERE seq > ?1 AND task = ?3 AND element = ?4 ORDER BY seq LIMIT ?2";
const OF_OTHER: &str = "SELECT seq, namespace, at, what, attempt, actor, reason FROM other_history \
     WHERE seq > ?1 AND subject = ?3 ORDER BY seq LIMIT ?2";
const FORGET_TASK: &str = "DELETE FROM task_history WHERE task = ?1";
const FORGET_OTHER: &str = "DELETE FROM other_history WHERE subject = ?1";

/// Bits of a key that hold the place within its commit.
const PLACE_BITS: u32 = 24;

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

/// Appends a commit's lines.
pub(crate) fn append(writer: &mut Writer<'_>, commit: CommitNo, lines: &[HistoryRow]) -> Written {
    for (place, line) in (0_u64..).zip(lines) {
        let seq = commit.0 << PLACE_BITS | place;
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

pub(crate) fn forget_task(writer: &mut Writer<'_>, task: TaskId) -> Written {
    writer.bind(FORGET_TASK)?.u64(task.0)?.run()?;
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
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let read = |row: &Row<'_>| read(row, subject);
    match subject {
        Subject::Task(task) => connection
            .prepare_cached(OF_TASK)?
            .query_map(params![int(after), size, int(task.task.0), element_code(task.index)], read)?
            .collect(),
        other => connection
            .prepare_cached(OF_OTHER)?
            .query_map(params![int(after), size, subject_text(other)], read)?
            .collect(),
    }
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
