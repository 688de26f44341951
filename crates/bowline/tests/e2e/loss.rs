//! Workers that are lost, or seem to be: what runs again, what goes on, what waits for somebody who knows.

use std::time::{Duration, Instant};

use bowline_api::{Complete, NewTask};
use bowline_core::spec::{OnWorkerLoss, Overlap};
use bowline_core::state::{AttemptEnd, StateKind};
use bowline_core::time::Span;
use rustix::process::{Signal, kill_process};

use crate::harness::fleet::{Fleet, LOST_AFTER};
use crate::harness::parts::{ServerPart, runtime, worker};
use crate::harness::worked::Work;
use crate::harness::{Room, until};

const RELEASE: [&str; 4] = ["--slots", "1", "--on-term", "release"];

#[test]
fn what_a_worker_had_that_never_comes_back_runs_again_on_another() {
    let fleet = Fleet::new();
    let doomed = fleet.worker("doomed", &RELEASE);
    let gate = fleet.gate("gate");
    let id = fleet.submit(&fleet.gated(&gate));
    until("the job has begun", || fleet.marks("begun") == 1);
    let other = fleet.worker("other", &RELEASE);
    fleet.destroy(doomed, "doomed");
    until("explain says that its worker is silent", || fleet.reasons(id).contains(&"worker_silent".to_owned()));
    until("it has begun again", || fleet.marks("begun") == 2);
    std::fs::write(&gate, "").unwrap();
    let task = fleet.ends_as(id, StateKind::Succeeded);
    assert_eq!((task.worker.as_deref(), task.losses), (Some("other"), 1));
    assert_eq!(fleet.ends(id), [Some(AttemptEnd::Lost), Some(AttemptEnd::Succeeded)]);
    assert_eq!(fleet.marks("ended"), 1);
    fleet.over(vec![other]);
}

#[test]
fn a_worker_that_stood_still_goes_on_with_its_attempt_and_its_late_result_counts() {
    let fleet = Fleet::new();
    let worker = fleet.worker("sleeper", &["--slots", "2", "--on-term", "release"]);
    let (early, late) = (fleet.gate("early"), fleet.gate("late"));
    let (ends_meanwhile, goes_on) = (fleet.submit(&fleet.gated(&early)), fleet.submit(&fleet.gated(&late)));
    until("both have begun", || fleet.marks("begun") == 2);
    fleet.is(ends_meanwhile, StateKind::Running);
    fleet.is(goes_on, StateKind::Running);
    worker.signal(Signal::STOP);
    std::fs::write(&early, "").unwrap();
    for id in [ends_meanwhile, goes_on] {
        fleet.is(id, StateKind::Ready);
        assert_eq!(fleet.ends(id), [Some(AttemptEnd::Lost)]);
    }
    worker.signal(Signal::CONT);
    fleet.ends_as(ends_meanwhile, StateKind::Succeeded);
    fleet.is(goes_on, StateKind::Running);
    assert_eq!(fleet.ends(goes_on), [None], "the same attempt, under the same fence");
    std::fs::write(&late, "").unwrap();
    let task = fleet.ends_as(goes_on, StateKind::Succeeded);
    assert_eq!((task.attempt, task.losses), (1, 0));
    assert_eq!(
        (fleet.ends(ends_meanwhile), fleet.ends(goes_on)),
        (vec![Some(AttemptEnd::Succeeded)], vec![Some(AttemptEnd::Succeeded)])
    );
    assert_eq!((fleet.marks("begun"), fleet.marks("ended")), (2, 2), "nothing ran twice");
    fleet.over(vec![worker]);
}

#[test]
fn what_comes_too_late_is_evidence_and_ends_nothing() {
    let fleet = Fleet::new();
    let old = fleet.worker("old", &RELEASE);
    let gate = fleet.gate("gate");
    let id = fleet.submit(&fleet.gated(&gate));
    until("the job has begun", || fleet.marks("begun") == 1);
    fleet.is(id, StateKind::Running);
    old.signal(Signal::STOP);
    let new = fleet.worker("new", &RELEASE);
    until("it has begun again", || fleet.marks("begun") == 2);
    // Both end; the first to have been claimed says so last.
    std::fs::write(&gate, "").unwrap();
    fleet.ends_as(id, StateKind::Succeeded);
    old.signal(Signal::CONT);
    until("the old worker is back", || fleet.is_connected("old"));
    until("its result is kept as evidence", || fleet.history(id).contains(&"evidence".to_owned()));
    let ended = fleet.history(id).iter().filter(|what| *what == "succeeded").count();
    assert_eq!(ended, 1, "the round ended once");
    assert_eq!(fleet.task(id).attempt, 2);
    fleet.over(vec![old, new]);
}

