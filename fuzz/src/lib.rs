//! Bytes of any kind against everything of Bowline that reads bytes. One module a target; each panics where
//! something that must hold does not.
//!
//! A target is real code with an oracle around it: what is damaged is named, what is whole is kept, what was read is
//! written the same way again, no answer is an error of the server, nothing grows without bound.

pub mod backup;
pub mod frames;
pub mod log;
pub mod output;
pub mod record;
pub mod rest;
pub mod scratch;
pub mod seeds;
pub mod server;
pub mod session;
pub mod state_dir;
pub mod store;
pub mod wire;
pub mod words;
pub mod workflow;

use std::sync::OnceLock;

/// Feeds a target of this name.
pub fn run(target: &str, bytes: &[u8]) {
    match target {
        "backup" => backup::check(bytes),
        "events" => events(bytes),
        "expression" => workflow::expression(text(bytes)),
        "frames" => frames::check(bytes),
        "log" => log::check(bytes),
        "output" => output::check(bytes),
        "record" => record::check(bytes),
        "rest" => rest::check(bytes),
        "session" => session::check(bytes),
        "state_dir" => state_dir::check(bytes),
        "store" => store::check(bytes),
        "wire" => wire::check(bytes),
        "words" => words::check(text(bytes)),
        "workflow" => workflow::file(text(bytes)),
        _ => panic!("there is no target `{target}`"),
    }
}

/// The target that `BOWLINE_FUZZ_TARGET` names, for the program that has all of them.
pub fn chosen() -> &'static str {
    static CHOSEN: OnceLock<String> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("BOWLINE_FUZZ_TARGET").expect("BOWLINE_FUZZ_TARGET names a target"))
}

/// A stream of events, in pieces whose length the first byte says.
fn events(bytes: &[u8]) {
    let piece = bytes.first().map_or(1, |first| usize::from(*first % 16) + 1);
    bowline_client::fuzz::events(bytes, piece);
}

/// As much of it as is text.
fn text(bytes: &[u8]) -> &str {
    let length = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    std::str::from_utf8(&bytes[..length]).unwrap_or_default()
}
