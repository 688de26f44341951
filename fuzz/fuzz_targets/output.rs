//! What a job writes as its result.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bowline_fuzz::output::check(bytes));
