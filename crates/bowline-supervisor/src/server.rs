//! The supervisor's loop: one thread, one `epoll`, one timer on `CLOCK_BOOTTIME`.
//!
//! Everything that happens comes through [`Server::run`]: a connection, a request, a signal, a
//! stage's report, the end of a first process, a deadline. Nothing here waits for anything else.

mod births;
mod connection;
mod job;
mod launch;
mod members;
mod others;
mod requests;
mod spawn;
mod start;
mod stop;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use crate::clock::{boottime, timespec};
use crate::log::Log;
use crate::procs::Process;
use crate::signals::Caught;
use crate::wire::{DecodeError, Event, Hello, Refusal, Request, ShutdownMode, version};
use crate::{Options, Outcome};
use connection::{Connection, Health};
use launch::Launcher;
use members::Jobs;

/// Orphans that end wait so long to be reaped, so that many are reaped at once.
const REAP_EVERY: Duration = Duration::from_millis(50);
/// Connections that have not said Hello, at most.
const CONNECTIONS_MAX: usize = 8;
/// Events taken at once.
const EVENTS: usize = 256;

const LISTENER: EventData = EventData::new_u64(0);
const SIGNALS: EventData = EventData::new_u64(1);
const TIMER: EventData = EventData::new_u64(2);
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
    launcher: Launcher,
    jobs: Jobs,
    /// Live jobs by the number of their birth, from 1.
    by_number: BTreeMap<u64, String>,
    damaged: Vec<String>,
    /// What could not be killed of the jobs of a supervisor that is gone. Their loss is told when it is.
    stuck_before: BTreeMap<String, Vec<Process>>,
    look_before_at: Option<Duration>,
    epoll: OwnedFd,
    timer: OwnedFd,
    caught: Caught,
    listener: UnixListener,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// The connection that said Hello last.
    active: Option<u64>,
    leaving: Option<ShutdownMode>,
    idle_bound: Duration,
    idle_since: Option<Duration>,
    reap_at: Option<Duration>,
    /// When the newest answered heartbeat of each lease group was sent.
    leases: BTreeMap<String, Duration>,
    log: Log,
}

