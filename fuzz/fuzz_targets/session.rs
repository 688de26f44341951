//! Sessions of workers, in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("session"), |bytes: &[u8]| bowline_fuzz::run("session", bytes));
