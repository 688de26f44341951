//! The supervisor as a process of the world: the real machine over records on a simulated disk, with jobs
//! as facts of the world.
//!
//! It dies between any two steps: with a chance that it is given, at each write to its disk, what it was
//! about to do next is not done any more. It reads the records of the life before, kills what they name, and
//! only then takes connections, as the real one binds its socket after its sweep.

mod hands;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::BTreeSet;
use std::time::Duration;

use bowline_supervisor::machine::{Begin, Course, Greeting, Machine, Report};
use bowline_supervisor::records::{Entry, Records, Tail};
use bowline_supervisor::wire::{Exit, version};

use crate::job::{Ended, Signal};
use crate::process::{CloseWhy, ConnId, Event, Io, Packet, Process};
use hands::{Hands, Own, Promise, SYNC, What};

/// Without a job and without a worker for so long, it leaves.
const IDLE_BOUND: Duration = Duration::from_mins(1);
/// What the life before left and can't be killed within so long is named.
const SWEEP_BOUND: Duration = Duration::from_secs(10);
/// Between two looks at it.
const SWEEP_EVERY: Duration = Duration::from_millis(10);
/// Exit status of a process that was killed.
const KILLED: i32 = 137;

/// A simulated supervisor.
#[derive(Debug)]
pub struct SupervisorProcess {
    own: Own,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is read yet.
    New,
    /// What the life before left is being killed.
    Sweeping(Box<Sweep>),
    /// At work.
    Up(Box<Machine>),
}

#[derive(Debug)]
struct Sweep {
    records: Records,
    give_up_at: Duration,
    /// What came meanwhile.
    backlog: Vec<Event>,
}

impl SupervisorProcess {
    /// The supervisor of a state directory.
    pub fn new(dir: impl Into<String>) -> Self {
        Self { own: Own::new(dir.into()), stage: Stage::New }
    }

    /// It dies at so many of a thousand writes.
    #[must_use]
    pub const fn dying(mut self, per_mille: u64) -> Self {
        self.own.deaths_per_mille = per_mille;
        self
    }

    /// The machine. `None`: it has not begun, or still kills what the life before left.
    pub const fn machine(&self) -> Option<&Machine> {
        match &self.stage {
            Stage::Up(machine) => Some(machine),
            Stage::New | Stage::Sweeping(_) => None,
        }
    }

    fn begin(&mut self, io: &mut Io<'_>) {
        let records = self.own.load(io);
        let give_up_at = io.now().boot + SWEEP_BOUND;
        self.stage = Stage::Sweeping(Box::new(Sweep { records, give_up_at, backlog: Vec::new() }));
        self.sweep(io);
    }

    /// Kills what the records name; goes on when nothing of it is left, or when the bound is over.
    fn sweep(&mut self, io: &mut Io<'_>) {
        let Stage::Sweeping(sweep) = &mut self.stage else { return };
        let boot_id = io.boot_id();
        let living: BTreeSet<String> = io.living(&self.own.dir).into_iter().collect();
        let open = || sweep.records.whole.iter().filter(|record| record.may_have_left_something(&boot_id));
        let left: BTreeSet<String> =
            open().map(|record| record.begun.key.clone()).filter(|key| living.contains(key)).collect();
        for key in &left {
            io.signal(&self.own.dir, key, Signal::Kill);
        }
        if !left.is_empty() && io.now().boot < sweep.give_up_at {
            return io.wake(SWEEP_EVERY, self.own.promise(What::Sweep));
        }
        for record in open().filter(|record| !left.contains(&record.begun.key) && record.tail == Tail::Room) {
            // Where the disk refuses it, the next sweep just looks again.
            io.append_in_place(&hands::record_file(&record.begun.key), &Entry::Clean.framed());
        }
        let Stage::Sweeping(sweep) = std::mem::replace(&mut self.stage, Stage::New) else { return };
        let id = self.own.dir.clone();
        let begin = Begin { id, boot_id, idle_bound: IDLE_BOUND, records: sweep.records, stuck: left };
        self.stage = Stage::Up(Box::new(Machine::new(begin, io.now().boot)));
        for event in sweep.backlog {
            self.up(io, event);
        }
        self.turn(io);
    }

