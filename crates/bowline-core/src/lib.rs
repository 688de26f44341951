//! What decides in Bowline, and nothing else.
//!
//! The [`Engine`] is a pure state machine: it has no IO, no clock, no randomness, no thread and no
//! async. Time, ids and seeds come in with its inputs; what it changed and what must follow from
//! that come out as a [`Batch`]. The leader drives it in production, a simulation drives it under a
//! seed, and both run the very same code.
//!
//! **Invariant:** the same inputs give the same outputs, byte for byte.

pub mod answer;
pub mod effect;
pub mod engine;
pub mod explain;
pub mod fair;
pub mod gang;
pub mod id;
pub mod input;
mod listed;
pub mod machine;
pub mod message;
pub mod mutant;
pub mod name;
pub mod placement;
pub mod probe;
pub mod resource;
pub mod rng;
pub mod row;
pub mod run;
pub mod size;
pub mod spec;
pub mod state;
pub mod tables;
pub mod time;
pub mod worker;

pub use effect::Batch;
pub use engine::{Engine, EngineConfig, Timing};
pub use input::Input;
