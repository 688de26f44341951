//! The outbox: a server that is away for longer than anything in the protocol lasts, and what is counted.

use std::time::{Duration, Instant, SystemTime};

use bowline_api::{Event, EventQuery, NewTask};
use bowline_client::{EventItem, EventStream};
use bowline_core::state::StateKind;

use crate::harness::parts::{ServerPart, said, worker};
use crate::harness::worked::{Work, in_journal};
use crate::harness::{PATIENCE, Room, until};

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

/// The next event of this name.
async fn told(events: &mut EventStream, what: &str) -> Event {
    let next = async {
        loop {
            match events.next().await.unwrap() {
                EventItem::Event(event) if event.what == what => return *event,
                EventItem::Event(_) | EventItem::Open => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("nobody told that anything is {what}"))
}

#[test]
fn full_the_outbox_holds_back_what_has_not_begun_and_no_result_and_goes_on_when_the_server_is_back() {
    /// Of results of a million bytes five fit; with three there is room for another one.
    const OUTBOX: &str = "5MiB";
    const FIT_MIN: usize = 4;
    const FIT_MAX: usize = 5;
    const JOBS: usize = 9;
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let address = server.address().to_owned();
    let work = Work::of(&server);
    let refused = room.run(&["worker", "start", "--server", &server.url, "--slots", "1", "--outbox", "1MiB"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--outbox must be at least"), "{refused:?}");
    let process = worker(&room, "w", (&server.url, &server.token_file), &[], &["--slots", "1", "--outbox", OUTBOX]);
    // Whoever has had nothing but short tasks holds many ready.
    let quick = NewTask { action: Some("noop".to_owned()), ..NewTask::default() };
    work.until_state(work.one(quick), StateKind::Succeeded);
    let (marks, gate) = (room.work().join("marks"), room.work().join("gate"));
    let job = |number: usize| {
        let script = format!(
            "echo \"t{number} begun\" >>'{marks}'; date +%s%N >'{marks}.{number}'\nuntil test -e '{gate}'; do sleep 0.02; done\n\
             {{ printf 'text='; head -c 1000000 /dev/zero | tr '\\0' {number}; echo; }} >\"$BOWLINE_OUTPUT\"\n\
             echo said by {number}\necho \"t{number} ended\" >>'{marks}'\n",
            marks = marks.display(),
            gate = gate.display(),
        );
        NewTask { shell: Some(script), ..NewTask::default() }
    };
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let of_everything = EventQuery { namespace: Some("*".to_owned()), ..EventQuery::default() };
    let mut events = work.client.clone().with_patience(PATIENCE).events(of_everything);
    rt.block_on(events.next()).unwrap();
    let ids = work.submit((0..JOBS).map(job).collect());
    until("the worker holds all of them", || work.worker(&room, "w")["attempts"].as_array().unwrap().len() == JOBS);
    // Whoever has read an event is told of all that come after it.
    rt.block_on(told(&mut events, "assigned"));
    server.part.kill();
    std::fs::write(&gate, "").unwrap();
    let marked = |what: &str| std::fs::read_to_string(&marks).unwrap_or_default().matches(what).count();
    let is_full = || {
        let log = said(&room, "w");
        log.matches("nothing more for now which=Outbox").count() > log.matches("in order again which=Outbox").count()
    };
    let mut fit = 0;
    until("what has begun has ended, its ends are in the journal, and it says that it takes nothing more", || {
        fit = marked("ended");
        let kept = in_journal(&room, "w", "SELECT count(*) FROM message WHERE length(message) > 1000000");
        usize::try_from(kept) == Ok(fit) && marked("begun") == fit && is_full()
    });
    assert!((FIT_MIN..=FIT_MAX).contains(&fit), "{fit} have ended");
    // However long that lasts: here, until it has looked for the server once more.
    let tries = || said(&room, "w").matches("connecting again").count();
    let before = tries();
    until("it has looked for the server", || tries() > before);
    let back = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let server = ServerPart::start(&room, &address, &[]);
    let work = Work::of(&server);
    let mut begun_before = 0;
    for (number, id) in ids.iter().enumerate() {
        work.until_state(*id, StateKind::Succeeded);
        assert_eq!(work.attempts(*id), 1);
        let text = work.task(*id).result.unwrap()["text"].as_str().unwrap().to_owned();
        assert!(text == number.to_string().repeat(1_000_000));
        let began = std::fs::read_to_string(room.work().join(format!("marks.{number}"))).unwrap();
        begun_before += usize::from(began.trim().parse::<u128>().unwrap() < back);
        until("the log is whole", || work.log(&room, *id) == format!("said by {number}\n"));
    }
    assert_eq!(begun_before, fit, "what had not begun waited for room");
    work.done_once(&marks, (0..JOBS).map(|number| format!("t{number}")));
    // The server was told why, and that it is over.
    let told = rt.block_on(told(&mut events, "broken"));
    assert_eq!(told.worker.as_deref(), Some("w"));
    assert!(told.reason.contains("its outbox is full: more than 5242880 bytes wait"), "{told:?}");
    let mut worker = serde_json::Value::Null;
    until("it is well, and has nothing left to deliver", || {
        worker = work.worker(&room, "w");
        worker["broken"].is_null() && worker["vitals"]["outbox_bytes"] == 0
    });
    assert_eq!(worker["vitals"]["outbox_bytes_max"], 5 << 20);
    let messages = worker["vitals"]["messages"].as_array().unwrap();
    for counts in messages.iter().filter(|counts| counts["class"] == "assured") {
        assert_eq!((&counts["dropped"], &counts["refused"]), (&0.into(), &0.into()), "{counts}");
    }
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}
