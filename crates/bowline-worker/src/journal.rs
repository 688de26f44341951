//! What a worker must not forget: the attempts that it was given, and what it has to say of them.
//! One SQLite file, one thread that writes to it, many changes in one commit.
//!
//! The dispatcher hands over batches of changes, each with what is to follow once they are durable
//! ([`After`]); the thread commits as many batches as have come at once and gives back what follows, in
//! order. While the disk refuses a commit, it is tried again, nothing follows, and the dispatcher is told.
//!
//! What such changes come to is written twice: in [`memory`], which is the model, and for the file. A test has
//! them agree on random changes.

mod file;
pub mod memory;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_protocol::{LogStream, Sealed};
use tokio::sync::mpsc as channel;

use crate::clock;
use crate::error::WorkerError;
use file::JournalFile;
pub use file::{Journaled, JournaledLog, Kept, Recovered};

/// Most batches in one commit.
const BATCHES_PER_COMMIT_MAX: usize = 256;
/// What nothing waits for is written with what comes next, or after so long.
const UNHURRIED_WITHIN: Duration = Duration::from_millis(20);
/// So many batches that nothing waits for are written without waiting for more: the dispatcher counts them too.
const UNHURRIED_MAX: usize = 16;
/// Between two tries of a commit that the disk refuses.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite refused.
    #[error("{what} failed")]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// Made by a newer program.
    #[error(
        "it was written by a newer version of Bowline (format {found}; this program knows {known}): start that version"
    )]
    Newer {
        /// The file's format.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Its pages do not hang together.
    #[error(
        "it is damaged ({0}): move it away to begin with an empty one; what it held is then settled as if this worker \
         had lost its disk"
    )]
    Unsound(String),
    /// A record cannot be understood.
    #[error("its record of {0} is damaged")]
    Damaged(String),
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// An attempt was handed over.
    PutAttempt {
        /// Which.
        attempt: AttemptRef,
        /// Its assignment, in wire form.
        assign: Vec<u8>,
    },
    /// Its job runs.
    MarkStarted {
        /// Whose.
        attempt: AttemptRef,
    },
    /// Its end is in the outbox.
    MarkEnded {
        /// Whose.
        attempt: AttemptRef,
    },
    /// Nothing about it is left to be done.
    DropAttempt {
        /// Which.
        attempt: AttemptRef,
    },
    /// An assured message.
    PutMessage {
        /// Its number: no other message ever has the same.
        seq: u64,
        /// What it is about.
        attempt: AttemptRef,
        /// In wire form.
        message: Vec<u8>,
        /// When it was said: microseconds of the wall clock, from which nothing but its age is made.
        said_us: u64,
    },
    /// It is acknowledged.
    DropMessage {
        /// Its number.
        seq: u64,
    },
    /// The server keeps this log up to here.
    LogAcked {
        /// Whose log.
        attempt: AttemptRef,
        /// Which of its logs.
        stream: LogStream,
        /// Up to so many bytes.
        up_to: u64,
        /// Whether that is all.
        sealed: Sealed,
    },
    /// What was seen of the server.
    Seen {
        /// The newest generation.
        generation: u32,
        /// The newest commit number.
        commit_no: u64,
        /// The incarnation that was given.
        incarnation: u32,
    },
}

/// What follows once a batch is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum After {
    /// The attempt may begin.
    Begin(AttemptRef),
    /// Messages up to this one may be sent.
    Deliver(u64),
    /// The supervisor may forget this attempt's job.
    Forget(AttemptRef),
    /// Nothing about this attempt is known any more: its folder may go.
    Remove(AttemptRef),
}

/// Changes that belong together, and what follows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// All of them or none.
    pub ops: Vec<Op>,
    /// What follows once they are durable.
    pub after: Vec<After>,
}

