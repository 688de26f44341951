//! A worker: it takes what a server assigns, has it done, and delivers what came of it, whatever
//! breaks meanwhile.
//!
//! | responsibility | module |
//! |---|---|
//! | what can be configured | [`config`] |
//! | the state directory: lock, ids, key | `state_dir` |
//! | one dispatcher a server, and how they end | `run` |
//! | slots and amounts among servers | [`shares`] |
//! | self-checks, and room kept on the disk | [`checks`], `reserve`, `dispatcher::health` |
//! | identity and enrolment | `identity` |
//! | threads, sockets and files around a dispatcher | `shell` |
//! | the clocks | `clock` |
//! | session and reconnect | `session`, `dispatcher::link` |
//! | the three ways to send | `session::lanes` |
//! | demand: how much the server may hand over | `dispatcher::demand` |
//! | journal and outbox | [`journal`], `outbox` |
//! | an attempt's machine, pure | [`attempt::machine`] |
//! | its driver, and the order of all events | [`dispatcher`] |
//! | preparing: folder, files, environment | `prepare` |
//! | starting and stopping through the supervisor | `jobs` |
//! | results and artifacts | `collect` |
//! | the action `http` | `http_action` |
//! | logs | `logs`, `dispatcher::bulk` |
//! | artifacts on their way | `uploads`, `dispatcher::bulk` |
//! | commands from the server | `dispatcher::orders` |
//! | leaving on purpose | `dispatcher::leaving` |
//! | work that blocks | `pool` |
//! | what a worker counts, its event loop's lag among it | [`stats`] |
//!
//! One dispatcher a server owns the state of what it does for that server, and puts all events in order. It is pure;
//! its shell does what it says, in production, and `bowline-sim` under a seed.
//! It persists, then acts: what must not be lost is in the journal before anything follows from it. Servers
//! have nothing in common but the process, its lock and its room: one's trouble is never another's.
//!
//! **Invariant:** an assignment is journaled before it is acted upon; an assured message is on disk
//! before it is sent, and stays there until it is acknowledged. Nothing blocks the event loop.

pub mod attempt;
pub mod checks;
mod clock;
mod collect;
pub mod config;
pub mod dispatcher;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod http_action;
mod identity;
mod jobs;
pub mod journal;
mod logs;
mod outbox;
mod pool;
mod prepare;
mod reserve;
mod run;
mod session;
pub mod shares;
mod shell;
mod state_dir;
pub mod stats;
mod uploads;

pub use config::{LeftBehind, OnTerm, Server, Stop, WorkerConfig, WorkerExit};
pub use error::WorkerError;
pub use run::run;
pub use session::backoff::Backoff;
pub use state_dir::Owner;
