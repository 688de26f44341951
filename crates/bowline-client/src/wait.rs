//! Waiting for an end, across restarts of the server.

use std::time::Duration;

use bowline_api::{Run, Task};
use bowline_core::id::{RunId, TaskRef};
use bowline_core::time::Span;
use reqwest::Method;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::ClientError;
use crate::http::{Backoff, Call, Client};

/// The longest wait that one call asks for.
const ONE_WAIT: Duration = Duration::from_secs(30);

/// What it means that there is no such thing, and what is waited for.
#[derive(Clone, Copy)]
pub(crate) enum Missing<'a> {
    /// It is not there yet.
    NotYet(&'a str),
    /// It never will be.
    Never(&'a str),
}

impl Client {
    /// Waits until the task has ended, at most `within`; without it, for as long as it takes. A
    /// server that is away meanwhile is borne with for 5 min, or as long as
    /// [`Client::with_patience`] says.
    pub async fn wait_task(&self, task: TaskRef, within: Option<Duration>) -> Result<Task, ClientError> {
        let id = task.to_string();
        self.wait(&["tasks", &id], within, |task: &Task| task.state.is_ended()).await
    }

    /// Waits until the run has ended, in the same way.
    pub async fn wait_run(&self, run: RunId, within: Option<Duration>) -> Result<Run, ClientError> {
        let id = format!("r{run}");
        self.wait(&["runs", &id], within, |run: &Run| run.ended).await
    }

    async fn wait<T: DeserializeOwned>(
        &self,
        path: &[&str],
        within: Option<Duration>,
        ended: impl Fn(&T) -> bool,
    ) -> Result<T, ClientError> {
        self.until(within, || Ok(self.call(Method::GET, path)), ended, Missing::Never(&path.join(" "))).await
    }

    /// Asks, by long polls, until it is so.
    pub(crate) async fn until<'a, T: DeserializeOwned>(
        &'a self,
        within: Option<Duration>,
        call: impl Fn() -> Result<Call<'a>, ClientError>,
        is_so: impl Fn(&T) -> bool,
        missing: Missing<'_>,
    ) -> Result<T, ClientError> {
        let deadline = within.map(|within| Instant::now() + within);
        let mut heard = Instant::now();
        let mut pause = Backoff::new();
        loop {
            let left = deadline.map_or(ONE_WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
            let wait = left.min(ONE_WAIT);
            match call()?.pair("wait", &Span(wait).to_string()).waits(wait).read::<T>().await {
                Ok(seen) if is_so(&seen) => return Ok(seen),
                Ok(_) => {
                    heard = Instant::now();
                    pause.reset();
                }
                Err(error) if error.is_not_found() && matches!(missing, Missing::NotYet(_)) => heard = Instant::now(),
                Err(error) if error.is_passing() && heard.elapsed() < self.away_patience() => pause.wait().await,
                Err(error) => return Err(error),
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let what = match missing {
                    Missing::NotYet(what) => format!("waiting for `{what}`"),
                    Missing::Never(what) => what.to_owned(),
                };
                return Err(ClientError::WaitedOut { what });
            }
        }
    }
}
