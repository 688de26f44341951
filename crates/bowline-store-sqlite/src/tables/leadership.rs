//! Who leads, the commit number and the store's time: one row.

use bowline_core::id::{CommitNo, Epoch, Generation};
use bowline_core::time::Timestamp;
use bowline_store::{CommitError, Leadership};
use rusqlite::{Connection, OptionalExtension, params};

use super::WriteError;
use crate::codec::{Columns, int};

const TAKE: &str = "UPDATE leadership SET epoch = epoch + 1, now = max(now, ?1) WHERE id = 1 \
     RETURNING epoch, generation, commit_no, now, seen_generation, seen_commit";
const NOTE: &str = "UPDATE leadership SET seen_generation = ?1, seen_commit = ?2 WHERE id = 1 \
     AND (seen_generation IS NULL OR (seen_generation, seen_commit) < (?1, ?2))";
const ACCEPT: &str = "UPDATE leadership SET epoch = epoch + 1, seen_generation = NULL, seen_commit = NULL, \
     generation = max(generation, coalesce(seen_generation, 0), ?1) + 1 WHERE id = 1 RETURNING generation";
const COMMIT: &str = "UPDATE leadership SET commit_no = commit_no + 1, now = max(now, ?2) WHERE id = 1 AND epoch = ?1 \
     RETURNING commit_no, now";
const HOLD: &str = "UPDATE leadership SET now = max(now, ?2) WHERE id = 1 AND epoch = ?1 RETURNING commit_no, now";
const STATE: &str = "SELECT generation, commit_no FROM leadership WHERE id = 1";
const COMMIT_NO: &str = "SELECT commit_no FROM leadership WHERE id = 1";
const SWEPT: &str = "SELECT swept_commit, swept_place FROM leadership WHERE id = 1 AND swept_commit IS NOT NULL";
const SET_SWEPT: &str = "UPDATE leadership SET swept_commit = ?1, swept_place = ?2 WHERE id = 1";
const ALL: &str = "SELECT epoch, generation, commit_no, now, seen_generation, seen_commit FROM leadership WHERE id = 1";

/// Raises the epoch.
pub(crate) fn take(connection: &Connection, now: Timestamp) -> rusqlite::Result<Leadership> {
    connection.prepare_cached(TAKE)?.query_row([int(now.0)], leadership)
}

/// Where the store stands; in every version of its form.
pub(crate) fn state(connection: &Connection) -> rusqlite::Result<(Generation, CommitNo)> {
    connection.prepare_cached(STATE)?.query_row([], |row| {
        let mut columns = Columns::of(row);
        Ok((Generation(columns.get()?), CommitNo(columns.u64()?)))
    })
}

pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Leadership> {
    connection.prepare_cached(ALL)?.query_row([], leadership)
}

fn leadership(row: &rusqlite::Row<'_>) -> rusqlite::Result<Leadership> {
    let mut columns = Columns::of(row);
    Ok(Leadership {
        epoch: Epoch(columns.u64()?),
        generation: Generation(columns.get()?),
        commit_no: CommitNo(columns.u64()?),
        now: columns.time()?,
        rolled_back: position(columns.get()?, columns.get()?),
    })
}

fn position(generation: Option<u32>, commit: Option<i64>) -> Option<(Generation, CommitNo)> {
    Some((Generation(generation?), CommitNo(commit?.cast_unsigned())))
}

/// A worker has seen what the store does not hold.
pub(crate) fn note_rollback(connection: &Connection, seen: (Generation, CommitNo)) -> rusqlite::Result<usize> {
    connection.prepare_cached(NOTE)?.execute(params![seen.0.0, int(seen.1.0)])
}

/// The earlier state stands, under a new generation.
pub(crate) fn accept_rollback(connection: &Connection, above: Generation) -> rusqlite::Result<Generation> {
    connection.prepare_cached(ACCEPT)?.query_row([above.0], |row| Ok(Generation(Columns::of(row).get()?)))
}

/// The first statement of every commit: its number and its time, or the news that another leads.
pub(crate) fn commit(
    connection: &Connection,
    epoch: Epoch,
    now: Timestamp,
) -> Result<(CommitNo, Timestamp), WriteError> {
    fenced(connection, COMMIT, epoch, now)
}

/// The first statement of what is no commit but only a leader may do.
pub(crate) fn hold(connection: &Connection, epoch: Epoch, now: Timestamp) -> Result<(), WriteError> {
    fenced(connection, HOLD, epoch, now).map(drop)
}

fn fenced(
    connection: &Connection,
    sql: &str,
    epoch: Epoch,
    now: Timestamp,
) -> Result<(CommitNo, Timestamp), WriteError> {
    let found = connection
        .prepare_cached(sql)?
        .query_row(params![int(epoch.0), int(now.0)], |row| {
            let mut columns = Columns::of(row);
            Ok((CommitNo(columns.u64()?), columns.time()?))
        })
        .optional()?;
    found.ok_or_else(|| CommitError::Deposed { epoch }.into())
}

pub(crate) fn commit_no(connection: &Connection) -> rusqlite::Result<CommitNo> {
    connection.prepare_cached(COMMIT_NO)?.query_row([], |row| Ok(CommitNo(Columns::of(row).u64()?)))
}

/// The last event that retention removed.
pub(crate) fn swept(connection: &Connection) -> rusqlite::Result<Option<(CommitNo, u32)>> {
    connection
        .prepare_cached(SWEPT)?
        .query_row([], |row| {
            let mut columns = Columns::of(row);
            Ok((CommitNo(columns.u64()?), columns.get()?))
        })
        .optional()
}

pub(crate) fn set_swept(connection: &Connection, last: (CommitNo, u32)) -> rusqlite::Result<usize> {
    connection.prepare_cached(SET_SWEPT)?.execute(params![int(last.0.0), last.1])
}
