//! Jobs that simply run and end, and what they find when they begin.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use bowline_supervisor::wire::{Event, Exit, Refusal, Request};

use crate::support::{House, code, is_alive, pid_in, tests};

tests![
    ends_well,
    tells_the_exit_status,
    tells_the_signal,
    keeps_the_order_of_output_and_error,
    splits_output_where_asked,
    appends_to_what_is_there,
    reads_its_input,
    has_the_environment_it_was_given_and_no_other,
    takes_bytes_that_are_not_text,
    leads_a_session_with_clean_signals_and_descriptors,
    has_the_file_mode_mask,
    runs_two_hundred_at_once,
    refuses_a_key_in_use,
    forgets_only_what_has_ended,
];

fn ends_well() {
    let mut house = House::new();
    let ended = house.run_to_end("a", "echo hello");
    assert_eq!((ended.exit, ended.stopped, ended.leftovers, ended.recorded), (code(0), None, 0, true));
    assert!(ended.started_at <= ended.ended_at);
    assert_eq!(house.output("a"), "hello\n");
}

fn tells_the_exit_status() {
    let mut house = House::new();
    // 127 is the program's own here; its start has not failed.
    for status in [1, 3, 126, 127, 255] {
        assert_eq!(house.run_to_end(&format!("s{status}"), &format!("exit {status}")).exit, code(status));
    }
}

fn tells_the_signal() {
    let mut house = House::new();
    assert_eq!(house.run_to_end("a", "kill -SEGV $$").exit, Exit::Signal(11));
    assert_eq!(house.run_to_end("b", "kill -KILL $$").exit, Exit::Signal(9));
}

fn keeps_the_order_of_output_and_error() {
    let mut house = House::new();
    house.run_to_end("a", "for i in 1 2 3 4 5 6 7 8 9; do echo out$i; echo err$i >&2; done");
    let expected: Vec<String> = (1..10).flat_map(|i| [format!("out{i}"), format!("err{i}")]).collect();
    assert_eq!(house.output("a").lines().collect::<Vec<_>>(), expected);
}

fn splits_output_where_asked() {
    let mut house = House::new();
    let mut start = house.script("a", "echo out; echo err >&2");
    start.stderr = Some(house.path("err"));
    house.start(start);
    house.exited("a");
    assert_eq!(
        (house.output("a").as_str(), fs::read_to_string(house.path("err")).unwrap().as_str()),
        ("out\n", "err\n")
    );
}

fn appends_to_what_is_there() {
    let mut house = House::new();
    fs::write(house.path("out-a"), "before\n").unwrap();
    house.run_to_end("a", "echo after");
    assert_eq!(house.output("a"), "before\nafter\n");
}

fn reads_its_input() {
    let mut house = House::new();
    fs::write(house.path("in"), "some\nlines\n").unwrap();
    let mut start = house.script("a", "cat");
    start.stdin = Some(house.path("in"));
    house.start(start);
    house.exited("a");
    assert_eq!(house.output("a"), "some\nlines\n");
    house.run_to_end("b", "cat; echo end");
    assert_eq!(house.output("b"), "end\n", "without a file the input is empty");
}

fn has_the_environment_it_was_given_and_no_other() {
    let mut house = House::new();
    let mut start = house.command("a", &["/usr/bin/env", "-0"]);
    start.env = vec![
        ("ODD".into(), "two\nlines = \"x\"".into()),
        ("BOWLINE_MARK".into(), "not this".into()),
        // Nothing before the program may run with what is meant for the job.
        ("LD_PRELOAD".into(), "/nowhere.so".into()),
    ];
    start.stderr = Some(house.path("err"));
    house.start(start);
    house.exited("a");
    let output = house.output("a");
    let variables: Vec<&str> = output.split_terminator('\0').collect();
    assert!(variables.contains(&"ODD=two\nlines = \"x\""), "{variables:?}");
    assert!(variables.iter().any(|variable| variable.starts_with("BOWLINE_MARK=")), "{variables:?}");
    assert!(!output.contains("not this"));
    assert_eq!(variables.len(), 3, "{variables:?}");
    let complaints = fs::read_to_string(house.path("err")).unwrap();
    assert_eq!(complaints.matches("/nowhere.so").count(), 1, "the program alone saw LD_PRELOAD: {complaints}");
}

