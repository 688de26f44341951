//! The census's scripts, run for real on hostile folders, against an independent count.
#![expect(
    clippy::disallowed_methods,
    reason = "the test runs the scripts itself: no worker is needed for what they print"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command as Process, Output};

use bowline_core::id::{NodeIndex, RunId};
use bowline_core::input::Evaluation;
use bowline_core::run::NodeEnd;
use bowline_core::spec::{Action, Command, Work};
use bowline_core::state::{Outcome, StateKind};
use bowline_workflow::{Context, ElementView, StepView, Workflow, check};
use serde_json::{Value, json};

fn census() -> Workflow {
    let path = format!("{}/../../examples/census.yaml", env!("CARGO_MANIFEST_DIR"));
    check("census.yaml", &std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Runs a script as a worker does: own folder, clean environment, `/bin/sh -e`.
fn run(work: &Work) -> Output {
    let Action::Command(Command::Shell(script)) = &work.action else { panic!("no script") };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("script"), script).unwrap();
    let mut process = Process::new("/bin/sh");
    process.args(["-e", "script"]).current_dir(folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
    process.envs(&work.env).output().unwrap()
}

/// NUL-ended output as a list, what is not UTF-8 replaced.
fn nul_list(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut parts: Vec<_> = output.stdout.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    assert_eq!(parts.pop().as_deref(), Some(""), "the output ends with a NUL");
    json!(parts)
}

fn find(root: &Path, what: &[&str]) -> Vec<u8> {
    let mut process = Process::new("find");
    let output = process.arg(root).args(["-mindepth", "1"]).args(what).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn start(workflow: &Workflow, root: &Path) -> Context {
    let given = BTreeMap::from([("root".to_owned(), json!(root.to_str().unwrap()))]);
    Context { run: RunId(1), inputs: workflow.inputs(&given).unwrap(), steps: BTreeMap::new() }
}

fn task(workflow: &Workflow, node: u32, context: &Context) -> bowline_core::input::NewTask {
    match workflow.evaluate(NodeIndex(node), context) {
        Evaluation::Task(task) => *task,
        other => panic!("no task: {other:?}"),
    }
}

fn ended(result: Option<Value>, elements: Option<Vec<ElementView>>) -> StepView {
    StepView { end: NodeEnd::Succeeded, outcome: Some(Outcome::Succeeded), result, elements }
}

/// All steps; gives census.json.
fn go(root: &Path) -> Value {
    let workflow = census();
    let mut context = start(&workflow, root);
    let names = nul_list(&run(&task(&workflow, 0, &context).spec.work));
    context.steps.insert("list".parse().unwrap(), ended(Some(names), None));
    let count = task(&workflow, 1, &context);
    let elements = count.elements.iter().zip(0..).map(|(work, index)| ElementView {
        index,
        state: StateKind::Succeeded,
        outcome: Some(Outcome::Succeeded),
        result: Some(nul_list(&run(work))),
    });
    let elements = elements.collect();
    context.steps.insert("count".parse().unwrap(), ended(None, Some(elements)));
    let report = task(&workflow, 2, &context);
    serde_json::from_str(&report.spec.work.files["census.json"]).unwrap()
}

fn put(root: &Path, path: &[u8], bytes: usize) {
    let path = root.join(OsStr::from_bytes(path));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, vec![b'x'; bytes]).unwrap();
}

#[test]
fn hostile_names_are_counted_as_find_counts_them() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    put(root, b"top.txt", 11);
    put(root, b"two words/a file", 100);
    put(root, b"quote'\"/deep/er/x", 1_000);
    put(root, b"new\nline/with\nnewline", 7);
    put(root, b"new\nline\n/ends in newline\n", 9);
    put(root, b"$(touch pwned)/`id`", 5);
    put(root, b"-n/-rf", 3);
    put(root, b"bad\xff\xfebytes/\xc3(", 13);
    put(root, b"bad\xff\xfebytes\n/in a folder that is no text either", 17);
    std::fs::create_dir(root.join("empty")).unwrap();
    std::os::unix::fs::symlink("/usr", root.join("link")).unwrap();
    std::fs::hard_link(root.join("two words/a file"), root.join("two words/the same")).unwrap();

    let census = go(root);
    let sizes = find(root, &["-type", "f", "-printf", "%s\\n"]);
    let sizes: Vec<u64> = String::from_utf8(sizes).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(census["files"], sizes.len());
    assert_eq!(census["bytes"], sizes.iter().sum::<u64>());
    assert_eq!(census["folders"], find(root, &["-type", "d", "-printf", "."]).len());
    assert_eq!((&census["unreadable"], &census["failed"]), (&json!(0), &json!(0)));
    let entries = census["entries"].as_array().unwrap();
    let entry = |name: &str| entries.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("{name:?}"));
    assert_eq!(entry("")["bytes"], 11);
    assert_eq!(entry("quote'\"")["biggest"], json!({"bytes": 1000, "path": "deep/er/x"}));
    assert_eq!(entry("new\nline")["biggest"]["path"], "with\nnewline");
    assert_eq!(entry("new\nline\n")["bytes"], 9);
    assert_eq!(entry("bad\u{fffd}\u{fffd}bytes")["bytes"], 13);
    assert_eq!(entry("empty")["files"], 0);
    assert!(!root.join("pwned").exists());
}

#[test]
fn an_empty_root_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let census = go(root.path());
    assert_eq!((&census["files"], &census["folders"], &census["bytes"]), (&json!(0), &json!(0), &json!(0)));
    assert_eq!(census["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_read_is_counted_and_not_fatal() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), b"shut/inner/file", 4);
    put(root.path(), b"open/file", 6);
    let inner = root.path().join("shut/inner");
    let mode = |mode| std::fs::set_permissions(&inner, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o000);
    let readable = std::fs::read_dir(&inner).is_ok();
    let census = go(root.path());
    mode(0o755);
    // Whoever is above permissions (root) reads it all the same.
    let (files, unreadable) = if readable { (2, 0) } else { (1, 1) };
    assert_eq!((&census["files"], &census["unreadable"]), (&json!(files), &json!(unreadable)));
    assert_eq!(census["failed"], 0);
}

#[test]
fn a_root_that_is_not_there_says_so() {
    let root = tempfile::tempdir().unwrap();
    let workflow = census();
    for (path, said) in [("gone", "there is no folder"), ("file", "there is no folder")] {
        put(root.path(), b"file", 1);
        let context = start(&workflow, &root.path().join(path));
        let output = run(&task(&workflow, 0, &context).spec.work);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said));
    }
    let context = start(&workflow, Path::new("relative"));
    let output = run(&task(&workflow, 0, &context).spec.work);
    assert!(String::from_utf8_lossy(&output.stderr).contains("must be an absolute path"));
}
