//! Jobs that can't be started: what failed is told exactly, and nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bowline_supervisor::wire::{Event, Request, Step};

use crate::support::{House, code, tests};

const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;

tests![
    command_not_found,
    command_not_executable,
    command_is_a_folder,
    empty_command,
    bad_working_folder,
    bad_files,
    bad_key,
    no_record_no_job,
    no_descriptor_left_no_job,
    script_without_interpreter_line,
    failed_start_is_kept_until_forgotten,
];

fn fails(house: &mut House, argv: &[&str]) -> (Step, i32) {
    house.start(house.command("a", argv));
    let failed = house.start_failed("a");
    house.client.send(&Request::Forget { key: "a".into() }).unwrap();
    (failed.step, failed.errno)
}

fn command_not_found() {
    let mut house = House::new();
    assert_eq!(fails(&mut house, &["no-such-program"]), (Step::Exec, ENOENT));
    assert_eq!(fails(&mut house, &["/no/such/program"]), (Step::Exec, ENOENT));
}

fn command_not_executable() {
    let mut house = House::new();
    let path = house.path("plain");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(fails(&mut house, &[path.to_str().unwrap()]), (Step::Exec, EACCES));
}

fn command_is_a_folder() {
    let mut house = House::new();
    assert_eq!(fails(&mut house, &["/"]), (Step::Exec, EACCES));
}

fn empty_command() {
    let mut house = House::new();
    assert_eq!(fails(&mut house, &[]), (Step::Input, EINVAL));
    assert_eq!(fails(&mut house, &[""]), (Step::Input, EINVAL));
}

fn bad_working_folder() {
    let mut house = House::new();
    for (cwd, errno) in [("missing", ENOENT), ("out-a", ENOTDIR)] {
        let mut start = house.script("a", "echo no");
        start.cwd = house.path(cwd);
        house.start(start);
        let failed = house.start_failed("a");
        assert_eq!((failed.step, failed.errno), (Step::Cwd, errno));
        house.client.send(&Request::Forget { key: "a".into() }).unwrap();
    }
    assert_eq!(house.output("a"), "");
}

fn bad_files() {
    let mut house = House::new();
    let folder = house.path("");
    let fifo = house.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let good = house.script("a", "echo no");
    let mut cases = Vec::new();
    for (path, errno) in [(house.path("missing"), ENOENT), (folder.clone(), EISDIR), (fifo, EINVAL)] {
        let mut start = good.clone();
        start.stdin = Some(path);
        cases.push((start, Step::Stdin, errno));
    }
    let mut start = good.clone();
    start.stdout = folder.join("missing/out");
    cases.push((start, Step::Stdout, ENOENT));
    let mut start = good.clone();
    start.stderr = Some(folder);
    cases.push((start, Step::Stderr, EISDIR));
    for (start, step, errno) in cases {
        house.start(start);
        let failed = house.start_failed("a");
        assert_eq!((failed.step, failed.errno), (step, errno));
        house.client.send(&Request::Forget { key: "a".into() }).unwrap();
    }
    assert_eq!(house.run_to_end("a", "echo yes").exit, code(0), "the key is free again");
}

fn bad_key() {
    let mut house = House::new();
    house.start(house.script("../x", "echo no"));
    let failed = house.start_failed("../x");
    assert_eq!((failed.step, failed.errno), (Step::Input, EINVAL));
    assert!(matches!(house.list(), (jobs, Event::Listed { live: 0, ended: 0, .. }) if jobs.is_empty()));
}

fn no_record_no_job() {
    let mut house = House::new();
    fs::remove_dir(house.folder().join("jobs")).unwrap();
    house.start(house.script("a", "echo no"));
    let failed = house.start_failed("a");
    assert_eq!((failed.step, failed.errno), (Step::Record, ENOENT));
    assert_eq!(house.output("a"), "");
    fs::create_dir(house.folder().join("jobs")).unwrap();
    assert_eq!(house.run_to_end("b", "exit 0").exit, code(0));
}

fn no_descriptor_left_no_job() {
    let mut house = House::new();
    let pid = rustix::process::Pid::from_raw(i32::try_from(house.client.pid()).unwrap());
    // Room for two jobs.
    let limit = rustix::process::Rlimit { current: Some(72), maximum: Some(72) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).unwrap();
    house.run("a", "sleep 60");
    house.run("b", "sleep 60 & sleep 60");
    house.start(house.script("c", "echo no"));
    let failed = house.start_failed("c");
    assert_eq!((failed.step, failed.errno), (Step::Spawn, EMFILE));
    house.kill("b", Duration::ZERO);
    house.exited("b");
    assert_eq!(house.run_to_end("d", "exit 0").exit, code(0), "there is room again");
}

fn script_without_interpreter_line() {
    let mut house = House::new();
    let path = house.path("script");
    fs::write(&path, "exit 7\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    house.start(house.command("a", &[path.to_str().unwrap()]));
    assert_eq!(house.exited("a").exit, code(7), "as every shell does it");
}

fn failed_start_is_kept_until_forgotten() {
    let mut house = House::new();
    house.start(house.command("a", &["no-such-program"]));
    let failed = house.start_failed("a");
    // A failed exec is on record: a new supervisor knows it too.
    house.kill_supervisor();
    house.reconnect();
    assert_eq!(house.list().0, [Event::StartFailed(failed)]);
    house.client.send(&Request::Forget { key: "a".into() }).unwrap();
    assert_eq!(house.list().0, []);
}
