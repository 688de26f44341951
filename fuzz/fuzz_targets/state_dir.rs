//! Small files of a worker's state directory and a server's data folder.
#![no_main]

libfuzzer_sys::fuzz_target!(init: bowline_fuzz::seeds::write("state_dir"), |bytes: &[u8]| bowline_fuzz::run("state_dir", bytes));
