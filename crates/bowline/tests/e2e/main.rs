//! End to end, against the shipped binary: real servers, workers, supervisors and jobs. One test
//! binary, so that it is linked once; add a file for each theme, and name it below.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what fails here fails the test; tests wait with a bound"
)]
#![allow(
    clippy::format_push_string,
    clippy::double_ended_iterator_last,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::assigning_clones,
    reason = "a few allocations of a test are not worth a harder reading"
)]
#![allow(clippy::too_many_lines, reason = "a test that goes through an interface is a list")]

mod gangs;
mod harness;

mod api;
mod artifacts;
mod backup;
mod bad_input;
mod census;
mod demo;
mod documents;
mod doors;
mod explaining;
mod fairness;
mod fleet;
mod health;
mod identity;
mod interface;
mod lifecycle;
mod logless;
mod loglines;
mod loss;
mod missing;
mod network;
mod offline;
mod outbox;
mod pausing;
mod placement;
mod policies;
mod promises;
mod reattach;
mod resources;
mod runs;
mod several;
mod stopping;
mod store_trouble;
mod supervision;
mod tasks;
mod torment;
mod units;
mod waiting;
mod web;
