//! Workers that come, go, stand still and are lost: each rule on its own.

use std::time::Duration;

use bowline_core::answer::{Answer, Connection, RefusalCode};
use bowline_core::id::{AttemptRef, Incarnation, SessionId, TaskId, TaskRef};
use bowline_core::input::{Completion, Input, Request, TaskVerb, Token, TokenRole};
use bowline_core::message::{
    DrainMode, Fate, FromWorker, Hello, JobEnd, KnownAs, Left, Paused, StopWhy, ToWorker, Verdict,
};
use bowline_core::name::{PoolName, WorkerName};
use bowline_core::spec::{Condition, OnWorkerLoss, Overlap, TaskSpec};
use bowline_core::state::{AttemptEnd, StateKind};
use bowline_core::time::Span;

use super::bench::{Bench, error, hello, noop};
use super::checks::{explain, overview};

const MINUTE: Duration = Duration::from_mins(1);

/// A worker of one slot, with this task running on it.
fn running(bench: &mut Bench, spec: TaskSpec) -> (SessionId, TaskId, AttemptRef) {
    let session = bench.worker("lab", 1);
    let task = bench.one(spec);
    let attempt = bench.assigned()[0].attempt;
    bench.say(session, FromWorker::Started(attempt));
    (session, task, attempt)
}

fn forbids() -> TaskSpec {
    TaskSpec { overlap: Some(Overlap::Forbid), ..noop() }
}

fn must_not_rerun() -> TaskSpec {
    TaskSpec { on_worker_loss: OnWorkerLoss::Fail, ..noop() }
}

fn with(name: &str, process: &str, attempts: &[(AttemptRef, KnownAs)]) -> Hello {
    Hello { attempts: attempts.to_vec(), ..hello(name, process, 1) }
}

fn verdicts(bench: &Bench, session: SessionId) -> Vec<(AttemptRef, Verdict)> {
    let of = |message: &ToWorker| {
        if let ToWorker::Welcome { verdicts, .. } = message { Some(verdicts.clone()) } else { None }
    };
    bench.sent(session, of).concat()
}

fn end_of(bench: &Bench, attempt: AttemptRef) -> Option<AttemptEnd> {
    bench.tables.attempts[&attempt].end
}

#[test]
fn a_session_that_broke_makes_suspect_as_silence_does_until_what_it_had_is_lost() {
    let mut bench = Bench::new();
    let (session, task, _) = running(&mut bench, noop());
    bench.apply(Input::Disconnected { session });
    let connection = |bench: &mut Bench| overview(bench).workers.remove(0).connection;
    assert_eq!(connection(&mut bench), Connection::Away);
    bench.pass(Duration::from_secs(16));
    assert_eq!(connection(&mut bench), Connection::Suspect);
    bench.pass(MINUTE);
    assert_ne!(bench.tables.tasks[&task].unit.state, StateKind::Running);
    assert_eq!(connection(&mut bench), Connection::Away);
}

#[test]
fn silence_makes_suspect_then_lost_and_the_session_must_be_opened_anew() {
    let mut bench = Bench::new();
    let (session, task, attempt) = running(&mut bench, noop());
    bench.pass(Duration::from_secs(16));
    let view = overview(&mut bench).workers.remove(0);
    assert!(view.silent_since.is_some());
    assert_eq!(view.doubtful.len(), 1);
    assert!(view.doubtful[0].lost_at.is_some());
    bench.pass(Duration::from_secs(45));
    assert_eq!((bench.state(task), end_of(&bench, attempt)), (StateKind::Ready, Some(AttemptEnd::Lost)));
    bench.say(session, FromWorker::Heartbeat);
    assert!(bench.sent(session, |m| matches!(m, ToWorker::HeartbeatAck).then_some(())).is_empty(), "it must say Hello");
}

#[test]
fn a_heartbeat_that_came_in_time_is_heard_before_anything_is_held_against_its_worker() {
    let mut bench = Bench::new();
    let (session, task, _) = running(&mut bench, noop());
    bench.now = bench.now.plus(MINUTE * 2);
    bench.say(session, FromWorker::Heartbeat);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.state(task), StateKind::Running);
}

