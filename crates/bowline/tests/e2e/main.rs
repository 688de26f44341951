//! End to end, against the shipped binary: real servers, workers, supervisors and jobs. One test
//! binary, so that it is linked once; add a file for each theme, and name it below.

mod harness;

mod api;
mod bad_input;
mod census;
mod doors;
mod interface;
mod lifecycle;
mod offline;
mod policies;
mod runs;
mod store_trouble;
mod tasks;
mod torment;
mod waiting;
mod web;
