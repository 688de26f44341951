//! Logs and artifacts: stored before they are acknowledged, judged by whose they are.

use bowline_blob::{Digest, LogKey, LogStream as Stored};
use bowline_core::id::AttemptRef;
use bowline_core::message::{Assured, ToWorker, Verdict};
use bowline_core::spec::RESULT_BYTES_MAX;
use bowline_core::state::{Outcome, StateKind};
use bowline_protocol::message::Sealed;
use bowline_protocol::wire::{self, worker_message};
use bowline_protocol::{Artifact, LogAck, LogSegment, LogStream, ServerMessage, WorkerMessage};
use bytes::Bytes;

use crate::fixture::{Hand, House};

fn segment(attempt: AttemptRef, offset: u64, content: &'static [u8], sealed_at: Option<u64>) -> WorkerMessage {
    let content = Bytes::from_static(content);
    WorkerMessage::Log(LogSegment { attempt, stream: LogStream::Output, offset, content, sealed_at })
}

fn key(attempt: AttemptRef) -> LogKey {
    LogKey {
        task: attempt.task.task.0,
        index: attempt.task.index,
        generation: attempt.fence.generation.0,
        attempt: attempt.fence.attempt.0,
    }
}

async fn assigned(house: &House, hand: &mut Hand) -> AttemptRef {
    house.submit().await;
    hand.assign().await.assign.attempt
}

fn acked(attempt: AttemptRef, up_to: u64, sealed: Sealed) -> ServerMessage {
    ServerMessage::LogAck(LogAck { attempt, stream: LogStream::Output, up_to, sealed })
}

fn verdict(attempt: AttemptRef, verdict: Verdict) -> ServerMessage {
    ServerMessage::Engine(ToWorker::Verdict { attempt, verdict })
}

#[tokio::test]
async fn a_log_is_kept_in_order_whatever_comes_twice_or_too_early() {
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    let steps = [
        (segment(attempt, 0, b"one ", None), acked(attempt, 4, Sealed::No)),
        (segment(attempt, 0, b"one ", None), acked(attempt, 4, Sealed::No)),
        (segment(attempt, 9, b"three", None), verdict(attempt, Verdict::Missing)),
        (segment(attempt, 4, b"two\n", Some(8)), acked(attempt, 8, Sealed::Yes)),
        (segment(attempt, 4, b"two\n", Some(8)), acked(attempt, 8, Sealed::Yes)),
        // Beyond its sealed length nothing is kept, and nothing is sent for ever.
        (segment(attempt, 8, b"late", None), acked(attempt, 12, Sealed::Yes)),
    ];
    for (said, answer) in steps {
        hand.say(&said).await;
        assert_eq!(hand.answered(attempt).await, answer, "{said:?}");
    }
    let read = house.server.state().logs.read(key(attempt), Stored::Output, 0, 100).unwrap();
    assert_eq!(read, b"one two\n");
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_worker_writes_no_log_of_another_one_s_attempt() {
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    let mut stranger = house.worker("stranger").await;
    stranger.say(&segment(attempt, 0, b"forged", None)).await;
    assert_eq!(stranger.answered(attempt).await, verdict(attempt, Verdict::Gone));
    hand.say(&segment(attempt, 0, b"true", None)).await;
    assert_eq!(hand.answered(attempt).await, acked(attempt, 4, Sealed::No));
    house.server.shutdown().await;
}

#[tokio::test]
async fn an_artifact_is_stored_before_it_is_acknowledged_and_refused_where_its_bytes_are_others() {
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    let content = Bytes::from_static(b"{\"files\":7}");
    let digest = Digest::of(&content);
    for (name, announced) in [("good.json", digest), ("bad.json", Digest::of(b"other bytes"))] {
        let artifact =
            Artifact { attempt, name: name.to_owned(), digest: announced.to_string(), content: content.clone() };
        hand.say(&WorkerMessage::Artifact(artifact)).await;
        let ack = ToWorker::Ack { attempt, of: Assured::Artifact(name.to_owned()) };
        assert_eq!(hand.answered(attempt).await, ServerMessage::Engine(ack));
    }
    let rows = house.server.state().leader.reader().artifacts(attempt.task).unwrap();
    assert_eq!(rows.iter().map(|row| (row.name.as_str(), row.bytes)).collect::<Vec<_>>(), [("good.json", 11)]);
    assert_eq!(house.server.state().blobs.get(digest).unwrap().unwrap(), content);
    assert!(!house.server.state().blobs.exists(Digest::of(b"other bytes")).unwrap());
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_result_beyond_its_limit_fails_the_attempt_and_is_acknowledged() {
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    let said = WorkerMessage::Engine(bowline_core::message::FromWorker::Finished(bowline_core::message::Finished {
        attempt,
        how: bowline_core::message::JobEnd::Success,
        result: None,
    }));
    let mut said = said.to_wire();
    if let Some(worker_message::Kind::Finished(wire::Finished { result, .. })) = &mut said.kind {
        *result = Some(format!("\"{}\"", "x".repeat(RESULT_BYTES_MAX)));
    }
    hand.say_raw(said).await;
    hand.answered(attempt).await;
    let task = house.server.state().leader.reader().task(attempt.task.task).unwrap().unwrap();
    assert_eq!(task.row.unit.state, StateKind::Failed);
    match task.row.unit.outcome {
        Some(Outcome::Error(error)) => assert!(error.message.contains("at most"), "{error:?}"),
        other => panic!("unexpected {other:?}"),
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn the_logs_of_a_removed_task_go_and_do_not_come_back() {
    use bowline_core::input::TaskVerb;
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    hand.say(&segment(attempt, 0, b"text", None)).await;
    hand.answered(attempt).await;
    let logs = &house.server.state().logs;
    let mut follower = logs.follow(key(attempt), Stored::Output).unwrap();
    house.verb(attempt.task.task, TaskVerb::Cancel { why: String::new() }).await;
    hand.tell(bowline_core::message::FromWorker::Released { attempt, started: false, why: String::new() }).await;
    hand.answered(attempt).await;
    house.verb(attempt.task.task, TaskVerb::Delete).await;
    crate::fixture::soon("its followers are told", async { while follower.changed().await.is_ok() {} }).await;
    hand.say(&segment(attempt, 4, b"more", None)).await;
    assert_eq!(hand.answered(attempt).await, verdict(attempt, Verdict::Gone));
    assert_eq!(logs.read(key(attempt), Stored::Output, 0, 100).unwrap(), b"");
    house.server.shutdown().await;
}
