//! Streams of events, as a client reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let piece = bytes.first().map_or(1, |first| usize::from(*first % 16) + 1);
    bowline_client::fuzz::events(bytes, piece);
});
