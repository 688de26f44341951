//! From the wire to checked values. What is malformed is refused, and the refusal names the field.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::id::{
    AttemptNo, AttemptRef, CommitNo, Epoch, Fence, Generation, Incarnation, RunId, SessionId, TaskId, TaskRef,
};
use bowline_core::message::{
    Assign, Assured, Drain, DrainMode, Exit, Fate, Finished, FromWorker, Held, Hello, JobEnd, KnownAs, LEFT_MAX, Left,
    Paused, StopWhy, ToWorker, Verdict,
};
use bowline_core::name::{BadName, Key, Namespace, PoolName, ResourceName, StepName, UnitName, WorkerName};
use bowline_core::resource::UNITS_MAX;
use bowline_core::spec::{ITEMS_MAX, RESULT_BYTES_MAX, SLOTS_MAX};
use bowline_core::state::{JobError, TimeoutKind};
use bowline_core::worker::{Health, Offer, Room, Seat};
use prost::bytes::Bytes;

use crate::limits;
use crate::message::{
    Artifact, Handover, LogAck, LogKeep, LogSegment, LogStream, LogTime, Sealed, ServerMessage, Truncated,
    UploadProgress, WorkerMessage,
};
use crate::vitals::Vitals;
use crate::wire;
use wire::server_message::Kind as ServerKind;
use wire::worker_message::Kind as WorkerKind;

/// A message that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// A field that every such message has is missing, or has a value that this version does not know.
    #[error("the message has no usable `{0}`")]
    Missing(&'static str),
    /// Longer than its bound.
    #[error("`{field}` is larger than {max} allow: {size}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its size, in bytes or items.
        size: usize,
        /// Its bound, in bytes or items.
        max: usize,
    },
    /// A name that cannot be used.
    #[error("`{field}` is no name")]
    Name {
        /// The field.
        field: &'static str,
        /// Why.
        #[source]
        source: BadName,
    },
    /// The work is not what this version knows.
    #[error("the work that goes with the assignment cannot be read or written")]
    Work(#[source] serde_json::Error),
}

type Checked<T> = Result<T, BadMessage>;

pub(crate) fn worker_message(message: wire::WorkerMessage) -> Checked<Option<WorkerMessage>> {
    let Some(kind) = message.kind else { return Ok(None) };
    let message = match kind {
        WorkerKind::Hello(greeting) => WorkerMessage::Hello(Box::new(hello(greeting)?)),
        WorkerKind::Heartbeat(heartbeat) => WorkerMessage::Heartbeat(Box::new(Vitals::from_wire(heartbeat))),
        WorkerKind::Demand(demand) => {
            WorkerMessage::Engine(FromWorker::Demand { attempts_max: demand.attempts_max, room: room(demand.room)? })
        }
        WorkerKind::Started(of) => WorkerMessage::Engine(FromWorker::Started(attempt(Some(of))?)),
        WorkerKind::Finished(end) => WorkerMessage::Engine(FromWorker::Finished(finished(end)?)),
        WorkerKind::Released(released) => WorkerMessage::Engine(FromWorker::Released {
            attempt: attempt(released.attempt)?,
            started: released.started,
            why: text(released.why, "why", limits::TEXT_BYTES_MAX)?,
        }),
        WorkerKind::Gone(gone) => WorkerMessage::Engine(FromWorker::Gone {
            attempt: attempt(gone.attempt)?,
            why: text(gone.why, "why", limits::TEXT_BYTES_MAX)?,
        }),
        WorkerKind::ArtifactCommitted(file) => WorkerMessage::Artifact(artifact(file)?),
        WorkerKind::LogSegment(segment) => WorkerMessage::Log(log_segment(segment)?),
        WorkerKind::ArtifactUndelivered(file) => WorkerMessage::Engine(FromWorker::ArtifactUndelivered {
            attempt: attempt(file.attempt)?,
            name: artifact_name(file.name)?,
            why: text(file.why, "why", limits::TEXT_BYTES_MAX)?,
        }),
        WorkerKind::UploadProgress(wire::UploadProgress { attempt: of, files, sent, bytes }) => {
            WorkerMessage::Upload(UploadProgress { attempt: attempt(of)?, files, sent, bytes })
        }
        WorkerKind::Health(told) => WorkerMessage::Engine(FromWorker::Health(health(told)?)),
        WorkerKind::Bye(bye) => {
            WorkerMessage::Engine(FromWorker::Bye { why: text(bye.why, "why", limits::TEXT_BYTES_MAX)? })
        }
    };
    Ok(Some(message))
}

