//! The supervisor's loop: one thread, one `epoll`, one timer on `CLOCK_BOOTTIME`.
//!
//! Everything that happens comes through [`Server::run`]: a connection, a request, a signal, a
//! new process's report, the end of a first process, a deadline. It goes to the [`Machine`], which decides; the
//! [`Hands`] do. Nothing here waits for anything else.

mod births;
mod body;
mod connection;
mod hands;
mod kill;
mod launch;
mod members;
mod others;
mod spawn;
mod start;
mod syncer;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use crate::clock::{boottime, timespec};
use crate::machine::{Begin, Course, Greeting, Machine, Voice as _};
use crate::records::spares::Spares;
use crate::signals::Caught;
use crate::wire::{DecodeError, Event, Hello, Refusal, Request, version};
use crate::{Options, Outcome};
use connection::{Connection, Health};
use hands::Hands;

/// Connections that have not said Hello, at most.
const CONNECTIONS_MAX: usize = 8;
/// Events taken at once.
const EVENTS: usize = 256;

const LISTENER: EventData = EventData::new_u64(0);
const SIGNALS: EventData = EventData::new_u64(1);
const TIMER: EventData = EventData::new_u64(2);
const SYNCER: EventData = EventData::new_u64(3);
const CONNECTION_BIT: u64 = 1 << 63;

fn report_token(number: u64) -> EventData {
    EventData::new_u64(number << 2 | 2)
}

fn end_token(number: u64) -> EventData {
    EventData::new_u64(number << 2 | 1)
}

fn exit_token(number: u64) -> EventData {
    EventData::new_u64(number << 2 | 3)
}

/// The supervisor.
#[derive(Debug)]
struct Server {
    machine: Machine,
    hands: Hands,
    timer: OwnedFd,
    /// When it goes off. Zero: never.
    timer_at: Duration,
    caught: Caught,
    listener: UnixListener,
    next_connection: u64,
}

