//! Session and reconnect: opens connections, one at a time, says Hello, and drops a connection that has gone
//! stale. What is said in a session is [`saying`]'s.

mod saying;

use std::time::Duration;

use bowline_core::id::SessionId;
use bowline_core::message::{Hello, KnownAs, Left};
use bowline_core::mutant::{self, Mutant};
use bowline_core::probe::{self, Path};
use bowline_core::worker::{Offer, Seat};
use bowline_protocol::ServerMessage;
use bowline_protocol::limits::{HEARTBEAT_EVERY, HELLO_ATTEMPTS_MAX, WELCOME_TIMEOUT};

use super::{Action, Dispatcher, Enrolled, LinkEnd, LinkEvent, LinkNo, Timer};
use crate::attempt::Announced;
use crate::attempt::machine::State;
use crate::clock::Moment;
use crate::config::LeftBehind;
use crate::journal::Op;
use crate::session::backoff::Backoff;
use crate::session::lanes::Lanes;

/// A server that has said nothing for so many heartbeats is gone.
const SILENT_BEATS_MAX: u32 = 4;
/// Before a worker asks again for an identity that it cannot have now.
const TRY_LATER: Duration = Duration::from_secs(5);

/// The actions that this worker has drivers for.
const ACTIONS: [&str; 3] = ["command", "noop", "http"];

/// The connection, or none.
#[derive(Debug)]
pub(super) struct Link {
    count: u64,
    open: Option<Open>,
    backoff: Backoff,
    heard_at: Moment,
    down_since: Option<Moment>,
    /// How often to say that it is there, and in which chain of timers.
    every: Duration,
    chain: u64,
    /// When the newest heartbeat left that was answered in this session, on `CLOCK_BOOTTIME`.
    answered_at: Option<Duration>,
}

#[derive(Debug)]
struct Open {
    no: LinkNo,
    lanes: Lanes,
    welcomed: Welcomed,
    session: Option<SessionId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Welcomed {
    No,
    Yes,
}

impl Link {
    pub(super) fn new(seed: u64, now: Moment) -> Self {
        Self {
            count: 0,
            open: None,
            backoff: Backoff::seeded(seed),
            heard_at: now,
            down_since: None,
            every: HEARTBEAT_EVERY,
            chain: 0,
            answered_at: None,
        }
    }

    /// When the newest heartbeat left that was answered in this session, on `CLOCK_BOOTTIME`.
    pub(super) fn answered_at(&self) -> Option<Duration> {
        self.answered_at
    }

    /// Whether the server has said Welcome in this session.
    pub(super) fn is_welcomed(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.welcomed == Welcomed::Yes)
    }

    /// The wire of this connection takes one more frame.
    pub(super) fn has_room(&mut self, link: LinkNo) {
        if let Some(open) = self.open.as_mut().filter(|open| open.no == link) {
            open.lanes.has_room();
        }
    }

    /// Whether this message is of this session: the number of its first assignment stands.
    pub(super) fn is_of_session(&mut self, session: SessionId) -> bool {
        let Some(open) = &mut self.open else { return false };
        *open.session.get_or_insert(session) == session
    }
}

impl Dispatcher {
    /// Opens a connection, where there is none and everything that Hello names is known.
    pub(super) fn connect(&mut self) {
        let is_known = self.supervision.is_known() || mutant::is(Mutant::HelloBeforeSupervisor);
        if self.link.open.is_some() || !is_known {
            return;
        }
        self.link.count += 1;
        let no = LinkNo(self.link.count);
        let hello = Box::new(self.hello());
        self.demand.said_hello(&hello.health);
        self.want(Action::Open(no, hello));
        self.link.open = Some(Open { no, lanes: Lanes::default(), welcomed: Welcomed::No, session: None });
        self.link.heard_at = self.now.at;
        self.link.answered_at = None;
        self.link.every = HEARTBEAT_EVERY;
        self.stats.passed(bowline_protocol::Kind::Hello);
        self.begin_beats();
    }

    /// From here on heartbeats come in a chain of their own.
    fn begin_beats(&mut self) {
        self.link.chain += 1;
        self.later(self.link.every, Timer::Heartbeat(self.link.chain));
    }

