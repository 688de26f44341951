//! A task's first attempt lies in that task's row, which is written whenever the attempt changes: most tasks never have
//! another one. Further attempts, those of elements, and those that a store had before this rule have rows of their own
//! in `attempts`.
//!
//! `first_key` says which attempt it is and what was written of it last, so that a write can be held against it;
//! `first` is a JSON array: round, worker, incarnation, session, assigned at, started at, ended at, how, outcome.
//! Times count from the task's submit.

use std::collections::BTreeSet;

use bowline_core::effect::Batch;
use bowline_core::id::{
    AttemptNo, AttemptRef, Fence, Generation, Incarnation, Round, SessionId, TaskId, TaskRef, WorkerId,
};
use bowline_core::row::{AttemptRow, Row as Changed, TaskRow};
use bowline_core::state::{AttemptEnd, Outcome};
use bowline_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::attempts;
use crate::codec::{Columns, end_code, int, json, unreadable};
use crate::writer::Writer;

const OF: &str = "SELECT id, submitted_at, first_key, first FROM tasks WHERE id = ?1 AND first IS NOT NULL";
const ALL: &str = "SELECT id, submitted_at, first_key, first FROM tasks WHERE first IS NOT NULL ORDER BY id";
const SUBMITTED: &str = "SELECT submitted_at FROM tasks WHERE id = ?1 AND first_key = ?2";
const UPDATE: &str = "UPDATE tasks SET first_key = ?1, first = ?2 WHERE id = ?3 AND first_key = ?4";

/// The number that attempts in rows have.
const FIRST: AttemptNo = AttemptNo(1);

type Kept = (u32, Option<u32>, u32, u64, u64, Option<u64>, Option<u64>, Option<i64>, Option<Outcome>);

/// Which attempt, and what was written of it last.
fn key(generation: Generation, version: u32) -> i64 {
    int(u64::from(generation.0) << 32 | u64::from(version))
}

/// Whether it lies in its task's row, where there is room for it.
pub(super) fn may_lie(attempt: AttemptRef) -> bool {
    attempt.task.index.is_none() && attempt.fence.attempt == FIRST
}

/// What the row of a task takes along of its first attempt.
#[derive(Debug)]
pub(crate) struct First {
    pub(crate) attempt: AttemptRef,
    /// What the row must say of it until now: nothing where this is the first that is said.
    pub(crate) was: Option<i64>,
    /// What it says from now on.
    pub(crate) key: i64,
    /// As it is kept.
    pub(crate) text: String,
    place: usize,
}

/// A commit's changes of attempts that may lie in rows, by task.
pub(crate) struct Firsts<'b> {
    of: Vec<(TaskId, &'b AttemptRow)>,
    /// Of each whether it has been written.
    written: Vec<bool>,
}

impl<'b> Firsts<'b> {
    /// Looks which are there. What a commit changes twice, or of a task that it removes, is left alone.
    pub(crate) fn new(batch: &'b Batch) -> Self {
        let (mut of, mut gone): (Vec<(TaskId, &AttemptRow)>, BTreeSet<TaskId>) = (Vec::new(), BTreeSet::new());
        for row in &batch.rows {
            match row {
                Changed::Attempt(row) if may_lie(row.attempt) => of.push((row.attempt.task.task, row)),
                Changed::TaskGone(task) => {
                    gone.insert(*task);
                }
                _ => {}
            }
        }
        // In order already, as the engine writes them.
        of.sort_by_key(|(task, _)| *task);
        let twice: BTreeSet<TaskId> = of.windows(2).filter(|two| two[0].0 == two[1].0).map(|two| two[0].0).collect();
        of.retain(|(task, _)| !gone.contains(task) && !twice.contains(task));
        Self { written: vec![false; of.len()], of }
    }

    fn place(&self, task: TaskId) -> Option<usize> {
        self.of.binary_search_by_key(&task, |(task, _)| *task).ok()
    }

    /// What this row takes along, where something is left to be taken.
    pub(crate) fn of(&self, task: &TaskRow) -> rusqlite::Result<Option<First>> {
        let Some(place) = self.place(task.id).filter(|place| !self.written[*place]) else { return Ok(None) };
        First::of(self.of[place].1, task.submitted_at, place).map(Some)
    }

    /// The row took it along.
    pub(crate) fn taken(&mut self, first: &First) {
        self.written[first.place] = true;
    }