pub(crate) fn server_message(message: wire::ServerMessage) -> Checked<Option<ServerMessage>> {
    let Some(kind) = message.kind else { return Ok(None) };
    let message = match kind {
        ServerKind::Welcome(answer) => ServerMessage::Engine(welcome(answer)?),
        ServerKind::TryLater(later) => ServerMessage::Engine(ToWorker::TryLater {
            why: text(later.why, "why", limits::TEXT_BYTES_MAX)?,
            left: lefts(later.left)?,
        }),
        ServerKind::Fenced(wire::Reason { why }) => {
            ServerMessage::Engine(ToWorker::Fenced { why: text(why, "why", limits::TEXT_BYTES_MAX)? })
        }
        ServerKind::Drain(how) => ServerMessage::Engine(ToWorker::Drain(drain(how)?)),
        ServerKind::Undrain(wire::Undrain {}) => ServerMessage::Engine(ToWorker::Undrain),
        ServerKind::HeartbeatAck(wire::HeartbeatAck {}) => ServerMessage::Engine(ToWorker::HeartbeatAck),
        ServerKind::Assign(assign) => ServerMessage::Assign(Box::new(handover(assign)?)),
        ServerKind::Cancel(cancel) => {
            ServerMessage::Engine(ToWorker::Cancel { attempt: attempt(cancel.attempt)?, why: stop_why(cancel.why)? })
        }
        ServerKind::Pause(pause) => {
            ServerMessage::Engine(ToWorker::Pause { paused: if pause.paused { Paused::Yes } else { Paused::No } })
        }
        ServerKind::Ack(acked) => ack(acked)?,
        ServerKind::Verdict(of) => {
            let (attempt, verdict) = attempt_verdict(of)?;
            ServerMessage::Engine(ToWorker::Verdict { attempt, verdict })
        }
    };
    Ok(Some(message))
}

fn health(told: wire::Health) -> Checked<Health> {
    Ok(match told.broken {
        None => Health::Ok,
        Some(why) => Health::Broken(text(why, "broken", limits::TEXT_BYTES_MAX)?),
    })
}

fn hello(hello: wire::Hello) -> Checked<Hello> {
    let short = |value, field| text(value, field, limits::SHORT_TEXT_BYTES_MAX);
    items(hello.actions.len(), "actions", limits::OFFER_ITEMS_MAX)?;
    items(hello.attempts.len(), "attempts", limits::HELLO_ATTEMPTS_MAX)?;
    if hello.prefetch > limits::PREFETCH_MAX {
        return Err(BadMessage::Missing("prefetch"));
    }
    Ok(Hello {
        name: name(WorkerName::new(hello.name), "name")?,
        pool: hello.pool.map(|pool| name(PoolName::new(pool), "pool")).transpose()?,
        incarnation: Incarnation(hello.incarnation),
        seat: Seat {
            state_dir: short(hello.state_dir, "state_dir")?,
            boot_id: short(hello.boot_id, "boot_id")?,
            process: short(hello.process, "process")?,
            said_at: hello.said_at_us.map(Duration::from_micros),
        },
        version: short(hello.version, "version")?,
        offer: Offer {
            capabilities: capabilities(hello.capabilities)?,
            actions: hello.actions.into_iter().map(|action| short(action, "actions")).collect::<Checked<_>>()?,
            room: room(hello.room)?,
        },
        prefetch: hello.prefetch,
        health: hello.health.map_or(Ok(Health::Ok), health)?,
        seen: hello.seen.map(|seen| (Generation(seen.generation), CommitNo(seen.commit_no))),
        attempts: hello
            .attempts
            .into_iter()
            .map(|known| Ok((attempt(known.attempt)?, known_as(known.known_as)?)))
            .collect::<Checked<_>>()?,
    })
}

fn capabilities(list: Vec<wire::Capability>) -> Checked<BTreeMap<Key, Option<String>>> {
    items(list.len(), "capabilities", limits::OFFER_ITEMS_MAX)?;
    let one = |capability: wire::Capability| {
        let value = capability.value.map(|value| text(value, "capabilities", limits::CAPABILITY_VALUE_BYTES_MAX));
        Ok((name(Key::new(capability.key), "capabilities")?, value.transpose()?))
    };
    list.into_iter().map(one).collect()
}

