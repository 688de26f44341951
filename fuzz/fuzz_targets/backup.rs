//! Files that are said to be backups.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("backup"), |bytes: &[u8]| bowline_fuzz::run("backup", bytes));
