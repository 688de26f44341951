//! The parent of all jobs: spawn, capture, kill everything, survive.
