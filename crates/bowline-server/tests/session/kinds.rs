//! Every kind of message in every phase of an attempt, after its end, and after its task was purged:
//! each is acknowledged or answered with a verdict, and none ends the server.

use bowline_core::id::AttemptRef;
use bowline_core::input::TaskVerb;
use bowline_core::message::{Finished, FromWorker, JobEnd, KnownAs, ToWorker};
use bowline_core::state::Phase;
use bowline_core::worker::Health;
use bowline_protocol::sample::{self, Sample};
use bowline_protocol::{Artifact, Class, Direction, Kind, ServerMessage, WorkerMessage};
use tonic::Code;

use crate::fixture::{Hand, House};

/// Where an attempt is brought before a message is sent about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    In(Phase),
    Purged,
}

const STAGES: [Stage; 7] = [
    Stage::In(Phase::Assigned),
    Stage::In(Phase::Preparing),
    Stage::In(Phase::Running),
    Stage::In(Phase::Uploading),
    Stage::In(Phase::Stopping),
    Stage::In(Phase::Ended),
    Stage::Purged,
];

/// A new attempt at this stage. What only the worker knows of (preparing, uploading) is to the
/// server what comes before it.
async fn attempt_at(house: &House, hand: &mut Hand, stage: Stage) -> AttemptRef {
    let task = house.submit().await;
    let attempt = hand.assign().await.assign.attempt;
    assert_eq!(attempt.task.task, task);
    match stage {
        Stage::In(Phase::Assigned | Phase::Preparing) => {}
        Stage::In(Phase::Running | Phase::Uploading) => start(hand, attempt).await,
        Stage::In(Phase::Stopping) => {
            start(hand, attempt).await;
            house.verb(task, TaskVerb::Cancel { why: "a test".to_owned() }).await;
            let stop = |message: &ServerMessage| {
                matches!(message, ServerMessage::Engine(ToWorker::Cancel { attempt: of, .. }) if *of == attempt)
                    .then_some(())
            };
            hand.until("a cancel", stop).await;
        }
        Stage::In(Phase::Ended) => end(hand, attempt).await,
        Stage::Purged => {
            end(hand, attempt).await;
            house.verb(task, TaskVerb::Delete).await;
        }
    }
    attempt
}

async fn start(hand: &mut Hand, attempt: AttemptRef) {
    hand.tell(FromWorker::Started(attempt)).await;
    hand.answered(attempt).await;
}

async fn end(hand: &mut Hand, attempt: AttemptRef) {
    start(hand, attempt).await;
    hand.tell(FromWorker::Finished(Finished { attempt, how: JobEnd::Success, result: None })).await;
    hand.answered(attempt).await;
}

fn to_server(kind: Kind, attempt: AttemptRef) -> Vec<WorkerMessage> {
    let message = |sample| match sample {
        Sample::ToServer(message) => message,
        Sample::ToWorker(message) => panic!("{message:?} is no message to the server"),
    };
    sample::all_of(kind, attempt).into_iter().map(message).collect()
}

fn known_as(stage: Stage) -> Vec<KnownAs> {
    match stage {
        Stage::In(Phase::Assigned | Phase::Preparing) => vec![KnownAs::Assigned],
        Stage::In(Phase::Running | Phase::Uploading | Phase::Stopping) => vec![KnownAs::Running],
        Stage::In(Phase::Ended) | Stage::Purged => Vec::new(),
    }
}

#[tokio::test]
async fn every_kind_in_every_phase_is_answered_and_the_server_lives() {
    let house = House::new().await;
    let mut hand = house.worker("lab-3").await;
    let mut sent = 0;
    for kind in Kind::ALL.into_iter().filter(|kind| kind.direction() == Direction::ToServer) {
        for stage in STAGES {
            let attempt = attempt_at(&house, &mut hand, stage).await;
            for message in to_server(kind, attempt) {
                hand.say(&message).await;
                sent += 1;
                if kind.class() == Class::Assured {
                    hand.answered(attempt).await;
                }
                // Asked for its bytes, a worker says in the end what became of them.
                if let WorkerMessage::Artifact(Artifact { name, .. }) = message {
                    hand.tell(FromWorker::ArtifactUndelivered { attempt, name, why: "gone".to_owned() }).await;
                    hand.answered(attempt).await;
                }
            }
            match kind {
                Kind::Hello => {
                    assert_eq!(hand.end().await, Some(Code::InvalidArgument), "a second Hello in {stage:?}");
                    hand = again(&house, stage, attempt).await;
                }
                Kind::Bye => {
                    assert_eq!(hand.end().await, None, "Bye in {stage:?}");
                    hand = again(&house, stage, attempt).await;
                }
                _ => {}
            }
            hand.tell(FromWorker::Health(Health::Ok)).await;
            hand.demand().await;
            hand.is_heard().await;
            // Whatever was said of it, what is left of the attempt ends.
            hand.tell(FromWorker::Finished(Finished { attempt, how: JobEnd::Stopped, result: None })).await;
            hand.answered(attempt).await;
        }
    }
    assert!(sent > 7 * 10, "only {sent} messages were sent");
    let stats = house.server.state().leader.stats();
    assert_eq!((stats.failures, stats.leaderships), (0, 1));
    counted(&house);
    house.server.shutdown().await;
}

async fn again(house: &House, stage: Stage, attempt: AttemptRef) -> Hand {
    let attempts = known_as(stage).into_iter().map(|known| (attempt, known)).collect();
    house.reconnect("lab-3", attempts).await
}

fn counted(house: &House) {
    for counts in house.server.state().sessions.snapshot() {
        let is_used = counts.direction() == Direction::ToServer
            || matches!(counts.kind, Kind::Welcome | Kind::Assign | Kind::Cancel | Kind::Ack | Kind::Verdict);
        assert!(!is_used || counts.passed > 0, "{counts:?}");
        if counts.kind == Kind::Verdict {
            assert!(counts.stale > 0, "{counts:?}");
        }
    }
    assert_eq!(house.server.state().sessions.open(), 1);
}

#[tokio::test]
async fn what_is_said_of_an_attempt_that_never_was_is_answered_too() {
    let house = House::new().await;
    let mut hand = house.worker("lab-3").await;
    let task = house.submit().await;
    let mut nobody = hand.assign().await.assign.attempt;
    assert_eq!(nobody.task.task, task);
    nobody.fence.attempt.0 += 7;
    let mut nothing = nobody;
    nothing.task.task.0 += 1_000;
    for attempt in [nobody, nothing] {
        for kind in Kind::ALL {
            if kind.direction() == Direction::ToServer && kind.class() == Class::Assured {
                for message in to_server(kind, attempt) {
                    hand.say(&message).await;
                    hand.answered(attempt).await;
                }
            }
        }
    }
    hand.is_heard().await;
    house.server.shutdown().await;
}
