//! A real server, and workers whose every message is sent by hand.

#![allow(clippy::disallowed_methods, reason = "a test may spawn its own tasks and read clocks")]

mod fixture;

mod bulk;
mod doors;
mod kinds;
mod life;
