//! The journal's model: what changes come to, in memory. The simulation's disks hold it in place of a file.

use std::collections::BTreeMap;

use bowline_core::id::AttemptRef;
use bowline_protocol::{LogStream, Sealed};

use super::{Journaled, JournaledLog, Kept, Op, Recovered};

/// What is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    attempts: BTreeMap<AttemptRef, Journaled>,
    messages: BTreeMap<u64, Kept>,
    seen: Option<(u32, u64, u32)>,
}

/// A message was stored under a number that another one has. It must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("two messages have the number {0}")]
pub struct SameNumber(pub u64);

impl Memory {
    /// Makes these changes, all of them or none.
    ///
    /// # Errors
    ///
    /// A message has a number that is taken: nothing is changed.
    pub fn commit<'a>(&mut self, ops: impl IntoIterator<Item = &'a Op> + Clone) -> Result<(), SameNumber> {
        self.check(ops.clone())?;
        ops.into_iter().for_each(|op| self.apply(op));
        Ok(())
    }

    /// Whether each new message has a number of its own.
    fn check<'a>(&self, ops: impl IntoIterator<Item = &'a Op>) -> Result<(), SameNumber> {
        // What these changes have made of a number so far.
        let mut taken: BTreeMap<u64, bool> = BTreeMap::new();
        for op in ops {
            match op {
                Op::PutMessage { seq, .. } => {
                    let before = taken.insert(*seq, true);
                    if before.unwrap_or_else(|| self.messages.contains_key(seq)) {
                        return Err(SameNumber(*seq));
                    }
                }
                Op::DropMessage { seq } => {
                    taken.insert(*seq, false);
                }
                Op::PutAttempt { .. }
                | Op::MarkStarted { .. }
                | Op::MarkEnded { .. }
                | Op::DropAttempt { .. }
                | Op::LogAcked { .. }
                | Op::Seen { .. } => {}
            }
        }
        Ok(())
    }

    /// What a worker finds here when it starts.
    pub fn recovered(&self) -> Recovered {
        Recovered {
            attempts: self.attempts.values().cloned().collect(),
            messages: self.messages.values().cloned().collect(),
            seen: self.seen,
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::PutAttempt { attempt, assign } => {
                self.attempts.entry(*attempt).or_insert_with(|| fresh(*attempt, assign));
            }
            Op::MarkStarted { attempt } => self.change(*attempt, |known| known.started = true),
            Op::MarkEnded { attempt } => self.change(*attempt, |known| known.ended = true),
            Op::DropAttempt { attempt } => {
                self.attempts.remove(attempt);
            }
            Op::PutMessage { seq, attempt, message, said_us } => {
                let kept = Kept { seq: *seq, attempt: *attempt, message: message.clone(), said_us: *said_us };
                self.messages.insert(*seq, kept);
            }
            Op::DropMessage { seq } => {
                self.messages.remove(seq);
            }
            Op::LogAcked { attempt, stream, up_to, sealed } => self.change(*attempt, |known| {
                for log in known.logs.iter_mut().filter(|log| log.stream == *stream) {
                    (log.acked, log.sealed) = (*up_to, *sealed);
                }
            }),
            Op::Seen { generation, commit_no, incarnation } => {
                self.seen = Some((*generation, *commit_no, *incarnation));
            }
        }
    }

    fn change(&mut self, attempt: AttemptRef, change: impl FnOnce(&mut Journaled)) {
        if let Some(known) = self.attempts.get_mut(&attempt) {
            change(known);
        }
    }
}

fn fresh(attempt: AttemptRef, assign: &[u8]) -> Journaled {
    let log = |stream| JournaledLog { stream, acked: 0, sealed: Sealed::No };
    let logs = [log(LogStream::Output), log(LogStream::Error)];
    Journaled { attempt, assign: assign.to_vec(), started: false, ended: false, logs }
}
