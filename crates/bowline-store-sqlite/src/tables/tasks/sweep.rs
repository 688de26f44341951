//! What retention asks about tasks.

use bowline_core::id::{RunId, TaskId};
use bowline_core::time::Timestamp;
use rusqlite::{Connection, params};

use crate::codec::{Columns, int};

macro_rules! needed {
    ($task:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM task_needs AS n JOIN tasks AS u ON u.id = n.task WHERE n.needed = ",
            $task,
            " AND u.state < 8)"
        )
    };
}

const REMOVABLE: &str = concat!(
    "SELECT id FROM tasks AS t INDEXED BY tasks_ended WHERE t.ended_at IS NOT NULL AND t.run IS NULL \
     AND t.ended_at <= ?1 AND t.state >= 8 AND NOT ",
    needed!("t.id"),
    " ORDER BY t.ended_at, t.id LIMIT ?2"
);
const OF_RUN: &str = "SELECT id FROM tasks INDEXED BY tasks_by_run WHERE run = ?1 ORDER BY id";
const RUN_IS_HELD: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM tasks AS t INDEXED BY tasks_by_run WHERE t.run = ?1 AND (t.state < 8 OR ",
    needed!("t.id"),
    "))"
);

fn ids(row: &rusqlite::Row<'_>) -> rusqlite::Result<TaskId> {
    Ok(TaskId(Columns::of(row).u64()?))
}

/// Ended tasks of no run that ended by then, the oldest first, which no unfinished one needs.
pub(crate) fn removable(connection: &Connection, by: Timestamp, most: usize) -> rusqlite::Result<Vec<TaskId>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    connection.prepare_cached(REMOVABLE)?.query_map(params![int(by.0), most], ids)?.collect()
}

/// A run's tasks.
pub(crate) fn of_run(connection: &Connection, run: RunId) -> rusqlite::Result<Vec<TaskId>> {
    connection.prepare_cached(OF_RUN)?.query_map([int(run.0)], ids)?.collect()
}

/// Whether a task of the run has not ended, or is needed by one that has not.
pub(crate) fn run_is_held(connection: &Connection, run: RunId) -> rusqlite::Result<bool> {
    connection.prepare_cached(RUN_IS_HELD)?.query_row([int(run.0)], |row| row.get(0))
}
