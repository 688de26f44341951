//! Checkpoints: a thread of its own carries what is committed from the log into the store file, so
//! that no commit ever has to wait for it. Under load it does so ten times a second; where little is written, once in a
//! while, for the commit after one begins the log anew, which takes it a second sync.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
/// How long starting the log anew waits for readers: it holds up the writer meanwhile. One that reads
/// for long (a backup) is not waited for; the log grows until it is done.
const BUSY_MAX: Duration = Duration::from_millis(20);
/// Where a reader was in the way, it is tried again after so many rounds.
const ROUNDS_AFTER_BUSY: u32 = 50;
/// A log of more pages than this is started anew: that holds the writer up for the few pages
/// written since the last checkpoint. 64 MiB at 4 KiB a page.
const LOG_PAGES_MAX: i64 = 16 << 10;

#[derive(Debug, Default)]
struct Shared {
    stopped: Mutex<bool>,
    wake: Condvar,
    /// Rows changed since the last checkpoint began.
    changed: AtomicU64,
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
        connection.busy_timeout(BUSY_MAX)?;
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
    let mut rest = 0;
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
        if !is_due && !failing && rest == 0 {
            continue;
        }
        rounds = 0;
        shared.changed.fetch_sub(changed, Ordering::Relaxed);
        match checkpoint(connection, &mut rest) {
            Ok(()) => failing = false,
            Err(error) if failing => tracing::debug!(%error, "store checkpoint failed again"),
            Err(error) => {
                failing = true;
                tracing::warn!(%error, "store checkpoint failed: the log grows until one succeeds");
            }
        }
    }
}

/// `rest`: rounds until the log may be started anew.
fn checkpoint(connection: &Connection, rest: &mut u32) -> rusqlite::Result<()> {
    let pages = |mode: &str| {
        connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let (_, log): (i64, i64) = pages("PASSIVE")?;
    *rest = rest.saturating_sub(1);
    if log > LOG_PAGES_MAX && *rest == 0 {
        let (busy, _): (i64, i64) = pages("RESTART")?;
        if busy != 0 {
            *rest = ROUNDS_AFTER_BUSY;
        }
    }
    Ok(())
}
