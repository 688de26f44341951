//! The assured messages that are not acknowledged, in order, as the dispatcher holds them; the journal
//! has them on disk. A message is sent only once it is durable, and kept until it is acknowledged.

use std::collections::{BTreeMap, HashMap};

use bowline_core::id::AttemptRef;
use bowline_core::message::{Assured, FromWorker};
use bowline_protocol::WorkerMessage;

/// Beyond so many bytes of unacknowledged messages a worker takes nothing more.
pub(crate) const OUTBOX_BYTES_MAX: usize = 256 << 20;
/// Counted for each message beside its content.
const ENTRY_BYTES: usize = 256;

#[derive(Debug)]
struct Entry {
    attempt: AttemptRef,
    message: WorkerMessage,
    bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    by_attempt: HashMap<AttemptRef, Vec<u64>>,
    next: u64,
    durable: u64,
    sent: u64,
    sent_ever: u64,
    bytes: usize,
}

impl Outbox {
    /// Takes a message from the journal: it is durable.
    pub(crate) fn recover(&mut self, seq: u64, attempt: AttemptRef, message: WorkerMessage) {
        self.next = self.next.max(seq);
        self.durable = self.next;
        self.insert(seq, attempt, message);
    }

    /// Takes a new message. Its number is to be journaled with it.
    pub(crate) fn push(&mut self, attempt: AttemptRef, message: WorkerMessage) -> u64 {
        self.next += 1;
        self.insert(self.next, attempt, message);
        self.next
    }

    fn insert(&mut self, seq: u64, attempt: AttemptRef, message: WorkerMessage) {
        let bytes = ENTRY_BYTES + content_bytes(&message);
        self.bytes += bytes;
        self.by_attempt.entry(attempt).or_default().push(seq);
        self.entries.insert(seq, Entry { attempt, message, bytes });
    }

    /// Messages up to this one may be sent.
    pub(crate) fn durable(&mut self, up_to: u64) {
        self.durable = self.durable.max(up_to);
    }

    /// A new session: everything goes again, from the first. Says how many of them were sent before.
    pub(crate) fn rewind(&mut self) -> u64 {
        self.sent = 0;
        self.entries.range(..=self.sent_ever).count() as u64
    }

    /// The next message to send.
    pub(crate) fn peek(&self) -> Option<&WorkerMessage> {
        let (seq, entry) = self.entries.range(self.sent + 1..).next()?;
        (*seq <= self.durable).then_some(&entry.message)
    }

    /// It is on its way.
    pub(crate) fn sent(&mut self) {
        if let Some((seq, _)) = self.entries.range(self.sent + 1..).next() {
            self.sent = *seq;
            self.sent_ever = self.sent_ever.max(*seq);
        }
    }

    /// The message of this kind about this attempt is acknowledged. Its number, where it was there.
    pub(crate) fn acknowledge(&mut self, attempt: AttemptRef, of: &Assured) -> Option<u64> {
        let seqs = self.by_attempt.get(&attempt)?;
        let is_it =
            |seq: &&u64| self.entries.get(seq).is_some_and(|entry| assured(&entry.message).as_ref() == Some(of));
        let seq = *seqs.iter().find(is_it)?;
        self.remove(seq);
        Some(seq)
    }

    /// Lets go of everything about an attempt. The numbers of what was there.
    pub(crate) fn let_go(&mut self, attempt: AttemptRef) -> Vec<u64> {
        let seqs = self.by_attempt.get(&attempt).cloned().unwrap_or_default();
        for seq in &seqs {
            self.remove(*seq);
        }
        seqs
    }

    fn remove(&mut self, seq: u64) {
        let Some(entry) = self.entries.remove(&seq) else { return };
        self.bytes -= entry.bytes;
        if let Some(seqs) = self.by_attempt.get_mut(&entry.attempt) {
            seqs.retain(|other| *other != seq);
            if seqs.is_empty() {
                self.by_attempt.remove(&entry.attempt);
            }
        }
    }

    /// Whether something about this attempt waits to be acknowledged.
    pub(crate) fn holds(&self, attempt: AttemptRef) -> bool {
        self.by_attempt.contains_key(&attempt)
    }