#[test]
fn a_standstill_of_the_server_is_held_against_nobody() {
    let mut bench = Bench::new();
    let (_, task, _) = running(&mut bench, noop());
    bench.now = bench.now.plus(MINUTE * 10);
    bench.apply(Input::StoodStill { length: MINUTE * 10 });
    bench.pass(Duration::from_secs(55));
    assert_eq!(bench.state(task), StateKind::Running);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.state(task), StateKind::Ready);
}

#[test]
fn a_late_attempt_goes_on_only_while_no_newer_one_was_claimed() {
    let mut bench = Bench::new();
    let (_, task, attempt) = running(&mut bench, noop());
    bench.pass(MINUTE * 2);
    assert_eq!(bench.state(task), StateKind::Ready);
    // A restart of the server forgets nothing of it.
    bench.crash();
    let session = bench.connect(with("lab", "p1", &[(attempt, KnownAs::Running)]));
    assert_eq!(verdicts(&bench, session), [(attempt, Verdict::Continue)]);
    assert_eq!((bench.state(task), end_of(&bench, attempt)), (StateKind::Running, None));
    assert_eq!(bench.tables.tasks[&task].unit.losses, 0);
    bench.pass(MINUTE * 2);
    bench.worker("other", 1);
    assert_eq!(bench.assigned().len(), 1);
    let session = bench.connect(with("lab", "p1", &[(attempt, KnownAs::Running)]));
    assert_eq!(verdicts(&bench, session), [(attempt, Verdict::Superseded)]);
    bench.finish(session, attempt, JobEnd::Success);
    assert_eq!(end_of(&bench, attempt), Some(AttemptEnd::Superseded), "what it says is evidence");
    assert_eq!(bench.state(task), StateKind::Assigned);
}

#[test]
fn a_late_attempt_whose_start_was_never_heard_has_started() {
    let mut bench = Bench::new();
    bench.worker("lab", 1);
    let task = bench.one(noop());
    let attempt = bench.assigned()[0].attempt;
    bench.pass(MINUTE * 2);
    assert_eq!(bench.state(task), StateKind::Ready, "it was lost");
    let session = bench.connect(with("lab", "p1", &[(attempt, KnownAs::Running)]));
    assert_eq!(verdicts(&bench, session), [(attempt, Verdict::Continue)]);
    bench.say(session, FromWorker::Started(attempt));
    assert_eq!(bench.state(task), StateKind::Running);
    assert!(bench.tables.attempts[&attempt].started_at.is_some(), "it was acknowledged, and is not in its row");
}

#[test]
fn where_nothing_may_overlap_only_proof_loses_an_attempt() {
    let mut bench = Bench::new();
    let (session, task, attempt) = running(&mut bench, forbids());
    bench.apply(Input::Disconnected { session });
    bench.pass(MINUTE * 600);
    assert_eq!(bench.state(task), StateKind::Running);
    let mut rebooted = with("lab", "p2", &[(attempt, KnownAs::Gone)]);
    rebooted.seat.boot_id = "another".into();
    bench.connect(rebooted);
    assert_eq!(end_of(&bench, attempt), Some(AttemptEnd::Lost));
}

/// Its limits ran out while nobody heard of the worker; it had done all of it in time.
#[test]
fn what_was_done_in_time_while_nobody_heard_of_it_is_not_out_of_time() {
    for crashes in [false, true] {
        let mut bench = Bench::new();
        let mut spec = forbids();
        spec.timeouts.run = Some(Span::secs(60));
        let (session, task, attempt) = running(&mut bench, spec);
        let unbegun = bench.one(forbids());
        bench.apply(Input::Disconnected { session });
        if crashes {
            bench.crash();
        }
        bench.pass(MINUTE * 600);
        assert_eq!(bench.state(task), StateKind::Running, "crashes: {crashes}");
        let session = bench.connect(with("lab", "p2", &[(attempt, KnownAs::EndedPending)]));
        bench.pass(Duration::from_secs(10));
        bench.finish(session, attempt, JobEnd::Success);
        assert_eq!(bench.state(task), StateKind::Succeeded, "crashes: {crashes}");
        assert_eq!(bench.state(unbegun), StateKind::Assigned, "crashes: {crashes}");
    }
}

