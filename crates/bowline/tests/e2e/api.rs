//! REST as programs use it: keys, pages, events, logs, and what lies beside `/api/v1`.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{Room, until};
use crate::web::{Web, read_chunk, read_head};

#[test]
fn an_idempotency_key_makes_one_task_and_is_not_lent_to_another() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    let key = &["Idempotency-Key: nightly-1"];
    let first = web.post_with("/api/v1/tasks", key, r#"{"action":"noop","name":"n"}"#);
    assert_eq!((first.status, &first.json()["replayed"]), (201, &Value::Bool(false)));
    let id = first.json()["id"].clone();
    web.ended(id.as_str().unwrap());
    // The same request again: the same task, though it has ended.
    let again = web.post_with("/api/v1/tasks", key, r#"{"action":"noop","name":"n"}"#);
    assert_eq!((again.status, &again.json()["replayed"]), (200, &Value::Bool(true)), "{}", again.text());
    assert_eq!(again.json()["id"], id);
    let other = web.post_with("/api/v1/tasks", key, r#"{"action":"noop","name":"m"}"#);
    let (status, code, detail) = other.problem();
    assert_eq!((status, code.as_str()), (409, "idempotency_key_reused"), "{detail}");
    // By the CLI, and in many at once.
    let one = room.good(&["submit", "--quiet", "--idempotency-key", "cli", "--", "true"]);
    assert_eq!(room.good(&["submit", "--quiet", "--idempotency-key", "cli", "--", "true"]), one);
    let ran = room.run(&["submit", "--quiet", "--idempotency-key", "cli", "--", "false"]);
    assert!(ran.status == Some(5) && ran.stderr.contains("cli"), "{:?} {}", ran.status, ran.stderr);
    let many = r##"{"tasks":[{"action":"noop"},{"action":"noop","after":["#0:ok"]}]}"##;
    let first = web.post_with("/api/v1/tasks", &["Idempotency-Key: many"], many).json();
    let again = web.post_with("/api/v1/tasks", &["Idempotency-Key: many"], many).json();
    assert_eq!(first["ids"].as_array().unwrap().len(), 2, "{first}");
    assert_eq!(first["ids"], again["ids"]);
    // All or none.
    let count = || web.get("/api/v1/tasks?limit=100").json()["items"].as_array().unwrap().len();
    let before = count();
    let reply = web.post("/api/v1/tasks", r#"{"tasks":[{"action":"noop"},{"action":"noop","after":["777777"]}]}"#);
    assert!((400..500).contains(&reply.status), "{}", reply.text());
    // A dry run makes nothing.
    assert!(web.post("/api/v1/tasks?dry_run=true", r#"{"action":"noop"}"#).status < 300);
    assert_eq!(count(), before);
    // More than a submit may hold.
    let many = vec![r#"{"action":"noop"}"#; 10_001].join(",");
    let (status, _, detail) = web.post("/api/v1/tasks", &format!(r#"{{"tasks":[{many}]}}"#)).problem();
    assert!((400..500).contains(&status) && detail.contains("10"), "{status} {detail}");
    assert_eq!(count(), before);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn lists_come_in_pages_without_gap_or_repetition() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    let tasks: Vec<String> =
        (0..25).map(|n| format!(r#"{{"action":"noop","name":"n{n}","labels":{{"odd":"{}"}}}}"#, n % 2)).collect();
    web.submit(&format!(r#"{{"tasks":[{}]}}"#, tasks.join(",")));
    for (filter, expected) in [("", 25), ("&label=odd%3D1", 12), ("&name=n1*", 11)] {
        for sort in ["newest", "oldest"] {
            let mut seen = Vec::new();
            let mut cursor = String::new();
            loop {
                let page = web.get(&format!("/api/v1/tasks?limit=7&sort={sort}{filter}{cursor}")).json();
                let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
                assert!(items.len() <= 7, "{page}");
                seen.extend(items.iter().map(|task| task["id"].as_str().unwrap().parse::<u64>().unwrap()));
                match page["next_cursor"].as_str().or(page["cursor"].as_str()) {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
                // What is submitted meanwhile does not shift the pages.
                if sort == "newest" && seen.len() == 7 && filter.is_empty() {
                    web.submit(r#"{"action":"noop","name":"late"}"#);
                }
            }
            let set: BTreeSet<u64> = seen.iter().copied().collect();
            assert_eq!(set.len(), seen.len(), "{filter} {sort} repeats: {seen:?}");
            let late = usize::from(sort == "oldest" && filter.is_empty());
            assert_eq!(seen.len(), expected + late, "{filter} {sort}: {seen:?}");
            assert!(seen.is_sorted_by(|a, b| (a < b) == (sort == "oldest")), "{sort}: {seen:?}");
        }
    }
    for bad in ["cursor=nonsense", "limit=0", "limit=-1"] {
        assert_eq!(web.get(&format!("/api/v1/tasks?{bad}")).problem().0, 400, "{bad}");
    }
    assert_eq!(up.stop(), Some(0));
}

/// The events that come, one by one.
struct Events {
    reader: BufReader<TcpStream>,
    text: String,
}

impl Events {
    fn open(web: &Web, after: Option<&str>) -> Self {
        let last = after.map(|id| format!("Last-Event-ID: {id}"));
        let authorization = web.authorization();
        let mut headers = vec![authorization.as_str(), "Accept: text/event-stream"];
        headers.extend(last.as_deref());
        let mut reader = web.open("GET /api/v1/events", &headers, b"");
        let (status, head) = read_head(&mut reader);
        assert!(status == 200 && head.contains("text/event-stream"), "{head}");
        Self { reader, text: String::new() }
    }

    /// The next message: its id and, where it has some, its data.
    fn next(&mut self) -> (String, Option<Value>) {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    message.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned())
                };
                let found =
                    field("id:").map(|id| (id, field("data:").map(|data| serde_json::from_str(&data).unwrap())));
                self.text = rest.to_owned();
                if let Some(found) = found {
                    return found;
                }
                continue;
            }
            let chunk = read_chunk(&mut self.reader).expect("the stream goes on");
            self.text.push_str(&String::from_utf8(chunk).unwrap());
        }
    }

    /// All data until this has happened to the task: ids and what.
    fn until(&mut self, task: &str, what: &str) -> Vec<(String, String)> {
        let mut seen = Vec::new();
        loop {
            let (id, Some(data)) = self.next() else { continue };
            let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
            assert_eq!(text("id"), id);
            seen.push((id, format!("{} {}", text("task"), text("what"))));
            if text("task") == task && text("what") == what {
                return seen;
            }
        }
    }
}

#[test]
fn events_go_on_where_they_were_left_and_say_when_that_is_gone() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    let mut live = Events::open(&web, None);
    let begin = live.next().0;
    let one = web.submit(r#"{"action":"noop"}"#);
    let seen = live.until(&one, "succeeded");
    let steps: Vec<_> = seen.iter().filter_map(|(_, what)| what.strip_prefix(&format!("{one} "))).collect();
    for what in ["submitted", "ready", "assigned", "succeeded"] {
        assert!(steps.contains(&what), "{what} is missing in {steps:?}");
    }
    drop(live);
    let two = web.submit(r#"{"action":"noop"}"#);
    web.ended(&two);
    // From after the first event: the others of the first task and all of the second, each once.
    let mut resumed = Events::open(&web, Some(&seen[0].0));
    let again = resumed.until(&two, "succeeded");
    assert_eq!(again[..seen.len() - 1], seen[1..]);
    assert!(again.iter().all(|(_, what)| *what != format!("{one} submitted")), "{again:?}");
    // From the very place where the stream was opened: everything.
    assert_eq!(Events::open(&web, Some(&begin)).until(&one, "succeeded"), seen);
    // A place that this store never had.
    let reply = web.raw("GET /api/v1/events", &[&web.authorization(), "Last-Event-ID: 99999999-0"], b"");
    let (status, code, detail) = reply.problem();
    assert_eq!((status, code.as_str()), (410, "events_gone"), "{detail}");
    let reply = web.raw("GET /api/v1/events", &[&web.authorization(), "Last-Event-ID: yesterday"], b"");
    assert_eq!(reply.problem().0, 400);
    // Through a restart of the server the places stay.
    drop(resumed);
    assert_eq!(up.stop(), Some(0));
    let up = room.up(&[]);
    let web = Web::of(&up);
    let after: Vec<_> = Events::open(&web, Some(&seen[0].0)).until(&two, "succeeded");
    assert_eq!(after, again);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn logs_are_read_by_offset_from_the_end_and_while_the_job_runs() {
    let room = Room::new();
    let up = room.up(&["--slots", "2"]);
    let web = Web::of(&up);
    let gate = room.work().join("gate");
    let script = format!("echo one; echo two >&2; until test -e '{}'; do sleep 0.02; done; echo three", gate.display());
    let id = web.submit(&serde_json::json!({"shell": script}).to_string());
    let logs = format!("/api/v1/tasks/{id}/logs");
    let authorization = web.authorization();
    let mut follow = web.open(&format!("GET {logs}?follow=true"), &[&authorization], b"");
    assert_eq!(read_head(&mut follow).0, 200);
    let mut text = Vec::new();
    while text.len() < 8 {
        text.extend(read_chunk(&mut follow).expect("the log goes on while the job runs"));
    }
    assert_eq!(text, b"one\ntwo\n");
    // Output may be faster than the message that its job has begun: neither waits for the other.
    until("it runs", || web.get(&format!("/api/v1/tasks/{id}")).json()["state"] == "running");
    // The CLI sees it, too, and ends with the job.
    let child = room.command(&["logs", "-f", &id]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::fs::write(&gate, "").unwrap();
    while let Some(chunk) = read_chunk(&mut follow) {
        text.extend(chunk);
    }
    assert_eq!(text, b"one\ntwo\nthree\n");
    let ran = crate::harness::finish(child, "logs -f");
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(0), "one\ntwo\nthree\n"));
    assert_eq!(web.ended(&id)["state"], "succeeded");
    for (query, expected) in [
        ("", "one\ntwo\nthree\n"),
        ("?offset=4", "two\nthree\n"),
        ("?tail=1", "three\n"),
        ("?offset=14", ""),
        ("?attempt=1", "one\ntwo\nthree\n"),
    ] {
        let reply = web.get(&format!("{logs}{query}"));
        assert_eq!((reply.status, reply.text().as_str()), (200, expected), "{query}");
    }
    assert_eq!(web.get(&format!("{logs}?attempt=9")).status, 404);
    assert_eq!(web.get("/api/v1/tasks/999999/logs").status, 404);
    // Each stream by itself, and much of it: 5 MiB arrive unchanged.
    let id = web.submit(r#"{"shell":"echo out; echo err >&2","split_output":true}"#);
    web.ended(&id);
    assert_eq!(web.get(&format!("/api/v1/tasks/{id}/logs?stream=out")).text(), "out\n");
    assert_eq!(web.get(&format!("/api/v1/tasks/{id}/logs?stream=err")).text(), "err\n");
    let id = web.submit(r#"{"shell":"seq 1 750000"}"#);
    web.ended(&id);
    until("the log is whole", || {
        let text = web.get(&format!("/api/v1/tasks/{id}/logs")).body;
        text.ends_with(b"\n750000\n") && text.split(|byte| *byte == b'\n').count() == 750_001
    });
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn what_lies_beside_the_api() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    room.good(&["submit", "--wait", "--", "true"]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(web.raw(&format!("GET {path}"), &[], b"").status, 200, "{path}");
    }
    let metrics = web.raw("GET /metrics", &[], b"").text();
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(line.starts_with("bowline_") || line.starts_with("process_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(metrics.contains("\nbowline_leading 1\n"), "{metrics}");
    let described = web.raw("GET /openapi.json", &[], b"").json();
    assert!(described["openapi"].as_str().unwrap().starts_with("3."), "{described}");
    // Whatever it describes without a name in its path is there.
    let paths = described["paths"].as_object().unwrap();
    for (path, methods) in paths.iter().filter(|(path, _)| !path.contains('{') && !path.ends_with("/events")) {
        if methods.get("get").is_some() {
            // What the members of a gang have among themselves is theirs alone.
            let wanted = if path.contains("/gang/") { 403 } else { 200 };
            assert_eq!(web.get(path).status, wanted, "{path}");
        }
    }
    let mut docs = web.raw("GET /docs", &[], b"");
    if (300..400).contains(&docs.status) {
        let place = docs.head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().trim().to_owned();
        docs = web.raw(&format!("GET {place}"), &[], b"");
    }
    assert!(docs.status == 200 && docs.text().contains("<html"), "{}", docs.head);
    let (status, code, detail) = web.get("/api/v1/nothing").problem();
    assert_eq!((status, code.as_str()), (404, "not_found"), "{detail}");
    let reply = web.raw("PATCH /api/v1/tasks", &[&web.authorization()], b"");
    assert_eq!(reply.problem().0, 405);
    assert_eq!(web.get("/api/v1/version").json()["api"], "v1");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn verbs_on_many_say_first_how_many_they_would_touch() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    let tasks: Vec<String> = (0..5).map(|n| format!(r#"{{"action":"wait","labels":{{"k":"{}"}}}}"#, n % 2)).collect();
    let reply = web.post("/api/v1/tasks", &format!(r#"{{"tasks":[{}]}}"#, tasks.join(","))).json();
    let ids: Vec<&str> = reply["ids"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let bulk = r#"{"verb":"cancel","filter":{"labels":{"k":"0"}}}"#;
    let dry = web.post("/api/v1/tasks/bulk?dry_run=true", bulk);
    assert_eq!((dry.status, &dry.json()["touched"]), (200, &serde_json::json!(3)), "{}", dry.text());
    assert_ne!(web.get(&format!("/api/v1/tasks/{}", ids[0])).json()["state"], "cancelled");
    let done = web.post("/api/v1/tasks/bulk", bulk).json();
    assert_eq!(done["touched"], 3, "{done}");
    for (at, id) in ids.iter().enumerate() {
        let state = web.get(&format!("/api/v1/tasks/{id}")).json()["state"].clone();
        assert_eq!(state == "cancelled", at % 2 == 0, "{id} is {state}");
    }
    // By ids: what has ended is refused by its name, the others are done.
    let both = serde_json::json!({"verb": "cancel", "ids": [ids[0], ids[1]]}).to_string();
    let done = web.post("/api/v1/tasks/bulk", &both).json();
    assert_eq!((&done["touched"], &done["refused"]), (&serde_json::json!(1), &serde_json::json!(1)), "{done}");
    let (status, code, _) = web.post(&format!("/api/v1/tasks/{}/cancel", ids[0]), "").problem();
    assert_eq!((status, code.as_str()), (409, "conflict"));
    // An ended task goes with all that it left; one that lives does not.
    let delete = |id: &str| web.raw(&format!("DELETE /api/v1/tasks/{id}"), &[&web.authorization()], b"").status;
    assert!(delete(ids[0]) < 300);
    assert_eq!(web.get(&format!("/api/v1/tasks/{}", ids[0])).status, 404);
    assert_eq!(delete(ids[3]), 409);
    assert_eq!(up.stop(), Some(0));
}
