//! Where the numbers stand: one row.

use bowline_core::id::{RunId, TaskId, Ticket, WorkerId};
use bowline_core::row::Counters;
use rusqlite::{Connection, OptionalExtension};

use super::Written;
use crate::codec::Columns;
use crate::writer::Writer;

const PUT: &str = "INSERT OR REPLACE INTO counters (id, task, run, ticket, worker) VALUES (1, ?1, ?2, ?3, ?4)";
const GET: &str = "SELECT task, run, ticket, worker FROM counters WHERE id = 1";

pub(crate) fn put(writer: &mut Writer<'_>, counters: &Counters) -> Written {
    let binding = writer.bind(PUT)?.u64(counters.task.0)?.u64(counters.run.0)?;
    binding.u64(counters.ticket.0)?.put(counters.worker.0)?.run()?;
    Ok(())
}

pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Counters> {
    let found = connection.prepare_cached(GET)?.query_row([], |row| {
        let mut columns = Columns::of(row);
        Ok(Counters {
            task: TaskId(columns.u64()?),
            run: RunId(columns.u64()?),
            ticket: Ticket(columns.u64()?),
            worker: WorkerId(columns.get()?),
        })
    });
    Ok(found.optional()?.unwrap_or_default())
}
