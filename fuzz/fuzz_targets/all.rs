//! All targets in one program, which is built in a fraction of the time: `BOWLINE_FUZZ_TARGET` says which one it is.
#![no_main]

use bowline_fuzz::{chosen, run, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write(chosen()), |bytes: &[u8]| run(chosen(), bytes));