    /// Whether a row took this change along. If none has, none will from here on.
    pub(crate) fn is_taken(&mut self, row: &AttemptRow) -> bool {
        let place = self.place(row.attempt.task.task).filter(|place| std::ptr::eq(self.of[*place].1, row));
        place.is_some_and(|place| std::mem::replace(&mut self.written[place], true))
    }
}

impl First {
    fn of(row: &AttemptRow, submitted_at: Timestamp, place: usize) -> rusqlite::Result<Self> {
        let since = |at: Timestamp| at.0.wrapping_sub(submitted_at.0);
        let text = json(&(
            row.round.0,
            row.worker.map(|worker| worker.0),
            row.incarnation.0,
            row.session.0,
            since(row.assigned_at),
            row.started_at.map(since),
            row.ended_at.map(since),
            row.end.map(end_code),
            &row.outcome,
        ))?;
        let generation = row.attempt.fence.generation;
        let was = (row.version > 1).then(|| key(generation, row.version - 1));
        Ok(Self { attempt: row.attempt, was, key: key(generation, row.version), text, place })
    }
}

/// Writes a change of an attempt that lies in its task's row by itself. `false`: it does not lie there.
pub(crate) fn update(writer: &mut Writer<'_>, row: &AttemptRow) -> rusqlite::Result<bool> {
    if row.version <= 1 || !may_lie(row.attempt) {
        return Ok(false);
    }
    let was = key(row.attempt.fence.generation, row.version - 1);
    let task = int(row.attempt.task.task.0);
    let mut submitted = writer.connection().prepare_cached(SUBMITTED)?;
    let submitted = submitted.query_row(params![task, was], |row| Columns::of(row).time()).optional()?;
    let Some(submitted_at) = submitted else { return Ok(false) };
    let first = First::of(row, submitted_at, 0)?;
    Ok(writer.bind(UPDATE)?.put(first.key)?.put(first.text)?.put(task)?.put(was)?.run()? == 1)
}

/// Reads one from the columns id, submitted at, key, and what is kept.
fn read(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let mut columns = Columns::of(row);
    let (task, submitted_at) = (TaskId(columns.u64()?), columns.time()?);
    read_columns(&mut columns, (task, submitted_at))?.ok_or_else(|| unreadable(2, "no first attempt"))
}

/// The first attempt of this task from the next two columns, if it lies there.
pub(super) fn read_columns(
    columns: &mut Columns<'_, '_>,
    (task, submitted_at): (TaskId, Timestamp),
) -> rusqlite::Result<Option<AttemptRow>> {
    let key: Option<i64> = columns.get()?;
    let place = columns.place();
    let Some(kept) = columns.json_if_any::<Kept>()? else { return Ok(None) };
    let key = key.ok_or_else(|| unreadable(place, "a first attempt without its key"))?.cast_unsigned();
    let (round, worker, incarnation, session, assigned, started, ended, how, outcome) = kept;
    let at = |since: u64| Timestamp(submitted_at.0.wrapping_add(since));
    let end = |code: i64| {
        let end = AttemptEnd::ALL.into_iter().find(|end| end_code(*end) == code);
        end.ok_or_else(|| unreadable(place, code))
    };
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
    let fence = Fence { generation: Generation(half(key >> 32)), attempt: FIRST };
    Ok(Some(AttemptRow {
        attempt: AttemptRef { task: TaskRef::whole(task), fence },
        version: half(key),
        round: Round(round),
        worker: worker.map(WorkerId),
        incarnation: Incarnation(incarnation),
        session: SessionId(session),
        assigned_at: at(assigned),
        started_at: started.map(at),
        ended_at: ended.map(at),
        end: how.map(end).transpose()?,
        outcome,
    }))
}

/// The first attempt of a task, where it lies in its row.
pub(crate) fn of(connection: &Connection, task: TaskId) -> rusqlite::Result<Option<AttemptRow>> {
    connection.prepare_cached(OF)?.query_row([int(task.0)], read).optional()
}

/// Moves all attempts that lie in tasks' rows into rows of their own.
pub(crate) fn out_of_rows(connection: &Connection) -> rusqlite::Result<()> {
    let mut all = connection.prepare(ALL)?;
    let mut writer = Writer::new(connection);
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        attempts::insert(&mut writer, &read(row)?)?;
    }
    Ok(())
}
