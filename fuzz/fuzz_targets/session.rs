//! Sessions of workers, in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bowline_fuzz::session::check(bytes));