    /// Whether the end of this attempt waits to be acknowledged.
    pub(crate) fn holds_end(&self, attempt: AttemptRef) -> bool {
        let is_end = |seq: &u64| {
            let message = self.entries.get(seq).map(|entry| &entry.message);
            matches!(message.and_then(assured), Some(Assured::Finished | Assured::Released | Assured::Gone))
        };
        self.by_attempt.get(&attempt).is_some_and(|seqs| seqs.iter().any(is_end))
    }

    /// Attempts of which something waits.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = AttemptRef> + '_ {
        self.by_attempt.keys().copied()
    }

    /// Messages that are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds more than it should.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > OUTBOX_BYTES_MAX
    }
}

/// What acknowledges this message. `None`: it is not of a kind that lies in the outbox.
pub(crate) fn assured(message: &WorkerMessage) -> Option<Assured> {
    match message {
        WorkerMessage::Artifact(artifact) => Some(Assured::Artifact(artifact.name.clone())),
        WorkerMessage::Hello(_) | WorkerMessage::Heartbeat(_) | WorkerMessage::Log(_) => None,
        WorkerMessage::Engine(message) => match message {
            FromWorker::Started(_) => Some(Assured::Started),
            FromWorker::Finished(_) => Some(Assured::Finished),
            FromWorker::Released { .. } => Some(Assured::Released),
            FromWorker::Gone { .. } => Some(Assured::Gone),
            FromWorker::ArtifactCommitted { name, .. } => Some(Assured::Artifact(name.clone())),
            FromWorker::Heartbeat | FromWorker::Demand { .. } | FromWorker::Health(_) | FromWorker::Bye { .. } => None,
        },
    }
}

fn content_bytes(message: &WorkerMessage) -> usize {
    match message {
        WorkerMessage::Artifact(artifact) => artifact.content.len(),
        WorkerMessage::Engine(FromWorker::Finished(finished)) => finished.result.as_ref().map_or(0, String::len),
        WorkerMessage::Engine(_) | WorkerMessage::Hello(_) | WorkerMessage::Heartbeat(_) | WorkerMessage::Log(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use bowline_core::message::{Finished, JobEnd};
    use bowline_protocol::sample::attempt;

    use super::*;

    fn started(task: u64) -> WorkerMessage {
        WorkerMessage::Engine(FromWorker::Started(attempt(task, None)))
    }

    fn finished(task: u64) -> WorkerMessage {
        let end = Finished { attempt: attempt(task, None), how: JobEnd::Success, result: None };
        WorkerMessage::Engine(FromWorker::Finished(end))
    }

    fn drain(outbox: &mut Outbox) -> Vec<WorkerMessage> {
        let mut sent = Vec::new();
        while let Some(message) = outbox.peek() {
            sent.push(message.clone());
            outbox.sent();
        }
        sent
    }

    #[test]
    fn nothing_is_sent_before_it_is_durable() {
        let mut outbox = Outbox::default();
        let first = outbox.push(attempt(1, None), started(1));
        outbox.push(attempt(1, None), finished(1));
        assert_eq!(drain(&mut outbox), []);
        outbox.durable(first);
        assert_eq!(drain(&mut outbox), [started(1)]);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_order() {
        let mut outbox = Outbox::default();
        for task in 1..=3 {
            outbox.push(attempt(task, None), started(task));
            let seq = outbox.push(attempt(task, None), finished(task));
            outbox.durable(seq);
        }
        assert_eq!(drain(&mut outbox).len(), 6);
        assert_eq!(outbox.acknowledge(attempt(2, None), &Assured::Started), Some(3));
        assert_eq!(outbox.acknowledge(attempt(2, None), &Assured::Started), None);
        assert_eq!(outbox.rewind(), 5);
        assert_eq!(drain(&mut outbox), [started(1), finished(1), finished(2), started(3), finished(3)]);
    }

    #[test]
    fn letting_go_of_an_attempt_leaves_the_others() {
        let mut outbox = Outbox::default();
        outbox.recover(7, attempt(1, None), started(1));
        outbox.recover(9, attempt(2, None), finished(2));
        assert!(outbox.holds_end(attempt(2, None)) && !outbox.holds_end(attempt(1, None)));
        assert_eq!(outbox.let_go(attempt(1, None)), [7]);
        assert!(!outbox.holds(attempt(1, None)));
        assert_eq!(drain(&mut outbox), [finished(2)]);
        assert_eq!(outbox.push(attempt(3, None), started(3)), 10);
    }
}
