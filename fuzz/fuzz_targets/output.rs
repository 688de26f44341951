//! What a job writes as its result.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("output"), |bytes: &[u8]| bowline_fuzz::run("output", bytes));
