//! Drives the engine: takes leadership, loads, batches, commits, releases effects, and evaluates
//! beside the writer what is due.
//!
//! ```text
//! handles ─► inbox ─► writer (engine) ─► committer (store) ─► writer ─► replies, sessions, events
//!                        ▲    │ needs     ▲ sweeps               │ due
//!                        │    ▼           │                      ▼
//!                        └─ fetcher       └─ retention       evaluators ─► back to the writer
//! ```
//!
//! While batch *n* is being committed, inputs are applied to the engine and become batch *n + 1*,
//! which is taken when *n* is durable. So the effects of a batch, one without rows too, can only
//! leave after every earlier one is durable.
//!
//! What is decided here is pure ([`term`], [`take_over`]): the threads, clocks and channels around it are a
//! shell, and a simulation drives the same leadership without them.
//!
//! **Invariant:** no effect leaves before its batch and every earlier one are durable (I3); after a
//! failed or unknown commit nothing more leaves at all, and the state is loaded anew.

mod clock;
mod command;
mod commit;
mod config;
mod desk;
mod evaluate;
mod fetch;
pub mod handle;
mod returns;
mod stats;
pub mod take_over;
mod task;
pub mod term;
mod works;
mod writer;

pub use commit::{Durable, commit};
pub use config::{LeaderConfig, SweptSink, WriterStore};
pub use evaluate::Evaluator;
pub use fetch::facts;
pub use handle::{Assigned, Committed, Leader, LeaderStatus, Opened, SessionOutbox};
pub use stats::{COMMIT_SECONDS, Counters, LeaderStats};
pub use take_over::{Taken, take_over};
pub use task::{LeaderTask, StartError};
pub use term::{Due, End, Output, Posted, Term};
