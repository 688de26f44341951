//! End to end, against the shipped binary: real servers, workers, supervisors and jobs. One test
//! binary, so that it is linked once; add a file for each theme, and name it below.

mod harness;

mod census;
mod lifecycle;
mod offline;
mod runs;
mod tasks;
mod torment;
