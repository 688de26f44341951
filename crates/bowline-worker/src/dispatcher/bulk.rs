//! Logs and artifacts: what goes to the server beside the session, in tasks of their own. Here is only what
//! the dispatcher tells them and hears from them.

use std::path::PathBuf;

use bowline_core::id::{AttemptRef, Generation};
use bowline_core::message::{Assured, FromWorker};
use bowline_core::mutant::{self, Mutant};
use bowline_core::spec::{LOG_BYTES_MIN, RESULT_BYTES_MAX};
use bowline_core::time::micros;
use bowline_protocol::{LogKeep, LogStream, WorkerMessage};
use prost::Message as _;

use super::{Action, Dispatcher, FromShipper, FromUploads, Target, ToShipper, ToUploads};
use crate::attempt::Attempt;
use crate::attempt::machine::{Event, Then};
use crate::collect::Collected;
use crate::journal::{After, Op};
use crate::logs::{LogMark, keep_of};
use crate::prepare::log_file;

impl Dispatcher {
    /// Where the two tasks connect to.
    pub(super) fn bulk_target(&self) -> Target {
        Target { server: self.config.server.clone(), caller: self.caller.clone(), process: self.process.clone() }
    }

    /// There is a session with the server, or there is none any more.
    pub(super) fn bulk_session(&mut self, target: Option<Target>) {
        self.want(Action::Ship(ToShipper::Session(target.clone())));
        self.want(Action::Upload(ToUploads::Session(target)));
    }

    /// The server's store is of another generation: what it had before, it may not have any more.
    pub(super) fn led_by(&mut self, generation: Generation) {
        let before = self.generation.replace(generation);
        if before.is_some_and(|before| before != generation) {
            tracing::warn!(%generation, "the server's store was put back: what files it has is asked anew");
            self.want(Action::Upload(ToUploads::Restored));
        }
    }

    /// The job is over: its logs are as long as they will ever be.
    pub(super) fn logs_are_over(&mut self, attempt: AttemptRef) {
        self.want(Action::Ship(ToShipper::Over(attempt)));
    }

    /// Nobody wants its files any more.
    pub(super) fn drop_files(&mut self, attempt: AttemptRef) {
        self.want(Action::Upload(ToUploads::Drop(attempt)));
    }

    /// Nobody wants anything of it any more.
    pub(super) fn drop_bulk(&mut self, attempt: AttemptRef) {
        self.want(Action::Ship(ToShipper::Drop(attempt)));
        self.drop_files(attempt);
    }

    /// An attempt has logs from now on, or still has; and what its job moves into its folder is kept.
    pub(super) fn open_bulk(&mut self, attempt: AttemptRef) {
        let limit = self.config.log_bytes_max;
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        known.open_logs();
        for log in known.logs.iter().filter(|log| !log.is_delivered()) {
            self.wanted.push(Action::Ship(open(attempt, known, log, limit)));
        }
        let folder = known.folder.join("artifacts");
        self.want(Action::Upload(ToUploads::Watch { attempt, folder }));
    }

    /// What an earlier process of this worker had not delivered.
    pub(super) fn reopen_ended_logs(&mut self) {
        for attempt in &self.ending {
            let Some(known) = self.attempts.get(attempt) else { continue };
            for log in known.logs.iter().filter(|log| !log.is_delivered()) {
                self.wanted.push(Action::Ship(open(*attempt, known, log, self.config.log_bytes_max)));
            }
            self.wanted.push(Action::Ship(ToShipper::Over(*attempt)));
        }
    }

    pub(super) fn on_shipper(&mut self, said: FromShipper) {
        match said {
            FromShipper::Acked { attempt, stream, up_to, sealed } => {
                let Some(known) = self.attempts.get_mut(&attempt) else { return };
                let Some(log) = known.logs.iter_mut().find(|log| log.stream == stream) else { return };
                // Each session asks anew how far the server is: of thousands of logs that tells nothing new, as a rule.
                if (log.acked, log.sealed) == (up_to, sealed) {
                    return;
                }
                (log.acked, log.sealed) = (up_to, sealed);
                let is_delivered = log.is_delivered();
                self.batch.ops.push(Op::LogAcked { attempt, stream, up_to, sealed });
                let waits = known.outcome.take_if(|_| is_delivered && mutant::is(Mutant::ResultWaitsForItsLog));
                if is_delivered {
                    self.ending.insert(attempt);
                }
                if let Some(collected) = waits {
                    self.finish(attempt, collected);
                }
            }
            FromShipper::Gone(attempt) => {
                self.happen(attempt, Event::Stop(Then::Nothing));
                self.let_go(attempt);
            }
        }
    }

