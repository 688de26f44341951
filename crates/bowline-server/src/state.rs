//! What every handler holds: cheap to clone.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use bowline_blob::{BlobStore, LogStore};
use bowline_leader::Leader;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::config::ServerConfig;
use crate::secrets::Secrets;
use crate::session::{Keys, SessionCounts};
use crate::uploads::Uploads;

/// What every handler holds. Cheap to clone: each layer that a request goes through does.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Parts>);

impl AppState {
    /// Of these.
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What that is.
#[derive(Debug)]
pub struct Parts {
    /// Who decides.
    pub leader: Leader,
    /// Logs of attempts. Its calls block.
    pub logs: Arc<LogStore>,
    /// Artifacts. Its calls block.
    pub blobs: Arc<BlobStore>,
    /// As the server was started.
    pub config: Arc<ServerConfig>,
    /// The administrator's token and the key of attempts' tokens.
    pub secrets: Arc<Secrets>,
    /// Messages of sessions, counted by kind.
    pub sessions: Arc<SessionCounts>,
    /// How far uploads of artifacts are.
    pub uploads: Arc<Uploads>,
    /// The workers' keys.
    pub(crate) keys: Arc<Keys>,
    /// What `/metrics` shows.
    pub metrics: Arc<Mutex<Registry>>,
    /// Where the server listens, as it was bound.
    pub local_addr: SocketAddr,
    /// Cancelled when the server stops: answers that go on for long end then.
    pub stopping: CancellationToken,
}
