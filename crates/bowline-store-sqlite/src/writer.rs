//! Writing one row: statements that stay prepared for the length of a transaction, values bound
//! from left to right, and the count of rows touched.

use std::fmt::Display;

use bowline_core::id::AttemptRef;
use bowline_core::row::Unit;
use bowline_core::time::Timestamp;
use bowline_store::CommitError;
use rusqlite::{CachedStatement, Connection, ToSql};
use serde::Serialize;

use crate::codec::{element_code, end_code, int, json, phase_code, state_code};

/// The statements of one transaction, each prepared at most once. They are told apart by where
/// their text lies, which is quicker than by what it says.
pub(crate) struct Writer<'c> {
    connection: &'c Connection,
    held: Vec<(&'static str, CachedStatement<'c>)>,
}

impl<'c> Writer<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self { connection, held: Vec::with_capacity(32) }
    }

    pub(crate) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// Begins to bind a statement's values.
    pub(crate) fn bind(&mut self, sql: &'static str) -> rusqlite::Result<Binding<'_, 'c>> {
        let held = self.held.iter().position(|(held, _)| std::ptr::eq(*held, sql));
        let at = held.unwrap_or(self.held.len());
        if held.is_none() {
            self.held.push((sql, self.connection.prepare_cached(sql)?));
        }
        Ok(Binding { statement: &mut self.held[at].1, next: 1 })
    }
}

/// A statement whose values are being bound.
pub(crate) struct Binding<'w, 'c> {
    statement: &'w mut CachedStatement<'c>,
    next: usize,
}

impl Binding<'_, '_> {
    pub(crate) fn put(mut self, value: impl ToSql) -> rusqlite::Result<Self> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(self)
    }

    pub(crate) fn u64(self, value: u64) -> rusqlite::Result<Self> {
        self.put(int(value))
    }

    pub(crate) fn time(self, at: Timestamp) -> rusqlite::Result<Self> {
        self.u64(at.0)
    }

    pub(crate) fn time_if_any(self, at: Option<Timestamp>) -> rusqlite::Result<Self> {
        self.put(at.map(|at| int(at.0)))
    }

    pub(crate) fn json(self, value: &impl Serialize) -> rusqlite::Result<Self> {
        self.put(json(value)?)
    }

    pub(crate) fn json_if_any(self, value: Option<&impl Serialize>) -> rusqlite::Result<Self> {
        self.put(value.map(json).transpose()?)
    }

    /// Task, element, generation, attempt.
    pub(crate) fn attempt(self, attempt: AttemptRef) -> rusqlite::Result<Self> {
        self.u64(attempt.task.task.0)?
            .put(element_code(attempt.task.index))?
            .put(attempt.fence.generation.0)?
            .put(attempt.fence.attempt.0)
    }

    /// A unit's values in the order of `unit_columns!`, its worker left to the caller.
    pub(crate) fn unit(self, unit: &Unit) -> rusqlite::Result<Self> {
        self.put(state_code(unit.state))?
            .time(unit.since)?
            .put(phase_code(unit.phase))?
            .put(unit.attempt.0)?
            .put(unit.generation.0)?
            .time_if_any(unit.until)?
            .put(unit.failures)?
            .put(unit.losses)?
            .json_if_any(unit.outcome.as_ref())?
            .time_if_any(unit.waiting_at)?
            .time_if_any(unit.ready_at)?
            .time_if_any(unit.started_at)?
            .time_if_any(unit.ended_at)?
            .json_if_any((!unit.held.is_empty()).then_some(&unit.held))?
            .put(unit.worker.map(|worker| worker.0))
    }

    pub(crate) fn end_if_any(self, end: Option<bowline_core::state::AttemptEnd>) -> rusqlite::Result<Self> {
        self.put(end.map(end_code))
    }

    /// Runs it; how many rows it touched does not matter.
    pub(crate) fn run(self) -> rusqlite::Result<usize> {
        self.statement.raw_execute()
    }
}

/// A statement must have touched exactly one row.
pub(crate) fn one(touched: usize, table: &str, key: impl Display) -> Result<(), CommitError> {
    if touched == 1 {
        return Ok(());
    }
    Err(CommitError::RowCount { table: format!("{table} {key}"), touched, expected: 1 })
}
