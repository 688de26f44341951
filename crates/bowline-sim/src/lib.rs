//! Bowline's decisions, proved away from clocks, disks and sockets.
//!
//! [`handover`] is the smallest model of taking work: claims, fences, sessions, Hello, commits and
//! restores, with two workers and two tasks, checked exhaustively.

pub mod handover;
