//! What a worker that tells of its steps says: when an attempt began.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::clock::Stopwatch;
use crate::process::{Line, Process};

/// So long an attempt may take to begin.
const BEGIN_MAX: Duration = Duration::from_mins(2);

/// When the next attempt began, and of which task.
pub(crate) fn next_begin(worker: &Process) -> Result<(Stopwatch, String)> {
    worker.line(BEGIN_MAX, begun)
}

fn begun(line: &Line) -> Option<(Stopwatch, String)> {
    let said: Value = serde_json::from_str(&line.text).ok()?;
    if said["event"] != "Begin" {
        return None;
    }
    Some((line.at, said["attempt"].as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Line, begun};
    use crate::clock::Stopwatch;

    #[test]
    fn a_beginning_is_known_among_other_lines() {
        let line = |text: &str| Line { at: Stopwatch::start(), text: text.to_owned() };
        let found = begun(&line(r#"{"attempt":"4@0.1","before":"Queued","event":"Begin"}"#));
        assert_eq!(found.map(|(_, attempt)| attempt).as_deref(), Some("4@0.1"));
        assert!(begun(&line(r#"{"attempt":"4@0.1","event":"Started"}"#)).is_none());
        assert!(begun(&line("no document")).is_none());
    }
}
