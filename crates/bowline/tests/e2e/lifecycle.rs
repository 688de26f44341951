//! `up`: one on a folder, one on a port, tokens, Ctrl-C, and children that die.

use rustix::process::Signal;

use crate::harness::{Room, process_of, until};

#[test]
fn up_serves_and_leaves_nothing_behind() {
    let room = Room::new();
    let up = room.up(&[]);
    let status = room.json(&["status", "--json"]);
    assert_eq!(status["queue"]["workers_connected"], 1, "{status}");
    assert_eq!(up.stop(), Some(0));
    room.wait_empty();
    assert_eq!(room.run(&["status", "--server", "http://127.0.0.1:1"]).status, Some(4));
}

#[test]
fn a_second_up_on_one_folder_is_refused_and_says_where_the_first_is() {
    let room = Room::new();
    let up = room.up(&[]);
    let ran = room.run(&["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.status, Some(5), "{}", ran.stderr);
    assert!(ran.stderr.contains(&up.url), "{}", ran.stderr);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_told() {
    let room = Room::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let ran = room.run(&["up", "--listen", &address]);
    assert_eq!(ran.status, Some(5), "{}", ran.stderr);
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("taken"), "{}", ran.stderr);
}

#[test]
fn a_wrong_token_is_refused() {
    let room = Room::new();
    let up = room.up(&[]);
    let wrong = room.write("wrong.token", &"0".repeat(64));
    let ran = room.run(&["status", "--server", &up.url, "--token-file", wrong.to_str().unwrap()]);
    assert_eq!(ran.status, Some(5), "{}", ran.stderr);
    assert!(ran.stderr.contains("token"), "{}", ran.stderr);
    let right = up.token_file.to_str().unwrap().to_owned();
    room.good(&["status", "--server", &up.url, "--token-file", &right]);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_killed_server_or_worker_comes_back_and_the_job_is_not_disturbed() {
    let room = Room::new();
    let up = room.up(&[]);
    let gate = room.work().join("gate");
    let script = format!("echo begun; until test -e '{}'; do sleep 0.05; done; echo ended", gate.display());
    let id = room.good(&["submit", "--quiet", "--", "sh", "-c", &script]).trim().to_owned();
    until("the job runs", || room.json(&["task", "show", &id, "--json"])["state"] == "running");
    for words in ["server start", "worker start"] {
        let pid = process_of(&room, words).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        until("another one runs", || process_of(&room, words).is_some_and(|now| now != pid));
    }
    until("the worker is back", || {
        let ran = room.run(&["worker", "list", "--json"]);
        ran.stdout.contains("\"connected\"")
    });
    std::fs::write(&gate, "").unwrap();
    let ran = room.run(&["wait", &id]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let task = room.json(&["task", "show", &id, "--json"]);
    assert_eq!(task["attempt"], 1, "{task}");
    assert_eq!(room.good(&["logs", &id]), "begun\nended\n");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_killed_up_leaves_nothing_running() {
    let room = Room::new();
    let mut up = room.up(&[]);
    let id = room.good(&["submit", "--quiet", "--", "sleep", "600"]).trim().to_owned();
    until("the job runs", || room.json(&["task", "show", &id, "--json"])["state"] == "running");
    up.signal(Signal::KILL);
    assert_eq!(up.ended(), None);
    room.wait_empty();
    // The next one goes on with what was given back.
    let up = room.up(&[]);
    until("the job runs again", || room.json(&["task", "show", &id, "--json"])["state"] == "running");
    room.good(&["cancel", &id]);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_server_whose_log_cannot_be_written_serves_on() {
    let room = Room::new();
    let data = room.path().join("data");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = room.command(&["server", "start", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    let mut server = command.stdout(std::process::Stdio::null()).stderr(full).spawn().unwrap();
    let mut ended = None;
    until("the server tells where it is, or ends", || {
        ended = server.try_wait().unwrap();
        ended.is_some() || data.join("server.json").exists()
    });
    assert_eq!(ended, None);
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
}