    /// A job's result is known, and what files it left: they are delivered before its end is said.
    pub(super) fn collected(&mut self, attempt: AttemptRef, collected: Collected, files: Vec<(String, PathBuf)>) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        known.outcome = Some(collected);
        self.want(Action::Upload(ToUploads::Deliver { attempt, files }));
    }

    pub(super) fn on_uploads(&mut self, said: FromUploads) {
        match said {
            FromUploads::There(artifact) => {
                let (attempt, name) = (artifact.attempt, artifact.name.clone());
                self.say_of_file(attempt, name, WorkerMessage::Artifact(artifact));
            }
            FromUploads::Undelivered { attempt, name, why } => {
                tracing::warn!(%attempt, name, why, "an artifact cannot be delivered");
                let said = FromWorker::ArtifactUndelivered { attempt, name: name.clone(), why };
                self.say_of_file(attempt, name, WorkerMessage::Engine(said));
            }
            FromUploads::Done(attempt) => {
                // What the worker noted is part of the log.
                self.logs_are_over(attempt);
                self.happen(attempt, Event::Collected);
            }
            FromUploads::Progress(progress) => self.want(Action::Ship(ToShipper::Progress(progress))),
        }
    }

    /// Says what became of a file, in place of what was said of it before and is not acknowledged.
    fn say_of_file(&mut self, attempt: AttemptRef, name: String, message: WorkerMessage) {
        if !self.attempts.contains_key(&attempt) && !self.outbox.holds(attempt) {
            return;
        }
        if let Some(seq) = self.outbox.acknowledge(attempt, &Assured::Artifact(name)) {
            self.batch.ops.push(Op::DropMessage { seq });
        }
        self.say(attempt, message);
        // Sent again where the server had missed it: its end comes after it still.
        self.end_goes_last(attempt);
    }

    fn end_goes_last(&mut self, attempt: AttemptRef) {
        let Some((before, seq, message, said_at)) = self.outbox.end_goes_last(attempt) else { return };
        let said_us = self.now.wall_us.saturating_sub(micros(self.now.at.since(said_at)));
        self.batch.ops.push(Op::DropMessage { seq: before });
        let message = message.to_wire().encode_to_vec();
        self.batch.ops.push(Op::PutMessage { seq, attempt, message, said_us });
        self.batch.after.push(After::Deliver(seq));
    }

    /// The server does not have the bytes of artifacts of which it was told.
    pub(super) fn send_files_again(&mut self, attempt: AttemptRef) {
        let names: Vec<_> = self.outbox.artifacts(attempt).map(|artifact| artifact.name.clone()).collect();
        let Some(known) = self.attempts.get(&attempt) else {
            // Its assignment could not be read from the journal, and its end waits for an answer.
            for name in names {
                let why = "the worker does not know any more where it lies".to_owned();
                self.on_uploads(FromUploads::Undelivered { attempt, name, why });
            }
            return;
        };
        let own = known.folder.join("artifacts");
        let work = known.work.dir.as_ref().map_or_else(|| known.folder.join("work"), PathBuf::from);
        if !names.is_empty() {
            tracing::warn!(%attempt, files = names.len(), "the server misses artifacts: sent again");
            self.want(Action::UploadAgain { attempt, names, folders: [own, work] });
        }
    }
}

fn open(attempt: AttemptRef, known: &Attempt, log: &LogMark, limit: u64) -> ToShipper {
    ToShipper::Open {
        attempt,
        stream: log.stream,
        path: log_file(&known.folder, log.stream),
        keep: keep(known, log.stream, limit),
        acked: log.acked,
    }
}

/// What is kept of a log that is longer than its limit: its task's, within the worker's own.
fn keep(known: &Attempt, stream: LogStream, limit: u64) -> LogKeep {
    let limit = known.work.log_bytes_max.map_or(limit, |own| own.min(limit)).max(LOG_BYTES_MIN);
    // What may become the result is read from the file when the job is over.
    let result = RESULT_BYTES_MAX as u64 + 1;
    let is_result = known.work.output.is_some() && stream == LogStream::Output;
    keep_of(if is_result { limit.max(result) } else { limit })
}