    fn hello(&self) -> Hello {
        Hello {
            pool: self.config.pool.clone(),
            name: self.name.clone(),
            incarnation: self.incarnation,
            seat: Seat {
                state_dir: self.state_id.clone(),
                boot_id: self.boot_id.clone(),
                process: self.process.clone(),
                said_at: Some(self.now.boot),
            },
            version: self.config.version.clone(),
            offer: Offer {
                capabilities: self.config.capabilities.clone(),
                actions: ACTIONS.map(str::to_owned).into(),
                room: self.config.room.clone(),
            },
            prefetch: self.demand.prefetch(self.share.allowance(self.now.at).slots),
            health: self.health(),
            seen: self.seen,
            attempts: self.known(),
        }
    }

    /// Every attempt that this worker knows of.
    fn known(&self) -> Vec<(bowline_core::id::AttemptRef, KnownAs)> {
        let living = self.attempts.iter().filter_map(|(attempt, known)| {
            let known = match known.state {
                State::Queued if known.announced == Announced::Yes => KnownAs::Gone,
                State::Queued | State::Preparing => KnownAs::Assigned,
                State::Starting | State::Running | State::Stopping { .. } | State::Collecting => KnownAs::Running,
                State::Ended => return None,
            };
            Some((*attempt, known))
        });
        let ended = self.outbox.attempts().filter(|attempt| self.outbox.holds_end(*attempt));
        let ended = ended.filter(|_| !mutant::is(Mutant::EndedPendingNotNamed));
        let ended = ended.map(|attempt| (attempt, KnownAs::EndedPending));
        living.chain(ended).chain(self.of_the_last_holder()).take(HELLO_ATTEMPTS_MAX).collect()
    }

