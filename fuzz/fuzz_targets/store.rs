//! A store's database and its log, cut or altered at any byte.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("store"), |bytes: &[u8]| bowline_fuzz::run("store", bytes));
