//! Checkpoints: a thread of its own carries what is committed from the log into the store file, so
//! that no commit has to wait for it. Under load it does so ten times a second; where little is written, once in a
//! while, for the commit after one begins the log anew, which takes it a second sync. Under load no commit finds all of
//! the log carried over: once it is long, and little of it left, the writer carries that over itself and begins it anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::connect;

/// Between two looks at how much was written: a round.
const EVERY: Duration = Duration::from_millis(100);
/// So many changed rows are carried over at once.
const ROWS_MANY: u64 = 4_000;
/// Fewer of them after so many rounds: 2 s.
const ROUNDS_AT_MOST: u32 = 20;
/// A log of more pages than this is begun anew. 64 MiB at 4 KiB a page.
const LOG_PAGES_MAX: u64 = 16 << 10;
/// So many pages, written since the last look, may hold the writer up while it carries them over. 4 MiB.
const LOG_PAGES_FEW: u64 = 1 << 10;
/// Where more than these were written while what was there was carried over, that is done again so many times at most.
const PASSES_MAX: u32 = 8;
/// How long the writer waits for readers before it begins the log anew. One that reads for long (a backup) is not waited
/// for; the log grows until it is done.
const BUSY_MAX: Duration = Duration::from_millis(20);
/// Where a reader was in the way, it is tried again after so many rounds, twice as many each time.
const ROUNDS_AFTER_BUSY: u32 = 5;
const ROUNDS_AFTER_BUSY_MAX: u32 = 50;

#[derive(Debug, Default)]
struct Shared {
    stopped: Mutex<bool>,
    wake: Condvar,
    /// Rows changed since the last checkpoint began.
    changed: AtomicU64,
    /// The log is long, and nearly all of it carried over: the writer is to begin it anew.
    is_long: AtomicBool,
    /// The writer tried to, and a reader was in the way.
    was_busy: AtomicBool,
}

/// The thread. Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread for this store file.
    pub(crate) fn start(path: &Path) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let connection = connect::writer(path)?;
        connect::make_durable(&connection)?;
        // What a crash left in the log is carried over too.
        let shared = Arc::new(Shared { changed: AtomicU64::new(1), ..Shared::default() });
        let seen = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || run(&connection, &seen))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// So many rows were changed by a commit.
    pub(crate) fn note(&self, changed: u64) {
        self.shared.changed.fetch_add(changed, Ordering::Relaxed);
    }

    /// Between two commits: the log is begun anew where it has become long. Only the writer can, for where commits come
    /// one after the other nobody else ever gets its lock. That it fails fails nothing.
    pub(crate) fn renew(&self, writer: &Connection) {
        if !self.shared.is_long.swap(false, Ordering::Relaxed) {
            return;
        }
        let busy = connect::impatiently(writer, BUSY_MAX, |writer| pages(writer, "RESTART").map(|(busy, _)| busy));
        match busy {
            Ok(busy) => self.shared.was_busy.store(busy != 0, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the store's log could not be begun anew: it grows until it can"),
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        *self.shared.stopped.lock() = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's checkpoint thread panicked");
        }
    }
}

fn run(connection: &Connection, shared: &Shared) {
    let mut failing = false;
    let mut rest = Rest::default();
    let mut rounds = 0;
    loop {
        let mut stopped = shared.stopped.lock();
        if !*stopped {
            shared.wake.wait_for(&mut stopped, EVERY);
        }
        if *stopped {
            return;
        }
        drop(stopped);
        rounds += 1;
        let changed = shared.changed.load(Ordering::Relaxed);
        let is_due = changed >= ROWS_MANY || changed > 0 && rounds >= ROUNDS_AT_MOST;
        if !is_due && !failing && rest.left == 0 {
            continue;
        }
        rounds = 0;
        shared.changed.fetch_sub(changed, Ordering::Relaxed);
        match checkpoint(connection, shared, &mut rest, LOG_PAGES_MAX) {
            Ok(()) => failing = false,
            Err(error) if failing => tracing::debug!(%error, "store checkpoint failed again"),
            Err(error) => {
                failing = true;
                tracing::warn!(%error, "store checkpoint failed: the log grows until one succeeds");
            }
        }
    }
}

/// Rounds until the writer is asked again to begin the log anew.
#[derive(Debug, Default)]
struct Rest {
    left: u32,
    next: u32,
}

