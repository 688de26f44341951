//! Requests to the REST interface.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("rest"), |bytes: &[u8]| bowline_fuzz::run("rest", bytes));
