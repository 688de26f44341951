//! A supervisor's records.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("record"), |bytes: &[u8]| bowline_fuzz::run("record", bytes));
