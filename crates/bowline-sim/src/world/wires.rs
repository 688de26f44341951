//! Trip wires: the next time that something is sent or done, whoever drives the world is told at once, or a moment
//! later. What goes wrong then goes wrong between two steps that follow each other closely.

use bowline_core::effect::Batch;
use bowline_core::id::{AttemptRef, TaskId};
use bowline_core::message::{FromWorker, ToWorker};
use bowline_core::row::Row;
use bowline_protocol::{ServerMessage, WorkerMessage};
use bowline_supervisor::wire;

use crate::check::facts::attempt_of;
use crate::process::{ConnId, Packet, ProcId};

/// What a wire waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// A worker orders its supervisor to start a job.
    Start,
    /// A worker orders its supervisor to kill a job.
    Kill,
    /// A worker reports an end.
    Report,
    /// A server hands an attempt over.
    Assign,
    /// A server answers a heartbeat.
    Answer,
    /// Something of a run is in the store.
    Step,
    /// The end of an array that did not succeed is on its way to the store.
    Close,
}

/// A wire that was touched.
#[derive(Debug, Clone)]
pub struct Tripped {
    /// Who sent, or committed.
    pub from: ProcId,
    /// To whom, where that is known.
    pub to: Option<ProcId>,
    /// Over which connection.
    pub conn: Option<ConnId>,
    /// Of which attempt.
    pub attempt: Option<AttemptRef>,
    /// Which task.
    pub task: Option<TaskId>,
    /// The supervisor's name of the job.
    pub key: Option<String>,
}

#[derive(Debug)]
struct Wire {
    when: When,
    number: u64,
    delay_us: u64,
}

/// All wires.
#[derive(Debug, Default)]
pub struct Wires {
    waiting: Vec<Wire>,
    tripped: std::collections::BTreeMap<u64, Tripped>,
}

/// When whoever drives the world is to be told, and of which wire.
type DueAt = Option<(u64, u64)>;

impl Wires {
    /// Waits for this: `number` comes so long after it.
    pub fn lay(&mut self, when: When, number: u64, delay_us: u64) {
        self.waiting.push(Wire { when, number, delay_us });
    }

    /// No wire waits any more.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// What touched this wire.
    pub fn take(&mut self, number: u64) -> Option<Tripped> {
        self.tripped.remove(&number)
    }

    fn trip(&mut self, at: u64, when: When, tripped: Tripped) -> DueAt {
        let place = self.waiting.iter().position(|wire| wire.when == when)?;
        let wire = self.waiting.remove(place);
        self.tripped.insert(wire.number, tripped);
        Some((at + wire.delay_us, wire.number))
    }

    pub(super) fn sent(
        &mut self,
        at: u64,
        (from, to, conn): (ProcId, Option<ProcId>, ConnId),
        packet: &Packet,
    ) -> DueAt {
        if self.waiting.is_empty() {
            return None;
        }
        let (when, attempt, key) = touched(packet)?;
        self.trip(at, when, Tripped { from, to, conn: Some(conn), attempt, task: None, key })
    }

    pub(super) fn committed(&mut self, at: u64, from: ProcId, batch: &Batch) -> DueAt {
        if self.waiting.is_empty() || !batch.rows.iter().any(|row| matches!(row, Row::Node(_) | Row::Run(_))) {
            return None;
        }
        self.trip(at, When::Step, Tripped { from, to: None, conn: None, attempt: None, task: None, key: None })
    }

    pub(super) fn commits(&mut self, at: u64, from: ProcId, batch: &Batch) -> DueAt {
        if self.waiting.is_empty() {
            return None;
        }
        let task = batch.rows.iter().find_map(|row| match row {
            Row::Task(row) if row.unit.state.is_ended() => {
                row.array.filter(|array| array.succeeded < array.count).map(|_| row.id)
            }
            _ => None,
        });
        let tripped = Tripped { from, to: None, conn: None, attempt: None, task: Some(task?), key: None };
        self.trip(at, When::Close, tripped)
    }
}

fn touched(packet: &Packet) -> Option<(When, Option<AttemptRef>, Option<String>)> {
    match packet {
        Packet::ToSupervisor(wire::Request::Start(start)) => {
            Some((When::Start, attempt_of(&start.key), Some(start.key.clone())))
        }
        Packet::ToSupervisor(wire::Request::Kill { key, .. }) => Some((When::Kill, attempt_of(key), Some(key.clone()))),
        Packet::FromWorker(messages) => messages.iter().find_map(|(message, _)| match message {
            WorkerMessage::Engine(FromWorker::Finished(end)) => Some((When::Report, Some(end.attempt), None)),
            _ => None,
        }),
        Packet::FromServer { messages, .. } => messages.iter().find_map(|message| match message {
            ServerMessage::Assign(handover) => Some((When::Assign, Some(handover.assign.attempt), None)),
            ServerMessage::Engine(ToWorker::HeartbeatAck) => Some((When::Answer, None, None)),
            _ => None,
        }),
        Packet::ToSupervisor(_) | Packet::FromSupervisor(_) | Packet::Ask { .. } | Packet::Answer { .. } => None,
    }
}
