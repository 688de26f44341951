//! `run`: on its own server and on one that is there.

use std::process::Stdio;

use rustix::process::{Pid, Signal};

use crate::harness::{Room, finish, until};

const SMALL: &str = r#"
name: small
inputs:
  word: { type: string, default: hello }
steps:
  list:
    run: printf 'a\nb c\n$(touch hacked)\n'
    output: lines
  each:
    needs: list
    for_each: "{{ steps.list.result }}"
    argv: [printf, "%s", "{{ item }}"]
    output: text
  report:
    needs: each
    env:
      WORD: "{{ inputs.word }}"
    run: |
      echo "$WORD" > "$BOWLINE_ARTIFACTS/report.txt"
result: "{{ steps.each.results | map(attribute='result') | list }}"
artifacts:
  report: [report.txt]
"#;

#[test]
fn a_small_workflow_runs_on_its_own_and_leaves_only_its_result() {
    let room = Room::new();
    room.write("small.yaml", SMALL);
    let ran = room.run(&["run", "small.yaml", "--input", "word=there", "--out", "results"]);
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(std::fs::read_to_string(room.work().join("results/report.txt")).unwrap(), "there\n");
    let result: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(result, serde_json::json!(["a", "b c", "$(touch hacked)"]));
    assert!(!room.work().join("hacked").exists());
    room.wait_empty();
    assert_eq!(std::fs::read_dir(room.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn the_same_file_on_a_running_server_is_seen_there() {
    let room = Room::new();
    let up = room.up(&[]);
    room.write("small.yaml", SMALL);
    let ran = room.run(&["run", "small.yaml", "--json"]);
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains(&up.url), "{}", ran.stderr);
    let last: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["run"]["state"], "succeeded");
    assert!(room.work().join("report.txt").exists());
    let id = last["run"]["id"].as_str().unwrap().to_owned();
    assert!(room.good(&["runs", "list"]).contains("small"));
    assert!(room.good(&["runs", "show", &id]).contains("report"));
    assert_eq!(room.run(&["wait", &id]).status, Some(0));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_failing_step_is_told_with_the_end_of_its_log() {
    let room = Room::new();
    room.write("bad.yaml", "name: bad\nsteps:\n  boom:\n    run: |\n      echo the last words\n      exit 3\n");
    let ran = room.run(&["run", "bad.yaml"]);
    assert_eq!(ran.status, Some(1), "{}\n{}", ran.stdout, ran.stderr);
    for part in ["boom", "the last words", "bowline logs"] {
        assert!(ran.stderr.contains(part), "`{part}` is missing in\n{}", ran.stderr);
    }
}

#[test]
fn ctrl_c_of_a_local_run_leaves_nothing() {
    let room = Room::new();
    room.write("long.yaml", "name: long\nsteps:\n  wait:\n    run: |\n      echo begun\n      sleep 6000\n");
    let child = room.command(&["run", "long.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the job runs", || room.processes().iter().any(|(_, line)| line.contains("sleep 6000")));
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = finish(child, "run long.yaml");
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    room.wait_empty();
    assert_eq!(std::fs::read_dir(room.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_wrong_input_is_told_before_anything_starts() {
    let room = Room::new();
    room.write("small.yaml", SMALL);
    let ran = room.run(&["run", "small.yaml", "--input", "wrod=x"]);
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("wrod"), "{}", ran.stderr);
}