/// A worker that is heard and does nothing about a limit: the server steps in.
#[test]
fn where_a_worker_is_heard_and_lets_a_limit_pass_the_server_steps_in() {
    let mut bench = Bench::new();
    let mut spec = forbids();
    spec.timeouts.run = Some(Span::secs(60));
    spec.work.grace = Some(Span::secs(5));
    let (session, task, _) = running(&mut bench, spec);
    for _ in 0..9 {
        bench.pass(Duration::from_secs(10));
        bench.say(session, FromWorker::Heartbeat);
        assert_eq!(bench.state(task), StateKind::Running);
    }
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.state(task), StateKind::Stopping, "60 s, 5 s of grace and 30 s");
}

#[test]
fn what_stops_itself_is_lost_when_it_must_have_stopped() {
    let mut bench = Bench::new();
    let mut spec = forbids();
    spec.stop_after = Some(Span::secs(100));
    spec.work.grace = Some(Span::secs(5));
    let (_, task, _) = running(&mut bench, spec);
    assert_eq!(overview(&mut bench).workers[0].doubtful, []);
    bench.pass(Duration::from_secs(114));
    assert_eq!(bench.state(task), StateKind::Running);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.state(task), StateKind::Ready, "100 s, 5 s of grace and 10 s");
}

#[test]
fn a_doubt_is_ended_by_whoever_knows() {
    let mut bench = Bench::new();
    let (session, task, attempt) = running(&mut bench, must_not_rerun());
    let whole = TaskRef::whole(task);
    let resolve = || TaskVerb::Resolve { how: Completion::Success(Some("42".into())) };
    assert_eq!(bench.verb(whole, resolve()).unwrap_err().code, RefusalCode::Conflict);
    bench.say(session, FromWorker::Gone { attempt, why: "its supervisor died".into() });
    assert_eq!(bench.state(task), StateKind::InDoubt);
    assert_eq!(explain(&mut bench, whole).unwrap().reasons.len(), 1);
    bench.pass(MINUTE * 100);
    assert_eq!(bench.state(task), StateKind::InDoubt, "it is never rerun by itself");
    bench.say(session, FromWorker::Heartbeat);
    assert_eq!(bench.verb(whole, TaskVerb::Retry), Ok(StateKind::Ready));
    let again = bench.assigned().pop().unwrap().attempt;
    bench.say(session, FromWorker::Gone { attempt: again, why: "again".into() });
    assert_eq!(bench.verb(whole, resolve()), Ok(StateKind::Succeeded));
    assert_eq!(bench.tables.results[&again].json, "42");
}

#[test]
fn three_workers_that_lose_it_make_it_poison_and_one_alone_needs_six() {
    let mut bench = Bench::new();
    let names = ["a", "b", "c"];
    let task = bench.one(noop());
    for name in names {
        let session = bench.worker(name, 1);
        let attempt = bench.assigned().pop().unwrap().attempt;
        bench.say(session, FromWorker::Gone { attempt, why: "it burnt".into() });
        // Elsewhere next time.
        bench.drain(name, DrainMode::Finish, None).unwrap();
        let rest: Vec<_> = bench.assigned();
        for assign in rest {
            bench.say(session, FromWorker::Released { attempt: assign.attempt, started: false, why: "drained".into() });
        }
    }
    assert_eq!(bench.state(task), StateKind::Failed);
    let mut bench = Bench::new();
    let session = bench.worker("only", 1);
    let task = bench.one(noop());
    for loss in 1..=6 {
        assert_eq!(bench.state(task), StateKind::Assigned, "before loss {loss}");
        let attempt = bench.assigned().pop().unwrap().attempt;
        bench.say(session, FromWorker::Gone { attempt, why: "it burnt".into() });
    }
    assert_eq!(bench.state(task), StateKind::Failed);
}

#[test]
fn a_black_hole_is_put_aside_where_another_does_better_and_heals_by_a_success() {
    let mut bench = Bench::new();
    let hole = bench.worker("hole", 1);
    for _ in 0..8 {
        bench.one(noop());
        let attempt = bench.assigned().pop().unwrap().attempt;
        bench.finish(hole, attempt, error("no such library"));
    }
    assert!(bench.tables.workers.values().all(|row| row.aside.is_none()), "alone, nobody can tell who is to blame");
    let good = bench.worker("good", 1);
    bench.one(noop());
    let attempt = bench.assigned().pop().unwrap();
    assert_eq!(attempt.session, hole);
    bench.finish(hole, attempt.attempt, error("no such library"));
    let aside = overview(&mut bench).workers.into_iter().find(|view| view.name.as_str() == "hole").unwrap().aside;
    assert!(aside.unwrap().reason.contains("5 different tasks"));
    bench.one(noop());
    assert_eq!(bench.assigned().pop().unwrap().session, good);
    bench.crash();
    let hole = bench.connect(with("hole", "p1", &[]));
    let task = bench.one(noop());
    assert_eq!(bench.state(task), StateKind::Ready, "it is aside after a restart too");
    bench.pass(Duration::from_mins(5));
    let session = bench.connect(with("hole", "p1", &[]));
    assert_ne!(session, hole);
    let tried = bench.assigned().pop().unwrap();
    bench.finish(session, tried.attempt, JobEnd::Success);
    assert!(bench.tables.workers.values().all(|row| row.aside.is_none()), "it is well again");
}

