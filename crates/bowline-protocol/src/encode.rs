//! From checked values to the wire. Cannot fail: values are within their bounds, except texts for
//! people, which are cut.

use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::message::{
    Assign, Assured, Drain, DrainMode, Exit, Fate, Finished, FromWorker, Held, Hello, JobEnd, KnownAs, Left, Paused,
    StopWhy, ToWorker, Verdict,
};
use bowline_core::name::Key;
use bowline_core::state::TimeoutKind;
use bowline_core::time::micros;
use bowline_core::worker::{Health, Room};

use crate::limits::TEXT_BYTES_MAX;
use crate::message::{
    Artifact, Handover, LogAck, LogSegment, Sealed, ServerMessage, Truncated, UploadProgress, WorkerMessage,
};
use crate::wire;
use wire::server_message::Kind as ServerKind;
use wire::worker_message::Kind as WorkerKind;

pub(crate) fn worker_message(message: &WorkerMessage) -> wire::WorkerMessage {
    let kind = match message {
        WorkerMessage::Hello(greeting) => WorkerKind::Hello(hello(greeting)),
        WorkerMessage::Heartbeat(vitals) => WorkerKind::Heartbeat(vitals.to_wire()),
        WorkerMessage::Artifact(file) => WorkerKind::ArtifactCommitted(artifact(file)),
        WorkerMessage::Log(segment) => WorkerKind::LogSegment(log_segment(segment)),
        WorkerMessage::Engine(FromWorker::Late { waited, sends, .. }) => {
            // No message of its own: it stands beside the one that comes next.
            let delivery = wire::Delivery { waited_us: micros(*waited), sends: *sends };
            return wire::WorkerMessage { kind: None, delivery: Some(delivery) };
        }
        WorkerMessage::Upload(progress) => WorkerKind::UploadProgress(upload_progress(progress)),
        WorkerMessage::Engine(message) => from_worker(message),
    };
    wire::WorkerMessage { kind: Some(kind), delivery: None }
}

fn from_worker(message: &FromWorker) -> WorkerKind {
    match message {
        FromWorker::Heartbeat | FromWorker::Late { .. } => WorkerKind::Heartbeat(wire::Heartbeat::default()),
        FromWorker::Demand { attempts_max, room: offered } => {
            WorkerKind::Demand(wire::Demand { attempts_max: *attempts_max, room: Some(room(offered)) })
        }
        FromWorker::Started(of) => WorkerKind::Started(attempt(*of)),
        FromWorker::Finished(end) => WorkerKind::Finished(finished(end)),
        FromWorker::Released { attempt: of, started, why } => {
            WorkerKind::Released(wire::Released { attempt: Some(attempt(*of)), started: *started, why: cut(why) })
        }
        FromWorker::Gone { attempt: of, why } => {
            WorkerKind::Gone(wire::Gone { attempt: Some(attempt(*of)), why: cut(why) })
        }
        FromWorker::ArtifactCommitted { attempt: of, name, digest, bytes } => {
            WorkerKind::ArtifactCommitted(wire::ArtifactCommitted {
                attempt: Some(attempt(*of)),
                name: name.clone(),
                digest: digest.clone(),
                bytes: *bytes,
            })
        }
        FromWorker::ArtifactUndelivered { attempt: of, name, why } => {
            WorkerKind::ArtifactUndelivered(wire::ArtifactUndelivered {
                attempt: Some(attempt(*of)),
                name: name.clone(),
                why: cut(why),
            })
        }
        FromWorker::Health(told) => WorkerKind::Health(health(told)),
        FromWorker::Bye { why } => WorkerKind::Bye(wire::Bye { why: cut(why) }),
    }
}

pub(crate) fn server_message(message: &ServerMessage) -> wire::ServerMessage {
    let kind = match message {
        ServerMessage::Engine(message) => to_worker(message),
        ServerMessage::Assign(handover) => ServerKind::Assign(assign_with_work(handover)),
        ServerMessage::LogAck(ack) => ServerKind::Ack(log_ack(ack)),
    };
    wire::ServerMessage { kind: Some(kind) }
}

fn to_worker(message: &ToWorker) -> ServerKind {
    match message {
        ToWorker::Welcome { epoch, name, incarnation, generation, heartbeat, verdicts, left: list } => {
            ServerKind::Welcome(wire::Welcome {
                epoch: epoch.0,
                incarnation: incarnation.0,
                generation: generation.0,
                verdicts: verdicts.iter().map(|(of, verdict)| attempt_verdict(*of, *verdict)).collect(),
                name: name.as_str().to_owned(),
                heartbeat_us: micros(*heartbeat),
                left: list.iter().map(left).collect(),
            })
        }
        ToWorker::TryLater { why, left: list } => {
            ServerKind::TryLater(wire::TryLater { why: cut(why), left: list.iter().map(left).collect() })
        }
        ToWorker::Fenced { why } => ServerKind::Fenced(wire::Reason { why: cut(why) }),
        ToWorker::HeartbeatAck => ServerKind::HeartbeatAck(wire::HeartbeatAck {}),
        ToWorker::Assign(bare) => ServerKind::Assign(assign(bare)),
        ToWorker::Cancel { attempt: of, why } => {
            ServerKind::Cancel(wire::Cancel { attempt: Some(attempt(*of)), why: stop_why(*why).into() })
        }
        ToWorker::Pause { paused } => ServerKind::Pause(wire::Pause {
            paused: match paused {
                Paused::Yes => true,
                Paused::No => false,
            },
        }),
        ToWorker::Drain(how) => ServerKind::Drain(drain(how)),
        ToWorker::Undrain => ServerKind::Undrain(wire::Undrain {}),
        ToWorker::Ack { attempt: of, of: what } => {
            ServerKind::Ack(wire::Ack { attempt: Some(attempt(*of)), of: Some(assured(what)) })
        }
        ToWorker::Verdict { attempt: of, verdict } => ServerKind::Verdict(attempt_verdict(*of, *verdict)),
    }
}

