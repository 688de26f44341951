//! What an earlier process of this worker left: attempts and messages in the journal, folders on disk.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bowline_core::id::{AttemptRef, CommitNo, Generation};
use bowline_protocol::{LogStream, ServerMessage, WorkerMessage, wire};
use prost::Message as _;

use super::{Dispatcher, Done, Timer};
use crate::attempt::machine::State;
use crate::attempt::{Announced, Attempt, Origin, key_of};
use crate::journal::{Journaled, Kept, Op, Recovered};
use crate::logs::LogMark;
use crate::prepare::{log_file, splits_output};

impl Dispatcher {
    /// Takes over what the journal holds. What became of the jobs the supervisor tells next.
    pub(super) fn recover(&mut self, recovered: Recovered) {
        if let Some((generation, commit_no, incarnation)) = recovered.seen {
            // A new process has no incarnation yet: it is given one by Welcome.
            tracing::debug!(incarnation, "the incarnation of the process before");
            self.seen = Some((Generation(generation), CommitNo(commit_no)));
        }
        for Kept { seq, attempt, message, said_us } in recovered.messages {
            let message = wire::WorkerMessage::decode(message.as_slice()).ok();
            if let Some(message) = message.and_then(|message| WorkerMessage::from_wire(message).ok().flatten()) {
                self.outbox.recover(seq, attempt, message, crate::clock::age(said_us));
            } else {
                tracing::error!(%attempt, seq, "a message in the journal cannot be read; it is dropped");
                self.batch.ops.push(Op::DropMessage { seq });
            }
        }
        for journaled in recovered.attempts {
            self.recover_attempt(&journaled);
        }
        if !self.attempts.is_empty() || self.outbox.len() > 0 {
            tracing::info!(
                attempts = self.attempts.len(),
                messages = self.outbox.len(),
                "taking over from the journal"
            );
        }
    }

    fn recover_attempt(&mut self, journaled: &Journaled) {
        let attempt = journaled.attempt;
        let message = wire::ServerMessage::decode(journaled.assign.as_slice()).ok();
        let message = message.and_then(|message| ServerMessage::from_wire(message).ok().flatten());
        let Some(ServerMessage::Assign(handover)) = message else {
            tracing::error!(%attempt, "an assignment in the journal cannot be read; it is dropped");
            self.batch.ops.push(Op::DropAttempt { attempt });
            return;
        };
        let Ok(work) = handover.work() else {
            tracing::error!(%attempt, "work in the journal cannot be read; it is dropped");
            self.batch.ops.push(Op::DropAttempt { attempt });
            return;
        };
        let folder = self.place.jobs().join(key_of(attempt));
        let splits = splits_output(&work);
        let mut known = Attempt::new(*handover, work, folder, Origin::Journal);
        if journaled.started {
            known.announced = Announced::Yes;
        }
        if journaled.started || journaled.ended && log_file(&known.folder, LogStream::Output).exists() {
            let streams = if splits { 2 } else { 1 };
            known.logs =
                journaled.logs[..streams].iter().map(|log| LogMark::new(log.stream, log.acked, log.sealed)).collect();
        }
        if journaled.ended {
            known.origin = Origin::Settled;
            known.state = State::Ended;
            self.ending.insert(attempt);
        } else {
            self.timers.after(known.handover.assign.setup_timeout, Timer::Setup(attempt));
        }
        let state = known.state;
        self.attempts.insert(attempt, known);
        self.weigh(attempt, State::Ended, state);
    }

    /// The server says that an attempt which was not begun is still ours.
    pub(super) fn goes_on(&mut self, attempt: AttemptRef) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        if known.origin == Origin::Journal && known.state == State::Queued {
            known.origin = Origin::Settled;
            self.may_begin(attempt);
        }
    }

    /// Removes folders of attempts that nobody knows any more.
    pub(super) fn sweep_leftovers(&mut self) {
        let kept: BTreeSet<_> = self.attempts.keys().map(|attempt| key_of(*attempt)).collect();
        let jobs = self.place.jobs();
        self.pool.submit(move || {
            for entry in std::fs::read_dir(&jobs).into_iter().flatten().flatten() {
                let is_kept = entry.file_name().to_str().is_some_and(|name| kept.contains(name));
                if !is_kept {
                    remove(&entry.path());
                }
            }
            Done::Nothing
        });
    }

    /// Removes an attempt's folder, in its own time.
    pub(super) fn remove_folder(&mut self, folder: PathBuf) {
        self.pool.submit(move || {
            remove(&folder);
            Done::Nothing
        });
    }
}

fn remove(folder: &std::path::Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "a job's folder cannot be removed"),
    }
}
