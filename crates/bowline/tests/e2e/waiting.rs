//! Why a task waits: every reason that can be made from outside, told by `explain`, in lists and by REST.

use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::harness::{Room, Up, until};
use crate::web::Web;

/// The reasons of a task, once this one is among them; the sentence of that one.
fn waits_for(room: &Room, web: &Web, id: &str, reason: &str) -> String {
    let mut sentence = String::new();
    until(&format!("task {id} waits for {reason}"), || {
        let told = web.get(&format!("/api/v1/tasks/{id}/explain")).json();
        let found = told["reasons"].as_array().into_iter().flatten().find(|one| one["reason"] == reason);
        sentence = found.and_then(|one| one["sentence"].as_str()).unwrap_or_default().to_owned();
        !sentence.is_empty()
    });
    let told = room.good(&["explain", id]);
    assert!(told.contains(sentence.as_str()), "`explain {id}` does not say `{sentence}`: {told}");
    // The list says in short why it waits: one of its reasons.
    let task = web.get(&format!("/api/v1/tasks/{id}")).json();
    assert!(task["why"]["sentence"].is_string(), "{task}");
    sentence
}

fn says(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "`{word}` is missing in `{sentence}`");
    }
}

fn running(web: &Web, id: &str) {
    until(&format!("task {id} runs"), || web.get(&format!("/api/v1/tasks/{id}")).json()["state"] == "running");
}

