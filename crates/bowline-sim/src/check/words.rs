//! What a worker says and orders, against its own journal and against what is so: nothing that a crash would take
//! back is said or begun (I8, I3), no success is made up (I2), and nothing that lives is said to be gone (I1).

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use bowline_core::id::AttemptRef;
use bowline_core::message::{FromWorker, JobEnd, KnownAs, ToWorker, Verdict};
use bowline_protocol::{Delivery, ServerMessage, WorkerMessage, wire};
use bowline_supervisor::wire::Request;
use bowline_worker::journal::{Batch, Op};
use prost::Message as _;

use super::effects::{Kind, kind_of};
use super::facts::{Facts, attempt_of};
use super::{Found, Invariant};
use crate::process::ConnId;

/// What a worker says where its supervisor has not started a job.
const NOT_STARTED: &str = "could not be started";

/// What is durable in the journal of one state directory, whatever was dropped since.
#[derive(Debug, Default)]
struct Journal {
    attempts: BTreeSet<AttemptRef>,
    ended: BTreeSet<AttemptRef>,
    messages: BTreeSet<(AttemptRef, Kind)>,
}

/// The journals, and where connections to supervisors lead.
#[derive(Debug, Default)]
pub struct Words {
    journals: BTreeMap<String, Journal>,
    supervisors: BTreeMap<ConnId, String>,
}

impl Words {
    /// A connection is opened to the supervisor of this state directory.
    pub(super) fn opens(&mut self, conn: ConnId, dir: &str) {
        self.supervisors.insert(conn, dir.to_owned());
    }

    /// A batch of a state directory's journal is durable.
    pub(super) fn durable(&mut self, dir: &str, batch: &dyn Any) {
        let Some(batch) = batch.downcast_ref::<Batch>() else { return };
        let journal = self.journals.entry(dir.to_owned()).or_default();
        for op in &batch.ops {
            match op {
                Op::PutAttempt { attempt, .. } => drop(journal.attempts.insert(*attempt)),
                Op::MarkEnded { attempt } | Op::DropAttempt { attempt } => drop(journal.ended.insert(*attempt)),
                Op::PutMessage { message, .. } => {
                    let said = wire::WorkerMessage::decode(message.as_slice()).ok();
                    let said = said.and_then(|said| WorkerMessage::from_wire(said).ok().flatten());
                    journal.messages.extend(said.as_ref().and_then(kind_of));
                }
                Op::MarkStarted { .. } | Op::DropMessage { .. } | Op::LogAcked { .. } | Op::Seen { .. } => {}
            }
        }
    }

    /// Somebody took the journal of this state directory away.
    pub(super) fn lost(&mut self, dir: &str) {
        self.journals.remove(dir);
    }

    /// A worker hears that its server knows nothing of an attempt any more: whatever becomes of it, nobody waits for it.
    pub(super) fn heard(&mut self, dir: &str, messages: &[ServerMessage]) {
        let Some(journal) = self.journals.get_mut(dir) else { return };
        for message in messages {
            let ServerMessage::Engine(message) = message else { continue };
            match message {
                ToWorker::Welcome { verdicts, .. } => {
                    let gone = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Gone);
                    journal.ended.extend(gone.map(|(attempt, _)| *attempt));
                }
                ToWorker::Verdict { attempt, verdict: Verdict::Gone } => drop(journal.ended.insert(*attempt)),
                ToWorker::Fenced { .. } => journal.ended.extend(journal.attempts.iter().copied()),
                _ => {}
            }
        }
    }

    /// A worker orders something of its supervisor.
    pub(super) fn ordered(&self, found: &mut Found, at: u64, conn: ConnId, order: &Request) {
        let Some(journal) = self.supervisors.get(&conn).and_then(|dir| self.journals.get(dir)) else { return };
        match order {
            Request::Start(start) => {
                let Some(attempt) = attempt_of(&start.key) else { return };
                found.unless(journal.attempts.contains(&attempt), at, Invariant::I3, || {
                    format!("{attempt} is begun, and its assignment is not in the journal yet")
                });
            }
            Request::Forget { key } => {
                let Some(attempt) = attempt_of(key).filter(|attempt| journal.attempts.contains(attempt)) else {
                    return;
                };
                found.unless(journal.ended.contains(&attempt), at, Invariant::I8, || {
                    format!("the supervisor is to forget {attempt}, and its end is not in the journal yet")
                });
            }
            Request::Kill { .. } | Request::List | Request::Shutdown(_) | Request::Ping | Request::Renew { .. } => {}
        }
    }

    /// A worker says something to its server.
    pub(super) fn said(
        &self,
        (found, at): (&mut Found, u64),
        facts: &Facts,
        dir: &str,
        messages: &[(WorkerMessage, Option<Delivery>)],
    ) {
        for (message, _) in messages {
            if let Some((attempt, kind)) = kind_of(message) {
                let journal = self.journals.get(dir);
                let durable = journal.is_some_and(|journal| journal.messages.contains(&(attempt, kind)));
                found.unless(durable, at, Invariant::I8, || {
                    format!("{kind:?} of {attempt} is said, and is not in the journal yet")
                });
            }
            match message {
                WorkerMessage::Engine(FromWorker::Finished(end)) if end.how == JobEnd::Success => {
                    let attempt = end.attempt;
                    found.unless(facts.ended_well(dir, attempt), at, Invariant::I2, || {
                        format!("{attempt} is said to have succeeded, and its job never ended so")
                    });
                }
                // Whatever became of its log. What a supervisor could not record it says not to have started: that is its own
                // disk's doing.
                WorkerMessage::Engine(FromWorker::Finished(end)) if matches!(&end.how, JobEnd::Error(error) if !error.message.contains(NOT_STARTED)) =>
                {
                    let attempt = end.attempt;
                    found.unless(!facts.ended_well(dir, attempt), at, Invariant::I15, || {
                        format!("{attempt} is said to have failed, and its job ended well: {:?}", end.how)
                    });
                }
                WorkerMessage::Engine(FromWorker::Gone { attempt, .. }) => gone((found, at), facts, dir, *attempt),
                WorkerMessage::Hello(hello) => {
                    for (attempt, known) in &hello.attempts {
                        if *known == KnownAs::Gone {
                            gone((found, at), facts, dir, *attempt);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// An attempt's job is said to be gone: another one may begin.
fn gone((found, at): (&mut Found, u64), facts: &Facts, dir: &str, attempt: AttemptRef) {
    found.unless(!facts.lives_in(dir, attempt), at, Invariant::I1, || {
        format!("{attempt} is said to be gone, and its job lives")
    });
}
