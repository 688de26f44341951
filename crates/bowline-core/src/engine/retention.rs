//! Retention: the store removes what ended long ago, beside the engine. While it does, nothing of that is
//! brought back to life, so that no row is written which is no longer there; afterwards memory forgets it.

use crate::answer::{Refusal, RefusalCode};
use crate::id::{RunId, TaskId};
use crate::probe::{self, Path};
use crate::time::Timestamp;

use super::Engine;

impl Engine {
    /// Whether what ended then may be gone from the store already.
    pub(super) fn check_not_swept(&self, ended_at: Option<Timestamp>, what: &str) -> Result<(), Refusal> {
        let is_old = self.sweeping.zip(ended_at).is_some_and(|(by, ended_at)| ended_at <= by);
        if is_old {
            probe::reached(Path::RevivalOfWhatIsBeingRemoved);
            let message = format!("{what} ended long ago and is being removed; look again in a moment.");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        Ok(())
    }

    pub(super) fn forget_swept(&mut self, tasks: &[TaskId], runs: &[RunId]) {
        self.sweeping = None;
        let filling = self.filling();
        // A fact on its way may still show them.
        let is_awaited = self.parking.len() > 0;
        if is_awaited && !tasks.is_empty() {
            probe::reached(Path::RetentionCrossingARead);
        }
        for id in tasks {
            if self.tasks.get(id).is_some_and(super::table::Task::is_ended) {
                self.tasks.remove(id);
            }
            if is_awaited {
                self.tasks_gone.insert(*id, filling);
                self.evictions.push_task(filling, *id);
            }
        }
        for id in runs {
            if self.runs.get(id).is_some_and(|run| run.row.state.is_ended()) {
                self.runs.remove(id);
            }
            if is_awaited {
                self.runs_gone.insert(*id, filling);
                self.evictions.push_run(filling, *id);
            }
        }
    }
}
