//! Frames between server and worker.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bowline_fuzz::seeds::write("frames"), |bytes: &[u8]| bowline_fuzz::frames::check(bytes));