#[test]
fn a_drain_lets_go_of_everything_and_gives_nothing_until_it_is_undrained() {
    let mut bench = Bench::new();
    let (session, task, attempt) = running(&mut bench, noop());
    let refused = bench.request(Request::DrainWorker {
        worker: WorkerName::new("lab").unwrap(),
        drain: bowline_core::message::Drain {
            mode: DrainMode::Handoff,
            within: None,
            exit: bowline_core::message::Exit::No,
        },
    });
    assert_eq!(refused.unwrap_err().code, RefusalCode::Invalid);
    bench.drain("lab", DrainMode::Finish, Some(MINUTE)).unwrap();
    assert_eq!(bench.state(task), StateKind::Running, "it may run to its end");
    for _ in 0..13 {
        bench.pass(Duration::from_secs(5));
        bench.say(session, FromWorker::Heartbeat);
    }
    assert_eq!(bench.state(task), StateKind::Stopping, "the time is over");
    let why = bench.sent(session, |m| if let ToWorker::Cancel { why, .. } = m { Some(*why) } else { None });
    assert_eq!(why, [StopWhy::Drain]);
    bench.say(session, FromWorker::Released { attempt, started: true, why: "drained".into() });
    assert_eq!(bench.state(task), StateKind::Ready);
    assert!(bench.assigned().is_empty(), "I7");
    bench.crash();
    bench.connect(with("lab", "p2", &[]));
    assert!(bench.assigned().is_empty(), "I7, after a restart too");
    bench.undrain("lab").unwrap();
    assert_eq!(bench.assigned().len(), 1);
}

#[test]
fn finished_work_is_not_thrown_away_by_a_drain_and_doubt_follows_only_what_had_begun() {
    let mut bench = Bench::new();
    let (session, task, attempt) = running(&mut bench, noop());
    bench.drain("lab", DrainMode::Release, None).unwrap();
    bench.finish(session, attempt, JobEnd::Success);
    assert_eq!(bench.state(task), StateKind::Succeeded);
    let mut bench = Bench::new();
    let (session, task, attempt) = running(&mut bench, must_not_rerun());
    bench.drain("lab", DrainMode::Release, None).unwrap();
    bench.finish(session, attempt, JobEnd::Stopped);
    assert_eq!(bench.state(task), StateKind::InDoubt);
}

#[test]
fn another_state_directory_waits_adopts_or_gives_up_what_was_left() {
    for (known, fate, state) in [
        (KnownAs::Running, Fate::Adopted, StateKind::Running),
        (KnownAs::GivenBack, Fate::GivenBack, StateKind::Assigned),
        (KnownAs::Failed, Fate::Failed, StateKind::Failed),
        (KnownAs::Gone, Fate::Lost, StateKind::Assigned),
    ] {
        let mut bench = Bench::new();
        let (_, task, attempt) = running(&mut bench, forbids());
        let elsewhere = |attempts: &[(AttemptRef, KnownAs)]| {
            let mut hello = with("lab", "p2", attempts);
            hello.seat.state_dir = "another".into();
            hello
        };
        let session = bench.connect(elsewhere(&[]));
        let told =
            bench.sent(session, |m| if let ToWorker::TryLater { left, .. } = m { Some(left.clone()) } else { None });
        assert_eq!(told, [vec![Left { attempt, fate: Fate::InTheWay { lost_in: None } }]]);
        let session = bench.connect(elsewhere(&[(attempt, known)]));
        let left =
            bench.sent(session, |m| if let ToWorker::Welcome { left, .. } = m { Some(left.clone()) } else { None });
        assert_eq!(left, [vec![Left { attempt, fate }]], "{known:?}");
        assert_eq!(bench.state(task), state, "{known:?}");
    }
}

