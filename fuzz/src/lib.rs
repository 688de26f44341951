//! Bytes of any kind against everything of Bowline that reads bytes. One module a target; each panics where
//! something that must hold does not.
//!
//! A target is real code with an oracle around it: what is damaged is named, what is whole is kept, what was read is
//! written the same way again, no answer is an error of the server, nothing grows without bound.

pub mod backup;
pub mod frames;
pub mod log;
pub mod output;
pub mod record;
pub mod rest;
pub mod scratch;
pub mod seeds;
pub mod server;
pub mod session;
pub mod state_dir;
pub mod wire;
pub mod words;
pub mod workflow;
