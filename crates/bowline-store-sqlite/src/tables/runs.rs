//! Runs, with what never changes about them in a table of its own.

use std::sync::Arc;

use bowline_core::id::RunId;
use bowline_core::row::{Loaded, NewRunRow, RunRow};
use bowline_core::run::{Graph, RunState};
use bowline_core::time::Timestamp;
use bowline_store::RunFilter;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::Written;
use crate::codec::{Columns, int, unreadable};
use crate::writer::{Binding, Writer, one};

macro_rules! columns {
    () => {
        "r.id, r.version, r.namespace, r.workflow, r.state, r.created_by, r.started_at, r.ended_at, r.outcome, \
         r.result, r.paused, r.due_version"
    };
}

const INSERT: &str = "INSERT OR IGNORE INTO runs (version, state, started_at, ended_at, outcome, result, paused, \
     due_version, id, namespace, workflow, created_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const UPDATE: &str = "UPDATE runs SET version = ?1, state = ?2, started_at = ?3, ended_at = ?4, outcome = ?5, \
     result = ?6, paused = ?7, due_version = ?8 WHERE id = ?9 AND version = ?1 - 1";
const PUT_SPEC: &str = "INSERT INTO run_specs (run, source, inputs, graph) VALUES (?1, ?2, ?3, ?4)";
const ONE: &str = concat!("SELECT ", columns!(), " FROM runs AS r WHERE r.id = ?1");
const SPEC: &str = "SELECT source, inputs, graph FROM run_specs WHERE run = ?1";
const UNFINISHED: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.graph FROM runs AS r INDEXED BY runs_open JOIN run_specs AS s ON s.run = r.id \
     WHERE r.state IN ('running', 'stopping', 'finishing') ORDER BY r.id"
);
const OLD: &str = "SELECT id FROM runs INDEXED BY runs_ended WHERE ended_at IS NOT NULL AND ended_at <= ?1 \
     AND state IN ('succeeded', 'failed', 'cancelled') ORDER BY ended_at, id";
const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)";
const FORGET: &str = "DELETE FROM runs WHERE id = ?1";
const FORGET_SPEC: &str = "DELETE FROM run_specs WHERE run = ?1";

/// A run's text, inputs and shape.
pub(crate) type RunSpec = (Arc<str>, Arc<str>, Arc<Graph>);

fn bind_changing<'w, 'c>(binding: Binding<'w, 'c>, row: &RunRow) -> rusqlite::Result<Binding<'w, 'c>> {
    binding
        .put(row.version)?
        .put(row.state.name())?
        .time(row.started_at)?
        .time_if_any(row.ended_at)?
        .json_if_any(row.outcome.as_ref())?
        .put(row.result.as_deref())?
        .json_if_any(row.paused.as_ref())?
        .put(row.due_version)
}

pub(crate) fn insert(writer: &mut Writer<'_>, new: &NewRunRow) -> Written {
    let row = &new.row;
    let touched = if row.version == 1 {
        bind_changing(writer.bind(INSERT)?, row)?
            .u64(row.id.0)?
            .put(row.namespace.as_str())?
            .put(row.workflow.as_str())?
            .put(&*row.created_by.0)?
            .run()?
    } else {
        0
    };
    one(touched, "runs", row.id)?;
    writer.bind(PUT_SPEC)?.u64(row.id.0)?.put(&*new.source)?.put(&*new.inputs)?.json(&*new.graph)?.run()?;
    Ok(())
}

/// What a run is called and where it belongs stays as it was inserted.
pub(crate) fn update(writer: &mut Writer<'_>, row: &RunRow) -> Written {
    let touched = if row.version > 1 { bind_changing(writer.bind(UPDATE)?, row)?.u64(row.id.0)?.run()? } else { 0 };
    Ok(one(touched, "runs", row.id)?)
}

/// Removes a run; nodes, tasks and history are their own tables' business.
pub(crate) fn forget(writer: &mut Writer<'_>, run: RunId) -> Written {
    writer.bind(FORGET_SPEC)?.u64(run.0)?.run()?;
    writer.bind(FORGET)?.u64(run.0)?.run()?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    read_columns(&mut Columns::of(row))
}

fn read_columns(columns: &mut Columns<'_, '_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: RunId(columns.u64()?),
        version: columns.get()?,
        namespace: columns.name()?,
        workflow: columns.name()?,
        state: state(columns)?,
        created_by: columns.actor()?,
        started_at: columns.time()?,
        ended_at: columns.time_if_any()?,
        outcome: columns.json_if_any()?,
        result: columns.get()?,
        paused: columns.json_if_any()?,
        due_version: columns.get()?,
    })
}

fn state(columns: &mut Columns<'_, '_>) -> rusqlite::Result<RunState> {
    let name = columns.text()?;
    RunState::parse(name).ok_or_else(|| unreadable(4, format!("run state `{name}`")))
}

pub(crate) fn get(connection: &Connection, run: RunId) -> rusqlite::Result<Option<RunRow>> {
    connection.prepare_cached(ONE)?.query_row([int(run.0)], read).optional()
}

pub(crate) fn exists(connection: &Connection, run: RunId) -> rusqlite::Result<bool> {
    connection.prepare_cached(EXISTS)?.query_row([int(run.0)], |row| row.get(0))
}

/// What never changes about a run whose row is there.
pub(crate) fn spec_of(connection: &Connection, run: RunId) -> rusqlite::Result<RunSpec> {
    connection.prepare_cached(SPEC)?.query_row([int(run.0)], |row| {
        let mut columns = Columns::of(row);
        Ok((columns.shared_text()?, columns.shared_text()?, Arc::new(columns.json()?)))
    })
}

/// At most `size` runs before the cursor, newest first.
pub(crate) fn list(
    connection: &Connection,
    filter: &RunFilter,
    cursor: Option<u64>,
    size: usize,
) -> rusqlite::Result<Vec<RunRow>> {
    let mut sql = concat!("SELECT ", columns!(), " FROM runs AS r WHERE 1").to_owned();
    let mut values: Vec<Value> = Vec::new();
    let mut and = |condition: &str, value: Value| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(namespace) = &filter.namespace {
        and("r.namespace = ?", Value::from(namespace.as_str().to_owned()));
    }
    if let Some(workflow) = &filter.workflow {
        and("r.workflow = ?", Value::from(workflow.clone()));
    }
    if let Some(cursor) = cursor {
        and("r.id < ?", Value::from(int(cursor)));
    }
    if !filter.states.is_empty() {
        let names: Vec<String> = filter.states.iter().map(|state| format!("'{}'", state.name())).collect();
        sql.push_str(" AND r.state IN (");
        sql.push_str(&names.join(", "));
        sql.push(')');
    }
    sql.push_str(" ORDER BY r.id DESC LIMIT ?");
    values.push(Value::from(i64::try_from(size).unwrap_or(i64::MAX)));
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), read)?.collect()
}

/// Ended runs that ended by then, the oldest first.
pub(crate) fn old(connection: &Connection, by: Timestamp) -> rusqlite::Result<Vec<RunId>> {
    let mut statement = connection.prepare_cached(OLD)?;
    statement.query_map(params![int(by.0)], |row| Ok(RunId(Columns::of(row).u64()?)))?.collect()
}

pub(crate) fn load(connection: &Connection, each: &mut dyn FnMut(Loaded)) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(UNFINISHED)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let run = read_columns(&mut columns)?;
        each(Loaded::Run(Box::new(run), Arc::new(columns.json()?)));
    }
    Ok(())
}
