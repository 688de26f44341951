//! The doors: tokens, Host and Origin, ports, and one worker to a state directory.

use std::process::Stdio;

use rustix::process::{Pid, Signal};

use crate::harness::{Room, until};
use crate::web::Web;

#[test]
fn only_the_right_token_from_the_right_place_opens() {
    let room = Room::new();
    let up = room.up(&[]);
    let web = Web::of(&up);
    let task = br#"{"action":"noop"}"#;
    for authorization in ["", "Authorization: Bearer 0000", "Authorization: Basic YTpi", "Authorization: Bearer "] {
        let headers: Vec<&str> =
            [authorization, "Content-Type: application/json"].into_iter().filter(|it| !it.is_empty()).collect();
        let reply = web.raw("POST /api/v1/tasks", &headers, task);
        let (status, code, detail) = reply.problem();
        assert_eq!((status, code.as_str()), (401, "unauthenticated"), "{authorization}: {detail}");
        assert!(detail.contains("--token-file"), "{detail}");
        assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
        assert_eq!(web.raw("GET /api/v1/events", &headers, b"").status, 401, "{authorization}");
    }
    let right = web.authorization();
    // Another site's page, with the right token, on reads and on writes.
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost.evil.example"] {
        let origin = format!("Origin: {origin}");
        for line in ["GET /api/v1/tasks", "POST /api/v1/tasks"] {
            let reply = web.raw(line, &[&right, &origin, "Content-Type: application/json"], task);
            let (status, code, _) = reply.problem();
            assert_eq!((status, code.as_str()), (403, "foreign_origin"), "{line} {origin}");
        }
    }
    let own = format!("Origin: {}", up.url);
    assert_eq!(web.raw("GET /api/v1/tasks", &[&right, &own], b"").status, 200);
    // A name that somebody has made to point here.
    for host in ["Host: evil.example", "Host: evil.example:80", "Host: 127.0.0.1.evil.example"] {
        let (status, code, _) = web.raw("GET /api/v1/tasks", &[host, &right], b"").problem();
        assert_eq!((status, code.as_str()), (421, "wrong_host"), "{host}");
    }
    let port = up.url.rsplit(':').next().unwrap();
    assert_eq!(web.raw("GET /api/v1/tasks", &[&format!("Host: localhost:{port}"), &right], b"").status, 200);
    // Nothing of what was refused has made a task.
    assert_eq!(web.get("/api/v1/tasks").json()["items"], serde_json::json!([]));
    let wrong = room.write("wrong.token", "0000");
    let ran = room.run(&["status", "--token-file", wrong.to_str().unwrap(), "--server", &up.url]);
    assert!(ran.status == Some(5) && ran.stderr.contains("token"), "{:?} {}", ran.status, ran.stderr);
    let ran = room.run(&["status", "--token-file", "nowhere.token", "--server", &up.url]);
    assert!(ran.status == Some(2) && ran.stderr.contains("nowhere.token"), "{:?} {}", ran.status, ran.stderr);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&up.token_file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_told_and_so_is_an_open_one() {
    let room = Room::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in [&["up"][..], &["server", "start", "--data", "data"]] {
        let ran = room.run(&[command, &["--listen", &address]].concat());
        assert_eq!(ran.status, Some(5), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(&address) && ran.stderr.contains("--listen"), "{command:?}: {}", ran.stderr);
        // Everybody could reach it, and no TLS is there.
        let ran = room.run(&[command, &["--listen", "0.0.0.0:0"]].concat());
        assert!(ran.status != Some(0) && ran.stderr.contains("--insecure"), "{command:?}: {}", ran.stderr);
        let ran = room.run(&[command, &["--listen", "nonsense"]].concat());
        assert!(ran.status == Some(2) && ran.stderr.contains("nonsense"), "{command:?}: {}", ran.stderr);
    }
    room.wait_empty();
}

#[test]
fn a_second_worker_on_a_state_directory_is_refused_with_the_process_that_has_it() {
    let room = Room::new();
    let up = room.up(&[]);
    let token = room.write("enrol.token", &room.good(&["token", "create", "--enrol"]));
    let token = token.to_str().unwrap();
    let args = ["worker", "start", "--identity", "first", "--state", "w", "--server", &up.url, "--token-file", token];
    let mut first = room.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let connected = |name: &str| {
        let ran = room.run(&["worker", "show", name, "--json"]);
        ran.stdout.contains("\"connected\"")
    };
    until("the first worker is there", || connected("first"));
    let ran = room.run(&args);
    assert_eq!(ran.status, Some(5), "{}", ran.stderr);
    assert!(ran.stderr.contains(&first.id().to_string()) && ran.stderr.contains("--state"), "{}", ran.stderr);
    assert!(connected("first"), "the first is not disturbed");
    // The token was for one enrolment, and the name alone opens nothing.
    let other = ["worker", "start", "--identity", "first", "--state", "w2", "--server", &up.url, "--token-file", token];
    let ran = room.run(&other);
    assert_eq!(ran.status, Some(5), "{}", ran.stderr);
    rustix::process::kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
    first.wait().unwrap();
    // Its own key opens the door from then on.
    let args = ["worker", "start", "--identity", "first", "--state", "w", "--server", &up.url];
    let mut again = room.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the first worker is back", || {
        let ran = room.run(&["worker", "show", "first", "--json"]);
        ran.stdout.contains("\"connected\"") && ran.stdout.contains("\"incarnation\": 2")
    });
    rustix::process::kill_process(Pid::from_child(&again), Signal::TERM).unwrap();
    again.wait().unwrap();
    room.stop_supervisor("w");
    assert_eq!(up.stop(), Some(0));
}
