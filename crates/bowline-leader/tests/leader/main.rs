//! The leader over a store in memory that can be held back and can fail.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test spawns its own clients, and a panic is how it fails"
)]

mod gated;
mod house;

mod durable;
mod evaluated;
mod failed;
mod sessions;