#[test]
fn a_pool_gives_out_what_is_free_and_makes_new_ones_where_nothing_is() {
    let mut bench = Bench::new();
    let pool = || PoolName::new("lab").unwrap();
    let enrol = |token, key| Request::EnrolInPool { token, pool: pool(), key: [key; 32] };
    let token = Token { hash: [9; 32], name: "for the lab".into(), role: TokenRole::Enrol, pool: Some(pool()) };
    bench.request(Request::PutToken(token)).unwrap();
    for key in [1, 2, 3] {
        assert_eq!(bench.request(enrol(Some([9; 32]), key)), Ok(Answer::Done), "it is not used up");
    }
    let named = Request::Enrol { token: Some([9; 32]), worker: WorkerName::new("x").unwrap(), key: [4; 32] };
    assert_eq!(bench.request(named).unwrap_err().code, RefusalCode::Forbidden);
    let come = |bench: &mut Bench, who: &str| {
        let mut hello = with("lab", who, &[]);
        hello.pool = Some(pool());
        hello.seat.state_dir = format!("dir of {who}");
        let session = bench.connect(hello);
        let name = |m: &ToWorker| if let ToWorker::Welcome { name, .. } = m { Some(name.to_string()) } else { None };
        (session, bench.sent(session, name).remove(0))
    };
    let (first, name) = come(&mut bench, "a");
    assert_eq!(name, "lab-1");
    assert_eq!(come(&mut bench, "b").1, "lab-2");
    bench.say(first, FromWorker::Bye { why: "done".into() });
    assert_eq!(come(&mut bench, "c").1, "lab-1", "free again");
    assert_eq!(come(&mut bench, "a").1, "lab-3", "a new one");
    bench.pass(Duration::from_mins(1));
    bench.crash();
    assert_eq!(come(&mut bench, "b").1, "lab-2", "whoever comes back has his own");
    bench.pass(Duration::from_mins(11));
    assert_eq!(come(&mut bench, "d").1, "lab-1", "whose holder is gone longest");
}

#[test]
fn forgetting_is_proof_and_is_refused_while_the_worker_is_heard() {
    let mut bench = Bench::new();
    let (session, task, attempt) = running(&mut bench, forbids());
    assert_eq!(bench.forget("lab").unwrap_err().code, RefusalCode::Conflict);
    bench.apply(Input::Disconnected { session });
    bench.forget("lab").unwrap();
    assert_eq!((bench.state(task), end_of(&bench, attempt)), (StateKind::Ready, Some(AttemptEnd::Lost)));
    assert!(bench.tables.workers.is_empty());
    assert_eq!(bench.forget("lab").unwrap_err().code, RefusalCode::NotFound);
    let session = bench.connect(with("lab", "p1", &[(attempt, KnownAs::Running)]));
    assert_eq!(bench.sent(session, |m| matches!(m, ToWorker::Fenced { .. }).then_some(())).len(), 1);
    bench.enrol("lab");
    bench.connect(hello("lab", "p1", 1));
    assert_eq!(bench.assigned().len(), 1);
}

#[test]
fn what_was_said_before_a_restore_ends_nothing_after_it() {
    let mut bench = Bench::new();
    bench.worker("lab", 1);
    let task = bench.one(noop());
    let backup = bench.tables.clone();
    let old = bench.assigned()[0].attempt;
    let session = bench.connect(with("lab", "p1", &[(old, KnownAs::Running)]));
    bench.say(session, FromWorker::Started(old));
    bench.roll_back(backup);
    let session = bench.connect(with("lab", "p2", &[]));
    let new = bench.assigned().pop().unwrap().attempt;
    assert!(new.fence > old.fence);
    bench.finish(session, AttemptRef { fence: old.fence, ..new }, JobEnd::Success);
    if new.fence.attempt == old.fence.attempt {
        assert_eq!(bench.state(task), StateKind::Assigned, "the same number of another generation");
    }
    bench.finish(session, new, error("no"));
    assert_eq!(bench.state(task), StateKind::Failed);
}

