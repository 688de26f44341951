//! Drives the engine: takes leadership, loads, batches, commits, releases effects, and evaluates
//! beside the writer what is due.
//!
//! **Invariant:** no effect leaves before its batch and every earlier one are durable (I3); after a
//! failed or unknown commit nothing more leaves at all, and the state is loaded anew.

pub mod handle;

pub use handle::{Committed, Leader, LeaderStatus, SessionOutbox};
