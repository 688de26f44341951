//! Small files of a worker's state directory and a server's data folder.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bowline_fuzz::state_dir::check(bytes));
