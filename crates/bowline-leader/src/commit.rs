//! What is done with the store's writing side: one batch, or one batch of retention, at a time. The functions
//! are plain; the thread that calls them, while the writer fills the next batch, is at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch, TaskId};
use bowline_core::row::{HistoryRow, Row};
use bowline_core::time::Timestamp;
use bowline_store::{CommitError, LeaderStore, RetentionPolicy, StoreError};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::clock;
use crate::config::WriterStore;
use crate::returns::Return;

/// The store, as the writer's and the committer's threads share it: never both at once.
pub(crate) type SharedStore = Arc<Mutex<Box<dyn WriterStore>>>;

/// A batch that is durable.
#[derive(Debug)]
pub struct Durable {
    /// Which commit.
    pub commit_no: CommitNo,
    /// The batch's history: the commit's events.
    pub events: Vec<HistoryRow>,
    /// Tasks that this batch removed.
    pub gone: Vec<TaskId>,
}

/// Makes a batch durable.
pub fn commit<S: LeaderStore + ?Sized>(
    store: &mut S,
    epoch: Epoch,
    now: Timestamp,
    batch: Batch,
) -> Result<Durable, CommitError> {
    let commit_no = store.commit(epoch, now, &batch)?;
    Ok(Durable { commit_no, gone: gone(&batch.rows), events: batch.history })
}

fn gone(rows: &[Row]) -> Vec<TaskId> {
    let task = |row: &Row| if let Row::TaskGone(task) = row { Some(*task) } else { None };
    rows.iter().filter_map(task).collect()
}

/// What the committer is to do. One at a time is under way.
#[derive(Debug)]
pub(crate) enum Job {
    /// Make this durable.
    Commit { now: Timestamp, batch: Batch },
    /// Remove what has been kept long enough.
    Sweep { now: Timestamp, policy: RetentionPolicy },
}

/// The committer's thread: ends when the writer drops its end, or after a failure.
pub(crate) fn run(
    store: &SharedStore,
    epoch: Epoch,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
    returns: &mpsc::UnboundedSender<Return>,
) {
    while let Some(job) = jobs.blocking_recv() {
        // A panic within the store leaves the commit unknown, which is a failed commit.
        let done = catch_unwind(AssertUnwindSafe(|| perform(&mut **store.lock(), epoch, job)));
        let back = done.unwrap_or_else(|panic| {
            Return::CommitFailed(StoreError::new("committing a batch", panic_text(panic.as_ref())).into())
        });
        let failed = matches!(back, Return::CommitFailed(_));
        if returns.send(back).is_err() || failed {
            return;
        }
    }
}

fn perform(store: &mut dyn WriterStore, epoch: Epoch, job: Job) -> Return {
    match job {
        Job::Commit { now, batch } => {
            let began = clock::monotonic();
            match commit(store, epoch, now, batch) {
                Ok(durable) => Return::Committed { durable, took: began.elapsed() },
                Err(error) => Return::CommitFailed(error),
            }
        }
        Job::Sweep { now, policy } => match store.sweep(epoch, now, &policy) {
            Ok(swept) => Return::Swept(swept),
            Err(error) => Return::CommitFailed(error),
        },
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", said.unwrap_or_else(|| "no message".to_owned()))
}
