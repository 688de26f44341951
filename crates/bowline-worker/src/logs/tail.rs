//! How far one log is. Pure: what was read comes in as a [`Seen`], what is to be read and said goes out.
//!
//! Offsets are those of the log. They are those of the job's file too, until the job truncates it: from
//! then on the file begins at the log's `base`. That is written down beside the file before anything of it
//! is sent, so that the next process of this worker knows it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bowline_core::id::AttemptRef;
use bowline_protocol::{LogKeep, LogSegment, LogStream, LogTime, Sealed, Truncated, limits};
use bytes::Bytes;

use super::look::{Cut, Look, Seen};
use super::mask::Mask;

/// Most bytes of one log that one look reads.
const LOOK_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of a flood that are on their way.
const FLOOD_BYTES_MAX: u64 = 256 << 10;
/// Most bytes of one log that are sent and not acknowledged.
const WINDOW_BYTES: u64 = limits::LOG_WINDOW_BYTES_MAX as u64;
/// The journal learns of acknowledged bytes when there are so many more of them.
const JOURNAL_EVERY_BYTES: u64 = 16 << 20;
/// Times that are remembered of what is not acknowledged; with more, every second one is forgotten.
const TIMES_MAX: usize = 4_096;

/// Whether a log may still grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// The job may still write.
    Open,
    /// The job is over: its file is as long as it will ever be.
    Over,
}

/// Whether there may be more to be read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    No,
    Yes,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) attempt: AttemptRef,
    pub(crate) stream: LogStream,
    pub(crate) path: PathBuf,
    keep: LogKeep,
    /// What is to be masked: known after the first look.
    mask: Option<Arc<Mask>>,
    growth: Growth,
    /// Where the job's file begins, and how the last look found it.
    cut: Option<Cut>,
    /// Sent up to here, on this connection.
    sent: u64,
    /// Said to be left out, from there to `sent`, by the next segment.
    left_out_from: Option<u64>,
    /// What was left out on the way from what is acknowledged to what is sent: up to there, so many bytes.
    skipped: VecDeque<(u64, u64)>,
    seal_sent: bool,
    /// The server has it up to here.
    acked: u64,
    /// The server has missed bytes since it acknowledged some.
    missed: bool,
    journaled: u64,
    sealed: Sealed,
    times: VecDeque<LogTime>,
}

impl Tail {
    /// Nothing of it is known to the server, or what the journal says.
    pub(crate) fn new((attempt, stream): (AttemptRef, LogStream), path: PathBuf, keep: LogKeep, acked: u64) -> Self {
        Self {
            attempt,
            stream,
            path,
            keep,
            mask: None,
            growth: Growth::Open,
            cut: None,
            sent: acked,
            left_out_from: None,
            skipped: VecDeque::new(),
            seal_sent: false,
            acked,
            missed: false,
            journaled: acked,
            sealed: Sealed::No,
            times: VecDeque::new(),
        }
    }

    /// The job is over.
    pub(crate) fn over(&mut self) {
        self.growth = Growth::Over;
    }

    /// The server misses bytes: from what it has on. Where it has acknowledged none since it missed some, it does
    /// not have what it once had (its disk was put back to an earlier state): then from the beginning, and the
    /// first answer tells what it has.
    pub(crate) fn missed(&mut self) {
        if std::mem::replace(&mut self.missed, true) {
            (self.acked, self.missed) = (0, false);
        }
        self.rewind();
    }

    /// A new connection: from what the server has on.
    pub(crate) fn rewind(&mut self) {
        self.sent = self.acked;
        self.left_out_from = None;
        self.skipped.clear();
        self.seal_sent = false;
    }

