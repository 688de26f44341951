//! Sizes, spans, ids, names.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("words"), |bytes: &[u8]| bowline_fuzz::run("words", bytes));