#[test]
fn what_must_not_rerun_is_in_doubt_until_somebody_knows() {
    let fleet = Fleet::new();
    let worker = fleet.worker("w", &["--slots", "2", "--on-term", "release"]);
    let gate = fleet.gate("gate");
    let careful = NewTask { on_worker_loss: Some(OnWorkerLoss::Fail), ..fleet.gated(&gate) };
    let (known, again) = (fleet.submit(&careful), fleet.submit(&careful));
    until("both have begun", || fleet.marks("begun") == 2);
    kill_process(fleet.supervisor("w").unwrap(), Signal::KILL).unwrap();
    for id in [known, again] {
        fleet.is(id, StateKind::InDoubt);
        assert_eq!(fleet.reasons(id), ["in_doubt"]);
    }
    let how = Complete { result: Some(serde_json::json!({"seen": true})), failure: None };
    runtime().block_on(fleet.client.resolve(known, &how)).unwrap();
    assert_eq!(fleet.ends_as(known, StateKind::Succeeded).result.unwrap()["seen"], true);
    std::fs::write(&gate, "").unwrap();
    fleet.room.good(&[
        "--server",
        &fleet.server.url,
        "--token-file",
        fleet.server.token_file.to_str().unwrap(),
        "task",
        "retry",
        &again.to_string(),
    ]);
    let task = fleet.ends_as(again, StateKind::Succeeded);
    assert_eq!((task.attempt, task.round), (2, 1), "a retry out of doubt stays in its round");
    fleet.over(vec![worker]);
}

#[test]
fn nothing_overlaps_where_that_is_forbidden_until_the_loss_is_proven() {
    let fleet = Fleet::new();
    let doomed = fleet.worker("doomed", &RELEASE);
    let gate = fleet.gate("gate");
    let fenced = NewTask { overlap: Some(Overlap::Forbid), ..fleet.gated(&gate) };
    let id = fleet.submit(&fenced);
    until("the job has begun", || fleet.marks("begun") == 1);
    let other = fleet.worker("other", &RELEASE);
    let at =
        ["--server", &fleet.server.url, "--token-file", fleet.server.token_file.to_str().unwrap()].map(str::to_owned);
    let forget = [&at[..], &["worker", "forget", "doomed", "--yes"].map(str::to_owned)].concat();
    let refused = fleet.room.run(&forget);
    assert_eq!(refused.status, Some(5), "it is connected: {}", refused.stderr);
    fleet.destroy(doomed, "doomed");
    until("it is silent", || !fleet.is_connected("doomed"));
    // Longer than what loses others.
    let silent = Instant::now();
    until("time has passed", || silent.elapsed() > LOST_AFTER + Duration::from_secs(1));
    assert_eq!((fleet.task(id).state, fleet.marks("begun")), (StateKind::Running, 1), "nobody knows that it is gone");
    assert_eq!(fleet.reasons(id), ["worker_silent"]);
    fleet.room.good(&forget);
    until("it has begun again", || fleet.marks("begun") == 2);
    std::fs::write(&gate, "").unwrap();
    fleet.ends_as(id, StateKind::Succeeded);
    assert!(runtime().block_on(fleet.client.worker("doomed")).is_err(), "it is forgotten");
    fleet.over(vec![other]);
}

#[test]
fn a_job_that_stops_itself_without_its_server_is_lost_for_sure_by_then() {
    let fleet = Fleet::new();
    let worker = fleet.worker("w", &RELEASE);
    let gate = fleet.gate("gate");
    let task = NewTask {
        overlap: Some(Overlap::Forbid),
        stop_after: Some(Span::secs(1)),
        grace: Some(Span::secs(1)),
        ..fleet.gated(&gate)
    };
    let id = fleet.submit(&task);
    until("the job has begun", || fleet.marks("begun") == 1);
    fleet.is(id, StateKind::Running);
    let gone = Instant::now();
    worker.signal(Signal::STOP);
    // Without renewals the supervisor kills it, though its worker stands still.
    until("it is lost", || fleet.ends(id) == [Some(AttemptEnd::Lost)]);
    let took = gone.elapsed();
    assert!(took > Duration::from_secs(11) && took < Duration::from_secs(20), "1 s, 1 s of grace and 10 s: {took:?}");
    assert_eq!(fleet.marks("ended"), 0);
    std::fs::write(&gate, "").unwrap();
    let other = fleet.worker("other", &RELEASE);
    fleet.ends_as(id, StateKind::Succeeded);
    assert_eq!((fleet.marks("begun"), fleet.marks("ended")), (2, 1), "never two at once");
    worker.signal(Signal::CONT);
    until("it is back", || fleet.is_connected("w"));
    fleet.over(vec![worker, other]);
}

