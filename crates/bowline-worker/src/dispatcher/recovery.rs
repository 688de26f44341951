//! What an earlier process of this worker left: attempts and messages in the journal, folders on disk.

use std::collections::BTreeSet;

use bowline_core::id::{AttemptRef, CommitNo, Generation};
use bowline_core::mutant::{self, Mutant};
use bowline_core::probe::{self, Path};
use bowline_protocol::{ServerMessage, WorkerMessage, wire};
use prost::Message as _;

use super::{Action, Dispatcher, Left, Timer};
use crate::attempt::machine::State;
use crate::attempt::{Announced, Attempt, Origin, key_of};
use crate::journal::{Journaled, Kept, Op};
use crate::logs::LogMark;
use crate::prepare::splits_output;
use crate::state_dir::jobs;

impl Dispatcher {
    /// Takes over what the journal holds. What became of the jobs the supervisor tells next.
    pub(super) fn recover(&mut self, Left { journal: recovered, logs }: Left) {
        if let Some((generation, commit_no, incarnation)) = recovered.seen {
            // A new process has no incarnation yet: it is given one by Welcome.
            tracing::debug!(incarnation, "the incarnation of the process before");
            self.seen = Some((Generation(generation), CommitNo(commit_no)));
        }
        for Kept { seq, attempt, message, said_us } in recovered.messages {
            let message = wire::WorkerMessage::decode(message.as_slice()).ok();
            if let Some(message) = message.and_then(|message| WorkerMessage::from_wire(message).ok().flatten()) {
                self.outbox.recover(seq, attempt, message, self.now.at.before(self.now.age(said_us)));
                if self.outbox.holds_end(attempt) {
                    probe::reached(Path::EndFoundInJournal);
                }
            } else {
                tracing::error!(%attempt, seq, "a message in the journal cannot be read; it is dropped");
                self.batch.ops.push(Op::DropMessage { seq });
            }
        }
        for journaled in recovered.attempts {
            self.recover_attempt(&journaled, &logs);
        }
        if !self.attempts.is_empty() || self.outbox.len() > 0 {
            tracing::info!(
                attempts = self.attempts.len(),
                messages = self.outbox.len(),
                "taking over from the journal"
            );
        }
    }

    fn recover_attempt(&mut self, journaled: &Journaled, logs: &BTreeSet<AttemptRef>) {
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
        let folder = jobs(&self.folder).join(key_of(attempt));
        let splits = splits_output(&work);
        let mut known = Attempt::new(*handover, work, folder, Origin::Journal);
        if journaled.started {
            known.announced = Announced::Yes;
        }
        if journaled.started || journaled.ended && logs.contains(&attempt) {
            let streams = if splits { 2 } else { 1 };
            known.logs =
                journaled.logs[..streams].iter().map(|log| LogMark::new(log.stream, log.acked, log.sealed)).collect();
        }
        if journaled.ended {
            known.origin = Origin::Settled;
            known.state = State::Ended;
            self.ending.insert(attempt);
        } else {
            self.later(known.handover.assign.setup_timeout, Timer::Setup(attempt));
        }
        let state = known.state;
        self.attempts.insert(attempt, known);
        self.weigh(attempt, State::Ended, state);
        if mutant::is(Mutant::JournaledBegunUnasked) && !journaled.started {
            self.may_begin(attempt);
        }
    }

    /// The server says that an attempt which was not begun is still ours.
    pub(super) fn goes_on(&mut self, attempt: AttemptRef) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        if known.origin == Origin::Journal && known.state == State::Queued {
            known.origin = Origin::Handed;
            self.may_begin(attempt);
        }
    }

    /// Removes folders of attempts that nobody knows any more.
    pub(super) fn sweep_leftovers(&mut self) {
        let kept = self.attempts.keys().map(|attempt| key_of(*attempt)).collect();
        self.want(Action::Sweep(kept));
    }
}