fn drain(drain: &Drain) -> wire::Drain {
    let mode = match drain.mode {
        DrainMode::Finish => wire::DrainMode::Finish,
        DrainMode::Release => wire::DrainMode::Release,
        DrainMode::Handoff => wire::DrainMode::Handoff,
    };
    let exit = match drain.exit {
        Exit::No => false,
        Exit::Yes => true,
    };
    wire::Drain { mode: mode.into(), within_us: drain.within.map(micros), exit }
}

fn left(left: &Left) -> wire::Left {
    use wire::left::Fate as Wire;
    let fate = match left.fate {
        Fate::Adopted => Wire::Adopted(wire::Adopted {}),
        Fate::Ended => Wire::Ended(wire::Ended {}),
        Fate::Lost => Wire::Lost(wire::Lost {}),
        Fate::GivenBack => Wire::GivenBack(wire::GivenBack {}),
        Fate::Failed => Wire::Failed(wire::Failed {}),
        Fate::InTheWay { lost_in } => Wire::InTheWay(wire::InTheWay { lost_in_us: lost_in.map(micros) }),
    };
    wire::Left { attempt: Some(attempt(left.attempt)), fate: Some(fate) }
}

fn health(told: &Health) -> wire::Health {
    let broken = match told {
        Health::Ok => None,
        Health::Broken(why) => Some(cut(why)),
    };
    wire::Health { broken }
}

fn hello(hello: &Hello) -> wire::Hello {
    wire::Hello {
        name: hello.name.as_str().to_owned(),
        incarnation: hello.incarnation.0,
        state_dir: hello.seat.state_dir.clone(),
        boot_id: hello.seat.boot_id.clone(),
        process: hello.seat.process.clone(),
        version: hello.version.clone(),
        capabilities: hello
            .offer
            .capabilities
            .iter()
            .map(|(key, value)| wire::Capability { key: key.as_str().to_owned(), value: value.clone() })
            .collect(),
        actions: hello.offer.actions.clone(),
        room: Some(room(&hello.offer.room)),
        prefetch: hello.prefetch,
        seen: hello.seen.map(|(generation, commit)| wire::Seen { generation: generation.0, commit_no: commit.0 }),
        attempts: hello
            .attempts
            .iter()
            .map(|(of, known)| wire::KnownAttempt { attempt: Some(attempt(*of)), known_as: known_as(*known).into() })
            .collect(),
        pool: hello.pool.as_ref().map(|pool| pool.as_str().to_owned()),
        health: Some(health(&hello.health)),
        said_at_us: hello.seat.said_at.map(|at| u64::try_from(at.as_micros()).unwrap_or(u64::MAX)),
    }
}

fn finished(end: &Finished) -> wire::Finished {
    use wire::finished::How;
    let how = match &end.how {
        JobEnd::Success => How::Success(wire::Success {}),
        JobEnd::Error(error) => How::Error(wire::JobError {
            exit_status: error.exit_status,
            signal: error.signal,
            message: cut(&error.message),
        }),
        JobEnd::Timeout(which) => How::Timeout(timeout_kind(*which).into()),
        JobEnd::Stopped => How::Stopped(wire::Stopped {}),
    };
    wire::Finished { attempt: Some(attempt(end.attempt)), how: Some(how), result: end.result.clone() }
}

fn artifact(file: &Artifact) -> wire::ArtifactCommitted {
    wire::ArtifactCommitted {
        attempt: Some(attempt(file.attempt)),
        name: file.name.clone(),
        digest: file.digest.clone(),
        bytes: file.bytes,
    }
}

fn upload_progress(progress: &UploadProgress) -> wire::UploadProgress {
    let UploadProgress { attempt: of, files, sent, bytes } = *progress;
    wire::UploadProgress { attempt: Some(attempt(of)), files, sent, bytes }
}

fn log_segment(segment: &LogSegment) -> wire::LogSegment {
    wire::LogSegment {
        attempt: Some(attempt(segment.attempt)),
        stream: segment.stream.number(),
        offset: segment.offset,
        content: segment.content.clone(),
        sealed_at: segment.sealed_at,
        left_out_from: segment.left_out_from,
        times: segment.times.iter().map(|time| wire::LogTime { offset: time.offset, at_ms: time.at_ms }).collect(),
        truncated: match segment.truncated {
            Truncated::No => false,
            Truncated::Yes => true,
        },
        keep: segment.keep.map(|keep| wire::LogKeep { head: keep.head, tail: keep.tail }),
    }
}

