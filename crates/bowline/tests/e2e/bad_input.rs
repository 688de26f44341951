//! Bad input: refused with its place, its cause and what to do, in bounded time; nothing begins.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;

use crate::harness::{Room, finish};
use crate::web::Web;

/// More than any body may be.
const TEN_MB: usize = 10_000_000;

#[test]
fn rest_names_the_place_of_what_is_wrong_and_the_nearest_name() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    let refused = |body: &str, path: &str, told: &[&str]| {
        let reply = web.post("/api/v1/tasks", body);
        let (status, code, detail) = reply.problem();
        assert_eq!((status, code.as_str()), (400, "invalid"), "{body}: {detail}");
        let mistakes = reply.json()["mistakes"].clone();
        assert!(mistakes.as_array().is_some_and(|all| all.iter().any(|one| one["path"] == path)), "{body}: {mistakes}");
        for word in told {
            assert!(detail.contains(word), "{body}: `{word}` is missing in {detail}");
        }
    };
    refused(r#"{"action":"noop","priorty":3}"#, "priorty", &["priorty", "priority"]);
    refused(r#"{"action":"noop","priority":"high"}"#, "priority", &["priority", "high"]);
    refused(r#"{"command":"true"}"#, "command", &["command"]);
    refused(r#"{"action":"noop","retry":{"extra":1,"backof":"1s"}}"#, "retry.backof", &["backoff"]);
    refused(r#"{"tasks":[{"action":"noop"},{"action":"noop","slotz":1}]}"#, "tasks[1].slotz", &["slots"]);
    // What is no JSON at all, half a document, nothing, and a task that says nothing to do, or two things.
    for body in ["hello", r#"{"action":"noop""#, "", "[]", "{}", r#"{"action":"noop","command":["true"]}"#] {
        let (status, _, detail) = web.post("/api/v1/tasks", body).problem();
        assert_eq!(status, 400, "{body}: {detail}");
        assert!(!detail.is_empty(), "{body}");
    }
    // Values out of their bounds.
    for body in [
        r#"{"action":"sleep","with":{"for":"soon"}}"#,
        r#"{"action":"dance"}"#,
        r#"{"action":"noop","timeout":"5 parsecs"}"#,
        r#"{"action":"noop","array":"9-1"}"#,
        r#"{"action":"noop","after":["999999"]}"#,
        r#"{"command":[]}"#,
        r#"{"command":["a\u0000b"]}"#,
        r#"{"command":["true"],"env":{"A=B":"x"}}"#,
        r#"{"command":["true"],"files":{"../out":"x"}}"#,
        r#"{"action":"noop","labels":{"":"x"}}"#,
    ] {
        let reply = web.post("/api/v1/tasks", body);
        assert!((400..500).contains(&reply.status), "{body}: {} {}", reply.status, reply.text());
        assert!(!reply.problem().2.is_empty(), "{body}");
    }
    // Queries are judged too.
    for path in ["/api/v1/tasks?stat=ready", "/api/v1/tasks?state=redy", "/api/v1/tasks?limit=x", "/api/v1/tasks/x7"] {
        let (status, _, detail) = web.get(path).problem();
        assert_eq!(status, 400, "{path}: {detail}");
    }
    // Nothing of all this has made a task.
    assert_eq!(web.get("/api/v1/tasks").json()["items"], serde_json::json!([]));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn ten_megabytes_are_refused_with_the_limit_by_every_door() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    let body = format!(r#"{{"command":["true"],"env":{{"X":"{}"}}}}"#, "x".repeat(TEN_MB));
    let (status, code, detail) = web.post("/api/v1/tasks", &body).problem();
    assert_eq!((status, code.as_str()), (413, "too_large"), "{detail}");
    assert!(detail.contains("8 MiB"), "{detail}");
    room.write("big.json", &body);
    room.write("big.txt", &"x".repeat(TEN_MB));
    room.write("big.yaml", &format!("name: x\nsteps:\n  a:\n    run: \"{}\"\n", "x".repeat(TEN_MB)));
    for args in [
        &["submit", "--from-json", "big.json"][..],
        &["submit", "--stdin", "big.txt", "--", "cat"],
        &["submit", "--send", "big.txt", "--", "cat"],
        &["submit", "--script", "big.txt"],
        &["workflow", "check", "big.yaml"],
        &["run", "big.yaml"],
    ] {
        let ran = room.run(args);
        assert_eq!(ran.status, Some(2), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("big.") && ran.stderr.contains("larger than"), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.len() < 2000, "{args:?} repeats what is too large");
    }
    assert_eq!(web.get("/api/v1/tasks").json()["items"], serde_json::json!([]));
    // And the server is as good as before.
    room.good(&["submit", "--wait", "--", "true"]);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn workflow_files_show_each_mistake_with_line_column_and_caret() {
    let room = Room::new();
    let check = |text: &str, told: &[&str]| {
        room.write("bad.yaml", text);
        let ran = room.run(&["workflow", "check", "bad.yaml"]);
        assert_eq!(ran.status, Some(2), "{text}\n{}", ran.stderr);
        for word in told {
            assert!(ran.stderr.contains(word), "{text}\n`{word}` is missing in\n{}", ran.stderr);
        }
        assert!(ran.stderr.contains('^'), "no caret in {}", ran.stderr);
    };
    check("name: x\nsteps:\n  a: {run: 'true', retrys: 2}\n", &["bad.yaml:3:20", "retrys", "retry"]);
    check("name: x\nsteps:\n  a: {run: 'true', timeout: soon}\n", &["bad.yaml:3:", "soon", "90s"]);
    check("name: x\nsteps:\n  a: {argv: echo hi}\n", &["bad.yaml:3:13", "argv"]);
    let cycle =
        "name: x\nsteps:\n  a: {run: 'true', needs: b}\n  b: {run: 'true', needs: [c]}\n  c: {run: 'true', needs: a}\n";
    check(cycle, &["a → b → c → a", "bad.yaml:5:"]);
    check("name: x\nsteps:\n  a: {run: 'true', needs: a}\n", &["bad.yaml:3:", "`a`"]);
    check("name: x\nsteps:\n  a: {run: 'echo {{ inputs.x }}'}\n", &["bad.yaml:3:", "env:", "argv:"]);
    check("name: x\nsteps:\n  a: {argv: [echo, '{{ steps.b.result }}']}\n", &["bad.yaml:3:"]);
    check("name: x\nsteps:\n  a: {argv: [echo, '{{ 1 + }}']}\n", &["bad.yaml:3:"]);
    check("name: [x\nsteps:\n", &["bad.yaml:"]);
    check("name: x\nsteps: {}\n", &["bad.yaml:"]);
    check("name: x\nsteps:\n  a: {}\n", &["bad.yaml:3:", "run", "argv", "action"]);
    check("name: x\nsteps:\n  a: {run: 'true', argv: ['true']}\n", &["bad.yaml:3:", "run", "argv"]);
    // Bytes that are no UTF-8; nothing at all; a file that is not there.
    std::fs::write(room.work().join("bad.yaml"), b"name: \xff\xfe\n").unwrap();
    assert_eq!(room.run(&["workflow", "check", "bad.yaml"]).status, Some(2));
    std::fs::write(room.work().join("bad.yaml"), b"").unwrap();
    assert_eq!(room.run(&["workflow", "check", "bad.yaml"]).status, Some(2));
    let ran = room.run(&["workflow", "check", "nowhere.yaml"]);
    assert!(
        matches!(ran.status, Some(2 | 3)) && ran.stderr.contains("nowhere.yaml"),
        "{:?} {}",
        ran.status,
        ran.stderr
    );
}

#[test]
fn expressions_that_fail_loop_or_explode_end_soon_with_their_cause() {
    let room = Room::new();
    let up = room.up(&[]);
    let cases = [
        ("{{ 1 / (inputs.n - 3) }}", "unable to calculate"),
        ("{% for i in range(9999) %}{% for j in range(9999) %}{% set x = i * j %}{% endfor %}{% endfor %}", "steps"),
        ("{% set x = range(9000) | join %}{% for i in range(9999) %}{{ x }}{% endfor %}", "1048576 bytes"),
        ("{{ range(inputs.n * 100000) | length }}", "range"),
        ("{{ inputs.words[7] }}", "argv[1]"),
    ];
    for (expression, cause) in cases {
        let text =
            "name: e\ninputs:\n  n: 3\n  words: {type: list, default: [x]}\nsteps:\n  burst:\n    argv: [echo, '";
        room.write("e.yaml", &format!("{text}{expression}']\n"));
        let ran = room.run(&["run", "e.yaml"]);
        assert_eq!(ran.status, Some(1), "{expression}: {}{}", ran.stdout, ran.stderr);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        for word in ["burst", "argv[1]", cause] {
            assert!(told.contains(word), "{expression}: `{word}` is missing in {told}");
        }
    }
    // In `for_each` and in `result` too.
    room.write(
        "e.yaml",
        "name: e\ninputs: {n: 3}\nsteps:\n  burst:\n    for_each: '{{ 1 / (inputs.n - 3) }}'\n    run: 'true'\n",
    );
    let ran = room.run(&["run", "e.yaml"]);
    assert!(ran.status == Some(1) && ran.stderr.contains("for_each"), "{:?} {}", ran.status, ran.stderr);
    room.write(
        "e.yaml",
        "name: e\ninputs: {n: 3}\nsteps:\n  fine: {run: 'true'}\nresult: '{{ 1 / (inputs.n - 3) }}'\n",
    );
    let ran = room.run(&["run", "e.yaml"]);
    assert!(ran.status == Some(1) && ran.stderr.contains("result"), "{:?} {}", ran.status, ran.stderr);
    room.good(&["submit", "--wait", "--", "true"]);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn bytes_that_are_no_utf8_stay_as_they_are_in_logs_and_are_refused_in_names() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    let id = web.submit(r#"{"shell":"printf 'k=\\377v\\n' > $BOWLINE_OUTPUT"}"#);
    let task = web.ended(&id);
    assert_eq!(task["state"], "succeeded", "{task}");
    assert_eq!(task["result"]["k"], "\u{fffd}v", "{task}");
    let id = web.submit(r#"{"shell":"printf '\\377\\376 \\000 ok\\n'"}"#);
    assert_eq!(web.ended(&id)["state"], "succeeded");
    assert_eq!(web.get(&format!("/api/v1/tasks/{id}/logs")).body, b"\xff\xfe \x00 ok\n");
    let ran = room.command(&["logs", &id]).stderr(Stdio::null()).output().unwrap();
    assert_eq!(ran.stdout, b"\xff\xfe \x00 ok\n");
    let id = web.submit(r#"{"shell":"printf '\\377x'","output":"text"}"#);
    assert_eq!(web.ended(&id)["result"], "\u{fffd}x");
    // A file whose name is no UTF-8 is kept, or its loss is told; the task goes on.
    let id = web.submit(r#"{"shell":"touch \"$BOWLINE_ARTIFACTS/$(printf 'a\\377b')\" \"$BOWLINE_ARTIFACTS/good\""}"#);
    assert_eq!(web.ended(&id)["state"], "succeeded");
    let kept = web.get(&format!("/api/v1/tasks/{id}/artifacts")).json();
    assert!(kept["items"].as_array().unwrap().iter().any(|file| file["name"] == "good"), "{kept}");
    for option in ["--name", "--label", "--env", "--requires"] {
        let value = OsString::from_vec(b"a=\xffb".to_vec());
        let args = [OsString::from("submit"), option.into(), value, "--".into(), "true".into()];
        let child = room.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ran = finish(child, option);
        assert_eq!(ran.status, Some(2), "{option}: {}", ran.stderr);
        assert!(ran.stderr.contains("UTF-8"), "{option}: {}", ran.stderr);
    }
    let reply = web.raw(
        "POST /api/v1/tasks",
        &[&web.authorization(), "Content-Type: application/json"],
        b"{\"action\":\"noop\",\"name\":\"a\xff\"}",
    );
    assert_eq!(reply.problem().0, 400, "{}", reply.text());
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn commands_and_folders_that_are_not_there_are_told_with_what_to_do() {
    let room = Room::new();
    let up = room.up(&[]);
    let ran = room.run(&["submit", "--wait", "--", "no-such-command-anywhere"]);
    assert_eq!(ran.status, Some(127), "{}", ran.stderr);
    for word in ["no-such-command-anywhere", "--dir", "--send", "--script"] {
        assert!(ran.stderr.contains(word), "`{word}` is missing in {}", ran.stderr);
    }
    let ran = room.run(&["submit", "--wait", "--dir", "/no/such/folder", "--", "true"]);
    assert_eq!(ran.status, Some(125), "{}", ran.stderr);
    assert!(ran.stderr.contains("/no/such/folder"), "{}", ran.stderr);
    // A file that may not be executed, and a folder that is a file.
    let script = room.write("plain.sh", "#!/bin/sh\ntrue\n").to_string_lossy().into_owned();
    let ran = room.run(&["submit", "--wait", "--", &script]);
    assert!(
        matches!(ran.status, Some(125..=126)) && ran.stderr.contains("plain.sh"),
        "{:?} {}",
        ran.status,
        ran.stderr
    );
    let ran = room.run(&["submit", "--wait", "--dir", &script, "--", "true"]);
    assert!(ran.status == Some(125) && ran.stderr.contains("plain.sh"), "{:?} {}", ran.status, ran.stderr);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_folder_without_permission_fails_the_task_and_says_so() {
    let room = Room::new();
    let locked = room.work().join("locked");
    std::fs::create_dir(&locked).unwrap();
    let mode = |bits| std::fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(bits)).unwrap();
    mode(0o000);
    let up = room.up(&[]);
    let token = up.token_file.to_string_lossy().into_owned();
    // The administrator may go everywhere: the worker is started without that right.
    let bowline = room.command::<&str>(&[]).get_program().to_os_string();
    let mut args: Vec<OsString> = Vec::new();
    let root = rustix::process::geteuid().is_root();
    if root {
        args.extend(
            ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
                .map(Into::into),
        );
        args.push(bowline.clone());
    }
    let rest = ["worker", "start", "--identity", "plain", "--capability", "plain", "--state", "plain.state"];
    args.extend(rest.map(OsString::from));
    args.extend(["--server", &up.url, "--token-file", &token, "--on-term", "release"].map(OsString::from));
    let mut worker = room
        .command_of(if root { "setpriv".into() } else { bowline }, &args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ran = room.run(&["submit", "--wait", "--requires", "plain", "--dir", locked.to_str().unwrap(), "--", "true"]);
    rustix::process::kill_process(rustix::process::Pid::from_child(&worker), rustix::process::Signal::TERM).unwrap();
    worker.wait().unwrap();
    room.stop_supervisor("plain.state");
    mode(0o700);
    assert_eq!(ran.status, Some(125), "{}", ran.stderr);
    for word in ["locked", "ermission"] {
        assert!(ran.stderr.contains(word), "`{word}` is missing in {}", ran.stderr);
    }
    assert_eq!(up.stop(), Some(0));
}
