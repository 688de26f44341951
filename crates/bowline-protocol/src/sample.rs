//! One message of every kind, and more where a kind has several forms: for tests that must go
//! through all of them, here and in the server.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::id::{
    AttemptNo, AttemptRef, CommitNo, Epoch, Fence, Generation, Incarnation, RunId, SessionId, TaskId, TaskRef,
};
use bowline_core::message::{
    Assign, Assured, Drain, DrainMode, Exit, Fate, Finished, FromWorker, Held, Hello, JobEnd, KnownAs, Left, Paused,
    StopWhy, ToWorker, Verdict,
};
use bowline_core::name::{Key, PoolName, ResourceName, StepName, UnitName, WorkerName};
use bowline_core::spec::{Action, Work};
use bowline_core::state::{JobError, TimeoutKind};
use bowline_core::worker::{Health, Offer, Room, Seat};
use prost::bytes::Bytes;

use crate::kinds::Kind;
use crate::message::{
    Artifact, Handover, LogAck, LogKeep, LogSegment, LogStream, LogTime, Sealed, ServerMessage, UploadProgress,
    WorkerMessage,
};

use crate::vitals::{OutboxVitals, Tally, Vitals};

/// A message of either direction.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// From a worker.
    ToServer(WorkerMessage),
    /// From a server.
    ToWorker(ServerMessage),
}

/// The first attempt of a task, under generation 0.
pub fn attempt(task: u64, index: Option<u32>) -> AttemptRef {
    AttemptRef {
        task: TaskRef { task: TaskId(task), index },
        fence: Fence { generation: Generation(0), attempt: AttemptNo(1) },
    }
}

/// One message of this kind.
pub fn of(kind: Kind, attempt: AttemptRef) -> Sample {
    all_of(kind, attempt).swap_remove(0)
}

/// Every form of this kind. Never empty.
pub fn all_of(kind: Kind, attempt: AttemptRef) -> Vec<Sample> {
    use Sample::{ToServer, ToWorker as Down};
    let up = |message| ToServer(WorkerMessage::Engine(message));
    let down = |message| Down(ServerMessage::Engine(message));
    match kind {
        Kind::Hello => vec![ToServer(WorkerMessage::Hello(Box::new(hello(attempt))))],
        Kind::Heartbeat => {
            [Vitals::default(), vitals()].map(|vitals| ToServer(WorkerMessage::Heartbeat(Box::new(vitals)))).into()
        }
        Kind::Demand => vec![up(FromWorker::Demand { attempts_max: 20, room: room() })],
        Kind::Started => vec![up(FromWorker::Started(attempt))],
        Kind::Finished => ends().into_iter().map(|how| up(finished(attempt, how))).collect(),
        Kind::Released => {
            vec![up(FromWorker::Released { attempt, started: false, why: "a sample".to_owned() })]
        }
        Kind::Gone => vec![up(FromWorker::Gone { attempt, why: "its supervisor died".to_owned() })],
        Kind::ArtifactCommitted => vec![ToServer(WorkerMessage::Artifact(artifact(attempt)))],
        Kind::ArtifactUndelivered => {
            let name = "out/huge.bin".to_owned();
            vec![up(FromWorker::ArtifactUndelivered { attempt, name, why: "it is too large".to_owned() })]
        }
        Kind::UploadProgress => {
            vec![ToServer(WorkerMessage::Upload(UploadProgress { attempt, files: 2, sent: 10, bytes: 100 }))]
        }
        Kind::LogSegment => {
            LogStream::ALL.map(|stream| ToServer(WorkerMessage::Log(log_segment(attempt, stream)))).into()
        }
        Kind::Health => vec![up(FromWorker::Health(Health::Ok)), up(FromWorker::Health(Health::Broken("full".into())))],
        Kind::Bye => vec![up(FromWorker::Bye { why: "a sample".to_owned() })],
        Kind::Welcome => vec![down(welcome(attempt))],
        Kind::TryLater => vec![down(ToWorker::TryLater { why: "a sample".to_owned(), left: left(attempt) })],
        Kind::Fenced => vec![down(ToWorker::Fenced { why: "a sample".to_owned() })],
        Kind::HeartbeatAck => vec![down(ToWorker::HeartbeatAck)],
        Kind::Assign => vec![Down(ServerMessage::Assign(Box::new(handover(attempt))))],
        Kind::Cancel => [StopWhy::Cancel, StopWhy::Timeout, StopWhy::Drain, StopWhy::Recall]
            .map(|why| down(ToWorker::Cancel { attempt, why }))
            .into(),
        Kind::Pause => [Paused::Yes, Paused::No].map(|paused| down(ToWorker::Pause { paused })).into(),
        Kind::Drain => drains().into_iter().map(|drain| down(ToWorker::Drain(drain))).collect(),
        Kind::Undrain => vec![down(ToWorker::Undrain)],
        Kind::Ack => acks(attempt).into_iter().map(Down).collect(),
        Kind::Verdict => VERDICTS.map(|verdict| down(ToWorker::Verdict { attempt, verdict })).into(),
    }
}

