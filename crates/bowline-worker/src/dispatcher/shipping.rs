//! Logs on their way: looks at the files of open logs now and then, and at once where a job has ended,
//! and sends what is new. One look at a time; what finds no room is looked at again. Looks go round:
//! where there are more logs than one look reads, the next look goes on behind the last one.

use std::ops::Bound;

use bowline_protocol::{LogSegment, Sealed, WorkerMessage};

use super::{Dispatcher, Done};
use crate::attempt::machine::State;
use crate::logs::{LogTail, Look, Seen};
use crate::prepare::log_file;

/// Most logs that one look reads.
const LOGS_PER_LOOK_MAX: usize = 64;
/// Logs of one attempt.
const LOGS_PER_ATTEMPT_MAX: usize = 2;

impl Dispatcher {
    /// Has the pool look at logs, where that is due.
    pub(super) fn look_at_logs(&mut self) {
        if !self.look_due || self.looking || !self.link.is_welcomed() {
            return;
        }
        self.look_due = false;
        let looks = self.looks();
        if looks.is_empty() {
            return;
        }
        self.looking = true;
        self.pool.submit(move || Done::Looked(looks.into_iter().map(Look::read).collect()));
    }

    /// The next logs in turn. Where it was not the last of them, says where to go on.
    fn looks(&mut self) -> Vec<Look> {
        let from = self.looked_up_to.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut looks = Vec::new();
        for (attempt, known) in self.attempts.range((from, Bound::Unbounded)) {
            if !known.state.may_have_job() && known.state != State::Ended {
                continue;
            }
            let path = |log: &LogTail| log_file(&known.folder, log.stream);
            looks.extend(known.logs.iter().filter_map(|log| log.look(*attempt, path(log))));
            if looks.len() + LOGS_PER_ATTEMPT_MAX > LOGS_PER_LOOK_MAX {
                self.looked_up_to = Some(*attempt);
                break;
            }
        }
        looks
    }

    /// Sends what a look found.
    pub(super) fn looked(&mut self, seen: Vec<Seen>) {
        self.looking = false;
        for one in seen {
            self.ship(one);
        }
        // The round is not over.
        self.look_due |= self.looked_up_to.is_some();
        let open = self.attempts.values().any(|known| known.logs.iter().any(|log| !log.is_over()));
        if open || self.look_due {
            self.timers.look_soon();
        }
    }

    /// Sends one log's news.
    fn ship(&mut self, seen: Seen) {
        let Look { attempt, stream, from, .. } = seen.look;
        // A log that went back meanwhile, or is gone, wants other bytes.
        let is_it = |log: &LogTail| log.stream == stream && log.sent_to() == from;
        let known = self.attempts.get(&attempt);
        let Some(place) = known.and_then(|known| known.logs.iter().position(is_it)) else { return };
        let mut segments = seen.segments;
        if segments.is_empty() && seen.length.is_some() {
            segments.push(bytes::Bytes::new());
        }
        let (mut at, count) = (from, segments.len());
        for (index, content) in segments.into_iter().enumerate() {
            let is_last = index + 1 == count;
            let length = content.len() as u64;
            let sealed_at = seen.length.filter(|_| is_last);
            let segment = LogSegment { attempt, stream, offset: at, content, sealed_at };
            if !self.hand_over(WorkerMessage::Log(segment)) {
                // No room, or no session any more: from here on, later. Nothing else may ever ask for it
                // again where the job is over.
                self.timers.look_soon();
                return;
            }
            at += length;
            if let Some(log) = self.attempts.get_mut(&attempt).and_then(|known| known.logs.get_mut(place)) {
                log.sent(length, if sealed_at.is_some() { Sealed::Yes } else { Sealed::No });
            }
        }
        // There may be more to be read at once.
        self.look_due |= count > 0 && seen.length.is_none();
    }
}
