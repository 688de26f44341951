//! Does what a dispatcher says, as production's shell does; what takes a thread there takes a while here.

use std::ffi::OsString;
use std::time::Duration;

use bowline_core::message::JobEnd;
use bowline_core::spec::{Action as Work, Command};
use bowline_protocol::WorkerMessage;
use bowline_worker::dispatcher::{Action, Collected, Enrolled, Event, LinkNo, Parcel, Plan, Unprepared};

use super::seat::found;
use super::{Hands, Seat};
use crate::process::{Address, CloseWhy, Packet};

/// How long the wire takes for a frame, in microseconds, as a rule.
const FRAME_US: u64 = 150;
/// A wire that takes nothing for a while does so for at most this long, in microseconds.
const BLOCKED_US: u64 = 20_000_000;
/// How long it takes to make a job ready, or to collect what it left, in microseconds.
const FILES_US: u64 = 2_000;
/// How long an answer of HTTP takes, in microseconds.
const HTTP_US: u64 = 50_000;
/// In so many of a thousand jobs a file is left that cannot be delivered.
const UNDELIVERABLE_PER_MILLE: u64 = 60;
/// In so many of a thousand frames the wire is blocked for a while after it.
const BLOCKED_PER_MILLE: u64 = 3;

impl Seat {
    pub(super) fn act_on(&mut self, hands: &mut Hands<'_, '_>, action: Action) {
        match action {
            Action::Persist(batch) => self.persist(hands, batch),
            Action::Job(request) => self.ask_supervisor(hands, request),
            Action::Probe(start) => self.ask_supervisor(hands, bowline_supervisor::wire::Request::Start(start)),
            Action::ReadProbe(key) => hands.about(FILES_US, Event::ProbeSaid(key, String::new())),
            Action::Open(link, hello) => self.open(hands, link, WorkerMessage::Hello(hello)),
            Action::Send(link, parcels) => self.send(hands, link, parcels),
            Action::LastWords(link, parcels) => {
                self.send(hands, link, parcels);
                self.close(hands, link, CloseWhy::Done);
            }
            Action::Drop(link) => self.close(hands, link, CloseWhy::Broken),
            Action::Prepare(attempt, plan) => {
                let outcome = if hands.io.disk_free() == 0 {
                    Err(Unprepared::NoRoom("no space left on the device".to_owned()))
                } else {
                    prepared(&plan).map(|start| Some(Box::new(start)))
                };
                hands.about(FILES_US, Event::Prepared(attempt, outcome));
            }
            Action::Collect(attempt, _, how) => {
                let left = hands.io.random().per_mille(UNDELIVERABLE_PER_MILLE);
                let files = if left { vec![("left".to_owned(), "left".into())] } else { Vec::new() };
                hands.about(FILES_US, Event::Collected(attempt, Box::new(Collected::bare(how)), files));
            }
            Action::Perform(attempt, ..) => {
                hands.about(HTTP_US, Event::Answered(attempt, Box::new(Collected::bare(JobEnd::Success))));
            }
            Action::Ship(what) => self.ship(hands, what),
            Action::Upload(what) => Self::upload(hands, what),
            Action::Check => {
                let found = found(hands);
                hands.about(FILES_US, Event::Checked(found));
            }
            Action::EnrolAgain => hands.about(HTTP_US, Event::EnrolledAgain(Enrolled::Yes)),
            // The answer of a request that was given up may come nevertheless; files are of no interest here.
            Action::Abort(_)
            | Action::UploadAgain { .. }
            | Action::NoteName(_)
            | Action::Sweep(_)
            | Action::Remove(_) => {}
            Action::Exit(how) => {
                self.close_supervisor(hands);
                self.exit = Some(how);
            }
        }
    }

    fn open(&mut self, hands: &mut Hands<'_, '_>, link: LinkNo, hello: WorkerMessage) {
        let conn = hands.io.connect(&Address::Cluster(self.cluster), self.caller.clone());
        hands.io.send(conn, Packet::FromWorker(vec![(hello, None)]));
        self.link = Some((link, conn));
        hands.about(FRAME_US, Event::Room(link));
    }

    fn send(&self, hands: &mut Hands<'_, '_>, link: LinkNo, parcels: Vec<Parcel>) {
        let Some((_, conn)) = self.link.filter(|(own, _)| *own == link) else { return };
        if !parcels.is_empty() {
            hands.io.send(conn, Packet::FromWorker(parcels));
        }
        let random = hands.io.random();
        if random.per_mille(BLOCKED_PER_MILLE) {
            let length = Duration::from_micros(random.below(BLOCKED_US));
            hands.after(length, super::Later::Happens(Box::new(Event::Room(link))));
        } else {
            hands.about(FRAME_US, Event::Room(link));
        }
    }

    fn close(&mut self, hands: &mut Hands<'_, '_>, link: LinkNo, why: CloseWhy) {
        if let Some((_, conn)) = self.link.take_if(|(own, _)| *own == link) {
            hands.io.close(conn, why);
        }
    }
}

/// What the supervisor is asked to start: the command alone counts.
fn prepared(plan: &Plan) -> Result<bowline_supervisor::wire::Start, Unprepared> {
    match &plan.work().action {
        Work::Command(Command::Argv(argv)) => Ok(plan.start(argv.iter().map(OsString::from).collect())),
        Work::Command(Command::Shell(_)) | Work::Noop | Work::Http(_) | Work::Wait | Work::Sleep(_) => {
            Err(Unprepared::Failed("a simulated job is a list of words".to_owned()))
        }
    }
}
