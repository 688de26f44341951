//! The leader over a store in memory that can be held back and can fail.

#![allow(clippy::disallowed_methods, reason = "a test spawns its own clients")]

mod gated;
mod house;

mod durable;
mod evaluated;
mod failed;
mod sessions;
