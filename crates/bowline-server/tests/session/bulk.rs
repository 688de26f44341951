//! Logs and artifacts: stored before they are acknowledged, judged by whose they are.

use bowline_blob::{Digest, LogKey, LogStream as Stored};
use bowline_core::id::AttemptRef;
use bowline_core::message::{Assured, Finished, FromWorker, JobEnd, ToWorker, Verdict};
use bowline_core::spec::RESULT_BYTES_MAX;
use bowline_core::state::{AttemptEnd, Outcome, StateKind};
use bowline_protocol::message::Sealed;
use bowline_protocol::wire::{self, worker_message};
use bowline_protocol::{Artifact, LogAck, LogSegment, LogStream, ServerMessage, WorkerMessage};
use bowline_store::AttemptFilter;
use bytes::Bytes;

use crate::fixture::{Hand, House};

fn segment(attempt: AttemptRef, offset: u64, content: &'static [u8], sealed_at: Option<u64>) -> WorkerMessage {
    let content = Bytes::from_static(content);
    WorkerMessage::Log(LogSegment { sealed_at, ..LogSegment::new(attempt, LogStream::Output, offset, content) })
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
async fn an_artifact_is_taken_once_its_bytes_are_there_and_asked_for_where_they_are_not() {
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    let content = b"{\"files\":7}";
    let digest = Digest::of(content);
    let named = |name: &str, bytes| {
        let (name, digest) = (name.to_owned(), digest.to_string());
        WorkerMessage::Artifact(Artifact { attempt, name, digest, bytes })
    };
    let ack = |name: &str| ServerMessage::Engine(ToWorker::Ack { attempt, of: Assured::Artifact(name.to_owned()) });
    hand.say(&named("good.json", 11)).await;
    assert_eq!(hand.answered(attempt).await, verdict(attempt, Verdict::Missing));
    house.server.state().blobs.put(content).unwrap();
    for (name, bytes) in [("good.json", 11), ("wrong.json", 12)] {
        hand.say(&named(name, bytes)).await;
        assert_eq!(hand.answered(attempt).await, ack(name));
    }
    let reader = house.server.state().leader.reader();
    let rows = reader.artifacts(attempt.task).unwrap();
    assert_eq!(rows.iter().map(|row| (row.name.as_str(), row.bytes)).collect::<Vec<_>>(), [("good.json", 11)]);
    let history = reader.history(&bowline_core::row::Subject::Task(attempt.task), None, 100).unwrap();
    let told = history.items.iter().filter(|(_, line)| line.what == "artifact_undelivered").count();
    assert_eq!(told, 1);
    house.server.shutdown().await;
}

#[tokio::test]
async fn the_second_stream_is_of_the_process_that_has_the_session() {
    use bowline_protocol::call::{self, Caller};
    use bowline_protocol::wire::fleet_client::FleetClient;
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    let open = async |process: &str| {
        let (frames, to_send) = tokio::sync::mpsc::channel(8);
        let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(to_send));
        let worker = bowline_core::name::WorkerName::new("lab").unwrap();
        call::put(request.metadata_mut(), &Caller { worker, pool: None, key: "key".to_owned() }).unwrap();
        call::put_process(request.metadata_mut(), process).unwrap();
        let opened = FleetClient::new(house.channel().await).live(request).await;
        opened.map(|opened| (frames, opened.into_inner()))
    };
    assert_eq!(open("another").await.unwrap_err().code(), tonic::Code::Unavailable);
    let (frames, mut answers) = open("process of lab").await.unwrap();
    let messages = vec![segment(attempt, 0, b"one\n", None).to_wire()];
    frames.send(wire::WorkerFrame { messages }).await.unwrap();
    let frame = crate::fixture::soon("an answer", answers.message()).await.unwrap().unwrap();
    let answer = ServerMessage::from_wire(frame.messages.into_iter().next().unwrap()).unwrap();
    assert_eq!(answer, Some(acked(attempt, 4, Sealed::No)));
    // The session ends, and it with it.
    drop(hand);
    let end = crate::fixture::soon("its end", answers.message()).await.unwrap_err();
    assert_eq!(end.code(), tonic::Code::Unavailable);
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_result_beyond_its_limit_fails_the_attempt_and_is_acknowledged() {
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    let said = WorkerMessage::Engine(FromWorker::Finished(Finished { attempt, how: JobEnd::Success, result: None }));
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
    hand.tell(FromWorker::Released { attempt, started: false, why: String::new() }).await;
    hand.answered(attempt).await;
    house.verb(attempt.task.task, TaskVerb::Delete).await;
    crate::fixture::soon("its followers are told", async { while follower.changed().await.is_ok() {} }).await;
    hand.say(&segment(attempt, 4, b"more", None)).await;
    assert_eq!(hand.answered(attempt).await, verdict(attempt, Verdict::Gone));
    assert_eq!(logs.read(key(attempt), Stored::Output, 0, 100).unwrap(), b"");
    house.server.shutdown().await;
}

#[tokio::test]
async fn an_end_waits_for_the_artifacts_that_were_asked_for_again_and_for_no_others() {
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let attempt = assigned(&house, &mut hand).await;
    let other = assigned(&house, &mut hand).await;
    let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
    let artifact = |name: &str, digest: Digest, bytes| {
        let (name, digest) = (name.to_owned(), digest.to_string());
        WorkerMessage::Artifact(Artifact { attempt, name, digest, bytes })
    };
    let finished = |attempt| {
        let end = Finished { attempt, how: JobEnd::Success, result: None };
        WorkerMessage::Engine(FromWorker::Finished(end))
    };
    let ack = |attempt, of| ServerMessage::Engine(ToWorker::Ack { attempt, of });
    let named = |name: &str| Assured::Artifact(name.to_owned());
    let (one, two) = (artifact("one", first, 5), artifact("two", second, 6));
    for said in [&one, &two] {
        hand.say(said).await;
        assert_eq!(hand.answered(attempt).await, verdict(attempt, Verdict::Missing));
    }
    // Said again, as after a file was sent again, it waits as well.
    hand.say(&finished(attempt)).await;
    hand.say(&finished(attempt)).await;
    // What is said of another attempt passes it by.
    hand.say(&finished(other)).await;
    assert_eq!(hand.answered(other).await, ack(other, Assured::Finished));
    let state = |attempt: AttemptRef| {
        let reader = house.server.state().leader.reader();
        reader.attempts(&AttemptFilter::One(attempt)).unwrap()[0].end
    };
    assert_eq!((state(attempt), state(other)), (None, Some(AttemptEnd::Succeeded)));
    house.server.state().blobs.put(b"first").unwrap();
    hand.say(&one).await;
    assert_eq!(hand.answered(attempt).await, ack(attempt, named("one")));
    // The other one is gone for good.
    let why = "it was not there any more when it was to be sent".to_owned();
    let never = FromWorker::ArtifactUndelivered { attempt, name: "two".to_owned(), why };
    hand.say(&WorkerMessage::Engine(never)).await;
    assert_eq!(hand.answered(attempt).await, ack(attempt, named("two")));
    assert_eq!(hand.answered(attempt).await, ack(attempt, Assured::Finished));
    assert_eq!(state(attempt), Some(AttemptEnd::Succeeded));
    house.server.shutdown().await;
}