fn takes_bytes_that_are_not_text() {
    let mut house = House::new();
    let odd = OsString::from_vec(b"\xff\xfe \n'\"$(exit)".to_vec());
    let mut start = house.command("a", &["/usr/bin/printf", "%s"]);
    start.argv.push(odd.clone());
    start.cwd = house.path("").join(&odd);
    fs::create_dir(&start.cwd).unwrap();
    house.start(start);
    assert_eq!(house.exited("a").exit, code(0));
    assert_eq!(fs::read(house.path("out-a")).unwrap(), odd.as_bytes());
}

fn leads_a_session_with_clean_signals_and_descriptors() {
    let mut house = House::new();
    let pid = house.run("a", "cat /proc/$$/stat; grep ^Sig /proc/self/status; ulimit -Sn");
    house.exited("a");
    let output = house.output("a");
    let mut lines = output.lines();
    let fields: Vec<&str> = lines.next().unwrap().rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!((fields[2], fields[3]), (pid.to_string().as_str(), pid.to_string().as_str()), "group and session");
    for name in ["SigBlk", "SigIgn"] {
        let mask = output.lines().find(|line| line.starts_with(name)).unwrap().split_ascii_whitespace().nth(1).unwrap();
        let mask = u64::from_str_radix(mask, 16).unwrap();
        // 32 and 33 are the C library's own, out of everybody's reach.
        assert_eq!(mask & !(0b11 << 31), 0, "{name}");
    }
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    assert_eq!(lines.next_back(), files.map(|files| files.to_string()).as_deref(), "not the supervisor's own limit");
    house.run_to_end("fds", "exec ls /proc/self/fd");
    assert_eq!(house.output("fds"), "0\n1\n2\n3\n", "3 is the folder that `ls` reads");
}

fn has_the_file_mode_mask() {
    let mut house = House::new();
    let mut start = house.script("a", "umask");
    start.umask = 0o077;
    house.start(start);
    house.exited("a");
    assert_eq!(house.output("a").trim(), "0077");
}

fn runs_two_hundred_at_once() {
    let mut house = House::new();
    let gate = house.path("gate");
    for i in 0..200 {
        let script = format!("until [ -e '{}' ]; do sleep 0.2; done; echo {i}", gate.display());
        house.start(house.script(&format!("j{i}"), &script));
    }
    for i in 0..200 {
        house.started(&format!("j{i}"));
    }
    assert!(matches!(house.list().1, Event::Listed { live: 200, ended: 0, .. }));
    fs::write(gate, "").unwrap();
    for i in 0..200 {
        let key = format!("j{i}");
        assert_eq!(house.exited(&key).exit, code(0));
        assert_eq!(house.output(&key), format!("{i}\n"));
        house.client.send(&Request::Forget { key }).unwrap();
    }
    assert!(matches!(house.list().1, Event::Listed { live: 0, ended: 0, .. }));
    assert_eq!(fs::read_dir(house.folder().join("jobs")).unwrap().count(), 0, "forgotten records are gone");
}

fn refuses_a_key_in_use() {
    let mut house = House::new();
    let refused = |event: &Event| match event {
        Event::Refused { key, why } => Some((key.clone(), *why)),
        _ => None,
    };
    house.run("a", "sleep 60");
    house.start(house.script("a", "echo no"));
    assert_eq!(house.wait_for("refusal", refused), (Some("a".into()), Refusal::KeyInUse));
    house.kill("b", Duration::ZERO);
    assert_eq!(house.wait_for("refusal", refused), (Some("b".into()), Refusal::UnknownKey));
    assert_eq!(house.output("a"), "");
}

fn forgets_only_what_has_ended() {
    let mut house = House::new();
    let pid = house.run("a", &format!("echo $$ > '{}'; sleep 60", house.path("pid").display()));
    house.client.send(&Request::Forget { key: "a".into() }).unwrap();
    let why = house.wait_for("refusal", |event| match event {
        Event::Refused { why, .. } => Some(*why),
        _ => None,
    });
    assert_eq!(why, Refusal::StillAlive);
    assert!(is_alive(pid));
    assert_eq!(pid_in(&house.path("pid")), pid);
}