fn room(room: Option<wire::Room>) -> Checked<Room> {
    let room = room.ok_or(BadMessage::Missing("room"))?;
    if room.slots > SLOTS_MAX {
        return Err(BadMessage::TooLarge { field: "slots", size: room.slots as usize, max: SLOTS_MAX as usize });
    }
    Ok(Room { slots: room.slots, amounts: amounts(room.amounts)? })
}

fn amounts<T: FromIterator<(Key, u64)>>(amounts: Vec<wire::Amount>) -> Checked<T> {
    items(amounts.len(), "amounts", limits::OFFER_ITEMS_MAX)?;
    amounts.into_iter().map(|amount| Ok((name(Key::new(amount.name), "amounts")?, amount.amount))).collect()
}

fn resources(held: Vec<wire::Resource>) -> Checked<Vec<Held>> {
    items(held.len(), "resources", ITEMS_MAX)?;
    let one = |held: wire::Resource| {
        items(held.units.len(), "units", UNITS_MAX)?;
        let units = held.units.into_iter().map(|unit| name(UnitName::new(unit), "units")).collect::<Checked<_>>()?;
        Ok(Held { name: name(ResourceName::new(held.name), "resources")?, amount: held.amount, units })
    };
    held.into_iter().map(one).collect()
}

fn finished(end: wire::Finished) -> Checked<Finished> {
    use wire::finished::How;
    let how = match end.how.ok_or(BadMessage::Missing("how"))? {
        How::Success(wire::Success {}) => JobEnd::Success,
        How::Error(error) => JobEnd::Error(JobError {
            exit_status: error.exit_status,
            signal: error.signal,
            message: text(error.message, "message", limits::TEXT_BYTES_MAX)?,
        }),
        How::Timeout(which) => JobEnd::Timeout(timeout_kind(which)?),
        How::Stopped(wire::Stopped {}) => JobEnd::Stopped,
    };
    let result = end.result.map(|result| text(result, "result", RESULT_BYTES_MAX)).transpose()?;
    Ok(Finished { attempt: attempt(end.attempt)?, how, result })
}

fn artifact(file: wire::ArtifactCommitted) -> Checked<Artifact> {
    let digest_is_hex = file.digest.len() == limits::DIGEST_HEX_BYTES
        && file.digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !digest_is_hex {
        return Err(BadMessage::Missing("digest"));
    }
    let name = artifact_name(file.name)?;
    Ok(Artifact { attempt: attempt(file.attempt)?, name, digest: file.digest, bytes: file.bytes })
}

fn artifact_name(name: String) -> Checked<String> {
    let name = text(name, "name", limits::ARTIFACT_NAME_BYTES_MAX)?;
    if is_artifact_name(&name) { Ok(name) } else { Err(BadMessage::Missing("name")) }
}

/// Whether a name can be an artifact's: parts joined by `/`, none of them empty, `.` or `..`, without
/// NUL, and within its bound.
pub(crate) fn is_artifact_name(name: &str) -> bool {
    let part_is_plain = |part: &str| !matches!(part, "" | "." | "..");
    name.len() <= limits::ARTIFACT_NAME_BYTES_MAX && !name.contains('\0') && name.split('/').all(part_is_plain)
}

fn log_segment(segment: wire::LogSegment) -> Checked<LogSegment> {
    bytes(&segment.content, "content", limits::LOG_SEGMENT_BYTES_MAX)?;
    let end = segment.offset.checked_add(segment.content.len() as u64).ok_or(BadMessage::Missing("offset"))?;
    if segment.sealed_at.is_some_and(|length| length < end) {
        return Err(BadMessage::Missing("sealed_at"));
    }
    if segment.left_out_from.is_some_and(|from| from > segment.offset) {
        return Err(BadMessage::Missing("left_out_from"));
    }
    items(segment.times.len(), "times", limits::LOG_TIMES_MAX)?;
    Ok(LogSegment {
        attempt: attempt(segment.attempt)?,
        stream: LogStream::from_number(segment.stream).ok_or(BadMessage::Missing("stream"))?,
        offset: segment.offset,
        content: segment.content,
        sealed_at: segment.sealed_at,
        left_out_from: segment.left_out_from,
        times: segment.times.iter().map(|time| LogTime { offset: time.offset, at_ms: time.at_ms }).collect(),
        truncated: if segment.truncated { Truncated::Yes } else { Truncated::No },
        keep: segment.keep.map(|keep| LogKeep { head: keep.head, tail: keep.tail }),
    })
}

