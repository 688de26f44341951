//! Workflow files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| bowline_fuzz::workflow::file(text));
