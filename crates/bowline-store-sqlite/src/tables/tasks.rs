//! Tasks, with what never changes about them in tables of their own: the description, the work of
//! elements that differ, labels and resources to find them by, and what they need.

mod list;
mod sweep;

use std::collections::BTreeSet;
use std::sync::Arc;

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, NodeIndex, Round, RunId, TaskId, TaskRef, Ticket};
use bowline_core::resource::Ask;
use bowline_core::row::{AttemptRow, Loaded, NewTaskRow, TaskRow};
use bowline_core::spec::{TaskSpec, Work};
use bowline_core::state::StateKind;
use bowline_store::CommitError;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::firsts::{self, Firsts};
use super::history::Lines;
use super::unit::unit_columns;
use super::{Written, artifacts, attempts, elements, history, results, unit};
use crate::codec::{Columns, int, json, unreadable};
use crate::writer::{Binding, Writer, one};

pub(crate) use list::list;
pub(crate) use sweep::{of_run, removable, run_is_held};

macro_rules! columns {
    () => {
        concat!(
            "t.id, t.version, t.namespace, t.name, t.action, t.priority, t.run, t.node, t.step, t.created_by, \
             t.submitted_at, t.round, t.round_at, t.ticket, t.ticket_at, t.paused, t.array, ",
            unit_columns!()
        )
    };
}
use columns;

const INSERT: &str = concat!(
    "INSERT OR IGNORE INTO tasks (version, priority, round, round_at, ticket, ticket_at, paused, array, ",
    unit_columns!(),
    ", id, lines, namespace, name, action, run, node, step, created_by, submitted_at, first_key, first) VALUES \
     (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, \
     ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)"
);
macro_rules! update {
    ($more:literal, $where:literal) => {
        [update!($more, "", $where, ""), update!($more, first!(), $where, first_where!())]
    };
    ($more:expr, $first:expr, $where:expr, $first_where:expr) => {
        concat!(
            "UPDATE tasks SET version = ?1, priority = ?2, round = ?3, round_at = ?4, ticket = ?5, ticket_at = ?6, \
             paused = ?7, array = ?8, state = ?9, since = ?10, phase = ?11, attempt = ?12, generation = ?13, \
             until = ?14, failures = ?15, losses = ?16, outcome = ?17, waiting_at = ?18, ready_at = ?19, \
             started_at = ?20, held = ?22, lines = ifnull(lines, '') || ?25",
            $more,
            $first,
            $where,
            " AND id = ?24 AND version = ?1 - 1",
            $first_where
        )
    };
}
// What a row takes along of its task's first attempt, and what it must have said of it until then.
macro_rules! first {
    () => {
        ", first_key = ?27, first = ?28"
    };
}
macro_rules! first_where {
    () => {
        " AND first_key IS ?26 AND (?26 IS NOT NULL OR NOT EXISTS (SELECT 1 FROM attempts WHERE task = ?24 AND \
         element = -1 AND generation = (?27 >> 32) & 4294967295 AND attempt = 1))"
    };
}
// Most updates leave the worker or the end as it is, and the indexes over that alone: SQLite takes an entry out and puts
// it in again wherever its column is among those that are set.
// Of each: the row alone, and with its task's first attempt.
const UPDATE_NEITHER: [&str; 2] = update!("", " WHERE worker IS ?23 AND ended_at IS ?21");
const UPDATE_WORKER: [&str; 2] = update!(", worker = ?23", " WHERE ended_at IS ?21");
const UPDATE_END: [&str; 2] = update!(", ended_at = ?21", " WHERE worker IS ?23");
const UPDATE_BOTH: [&str; 2] = update!(", worker = ?23, ended_at = ?21", " WHERE 1");
const PUT_SPEC: &str = "INSERT INTO task_specs (task, spec) VALUES (?1, ?2)";
const PUT_WORK: &str = "INSERT INTO task_works (task, place, work) VALUES (?1, ?2, ?3)";
const PUT_LABEL: &str = "INSERT OR IGNORE INTO task_labels (key, value, task) VALUES (?1, ?2, ?3)";
const PUT_NEED: &str = "INSERT OR IGNORE INTO task_needs (needed, task) VALUES (?1, ?2)";
const PUT_RESOURCE: &str = "INSERT OR IGNORE INTO task_resources (resource, task) VALUES (?1, ?2)";
const ONE: &str = concat!("SELECT ", columns!(), " FROM tasks AS t WHERE id = ?1");
const UNFINISHED: &str = concat!(
    "SELECT ",
    columns!(),
    ", t.first_key, t.first, s.spec FROM tasks AS t INDEXED BY tasks_open JOIN task_specs AS s ON s.task = t.id \
     WHERE t.ended_at IS NULL ORDER BY t.id"
);
const SPECS: &str = "SELECT task, spec FROM task_specs WHERE task BETWEEN ?1 AND ?2";
const SPEC: &str = "SELECT spec FROM task_specs WHERE task = ?1";
const WORK: &str = "SELECT work FROM task_works WHERE task = ?1 AND place = ?2";
const STATE: &str = "SELECT state FROM tasks WHERE id = ?1";
const FORGET: &str = "DELETE FROM tasks WHERE id BETWEEN ?1 AND ?2";
const FORGET_SPECS: &str = "DELETE FROM task_specs WHERE task BETWEEN ?1 AND ?2";
const FORGET_WORKS: &str = "DELETE FROM task_works WHERE task BETWEEN ?1 AND ?2";
const FORGET_LABEL: &str = "DELETE FROM task_labels WHERE key = ?1 AND value = ?2 AND task = ?3";
const FORGET_NEED: &str = "DELETE FROM task_needs WHERE needed = ?1 AND task = ?2";
const FORGET_RESOURCE: &str = "DELETE FROM task_resources WHERE resource = ?1 AND task = ?2";

