//! Workflow files.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("workflow"), |bytes: &[u8]| bowline_fuzz::run("workflow", bytes));
