//! Waiting for something to change: woken by the leader's events, never by a timer.

use std::ops::RangeInclusive;
use std::time::Duration;

use bowline_api::WAIT_MAX;
use bowline_core::id::{TaskId, TaskRef};
use bowline_core::row::Subject;
use bowline_core::time::Span;
use bowline_leader::Committed;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::shell::Shell;

/// Changes of one subject, from before the first look at it: nothing falls between.
pub(crate) struct Changes {
    events: broadcast::Receiver<Committed>,
    watched: Watched,
    deadline: Option<Instant>,
    stopping: CancellationToken,
}

/// What is watched.
enum Watched {
    One(Subject),
    /// These tasks.
    Tasks(RangeInclusive<TaskId>),
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// It may have changed: look again.
    Changed,
    /// The time is over, or the server goes down.
    Over,
}

impl Changes {
    /// From now on, for at most this long; without it, without end.
    pub(crate) fn of(shell: &Shell, subject: Subject, within: Option<Duration>) -> Self {
        Self::watch(shell, Watched::One(subject), within)
    }

    /// The same of all tasks of a gang.
    pub(crate) fn of_tasks(shell: &Shell, tasks: RangeInclusive<TaskId>, within: Duration) -> Self {
        Self::watch(shell, Watched::Tasks(tasks), Some(within))
    }

    fn watch(shell: &Shell, watched: Watched, within: Option<Duration>) -> Self {
        let deadline = within.map(|within| Instant::now() + within);
        Self { events: shell.app.leader.events(), watched, deadline, stopping: shell.app.stopping.clone() }
    }

    /// The next change.
    pub(crate) async fn next(&mut self) -> Woken {
        loop {
            let next = tokio::select! {
                () = self.stopping.cancelled() => return Woken::Over,
                () = until(self.deadline) => return Woken::Over,
                next = self.events.recv() => next,
            };
            match next {
                Ok(committed) if committed.events.iter().any(|event| self.watched.is_about(&event.subject)) => {
                    return Woken::Changed;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Woken::Changed,
                Err(RecvError::Closed) => return Woken::Over,
            }
        }
    }
}

impl Watched {
    fn is_about(&self, happened: &Subject) -> bool {
        match (self, happened) {
            (Self::One(subject), happened) => concerns(subject, happened),
            (Self::Tasks(tasks), Subject::Task(unit)) => tasks.contains(&unit.task),
            (Self::Tasks(_), _) => false,
        }
    }
}

/// That moment; never, where there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Whether what happened to one may have changed the other: an element changes with its array too.
fn concerns(watched: &Subject, happened: &Subject) -> bool {
    match (watched, happened) {
        (Subject::Task(watched), Subject::Task(happened)) => {
            watched == happened || *happened == TaskRef::whole(watched.task)
        }
        (watched, happened) => watched == happened,
    }
}

/// How long to wait, where that was asked for.
pub(crate) fn wait_length(wait: Option<Span>) -> Result<Option<Duration>, Fault> {
    match wait {
        None => Ok(None),
        Some(wait) if wait.0 <= WAIT_MAX => Ok(Some(wait.0)),
        Some(_) => Err(Fault::field("wait", "`wait` must be at most 5m. Ask again when the time is over.")),
    }
}
