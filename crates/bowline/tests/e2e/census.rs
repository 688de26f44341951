//! The main job on real input: its numbers against an independent `find`, hostile names, an empty
//! root, a folder that cannot be read, and the same file on a server that is there.

#![expect(clippy::disallowed_methods, reason = "tests start the binary and find")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Ran, Room, finish};

fn census_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/census.yaml")
}

fn run_census(room: &Room, root: &Path) -> Ran {
    let input = format!("root={}", root.display());
    room.run(&["run", census_file().to_str().unwrap(), "--input", &input])
}

fn report(room: &Room) -> Value {
    serde_json::from_str(&std::fs::read_to_string(room.work().join("census.json")).unwrap()).unwrap()
}

/// What `find` alone counts below a folder: files, folders, bytes.
fn find(root: &Path) -> (u64, u64, u64) {
    let output = Command::new("find")
        .arg(root)
        .args(["-mindepth", "1", "(", "-type", "f", "-printf", "f %s\\n", "-o", "-type", "d", "-printf", "d 0\\n", ")"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().fold((0, 0, 0), |(files, folders, bytes), line| match line.split_once(' ').unwrap() {
        ("f", size) => (files + 1, folders, bytes + size.parse::<u64>().unwrap()),
        _ => (files, folders + 1, bytes),
    })
}

fn assert_counted(report: &Value, (files, folders, bytes): (u64, u64, u64)) {
    assert_eq!(report["files"], files, "{report}");
    assert_eq!(report["folders"], folders, "{report}");
    assert_eq!(report["bytes"], bytes, "{report}");
    assert_eq!(report["failed"], 0, "{report}");
}

/// A folder full of names that break scripts. Bytes are different in each.
fn hostile(root: &Path) {
    let names: [&[u8]; 11] = [
        b"with space",
        b"quote'single",
        b"quote\"double",
        b"new\nline",
        b"\nleading",
        b"$(touch hacked)",
        b"`touch hacked` &amp;",
        b"-rf",
        b"{{ inputs.root }}",
        b"<script>alert(1)<b>",
        b"bad\xff\xfeutf8",
    ];
    for (nth, name) in names.iter().enumerate() {
        let folder = root.join(OsStr::from_bytes(name));
        std::fs::create_dir_all(folder.join("in ner\n")).unwrap();
        std::fs::write(folder.join(OsStr::from_bytes(name)), vec![b'x'; 10 + nth]).unwrap();
        std::fs::write(folder.join("in ner\n").join("file"), vec![b'y'; 1_000 * nth]).unwrap();
    }
    std::fs::write(root.join("directly here"), "twelve bytes").unwrap();
    std::os::unix::fs::symlink("/", root.join("a link to everything")).unwrap();
}

#[test]
fn the_census_counts_what_find_counts() {
    let room = Room::new();
    // Real folders of a real machine.
    let root = Path::new("/usr/share");
    let ran = run_census(&room, root);
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    let report = report(&room);
    assert_counted(&report, find(root));
    let html = std::fs::read_to_string(room.work().join("census.html")).unwrap();
    assert!(html.contains("<table") && html.contains("<svg"), "a table and a chart");
    let totals: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(totals["files"], report["files"]);
    room.wait_empty();
}

#[test]
fn hostile_names_are_counted_and_shown_and_do_nothing() {
    let room = Room::new();
    let root = room.path().join("root");
    std::fs::create_dir(&root).unwrap();
    hostile(&root);
    let ran = run_census(&room, &root);
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    let report = report(&room);
    assert_counted(&report, find(&root));
    let shown: BTreeMap<&str, &Value> =
        report["entries"].as_array().unwrap().iter().map(|entry| (entry["name"].as_str().unwrap(), entry)).collect();
    for name in ["with space", "new\nline", "\nleading", "$(touch hacked)", "{{ inputs.root }}", "-rf"] {
        assert_eq!(shown[name]["files"], 2, "{name:?} in {report}");
    }
    let html = std::fs::read_to_string(room.work().join("census.html")).unwrap();
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "names are escaped in the page");
    let hacked = Command::new("find").arg(room.path()).args(["-name", "hacked"]).output().unwrap();
    assert!(hacked.stdout.is_empty(), "a name was run as a command");
    room.wait_empty();
}

#[test]
fn an_empty_root_has_a_report_and_a_missing_one_a_reason() {
    let room = Room::new();
    let root = room.path().join("empty");
    std::fs::create_dir(&root).unwrap();
    let ran = run_census(&room, &root);
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert_counted(&report(&room), (0, 0, 0));
    std::fs::remove_dir(&root).unwrap();
    let ran = run_census(&room, &root);
    assert_eq!(ran.status, Some(1), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("there is no folder"), "{}", ran.stderr);
    room.wait_empty();
}

/// The rights of a folder stop nobody who is root, so the census runs as somebody else where it can.
#[test]
fn a_folder_that_cannot_be_read_is_counted_as_such() {
    let room = Room::new();
    let root = room.path().join("root");
    std::fs::create_dir_all(root.join("open")).unwrap();
    std::fs::create_dir_all(root.join("closed/inner")).unwrap();
    std::fs::write(root.join("open/file"), "123").unwrap();
    std::fs::set_permissions(root.join("closed"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let file = room.path().join("census.yaml");
    std::fs::copy(census_file(), &file).unwrap();
    let input = format!("root={}", root.display());
    let mut command = room.command(&["run", file.to_str().unwrap(), "--input", &input]);
    if rustix::process::geteuid().is_root() {
        let nobody = 65_534;
        for folder in ["", "run", "home", "tmp", "work"] {
            std::os::unix::fs::chown(room.path().join(folder), Some(nobody), Some(nobody)).unwrap();
        }
        let shipped = room.path().join("bowline");
        std::fs::copy(env!("CARGO_BIN_EXE_bowline"), &shipped).unwrap();
        let mut other = Command::new(&shipped);
        other.args(command.get_args()).current_dir(room.work()).env_clear();
        other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        std::os::unix::process::CommandExt::uid(&mut other, nobody);
        std::os::unix::process::CommandExt::gid(&mut other, nobody);
        command = other;
        command.stdin(std::process::Stdio::null());
    }
    let piped = std::process::Stdio::piped;
    let ran = finish(command.stdout(piped()).stderr(piped()).spawn().unwrap(), "run census.yaml");
    std::fs::set_permissions(root.join("closed"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    let report = report(&room);
    assert_eq!((&report["files"], &report["folders"]), (&Value::from(1), &Value::from(2)), "{report}");
    assert_eq!(report["unreadable"], 1, "{report}");
    room.wait_empty();
}

#[test]
fn on_a_running_up_the_census_does_the_same_and_its_tasks_are_seen_there() {
    let room = Room::new();
    let up = room.up(&[]);
    let root = room.path().join("root");
    std::fs::create_dir(&root).unwrap();
    hostile(&root);
    let ran = run_census(&room, &root);
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains(&up.url), "it says which server: {}", ran.stderr);
    assert_counted(&report(&room), find(&root));
    let runs = room.json(&["runs", "list", "--json"]);
    assert_eq!(runs[0]["workflow"], "census", "{runs}");
    let tasks = room.json(&["task", "list", "--json"]);
    assert_eq!(tasks.as_array().unwrap().len(), 3, "{tasks}");
    assert_eq!(up.stop(), Some(0));
}
