//! What worker and supervisor say to each other.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bowline_fuzz::seeds::write("wire"), |bytes: &[u8]| bowline_fuzz::wire::check(bytes));
