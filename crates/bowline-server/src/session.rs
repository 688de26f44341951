//! Sessions of workers: the gRPC service.
//!
//! ```text
//!            ┌─ state, artifacts ─► leader ─► outbox ─┐
//! reader ────┤                                        ├─► sender ─► frames
//!            └─ log segments ─► log keeper ─ acks ────┘
//! ```
//!
//! Messages are passed on in the order in which they came; only logs go their own way, so that they
//! never delay a result (I15). Every queue has a bound, and whoever does not read is closed.

mod auth;
mod counts;
mod incoming;
mod live;
mod outgoing;
mod reports;
mod run;
mod seats;
mod service;

pub(crate) use auth::Keys;
pub use counts::{KindCounts, SessionCounts};
pub(crate) use reports::Report;
pub(crate) use seats::Seats;
pub(crate) use service::{Service, Sessions};

use std::time::Duration;

/// Messages that wait to be sent to one worker; a session with more is closed.
const OUTBOX_MAX: usize = 16_384;
/// Frames that are packed and not yet taken by the connection.
const FRAMES_MAX: usize = 4;
/// Log segments of one session that wait for the disk: 64 MiB of the largest ones. Those beyond are
/// dropped, and asked for again.
const LOG_SEGMENTS_MAX: usize = 1_024;
/// Acknowledgements of logs that wait for the sender.
const LOG_ANSWERS_MAX: usize = 1_024;
/// How long a worker may take to say Hello.
const HELLO_WAIT_MAX: Duration = Duration::from_secs(10);
/// A worker that has said nothing for so long is gone: twelve heartbeats.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// How long a connection may take to accept a frame.
const SEND_WAIT_MAX: Duration = Duration::from_secs(30);
