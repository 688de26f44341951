//! The assured messages that are not acknowledged, in order, as the dispatcher holds them; the journal
//! has them on disk. A message is sent only once it is durable, and kept until it is acknowledged.
//!
//! Its bytes have a bound, within which room is kept for the end of every attempt that has begun: past it
//! the worker takes nothing more, and what it has begun it can still deliver.

use std::collections::BTreeMap;

use bowline_core::id::AttemptRef;
use bowline_core::message::{Assured, FromWorker};
use bowline_core::mutant::{self, Mutant};
use bowline_core::spec::RESULT_BYTES_MAX;
use bowline_protocol::limits::LATE_AFTER;
use bowline_protocol::{Delivery, Kind, OutboxVitals, WorkerMessage};

use crate::clock::Moment;
use crate::dispatcher::Parcel;

/// Counted for each message beside its content.
const ENTRY_BYTES: usize = 256;
/// Room that is kept for the end of an attempt that has begun.
pub(crate) const END_BYTES: usize = RESULT_BYTES_MAX + ENTRY_BYTES;

#[derive(Debug)]
struct Entry {
    attempt: AttemptRef,
    message: WorkerMessage,
    bytes: usize,
    said_at: Moment,
    sends: u32,
}

/// Whether more may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Open,
    Full,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    by_attempt: BTreeMap<AttemptRef, Vec<u64>>,
    next: u64,
    durable: u64,
    sent: u64,
    bytes: usize,
    bytes_max: usize,
    /// Kept for what has begun.
    kept: usize,
    fill: Fill,
}

impl Outbox {
    /// An empty one with this bound, in bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_attempt: BTreeMap::new(),
            next: 0,
            durable: 0,
            sent: 0,
            bytes: 0,
            bytes_max,
            kept: 0,
            fill: Fill::Open,
        }
    }

    /// Takes a message from the journal: it is durable, and was said then.
    pub(crate) fn recover(&mut self, seq: u64, attempt: AttemptRef, message: WorkerMessage, said_at: Moment) {
        self.next = self.next.max(seq);
        self.durable = self.next;
        self.insert(seq, attempt, message, said_at);
    }

    /// Takes a new message. Its number is to be journaled with it.
    pub(crate) fn push(&mut self, attempt: AttemptRef, message: WorkerMessage, now: Moment) -> u64 {
        self.next += 1;
        self.insert(self.next, attempt, message, now);
        self.next
    }

    fn insert(&mut self, seq: u64, attempt: AttemptRef, message: WorkerMessage, said_at: Moment) {
        let bytes = ENTRY_BYTES + content_bytes(&message);
        self.bytes += bytes;
        self.by_attempt.entry(attempt).or_default().push(seq);
        self.entries.insert(seq, Entry { attempt, message, bytes, said_at, sends: 0 });
    }

    /// So many attempts have begun and not ended: room is kept for their ends.
    pub(crate) fn keep_room(&mut self, begun: usize) {
        self.kept = begun.saturating_mul(END_BYTES);
    }

    /// Messages up to this one may be sent.
    pub(crate) fn durable(&mut self, up_to: u64) {
        self.durable = self.durable.max(up_to);
    }

    /// A new session: everything goes again, from the first.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// How many bytes the content of the next message has. `None`: there is nothing to send.
    pub(crate) fn next_bytes(&self) -> Option<usize> {
        let (seq, entry) = self.entries.range(self.sent + 1..).next()?;
        self.may_leave(*seq).then(|| entry.bytes.saturating_sub(ENTRY_BYTES))
    }

    fn may_leave(&self, seq: u64) -> bool {
        seq <= self.durable || mutant::is(Mutant::SentBeforeDurable)
    }

    /// The next message to send: from here on it is on its way.
    pub(crate) fn next(&mut self, now: Moment) -> Option<Parcel> {
        self.next_bytes()?;
        let (seq, entry) = self.entries.range_mut(self.sent + 1..).next()?;
        self.sent = *seq;
        entry.sends = entry.sends.saturating_add(1);
        let delivery = Delivery { waited: now.since(entry.said_at), sends: entry.sends };
        let is_late = delivery.sends > 1 || delivery.waited >= LATE_AFTER;
        let parcel = (entry.message.clone(), is_late.then_some(delivery));
        if mutant::is(Mutant::ForgottenAtSending) {
            self.remove(self.sent);
        }
        Some(parcel)
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
        self.by_attempt.get(&attempt).is_some_and(|seqs| seqs.iter().any(|seq| self.is_end(*seq)))
    }

    fn is_end(&self, seq: u64) -> bool {
        let message = self.entries.get(&seq).map(|entry| &entry.message);
        matches!(message.and_then(assured), Some(Assured::Finished | Assured::Released | Assured::Gone))
    }

    /// Puts what waits of this attempt's end behind all else: its number before and now, what it says, and when it
    /// was said.
    pub(crate) fn end_goes_last(&mut self, attempt: AttemptRef) -> Option<(u64, u64, WorkerMessage, Moment)> {
        let before = self.by_attempt.get(&attempt)?.iter().copied().find(|seq| self.is_end(*seq))?;
        let (message, said_at) = self.entries.get(&before).map(|entry| (entry.message.clone(), entry.said_at))?;
        self.remove(before);
        let now = self.push(attempt, message.clone(), said_at);
        Some((before, now, message, said_at))
    }

    /// Artifacts of this attempt that wait to be acknowledged.
    pub(crate) fn artifacts(&self, attempt: AttemptRef) -> impl Iterator<Item = &bowline_protocol::Artifact> + '_ {
        let seqs = self.by_attempt.get(&attempt).into_iter().flatten();
        seqs.filter_map(|seq| match &self.entries.get(seq)?.message {
            WorkerMessage::Artifact(artifact) => Some(artifact),
            _ => None,
        })
    }

    /// Attempts of which something waits.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = AttemptRef> + '_ {
        self.by_attempt.keys().copied()
    }

    /// The kinds about this attempt that were sent and are not acknowledged.
    pub(crate) fn kinds_sent(&self, attempt: AttemptRef) -> Vec<Kind> {
        let seqs = self.by_attempt.get(&attempt).map_or(&[][..], Vec::as_slice);
        let sent = seqs.iter().filter_map(|seq| self.entries.get(seq)).filter(|entry| entry.sends > 0);
        sent.map(|entry| entry.message.kind()).collect()
    }

    /// Messages that are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no room for the end of one more attempt. Once full, it is so until a quarter is free.
    pub(crate) fn is_full(&mut self) -> bool {
        let filled = self.bytes.saturating_add(self.kept);
        match self.fill {
            Fill::Open if filled.saturating_add(END_BYTES) > self.bytes_max => self.fill = Fill::Full,
            Fill::Full if filled <= self.bytes_max / 4 * 3 => self.fill = Fill::Open,
            Fill::Open | Fill::Full => {}
        }
        self.fill == Fill::Full
    }

    /// In numbers.
    pub(crate) fn vitals(&self, now: Moment) -> OutboxVitals {
        OutboxVitals {
            messages: self.entries.len() as u64,
            bytes: self.bytes.saturating_add(self.kept) as u64,
            bytes_max: self.bytes_max as u64,
            oldest: self.entries.first_key_value().map(|(_, entry)| now.since(entry.said_at)),
        }
    }
}

