//! The three ways to send, between the dispatcher and one connection. What is assured waits in the outbox, and
//! leaves in order; what is timely is on a board, one of each kind, overtakes what queues, and is given up at
//! its deadline; what is best effort goes last, from a small ring that forgets its oldest.
//!
//! What leaves is chosen when the wire has room for it, one frame at a time, so that nothing leaves too late. A
//! connection has lanes of its own. What was in them when it ends is said anew by the dispatcher: the outbox
//! has every assured message, the rest follows from the current state. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use bowline_protocol::limits::{FRAME_BYTES_TARGET, FRAME_MESSAGES_MAX, TIMELY_WITHIN};
use bowline_protocol::{Class, Kind, WorkerMessage};

use crate::clock::{Moment, Now};
use crate::dispatcher::Parcel;
use crate::outbox::Outbox;

/// Messages that may be lost, on their way.
const RING_MAX: usize = 256;
/// Assured messages that leave with a connection's last words.
const LAST_ASSURED_MAX: usize = 8_192;

/// Whether the wire takes one more frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Room {
    #[default]
    No,
    Yes,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    timely: Vec<(WorkerMessage, Option<Moment>)>,
    ring: VecDeque<WorkerMessage>,
    given_up: Vec<Kind>,
    /// When each unanswered heartbeat left, on `CLOCK_BOOTTIME`.
    beats: VecDeque<Duration>,
    room: Room,
}

/// What became of a message that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handed {
    /// It is on its way.
    Yes,
    /// It is on its way, and an older one of this kind is not any more.
    InPlaceOf(Kind),
}

impl Lanes {
    /// The wire takes one more frame.
    pub(crate) fn has_room(&mut self) {
        self.room = Room::Yes;
    }

    /// Hands over a message, as its class wants it. What is assured goes into the outbox instead.
    pub(crate) fn hand_over(&mut self, message: WorkerMessage, now: Moment) -> Handed {
        match message.kind().class() {
            Class::Timely | Class::Assured => self.pin(message, now),
            Class::BestEffort => self.push(message),
        }
    }

    fn pin(&mut self, message: WorkerMessage, now: Moment) -> Handed {
        let kind = message.kind();
        let before = self.timely.len();
        self.timely.retain(|(other, _)| other.kind() != kind);
        let replaces = before != self.timely.len();
        self.timely.push((message, now.after(TIMELY_WITHIN)));
        if replaces { Handed::InPlaceOf(kind) } else { Handed::Yes }
    }

    fn push(&mut self, message: WorkerMessage) -> Handed {
        let oldest = if self.ring.len() >= RING_MAX { self.ring.pop_front() } else { None };
        self.ring.push_back(message);
        oldest.map_or(Handed::Yes, |oldest| Handed::InPlaceOf(oldest.kind()))
    }

    /// What leaves now, as one frame. Nothing, where there is no room or nothing to be said.
    pub(crate) fn take(&mut self, outbox: &mut Outbox, now: Now) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        if self.room == Room::No {
            return parcels;
        }
        self.take_timely(&mut parcels, now);
        let timely = parcels.len();
        let mut bytes = 0;
        while parcels.len() < FRAME_MESSAGES_MAX
            && let Some(next) = outbox.next_bytes()
        {
            bytes += next;
            if bytes > FRAME_BYTES_TARGET && parcels.len() > timely {
                break;
            }
            parcels.extend(outbox.next(now.at));
        }
        if parcels.len() == timely {
            parcels.extend(self.ring.drain(..).map(|message| (message, None)));
        }
        if !parcels.is_empty() {
            self.room = Room::No;
        }
        parcels
    }

    /// What leaves before the connection is closed, room or not.
    pub(crate) fn take_all(&mut self, outbox: &mut Outbox, now: Now) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        self.take_timely(&mut parcels, now);
        parcels.extend(std::iter::from_fn(|| outbox.next(now.at)).take(LAST_ASSURED_MAX));
        parcels.extend(self.ring.drain(..).map(|message| (message, None)));
        parcels
    }

    /// What is timely and not too late, in the order in which it was said.
    fn take_timely(&mut self, parcels: &mut Vec<Parcel>, now: Now) {
        for (message, deadline) in self.timely.drain(..) {
            if deadline.is_some_and(|deadline| deadline < now.at) {
                self.given_up.push(message.kind());
                continue;
            }
            if message.kind() == Kind::Heartbeat {
                self.beats.push_back(now.boot);
            }
            parcels.push((message, None));
        }
    }

    /// Kinds that were given up since this was asked last.
    pub(crate) fn given_up(&mut self) -> Vec<Kind> {
        std::mem::take(&mut self.given_up)
    }

    /// When the heartbeat left that the server has answered now, on `CLOCK_BOOTTIME`.
    pub(crate) fn answered(&mut self) -> Option<Duration> {
        self.beats.pop_front()
    }
}

#[cfg(test)]
mod tests;
