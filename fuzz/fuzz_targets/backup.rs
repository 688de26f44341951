//! Files that are said to be backups.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bowline_fuzz::seeds::write("backup"), |bytes: &[u8]| bowline_fuzz::backup::check(bytes));
