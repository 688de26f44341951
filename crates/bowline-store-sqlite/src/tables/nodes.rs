//! Nodes of runs.

use bowline_core::id::{NodeIndex, RunId};
use bowline_core::row::{Loaded, NodeRow};
use rusqlite::{Connection, Row};

use super::Written;
use crate::codec::{Columns, int};
use crate::writer::{Writer, one};

const INSERT: &str = "INSERT OR IGNORE INTO nodes (run, node, version, state, outcome, due_version) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const UPDATE: &str = "UPDATE nodes SET version = ?3, state = ?4, outcome = ?5, due_version = ?6 \
     WHERE run = ?1 AND node = ?2 AND version = ?3 - 1";
const OF_RUN: &str = "SELECT run, node, version, state, outcome, due_version FROM nodes WHERE run = ?1 ORDER BY node";
const UNFINISHED: &str = "SELECT run, node, version, state, outcome, due_version FROM nodes WHERE run IN \
     (SELECT id FROM runs INDEXED BY runs_open WHERE state IN ('running', 'stopping', 'finishing')) \
     ORDER BY run, node";
const FORGET: &str = "DELETE FROM nodes WHERE run = ?1";

pub(crate) fn put(writer: &mut Writer<'_>, row: &NodeRow) -> Written {
    let sql = if row.version == 1 { INSERT } else { UPDATE };
    let binding = writer.bind(sql)?.u64(row.run.0)?.put(row.node.0)?.put(row.version)?;
    let touched = binding.json(&row.state)?.json_if_any(row.outcome.as_ref())?.put(row.due_version)?.run()?;
    Ok(one(touched, "nodes", format_args!("{} of run {}", row.node, row.run))?)
}

pub(crate) fn forget(writer: &mut Writer<'_>, run: RunId) -> Written {
    writer.bind(FORGET)?.u64(run.0)?.run()?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<NodeRow> {
    let mut columns = Columns::of(row);
    Ok(NodeRow {
        run: RunId(columns.u64()?),
        node: NodeIndex(columns.get()?),
        version: columns.get()?,
        state: columns.json()?,
        outcome: columns.json_if_any()?,
        due_version: columns.get()?,
    })
}

pub(crate) fn of_run(connection: &Connection, run: RunId) -> rusqlite::Result<Vec<NodeRow>> {
    connection.prepare_cached(OF_RUN)?.query_map([int(run.0)], read)?.collect()
}

pub(crate) fn load(connection: &Connection, each: &mut dyn FnMut(Loaded)) -> rusqlite::Result<()> {
    for row in connection.prepare_cached(UNFINISHED)?.query_map([], read)? {
        each(Loaded::Node(Box::new(row?)));
    }
    Ok(())
}
