//! The simulated worker process: for each server that it serves a [`Seat`], which is what production's shell is
//! there, over the real dispatcher. Its journal lies on the machine's disk, its slots are shared among the seats
//! by the real ledger.
//!
//! What a shell does in threads and tasks of its own (preparing, collecting, shipping logs, delivering artifacts)
//! takes its time here and comes to the same: nothing is simulated of the bytes.

mod acting;
mod bulk;
mod seat;
mod supervision;

use std::any::Any;
use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::worker::Room;
use bowline_worker::dispatcher::Event as Happened;
use bowline_worker::shares::shares;

use crate::process::{Event, Io, Process};
use crate::world::WorkerRole;
pub use seat::Seat;

/// A worker's exit status where it was told to stop.
pub const STOPPED: i32 = 0;
/// Where another process acts under its identity: nothing starts it again by itself.
pub const FENCED: i32 = 4;
/// Where another process uses its state directory, or that has no room for its id.
pub const BUSY: i32 = 1;
/// Seats that are told anew of what they share, within one event.
const ROUNDS_MAX: usize = 16;

/// Something of its own that takes its turn later.
#[derive(Debug)]
enum Later {
    /// What a thread or a task has done.
    Happens(Box<Happened>),
    /// What a connection has said first of all that waits.
    Heard,
    /// Whether the supervisor is there.
    Ping,
    /// The connection to the supervisor is opened anew.
    Reconnect,
    /// A log may be delivered.
    Deliver(AttemptRef),
    /// What is shared has changed.
    Look,
}

/// See the module.
#[derive(Debug)]
pub struct Worker {
    role: Box<WorkerRole>,
    seats: Vec<Seat>,
    later: BTreeMap<u64, (usize, Later)>,
    tokens: u64,
    timer: Option<Duration>,
}

/// A seat's hands: the process's, and its own turns.
struct Hands<'a, 'w> {
    io: &'a mut Io<'w>,
    later: &'a mut BTreeMap<u64, (usize, Later)>,
    tokens: &'a mut u64,
    seat: usize,
}

impl Hands<'_, '_> {
    /// A number that names something of this seat.
    fn token(&mut self) -> u64 {
        *self.tokens += 1;
        *self.tokens
    }

    /// This takes its turn after so long.
    fn after(&mut self, length: Duration, later: Later) {
        let token = self.token();
        self.later.insert(token, (self.seat, later));
        self.io.wake(length, token);
    }

    /// This takes its turn after about so many microseconds, now and then much later.
    fn about(&mut self, mean_us: u64, happened: Happened) {
        let length = Duration::from_micros(self.io.random().around(mean_us));
        self.after(length, Later::Happens(Box::new(happened)));
    }
}

/// The process of a worker's role.
pub fn start(role: &WorkerRole) -> Box<dyn Process> {
    let role = Box::new(role.clone());
    Box::new(Worker { role, seats: Vec::new(), later: BTreeMap::new(), tokens: 0, timer: None })
}

impl Worker {
    /// What it serves each server with, in the order of its configuration.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Slots and amounts.
    pub fn role(&self) -> &WorkerRole {
        &self.role
    }

    fn with(&mut self, io: &mut Io<'_>, seat: usize, what: impl FnOnce(&mut Seat, &mut Hands<'_, '_>)) {
        let Some(own) = self.seats.get_mut(seat) else { return };
        what(own, &mut Hands { io, later: &mut self.later, tokens: &mut self.tokens, seat });
    }

    fn begin(&mut self, io: &mut Io<'_>) {
        if !io.lock(&self.role.dir) {
            io.note(format_args!("the state directory is another process's"));
            return io.exit(BUSY);
        }
        let room = Room { slots: self.role.slots, amounts: self.role.amounts.clone() };
        let servers = self.role.servers.clone();
        for (number, (cluster, share)) in servers.iter().zip(shares(&room, servers.len())).enumerate() {
            let mut hands = Hands { io, later: &mut self.later, tokens: &mut self.tokens, seat: number };
            // Whoever cannot keep who he is does not begin, as the real one.
            let Some(seat) = Seat::begin(&self.role, (number, *cluster), share, &mut hands) else {
                return io.exit(BUSY);
            };
            self.seats.push(seat);
        }
    }

    fn woken(&mut self, io: &mut Io<'_>, token: u64) {
        let Some((seat, later)) = self.later.remove(&token) else { return };
        self.with(io, seat, |seat, hands| match later {
            Later::Happens(happened) => seat.happens(hands, *happened),
            Later::Heard => seat.hear_next(hands),
            Later::Ping => seat.ping(hands),
            Later::Reconnect => seat.connect_supervisor(hands),
            Later::Deliver(attempt) => seat.deliver_log(hands, attempt),
            // Every turn ends with a look at what has changed.
            Later::Look => {}
        });
    }

    /// Tells every seat of what the others have changed.
    fn settle_shares(&mut self, io: &mut Io<'_>) {
        if self.seats.len() < 2 {
            return;
        }
        for _ in 0..ROUNDS_MAX {
            let mut is_quiet = true;
            for seat in 0..self.seats.len() {
                if self.seats[seat].is_news() {
                    is_quiet = false;
                    self.with(io, seat, |seat, hands| seat.happens(hands, Happened::SharesChanged));
                }
            }
            if is_quiet {
                return;
            }
        }
        self.with(io, 0, |_, hands| hands.after(Duration::from_micros(1), Later::Look));
    }

    /// Sets the timer to whichever seat wants to be woken first, and ends where all have ended.
    fn settle(&mut self, io: &mut Io<'_>) {
        self.settle_shares(io);
        let next = self.seats.iter().filter_map(Seat::next_timer).min();
        if next != self.timer {
            self.timer = next;
            io.set_timer(next);
        }
        if !self.seats.is_empty() && self.seats.iter().all(Seat::is_over) {
            // As long as one server was left in good order, so is the whole.
            let fenced = self.seats.iter().all(Seat::is_fenced);
            io.exit(if fenced { FENCED } else { STOPPED });
        }
    }
}

impl Process for Worker {
    fn handle(&mut self, io: &mut Io<'_>, event: Event) {
        match event {
            Event::Begin => self.begin(io),
            Event::Timer => {
                self.timer = None;
                for seat in 0..self.seats.len() {
                    self.with(io, seat, Seat::time_passes);
                }
            }
            Event::Woken(token) => self.woken(io, token),
            Event::Written { token, result } => {
                let whose = self.seats.iter().position(|seat| seat.wrote(token));
                if let Some(seat) = whose {
                    self.with(io, seat, |seat, hands| seat.written(hands, token, result.err()));
                }
            }
            Event::Arrived { conn, packet } => {
                for seat in 0..self.seats.len() {
                    if self.seats[seat].has_conn(conn) {
                        return self.with(io, seat, |seat, hands| seat.arrived(hands, conn, packet));
                    }
                }
            }
            Event::Closed { conn, why } => {
                for seat in 0..self.seats.len() {
                    self.with(io, seat, |seat, hands| seat.closed(hands, conn, &why));
                }
            }
            Event::Term => {
                for seat in 0..self.seats.len() {
                    self.with(io, seat, Seat::told);
                }
            }
            // A worker serves nobody, commits nothing, and is the parent of nothing.
            Event::Opened { .. }
            | Event::Committed { .. }
            | Event::Swept { .. }
            | Event::Do(_)
            | Event::JobEnded { .. } => {}
        }
        self.settle(io);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