    /// Bytes that are sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> u64 {
        let skipped: u64 = self.skipped.iter().map(|(_, bytes)| bytes).sum();
        self.sent.saturating_sub(self.acked).saturating_sub(skipped)
    }

    /// What is to be looked at next. `room`: most bytes that may be read; with none it is only looked how
    /// large the file is.
    pub(crate) fn look(&self, room: u64) -> Option<Look> {
        if self.sealed == Sealed::Yes || self.seal_sent {
            return None;
        }
        // Of a flood no more is on its way than what was read last: its reader is never far behind.
        let is_long = self.cut.as_ref().is_some_and(|cut| cut.size > self.keep.head + self.keep.tail);
        let window = if is_long && self.sent >= self.keep.head { FLOOD_BYTES_MAX } else { WINDOW_BYTES };
        let window = window.saturating_sub(self.in_flight());
        Some(Look {
            attempt: self.attempt,
            stream: self.stream,
            path: self.path.clone(),
            mask: self.mask.clone(),
            cut: self.cut.clone(),
            keep: self.keep,
            from: self.sent,
            bytes_max: room.min(window).min(LOOK_BYTES_MAX),
            growth: self.growth,
        })
    }

    /// What follows from a look: segments to be sent, and whether to look again at once.
    pub(crate) fn saw(&mut self, seen: Seen) -> (Vec<LogSegment>, More) {
        let Seen { look, mask, cut, jumped_to, bytes, written_ms, length: sealed_at } = seen;
        self.mask = Some(mask);
        let grown_from = self.cut.as_ref().map_or(self.acked, |before| before.size);
        if cut.size > grown_from {
            self.note_time(grown_from, written_ms);
        }
        self.cut = Some(cut);
        // It went back meanwhile: it wants other bytes.
        if look.from != self.sent || self.seal_sent {
            return (Vec::new(), More::Yes);
        }
        // With nothing to be sent from there it stays: what is to be kept may be further on by then.
        if jumped_to > self.sent && (!bytes.is_empty() || sealed_at.is_some()) {
            self.left_out_from.get_or_insert(self.sent);
            self.skipped.push_back((jumped_to, jumped_to - self.sent));
            self.sent = jumped_to;
        }
        let mut segments = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + limits::LOG_SEGMENT_BYTES_MAX);
            segments.push(self.segment(bytes.slice(at..end)));
            at = end;
        }
        if segments.is_empty() && sealed_at.is_some() {
            segments.push(self.segment(Bytes::new()));
        }
        let more = if bytes.is_empty() || sealed_at.is_some() { More::No } else { More::Yes };
        if let (Some(last), Some(length)) = (segments.last_mut(), sealed_at) {
            last.sealed_at = Some(length);
            self.seal_sent = true;
        }
        (segments, more)
    }

    fn segment(&mut self, content: Bytes) -> LogSegment {
        let (from, to) = (self.sent, self.sent + content.len() as u64);
        self.sent = to;
        let base = self.cut.as_ref().map_or(0, |cut| cut.base);
        let size = self.cut.as_ref().map_or(0, |cut| cut.size);
        let is_long = size > self.keep.head + self.keep.tail;
        LogSegment {
            left_out_from: self.left_out_from.take(),
            times: self.times_of(from, to),
            truncated: if base > 0 && from == base { Truncated::Yes } else { Truncated::No },
            keep: is_long.then_some(self.keep),
            ..LogSegment::new(self.attempt, self.stream, from, content)
        }
    }

    fn note_time(&mut self, offset: u64, at_ms: u64) {
        if self.times.back().is_none_or(|last| last.at_ms != at_ms) {
            self.times.push_back(LogTime { offset, at_ms });
        }
        if self.times.len() > TIMES_MAX {
            let mut odd = false;
            self.times.retain(|_| {
                odd = !odd;
                odd
            });
        }
    }

    /// The time that holds at `from`, and those up to `to`.
    fn times_of(&self, from: u64, to: u64) -> Vec<LogTime> {
        let earlier = self.times.iter().rev().find(|time| time.offset <= from);
        let later = self.times.iter().filter(|time| from < time.offset && time.offset < to);
        let earlier = earlier.map(|time| LogTime { offset: from, ..*time });
        earlier.into_iter().chain(later.copied()).take(limits::LOG_TIMES_MAX).collect()
    }

    /// The server has it up to here. Says what the journal should know, where it should.
    pub(crate) fn acked(&mut self, up_to: u64, sealed: Sealed) -> Option<(u64, Sealed)> {
        self.missed = false;
        self.acked = self.acked.max(up_to);
        self.sent = self.sent.max(self.acked);
        while self.skipped.front().is_some_and(|(to, _)| *to <= self.acked) {
            self.skipped.pop_front();
        }
        if sealed == Sealed::Yes {
            self.sealed = Sealed::Yes;
        }
        while self.times.get(1).is_some_and(|second| second.offset <= self.acked) {
            self.times.pop_front();
        }
        let due = self.acked.saturating_sub(self.journaled) >= JOURNAL_EVERY_BYTES || sealed == Sealed::Yes;
        due.then(|| {
            self.journaled = self.acked;
            (self.acked, self.sealed)
        })
    }
}

#[cfg(test)]
mod tests;
