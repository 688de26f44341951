//! What worker and supervisor say to each other.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bowline_fuzz::wire::check(bytes));
