//! Waiting for an end, across restarts of the server.

use std::time::Duration;

use bowline_api::{Run, Task};
use bowline_core::id::{RunId, TaskRef};
use bowline_core::time::Span;
use reqwest::Method;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::ClientError;
use crate::http::{Backoff, Client};

/// The longest wait that one call asks for.
const ONE_WAIT: Duration = Duration::from_secs(30);

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
        let deadline = within.map(|within| Instant::now() + within);
        let mut heard = Instant::now();
        let mut pause = Backoff::new();
        loop {
            let left = deadline.map_or(ONE_WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
            let wait = left.min(ONE_WAIT);
            let call = self.call(Method::GET, path).pair("wait", &Span(wait).to_string()).waits(wait);
            match call.read::<T>().await {
                Ok(seen) if ended(&seen) => return Ok(seen),
                Ok(_) => {
                    heard = Instant::now();
                    pause.reset();
                }
                Err(error) if error.is_passing() && heard.elapsed() < self.away_patience() => pause.wait().await,
                Err(error) => return Err(error),
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(ClientError::WaitedOut { what: path.join(" ") });
            }
        }
    }
}
