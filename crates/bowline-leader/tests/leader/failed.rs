//! A commit that fails, or of which nobody knows, ends the leadership: nothing leaks, memory is
//! dropped, and the state that is loaded again is that of a prefix of the batches (I11).

use bowline_core::answer::{Answer, Replayed};
use bowline_core::id::CommitNo;
use bowline_core::input::Request;
use bowline_core::time::Timestamp;
use bowline_leader::LeaderStatus;
use bowline_store::{LeaderStore as _, ReadStore as _};
use tokio::task::JoinSet;

use crate::gated::Failure;
use crate::house::{House, ask, is_not_leading, named, submit};

async fn failing(failure: Failure) -> House {
    let house = House::new().await;
    house.submit(named("before")).await;
    house.gate.fail(failure);
    let reply = house.ask(submit(named("failed"), Some("key"))).await;
    assert!(is_not_leading(&reply), "{failure:?}: {reply:?}");
    house.until("the failure is counted", |house| house.leader.stats().failures == 1).await;
    house.until_leading().await;
    assert_eq!(house.leader.stats().leaderships, 2);
    house
}

#[tokio::test]
async fn after_a_failed_commit_nothing_of_it_is_there() {
    for failure in [Failure::Before, Failure::Panic] {
        let house = failing(failure).await;
        assert_eq!(house.stored(), ["before"]);
        assert_eq!(house.unfinished().await, 1);
        house.submit(named("after")).await;
        assert_eq!(house.stored(), ["before", "after"]);
        house.task.shutdown().await;
    }
}

#[tokio::test]
async fn an_unknown_commit_is_found_again_under_its_key() {
    let house = failing(Failure::After).await;
    assert_eq!(house.stored(), ["before", "failed"]);
    let again = house.ask(submit(named("failed"), Some("key"))).await.unwrap();
    assert!(matches!(again, Answer::Submitted { replayed: Replayed::Yes, .. }), "{again:?}");
    assert_eq!(house.stored(), ["before", "failed"]);
    house.task.shutdown().await;
}

#[tokio::test]
async fn whoever_waits_is_told_and_sessions_end() {
    let house = House::new().await;
    let mut worker = house.connect("lab", 64).await;
    assert!(worker.next().await.is_some(), "it is welcomed");
    house.gate.hold();
    let leader = house.leader.clone();
    let first = tokio::spawn(async move { ask(&leader, submit(named("one"), None)).await });
    let begun = house.gate.begun();
    house.until("the commit has begun", |house| house.gate.begun() > begun.min(2)).await;
    let leader = house.leader.clone();
    let inputs = house.leader.stats().inputs;
    let read = tokio::spawn(async move { ask(&leader, Request::Overview).await });
    house.until("the read is applied", |house| house.leader.stats().inputs > inputs).await;
    house.gate.fail(Failure::Before);
    house.gate.release();
    assert!(is_not_leading(&first.await.unwrap()));
    assert!(is_not_leading(&read.await.unwrap()), "a read of what never became durable was answered");
    while let Some(message) = worker.next().await {
        assert!(!matches!(message, bowline_core::message::ToWorker::Assign(_)), "leaked: {message:?}");
    }
    house.until_leading().await;
    // The number of the session is of the leadership that is over.
    let old = worker.session;
    let new = house.reconnect("lab", 64).await.session;
    assert!(new > old);
    house.task.shutdown().await;
}

#[tokio::test]
async fn a_deposed_leader_stays_down_and_says_why() {
    let house = House::new().await;
    house.submit(named("before")).await;
    let mut other = house.store.clone();
    other.take_leadership(Timestamp(0)).unwrap();
    let commit_no = house.store.commit_no().unwrap();
    assert!(is_not_leading(&house.ask(submit(named("late"), None)).await));
    let mut status = house.leader.status();
    let down = status.wait_for(|status| matches!(status, LeaderStatus::Loading(why) if why.contains("leadership")));
    drop(tokio::time::timeout(crate::gated::WAIT_MAX, down).await.expect("in time").unwrap());
    for _ in 0..3 {
        assert!(is_not_leading(&house.ask(Request::Overview).await));
    }
    assert_eq!(house.leader.stats().leaderships, 1);
    assert_eq!(house.store.commit_no().unwrap(), commit_no);
    assert_ne!(commit_no, CommitNo(0));
    house.task.shutdown().await;
}

/// A small generator, so that a seed replays.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test]
async fn after_any_failure_the_state_is_that_of_a_prefix_with_all_that_was_acknowledged() {
    for seed in 0..30 {
        prefix_under(seed).await;
    }
}

async fn prefix_under(seed: u64) {
    let mut dice = Dice(seed);
    let house = House::new().await;
    let mut clients = JoinSet::new();
    let sent = 10 + dice.below(40);
    let fails_after = dice.below(sent);
    let failure = [Failure::Before, Failure::After, Failure::Panic][usize::try_from(dice.below(3)).unwrap()];
    for count in 0..sent {
        if count == fails_after {
            house.gate.fail(failure);
        }
        let leader = house.leader.clone();
        // Tasks of one runtime thread are polled in the order in which they were spawned.
        clients.spawn(async move {
            let name = format!("t{count}");
            (count, ask(&leader, submit(named(&name), None)).await.is_ok())
        });
        if dice.below(4) == 0 {
            tokio::task::yield_now().await;
        }
    }
    let answers = clients.join_all().await;
    house.until("it failed", |house| house.leader.stats().failures == 1).await;
    house.until_leading().await;
    let stored = house.stored();
    let told = format!("seed {seed}, {failure:?} after {fails_after} of {sent}: {stored:?}");
    for (count, is_acknowledged) in answers {
        assert!(!is_acknowledged || stored.contains(&format!("t{count}")), "t{count} was acknowledged; {told}");
    }
    // Up to the failure nothing is left out.
    let before = stored.iter().take_while(|name| name[1..].parse::<u64>().unwrap() <= fails_after).count();
    let prefix: Vec<_> = (0..before).map(|count| format!("t{count}")).collect();
    assert_eq!(stored[..before], prefix, "{told}");
    assert_eq!(house.unfinished().await, stored.len() as u64, "{told}");
    house.task.shutdown().await;
}
