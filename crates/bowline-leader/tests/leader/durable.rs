//! No effect before its batch and every earlier one are durable (I3); the next batch is filled
//! while one is committed; what is parked, swept and stopped.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::answer::{Answer, RefusalCode};
use bowline_core::id::TaskId;
use bowline_core::input::{Request, TaskVerb};
use bowline_core::state::StateKind;
use bowline_leader::LeaderConfig;
use bowline_store::{ReadStore, RetentionPolicy};
use parking_lot::Mutex;

use crate::gated::WAIT_MAX;
use crate::house::{House, ask, named, submit};

#[tokio::test]
async fn nothing_is_answered_before_it_is_durable() {
    let house = House::new().await;
    house.gate.hold();
    let leader = house.leader.clone();
    let reply = tokio::spawn(async move { ask(&leader, submit(named("one"), None)).await });
    house.until("the commit has begun", |house| house.gate.begun() == 1).await;
    assert!(!reply.is_finished());
    assert!(house.stored().is_empty());
    house.gate.release();
    assert!(matches!(reply.await.unwrap(), Ok(Answer::Submitted { .. })));
    assert_eq!(house.stored(), ["one"]);
    house.task.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_changes_nothing_waits_for_every_earlier_batch() {
    let house = House::new().await;
    house.gate.hold();
    let leader = house.leader.clone();
    let submitted = tokio::spawn(async move { ask(&leader, submit(named("one"), None)).await });
    house.until("the commit has begun", |house| house.gate.begun() == 1).await;
    let (leader, gate) = (house.leader.clone(), Arc::clone(&house.gate));
    let read = tokio::spawn(async move { (ask(&leader, Request::Overview).await, gate.done()) });
    // Both are applied, and the read shows what is not durable yet.
    house.until("the read is applied", |house| house.leader.stats().inputs == 2).await;
    assert!(!read.is_finished() && !submitted.is_finished());
    house.gate.release();
    let (overview, done) = read.await.unwrap();
    let Ok(Answer::Overview(overview)) = overview else { panic!("unexpected {overview:?}") };
    assert_eq!(overview.states.iter().map(|(_, count)| count).sum::<u64>(), 1);
    assert_eq!(done, 1, "the read was answered before the batch that it shows was durable");
    submitted.await.unwrap().unwrap();
    assert_eq!(house.gate.begun(), 1, "a read was committed");
    house.task.shutdown().await;
}

#[tokio::test]
async fn the_next_batch_is_filled_while_one_is_committed() {
    let house = House::new().await;
    house.gate.hold();
    let mut replies = Vec::new();
    for count in 0..20 {
        let leader = house.leader.clone();
        let name = format!("t{count}");
        replies.push(tokio::spawn(async move { ask(&leader, submit(named(&name), None)).await }));
        if count == 0 {
            house.until("the first commit has begun", |house| house.gate.begun() == 1).await;
        }
    }
    house.until("all are applied", |house| house.leader.stats().inputs == 20).await;
    assert_eq!(house.gate.begun(), 1);
    house.gate.release();
    for reply in replies {
        reply.await.unwrap().unwrap();
    }
    assert_eq!(house.gate.done(), 2, "what came during one commit is one batch");
    assert_eq!(house.stored().len(), 20);
    let stats = house.leader.stats();
    assert_eq!((stats.batches, stats.commit_buckets.iter().sum::<u64>()), (2, 2));
    house.task.shutdown().await;
}

#[tokio::test]
async fn events_come_after_their_commit_and_name_it() {
    let house = House::new().await;
    let mut events = house.leader.events();
    house.submit(named("one")).await;
    let committed = tokio::time::timeout(WAIT_MAX, events.recv()).await.unwrap().unwrap();
    assert_eq!(committed.commit_no, house.store.commit_no().unwrap());
    assert!(committed.events.iter().any(|event| event.what == "submitted"), "{committed:?}");
    house.task.shutdown().await;
}

#[tokio::test]
async fn what_is_not_in_memory_is_read_and_the_request_goes_on() {
    let house = House::new().await;
    let task = house.submit(named("one")).await;
    let why = "a test".to_owned();
    house.verb(task, TaskVerb::Cancel { why }).await.unwrap();
    assert_eq!(house.store.task(task).unwrap().unwrap().row.unit.state, StateKind::Cancelled);
    assert_eq!(house.unfinished().await, 0);
    let Ok(Answer::Tasks(done)) = house.verb(task, TaskVerb::Retry).await else { panic!("no answer") };
    assert!(matches!(done[0].1, Ok(StateKind::Ready)), "{done:?}");
    assert_eq!(house.unfinished().await, 1);
    let Ok(Answer::Tasks(done)) = house.verb(TaskId(4711), TaskVerb::Retry).await else { panic!("no answer") };
    assert!(matches!(&done[0].1, Err(refusal) if refusal.code == RefusalCode::NotFound), "{done:?}");
    house.task.shutdown().await;
}

fn telling_of_swept(config: &LeaderConfig) -> (LeaderConfig, Arc<Mutex<Vec<TaskId>>>) {
    let swept = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&swept);
    let sink = Arc::new(move |tasks: &[TaskId]| told.lock().extend_from_slice(tasks));
    (LeaderConfig { swept: Some(sink), ..config.clone() }, swept)
}