/// Runs a supervisor to its end.
pub(crate) fn run(options: &Options) -> io::Result<Outcome> {
    let caught = Caught::install()?;
    let Some(begin) = start::start(options)? else { return Ok(Outcome::AlreadyRunning) };
    let lock = begin.lock;
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let mut server = Server {
        launcher: begin.launcher,
        jobs: begin.jobs,
        by_number: BTreeMap::new(),
        damaged: begin.damaged,
        look_before_at: (!begin.stuck.is_empty()).then(boottime),
        stuck_before: begin.stuck,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        timer,
        caught,
        listener: begin.listener,
        connections: BTreeMap::new(),
        next_connection: 0,
        active: None,
        leaving: None,
        idle_bound: options.idle_bound,
        idle_since: None,
        reap_at: None,
        leases: BTreeMap::new(),
        log: begin.log,
    };
    epoll::add(&server.epoll, &server.listener, LISTENER, EventFlags::IN)?;
    epoll::add(&server.epoll, server.caught.fd(), SIGNALS, EventFlags::IN)?;
    epoll::add(&server.epoll, &server.timer, TIMER, EventFlags::IN)?;
    let ended = server.run();
    server.close(options);
    drop(lock);
    ended.map(|()| Outcome::Left)
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            self.do_what_is_due(boottime());
            self.flush_all();
            if self.may_leave(boottime()) {
                return Ok(());
            }
            self.set_timer()?;
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
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
            token if token == TIMER.u64() => {
                // Emptied, so that it is quiet until it is set anew.
                rustix::io::read(&self.timer, &mut [0; 8]).ok();
            }
            token if token & CONNECTION_BIT != 0 => self.on_connection(token, flags, now),
            token => {
                let Some(key) = self.by_number.get(&(token >> 2)).cloned() else { return };
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
                self.reap_at.get_or_insert(now + REAP_EVERY);
            } else if self.leaving == Some(ShutdownMode::StopJobs) {
                self.leave_at_once(now);
            } else {
                self.leave(ShutdownMode::StopJobs, now);
            }
        }
    }

    fn do_what_is_due(&mut self, now: Duration) {
        let due: Vec<String> =
            self.lives().filter(|live| live.wake_at.is_some_and(|at| at <= now)).map(|live| live.key.clone()).collect();
        for key in due {
            self.look(&key, now);
        }
        if self.look_before_at.is_some_and(|at| at <= now) {
            self.look_at_stuck_before(now);
        }
        if self.reap_at.is_some_and(|at| at <= now) {
            self.reap_at = None;
            self.reap_orphans();
        }
    }

    /// The earliest moment at which something is to be done without being told.
    fn set_timer(&self) -> io::Result<()> {
        let idle_at = self.idle_since.map(|since| since.saturating_add(self.idle_bound));
        let next = self
            .lives()
            .filter_map(|live| live.wake_at)
            .chain(self.reap_at)
            .chain(self.look_before_at)
            .chain(idle_at)
            .min();
        // A zero would stop the timer.
        let at = next.map_or(Duration::ZERO, |at| at.max(Duration::from_nanos(1)));
        let set = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(at) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &set)?;
        Ok(())
    }

    fn may_leave(&mut self, now: Duration) -> bool {
        let has_jobs = self.lives().next().is_some();
        match self.leaving {
            Some(ShutdownMode::WhenIdle) => return !has_jobs,
            // What can't be killed is on record; the next supervisor looks for it.
            Some(ShutdownMode::StopJobs) => return self.lives().all(|live| live.phase.is_stuck()),
            None => {}
        }
        if has_jobs || self.active.is_some() {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        now >= since.saturating_add(self.idle_bound)
    }

    /// Tells the worker, if there is one.
    fn emit(&mut self, event: &Event) {
        let Some(active) = self.active else { return };
        let Some(connection) = self.connections.get_mut(&active) else { return };
        if connection.queue(&event.encode()) == Health::Closed {
            self.log.say("the worker does not read; its connection is closed");
            self.drop_connection(active);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let waiting = self.connections.len() - usize::from(self.active.is_some());
            let is_welcome = waiting < CONNECTIONS_MAX && is_own_user(&stream);
            let token = CONNECTION_BIT | self.next_connection;
            self.next_connection += 1;
            let Ok(connection) = Connection::new(stream) else { continue };
            let data = EventData::new_u64(token);
            if is_welcome && epoll::add(&self.epoll, connection.stream(), data, EventFlags::IN).is_ok() {
                self.connections.insert(token, connection);
            }
        }
    }

    fn on_connection(&mut self, token: u64, flags: EventFlags, now: Duration) {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let Some(connection) = self.connections.get_mut(&token) else { return };
            let health = connection.read();
            let frames = connection.frames();
            // What came before it was closed still counts.
            let is_understood = frames.is_ok_and(|frames| frames.iter().all(|body| self.on_frame(token, body, now)));
            if health == Health::Closed || !is_understood {
                self.drop_connection(token);
            }
        }
    }

    /// `false`: what was sent can't be understood, or asks for another version.
    fn on_frame(&mut self, token: u64, body: &[u8], now: Duration) -> bool {
        if self.active == Some(token) {
            return match Request::decode(body) {
                Ok(request) => {
                    self.handle(request, now);
                    true
                }
                Err(error @ DecodeError::UnknownMessage(_)) => {
                    self.log.say(format_args!("a request of a later version is refused: {error}"));
                    self.emit(&Event::Refused { key: None, why: Refusal::NotUnderstood });
                    true
                }
                Err(error) => {
                    self.log.say(format_args!("a request that can't be read: {error}"));
                    false
                }
            };
        }
        let Ok(theirs) = Hello::decode(body) else { return false };
        let own = Hello { version: version(), pid: std::process::id(), boot_id: self.launcher.boot_id.clone() };
        let Some(connection) = self.connections.get_mut(&token) else { return false };
        if connection.queue(&own.encode()) == Health::Closed || theirs.version != version() {
            connection.flush();
            return false;
        }
        if let Some(older) = self.active.replace(token) {
            self.connections.remove(&older);
        }
        true
    }

    fn flush_all(&mut self) {
        let mut closed = Vec::new();
        for (token, connection) in &mut self.connections {
            let flags = match connection.flush() {
                Health::Closed => {
                    closed.push(*token);
                    continue;
                }
                Health::Good if connection.has_unwritten() => EventFlags::IN | EventFlags::OUT,
                Health::Good => EventFlags::IN,
            };
            if connection.set_interest(flags) {
                epoll::modify(&self.epoll, connection.stream(), EventData::new_u64(*token), flags).ok();
            }
        }
        for token in closed {
            self.drop_connection(token);
        }
    }

    fn drop_connection(&mut self, token: u64) {
        self.connections.remove(&token);
        if self.active == Some(token) {
            self.active = None;
        }
    }

    fn close(&mut self, options: &Options) {
        for connection in self.connections.values_mut() {
            connection.flush_for_good();
        }
        std::fs::remove_file(&options.socket).ok();
        self.launcher.ways.close();
        self.log.say("supervisor leaves");
    }
}

/// Nobody else may start programs here.
fn is_own_user(stream: &std::os::unix::net::UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
