//! Expressions of workflows.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("expression"), |bytes: &[u8]| bowline_fuzz::run("expression", bytes));
