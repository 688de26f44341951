//! Sessions of workers: welcomed, given work once that is durable, closed when they do not read.

use bowline_core::answer::RefusalCode;
use bowline_core::id::{CommitNo, TaskId, TaskRef};
use bowline_core::input::Request;
use bowline_core::message::{Finished, FromWorker, JobEnd, ToWorker};
use bowline_core::state::StateKind;
use bowline_leader::LeaderStatus;
use bowline_store::ReadStore as _;

use crate::gated::WAIT_MAX as PATIENCE;
use crate::house::{House, named};

#[tokio::test]
async fn an_assignment_leaves_once_it_is_durable_and_its_result_is_acknowledged() {
    let house = House::new().await;
    let mut worker = house.connect("lab", 64).await;
    assert!(matches!(worker.next().await, Some(ToWorker::Welcome { .. })));
    worker.demand(2).await;
    let task = house.submit(named("one")).await;
    let assign = worker.assign().await;
    let attempt = assign.attempt;
    assert_eq!((attempt.task.task, assign.session), (task, worker.session));
    assert!(house.store.task(task).unwrap().unwrap().row.unit.state.is_live());
    let given = house.leader.assigned(&[attempt.task]).await.unwrap().remove(0).unwrap();
    assert_eq!(*given.work, named("one").work);
    worker.say(FromWorker::Started(attempt)).await;
    worker.acked(attempt).await;
    let result = Some("{\"n\":1}".to_owned());
    worker.say(FromWorker::Finished(Finished { attempt, how: JobEnd::Success, result })).await;
    worker.acked(attempt).await;
    let ended = house.store.task(task).unwrap().unwrap();
    assert_eq!(ended.row.unit.state, StateKind::Succeeded);
    assert_eq!(ended.result.unwrap().json, "{\"n\":1}");
    house.task.shutdown().await;
}

#[tokio::test]
async fn work_that_is_not_remembered_comes_from_the_store() {
    let house = House::new().await;
    let task = house.submit(named("one")).await;
    house.gate.fail(crate::gated::Failure::Before);
    drop(house.ask(crate::house::submit(named("two"), None)).await);
    house.until_leading().await;
    let mut worker = house.connect("lab", 64).await;
    worker.demand(1).await;
    let attempt = worker.assign().await.attempt;
    assert_eq!(attempt.task.task, task);
    // What is submitted now is remembered, until it is asked for.
    let next = house.submit(named("three")).await;
    let nobody = TaskRef::whole(TaskId(999));
    let asked = [TaskRef::whole(next), nobody, attempt.task];
    let works = [Some(named("three").work), None, Some(named("one").work)];
    for _ in 0..2 {
        let found = house.leader.assigned(&asked).await.unwrap();
        assert_eq!(found.into_iter().map(|found| Some((*found?.work).clone())).collect::<Vec<_>>(), works);
    }
    house.task.shutdown().await;
}

#[tokio::test]
async fn a_session_that_does_not_read_is_closed_and_the_others_are_served() {
    let house = House::new().await;
    let mut slow = house.connect("slow", 2).await;
    let mut quick = house.connect("quick", 64).await;
    for _ in 0..5 {
        slow.say(FromWorker::Heartbeat).await;
    }
    house.until("it is closed", |house| house.leader.stats().sessions_overrun == 1).await;
    assert!(slow.next().await.is_some() && slow.next().await.is_some());
    assert_eq!(slow.next().await, None);
    quick.say(FromWorker::Heartbeat).await;
    assert!(matches!(quick.next().await, Some(ToWorker::Welcome { .. })));
    assert!(matches!(quick.next().await, Some(ToWorker::HeartbeatAck)));
    house.task.shutdown().await;
}

#[tokio::test]
async fn a_newer_session_of_the_same_process_closes_the_older_one() {
    let house = House::new().await;
    let mut old = house.connect("lab", 64).await;
    assert!(matches!(old.next().await, Some(ToWorker::Welcome { .. })));
    let mut new = house.reconnect("lab", 64).await;
    assert!(matches!(new.next().await, Some(ToWorker::Welcome { .. })));
    assert_eq!(old.next().await, None);
    old.say(FromWorker::Heartbeat).await;
    new.say(FromWorker::Heartbeat).await;
    assert!(matches!(new.next().await, Some(ToWorker::HeartbeatAck)));
    house.task.shutdown().await;
}

#[tokio::test]
async fn a_leader_steps_down_when_a_worker_has_seen_more_and_leads_again_once_that_is_accepted() {
    let house = House::new().await;
    let mut known = house.connect("lab", 64).await;
    assert!(matches!(known.next().await, Some(ToWorker::Welcome { .. })));
    let LeaderStatus::Leading { generation, commit_no, .. } = house.leader.status().borrow().clone() else {
        panic!("it leads")
    };
    let mut seen = house.meet("lab", Some((generation, commit_no))).await;
    assert!(matches!(seen.next().await, Some(ToWorker::Welcome { .. })), "what is there may have been seen");
    assert_eq!(house.leader.accept_rollback().await.unwrap_err().code, RefusalCode::Conflict);
    let newer = (generation, CommitNo(commit_no.0 + 1_000));
    let mut ahead = house.meet("lab", Some(newer)).await;
    let Some(ToWorker::TryLater { why, .. }) = ahead.next().await else { panic!("it is turned away") };
    assert!(why.contains("put back"), "{why}");
    assert_eq!(ahead.next().await, None);
    let mut status = house.leader.status();
    let down = status.wait_for(|status| matches!(status, LeaderStatus::RolledBack { seen, .. } if *seen == newer));
    drop(tokio::time::timeout(PATIENCE, down).await.expect("it steps down").unwrap());
    assert_eq!(seen.next().await, None, "nobody is served by it any more");
    assert_eq!(house.ask(Request::Overview).await.unwrap_err().code, RefusalCode::RolledBack);
    assert_eq!(house.leader.accept_rollback().await, Ok(generation.next()));
    let leads =
        status.wait_for(|status| matches!(status, LeaderStatus::Leading { generation: of, .. } if *of > generation));
    drop(tokio::time::timeout(PATIENCE, leads).await.expect("it leads again").unwrap());
    let mut ahead = house.meet("lab", Some(newer)).await;
    assert!(matches!(ahead.next().await, Some(ToWorker::Welcome { .. })), "an older generation is behind a newer one");
    house.task.shutdown().await;
}
