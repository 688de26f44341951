//! The outbox: a server that is away for longer than anything in the protocol lasts, and what is counted.

use std::time::{Duration, Instant};

use bowline_api::NewTask;
use bowline_core::state::StateKind;

use crate::harness::parts::{ServerPart, worker};
use crate::harness::worked::Work;
use crate::harness::{Room, until};

/// Longer than every timeout of the protocol.
const AWAY: Duration = Duration::from_mins(1);
/// The event loop of a worker is never later than this, on two busy processors.
const LAG_MAX_MS: u64 = 1_000;

#[test]
fn a_minute_without_the_server_costs_nothing_and_everything_that_ended_meanwhile_is_delivered() {
    const JOBS: usize = 20;
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let address = server.address().to_owned();
    let work = Work::of(&server);
    let process = worker(&room, "w", (&server.url, &server.token_file), &[], &["--slots", "20"]);
    let marks = room.work().join("marks");
    let job = |number: usize| {
        let script = format!(
            "echo 't{number} begun' >>'{marks}'\nsleep {length}\necho number={number} >\"$BOWLINE_OUTPUT\"\n\
             echo said by {number}\necho 't{number} ended' >>'{marks}'\n",
            marks = marks.display(),
            length = 2 + number * 2,
        );
        NewTask { shell: Some(script), ..NewTask::default() }
    };
    let ids = work.submit((0..JOBS).map(job).collect());
    for id in &ids {
        work.until_state(*id, StateKind::Running);
    }
    server.part.kill();
    let gone = Instant::now();
    let ended = || std::fs::read_to_string(&marks).unwrap_or_default().matches("ended").count();
    until("all jobs have ended", || ended() == JOBS);
    while gone.elapsed() < AWAY {
        std::thread::sleep(Duration::from_millis(100));
    }
    let server = ServerPart::start(&room, &address, &[]);
    let work = Work::of(&server);
    for (number, id) in ids.iter().enumerate() {
        work.until_state(*id, StateKind::Succeeded);
        assert_eq!(work.attempts(*id), 1);
        assert_eq!(work.task(*id).result.unwrap()["number"], number.to_string());
        let history = work.history(*id);
        // The last jobs may have ended just before the server was back.
        assert!(number > 12 || history.iter().any(|what| what == "delivered_late"), "{number}: {history:?}");
        until("the log is whole", || work.log(&room, *id) == format!("said by {number}\n"));
    }
    work.done_once(&marks, (0..JOBS).map(|number| format!("t{number}")));
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}

#[test]
fn what_a_worker_counts_is_shown_by_kind_and_class() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let process = worker(&room, "w", (&server.url, &server.token_file), &[], &[]);
    let id = work.one(NewTask { shell: Some("echo hello".to_owned()), ..NewTask::default() });
    work.until_state(id, StateKind::Succeeded);
    let count = |worker: &serde_json::Value, kind: &str, what: &str| {
        let messages = worker["vitals"]["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().find(|counts| counts["kind"] == kind).map_or(0, |counts| counts[what].as_u64().unwrap())
    };
    let mut worker = serde_json::Value::Null;
    until("a heartbeat tells of it", || {
        worker = work.worker(&room, "w");
        count(&worker, "finished", "sent") >= 1
    });
    assert_eq!((count(&worker, "finished", "retried"), count(&worker, "finished", "refused")), (0, 0), "{worker}");
    assert!(count(&worker, "assign", "sent") >= 1 && count(&worker, "ack", "sent") >= 2, "{worker}");
    let classes = worker["vitals"]["messages"].as_array().unwrap().iter();
    assert!(classes.clone().any(|of| of["class"] == "assured") && classes.clone().any(|of| of["class"] == "timely"));
    assert_eq!(worker["vitals"]["outbox_messages"], 0, "{worker}");
    assert!(worker["vitals"]["loop_lag_max_ms"].as_u64().unwrap() < LAG_MAX_MS, "{worker}");
    let shown = work.good(&room, &["worker", "show", "w"]);
    for part in ["finished", "assured", "event loop", "outbox"] {
        assert!(shown.contains(part), "`{part}` is missing in\n{shown}");
    }
    let metrics = crate::web::Web::at(&server.url, &server.token_file).get("/metrics").text();
    for part in [
        "bowline_worker_messages{kind=\"finished\",class=\"assured\",what=\"sent\"}",
        "bowline_messages_total{kind=\"finished\",class=\"assured\",what=\"passed\"}",
        "bowline_worker_outbox_messages 0",
        "bowline_worker_loop_lag_seconds",
    ] {
        assert!(metrics.contains(part), "`{part}` is missing in\n{metrics}");
    }
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}
