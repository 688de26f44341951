//! Logs on their way: looks at the files of open logs now and then, and at once where a job has ended,
//! and sends what is new. One look at a time; what finds no room is looked at again.

use bowline_protocol::{LogSegment, Sealed, WorkerMessage};

use super::{Dispatcher, Done};
use crate::attempt::machine::State;
use crate::logs::{LogTail, Look, Seen};
use crate::prepare::log_file;

/// Most logs that one look reads.
const LOGS_PER_LOOK_MAX: usize = 64;

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

    fn looks(&self) -> Vec<Look> {
        let open = self.attempts.iter().filter(|(_, known)| known.state.may_have_job() || known.state == State::Ended);
        open.flat_map(|(attempt, known)| {
            known.logs.iter().filter_map(|log| log.look(*attempt, log_file(&known.folder, log.stream)))
        })
        .take(LOGS_PER_LOOK_MAX)
        .collect()
    }

    /// Sends what a look found.
    pub(super) fn looked(&mut self, seen: Vec<Seen>) {
        self.looking = false;
        let full = seen.len() == LOGS_PER_LOOK_MAX;
        let mut more = full;
        for one in seen {
            more |= self.ship(one);
        }
        if more {
            self.look_due = true;
        }
        let open = self.attempts.values().any(|known| known.logs.iter().any(|log| !log.is_over()));
        if open || self.look_due {
            self.timers.look_soon();
        }
    }

    /// Sends one log's news. Says whether there is more to be read at once.
    fn ship(&mut self, seen: Seen) -> bool {
        let Look { attempt, stream, from, .. } = seen.look;
        // A log that went back meanwhile, or is gone, wants other bytes.
        let is_it = |log: &LogTail| log.stream == stream && log.sent_to() == from;
        let known = self.attempts.get(&attempt);
        let Some(place) = known.and_then(|known| known.logs.iter().position(is_it)) else { return false };
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
                // No room, or no session any more: from here on, later.
                return false;
            }
            at += length;
            if let Some(log) = self.attempts.get_mut(&attempt).and_then(|known| known.logs.get_mut(place)) {
                log.sent(length, if sealed_at.is_some() { Sealed::Yes } else { Sealed::No });
            }
        }
        count > 0 && seen.length.is_none()
    }
}
