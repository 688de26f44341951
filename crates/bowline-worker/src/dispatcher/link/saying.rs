//! What is said in a session, each kind by its class: see [`crate::session`]'s lanes.

use bowline_core::message::FromWorker;
use bowline_protocol::{Class, Vitals, WorkerMessage};
use bowline_supervisor::wire::Request;

use super::super::Dispatcher;
use super::{Backlog, Welcomed};
use crate::session::Handed;

impl Dispatcher {
    /// Says that it is there, and how it is. Says whether that is on its way.
    pub(in crate::dispatcher) fn say_heartbeat(&mut self) -> bool {
        if !self.link.is_welcomed() {
            return false;
        }
        let stuck = self.stuck().clone();
        let vitals = Vitals { stuck, ..self.stats.vitals(self.outbox.vitals()) };
        self.hand_over(WorkerMessage::Heartbeat(Box::new(vitals)))
    }

    /// The server has heard a heartbeat: from when it left, the jobs' leases count.
    pub(in crate::dispatcher) fn heartbeat_answered(&mut self) {
        let Some(sent_at) = self.link.open.as_ref().and_then(|open| open.outgoing.answered()) else { return };
        self.link.answered_at = Some(sent_at);
        self.jobs.send(Request::Renew { lease: crate::prepare::LEASE.to_owned(), sent_at });
    }

    /// Says something that is worth saying now or never. Says whether it is on its way.
    pub(in crate::dispatcher) fn say_timely(&mut self, message: FromWorker) -> bool {
        self.hand_over(WorkerMessage::Engine(message))
    }

    /// Hands a message to the connection, where there is room.
    pub(in crate::dispatcher) fn hand_over(&mut self, message: WorkerMessage) -> bool {
        let Some(open) = self.link.open.as_ref().filter(|open| open.welcomed == Welcomed::Yes) else { return false };
        let kind = message.kind();
        match open.outgoing.hand_over(message, None) {
            Handed::Yes => {}
            Handed::InPlaceOf(older) => self.stats.dropped(older),
            Handed::Full => {
                self.link.backlog = Backlog::Waits;
                // What is assured is kept: it is handed over again.
                if kind.class() != Class::Assured {
                    self.stats.dropped(kind);
                }
                return false;
            }
            Handed::Closed => return false,
        }
        self.stats.passed(kind);
        true
    }

    /// What was given up is said anew, from the current state.
    pub(in crate::dispatcher) fn settle_timely(&mut self) {
        let Some(open) = &self.link.open else { return };
        for kind in open.outgoing.given_up() {
            tracing::warn!(kind = kind.name(), "not sent in time: the connection takes nothing");
            self.stats.dropped(kind);
            self.demand.untold(kind);
        }
    }

    /// Sends what waits in the outbox, as far as there is room.
    pub(in crate::dispatcher) fn send_outbox(&mut self) {
        self.link.backlog = Backlog::None;
        let Some(open) = self.link.open.as_ref().filter(|open| open.welcomed == Welcomed::Yes) else { return };
        while self.outbox.has_next() {
            if !open.outgoing.has_room() {
                self.link.backlog = Backlog::Waits;
                return;
            }
            let Some((message, delivery)) = self.outbox.next() else { return };
            let kind = message.kind();
            self.stats.passed(kind);
            if delivery.is_some_and(|delivery| delivery.sends > 1) {
                self.stats.retried(kind);
            }
            // There was room, and nobody else takes any. A connection that is over is followed by another.
            open.outgoing.hand_over(message, delivery);
        }
    }
}