/// Binds what may change, ?1 to ?23.
fn bind_changing<'w, 'c>(binding: Binding<'w, 'c>, row: &TaskRow) -> rusqlite::Result<Binding<'w, 'c>> {
    binding
        .put(row.version)?
        .put(row.priority)?
        .put(row.round.0)?
        .time(row.round_at)?
        .u64(row.ticket.0)?
        .time_if_any(row.ticket_at)?
        .json_if_any(row.paused.as_ref())?
        .json_if_any(row.array.as_ref())?
        .unit(&row.unit)
}

/// The texts that go into rows from elsewhere in the same commit.
pub(crate) struct Along<'b> {
    pub(crate) lines: Lines<'b>,
    pub(crate) firsts: Firsts<'b>,
    spec: Option<(&'b Arc<TaskSpec>, String)>,
}

impl<'b> Along<'b> {
    pub(crate) fn new(commit: CommitNo, batch: &'b Batch) -> Self {
        Self { lines: Lines::new(commit, batch), firsts: Firsts::new(batch), spec: None }
    }

    /// A description as text. Tasks that were submitted alike have the same one.
    fn spec(&mut self, spec: &'b Arc<TaskSpec>) -> rusqlite::Result<&str> {
        let last = self.spec.take().filter(|(last, _)| Arc::ptr_eq(last, spec));
        let (_, text) = self.spec.insert(match last {
            Some(last) => last,
            None => (spec, json(&**spec)?),
        });
        Ok(text)
    }
}

pub(crate) fn insert<'b>(writer: &mut Writer<'_>, new: &'b NewTaskRow, along: &mut Along<'b>) -> Written {
    let row = &new.row;
    let first = along.firsts.of(row)?.filter(|first| first.was.is_none());
    let first = match first {
        Some(first) if !attempts::is_there(writer.connection(), first.attempt)? => Some(first),
        _ => None,
    };
    let touched = if row.version == 1 {
        bind_changing(writer.bind(INSERT)?, row)?
            .u64(row.id.0)?
            .put(along.lines.of(row)?)?
            .put(row.namespace.as_str())?
            .put(row.name.as_deref())?
            .put(&row.action)?
            .put(row.run.map(|(run, _)| int(run.0)))?
            .put(row.run.map(|(_, node)| node.0))?
            .put(row.step.as_ref().map(|step| step.as_str().to_owned()))?
            .put(&*row.created_by.0)?
            .time(row.submitted_at)?
            .put(first.as_ref().map(|first| first.key))?
            .put(first.as_ref().map(|first| first.text.as_str()))?
            .run()?
    } else {
        0
    };
    one(touched, "tasks", row.id)?;
    if let Some(first) = &first {
        along.firsts.taken(first);
    }
    writer.bind(PUT_SPEC)?.u64(row.id.0)?.put(along.spec(&new.spec)?)?.run()?;
    for (place, work) in (0_i64..).zip(new.elements.iter()) {
        writer.bind(PUT_WORK)?.u64(row.id.0)?.put(place)?.json(work)?.run()?;
    }
    for (key, value) in &new.spec.labels {
        writer.bind(PUT_LABEL)?.put(key)?.put(value)?.u64(row.id.0)?.run()?;
    }
    for name in new.spec.resources.iter().filter_map(Ask::name) {
        writer.bind(PUT_RESOURCE)?.put(name.as_str())?.u64(row.id.0)?.run()?;
    }
    for needed in &new.spec.after {
        writer.bind(PUT_NEED)?.u64(needed.task.task.0)?.u64(row.id.0)?.run()?;
    }
    Ok(())
}