impl Rest {
    /// A round: may the writer be asked?
    fn is_over(&mut self, was_busy: bool) -> bool {
        if was_busy {
            self.left = self.next.max(ROUNDS_AFTER_BUSY);
            self.next = (self.left * 2).min(ROUNDS_AFTER_BUSY_MAX);
        }
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

/// Carries over what is in the log; asks the writer to begin it anew where it is longer than so many pages.
fn checkpoint(connection: &Connection, shared: &Shared, rest: &mut Rest, pages_max: u64) -> rusqlite::Result<()> {
    let (_, mut log) = pages(connection, "PASSIVE")?;
    let may_ask = rest.is_over(shared.was_busy.swap(false, Ordering::Relaxed));
    if log <= pages_max {
        rest.next = 0;
        return Ok(());
    }
    // What is left for the writer to carry over is what it has written meanwhile.
    for _ in 0..PASSES_MAX {
        let before = log;
        (_, log) = pages(connection, "PASSIVE")?;
        if log.saturating_sub(before) <= LOG_PAGES_FEW {
            break;
        }
    }
    if may_ask {
        shared.is_long.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Checkpoints: was somebody in the way, and how many pages are in the log?
fn pages(connection: &Connection, mode: &str) -> rusqlite::Result<(u64, u64)> {
    let count = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((count(row, 0)?, count(row, 1)?)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A store with a table, its log, and who writes to it and who carries it over.
    fn made(path: &Path) -> rusqlite::Result<(Connection, Connection, Checkpoints)> {
        let writer = connect::writer(path)?;
        connect::make_durable(&writer)?;
        writer.execute_batch("CREATE TABLE t (x BLOB)")?;
        let carrier = connect::writer(path)?;
        connect::make_durable(&carrier)?;
        Ok((writer, carrier, Checkpoints { shared: Arc::default(), thread: None }))
    }

    fn log_bytes(path: &Path) -> u64 {
        std::fs::metadata(path.with_extension("db-wal")).map_or(0, |data| data.len())
    }

    fn write(writer: &Connection, pages: u32) -> rusqlite::Result<usize> {
        writer.execute("INSERT INTO t VALUES (zeroblob(?1 * 4096))", [pages])
    }

    #[test]
    fn a_log_begins_anew_though_the_writer_is_always_in_the_middle_of_a_transaction() -> rusqlite::Result<()> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("bowline.db");
        let (writer, carrier, checkpoints) = made(&path)?;
        let mut rest = Rest::default();
        let mut longest = 0;
        for _ in 0..40 {
            writer.execute_batch("BEGIN IMMEDIATE")?;
            write(&writer, 100)?;
            checkpoint(&carrier, &checkpoints.shared, &mut rest, 300)?;
            writer.execute_batch("COMMIT")?;
            checkpoints.renew(&writer);
            longest = longest.max(log_bytes(&path));
        }
        assert!(longest < 600 * 4_096, "the log has {longest} bytes where 300 pages are enough to begin it anew");
        Ok(())
    }

    #[test]
    fn a_reader_in_the_way_is_not_waited_for_and_what_it_cost_is_given_back() -> rusqlite::Result<()> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("bowline.db");
        let (writer, carrier, checkpoints) = made(&path)?;
        let kept: i64 = writer.query_row("PRAGMA journal_size_limit", [], |row| row.get(0))?;
        assert_eq!(kept, 128 << 20);
        writer.query_row("PRAGMA journal_size_limit = 1000000", [], |_| Ok(()))?;
        let reader = connect::reader(&path)?;
        reader.execute_batch("BEGIN; SELECT count(*) FROM t")?;
        let mut rest = Rest::default();
        let (mut asked, mut round) = (0, |writer: &Connection| -> rusqlite::Result<u32> {
            write(writer, 100)?;
            checkpoint(&carrier, &checkpoints.shared, &mut rest, 300)?;
            let is_asked = checkpoints.shared.is_long.load(Ordering::Relaxed);
            checkpoints.renew(writer);
            Ok(u32::from(is_asked))
        });
        for _ in 0..60 {
            asked += round(&writer)?;
        }
        // Four rounds to become long, then after 5, 10, 20 more, and not again within 40.
        assert_eq!(asked, 4);
        assert!(log_bytes(&path) > 6_000 * 4_096);
        reader.execute_batch("COMMIT")?;
        let is_cut = (0..ROUNDS_AFTER_BUSY_MAX + 2).any(|_| round(&writer).is_ok() && log_bytes(&path) <= 1_000_000);
        assert!(is_cut, "the log has {} bytes where one MB is to be kept", log_bytes(&path));
        Ok(())
    }
}
