//! Frames between server and worker.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bowline_fuzz::frames::check(bytes));
