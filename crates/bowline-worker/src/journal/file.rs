//! The journal's file: its tables, and how they are read and written.

use std::path::Path;

use bowline_core::id::{AttemptNo, AttemptRef, Fence, Generation, TaskId, TaskRef};
use bowline_protocol::{LogStream, Sealed};
use rusqlite::{Connection, Row, params};

use super::{JournalError, Op};

/// The file's format.
const FORMAT: i64 = 2;

/// A page of the file, in bytes.
const PAGE_BYTES: u64 = 4_096;

/// Room that is kept free in the file, in bytes.
const ROOM_BYTES: i64 = 1 << 20;

const TABLES: &str = "
CREATE TABLE attempt (
    task INTEGER NOT NULL, element INTEGER NOT NULL, generation INTEGER NOT NULL, attempt INTEGER NOT NULL,
    assign BLOB NOT NULL,
    started INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,
    output_acked INTEGER NOT NULL DEFAULT 0, output_sealed INTEGER NOT NULL DEFAULT 0,
    error_acked INTEGER NOT NULL DEFAULT 0, error_sealed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, element, generation, attempt)
) WITHOUT ROWID;
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    task INTEGER NOT NULL, element INTEGER NOT NULL, generation INTEGER NOT NULL, attempt INTEGER NOT NULL,
    message BLOB NOT NULL, said_us INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE seen (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, commit_no INTEGER NOT NULL, incarnation INTEGER NOT NULL);
PRAGMA user_version = 2;
";
/// From format 1.
const SAID: &str = "
ALTER TABLE message ADD COLUMN said_us INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
";

/// What the journal holds when a worker starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Attempts that are not done with, in the order of their numbers.
    pub attempts: Vec<Journaled>,
    /// Messages that are not acknowledged, in order.
    pub messages: Vec<Kept>,
    /// Newest generation, commit number and incarnation.
    pub seen: Option<(u32, u64, u32)>,
}

/// A message in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub seq: u64,
    /// What it is about.
    pub attempt: AttemptRef,
    /// In wire form.
    pub message: Vec<u8>,
    /// When it was said, in microseconds of the wall clock; 0 where that is not known.
    pub said_us: u64,
}

/// An attempt in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journaled {
    /// Which.
    pub attempt: AttemptRef,
    /// The assignment, in wire form.
    pub assign: Vec<u8>,
    /// Whether its job was said to run.
    pub started: bool,
    /// Whether its end was said.
    pub ended: bool,
    /// Its logs: what was written to standard output, and to standard error where that is apart.
    pub logs: [JournaledLog; 2],
}

/// How much of a log the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournaledLog {
    /// Which.
    pub stream: LogStream,
    /// Up to so many bytes.
    pub acked: u64,
    /// Whether that is all.
    pub sealed: Sealed,
}

#[derive(Debug)]
pub(super) struct JournalFile {
    connection: Connection,
}

fn failed(what: &'static str) -> impl Fn(rusqlite::Error) -> JournalError {
    move |source| JournalError::Sqlite { what, source }
}

impl JournalFile {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let opening = failed("opening it");
        // SQLite would take it for an empty one.
        if std::fs::metadata(path).is_ok_and(|data| (1..PAGE_BYTES).contains(&data.len())) {
            return Err(JournalError::Unsound("it ends before its first page does".to_owned()));
        }
        let connection = Connection::open(path).map_err(&opening)?;
        // First of all, so that it needs no shared memory, which would need room on the disk.
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE;").map_err(&opening)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(&opening)?;
        tracing::debug!(mode, "journal opened");
        connection.execute_batch("PRAGMA synchronous = FULL;").map_err(&opening)?;
        connection.set_prepared_statement_cache_capacity(32);
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&opening)?;
        match found {
            0 => connection.execute_batch(TABLES).map_err(failed("making its tables"))?,
            1 => connection.execute_batch(SAID).map_err(failed("bringing it to this version"))?,
            FORMAT => {}
            _ => return Err(JournalError::Newer { found, known: FORMAT }),
        }
        is_sound(&connection)?;
        Ok(Self { connection })
    }

    /// Sees to it that the file has free pages, and its log room, for what must be written when the disk is full.
    pub(super) fn keep_room(&mut self) -> Result<(), JournalError> {
        let making = failed("keeping room in it");
        let pages = |name| self.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let free = pages("freelist_count").and_then(|count| Ok(count * pages("page_size")?)).map_err(&making)?;
        if free >= ROOM_BYTES / 2 {
            return Ok(());
        }
        self.connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; CREATE TABLE room (bytes BLOB); INSERT INTO room VALUES (zeroblob({ROOM_BYTES})); \
                 DROP TABLE room; COMMIT; PRAGMA wal_checkpoint;"
            ))
            .map_err(making)
    }

    pub(super) fn recover(&mut self) -> Result<Recovered, JournalError> {
        let reading = failed("reading it");
        let mut recovered = Recovered::default();
        let mut attempts = self
            .connection
            .prepare(
                "SELECT task, element, generation, attempt, assign, started, ended,
                        output_acked, output_sealed, error_acked, error_sealed FROM attempt",
            )
            .map_err(&reading)?;
        for attempt in attempts.query_map([], journaled).map_err(&reading)? {
            recovered.attempts.push(attempt.map_err(&reading)?);
        }
        let mut messages = self
            .connection
            .prepare("SELECT task, element, generation, attempt, seq, message, said_us FROM message ORDER BY seq")
            .map_err(&reading)?;
        let read = messages.query_map([], |row| {
            let (seq, said_us) = (number(row.get(4)?), number(row.get(6)?));
            Ok(Kept { seq, attempt: attempt_of(row)?, message: row.get(5)?, said_us })
        });
        for message in read.map_err(&reading)? {
            recovered.messages.push(message.map_err(&reading)?);
        }
        let mut seen =
            self.connection.prepare("SELECT generation, commit_no, incarnation FROM seen").map_err(&reading)?;
        let read = seen.query_map([], |row| Ok((row.get(0)?, number(row.get(1)?), row.get(2)?)));
        for row in read.map_err(&reading)? {
            recovered.seen = Some(row.map_err(&reading)?);
        }
        Ok(recovered)
    }

    pub(super) fn commit<'a>(&mut self, ops: impl Iterator<Item = &'a Op>) -> Result<(), JournalError> {
        let writing = failed("writing to it");
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&writing)?;
        for op in ops {
            apply(&transaction, op).map_err(&writing)?;
        }
        transaction.commit().map_err(writing)
    }
}

