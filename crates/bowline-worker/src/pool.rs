//! The one place where work that blocks is done: files, hashing, compression. Bounded.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Blocking jobs at work at the same time.
const AT_WORK_MAX: usize = 4;

/// Runs closures on blocking threads, a few at a time, and hands back what each returns.
#[derive(Debug)]
pub(crate) struct Pool<T: 'static> {
    room: Arc<Semaphore>,
    tasks: JoinSet<T>,
}

impl<T: Send + 'static> Pool<T> {
    pub(crate) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(AT_WORK_MAX)), tasks: JoinSet::new() }
    }

    /// Does this when there is room. What it returns comes out of [`Pool::next`].
    pub(crate) fn submit(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        let room = Arc::clone(&self.room);
        self.tasks.spawn(async move {
            // The semaphore is never closed; were it, working unbounded beats not working.
            let permit = room.acquire_owned().await.ok();
            let done = tokio::task::spawn_blocking(work).await;
            drop(permit);
            match done {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is leaving: nobody waits any more.
                    Err(_) => std::future::pending().await,
                },
            }
        });
    }

    /// Something async whose outcome comes out in the same place.
    pub(crate) fn spawn(&mut self, work: impl Future<Output = T> + Send + 'static) -> tokio::task::AbortHandle {
        self.tasks.spawn(work)
    }

    /// The next outcome. `None`: one was aborted. Waits for ever while there is none.
    pub(crate) async fn next(&mut self) -> Option<T> {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok(done)) => Some(done),
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => None,
            },
        }
    }
}

/// Does this on a blocking thread, now.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

/// An error with all its sources, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
