//! The shell around the leader: sessions of workers, REST, authentication; one port for all.
//!
//! **Invariant:** decides nothing about tasks. Which store is used is chosen in one place ([`start()`]).

pub mod api;
mod auth;
pub mod backup;
mod blobs;
pub mod check;
pub mod clock;
mod config;
mod listen;
mod logs;
mod metrics;
mod secrets;
mod session;
mod start;
mod state;
mod uploads;

pub use config::{Exposure, LISTEN_DEFAULT, ServerConfig};
pub use secrets::{Secrets, SecretsError, random_secret};
pub use session::{KindCounts, SessionCounts};
#[cfg(any(test, feature = "fuzz"))]
pub use start::inside;
pub use start::{ADDRESS_FILE, Server, ServerError, TOKEN_FILE, start};
pub use state::AppState;
pub use uploads::Uploads;