#[test]
fn a_task_that_takes_its_supervisor_down_each_time_is_poison() {
    let fleet = Fleet::new();
    let worker = fleet.worker("w", &RELEASE);
    let task = NewTask { shell: Some("kill -9 $PPID; sleep 100".to_owned()), ..NewTask::default() };
    let id = fleet.submit(&task);
    let ended = fleet.ends_as(id, StateKind::Failed);
    assert_eq!(ended.outcome.unwrap().kind, "lost");
    assert!(fleet.ends(id).iter().all(|end| *end == Some(AttemptEnd::Lost)), "{:?}", fleet.ends(id));
    assert!(fleet.attempts(id).len() <= 6, "it does not run without end");
    fleet.over(vec![worker]);
}

#[test]
fn a_server_that_stood_still_holds_that_against_nobody() {
    let fleet = Fleet::new();
    let worker = fleet.worker("w", &RELEASE);
    let gate = fleet.gate("gate");
    let id = fleet.submit(&fleet.gated(&gate));
    until("the job has begun", || fleet.marks("begun") == 1);
    fleet.is(id, StateKind::Running);
    fleet.server.part.signal(Signal::STOP);
    let stopped = Instant::now();
    until("longer than what loses an attempt", || stopped.elapsed() > LOST_AFTER * 2);
    fleet.server.part.signal(Signal::CONT);
    until("the worker is heard", || fleet.is_connected("w"));
    let heard = Instant::now();
    until("whatever was due has happened", || heard.elapsed() > Duration::from_millis(500));
    assert_eq!((fleet.task(id).state, fleet.ends(id)), (StateKind::Running, vec![None]));
    std::fs::write(&gate, "").unwrap();
    fleet.ends_as(id, StateKind::Succeeded);
    assert_eq!(fleet.marks("begun"), 1);
    fleet.over(vec![worker]);
}

#[test]
fn a_black_hole_is_put_aside_with_the_reason_and_comes_back_when_told() {
    let fleet = Fleet::new();
    let good = fleet.worker("good", &RELEASE);
    let hole = fleet.worker("hole", &RELEASE);
    let picky = NewTask {
        shell: Some("test \"$BOWLINE_WORKER\" = good && sleep 0.2".to_owned()),
        retries: Some(20),
        retry: None,
        ..NewTask::default()
    };
    let tasks: Vec<_> = (0..12).map(|_| fleet.submit(&picky)).collect();
    until("the hole is put aside", || fleet.show("hole").aside.is_some());
    let aside = fleet.show("hole").aside.unwrap();
    assert!(aside.reason.contains("5 different tasks failed"), "{}", aside.reason);
    for id in tasks {
        fleet.ends_as(id, StateKind::Succeeded);
    }
    assert!(fleet.show("good").aside.is_none());
    let at = ["--server", &fleet.server.url, "--token-file", fleet.server.token_file.to_str().unwrap()];
    fleet.room.good(&[&at[..], &["worker", "resume", "hole"]].concat());
    assert!(fleet.show("hole").aside.is_none());
    fleet.over(vec![good, hole]);
}

#[test]
fn nothing_is_lost_for_its_silence_within_the_grace_after_a_restart_of_the_server() {
    let room = Room::new();
    let timing = ["--heartbeat", "200ms", "--suspect-after", "700ms", "--lost-after", "2s", "--take-over-grace", "1h"];
    let server = ServerPart::start_with(&room, "127.0.0.1:0", &[], &timing);
    let (url, token, listen) = (server.url.clone(), server.token_file.clone(), server.address().to_owned());
    let work = Work::of(&server);
    let silent = worker(&room, "w", (&url, &token), &[], &["--slots", "1"]);
    let gate = room.work().join("gate");
    let script = format!("until test -e '{}'; do sleep 0.05; done", gate.display());
    let id = work.one(NewTask { shell: Some(script), ..NewTask::default() });
    work.until_state(id, StateKind::Running);
    silent.signal(Signal::STOP);
    server.part.kill();
    let server = ServerPart::start_with(&room, &listen, &[], &timing);
    // What others do meanwhile takes longer than what loses an attempt at any other time.
    let other = worker(&room, "other", (&url, &token), &[], &["--slots", "1"]);
    for _ in 0..4 {
        work.until_state(
            work.one(NewTask { shell: Some("sleep 1".to_owned()), ..NewTask::default() }),
            StateKind::Succeeded,
        );
    }
    assert_eq!((work.task(id).state, work.attempts(id)), (StateKind::Running, 1));
    silent.signal(Signal::CONT);
    work.until_connected("w");
    std::fs::write(&gate, "").unwrap();
    work.until_state(id, StateKind::Succeeded);
    assert_eq!(work.attempts(id), 1);
    let history = work.history(id);
    assert!(!history.iter().any(|what| what == "lost"), "{history:?}");
    for part in [silent, other] {
        assert_eq!(part.stop(), Some(0));
    }
    room.stop_supervisor("other");
    work.over(&room, server);
}
