//! How far uploads of artifacts are, as workers say: for the eye, in memory alone.

use std::collections::HashMap;

use bowline_core::id::{AttemptRef, TaskRef, WorkerId};
use bowline_protocol::UploadProgress;
use parking_lot::Mutex;

/// Attempts whose uploads are remembered; beyond them nothing is shown.
const UPLOADS_MAX: usize = 10_000;

/// The uploads under way.
#[derive(Debug, Default)]
pub struct Uploads {
    under_way: Mutex<HashMap<(TaskRef, u32), (WorkerId, UploadProgress)>>,
}

impl Uploads {
    /// A worker says how far it is.
    pub(crate) fn progress(&self, worker: WorkerId, progress: UploadProgress) {
        let (mut under_way, key) = (self.under_way.lock(), key(progress.attempt));
        if progress.files == 0 {
            under_way.remove(&key);
        } else if under_way.len() < UPLOADS_MAX || under_way.contains_key(&key) {
            under_way.insert(key, (worker, progress));
        }
    }

    /// The attempt has ended.
    pub(crate) fn ended(&self, attempt: AttemptRef) {
        self.under_way.lock().remove(&key(attempt));
    }

    /// The worker's session is over: it says anew where it is when it comes back.
    pub(crate) fn left(&self, worker: WorkerId) {
        self.under_way.lock().retain(|_, (of, _)| *of != worker);
    }

    /// How far this attempt's uploads are, where there are any.
    pub(crate) fn of(&self, task: TaskRef, attempt: u32) -> Option<UploadProgress> {
        self.under_way.lock().get(&(task, attempt)).map(|(_, progress)| *progress)
    }
}

fn key(attempt: AttemptRef) -> (TaskRef, u32) {
    (attempt.task, attempt.fence.attempt.0)
}
