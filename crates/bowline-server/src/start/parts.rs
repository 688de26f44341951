//! Puts a server together: what its folder holds, its leader, and what handlers and sessions share. The same for a server with a
//! port and for one without.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bowline_blob::{BlobStore, LogStore};
use bowline_leader::Leader;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{SECRET_FILE, ServerError, TOKEN_FILE};
use crate::config::ServerConfig;
use crate::logs::LogKeeper;
use crate::secrets::Secrets;
use crate::session::{Keys, Seats, Sessions};
use crate::state::{AppState, Parts as State};

/// Who may come in, from the data folder.
pub(super) fn secrets(data: &Path) -> Result<Secrets, ServerError> {
    Ok(Secrets::open(&data.join(TOKEN_FILE), &data.join(SECRET_FILE))?)
}

/// What the data folder holds beside the store.
#[derive(Debug)]
pub(super) struct Parts {
    secrets: Secrets,
    logs: Arc<LogStore>,
    blobs: Arc<BlobStore>,
}

impl Parts {
    /// Opens it.
    pub(super) fn open(data: &Path, secrets: Secrets) -> Result<Self, ServerError> {
        let logs = Arc::new(LogStore::open(data.join("logs"))?);
        let blobs = Arc::new(BlobStore::open(data.join("blobs"))?);
        Ok(Self { secrets, logs, blobs })
    }

    /// With a leader that leads: what handlers and sessions share.
    pub(super) fn under(self, leader: Leader, config: ServerConfig, local_addr: SocketAddr) -> Arc<Sessions> {
        let Self { secrets, logs, blobs } = self;
        let state = AppState::new(State {
            leader: leader.clone(),
            logs: Arc::clone(&logs),
            blobs,
            config: Arc::new(config),
            secrets: Arc::new(secrets),
            sessions: Arc::default(),
            uploads: Arc::default(),
            keys: Arc::new(Keys::new(leader.clone())),
            metrics: Arc::new(Mutex::new(Registry::default())),
            local_addr,
            stopping: CancellationToken::new(),
        });
        let logs = Arc::new(LogKeeper::new(logs, leader));
        Arc::new(Sessions { state, seats: Seats::default(), logs, tasks: TaskTracker::new() })
    }
}
