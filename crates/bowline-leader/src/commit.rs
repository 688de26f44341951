//! The committer: a thread that makes one batch durable at a time, while the writer fills the next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bowline_core::effect::Batch;
use bowline_core::id::{Epoch, TaskId};
use bowline_core::row::Row;
use bowline_core::time::Timestamp;
use bowline_store::{RetentionPolicy, StoreError};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::clock;
use crate::config::WriterStore;
use crate::returns::{Durable, Return};

/// The store, as the writer's and the committer's threads share it: never both at once.
pub(crate) type SharedStore = Arc<Mutex<Box<dyn WriterStore>>>;

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
            match store.commit(epoch, now, &batch) {
                Ok(commit_no) => Return::Committed(Durable {
                    commit_no,
                    took: began.elapsed(),
                    gone: gone(&batch.rows),
                    events: batch.history,
                }),
                Err(error) => Return::CommitFailed(error),
            }
        }
        Job::Sweep { now, policy } => match store.sweep(epoch, now, &policy) {
            Ok(swept) => Return::Swept(swept),
            Err(error) => Return::CommitFailed(error),
        },
    }
}

fn gone(rows: &[Row]) -> Vec<TaskId> {
    let task = |row: &Row| if let Row::TaskGone(task) = row { Some(*task) } else { None };
    rows.iter().filter_map(task).collect()
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", said.unwrap_or_else(|| "no message".to_owned()))
}
