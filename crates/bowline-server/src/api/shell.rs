//! What handlers hold beside the server's state: reads of the store off the async threads, and what
//! is remembered between them.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use bowline_core::answer::{Answer, Overview};
use bowline_core::id::{RunId, TaskId, WorkerId};
use bowline_core::input::{Request, Token};
use bowline_core::name::Actor;
use bowline_store::{ReadStore, StoreError};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::fault::Fault;
use crate::metrics::HttpMetrics;
use crate::state::AppState;

/// Most reads of the store and of files at a time; more wait.
const READS_MAX: usize = 16;
/// Tasks whose runs are remembered.
const RUNS_REMEMBERED: usize = 50_000;

/// What handlers hold. Cheap to clone: each layer that a request goes through does.
#[derive(Clone)]
pub(crate) struct Shell(Arc<Held>);

impl Deref for Shell {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.0
    }
}

/// What that is.
pub(crate) struct Held {
    pub(crate) app: AppState,
    reads: Arc<Semaphore>,
    workers: Arc<Mutex<HashMap<WorkerId, Arc<str>>>>,
    runs: Arc<Cache<TaskId, Option<RunId>>>,
    tokens: Arc<Mutex<Tokens>>,
    backup: Arc<Semaphore>,
    pub(crate) http: Arc<HttpMetrics>,
    /// What is still said for clients that went away.
    pub(crate) leaving: TaskTracker,
}

/// The store's tokens as they were read last, and how often they changed.
#[derive(Default)]
struct Tokens {
    changes: u64,
    read: Option<Arc<Vec<Token>>>,
}

impl FromRef<Shell> for AppState {
    fn from_ref(shell: &Shell) -> Self {
        shell.app.clone()
    }
}

impl Shell {
    pub(crate) fn new(app: AppState) -> Self {
        let http = Arc::new(HttpMetrics::register(&mut app.metrics.lock()));
        Self(Arc::new(Held {
            app,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            workers: Arc::default(),
            runs: Arc::new(Cache::new(RUNS_REMEMBERED)),
            tokens: Arc::default(),
            backup: Arc::new(Semaphore::new(1)),
            http,
            leaving: TaskTracker::new(),
        }))
    }

    /// Runs what blocks, off the async threads, a bounded number at a time.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let permit = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| Fault::broken(operation))?;
        let joined = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        joined.await.map_err(|error| Fault::internal(operation, &error))?
    }

    /// The one place for a backup under way. `None`: it is taken.
    pub(crate) fn backup_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.backup).try_acquire_owned().ok()
    }

    /// Reads the store.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn ReadStore) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let reader = self.app.leader.reader();
        self.blocking("read the store", move || work(&*reader)).await
    }

    /// Asks the leader.
    pub(crate) async fn ask(&self, actor: Actor, request: Request) -> Result<Answer, Fault> {
        self.app.leader.request(actor, request).await.map_err(Fault::from)
    }

    /// Counts, workers and lanes as they are now.
    pub(crate) async fn overview(&self, actor: Actor) -> Result<Overview, Fault> {
        match self.ask(actor, Request::Overview).await? {
            Answer::Overview(overview) => Ok(*overview),
            other => Err(unexpected("give an overview", &other)),
        }
    }

    /// Workers' names, for a read that is under way.
    pub(crate) fn names(&self) -> Names {
        Names { known: Arc::clone(&self.workers) }
    }

    /// The run that a task belongs to.
    pub(crate) async fn run_of(&self, task: TaskId) -> Result<Option<RunId>, Fault> {
        if let Some(run) = self.runs.get(&task) {
            return Ok(run);
        }
        let found = self.read(move |store| Ok(store.task(task)?)).await?;
        let run = found.and_then(|found| found.row.run).map(|(run, _)| run);
        self.runs.insert(task, run);
        Ok(run)
    }

    /// The store's tokens.
    pub(crate) async fn tokens(&self) -> Result<Arc<Vec<Token>>, Fault> {
        let changes = {
            let tokens = self.tokens.lock();
            if let Some(read) = &tokens.read {
                return Ok(Arc::clone(read));
            }
            tokens.changes
        };
        let read = Arc::new(self.read(|store| Ok(store.tokens()?)).await?);
        let mut tokens = self.tokens.lock();
        if tokens.changes == changes {
            tokens.read = Some(Arc::clone(&read));
        }
        Ok(read)
    }

    /// A token was made or used up.
    pub(crate) fn tokens_changed(&self) {
        let mut tokens = self.tokens.lock();
        tokens.changes += 1;
        tokens.read = None;
    }
}

/// An answer of another kind than the request's: a mistake of ours.
pub(crate) fn unexpected(operation: &str, answer: &Answer) -> Fault {
    tracing::error!(operation, ?answer, "the leader gave an answer of another kind");
    Fault::broken(operation)
}

/// Workers' names by number. A name never changes, so what was read once stays good.
#[derive(Clone)]
pub(crate) struct Names {
    known: Arc<Mutex<HashMap<WorkerId, Arc<str>>>>,
}

impl Names {
    /// The name of a worker; its number where it was forgotten. Blocks.
    pub(crate) fn of(&self, worker: WorkerId, store: &dyn ReadStore) -> Result<String, StoreError> {
        if let Some(name) = self.known.lock().get(&worker) {
            return Ok(name.to_string());
        }
        let rows = store.workers()?;
        let mut known = self.known.lock();
        known.extend(rows.iter().map(|row| (row.id, Arc::from(row.name.as_str()))));
        Ok(known.get(&worker).map_or_else(|| format!("#{worker}"), ToString::to_string))
    }
}