/// What acknowledges this message. `None`: it is not of a kind that lies in the outbox.
pub(crate) fn assured(message: &WorkerMessage) -> Option<Assured> {
    match message {
        WorkerMessage::Artifact(artifact) => Some(Assured::Artifact(artifact.name.clone())),
        WorkerMessage::Hello(_) | WorkerMessage::Heartbeat(_) | WorkerMessage::Log(_) | WorkerMessage::Upload(_) => {
            None
        }
        WorkerMessage::Engine(message) => match message {
            FromWorker::Started(_) => Some(Assured::Started),
            FromWorker::Finished(_) => Some(Assured::Finished),
            FromWorker::Released { .. } => Some(Assured::Released),
            FromWorker::Gone { .. } => Some(Assured::Gone),
            FromWorker::ArtifactCommitted { name, .. } | FromWorker::ArtifactUndelivered { name, .. } => {
                Some(Assured::Artifact(name.clone()))
            }
            FromWorker::Heartbeat
            | FromWorker::Late { .. }
            | FromWorker::Demand { .. }
            | FromWorker::Health(_)
            | FromWorker::Bye { .. } => None,
        },
    }
}

fn content_bytes(message: &WorkerMessage) -> usize {
    match message {
        WorkerMessage::Artifact(artifact) => artifact.name.len(),
        WorkerMessage::Engine(FromWorker::Finished(finished)) => finished.result.as_ref().map_or(0, String::len),
        WorkerMessage::Engine(_)
        | WorkerMessage::Hello(_)
        | WorkerMessage::Heartbeat(_)
        | WorkerMessage::Log(_)
        | WorkerMessage::Upload(_) => 0,
    }
}

#[cfg(test)]
mod tests;
