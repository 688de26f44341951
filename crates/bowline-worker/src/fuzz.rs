//! What must hold for any bytes that a job leaves, or that lie in a state directory: for fuzzing, and for tests.

use std::path::Path;

use bowline_core::name::WorkerName;
use bowline_core::spec::{OutputFormat, RESULT_BYTES_MAX};
use serde_json::Value;

use crate::collect;
use crate::state_dir::{self, Owner};

/// Longest sentence about what is wrong with an output, in bytes: it becomes a task's outcome.
const WHY_BYTES_MAX: usize = 4 << 10;

/// Makes a result of what a job wrote into `BOWLINE_OUTPUT` and to its standard output. Panics where what comes of
/// it is no JSON, too large, or not what was written.
pub fn output(written: &[u8], output: &[u8], format: Option<OutputFormat>) {
    match collect::result_of(written, output, format) {
        Ok(None) => assert!(format.is_none() && written.iter().all(u8::is_ascii_whitespace), "a result is lost"),
        Ok(Some(json)) => {
            assert!(json.len() <= RESULT_BYTES_MAX, "a result of {} bytes", json.len());
            let value: Value = serde_json::from_str(&json).expect("a result is JSON");
            if let Ok(said) = serde_json::from_slice::<Value>(written) {
                assert_eq!(value, said, "a result that is JSON already stays what it is");
            }
        }
        Err(why) => assert!(!why.is_empty() && why.len() <= WHY_BYTES_MAX, "an error of {} bytes", why.len()),
    }
}

/// Reads what a state directory notes of itself (`server`, `id`, `key`), where a worker of this name starts on it.
/// Panics where something is taken that cannot be meant.
pub fn state_dir(folder: &Path, name: &WorkerName) {
    state_dir::look(folder, &Owner::of(name, None));
}
