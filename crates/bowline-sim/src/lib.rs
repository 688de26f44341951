//! Bowline's decisions, proved away from clocks, disks and sockets.
//!
//! The simulation: the real leader, worker and supervisor, each as a [`process`] of one [`world`] under
//! one seed. (The model that is checked to its last state is a crate of its own, `bowline-model`.)
//!
//! ```text
//!  workload ──► clients ─┐                       ┌─► machines: worker, supervisor, jobs
//!                        ├── net (links) ── servers ── stores
//!  faults ──────────────►│ clocks, disks, links, processes
//!  check  ◄── replies, events, each committed batch, facts of the jobs
//! ```
//!
//! **Invariant:** nothing is random but what is drawn from the seed. No wall clock, no thread, no hash
//! map's order: the same seed gives the same run, event by event.

pub mod caught;
pub mod check;
pub mod client;
pub mod clock;
pub mod disk;
pub mod drive;
pub mod fault;
pub mod fork;
pub mod job;
mod named;
pub mod net;
pub mod process;
pub mod random;
pub mod runner;
pub mod server;
pub mod shrink;
pub mod store;
pub mod supervisor;
pub mod trace;
pub mod worker;
pub mod workload;
pub mod world;
