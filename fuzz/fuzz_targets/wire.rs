//! What worker and supervisor say to each other.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("wire"), |bytes: &[u8]| bowline_fuzz::run("wire", bytes));
