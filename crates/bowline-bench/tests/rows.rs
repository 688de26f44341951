//! Each row runs, and gives what a row has, at the smallest sizes. No speed is asserted.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The program to measure: built beside this one, as `cargo xtask test` does first of all.
fn bowline() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_bowline-bench")).with_file_name("bowline");
    assert!(program.exists(), "{} is not there: `cargo build -p bowline` first", program.display());
    program
}

/// Measures a row; gives back the names of what it told.
#[expect(clippy::disallowed_methods, reason = "the test runs the program")]
fn measure(row: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.json");
    let bench = Command::new(env!("CARGO_BIN_EXE_bowline-bench"))
        .args([row, "--tiny", "--runs", "1", "--for", "1s", "--bowline"])
        .arg(bowline())
        .arg("--json")
        .arg(&file)
        .arg("--folder")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(bench.status.success(), "{row}: {}", String::from_utf8_lossy(&bench.stderr));
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text, String::from_utf8_lossy(&bench.stdout), "both tell the same");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["rows.json"], "nothing else is left behind");
    text.lines().map(name_of).collect()
}

/// The name of a row that has everything that a row has.
fn name_of(line: &str) -> String {
    let row: Value = serde_json::from_str(line).unwrap();
    assert!(row["value"].is_f64() && row["unit"].is_string(), "{row}");
    assert!(row["runs"].as_array().is_some_and(|runs| runs.len() == 1 && runs.iter().all(Value::is_f64)), "{row}");
    let of_ceiling = (row["ceiling"].is_f64(), row["ratio"].is_f64());
    let without = row["ceiling"].is_null() && row["ratio"].is_null();
    assert!(of_ceiling == (true, true) || without, "a ratio goes with a ceiling: {row}");
    row["name"].as_str().unwrap().to_owned()
}

macro_rules! rows {
    ($($test:ident: $row:literal gives [$($name:literal),+];)+) => {
        $(
            #[test]
            fn $test() {
                assert_eq!(measure($row), [$($name),+]);
            }
        )+
    };
}

rows! {
    noop: "noop" gives ["noop", "noop/engine", "noop/store", "noop/engine+store"];
    submit: "submit" gives ["submit/one", "submit/64", "submit/bulk"];
    latency: "latency" gives ["latency/p50", "latency/p99"];
    spawn: "spawn" gives ["spawn/2", "spawn/2/supervisor", "spawn/8", "spawn/8/supervisor"];
    backlog: "backlog" gives ["backlog/submit", "backlog/dispatch"];
    memory: "memory" gives ["memory/task", "memory/task/after a restart", "memory/element"];
    restart: "restart" gives ["restart"];
    idle: "idle" gives ["idle/memory", "idle/commits", "idle/fleet"];
    logs: "logs" gives ["logs/one", "logs/results beside 1 MB/s each"];
    artifacts: "artifacts" gives
        ["artifacts/large/up", "artifacts/large/down", "artifacts/small/up", "artifacts/small/down"];
    churn: "churn" gives ["churn"];
    lines: "lines" gives ["lines", "lines/in-turn", "lines/jobs"];
    one_line: "one-line" gives ["one-line"];
    matching: "match" gives ["match"];
    explain: "explain" gives ["explain"];
    bulk: "bulk" gives ["bulk/pause", "bulk/cancel", "bulk/array", "bulk/array/cancel"];
}