fn worker(room: &Room, up: &Up, name: &str, more: &[&str]) -> Child {
    let token = up.token_file.to_str().unwrap();
    let own = ["worker", "start", "--identity", name, "--state", name, "--server", &up.url, "--token-file", token];
    room.command(&[&own, more].concat()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn stop(room: &Room, mut worker: Child, name: &str) {
    rustix::process::kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    worker.wait().unwrap();
    room.stop_supervisor(name);
}

#[test]
fn times_dependencies_and_pauses_are_explained() {
    let room = Room::new();
    let up = room.up(&["--slots", "1"]);
    let web = Web::of(&up);
    let delayed = web.submit(r#"{"action":"noop","delay":"1h"}"#);
    says(&waits_for(&room, &web, &delayed, "not_before"), &["not to begin before", "20"]);
    let at = web.submit(r#"{"action":"noop","at":"2199-01-01T00:00:00Z"}"#);
    says(&waits_for(&room, &web, &at, "not_before"), &["2199-01-01"]);
    let failing = web.submit(r#"{"shell":"exit 5","retry":{"extra":3,"backoff":"1h","backoff_max":"1h"}}"#);
    says(&waits_for(&room, &web, &failing, "backoff"), &["Attempt 1", "exit status 5", "2 attempts left after that"]);
    let after = web.submit(&format!(r#"{{"action":"noop","after":["{delayed}:any","{failing}:fail","{at}"]}}"#));
    let told = web.get(&format!("/api/v1/tasks/{after}/explain")).json().to_string();
    says(
        &told,
        &[
            &format!("Task {delayed} must end"),
            &format!("Task {failing} must fail"),
            &format!("Task {at} must succeed"),
        ],
    );
    waits_for(&room, &web, &after, "dependency");
    // A task, a namespace, everything; each by whom.
    let paused = web.submit(r#"{"action":"noop","requires":["never"]}"#);
    room.good(&["task", "pause", &paused]);
    says(&waits_for(&room, &web, &paused, "paused"), &["It is paused", "admin"]);
    room.good(&["task", "resume", &paused]);
    assert!(!room.good(&["explain", &paused]).contains("paused"));
    for (body, words) in [(r#"{"namespace":"default"}"#, "default"), ("{}", "Everything")] {
        assert_eq!(web.post("/api/v1/pause", body).status, 200);
        let waits = web.submit(r#"{"action":"noop"}"#);
        says(&waits_for(&room, &web, &waits, "paused"), &[words, "admin"]);
        assert_eq!(web.post("/api/v1/resume", body).status, 200);
        assert_eq!(web.ended(&waits)["state"], "succeeded");
    }
    for id in [&delayed, &at, &failing, &paused] {
        room.good(&["cancel", id]);
    }
    // What waits for nothing any more is not explained away.
    let told = web.get(&format!("/api/v1/tasks/{delayed}/explain")).json();
    assert_eq!((&told["state"], &told["reasons"]), (&Value::from("cancelled"), &serde_json::json!([])));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn no_worker_fits_names_the_nearest_and_what_it_lacks_and_one_that_fits_runs_it() {
    let room = Room::new();
    let up = room.up(&["--slots", "2"]);
    let web = Web::of(&up);
    let near = worker(&room, &up, "near", &["--capability", "arch=arm64", "--capability", "lab", "--slots", "1"]);
    until("it is there", || web.get("/api/v1/workers/near").text().contains("\"connected\""));
    let args = ["submit", "--requires", "lab", "--requires", "arch=arm64", "--requires", "gpu=h100", "--", "true"];
    let ran = room.run(&args);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    says(&ran.stderr, &["no worker", "gpu=h100"]);
    let gpu = room.json(&["task", "show", "last", "--json"])["id"].as_str().unwrap().to_owned();
    let sentence = waits_for(&room, &web, &gpu, "no_worker_fits");
    says(&sentence, &["near", "gpu=h100"]);
    assert!(!sentence.contains("arch"), "near has that: {sentence}");
    let large = web.submit(r#"{"action":"noop","amounts":{"licence":3},"requires":["lab"]}"#);
    says(&waits_for(&room, &web, &large, "no_worker_fits"), &["near", "licence"]);
    let wide = web.submit(r#"{"action":"noop","slots":9}"#);
    says(&waits_for(&room, &web, &wide, "no_worker_fits"), &["slots", "9"]);
    let listed = room.good(&["task", "list"]);
    says(&listed, &["gpu=h100"]);
    // Two come that fit: what has waited runs.
    let fits = worker(
        &room,
        &up,
        "fits",
        &[
            "--capability",
            "lab",
            "--capability",
            "arch=arm64",
            "--capability",
            "gpu=h100",
            "--amount",
            "licence=4",
            "--slots",
            "9",
        ],
    );
    for id in [&gpu, &large, &wide] {
        let task = web.ended(id);
        assert_eq!((&task["state"], task["worker"].as_str()), (&Value::from("succeeded"), Some("fits")), "{task}");
    }
    stop(&room, near, "near");
    stop(&room, fits, "fits");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn no_room_says_who_has_it_and_workers_away_or_paused_are_named() {
    let room = Room::new();
    let up = room.up(&["--slots", "1"]);
    let web = Web::of(&up);
    let lab = worker(&room, &up, "lab", &["--capability", "lab", "--slots", "2", "--amount", "licence=1"]);
    until("it is there", || web.get("/api/v1/workers/lab").text().contains("\"connected\""));
    let has = web.submit(r#"{"shell":"sleep 600","requires":["lab"],"amounts":{"licence":1}}"#);
    running(&web, &has);
    // The worker may hold some beforehand; the last one waits in the line.
    let wants =
        (0..9).map(|_| web.submit(r#"{"action":"noop","requires":["lab"],"amounts":{"licence":1}}"#)).last().unwrap();
    says(&waits_for(&room, &web, &wants, "no_room"), &["lab", &has]);
    // It is paused: nothing new is given to it, and what runs there runs on.
    room.good(&["worker", "pause", "lab"]);
    let waits = web.submit(r#"{"action":"noop","requires":["lab"]}"#);
    says(&waits_for(&room, &web, &waits, "workers_unavailable"), &["lab", "paused"]);
    assert_eq!(web.get(&format!("/api/v1/tasks/{has}")).json()["state"], "running");
    room.good(&["worker", "resume", "lab"]);
    assert_eq!(web.ended(&waits)["state"], "succeeded");
    room.good(&["cancel", &has]);
    assert_eq!(web.ended(&wants)["state"], "succeeded");
    // It is away.
    stop(&room, lab, "lab");
    let waits = web.submit(r#"{"action":"noop","requires":["lab"]}"#);
    says(&waits_for(&room, &web, &waits, "workers_unavailable"), &["lab"]);
    let lab = worker(&room, &up, "lab", &["--capability", "lab"]);
    assert_eq!(web.ended(&waits)["state"], "succeeded");
    stop(&room, lab, "lab");
    // An array that has begun as many as it may.
    let array = web.submit(r#"{"action":"wait","array":"1-3%1"}"#);
    says(&waits_for(&room, &web, &format!("{array}.2"), "array_window"), &["at most 1"]);
    room.good(&["cancel", &array]);
    assert_eq!(up.stop(), Some(0));
}