const VERDICTS: [Verdict; 5] = [Verdict::Continue, Verdict::Stop, Verdict::Superseded, Verdict::Missing, Verdict::Gone];

fn room() -> Room {
    Room { slots: 4, amounts: BTreeMap::from([(Key::new("memory").expect("a valid name"), 1 << 30)]) }
}

fn hello(attempt: AttemptRef) -> Hello {
    Hello {
        name: WorkerName::new("lab-3").expect("a valid name"),
        pool: Some(PoolName::new("lab").expect("a valid name")),
        incarnation: Incarnation(2),
        seat: Seat {
            state_dir: "d".to_owned(),
            boot_id: "b".to_owned(),
            process: "p".to_owned(),
            said_at: Some(Duration::from_micros(7)),
        },
        version: "0.1.0".to_owned(),
        offer: Offer {
            capabilities: BTreeMap::from([
                (Key::new("gpu").expect("a valid name"), None),
                (Key::new("site").expect("a valid name"), Some("north".to_owned())),
            ]),
            actions: vec!["command".to_owned(), "noop".to_owned()],
            room: room(),
        },
        prefetch: 8,
        health: Health::Broken("full".into()),
        seen: Some((Generation(0), CommitNo(9))),
        attempts: [
            KnownAs::Assigned,
            KnownAs::Running,
            KnownAs::EndedPending,
            KnownAs::Gone,
            KnownAs::GivenBack,
            KnownAs::Failed,
        ]
        .map(|known| (attempt, known))
        .into(),
    }
}

fn vitals() -> Vitals {
    let tally = Tally { sent: 5, retried: 2, dropped: 0, refused: 1 };
    let oldest = Some(Duration::from_secs(3));
    Vitals {
        messages: BTreeMap::from([(Kind::Finished, tally)]),
        outbox: OutboxVitals { messages: 1, bytes: 300, bytes_max: 1 << 20, oldest },
        loop_lag: Duration::from_micros(7),
        loop_lag_max: Duration::from_millis(9),
        stuck: BTreeMap::from([(attempt(4, None), vec![17, 18])]),
    }
}

fn left(attempt: AttemptRef) -> Vec<Left> {
    let lost_in = Some(Duration::from_mins(1));
    let fates = [Fate::Adopted, Fate::Ended, Fate::Lost, Fate::GivenBack, Fate::Failed];
    let waits = [Fate::InTheWay { lost_in }, Fate::InTheWay { lost_in: None }];
    fates.into_iter().chain(waits).map(|fate| Left { attempt, fate }).collect()
}