    /// What is said of attempts that the identity's last holder left in another state directory.
    fn of_the_last_holder(&self) -> impl Iterator<Item = (bowline_core::id::AttemptRef, KnownAs)> + '_ {
        let known = match self.config.left {
            LeftBehind::Wait => None,
            LeftBehind::Release => Some(KnownAs::GivenBack),
            LeftBehind::Fail => Some(KnownAs::Failed),
        };
        let left = self.in_the_way.iter().filter(|attempt| !self.attempts.contains_key(attempt));
        left.filter_map(move |attempt| Some((*attempt, known?)))
    }

    pub(super) fn on_link(&mut self, link: LinkNo, what: LinkEvent) {
        if self.link.open.as_ref().is_none_or(|open| open.no != link) {
            if has_assignment(&what) {
                probe::reached(Path::AssignmentOfOtherSession);
            }
            if !(mutant::is(Mutant::OldAssignmentTaken) && has_assignment(&what)) {
                return;
            }
        }
        match what {
            LinkEvent::Messages { messages, generation, commit_no } => {
                self.link.heard_at = self.now.at;
                self.saw(generation, commit_no);
                for message in messages {
                    self.stats.passed(message.kind());
                    self.on_server(message);
                }
            }
            LinkEvent::Down(end) => self.link_down(end),
        }
    }

    fn saw(&mut self, generation: u32, commit_no: u64) {
        use bowline_core::id::{CommitNo, Generation};
        let now = (Generation(generation), CommitNo(commit_no));
        if commit_no > 0 && self.seen.is_none_or(|seen| seen < now) {
            self.seen = Some(now);
            // Written with whatever else this turn writes, and never for its own sake.
            if !self.batch.ops.is_empty() {
                self.put_seen();
            }
        }
    }

    pub(super) fn put_seen(&mut self) {
        if let Some((generation, commit_no)) = self.seen {
            let (generation, commit_no) = (generation.0, commit_no.0);
            self.batch.ops.push(Op::Seen { generation, commit_no, incarnation: self.incarnation.0 });
        }
    }

    fn link_down(&mut self, end: LinkEnd) {
        let was_welcomed = self.link.is_welcomed();
        if was_welcomed && self.outbox.next_bytes().is_some() {
            probe::reached(Path::LinkDownWithFullLane);
        }
        self.drop_link();
        if was_welcomed {
            self.link.backoff.reset();
        }
        let wait = self.link.backoff.next();
        match end {
            LinkEnd::Broken(why) => {
                tracing::warn!(why, ?wait, server = self.config.server, "no session; connecting again");
            }
            LinkEnd::Version(why) => {
                tracing::error!(why, ?wait, server = self.config.server, "the server's version does not go with ours");
            }
            LinkEnd::UnknownKey(why) => {
                tracing::error!(why, server = self.config.server, "the server does not take this worker's key");
                if self.enrol_again() {
                    return;
                }
            }
        }
        self.later(wait, Timer::Reconnect);
    }

    /// Asks the server to take the key anew, where there is a token for it.
    fn enrol_again(&mut self) -> bool {
        let has_token = self.config.enrol_token.is_some();
        if has_token {
            self.want(Action::EnrolAgain);
        }
        has_token
    }

    pub(super) fn enrolled_again(&mut self, enrolled: Enrolled) {
        let wait = match enrolled {
            Enrolled::Yes => Duration::ZERO,
            Enrolled::No => self.link.backoff.next().max(Duration::from_secs(1)),
        };
        self.later(wait, Timer::Reconnect);
    }

    /// Lets go of the connection.
    pub(super) fn drop_link(&mut self) {
        if let Some(open) = self.link.open.take() {
            self.want(Action::Drop(open.no));
            self.link.down_since = Some(self.now.at);
            self.bulk_session(None);
        }
    }

    /// The identity cannot be had now.
    pub(super) fn try_later(&mut self, why: &str, left: &[Left]) {
        self.in_the_way = left.iter().map(|left| left.attempt).collect();
        tracing::warn!(why, wait = ?TRY_LATER, "the server asks to come back later");
        self.drop_link();
        self.later(TRY_LATER, Timer::Reconnect);
    }

    /// The session is open, heartbeats are to come so often: everything is said anew from the current state.
    pub(super) fn welcomed(&mut self, every: Duration) {
        if let Some(open) = &mut self.link.open {
            open.welcomed = Welcomed::Yes;
        }
        if let Some(since) = self.link.down_since.take() {
            tracing::info!(away = ?self.now.at.since(since), server = self.config.server, "in session again");
        }
        self.link.backoff.reset();
        if !every.is_zero() {
            self.link.every = every;
        }
        self.begin_beats();
        self.stats.link_opened();
        self.forget_drain();
        if !mutant::is(Mutant::OutboxNotRewound) {
            self.outbox.rewind();
        }
        self.demand.rewind();
        self.bulk_session(Some(self.bulk_target()));
        self.say_heartbeat();
    }

    pub(super) fn heartbeat(&mut self, chain: u64) {
        if chain != self.link.chain || self.link.open.is_none() {
            return;
        }
        let silence = self.now.at.since(self.link.heard_at);
        let silence_max =
            if self.link.is_welcomed() { self.link.every.saturating_mul(SILENT_BEATS_MAX) } else { WELCOME_TIMEOUT };
        if silence > silence_max {
            self.link_down(LinkEnd::Broken("the server has gone silent".to_owned()));
            return;
        }
        self.later(self.link.every, Timer::Heartbeat(chain));
        self.say_heartbeat();
    }

    /// Lets what is to be said leave, and closes.
    pub(super) fn close_link(&mut self) {
        let Some(mut open) = self.link.open.take() else { return };
        let words = match open.welcomed {
            Welcomed::Yes => open.lanes.take_all(&mut self.outbox, self.now),
            Welcomed::No => Vec::new(),
        };
        self.want(Action::LastWords(open.no, words));
    }

    /// Whether there is no session, and none is being opened.
    pub(super) fn is_cut_off(&self) -> bool {
        !self.link.is_welcomed()
    }
}

fn has_assignment(what: &LinkEvent) -> bool {
    match what {
        LinkEvent::Messages { messages, .. } => {
            messages.iter().any(|message| matches!(message, ServerMessage::Assign(_)))
        }
        LinkEvent::Down(_) => false,
    }
}
