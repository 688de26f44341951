//! The parent of all jobs: spawn, capture, kill everything, survive.
//!
//! A worker starts its supervisor once ([`client::Supervisor::ensure`]) and tells it what to run over a
//! Unix socket. The supervisor is one small process with one thread. It starts jobs with their output
//! straight to files, holds their run limits, kills all that they started, and writes down how
//! they ended. A worker that dies is no event to the jobs: the next one connects, says
//! [`wire::Request::List`] and hears of every end again that it has not forgotten.
//!
//! What decides is [`machine`], which touches nothing; the loop in `server` does what it says. A simulation
//! runs the same machine over the same [`records`], with no process and no file.
//!
//! This crate leaves to the worker: what a job is, and which files it gets.
//!
//! Invariant: a job's end is told only when none of its processes is left. What can't be killed is
//! named ([`wire::Event::Stuck`]) and keeps its place.
//!
//! Linux only.

#[macro_use]
mod sim;

mod boot;
mod cgroup;
mod cli;
pub mod client;
mod clock;
mod clone;
mod cradle;
mod inherited;
mod keeper;
mod log;
pub mod machine;
mod paths;
mod plan;
mod procs;
mod raw;
pub mod records;
mod report;
mod server;
mod signals;
mod socket;
mod spawn;
mod sweep;
mod ways;
pub mod wire;

pub use boot::{BOOT_ID_FILE, boot_id};
pub use cli::{Options, Outcome, dispatch, run};
pub use clock::boottime;
pub use paths::{own as own_folder, socket_path};
pub use procs::MARK_VARIABLE;
pub use spawn::{Program, SUPERVISOR_COMMAND, spawn_detached};
pub use sweep::{SweepError, Swept, sweep_leftovers};
pub use ways::{Offer, Way, offers};