    /// One event for the machine.
    fn up(&mut self, io: &mut Io<'_>, event: Event) {
        let Stage::Up(machine) = &mut self.stage else { return };
        let now = io.now().boot;
        let mut hands = Hands { io, own: &mut self.own };
        match event {
            Event::Opened { conn, .. } => {
                if let Greeting::Welcome { replaced: Some(older) } = machine.greet(conn.0, version(), version()) {
                    hands.io.close(ConnId(older), CloseWhy::Done);
                }
                hands.own.active = machine.active();
            }
            Event::Arrived { conn, packet: Packet::ToSupervisor(request) } => {
                if machine.active() == Some(conn.0) {
                    machine.request(request, now, &mut hands);
                }
            }
            Event::Closed { conn, .. } => {
                machine.gone(conn.0, now);
                hands.own.active = machine.active();
            }
            Event::Written { token: SYNC, result } => {
                machine.synced(result.map_err(hands::as_io), now, &mut hands);
            }
            Event::Woken(token) => {
                // Otherwise of the sweep, which is over.
                if let Some(promise) = hands.own.promises.remove(&token) {
                    kept(machine, promise, now, &mut hands);
                }
            }
            Event::JobEnded { key, ended } => job_ended(machine, &key, ended, now, &mut hands),
            Event::Term => machine.told_to_end(now, &mut hands),
            Event::Begin
            | Event::Timer
            | Event::Arrived { .. }
            | Event::Written { .. }
            | Event::Committed { .. }
            | Event::Swept { .. }
            | Event::Do(_) => {}
        }
    }

    /// After each event, as after each turn of the real loop.
    fn turn(&mut self, io: &mut Io<'_>) {
        let Stage::Up(machine) = &mut self.stage else { return };
        let now = io.now();
        let mut hands = Hands { io, own: &mut self.own };
        machine.tick(now.boot, &mut hands);
        if machine.course(now.boot, &mut hands) == Course::Leave {
            return io.exit(0);
        }
        io.set_boot_timer(machine.next_at());
    }
}

impl Process for SupervisorProcess {
    fn handle(&mut self, io: &mut Io<'_>, event: Event) {
        match (&mut self.stage, event) {
            (Stage::New, Event::Begin) => self.begin(io),
            (Stage::New, _) => {}
            (Stage::Sweeping(_), Event::Woken(_)) => self.sweep(io),
            (Stage::Sweeping(sweep), event) => sweep.backlog.push(event),
            (Stage::Up(_), event) => {
                self.up(io, event);
                self.turn(io);
            }
        }
        if self.own.is_dead {
            io.exit(KILLED);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What was to happen a moment later.
fn kept(machine: &mut Machine, promise: Promise, now: Duration, hands: &mut Hands<'_, '_>) {
    let key = promise.key;
    match promise.what {
        What::Sweep => {}
        What::Report(report) => {
            // A job that has ended meanwhile was reported before its end.
            if hands.own.unreported.remove(&key) {
                machine.reported(&key, report, now, hands);
                if report != Report::Started {
                    hands.own.children.remove(&key);
                    machine.over(&key, Exit::Code(127), now, hands);
                }
            }
        }
        What::FirstEnds => {
            if hands.own.children.contains_key(&key) {
                machine.ended(&key, Exit::Signal(9), now, hands);
            }
        }
    }
}

fn job_ended(machine: &mut Machine, key: &str, ended: Ended, now: Duration, hands: &mut Hands<'_, '_>) {
    if hands.own.unreported.remove(key) {
        machine.reported(key, Report::Started, now, hands);
    }
    hands.own.children.remove(key);
    let exit = match ended {
        Ended::Status(status) => Exit::Code(status.into()),
        Ended::Term => Exit::Signal(15),
        Ended::Kill => Exit::Signal(9),
    };
    machine.over(key, exit, now, hands);
}
