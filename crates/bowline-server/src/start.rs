//! Brings a server up, and down again.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::ServerConfig;
use crate::state::AppState;

/// In the data folder: the administrator's token, mode 0600.
pub const TOKEN_FILE: &str = "token";
/// In the data folder: where the live server listens, as JSON: `address`, `pid`, `version`.
pub const ADDRESS_FILE: &str = "server.json";

/// A server could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It is not built yet.
    #[error("the server is not built yet")]
    Unbuilt,
}

/// A server that serves.
#[derive(Debug)]
pub struct Server {
    state: AppState,
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
        std::future::ready(()).await;
    }

    /// Ends when the server can't go on, with the reason.
    pub async fn wait(&mut self) -> Result<(), ServerError> {
        std::future::pending().await
    }
}

/// Opens everything durable, leads, listens, and serves. Returns when the server is ready.
pub async fn start(config: ServerConfig) -> Result<Server, ServerError> {
    drop(config);
    std::future::ready(Err(ServerError::Unbuilt)).await
}