impl Batch {
    /// Whether nobody waits for it, and the worst that follows where it is lost is that something is said once more.
    fn is_unhurried(&self) -> bool {
        let is_unhurried = |op: &Op| match op {
            Op::DropAttempt { .. } | Op::DropMessage { .. } | Op::LogAcked { .. } => true,
            Op::PutAttempt { .. }
            | Op::MarkStarted { .. }
            | Op::MarkEnded { .. }
            | Op::PutMessage { .. }
            | Op::Seen { .. } => false,
        };
        let can_wait = |after: &After| match after {
            After::Remove(_) => true,
            After::Begin(_) | After::Deliver(_) | After::Forget(_) => false,
        };
        self.ops.iter().all(is_unhurried) && self.after.iter().all(can_wait)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.after.is_empty()
    }
}

/// What the journal's writer says.
#[derive(Debug)]
pub enum Said {
    /// Some batches are durable.
    Durable {
        /// How many, from the oldest that was not.
        batches: usize,
        /// What follows, in order.
        after: Vec<After>,
    },
    /// The disk refuses; it is tried again.
    Refused(String),
}

/// A journal, what it held, and what its thread says.
pub(crate) type Opened = (Journal, Recovered, channel::UnboundedReceiver<Said>);

/// The shell's end of the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    batches: Option<mpsc::Sender<Batch>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Journal {
    /// Opens the file, reads what it holds, and starts the thread.
    pub(crate) fn open(path: &Path) -> Result<Opened, WorkerError> {
        let failed = |source| WorkerError::Journal { path: PathBuf::from(path), source };
        let mut file = JournalFile::open(path).map_err(failed)?;
        if let Err(error) = file.keep_room() {
            // It is worth less then, and works.
            tracing::warn!(error = crate::pool::chain(&error), "the journal has no room kept for the worst");
        }
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let recovered = file.recover().map_err(failed)?;
        let (batches, inbox) = mpsc::channel();
        // Bounded by the batches: the dispatcher stops when too many are pending.
        let (says, said) = channel::unbounded_channel();
        let named = std::thread::Builder::new().name("bowline-journal".to_owned());
        let thread = named.spawn(move || write(&mut file, &folder, &inbox, &says)).map_err(WorkerError::Thread)?;
        Ok((Self { batches: Some(batches), thread: Some(thread) }, recovered, said))
    }

    /// Hands over a batch.
    pub(crate) fn put(&self, batch: Batch) {
        if let Some(batches) = &self.batches
            && batches.send(batch).is_err()
        {
            tracing::error!("the journal's thread is gone");
        }
    }

    /// Waits until everything that was handed over is durable, and closes the file.
    pub(crate) fn close(&mut self) {
        drop(self.batches.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

fn write(file: &mut JournalFile, folder: &Path, inbox: &mpsc::Receiver<Batch>, says: &channel::UnboundedSender<Said>) {
    while let Ok(first) = inbox.recv() {
        let batches = gather(first, inbox);
        let mut has_room = true;
        while let Err(error) = file.commit(batches.iter().flat_map(|batch| &batch.ops)) {
            if std::mem::take(&mut has_room) {
                // For this it was kept.
                crate::reserve::release(folder);
                continue;
            }
            let told = says.send(Said::Refused(crate::pool::chain(&error)));
            if told.is_err() {
                return;
            }
            has_room = true;
            std::thread::park_timeout(RETRY_EVERY);
        }
        let count = batches.len();
        let after = batches.into_iter().flat_map(|batch| batch.after).collect();
        if says.send(Said::Durable { batches: count, after }).is_err() {
            // Nobody waits for what follows, but what was handed over is still written.
            tracing::debug!("the dispatcher has left");
        }
    }
}

/// What goes into the next commit: all that has come, and where nothing waits for any of it, what comes within a while.
fn gather(first: Batch, inbox: &mpsc::Receiver<Batch>) -> Vec<Batch> {
    let begun = clock::moment();
    let mut batches = vec![first];
    loop {
        let so_far = batches.len();
        batches.extend(inbox.try_iter().take(BATCHES_PER_COMMIT_MAX - so_far));
        if batches.len() >= UNHURRIED_MAX || !batches.iter().all(Batch::is_unhurried) {
            return batches;
        }
        match inbox.recv_timeout(UNHURRIED_WITHIN.saturating_sub(clock::moment().since(begun))) {
            Ok(next) => batches.push(next),
            // None comes in time, or none any more.
            Err(_) => return batches,
        }
    }
}

#[cfg(test)]
mod tests;
