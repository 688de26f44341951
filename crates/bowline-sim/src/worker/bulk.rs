//! Logs and artifacts, as far as a dispatcher sees them: a log is delivered some time after its job was over, while
//! there is a session; a file that a job left cannot be delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_protocol::{LogStream, Sealed};
use bowline_worker::dispatcher::{Event, FromShipper, FromUploads, ToShipper, ToUploads};

use super::{Hands, Later, Seat};
use crate::world::WorkerRole;

/// From a job's end until the server has its log, in microseconds.
const DELIVERED_US: u64 = 40_000;
/// How long it takes to give up a file, in microseconds.
const GIVEN_UP_US: u64 = 20_000;

/// The logs that are not delivered.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    /// None is ever delivered.
    is_stuck: bool,
    /// Of some a part is taken.
    is_torn: bool,
    in_session: bool,
    logs: BTreeMap<AttemptRef, BTreeSet<LogStream>>,
    over: BTreeSet<AttemptRef>,
}

impl Bulk {
    /// As this worker delivers them.
    pub(super) fn of(role: &WorkerRole) -> Self {
        Self { is_stuck: role.stuck_logs, is_torn: role.torn_logs, ..Self::default() }
    }
}

impl Seat {
    pub(super) fn ship(&mut self, hands: &mut Hands<'_, '_>, what: ToShipper) {
        match what {
            ToShipper::Open { attempt, stream, .. } => {
                self.bulk.logs.entry(attempt).or_default().insert(stream);
                if self.bulk.is_torn {
                    delivered_later(hands, attempt);
                }
            }
            ToShipper::Over(attempt) => {
                if self.bulk.logs.contains_key(&attempt) && self.bulk.over.insert(attempt) {
                    delivered_later(hands, attempt);
                }
            }
            ToShipper::Drop(attempt) => {
                self.bulk.logs.remove(&attempt);
                self.bulk.over.remove(&attempt);
            }
            ToShipper::Session(target) => {
                self.bulk.in_session = target.is_some();
                if self.bulk.in_session {
                    for attempt in self.bulk.over.clone() {
                        delivered_later(hands, attempt);
                    }
                }
            }
            ToShipper::Progress(_) => {}
        }
    }

    /// The server has all of an attempt's logs, where there is a session.
    pub(super) fn deliver_log(&mut self, hands: &mut Hands<'_, '_>, attempt: AttemptRef) {
        if self.bulk.is_torn && self.bulk.in_session && attempt.task.task.0.is_multiple_of(2) {
            return self.tear_log(hands, attempt);
        }
        if self.bulk.is_stuck || !self.bulk.in_session || !self.bulk.over.contains(&attempt) {
            return;
        }
        self.bulk.over.remove(&attempt);
        for stream in self.bulk.logs.remove(&attempt).unwrap_or_default() {
            let said = FromShipper::Acked { attempt, stream, up_to: 1, sealed: Sealed::Yes };
            self.happens(hands, Event::Shipper(said));
        }
    }

    /// The server keeps the beginning of an attempt's logs, and has no room for the rest.
    fn tear_log(&mut self, hands: &mut Hands<'_, '_>, attempt: AttemptRef) {
        for stream in self.bulk.logs.get(&attempt).cloned().unwrap_or_default() {
            let said = FromShipper::Acked { attempt, stream, up_to: 1, sealed: Sealed::No };
            self.happens(hands, Event::Shipper(said));
        }
    }

    pub(super) fn upload(hands: &mut Hands<'_, '_>, what: ToUploads) {
        match what {
            ToUploads::Deliver { attempt, files } => {
                for (name, _) in files {
                    let why = "it was removed meanwhile".to_owned();
                    hands.after(
                        Duration::ZERO,
                        Later::Happens(Box::new(Event::Uploads(FromUploads::Undelivered { attempt, name, why }))),
                    );
                }
                hands.about(GIVEN_UP_US, Event::Uploads(FromUploads::Done(attempt)));
            }
            // No file is ever there.
            ToUploads::Watch { .. }
            | ToUploads::Again { .. }
            | ToUploads::Drop(_)
            | ToUploads::Session(_)
            | ToUploads::Restored => {}
        }
    }
}

fn delivered_later(hands: &mut Hands<'_, '_>, attempt: AttemptRef) {
    let length = Duration::from_micros(hands.io.random().around(DELIVERED_US));
    hands.after(length, Later::Deliver(attempt));
}
