//! The engine from outside: inputs in, batches out. Every batch goes through the tables, which check
//! the rule of writing.

#![expect(clippy::unwrap_used, clippy::manual_is_multiple_of, reason = "tests; one in so many steps")]

mod bench;
mod checks;
mod delivery;
mod explaining;
mod fairness;
mod fleet;
mod gangs;
mod holds;
mod limits;
mod lines;
mod matching;
mod paths;
mod placement;
mod sessions;
mod shares;
mod torment;
mod world;
