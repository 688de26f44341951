//! What is said in a session, each kind by its class: see [`crate::session`]'s lanes.

use bowline_core::message::FromWorker;
use bowline_core::mutant::{self, Mutant};
use bowline_core::probe::{self, Path};
use bowline_protocol::{Class, Kind, Vitals, WorkerMessage};
use bowline_supervisor::wire::Request;

use super::super::{Action, Dispatcher};
use super::Welcomed;
use crate::session::lanes::Handed;

impl Dispatcher {
    /// Says that it is there, and how it is. Says whether that is on its way.
    pub(in crate::dispatcher) fn say_heartbeat(&mut self) -> bool {
        if !self.link.is_welcomed() {
            return false;
        }
        let stuck = self.stuck().clone();
        let vitals = Vitals { stuck, ..self.stats.vitals(self.outbox.vitals(self.now.at)) };
        self.hand_over(WorkerMessage::Heartbeat(Box::new(vitals)))
    }

    /// The server has heard a heartbeat: from when it left, the jobs' leases count.
    pub(in crate::dispatcher) fn heartbeat_answered(&mut self) {
        let Some(sent_at) = self.link.open.as_mut().and_then(|open| open.lanes.answered()) else { return };
        self.link.answered_at = Some(sent_at);
        let sent_at = if mutant::is(Mutant::LeaseFromAnswer) { self.now.boot } else { sent_at };
        self.ask(Request::Renew { lease: crate::prepare::LEASE.to_owned(), sent_at });
    }

    /// Says something that is worth saying now or never. Says whether it is on its way.
    pub(in crate::dispatcher) fn say_timely(&mut self, message: FromWorker) -> bool {
        self.hand_over(WorkerMessage::Engine(message))
    }

    /// Hands a message to the connection.
    pub(in crate::dispatcher) fn hand_over(&mut self, message: WorkerMessage) -> bool {
        let now = self.now.at;
        let Some(open) = self.link.open.as_mut().filter(|open| open.welcomed == Welcomed::Yes) else { return false };
        let kind = message.kind();
        match open.lanes.hand_over(message, now) {
            Handed::Yes => {}
            Handed::InPlaceOf(older) => self.stats.dropped(older),
        }
        self.stats.passed(kind);
        true
    }

    /// Sends what is to be said, as far as the wire has room.
    pub(in crate::dispatcher) fn settle_wire(&mut self) {
        let now = self.now;
        let Some(open) = self.link.open.as_mut().filter(|open| open.welcomed == Welcomed::Yes) else { return };
        let (link, parcels, given_up) = (open.no, open.lanes.take(&mut self.outbox, now), open.lanes.given_up());
        for (message, delivery) in parcels.iter().filter(|(message, _)| message.kind().class() == Class::Assured) {
            let kind = message.kind();
            self.stats.passed(kind);
            if delivery.is_some_and(|delivery| delivery.sends > 1) {
                self.stats.retried(kind);
                if kind == Kind::Started {
                    probe::reached(Path::StartedSaidAnew);
                }
            }
        }
        if !parcels.is_empty() {
            self.want(Action::Send(link, parcels));
        }
        for kind in &given_up {
            probe::reached(Path::TimelyGivenUp);
            tracing::warn!(kind = kind.name(), "not sent in time: the connection takes nothing");
            self.stats.dropped(*kind);
            self.demand.untold(*kind);
        }
        // It is said anew, from the current state, when there is room again.
        if !given_up.is_empty() {
            self.settle_demand();
        }
    }
}