/// What a task is called and where it belongs stays as it was inserted.
pub(crate) fn update(writer: &mut Writer<'_>, row: &TaskRow, along: &mut Along<'_>) -> Written {
    let likely = match row.unit.state {
        StateKind::Assigned => UPDATE_WORKER,
        state if state.is_ended() => UPDATE_END,
        _ => UPDATE_NEITHER,
    };
    let (first, lines) = (along.firsts.of(row)?, along.lines.of(row)?);
    let mut touched = 0;
    if let Some(first) = &first {
        for [_, sql] in [likely, UPDATE_BOTH] {
            if row.version > 1 && touched == 0 {
                let binding = bind_changing(writer.bind(sql)?, row)?.u64(row.id.0)?.put(lines)?;
                touched = binding.put(first.was)?.put(first.key)?.put(&first.text)?.run()?;
            }
        }
        if touched == 1 {
            along.firsts.taken(first);
            return Ok(());
        }
    }
    // Its attempt, if one changes, has a row of its own.
    for [sql, _] in [likely, UPDATE_BOTH] {
        if row.version > 1 && touched == 0 {
            touched = bind_changing(writer.bind(sql)?, row)?.u64(row.id.0)?.put(lines)?.run()?;
        }
    }
    Ok(one(touched, "tasks", row.id)?)
}

/// Removes a task with everything that hangs on it.
pub(crate) fn forget(writer: &mut Writer<'_>, task: TaskId) -> Written {
    forget_range(writer, (task, task))
}

/// Removes tasks with everything that hangs on them. Those whose numbers lie side by side go together.
pub(crate) fn forget_all(writer: &mut Writer<'_>, tasks: &[TaskId]) -> Written {
    let mut tasks = tasks.to_vec();
    tasks.sort_unstable();
    tasks.chunk_by(|one, next| one.next() == *next).try_for_each(|tasks| match tasks {
        [first, .., last] => forget_range(writer, (*first, *last)),
        [task] => forget(writer, *task),
        [] => Ok(()),
    })
}

/// Removes every task from the first to the last: all of them are there.
fn forget_range(writer: &mut Writer<'_>, (first, last): (TaskId, TaskId)) -> Written {
    forget_marks(writer, (first, last))?;
    writer.bind(FORGET_SPECS)?.u64(first.0)?.u64(last.0)?.run()?;
    writer.bind(FORGET_WORKS)?.u64(first.0)?.u64(last.0)?.run()?;
    elements::forget(writer, (first, last))?;
    attempts::forget(writer, (first, last))?;
    results::forget(writer, (first, last))?;
    artifacts::forget(writer, (first, last))?;
    history::forget_tasks(writer, (first, last))?;
    let touched = writer.bind(FORGET)?.u64(first.0)?.u64(last.0)?.run()?;
    let expected = usize::try_from(last.0 - first.0 + 1).unwrap_or(usize::MAX);
    if touched == expected {
        return Ok(());
    }
    Err(CommitError::RowCount { table: format!("tasks {first} to {last}"), touched, expected }.into())
}

/// What they are found by.
fn forget_marks(writer: &mut Writer<'_>, (first, last): (TaskId, TaskId)) -> Written {
    let mut statement = writer.connection().prepare_cached(SPECS)?;
    let mut rows = statement.query(params![int(first.0), int(last.0)])?;
    let mut known = Known::default();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let task = TaskId(columns.u64()?);
        let spec = known.spec(&mut columns)?;
        for (key, value) in &spec.labels {
            writer.bind(FORGET_LABEL)?.put(key)?.put(value)?.u64(task.0)?.run()?;
        }
        for name in spec.resources.iter().filter_map(Ask::name) {
            writer.bind(FORGET_RESOURCE)?.put(name.as_str())?.u64(task.0)?.run()?;
        }
        for needed in &spec.after {
            writer.bind(FORGET_NEED)?.u64(needed.task.task.0)?.u64(task.0)?.run()?;
        }
    }
    Ok(())
}

/// The description that was read last: who submits many submits equal ones, which are understood once.
#[derive(Default)]
struct Known {
    last: Option<(String, Arc<TaskSpec>)>,
}

