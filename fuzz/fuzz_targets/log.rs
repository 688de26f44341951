//! Logs on the server's disk, with what lies beside them.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("log"), |bytes: &[u8]| bowline_fuzz::run("log", bytes));