/// Where a page is damaged rows may be missing without an error when they are read.
fn is_sound(connection: &Connection) -> Result<(), JournalError> {
    let said: Result<String, _> = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match said.map_err(failed("checking it"))?.as_str() {
        "ok" => Ok(()),
        problem => Err(JournalError::Unsound(problem.to_owned())),
    }
}

fn apply(to: &Connection, op: &Op) -> rusqlite::Result<usize> {
    match op {
        Op::PutAttempt { attempt, assign } => {
            let (task, element, generation, number) = key(*attempt);
            to.prepare_cached(
                "INSERT OR IGNORE INTO attempt (task, element, generation, attempt, assign) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![task, element, generation, number, assign])
        }
        Op::MarkStarted { attempt } => to
            .prepare_cached(
                "UPDATE attempt SET started = 1 WHERE task = ?1 AND element = ?2 AND generation = ?3 AND attempt = ?4",
            )?
            .execute(key(*attempt)),
        Op::MarkEnded { attempt } => to
            .prepare_cached(
                "UPDATE attempt SET ended = 1 WHERE task = ?1 AND element = ?2 AND generation = ?3 AND attempt = ?4",
            )?
            .execute(key(*attempt)),
        Op::DropAttempt { attempt } => to
            .prepare_cached(
                "DELETE FROM attempt WHERE task = ?1 AND element = ?2 AND generation = ?3 AND attempt = ?4",
            )?
            .execute(key(*attempt)),
        Op::PutMessage { seq, attempt, message, said_us } => {
            let (task, element, generation, number) = key(*attempt);
            to.prepare_cached(
                "INSERT INTO message (seq, task, element, generation, attempt, message, said_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![signed(*seq), task, element, generation, number, message, signed(*said_us)])
        }
        Op::DropMessage { seq } => to.prepare_cached("DELETE FROM message WHERE seq = ?1")?.execute([signed(*seq)]),
        Op::LogAcked { attempt, stream, up_to, sealed } => log_acked(to, *attempt, (*stream, *up_to, *sealed)),
        Op::Seen { generation, commit_no, incarnation } => to
            .prepare_cached(
                "INSERT OR REPLACE INTO seen (one, generation, commit_no, incarnation) VALUES (1, ?1, ?2, ?3)",
            )?
            .execute(params![generation, signed(*commit_no), incarnation]),
    }
}

fn log_acked(
    to: &Connection,
    attempt: AttemptRef,
    (stream, up_to, sealed): (LogStream, u64, Sealed),
) -> rusqlite::Result<usize> {
    let sql = match stream {
        LogStream::Output => {
            "UPDATE attempt SET output_acked = ?5, output_sealed = ?6
             WHERE task = ?1 AND element = ?2 AND generation = ?3 AND attempt = ?4"
        }
        LogStream::Error => {
            "UPDATE attempt SET error_acked = ?5, error_sealed = ?6
             WHERE task = ?1 AND element = ?2 AND generation = ?3 AND attempt = ?4"
        }
    };
    let (task, element, generation, number) = key(attempt);
    let sealed = i64::from(sealed == Sealed::Yes);
    to.prepare_cached(sql)?.execute(params![task, element, generation, number, signed(up_to), sealed])
}

/// SQLite's integers are signed; our numbers stay far below 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}

/// Whole tasks have the element -1.
fn key(attempt: AttemptRef) -> (i64, i64, u32, u32) {
    let element = attempt.task.index.map_or(-1, i64::from);
    (signed(attempt.task.task.0), element, attempt.fence.generation.0, attempt.fence.attempt.0)
}

fn attempt_of(row: &Row<'_>) -> rusqlite::Result<AttemptRef> {
    let element: i64 = row.get(1)?;
    Ok(AttemptRef {
        task: TaskRef { task: TaskId(number(row.get(0)?)), index: u32::try_from(element).ok() },
        fence: Fence { generation: Generation(row.get(2)?), attempt: AttemptNo(row.get(3)?) },
    })
}

fn journaled(row: &Row<'_>) -> rusqlite::Result<Journaled> {
    let log = |stream, acked: i64, sealed: bool| JournaledLog {
        stream,
        acked: number(acked),
        sealed: if sealed { Sealed::Yes } else { Sealed::No },
    };
    Ok(Journaled {
        attempt: attempt_of(row)?,
        assign: row.get(4)?,
        started: row.get(5)?,
        ended: row.get(6)?,
        logs: [log(LogStream::Output, row.get(7)?, row.get(8)?), log(LogStream::Error, row.get(9)?, row.get(10)?)],
    })
}