fn welcome(answer: wire::Welcome) -> Checked<ToWorker> {
    items(answer.verdicts.len(), "verdicts", limits::HELLO_ATTEMPTS_MAX)?;
    Ok(ToWorker::Welcome {
        epoch: Epoch(answer.epoch),
        name: name(WorkerName::new(answer.name), "name")?,
        heartbeat: Duration::from_micros(answer.heartbeat_us),
        left: lefts(answer.left)?,
        incarnation: Incarnation(answer.incarnation),
        generation: Generation(answer.generation),
        verdicts: answer.verdicts.into_iter().map(attempt_verdict).collect::<Checked<_>>()?,
    })
}

fn lefts(list: Vec<wire::Left>) -> Checked<Vec<Left>> {
    items(list.len(), "left", LEFT_MAX)?;
    list.into_iter().map(left).collect()
}

fn left(left: wire::Left) -> Checked<Left> {
    use wire::left::Fate as Wire;
    let fate = match left.fate.ok_or(BadMessage::Missing("fate"))? {
        Wire::Adopted(wire::Adopted {}) => Fate::Adopted,
        Wire::Ended(wire::Ended {}) => Fate::Ended,
        Wire::Lost(wire::Lost {}) => Fate::Lost,
        Wire::GivenBack(wire::GivenBack {}) => Fate::GivenBack,
        Wire::Failed(wire::Failed {}) => Fate::Failed,
        Wire::InTheWay(way) => Fate::InTheWay { lost_in: way.lost_in_us.map(Duration::from_micros) },
    };
    Ok(Left { attempt: attempt(left.attempt)?, fate })
}

fn drain(drain: wire::Drain) -> Checked<Drain> {
    let mode = match wire::DrainMode::try_from(drain.mode) {
        Ok(wire::DrainMode::Finish) => DrainMode::Finish,
        Ok(wire::DrainMode::Release) => DrainMode::Release,
        Ok(wire::DrainMode::Handoff) => DrainMode::Handoff,
        Ok(wire::DrainMode::Unspecified) | Err(_) => return Err(BadMessage::Missing("mode")),
    };
    let exit = if drain.exit { Exit::Yes } else { Exit::No };
    Ok(Drain { mode, within: drain.within_us.map(Duration::from_micros), exit })
}

fn handover(assign: wire::Assign) -> Checked<Handover> {
    bytes(&assign.work, "work", limits::WORK_BYTES_MAX)?;
    Ok(Handover {
        assign: Assign {
            attempt: attempt(assign.attempt)?,
            session: SessionId(assign.session),
            start_by: Duration::from_micros(assign.start_by_us),
            setup_timeout: Duration::from_micros(assign.setup_timeout_us),
            run_timeout: assign.run_timeout_us.map(Duration::from_micros),
            stop_after: assign.stop_after_us.map(Duration::from_micros),
            slots: assign.slots,
            amounts: amounts(assign.amounts)?,
            resources: resources(assign.resources)?,
        },
        work: assign.work,
        namespace: name(Namespace::new(assign.namespace), "namespace")?,
        run: assign.run.map(RunId),
        step: assign.step.map(|step| name(StepName::new(step), "step")).transpose()?,
        token: text(assign.token, "token", limits::TOKEN_BYTES_MAX)?,
        server: text(assign.server, "server", limits::SERVER_URL_BYTES_MAX)?,
    })
}

fn ack(acked: wire::Ack) -> Checked<ServerMessage> {
    use wire::ack::Of;
    let attempt = attempt(acked.attempt)?;
    let of = match acked.of.ok_or(BadMessage::Missing("of"))? {
        Of::Started(wire::Started {}) => Assured::Started,
        Of::Finished(wire::FinishedAck {}) => Assured::Finished,
        Of::Released(wire::ReleasedAck {}) => Assured::Released,
        Of::Gone(wire::GoneAck {}) => Assured::Gone,
        Of::Artifact(name) => Assured::Artifact(text(name, "artifact", limits::ARTIFACT_NAME_BYTES_MAX)?),
        Of::Log(log) => {
            let stream = LogStream::from_number(log.stream).ok_or(BadMessage::Missing("stream"))?;
            let sealed = if log.sealed { Sealed::Yes } else { Sealed::No };
            return Ok(ServerMessage::LogAck(LogAck { attempt, stream, up_to: log.up_to, sealed }));
        }
    };
    Ok(ServerMessage::Engine(ToWorker::Ack { attempt, of }))
}

