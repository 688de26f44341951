//! The engine from outside: inputs in, batches out. Every batch goes through the tables, which check
//! the rule of writing.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bench;
mod checks;
mod paths;
mod torment;
mod world;