fn drains() -> Vec<Drain> {
    let within = [None, Some(Duration::from_mins(5)), None];
    let exits = [Exit::No, Exit::Yes, Exit::Yes];
    let ways = DrainMode::ALL.into_iter().zip(within).zip(exits);
    ways.map(|((mode, within), exit)| Drain { mode, within, exit }).collect()
}

fn ends() -> Vec<JobEnd> {
    let error = JobError { exit_status: Some(3), signal: None, message: "exit status 3".to_owned() };
    let mut ends = vec![JobEnd::Success, JobEnd::Error(error), JobEnd::Stopped];
    ends.extend([TimeoutKind::Queue, TimeoutKind::Setup, TimeoutKind::Run].map(JobEnd::Timeout));
    ends.extend([TimeoutKind::Total, TimeoutKind::Deadline].map(JobEnd::Timeout));
    ends
}

fn finished(attempt: AttemptRef, how: JobEnd) -> FromWorker {
    FromWorker::Finished(Finished { attempt, how, result: Some("{\"n\":1}".to_owned()) })
}

fn artifact(attempt: AttemptRef) -> Artifact {
    // BLAKE3 of no bytes.
    let digest = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262".to_owned();
    Artifact { attempt, name: "out/report.json".to_owned(), digest, bytes: 0 }
}

fn log_segment(attempt: AttemptRef, stream: LogStream) -> LogSegment {
    LogSegment {
        sealed_at: Some(5),
        times: vec![LogTime { offset: 0, at_ms: 1_700_000_000_000 }],
        keep: Some(LogKeep { head: 1 << 20, tail: 1 << 10 }),
        ..LogSegment::new(attempt, stream, 0, Bytes::from_static(b"line\n"))
    }
}

fn welcome(attempt: AttemptRef) -> ToWorker {
    ToWorker::Welcome {
        epoch: Epoch(3),
        name: WorkerName::new("lab-3").expect("a valid name"),
        heartbeat: Duration::from_secs(5),
        left: left(attempt),
        incarnation: Incarnation(2),
        generation: Generation(0),
        verdicts: VERDICTS.map(|verdict| (attempt, verdict)).into(),
    }
}

fn held(name: &str, amount: u64, units: &[&str]) -> Held {
    let units = units.iter().map(|unit| UnitName::new(unit).expect("a valid name")).collect();
    Held { name: ResourceName::new(name).expect("a valid name"), amount, units }
}

/// An assignment of a no-op.
pub fn handover(attempt: AttemptRef) -> Handover {
    let assign = Assign {
        attempt,
        session: SessionId(5),
        start_by: Duration::from_secs(30),
        setup_timeout: Duration::from_mins(10),
        run_timeout: Some(Duration::from_mins(1)),
        stop_after: Some(Duration::from_secs(90)),
        slots: 1,
        amounts: vec![(Key::new("memory").expect("a valid name"), 1 << 20)],
        resources: vec![held("phones", 2, &["ph-1", "ph-2"]), held("lic", 3, &[]), held("db", 0, &[])],
    };
    let mut handover = Handover::new(assign, &Work::new(Action::Noop)).expect("a no-op can be written as JSON");
    handover.run = Some(RunId(12));
    handover.step = Some(StepName::new("count").expect("a valid name"));
    handover.token.push_str("secret");
    handover.server.push_str("http://127.0.0.1:7420");
    handover
}

fn acks(attempt: AttemptRef) -> Vec<ServerMessage> {
    let engine =
        [Assured::Started, Assured::Finished, Assured::Released, Assured::Gone, Assured::Artifact("a".to_owned())];
    let mut acks: Vec<_> = engine.into_iter().map(|of| ServerMessage::Engine(ToWorker::Ack { attempt, of })).collect();
    for (stream, sealed) in [(LogStream::Output, Sealed::Yes), (LogStream::Error, Sealed::No)] {
        acks.push(ServerMessage::LogAck(LogAck { attempt, stream, up_to: 5, sealed }));
    }
    acks
}