pub(crate) fn attempt(of: Option<wire::Attempt>) -> Checked<AttemptRef> {
    let of = of.ok_or(BadMessage::Missing("attempt"))?;
    if of.task == 0 || of.attempt == 0 {
        return Err(BadMessage::Missing("attempt"));
    }
    Ok(AttemptRef {
        task: TaskRef { task: TaskId(of.task), index: of.index },
        fence: Fence { generation: Generation(of.generation), attempt: AttemptNo(of.attempt) },
    })
}

fn attempt_verdict(of: wire::AttemptVerdict) -> Checked<(AttemptRef, Verdict)> {
    let verdict = match wire::VerdictKind::try_from(of.verdict) {
        Ok(wire::VerdictKind::Continue) => Verdict::Continue,
        Ok(wire::VerdictKind::Stop) => Verdict::Stop,
        Ok(wire::VerdictKind::Superseded) => Verdict::Superseded,
        Ok(wire::VerdictKind::Missing) => Verdict::Missing,
        Ok(wire::VerdictKind::Gone) => Verdict::Gone,
        Ok(wire::VerdictKind::Unspecified) | Err(_) => return Err(BadMessage::Missing("verdict")),
    };
    Ok((attempt(of.attempt)?, verdict))
}

fn known_as(number: i32) -> Checked<KnownAs> {
    match wire::KnownAs::try_from(number) {
        Ok(wire::KnownAs::Assigned) => Ok(KnownAs::Assigned),
        Ok(wire::KnownAs::Running) => Ok(KnownAs::Running),
        Ok(wire::KnownAs::EndedPending) => Ok(KnownAs::EndedPending),
        Ok(wire::KnownAs::Gone) => Ok(KnownAs::Gone),
        Ok(wire::KnownAs::GivenBack) => Ok(KnownAs::GivenBack),
        Ok(wire::KnownAs::Failed) => Ok(KnownAs::Failed),
        Ok(wire::KnownAs::Unspecified) | Err(_) => Err(BadMessage::Missing("known_as")),
    }
}

fn stop_why(number: i32) -> Checked<StopWhy> {
    match wire::StopWhy::try_from(number) {
        Ok(wire::StopWhy::Cancel) => Ok(StopWhy::Cancel),
        Ok(wire::StopWhy::Timeout) => Ok(StopWhy::Timeout),
        Ok(wire::StopWhy::Drain) => Ok(StopWhy::Drain),
        Ok(wire::StopWhy::Recall) => Ok(StopWhy::Recall),
        Ok(wire::StopWhy::Unspecified) | Err(_) => Err(BadMessage::Missing("why")),
    }
}

fn timeout_kind(number: i32) -> Checked<TimeoutKind> {
    match wire::TimeoutKind::try_from(number) {
        Ok(wire::TimeoutKind::Queue) => Ok(TimeoutKind::Queue),
        Ok(wire::TimeoutKind::Setup) => Ok(TimeoutKind::Setup),
        Ok(wire::TimeoutKind::Run) => Ok(TimeoutKind::Run),
        Ok(wire::TimeoutKind::Total) => Ok(TimeoutKind::Total),
        Ok(wire::TimeoutKind::Deadline) => Ok(TimeoutKind::Deadline),
        Ok(wire::TimeoutKind::Unspecified) | Err(_) => Err(BadMessage::Missing("timeout")),
    }
}

fn name<T>(name: Result<T, BadName>, field: &'static str) -> Checked<T> {
    name.map_err(|source| BadMessage::Name { field, source })
}

fn text(value: String, field: &'static str, max: usize) -> Checked<String> {
    items(value.len(), field, max)?;
    Ok(value)
}

fn bytes(value: &Bytes, field: &'static str, max: usize) -> Checked<()> {
    items(value.len(), field, max)
}

fn items(size: usize, field: &'static str, max: usize) -> Checked<()> {
    if size <= max { Ok(()) } else { Err(BadMessage::TooLarge { field, size, max }) }
}

#[cfg(test)]
mod tests;