/// Runs a supervisor to its end.
pub(crate) fn run(options: &Options) -> io::Result<Outcome> {
    let caught = Caught::install()?;
    let Some(begin) = start::start(options)? else { return Ok(Outcome::AlreadyRunning) };
    let lock = begin.lock;
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let machine = Begin {
        id: begin.id,
        boot_id: begin.boot_id.clone(),
        idle_bound: options.idle_bound,
        records: begin.records,
        stuck: begin.stuck.keys().cloned().collect(),
    };
    let hands = Hands {
        root: options.state_dir.clone(),
        spares: Spares::open(&begin.folder),
        state_dir: begin.folder,
        boot_id: begin.boot_id,
        launcher: begin.launcher,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        births: 0,
        readied: BTreeMap::new(),
        bodies: BTreeMap::new(),
        by_number: BTreeMap::new(),
        records: BTreeMap::new(),
        ends: begin.ends,
        syncer: None,
        has_synced: None,
        stuck_before: begin.stuck,
        connections: BTreeMap::new(),
        active: None,
        deaf: Vec::new(),
        log: begin.log,
    };
    let machine = Machine::new(machine, boottime());
    let timer_at = Duration::ZERO;
    let mut server = Server { machine, hands, timer, timer_at, caught, listener: begin.listener, next_connection: 0 };
    epoll::add(&server.hands.epoll, &server.listener, LISTENER, EventFlags::IN)?;
    epoll::add(&server.hands.epoll, server.caught.fd(), SIGNALS, EventFlags::IN)?;
    epoll::add(&server.hands.epoll, &server.timer, TIMER, EventFlags::IN)?;
    let ended = server.run();
    server.close(options);
    drop(lock);
    ended.map(|()| Outcome::Left)
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = boottime();
            self.machine.tick(now, &mut self.hands);
            if let Some(result) = self.hands.has_synced.take() {
                self.machine.synced(result, now, &mut self.hands);
            }
            self.flush_all(now);
            if self.machine.course(now, &mut self.hands) == Course::Leave {
                return Ok(());
            }
            self.set_timer()?;
            events.clear();
            match epoll::wait(&self.hands.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.on_event(event.data, event.flags);
            }
        }
    }

    fn on_event(&mut self, data: EventData, flags: EventFlags) {
        let now = boottime();
        match data.u64() {
            token if token == LISTENER.u64() => self.accept(),
            token if token == SIGNALS.u64() => self.on_signals(now),
            token if token == SYNCER.u64() => self.on_synced(now),
            token if token == TIMER.u64() => {
                // Emptied, so that it is quiet until it is set anew.
                rustix::io::read(&self.timer, &mut [0; 8]).ok();
                self.timer_at = Duration::ZERO;
            }
            token if token & CONNECTION_BIT != 0 => self.on_connection(token, flags, now),
            token => {
                let Some(key) = self.hands.by_number.get(&(token >> 2)).cloned() else { return };
                match token & 3 {
                    1 => self.on_end(&key, now),
                    2 => self.on_report(&key, now),
                    _ => self.on_exit(&key, now),
                }
            }
        }
    }

    fn on_signals(&mut self, now: Duration) {
        for number in self.caught.take() {
            if i32::from(number) == rustix::process::Signal::CHILD.as_raw() {
                self.machine.child_ended(now);
            } else {
                self.machine.told_to_end(now, &mut self.hands);
            }
        }
    }

    fn on_synced(&mut self, now: Duration) {
        let Some(result) = self.hands.syncer.as_ref().and_then(syncer::Syncer::result) else { return };
        self.hands.syncer = None;
        self.machine.synced(result, now, &mut self.hands);
    }

    fn set_timer(&mut self) -> io::Result<()> {
        // A zero would stop the timer.
        let at = self.machine.next_at().map_or(Duration::ZERO, |at| at.max(Duration::from_nanos(1)));
        if at == self.timer_at {
            return Ok(());
        }
        self.timer_at = at;
        let set = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(at) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &set)?;
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let waiting = self.hands.connections.len().saturating_sub(usize::from(self.hands.active.is_some()));
            let is_welcome = waiting < CONNECTIONS_MAX && is_own_user(&stream);
            let token = CONNECTION_BIT | self.next_connection;
            self.next_connection += 1;
            let Ok(connection) = Connection::new(stream) else { continue };
            let data = EventData::new_u64(token);
            if is_welcome && epoll::add(&self.hands.epoll, connection.stream(), data, EventFlags::IN).is_ok() {
                self.hands.connections.insert(token, connection);
            }
        }
    }

    fn on_connection(&mut self, token: u64, flags: EventFlags, now: Duration) {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let Some(connection) = self.hands.connections.get_mut(&token) else { return };
            let health = connection.read();
            let frames = connection.frames();
            // What came before it was closed still counts.
            let is_understood = frames.is_ok_and(|frames| frames.iter().all(|body| self.on_frame(token, body, now)));
            if health == Health::Closed || !is_understood {
                self.drop_connection(token, now);
            }
        }
    }

    /// `false`: what was sent can't be understood, or asks for another version.
    fn on_frame(&mut self, token: u64, body: &[u8], now: Duration) -> bool {
        if self.hands.active == Some(token) {
            return match Request::decode(body) {
                Ok(request) => {
                    self.machine.request(request, now, &mut self.hands);
                    true
                }
                Err(error @ DecodeError::UnknownMessage(_)) => {
                    self.hands.log.say(format_args!("a request of a later version is refused: {error}"));
                    self.hands.tell(&Event::Refused { key: None, why: Refusal::NotUnderstood });
                    true
                }
                Err(error) => {
                    self.hands.log.say(format_args!("a request that can't be read: {error}"));
                    false
                }
            };
        }
        let Ok(theirs) = Hello::decode(body) else { return false };
        let own = Hello { version: version(), pid: std::process::id(), boot_id: self.hands.boot_id.clone() };
        let Some(connection) = self.hands.connections.get_mut(&token) else { return false };
        if connection.queue(&own.encode()) == Health::Closed {
            return false;
        }
        match self.machine.greet(token, theirs.version, version()) {
            Greeting::Refused => {
                connection.flush();
                false
            }
            Greeting::Welcome { replaced } => {
                self.hands.active = Some(token);
                replaced.map(|older| self.hands.connections.remove(&older));
                true
            }
        }
    }

    fn flush_all(&mut self, now: Duration) {
        let mut closed = std::mem::take(&mut self.hands.deaf);
        for (token, connection) in &mut self.hands.connections {
            let flags = match connection.flush() {
                Health::Closed => {
                    closed.push(*token);
                    continue;
                }
                Health::Good if connection.has_unwritten() => EventFlags::IN | EventFlags::OUT,
                Health::Good => EventFlags::IN,
            };
            if connection.set_interest(flags) {
                epoll::modify(&self.hands.epoll, connection.stream(), EventData::new_u64(*token), flags).ok();
            }
        }
        for token in closed {
            self.drop_connection(token, now);
        }
    }

    fn drop_connection(&mut self, token: u64, now: Duration) {
        self.hands.connections.remove(&token);
        self.machine.gone(token, now);
        if self.hands.active == Some(token) {
            self.hands.active = None;
        }
    }

    fn close(&mut self, options: &Options) {
        for connection in self.hands.connections.values_mut() {
            connection.flush_for_good();
        }
        std::fs::remove_file(&options.socket).ok();
        self.hands.launcher.ways.close();
        self.hands.log.say("supervisor leaves");
    }
}

/// Nobody else may start programs here.
fn is_own_user(stream: &std::os::unix::net::UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
