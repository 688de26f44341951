//! The engine from outside: inputs in, batches out. Every batch goes through the tables, which check
//! the rule of writing.

mod bench;
mod paths;
