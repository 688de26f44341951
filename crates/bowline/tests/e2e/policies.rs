//! What a task asks for is what it gets: dependencies, retries, limits in time, cancel, arrays,
//! priorities, and each action.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::harness::{Room, until};
use crate::web::Web;

fn state(web: &Web, id: &str) -> String {
    web.get(&format!("/api/v1/tasks/{id}")).json()["state"].as_str().unwrap().to_owned()
}

fn reaches(web: &Web, id: &str, wanted: &str) {
    until(&format!("task {id} is {wanted}"), || state(web, id) == wanted);
}

#[test]
fn dependencies_by_condition_and_what_can_no_longer_be_is_skipped() {
    let room = Room::new();
    let up = room.up(&["--slots", "4"]);
    let web = Web::of(&up);
    for (command, good) in [("true", true), ("false", false)] {
        let first = web.submit(r#"{"action":"wait"}"#);
        let body = json!({"command": [command], "after": [first]}).to_string();
        let middle = web.submit(&body);
        let after = |condition: &str| web.submit(&format!(r#"{{"action":"noop","after":["{middle}{condition}"]}}"#));
        let (ok, plain, any, fail) = (after(":ok"), after(""), after(":any"), after(":fail"));
        let behind = web.submit(&format!(r#"{{"action":"noop","after":["{ok}"]}}"#));
        let both = web.submit(&format!(r#"{{"action":"noop","after":["{ok}:any","{fail}:any"]}}"#));
        for id in [&middle, &ok, &plain, &any, &fail, &behind, &both] {
            assert_eq!(state(&web, id), "blocked", "{id}");
        }
        reaches(&web, &first, "running");
        room.good(&["task", "complete", &first]);
        let ended = |id: &str| web.ended(id)["state"].as_str().unwrap().to_owned();
        let (on_ok, on_fail) = if good { ("succeeded", "skipped") } else { ("skipped", "succeeded") };
        assert_eq!(
            [ended(&ok), ended(&plain), ended(&fail), ended(&behind)],
            [on_ok, on_ok, on_fail, on_ok],
            "{command}"
        );
        assert_eq!([ended(&any), ended(&both)], ["succeeded", "succeeded"], "{command}");
        // What has ended already counts too.
        let late = web.submit(&format!(r#"{{"action":"noop","after":["{middle}:fail"]}}"#));
        assert_eq!(ended(&late), on_fail);
    }
    // One that is cancelled has not succeeded; what waits for it says why it was skipped.
    let first = web.submit(r#"{"action":"wait"}"#);
    let next = web.submit(&format!(r#"{{"action":"noop","after":["{first}"]}}"#));
    room.good(&["cancel", &first]);
    let task = web.ended(&next);
    assert_eq!(task["state"], "skipped");
    assert!(task["outcome"]["message"].as_str().unwrap().contains(&first), "{task}");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn failures_are_tried_again_with_growing_pauses_and_then_told() {
    let room = Room::new();
    let up = room.up(&["--slots", "2"]);
    let web = Web::of(&up);
    let retry = json!({"extra": 3, "backoff": "20ms", "backoff_max": "80ms"});
    let always = web.submit(&json!({"shell": "echo try $BOWLINE_ATTEMPT; exit 6", "retry": retry}).to_string());
    let third = web
        .submit(&json!({"shell": "echo try $BOWLINE_ATTEMPT; test $BOWLINE_ATTEMPT = 3", "retry": retry}).to_string());
    let task = web.ended(&always);
    assert_eq!(
        (&task["state"], &task["attempt"], &task["failures"]),
        (&json!("failed"), &json!(4), &json!(4)),
        "{task}"
    );
    assert_eq!((&task["outcome"]["kind"], &task["outcome"]["exit_status"]), (&json!("error"), &json!(6)));
    let task = web.ended(&third);
    assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(3)), "{task}");
    let attempts = web.get(&format!("/api/v1/tasks/{third}/attempts")).json();
    let ends: Vec<&str> = attempts["items"].as_array().unwrap().iter().filter_map(|one| one["end"].as_str()).collect();
    assert_eq!(ends, ["failed", "failed", "succeeded"], "{attempts}");
    for attempt in 1..=3 {
        let log = web.get(&format!("/api/v1/tasks/{third}/logs?attempt={attempt}")).text();
        assert_eq!(log, format!("try {attempt}\n"));
    }
    // `retry` opens a new round; its attempts count on.
    room.good(&["retry", &always]);
    let task = web.ended(&always);
    assert_eq!((&task["round"], &task["attempt"]), (&json!(2), &json!(8)), "{task}");
    // Cancelled while it waits to be tried again.
    let waits = web.submit(r#"{"command":["false"],"retry":{"extra":1,"backoff":"1h"}}"#);
    reaches(&web, &waits, "scheduled");
    room.good(&["cancel", &waits]);
    assert_eq!(web.ended(&waits)["attempt"], 1);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn every_limit_in_time_ends_the_task_and_is_named() {
    let room = Room::new();
    let up = room.up(&["--slots", "4"]);
    let web = Web::of(&up);
    let run = web.submit(r#"{"shell":"echo begun; sleep 600","timeout":"300ms"}"#);
    let stubborn =
        web.submit(r#"{"shell":"trap '' TERM; while :; do sleep 0.1; done","timeout":"300ms","grace":"200ms"}"#);
    let again = web.submit(r#"{"shell":"sleep 600","timeout":"100ms","retry":{"extra":1,"backoff":"10ms"}}"#);
    let queue = web.submit(r#"{"action":"noop","requires":["never"],"timeouts":{"queue":"200ms"}}"#);
    let total = web.submit(r#"{"shell":"sleep 600","timeouts":{"total":"400ms"},"retry":{"extra":9}}"#);
    let blocked =
        web.submit(&format!(r#"{{"action":"noop","after":["{run}"],"delay":"1h","timeouts":{{"total":"200ms"}}}}"#));
    let late = web.submit(r#"{"action":"noop","requires":["never"],"deadline":"2001-01-01T00:00:00Z"}"#);
    for (id, which, attempts) in [
        (&run, "run", 1),
        (&stubborn, "run", 1),
        (&again, "run", 2),
        (&queue, "queue", 0),
        (&total, "total", 1),
        (&blocked, "total", 0),
        (&late, "deadline", 0),
    ] {
        let task = web.ended(id);
        assert_eq!(task["state"], "failed", "{which}: {task}");
        assert_eq!((&task["outcome"]["kind"], &task["outcome"]["which"]), (&json!("timeout"), &json!(which)), "{task}");
        assert_eq!(task["attempt"], attempts, "{which}: {task}");
    }
    assert_eq!(web.get(&format!("/api/v1/tasks/{run}/logs")).text(), "begun\n", "what it said is kept");
    let ran = room.run(&["wait", &run]);
    assert_eq!(ran.status, Some(125), "{}", ran.stderr);
    until("no job is left", || !room.processes().iter().any(|(_, line)| line.contains("sleep")));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn cancel_reaches_what_waits_what_runs_and_whole_arrays() {
    let room = Room::new();
    let up = room.up(&["--slots", "2"]);
    let web = Web::of(&up);
    let runs =
        web.submit(r#"{"shell":"trap 'echo told; exit 0' TERM; echo begun; while :; do sleep 0.05 || true; done"}"#);
    until("it has begun", || web.get(&format!("/api/v1/tasks/{runs}/logs")).text() == "begun\n");
    let waits = web.submit(r#"{"action":"noop","requires":["never"]}"#);
    let blocked = web.submit(&format!(r#"{{"action":"noop","after":["{waits}"]}}"#));
    let delayed = web.submit(r#"{"action":"noop","delay":"1h"}"#);
    room.good(&["cancel", &runs, &waits, &delayed]);
    for id in [&runs, &waits, &delayed] {
        assert_eq!(web.ended(id)["state"], "cancelled", "{id}");
    }
    assert_eq!(web.ended(&blocked)["state"], "skipped");
    // It was asked by TERM, and its good end came later than the intent.
    until("its log is whole", || web.get(&format!("/api/v1/tasks/{runs}/logs")).text().ends_with("told\n"));
    let history = web.get(&format!("/api/v1/tasks/{runs}/history")).json();
    let whats: Vec<&str> = history["items"].as_array().unwrap().iter().filter_map(|one| one["what"].as_str()).collect();
    assert!(whats.contains(&"stopping") && whats.ends_with(&["cancelled"]), "{whats:?}");
    // An array of which two run, and one element by itself.
    let array = web.submit(r#"{"shell":"sleep 600","array":"1-1000"}"#);
    reaches(&web, &format!("{array}.1"), "running");
    room.good(&["cancel", &format!("{array}.900")]);
    assert_eq!(state(&web, &format!("{array}.900")), "cancelled");
    assert_eq!(state(&web, &format!("{array}.1")), "running");
    room.good(&["cancel", &array]);
    assert_eq!(web.ended(&array)["state"], "cancelled");
    for element in [1, 2, 3, 1000] {
        assert_eq!(state(&web, &format!("{array}.{element}")), "cancelled");
    }
    until("no job is left", || !room.processes().iter().any(|(_, line)| line.starts_with("sleep 600")));
    // The slots are free again.
    room.good(&["submit", "--wait", "--slots", "2", "--", "true"]);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn arrays_run_as_many_at_a_time_as_they_say_and_priorities_go_first() {
    let room = Room::new();
    let up = room.up(&["--slots", "4"]);
    let web = Web::of(&up);
    // Each element notes how many of its kind there are.
    let place = room.work().join("live");
    std::fs::create_dir(&place).unwrap();
    let script = format!(
        "cd '{}'; mkdir $BOWLINE_ARRAY_INDEX; ls | wc -l; sleep 0.1; rmdir $BOWLINE_ARRAY_INDEX",
        place.display()
    );
    let array = web.submit(&json!({"shell": script, "array": "10-40:5%2", "output": "lines"}).to_string());
    let task = web.ended(&array);
    assert_eq!(task["state"], "succeeded", "{task}");
    let most: u32 = (10..=40)
        .step_by(5)
        .map(|element| {
            let result = web.get(&format!("/api/v1/tasks/{array}.{element}")).json()["result"].clone();
            result[0].as_str().unwrap_or_else(|| panic!("{element}: {result}")).trim().parse().unwrap()
        })
        .max_by_key(|count| *count)
        .unwrap();
    assert!(most <= 2, "{most} at a time");
    assert_eq!(web.get(&format!("/api/v1/tasks/{array}.11")).status, 404);
    // One element fails: the array has failed, and says how many.
    let array = web.submit(r#"{"shell":"test $BOWLINE_ARRAY_INDEX != 2","array":"1-3"}"#);
    let task = web.ended(&array);
    assert_eq!(task["state"], "failed", "{task}");
    assert_eq!(room.run(&["wait", &array]).status, Some(1));
    assert_eq!(room.run(&["wait", &format!("{array}.2")]).status, Some(1));
    assert_eq!(room.run(&["wait", &format!("{array}.3")]).status, Some(0));
    // On one slot the higher goes first, and equals go in the order in which they came.
    let order = room.work().join("order");
    assert_eq!(web.post("/api/v1/pause", "{}").status, 200);
    let mut ids = Vec::new();
    for (name, priority) in [("c", 0), ("d", 0), ("a", 9), ("f", -5), ("b", 1), ("e", 0)] {
        let script = format!("echo {name} >> '{}'", order.display());
        ids.push(web.submit(&json!({"shell": script, "priority": priority, "slots": 4}).to_string()));
    }
    assert_eq!(web.post("/api/v1/resume", "{}").status, 200);
    for id in &ids {
        assert_eq!(web.ended(id)["state"], "succeeded");
    }
    assert_eq!(std::fs::read_to_string(&order).unwrap(), "a\nb\nc\nd\ne\nf\n");
    assert_eq!(up.stop(), Some(0));
}

/// A server for a few requests: answers each by its path, and tells what it was asked.
fn answering(count: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let mut asked = Vec::new();
        for stream in listener.incoming().take(count) {
            let stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0);
            }
            let field = |name: &str| {
                head.lines().find_map(|line| Some(line.to_lowercase().strip_prefix(name)?.trim().to_owned()))
            };
            let mut body = vec![0; field("content-length:").map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            let (status, answer) = match head.split(' ').nth(1).unwrap() {
                "/json" => (200, r#"{"answer":42}"#.to_owned()),
                "/missing" => (404, "nothing".to_owned()),
                "/large" => (200, "x".repeat(3 << 20)),
                _ => (204, String::new()),
            };
            let head_back = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            let mut stream = stream;
            drop(stream.write_all(head_back.as_bytes()).and_then(|()| stream.write_all(answer.as_bytes())));
            asked.push(format!("{head}{}", String::from_utf8(body).unwrap()));
        }
        asked
    };
    (url, std::thread::spawn(serve))
}

#[test]
fn each_action_does_what_it_says() {
    let room = Room::new();
    let up = room.up(&["--slots", "1"]);
    let web = Web::of(&up);
    let (url, server) = answering(5);
    let http = |with: Value| web.ended(&web.submit(&json!({"action": "http", "with": with}).to_string()));
    let task = http(json!({"url": format!("{url}/json")}));
    assert_eq!(task["state"], "succeeded", "{task}");
    assert!(task["result"].to_string().contains("42"), "{task}");
    let with = json!({"url": format!("{url}/any?q=1"), "method": "PUT", "headers": {"X-Own": "yes"}, "body": "{\"a\":[1]}", "expect": [204]});
    assert_eq!(http(with)["state"], "succeeded");
    let task = http(json!({"url": format!("{url}/missing")}));
    assert_eq!((&task["state"], &task["outcome"]["kind"]), (&json!("failed"), &json!("error")), "{task}");
    assert!(task["outcome"]["message"].as_str().unwrap().contains("404"), "{task}");
    assert_eq!(http(json!({"url": format!("{url}/missing"), "expect": [404]}))["state"], "succeeded");
    let task = http(json!({"url": format!("{url}/large")}));
    assert_eq!(task["state"], "failed", "{}", task["outcome"]);
    assert!(task["outcome"]["message"].as_str().unwrap().contains("1048576 bytes"), "{}", task["outcome"]);
    let asked = server.join().unwrap();
    let put = asked[1].to_lowercase();
    assert!(put.starts_with("put /any?q=1 ") && put.contains("x-own: yes") && put.ends_with(r#"{"a":[1]}"#), "{put}");
    // Nobody answers there any more.
    let task = http(json!({"url": format!("{url}/json")}));
    assert!(task["outcome"]["message"].as_str().unwrap().contains(url.strip_prefix("http://").unwrap()), "{task}");
    // `wait` and `sleep` take no room: a job runs on the only slot meanwhile.
    let waits = web.submit(r#"{"action":"wait"}"#);
    let sleeps = web.submit(r#"{"action":"sleep","with":{"for":"1h"}}"#);
    let naps = web.submit(r#"{"action":"sleep","with":{"for":"50ms"}}"#);
    room.good(&["submit", "--wait", "--", "true"]);
    assert_eq!(web.ended(&naps)["state"], "succeeded");
    assert_eq!((state(&web, &waits), state(&web, &sleeps)), ("running".to_owned(), "running".to_owned()));
    room.good(&["cancel", &sleeps]);
    assert_eq!(web.ended(&sleeps)["state"], "cancelled");
    room.good(&["task", "complete", &waits, "--result", r#"{"by":"hand"}"#]);
    assert_eq!(web.ended(&waits)["result"], json!({"by": "hand"}));
    assert_eq!(room.run(&["task", "complete", &waits]).status, Some(5));
    let waits = web.submit(r#"{"action":"wait"}"#);
    room.good(&["task", "complete", &waits, "--failure", "the light is red"]);
    let task = web.ended(&waits);
    assert_eq!(
        (&task["state"], task["outcome"]["message"].as_str().unwrap().contains("the light is red")),
        (&json!("failed"), true),
        "{task}"
    );
    let ran = room.run(&["task", "complete", "999999"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let noop = web.submit(r#"{"action":"noop"}"#);
    assert_eq!(room.run(&["task", "complete", &noop]).status, Some(5));
    assert_eq!(web.ended(&noop)["state"], "succeeded");
    assert_eq!(up.stop(), Some(0));
}
