//! How the types of the core lie in columns: numbers, codes, JSON; and how a row is read, column by
//! column.

use std::fmt::Display;
use std::sync::Arc;

use bowline_core::id::TaskRef;
use bowline_core::name::{Actor, BadName};
use bowline_core::state::{AttemptEnd, Phase, StateKind};
use bowline_core::time::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, Type};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A number as SQLite keeps it: bit for bit, since its own have a sign.
pub(crate) fn int(number: u64) -> i64 {
    number.cast_signed()
}

/// States from 8 on have ended: the partial indexes say the same.
pub(crate) fn state_code(state: StateKind) -> i64 {
    match state {
        StateKind::Scheduled => 0,
        StateKind::Blocked => 1,
        StateKind::Waiting => 2,
        StateKind::Ready => 3,
        StateKind::Assigned => 4,
        StateKind::Running => 5,
        StateKind::Stopping => 6,
        StateKind::InDoubt => 7,
        StateKind::Succeeded => 8,
        StateKind::Failed => 9,
        StateKind::Cancelled => 10,
        StateKind::Skipped => 11,
    }
}

pub(crate) fn phase_code(phase: Phase) -> i64 {
    match phase {
        Phase::Assigned => 0,
        Phase::Preparing => 1,
        Phase::Running => 2,
        Phase::Uploading => 3,
        Phase::Stopping => 4,
        Phase::Ended => 5,
    }
}

pub(crate) fn end_code(end: AttemptEnd) -> i64 {
    match end {
        AttemptEnd::Succeeded => 0,
        AttemptEnd::Failed => 1,
        AttemptEnd::TimedOut => 2,
        AttemptEnd::Cancelled => 3,
        AttemptEnd::Lost => 4,
        AttemptEnd::Released => 5,
        AttemptEnd::Superseded => 6,
    }
}

/// The element's column: -1 for a task as a whole.
pub(crate) fn element_code(index: Option<u32>) -> i64 {
    index.map_or(-1, i64::from)
}

/// As JSON text.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// The same, behind what is there already.
pub(crate) fn push_json<T: Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) -> rusqlite::Result<()> {
    serde_json::to_writer(text, value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A stored value that this program cannot read.
#[derive(Debug, thiserror::Error)]
#[error("column {column} holds what this program does not know: {detail}")]
struct Unreadable {
    column: usize,
    detail: String,
}

pub(crate) fn unreadable(column: usize, detail: impl Display) -> rusqlite::Error {
    let error = Unreadable { column, detail: format!("{detail}") };
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, Box::new(error))
}

/// Reads a row's columns from left to right.
pub(crate) struct Columns<'r, 's> {
    row: &'r Row<'s>,
    next: usize,
}

impl<'r, 's> Columns<'r, 's> {
    pub(crate) fn of(row: &'r Row<'s>) -> Self {
        Self { row, next: 0 }
    }

    pub(crate) fn get<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let value = self.row.get(self.next)?;
        self.next += 1;
        Ok(value)
    }

    /// Which column is read next.
    pub(crate) fn place(&self) -> usize {
        self.next
    }

    pub(crate) fn u64(&mut self) -> rusqlite::Result<u64> {
        Ok(self.get::<i64>()?.cast_unsigned())
    }

    pub(crate) fn time(&mut self) -> rusqlite::Result<Timestamp> {
        Ok(Timestamp(self.u64()?))
    }

    pub(crate) fn time_if_any(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.get::<Option<i64>>()?.map(|number| Timestamp(number.cast_unsigned())))
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        let column = self.next;
        let text = self.text()?;
        serde_json::from_str(text).map_err(|error| unreadable(column, error))
    }

    pub(crate) fn json_if_any<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        let column = self.next;
        self.next += 1;
        let text = self.row.get_ref(column)?.as_str_or_null().map_err(|error| unreadable(column, error))?;
        text.map(|text| serde_json::from_str(text).map_err(|error| unreadable(column, error))).transpose()
    }

    pub(crate) fn text(&mut self) -> rusqlite::Result<&str> {
        let column = self.next;
        self.next += 1;
        self.row.get_ref(column)?.as_str().map_err(|error| unreadable(column, error))
    }

    pub(crate) fn shared_text(&mut self) -> rusqlite::Result<Arc<str>> {
        Ok(Arc::from(self.text()?))
    }

    pub(crate) fn name<T: TryFrom<String, Error = BadName>>(&mut self) -> rusqlite::Result<T> {
        let column = self.next;
        T::try_from(self.get()?).map_err(|error| unreadable(column, error))
    }

    pub(crate) fn name_if_any<T: TryFrom<String, Error = BadName>>(&mut self) -> rusqlite::Result<Option<T>> {
        let column = self.next;
        let name: Option<String> = self.get()?;
        name.map(T::try_from).transpose().map_err(|error| unreadable(column, error))
    }

    pub(crate) fn actor(&mut self) -> rusqlite::Result<Actor> {
        Ok(Actor(self.shared_text()?))
    }

    /// Reads something by its code.
    pub(crate) fn coded<T: Copy>(&mut self, all: &[T], code: fn(T) -> i64) -> rusqlite::Result<T> {
        let column = self.next;
        let found: i64 = self.get()?;
        all.iter().copied().find(|one| code(*one) == found).ok_or_else(|| unreadable(column, found))
    }

    pub(crate) fn state(&mut self) -> rusqlite::Result<StateKind> {
        self.coded(&StateKind::ALL, state_code)
    }

    pub(crate) fn phase(&mut self) -> rusqlite::Result<Phase> {
        self.coded(&Phase::ALL, phase_code)
    }

    pub(crate) fn end_if_any(&mut self) -> rusqlite::Result<Option<AttemptEnd>> {
        let column = self.next;
        let Some(found) = self.get::<Option<i64>>()? else { return Ok(None) };
        let end = AttemptEnd::ALL.into_iter().find(|end| end_code(*end) == found);
        end.map(Some).ok_or_else(|| unreadable(column, found))
    }

    pub(crate) fn index_if_any(&mut self) -> rusqlite::Result<Option<u32>> {
        let column = self.next;
        let code: i64 = self.get()?;
        if code < 0 { Ok(None) } else { u32::try_from(code).map(Some).map_err(|error| unreadable(column, error)) }
    }

    pub(crate) fn task_ref(&mut self) -> rusqlite::Result<TaskRef> {
        let task = bowline_core::id::TaskId(self.u64()?);
        Ok(TaskRef { task, index: self.index_if_any()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_ENDED: i64 = 8;

    #[test]
    fn ended_states_are_those_of_the_partial_indexes() {
        for state in StateKind::ALL {
            assert_eq!(state.is_ended(), state_code(state) >= FIRST_ENDED, "{state}");
        }
        let schema = include_str!("sql/0001_first.sql");
        assert!(schema.contains(&format!("WHERE state < {FIRST_ENDED}")));
        let rows = include_str!("sql/0006_rows.sql");
        assert!(rows.contains(&format!("state >= {FIRST_ENDED}")) && rows.contains(&format!("state < {FIRST_ENDED}")));
    }
}
