//! A server without its port, for fuzzing and tests: the real routes, leader, sessions and files, over a
//! store in memory. What is asked of it is asked in the process.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use bowline_core::name::{Actor, WorkerName};
use bowline_leader::{Leader, LeaderConfig, LeaderStatus, LeaderTask};
use bowline_store::MemoryStore;
use bytes::Bytes;
use tower::ServiceExt as _;

use super::parts::{self, Parts};
use super::{ServerError, TOKEN_FILE, prepare, wait_until_leading};
use crate::config::ServerConfig;
use crate::listen;
use crate::session::Sessions;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A server without its port.
#[derive(Debug)]
pub struct Inside {
    routes: Router,
    sessions: Arc<Sessions>,
    leader: LeaderTask,
    token: String,
}

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    /// It was answered, to its end.
    Whole(Response<Bytes>),
    /// Its head came, and its end not in time: a stream that goes on, or a wait.
    GoesOn(StatusCode),
    /// Not even its head came in time.
    Silent,
}

impl Inside {
    /// Brings everything up in this folder, which must be empty.
    pub async fn open(data: impl Into<PathBuf>) -> Result<Self, ServerError> {
        let config = ServerConfig::new(data);
        prepare::data_folder(&config.data)?;
        let secrets = parts::secrets(&config.data)?;
        let token_file = config.data.join(TOKEN_FILE);
        let read = |source| ServerError::Data { operation: "read", path: token_file.clone(), source };
        let token = std::fs::read_to_string(&token_file).map_err(read)?.trim().to_owned();
        let parts = Parts::open(&config.data, secrets)?;
        let store = MemoryStore::new();
        let settings = LeaderConfig { gather: Duration::ZERO, seed: Some(1), ..LeaderConfig::default() };
        let (leader, task) = Leader::start(settings, Box::new(store.clone()), Arc::new(store))?;
        wait_until_leading(&leader).await?;
        let local_addr = config.listen;
        let sessions = parts.under(leader, config, local_addr);
        let routes = listen::routes(&sessions);
        Ok(Self { routes, sessions, leader: task, token })
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Lets a worker in under this key.
    pub async fn enrol(&self, worker: WorkerName, key: &str) -> Result<(), bowline_core::answer::Refusal> {
        let key = *blake3::hash(key.as_bytes()).as_bytes();
        let request = bowline_core::input::Request::Enrol { token: None, worker, key };
        self.sessions.state.leader.request(Actor::new("inside"), request).await.map(drop)
    }

    /// Asks. What takes longer than `within` is given up, as a client does that closes its connection.
    pub async fn ask(&self, request: Request<Body>, within: Duration) -> Answer {
        self.asking(request, within).await
    }

    /// As [`Inside::ask`], to be awaited beside other things.
    pub fn asking(&self, request: Request<Body>, within: Duration) -> impl Future<Output = Answer> + Send + 'static {
        let routes = self.routes.clone();
        async move {
            let Ok(answered) = tokio::time::timeout(within, routes.oneshot(request)).await else {
                return Answer::Silent;
            };
            let (head, body) = answered.unwrap_or_else(|never| match never {}).into_parts();
            match tokio::time::timeout(within, to_bytes(body, ANSWER_BYTES_MAX)).await {
                Ok(Ok(bytes)) => Answer::Whole(Response::from_parts(head, bytes)),
                Ok(Err(_)) | Err(_) => Answer::GoesOn(head.status),
            }
        }
    }

    /// Why it does not lead any more: a leadership that ended shows that what was decided and what was
    /// stored did not fit together. `None`: it leads, and always has.
    pub fn trouble(&self) -> Option<String> {
        let (status, stats) =
            (self.sessions.state.leader.status().borrow().clone(), self.sessions.state.leader.stats());
        let is_well = stats.failures == 0 && matches!(status, LeaderStatus::Leading { .. });
        (!is_well && !matches!(status, LeaderStatus::RolledBack { .. }))
            .then(|| format!("{status:?} after {} failures", stats.failures))
    }

    /// Ends everything.
    pub async fn close(self) {
        self.sessions.state.stopping.cancel();
        self.leader.shutdown().await;
        self.sessions.tasks.close();
        self.sessions.tasks.wait().await;
    }
}
