//! Frames between server and worker.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("frames"), |bytes: &[u8]| bowline_fuzz::run("frames", bytes));