fn log_ack(ack: &LogAck) -> wire::Ack {
    let sealed = match ack.sealed {
        Sealed::Yes => true,
        Sealed::No => false,
    };
    let log = wire::LogAck { stream: ack.stream.number(), up_to: ack.up_to, sealed };
    wire::Ack { attempt: Some(attempt(ack.attempt)), of: Some(wire::ack::Of::Log(log)) }
}

fn assured(what: &Assured) -> wire::ack::Of {
    use wire::ack::Of;
    match what {
        Assured::Started => Of::Started(wire::Started {}),
        Assured::Finished => Of::Finished(wire::FinishedAck {}),
        Assured::Released => Of::Released(wire::ReleasedAck {}),
        Assured::Gone => Of::Gone(wire::GoneAck {}),
        Assured::Artifact(name) => Of::Artifact(name.clone()),
    }
}

fn assign(assign: &Assign) -> wire::Assign {
    wire::Assign {
        attempt: Some(attempt(assign.attempt)),
        session: assign.session.0,
        start_by_us: micros(assign.start_by),
        setup_timeout_us: micros(assign.setup_timeout),
        run_timeout_us: assign.run_timeout.map(|limit: Duration| micros(limit)),
        stop_after_us: assign.stop_after.map(micros),
        slots: assign.slots,
        amounts: amounts(assign.amounts.iter().map(|(name, amount)| (name, *amount))),
        resources: assign.resources.iter().map(held).collect(),
        ..wire::Assign::default()
    }
}

fn held(held: &Held) -> wire::Resource {
    let units = held.units.iter().map(|unit| unit.as_str().to_owned()).collect();
    wire::Resource { name: held.name.as_str().to_owned(), amount: held.amount, units }
}

fn assign_with_work(handover: &Handover) -> wire::Assign {
    wire::Assign {
        work: handover.work.clone(),
        namespace: handover.namespace.as_str().to_owned(),
        run: handover.run.map(|run| run.0),
        step: handover.step.as_ref().map(|step| step.as_str().to_owned()),
        token: handover.token.clone(),
        server: handover.server.clone(),
        ..assign(&handover.assign)
    }
}

pub(crate) fn attempt(of: AttemptRef) -> wire::Attempt {
    wire::Attempt {
        task: of.task.task.0,
        index: of.task.index,
        generation: of.fence.generation.0,
        attempt: of.fence.attempt.0,
    }
}

fn attempt_verdict(of: AttemptRef, verdict: Verdict) -> wire::AttemptVerdict {
    let verdict = match verdict {
        Verdict::Continue => wire::VerdictKind::Continue,
        Verdict::Stop => wire::VerdictKind::Stop,
        Verdict::Superseded => wire::VerdictKind::Superseded,
        Verdict::Missing => wire::VerdictKind::Missing,
        Verdict::Gone => wire::VerdictKind::Gone,
    };
    wire::AttemptVerdict { attempt: Some(attempt(of)), verdict: verdict.into() }
}

fn room(room: &Room) -> wire::Room {
    wire::Room { slots: room.slots, amounts: amounts(room.amounts.iter().map(|(name, amount)| (name, *amount))) }
}

fn amounts<'a>(amounts: impl Iterator<Item = (&'a Key, u64)>) -> Vec<wire::Amount> {
    amounts.map(|(name, amount)| wire::Amount { name: name.as_str().to_owned(), amount }).collect()
}

fn known_as(known: KnownAs) -> wire::KnownAs {
    match known {
        KnownAs::Assigned => wire::KnownAs::Assigned,
        KnownAs::Running => wire::KnownAs::Running,
        KnownAs::EndedPending => wire::KnownAs::EndedPending,
        KnownAs::Gone => wire::KnownAs::Gone,
        KnownAs::GivenBack => wire::KnownAs::GivenBack,
        KnownAs::Failed => wire::KnownAs::Failed,
    }
}

fn stop_why(why: StopWhy) -> wire::StopWhy {
    match why {
        StopWhy::Cancel => wire::StopWhy::Cancel,
        StopWhy::Timeout => wire::StopWhy::Timeout,
        StopWhy::Drain => wire::StopWhy::Drain,
        StopWhy::Recall => wire::StopWhy::Recall,
    }
}

fn timeout_kind(which: TimeoutKind) -> wire::TimeoutKind {
    match which {
        TimeoutKind::Queue => wire::TimeoutKind::Queue,
        TimeoutKind::Setup => wire::TimeoutKind::Setup,
        TimeoutKind::Run => wire::TimeoutKind::Run,
        TimeoutKind::Total => wire::TimeoutKind::Total,
        TimeoutKind::Deadline => wire::TimeoutKind::Deadline,
    }
}

/// At most [`TEXT_BYTES_MAX`], cut between two characters.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}
