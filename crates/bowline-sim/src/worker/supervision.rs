//! The connection to the supervisor, as production keeps it: opened anew whenever it breaks; what is asked while
//! there is none waits; after each opening every job is told of; one that does not answer is told.

use std::time::Duration;

use bowline_supervisor::wire::{Event as Told, Request};
use bowline_worker::dispatcher::{Event, FromSupervisor};

use super::{Hands, Later, Seat};
use crate::process::{Address, Caller, CloseWhy, ConnId, Packet};

/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The supervisor is asked this often whether it is there.
const PING_EVERY: Duration = Duration::from_secs(1);
/// One that has not answered for so long is silent.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The connection, or none.
#[derive(Debug, Default)]
pub(super) struct Line {
    state: State,
    /// What waits for a connection.
    waiting: Vec<Request>,
    /// The newest word of each lease group: a new supervisor has to know it too.
    renewed: Option<Request>,
    /// Since when it has been asked and has not answered, on the boot clock.
    asked_at: Option<Duration>,
    is_silent: bool,
    /// It was told to go: it is not followed by another.
    is_last: bool,
    /// Whether a chain of pings goes on.
    pings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Away,
    /// Asked for, and nothing heard yet.
    Opening(ConnId),
    Up(ConnId),
    Closed,
}

impl Line {
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::Opening(conn) | State::Up(conn) => Some(conn),
            State::Away | State::Closed => None,
        }
    }
}

impl Seat {
    pub(super) fn connect_supervisor(&mut self, hands: &mut Hands<'_, '_>) {
        if self.line.state != State::Away {
            return;
        }
        let conn = hands.io.connect(&Address::Supervisor { dir: self.dir.clone() }, Caller::Local);
        self.line.state = State::Opening(conn);
        self.line.is_silent = false;
        self.line.asked_at = Some(hands.io.now().boot);
        for request in self.line.renewed.clone().into_iter().chain([Request::List]) {
            hands.io.send(conn, Packet::ToSupervisor(request));
        }
        if !self.line.pings {
            self.line.pings = true;
            hands.after(PING_EVERY, Later::Ping);
        }
    }

    pub(super) fn ask_supervisor(&mut self, hands: &mut Hands<'_, '_>, request: Request) {
        match &request {
            Request::Renew { .. } => self.line.renewed = Some(request.clone()),
            Request::Shutdown(_) => self.line.is_last = true,
            Request::Start(_) | Request::Kill { .. } | Request::List | Request::Forget { .. } | Request::Ping => {}
        }
        match self.line.state {
            State::Up(conn) => hands.io.send(conn, Packet::ToSupervisor(request)),
            State::Away | State::Opening(_) => self.line.waiting.push(request),
            State::Closed => {}
        }
    }

    pub(super) fn supervisor_says(&mut self, hands: &mut Hands<'_, '_>, told: Told) {
        if let State::Opening(conn) = self.line.state {
            self.line.state = State::Up(conn);
            for request in std::mem::take(&mut self.line.waiting) {
                hands.io.send(conn, Packet::ToSupervisor(request));
            }
            self.happens(hands, Event::Supervisor(FromSupervisor::Up { pid: 1 }));
        }
        self.line.asked_at = None;
        let was_silent = told == Told::Pong && std::mem::take(&mut self.line.is_silent);
        match told {
            Told::Pong if was_silent => self.happens(hands, Event::Supervisor(FromSupervisor::Answers)),
            Told::Pong => {}
            told => self.happens(hands, Event::Supervisor(FromSupervisor::Event(told))),
        }
    }

    pub(super) fn supervisor_gone(&mut self, hands: &mut Hands<'_, '_>) {
        let was_up = matches!(self.line.state, State::Up(_));
        self.line.state = if self.line.is_last { State::Closed } else { State::Away };
        self.happens(hands, Event::Supervisor(FromSupervisor::Down("the connection broke".to_owned())));
        // One that cannot be reached is tried again a little later.
        hands.after(if was_up { Duration::ZERO } else { RETRY_EVERY }, Later::Reconnect);
    }

    /// Asks whether it is there, and tells where it has not answered for long.
    pub(super) fn ping(&mut self, hands: &mut Hands<'_, '_>) {
        if self.exit.is_some() {
            return;
        }
        hands.after(PING_EVERY, Later::Ping);
        let State::Up(conn) = self.line.state else { return };
        let now = hands.io.now().boot;
        let length = self.line.asked_at.map_or(Duration::ZERO, |asked| now.saturating_sub(asked));
        if length >= SILENCE_MAX && !self.line.is_silent {
            self.line.is_silent = true;
            self.happens(hands, Event::Supervisor(FromSupervisor::Silent { pid: 1, length }));
        }
        self.line.asked_at.get_or_insert(now);
        hands.io.send(conn, Packet::ToSupervisor(Request::Ping));
    }

    /// The worker is done with it; the supervisor lives on, unless it was told otherwise.
    pub(super) fn close_supervisor(&mut self, hands: &mut Hands<'_, '_>) {
        if let Some(conn) = self.line.conn() {
            for request in std::mem::take(&mut self.line.waiting) {
                hands.io.send(conn, Packet::ToSupervisor(request));
            }
            hands.io.close(conn, CloseWhy::Done);
        }
        self.line.state = State::Closed;
    }
}