#[test]
fn long_gone_workers_are_named_only_where_nobody_else_fits() {
    let mut bench = Bench::new();
    let gone = bench.worker("gone", 1);
    bench.apply(Input::Disconnected { session: gone });
    bench.pass(Duration::from_mins(20));
    let task = bench.one(noop());
    let named = |bench: &mut Bench| format!("{:?}", explain(bench, TaskRef::whole(task)).unwrap().reasons);
    assert!(named(&mut bench).contains("gone"), "there is nobody else");
    bench.worker("other", 1);
    bench.one(noop());
    let waiting = bench.one(noop());
    let reasons = format!("{:?}", explain(&mut bench, TaskRef::whole(waiting)).unwrap().reasons);
    assert!(!reasons.contains("gone") && reasons.contains("other"), "{reasons}");
    let pause = Request::PauseWorker { worker: WorkerName::new("other").unwrap(), paused: Paused::Yes };
    bench.request(pause).unwrap();
}

#[test]
fn inputs_that_wait_for_rows_are_bounded_by_their_bytes() {
    let mut bench = Bench::new();
    let ended = bench.one(noop());
    bench.cancel(TaskRef::whole(ended)).unwrap();
    bench.crash();
    bench.pace = super::bench::Pace::Lagging;
    let large = || {
        let mut spec = noop();
        spec.work.files.insert("input".into(), "x".repeat(100 << 20));
        spec.after.push(bowline_core::spec::Dependency { task: TaskRef::whole(ended), on: Condition::default() });
        super::bench::new_task(spec)
    };
    let refused = |answer: &bowline_core::answer::Reply| {
        answer.as_ref().is_err_and(|refusal| refusal.message.contains("Too many"))
    };
    let submit = |bench: &mut Bench| bench.submit_with(vec![large()], None, bowline_core::input::DryRun::No);
    let answers: Vec<_> = (0..3).map(|_| submit(&mut bench)).collect();
    bench.catch_up();
    assert!(!refused(&answers[0]) && !refused(&answers[1]));
    assert_eq!(bench.tables.tasks.len(), 3, "the third was refused, the others were served");
    assert!(!refused(&submit(&mut bench)), "there is room again");
}

#[test]
fn a_hello_that_was_overtaken_by_a_later_one_takes_nobody_s_seat_and_settles_nothing() {
    let said = |process: &str, seconds, attempts: &[(AttemptRef, KnownAs)]| {
        let mut hello = with("lab", process, attempts);
        hello.seat.said_at = Some(Duration::from_secs(seconds));
        hello
    };
    for (of, process) in [("of a connection that its process gave up", "p2"), ("of a process that has died", "p1")] {
        for restarts in [false, true] {
            let mut bench = Bench::new();
            bench.enrol("lab");
            let mut session = bench.connect(said("p2", 20, &[]));
            let task = bench.one(forbids());
            let attempt = bench.assigned()[0].attempt;
            bench.say(session, FromWorker::Started(attempt));
            if restarts {
                bench.crash();
                let of_this_process =
                    Hello { incarnation: Incarnation(1), ..said("p2", 25, &[(attempt, KnownAs::Running)]) };
                session = bench.connect(of_this_process);
            }
            // Said before all that, it lay in a connection that stood still.
            let late = bench.connect(said(process, 10, &[]));
            let welcomes = bench.sent(late, |message| matches!(message, ToWorker::Welcome { .. }).then_some(()));
            assert!(welcomes.is_empty(), "{of}");
            let fenced = bench.sent(session, |message| matches!(message, ToWorker::Fenced { .. }).then_some(()));
            assert!(fenced.is_empty(), "{of}");
            assert_eq!((bench.state(task), end_of(&bench, attempt)), (StateKind::Running, None), "{of}");
            bench.say(session, FromWorker::Heartbeat);
            let answers = bench.sent(session, |message| matches!(message, ToWorker::HeartbeatAck).then_some(()));
            assert_eq!(answers.len(), 1, "{of}");
            // A process that began later is heard, and so is one after a new boot, whose clock begins anew.
            let running = [(attempt, KnownAs::Running)];
            let next = bench.connect(said("p3", 30, &running));
            assert_eq!(verdicts(&bench, next), [(attempt, Verdict::Continue)], "{of}");
            let mut rebooted = said("p4", 1, &running);
            rebooted.seat.boot_id = "next boot".to_owned();
            let rebooted = bench.connect(rebooted);
            assert_eq!(verdicts(&bench, rebooted), [(attempt, Verdict::Superseded)], "{of}");
        }
    }
}