impl Known {
    /// The description in the next column.
    fn spec(&mut self, columns: &mut Columns<'_, '_>) -> rusqlite::Result<Arc<TaskSpec>> {
        let place = columns.place();
        let text = columns.text()?;
        if let Some((last, spec)) = &self.last
            && last == text
        {
            return Ok(Arc::clone(spec));
        }
        let spec = serde_json::from_str(text).map_err(|error| unreadable(place, error))?;
        let (_, spec) = self.last.insert((text.to_owned(), Arc::new(spec)));
        Ok(Arc::clone(spec))
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    read_columns(&mut Columns::of(row))
}

fn read_columns(columns: &mut Columns<'_, '_>) -> rusqlite::Result<TaskRow> {
    let id = TaskId(columns.u64()?);
    let version = columns.get()?;
    let (namespace, name, action) = (columns.name()?, columns.get()?, columns.get()?);
    let priority = columns.get()?;
    let (run, node): (Option<i64>, Option<u32>) = (columns.get()?, columns.get()?);
    Ok(TaskRow {
        id,
        version,
        namespace,
        name,
        action,
        priority,
        run: run.map(|run| RunId(run.cast_unsigned())).zip(node.map(NodeIndex)),
        step: columns.name_if_any()?,
        created_by: columns.actor()?,
        submitted_at: columns.time()?,
        round: Round(columns.get()?),
        round_at: columns.time()?,
        ticket: Ticket(columns.u64()?),
        ticket_at: columns.time_if_any()?,
        paused: columns.json_if_any()?,
        array: columns.json_if_any()?,
        unit: unit::read(columns)?,
    })
}

pub(crate) fn get(connection: &Connection, task: TaskId) -> rusqlite::Result<Option<TaskRow>> {
    connection.prepare_cached(ONE)?.query_row([int(task.0)], read).optional()
}

pub(crate) fn spec(connection: &Connection, task: TaskId) -> rusqlite::Result<Option<Arc<TaskSpec>>> {
    let mut statement = connection.prepare_cached(SPEC)?;
    statement.query_row([int(task.0)], |row| Columns::of(row).json().map(Arc::new)).optional()
}

/// The description of a task whose row is there.
pub(crate) fn spec_of(connection: &Connection, task: TaskId) -> rusqlite::Result<Arc<TaskSpec>> {
    spec(connection, task)?.ok_or_else(|| unreadable(0, format!("task {task} has no description")))
}

/// The work of a task or element: its own, or what all of them have in common.
pub(crate) fn work(connection: &Connection, task: TaskRef) -> rusqlite::Result<Option<Arc<Work>>> {
    let Some(spec) = spec(connection, task.task)? else { return Ok(None) };
    let Some(index) = task.index else { return Ok(Some(Arc::new(spec.work.clone()))) };
    let Some(place) = spec.array.as_ref().and_then(|array| array.place_of(index)) else { return Ok(None) };
    let mut statement = connection.prepare_cached(WORK)?;
    let own: Option<Work> =
        statement.query_row(params![int(task.task.0), place], |row| Columns::of(row).json()).optional()?;
    Ok(Some(Arc::new(own.unwrap_or_else(|| spec.work.clone()))))
}

/// The state of a task.
pub(crate) fn state(connection: &Connection, task: TaskId) -> rusqlite::Result<Option<StateKind>> {
    connection.prepare_cached(STATE)?.query_row([int(task.0)], |row| Columns::of(row).state()).optional()
}

/// What else is to be loaded of unfinished tasks.
#[derive(Default)]
pub(crate) struct About {
    /// Their ids.
    pub(crate) open: Vec<TaskId>,
    /// Whom they need.
    pub(crate) needed: BTreeSet<TaskRef>,
    /// First attempts that lie in their rows, and live or were lost.
    pub(crate) firsts: Vec<AttemptRow>,
}

impl About {
    /// Goes through those of them that have rows in another table, of which `next` finds the first task from one on.
    /// Most have none, and neither have most of the table's tasks an end to come: whichever is rarer is leapt along.
    pub(crate) fn each_with_rows(
        &self,
        next: &mut CachedStatement<'_>,
        mut visit: impl FnMut(TaskId) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut rest = self.open.as_slice();
        while let Some(first) = rest.first() {
            let found = next.query_row([int(first.0)], |row| Columns::of(row).u64()).optional()?;
            let Some(found) = found.map(TaskId) else { break };
            rest = &rest[rest.partition_point(|id| *id < found)..];
            if rest.first() == Some(&found) {
                rest = &rest[1..];
                visit(found)?;
            }
        }
        Ok(())
    }
}

/// Hands over unfinished tasks, by id.
pub(crate) fn load(connection: &Connection, each: &mut dyn FnMut(Loaded)) -> rusqlite::Result<About> {
    let mut about = About::default();
    let mut known = Known::default();
    let mut statement = connection.prepare_cached(UNFINISHED)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let task = read_columns(&mut columns)?;
        let first = firsts::read_columns(&mut columns, (task.id, task.submitted_at))?;
        about.firsts.extend(first.filter(attempts::is_wanted));
        let spec = known.spec(&mut columns)?;
        about.needed.extend(spec.after.iter().map(|dependency| dependency.task));
        about.open.push(task.id);
        each(Loaded::Task(Box::new(task), spec));
    }
    Ok(about)
}
