//! SQLite alone, making for each task the row changes that a queue cannot do without: a row is inserted, claimed,
//! and finished, in batches of a transaction each, durable (`synchronous=FULL`), with the one index that a claim needs.

use std::path::Path;

use anyhow::Result;
use rusqlite::{Connection, params};

use crate::clock::Stopwatch;

/// Tasks to a transaction.
const BATCH: u64 = 1_000;
/// What a small task's description is like.
const PAYLOAD: &str = r#"{"kind":"noop","args":[1,2,3],"note":"a payload of about one hundred bytes, as a small task would have it....."}"#;
const TABLE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
CREATE TABLE tasks (id INTEGER PRIMARY KEY, queue INT NOT NULL, prio INT NOT NULL, state INT NOT NULL, worker INT,
    created INT NOT NULL, started INT, finished INT, payload TEXT NOT NULL);
CREATE INDEX ready ON tasks (queue, prio, id) WHERE state = 0;";
const INSERT: &str = "INSERT INTO tasks VALUES (?1, 1, 0, 0, NULL, ?2, NULL, NULL, ?3)";
const CLAIM: &str = "UPDATE tasks SET state = 1, worker = 7, started = ?2 WHERE id = ?1 AND state = 0";
const FINISH: &str = "UPDATE tasks SET state = 2, finished = ?2 WHERE id = ?1 AND state = 1";

/// Tasks a second.
pub(crate) fn tasks_per_second(folder: &Path, tasks: u64) -> Result<f64> {
    let connection = Connection::open(folder.join("ceiling.db"))?;
    connection.execute_batch(TABLE)?;
    let watch = Stopwatch::start();
    let mut from = 1;
    while from <= tasks {
        let to = tasks.min(from + BATCH - 1);
        for sql in [INSERT, CLAIM, FINISH] {
            let transaction = connection.unchecked_transaction()?;
            let mut statement = transaction.prepare_cached(sql)?;
            for id in from..=to {
                let (id, now) = (id.cast_signed(), 1_700_000_000_000_000_i64);
                if sql == INSERT {
                    statement.execute(params![id, now, PAYLOAD])?
                } else {
                    statement.execute(params![id, now])?
                };
            }
            drop(statement);
            transaction.commit()?;
        }
        from = to + 1;
    }
    Ok(watch.per_second(tasks))
}
