//! Brings a server up, and down again. The one place where a store is chosen.

#[cfg(any(test, feature = "fuzz"))]
pub mod inside;
mod parts;
mod prepare;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_blob::{BlobError, LogError};
use bowline_core::id::TaskId;
use bowline_leader::{Leader, LeaderConfig, LeaderStatus, LeaderTask};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::backup::{self, BackupError};
use crate::config::ServerConfig;
use crate::listen;
use crate::secrets::SecretsError;
use crate::session::Sessions;
use crate::state::AppState;
use parts::Parts;

/// In the data folder: the administrator's token, mode 0600.
pub const TOKEN_FILE: &str = "token";
/// In the data folder: where the live server listens, as JSON: `address`, `pid`, `version`.
pub const ADDRESS_FILE: &str = "server.json";
/// In the data folder: the key of attempts' tokens, mode 0600.
pub(crate) const SECRET_FILE: &str = "secret";
/// How long a first load may take.
const LOAD_WAIT_MAX: Duration = Duration::from_mins(10);

/// A server could not start, or could not go on. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Others could hear.
    #[error(
        "refused to listen on {0} without TLS, because others could read the tokens: listen on 127.0.0.1, or say \
         `--insecure` where the network is trusted"
    )]
    Exposed(SocketAddr),
    /// Somebody else listens there.
    #[error("the address {address} is taken by another program: stop that one, or choose another with `--listen`")]
    AddressTaken {
        /// Which.
        address: SocketAddr,
    },
    /// The address can't be listened on.
    #[error("could not listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The data folder can't be used.
    #[error("could not {operation} {path}")]
    Data {
        /// What was being done.
        operation: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The secrets can't be used.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] bowline_store_sqlite::OpenError),
    /// The logs can't be opened.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// The blobs can't be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// A restore broke off.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The leader can't be started.
    #[error(transparent)]
    Leader(#[from] bowline_leader::StartError),
    /// It could not take leadership or load.
    #[error("the server could not begin to lead: {0}")]
    NotLeading(String),
    /// The writer's thread is gone.
    #[error("the server's writer has stopped, and nothing can be decided any more: start the server again")]
    WriterStopped,
}

/// A server that serves. Dropping it stops it, without waiting for the end.
#[derive(Debug)]
pub struct Server {
    state: AppState,
    sessions: Arc<Sessions>,
    leader: LeaderTask,
    /// What runs beside: the accept loop and the purge of logs.
    tasks: TaskTracker,
    /// Ends the accept loop, after everybody has got his answer.
    stop_serving: DropGuard,
}

impl Server {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.state.local_addr
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.local_addr())
    }

    /// The administrator's token file.
    pub fn token_file(&self) -> PathBuf {
        self.state.config.data.join(TOKEN_FILE)
    }

    /// What its handlers hold.
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Takes no more, answers what is under way, closes sessions in order, and stops; under a second.
    pub async fn shutdown(self) {
        let Self { state, sessions, leader, tasks, stop_serving } = self;
        prepare::remove_address(&state.config.data);
        state.stopping.cancel();
        leader.shutdown().await;
        sessions.tasks.close();
        sessions.tasks.wait().await;
        stop_serving.disarm().cancel();
        tasks.close();
        tasks.wait().await;
        tracing::info!("server stopped");
    }

    /// Ends when the server can't go on, with the reason.
    pub async fn wait(&mut self) -> Result<(), ServerError> {
        let mut status = self.state.leader.status();
        // The sender lives as long as the writer's thread.
        while status.changed().await.is_ok() {}
        Err(ServerError::WriterStopped)
    }
}

/// Opens everything durable, leads, listens, and serves. Returns when the server is ready.
pub async fn start(config: ServerConfig) -> Result<Server, ServerError> {
    prepare::check_exposure(&config)?;
    prepare::data_folder(&config.data)?;
    backup::half_restored(&config.data)?;
    let secrets = parts::secrets(&config.data)?;
    let listener = prepare::bind(config.listen).await?;
    let local_addr = prepare::local_addr(&listener, config.listen)?;
    let parts = Parts::open(&config.data, secrets)?;
    let (purge, purged) = mpsc::unbounded_channel();
    let (leader, leader_task) = lead(&config, purge)?;
    wait_until_leading(&leader).await?;
    Ok(serve(parts.under(leader, config, local_addr), leader_task, listener, purged))
}

fn lead(config: &ServerConfig, purge: mpsc::UnboundedSender<Vec<TaskId>>) -> Result<(Leader, LeaderTask), ServerError> {
    let opened = bowline_store_sqlite::open(&config.data.join(backup::STORE_FILE))?;
    // Only now is the folder known to be this server's own.
    backup::remove_leftovers(&config.data);
    // Where the receiver is gone the server is stopping, and what is left is found no more than
    // before: by its task's number.
    let swept = Arc::new(move |tasks: &[TaskId]| drop(purge.send(tasks.to_vec())));
    let leader = LeaderConfig {
        retention: config.retention,
        timing: config.timing.clone(),
        swept: Some(swept),
        ..LeaderConfig::default()
    };
    Ok(Leader::start(leader, Box::new(opened.store), opened.reader)?)
}

/// The first load decides: where it fails, the server does not start.
async fn wait_until_leading(leader: &Leader) -> Result<(), ServerError> {
    let mut status = leader.status();
    let leads = async {
        loop {
            match &*status.borrow_and_update() {
                // Rolled back it answers too, and says at `/readyz` what is to be done.
                LeaderStatus::Leading { .. } | LeaderStatus::RolledBack { .. } => return Ok(()),
                LeaderStatus::Loading(why) if leader.stats().failures > 0 => {
                    return Err(ServerError::NotLeading(why.clone()));
                }
                LeaderStatus::Loading(_) => {}
            }
            status.changed().await.map_err(|_| ServerError::WriterStopped)?;
        }
    };
    let late = || ServerError::NotLeading(format!("loading took longer than {} minutes", LOAD_WAIT_MAX.as_secs() / 60));
    tokio::time::timeout(LOAD_WAIT_MAX, leads).await.unwrap_or_else(|_| Err(late()))
}

fn serve(
    sessions: Arc<Sessions>,
    leader: LeaderTask,
    listener: TcpListener,
    mut purged: mpsc::UnboundedReceiver<Vec<TaskId>>,
) -> Server {
    let (state, keeper) = (sessions.state.clone(), Arc::clone(&sessions.logs));
    let (tasks, stop_serving) = (TaskTracker::new(), CancellationToken::new());
    let routes = listen::routes(&sessions);
    tasks.spawn(listen::serve(listener, routes, state.config.connections_max, stop_serving.clone()));
    tasks.spawn(async move {
        // Ends with the leader, which holds the other end.
        while let Some(gone) = purged.recv().await {
            let keeper = Arc::clone(&keeper);
            if tokio::task::spawn_blocking(move || keeper.purge(&gone)).await.is_err() {
                tracing::error!("removing logs panicked");
            }
        }
    });
    let collecting = crate::blobs::collect(
        Arc::clone(&state.blobs),
        state.leader.reader(),
        state.config.blobs_kept,
        state.stopping.clone(),
    );
    tasks.spawn(collecting);
    prepare::write_address(&state.config.data, state.local_addr);
    tracing::info!(address = %state.local_addr, data = %state.config.data.display(), "server ready");
    Server { state, sessions, leader, tasks, stop_serving: stop_serving.drop_guard() }
}
