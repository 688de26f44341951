//! Streams of events, as a client reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("events"), |bytes: &[u8]| bowline_fuzz::run("events", bytes));
