//! A supervisor's records.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bowline_fuzz::seeds::write("record"), |bytes: &[u8]| bowline_fuzz::record::check(bytes));
