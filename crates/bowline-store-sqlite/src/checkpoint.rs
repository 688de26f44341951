//! Checkpoints: a thread of its own carries what is committed from the log into the store file, so
//! that no commit ever has to wait for it.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::connect;

/// Between two checkpoints.
const EVERY: Duration = Duration::from_millis(100);
/// A log of more pages than this is started anew: that holds the writer up for the few pages
/// written since the last checkpoint. 64 MiB at 4 KiB a page.
const LOG_PAGES_MAX: i64 = 16 << 10;

#[derive(Debug, Default)]
struct Shared {
    stopped: Mutex<bool>,
    wake: Condvar,
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
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || run(&connection, &seen))?;
        Ok(Self { shared, thread: Some(thread) })
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
    loop {
        let mut stopped = shared.stopped.lock();
        if !*stopped {
            shared.wake.wait_for(&mut stopped, EVERY);
        }
        if *stopped {
            return;
        }
        drop(stopped);
        match checkpoint(connection) {
            Ok(()) => failing = false,
            Err(error) if failing => tracing::debug!(%error, "store checkpoint failed again"),
            Err(error) => {
                failing = true;
                tracing::warn!(%error, "store checkpoint failed: the log grows until one succeeds");
            }
        }
    }
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    let pages = |mode: &str| connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1));
    let log: i64 = pages("PASSIVE")?;
    if log > LOG_PAGES_MAX {
        let _: i64 = pages("RESTART")?;
    }
    Ok(())
}