#[tokio::test]
async fn the_shell_is_told_what_a_delete_removed() {
    let (config, swept) = telling_of_swept(&LeaderConfig::default());
    let house = House::with(config).await;
    let task = house.submit(named("one")).await;
    house.verb(task, TaskVerb::Cancel { why: String::new() }).await.unwrap();
    house.verb(task, TaskVerb::Delete).await.unwrap();
    house.until("the shell is told", |_| *swept.lock() == [task]).await;
    assert!(house.stored().is_empty());
    house.task.shutdown().await;
}

#[tokio::test]
async fn retention_runs_between_commits_and_says_what_it_removed() {
    let retention = RetentionPolicy { ended: Duration::ZERO, ..RetentionPolicy::default() };
    let (sweep_every, config) = (Duration::from_millis(5), LeaderConfig::default());
    let (config, swept) = telling_of_swept(&LeaderConfig { retention, sweep_every, ..config });
    let house = House::with(config).await;
    let (gone, left) = (house.submit(named("gone")).await, house.submit(named("left")).await);
    house.verb(gone, TaskVerb::Cancel { why: String::new() }).await.unwrap();
    house.until("it is removed", |_| *swept.lock() == [gone]).await;
    assert!(house.store.task(gone).unwrap().is_none());
    assert!(house.store.task(left).unwrap().is_some());
    assert_eq!(house.leader.stats().swept_tasks, 1);
    house.task.shutdown().await;
}

#[tokio::test]
async fn what_was_taken_is_durable_and_answered_before_the_end() {
    let house = House::new().await;
    house.gate.hold();
    let mut replies = Vec::new();
    for count in 0..5 {
        let leader = house.leader.clone();
        let name = format!("t{count}");
        replies.push(tokio::spawn(async move { ask(&leader, submit(named(&name), None)).await }));
    }
    house.until("all are applied", |house| house.leader.stats().inputs == 5).await;
    let (gate, store) = (Arc::clone(&house.gate), house.store.clone());
    let ended = tokio::spawn(house.task.shutdown());
    gate.release();
    ended.await.unwrap();
    for reply in replies {
        reply.await.unwrap().unwrap();
    }
    let stored = store.tasks(&bowline_store::TaskFilter::default(), bowline_store::TaskSort::Oldest, None, 10).unwrap();
    assert_eq!(stored.items.len(), 5);
    let late = ask(&house.leader, Request::Overview).await;
    assert!(crate::house::is_not_leading(&late), "{late:?}");
}
