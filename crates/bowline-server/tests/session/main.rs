//! A real server, and workers whose every message is sent by hand.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test may spawn its own tasks and read clocks, and a panic is how it fails"
)]

mod fixture;

mod bulk;
mod doors;
mod kinds;
mod life;
