//! What is malformed is refused by name.

use super::*;
use crate::sample;

fn refused(kind: WorkerKind) -> String {
    worker_message(wire::WorkerMessage { kind: Some(kind), delivery: None }).unwrap_err().to_string()
}

fn of() -> wire::Attempt {
    wire::Attempt { task: 1, index: None, generation: 0, attempt: 1 }
}

#[test]
fn a_message_without_its_attempt_is_refused() {
    assert!(refused(WorkerKind::Started(wire::Attempt::default())).contains("`attempt`"));
    let released = wire::Released { attempt: None, started: false, why: String::new() };
    assert!(refused(WorkerKind::Released(released)).contains("`attempt`"));
}

#[test]
fn whatever_is_larger_than_its_bound_is_refused() {
    let long = "x".repeat(limits::TEXT_BYTES_MAX + 1);
    assert!(refused(WorkerKind::Bye(wire::Bye { why: long })).contains("`why`"));
    let result = Some("x".repeat(RESULT_BYTES_MAX + 1));
    let how = Some(wire::finished::How::Success(wire::Success {}));
    assert!(refused(WorkerKind::Finished(wire::Finished { attempt: Some(of()), how, result })).contains("`result`"));
    let content = Bytes::from(vec![0; limits::LOG_SEGMENT_BYTES_MAX + 1]);
    let segment = wire::LogSegment { attempt: Some(of()), content, ..wire::LogSegment::default() };
    assert!(refused(WorkerKind::LogSegment(segment)).contains("`content`"));
}

#[test]
fn a_log_cannot_be_sealed_before_its_own_end_or_belong_to_no_stream() {
    let segment = wire::LogSegment {
        attempt: Some(of()),
        stream: 0,
        offset: 10,
        content: Bytes::from_static(b"abc"),
        sealed_at: Some(12),
        ..wire::LogSegment::default()
    };
    assert!(refused(WorkerKind::LogSegment(segment.clone())).contains("`sealed_at`"));
    let elsewhere = wire::LogSegment { stream: 2, sealed_at: None, ..segment.clone() };
    assert!(refused(WorkerKind::LogSegment(elsewhere)).contains("`stream`"));
    let overflowing = wire::LogSegment { offset: u64::MAX, sealed_at: None, ..segment };
    assert!(refused(WorkerKind::LogSegment(overflowing)).contains("`offset`"));
}

#[test]
fn an_artifact_stays_within_its_attempt() {
    for bad in ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/.", "nul\0"] {
        assert!(!is_artifact_name(bad), "{bad:?}");
        let file =
            wire::ArtifactCommitted { attempt: Some(of()), name: bad.to_owned(), digest: "0".repeat(64), bytes: 0 };
        assert!(refused(WorkerKind::ArtifactCommitted(file)).contains("`name`"), "{bad:?}");
    }
    assert!(is_artifact_name("census.json") && is_artifact_name("a b/c\nd"));
}

#[test]
fn an_unknown_value_is_refused_and_not_taken_for_another() {
    let wrong = wire::AttemptVerdict { attempt: Some(of()), verdict: 99 };
    let refusal = server_message(wire::ServerMessage { kind: Some(ServerKind::Verdict(wrong)) }).unwrap_err();
    assert!(refusal.to_string().contains("`verdict`"));
}

#[test]
fn a_hello_with_a_bad_name_says_which_and_why() {
    let hello = wire::Hello { name: "two words".into(), ..wire::Hello::default() };
    let refusal =
        worker_message(wire::WorkerMessage { kind: Some(WorkerKind::Hello(hello)), delivery: None }).unwrap_err();
    assert!(matches!(refusal, BadMessage::Name { field: "name", .. }));
}

#[test]
fn work_that_cannot_be_read_is_an_error_of_the_handover_alone() {
    let mut handover = sample::handover(sample::attempt(1, None));
    handover.work = Bytes::from_static(b"{\"action\":\"teleport\"}");
    assert!(matches!(handover.work(), Err(BadMessage::Work(_))));
}
