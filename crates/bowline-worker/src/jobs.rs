//! The connections to the supervisors: one thread that keeps them open and sends, one for each that
//! listens. What is sent while there is none waits; after each (re)connection every job is told of.
//!
//! There is one supervisor as a rule. After an upgrade one of another version may still be busy: it is
//! asked to take no more and to leave with its last job, and what concerns its jobs goes to it.

mod table;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bowline_supervisor::client::{Error, Supervisor};
use bowline_supervisor::wire::{Request, ShutdownMode};
use bowline_supervisor::{Program, boottime};
use parking_lot::Mutex;
use tokio::sync::mpsc as channel;

use crate::dispatcher::FromSupervisor;
use crate::error::WorkerError;
use crate::pool::chain;
use table::{Heard, Number, Table};

/// A supervisor that has not come up for so long is a failure.
const ENSURE_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Supervisors are asked this often whether they are there.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The first version that knows of pings.
const PING_SINCE: u32 = 2;
/// When one of another version has left, it is looked so many times, a second apart, for what it left.
const LOOKS_AFTER: u32 = 10;
/// Events on their way to the dispatcher.
const EVENTS_MAX: usize = 1_024;

enum Order {
    Request(Box<Request>),
    /// This connection broke.
    Broken(Number),
    /// Nothing more will come.
    Close,
}

/// The dispatcher's end.
#[derive(Debug)]
pub(crate) struct Jobs {
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Jobs {
    /// Starts the threads.
    pub(crate) fn start(program: Program) -> Result<(Self, channel::Receiver<FromSupervisor>), WorkerError> {
        let (orders, inbox) = mpsc::channel();
        let (says, events) = channel::channel(EVENTS_MAX);
        let mut keeper =
            Keeper { program, wake: orders.clone(), says, count: 0, leases: BTreeMap::new(), table: Mutex::default() };
        let named = thread::Builder::new().name("bowline-jobs".to_owned());
        let thread = named.spawn(move || keeper.keep(&inbox)).map_err(WorkerError::Thread)?;
        Ok((Self { orders, thread: Some(thread) }, events))
    }

    /// Sends a request, now or as soon as there is a connection. One that a broken connection took with
    /// it shows after the next `Listed`.
    pub(crate) fn send(&self, request: Request) {
        if self.orders.send(Order::Request(Box::new(request))).is_err() {
            tracing::error!("the thread that talks to the supervisor is gone");
        }
    }

    /// Sends what is left and closes the connection. The supervisor lives on.
    pub(crate) fn close(&mut self, mut events: channel::Receiver<FromSupervisor>) {
        // A listener that waits for room must not be waited for.
        events.close();
        while events.try_recv().is_ok() {}
        // A thread that is gone is closed.
        let _gone = self.orders.send(Order::Close);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that talks to the supervisor panicked");
        }
    }
}

struct Keeper {
    program: Program,
    wake: mpsc::Sender<Order>,
    says: channel::Sender<FromSupervisor>,
    /// Connections so far.
    count: Number,
    /// The newest word of each lease group: a new supervisor has to know it too.
    leases: BTreeMap<String, Duration>,
    table: Mutex<Table>,
}

enum Served {
    Broken,
    Closed,
}

/// One connection.
struct Line {
    number: Number,
    supervisor: Supervisor,
}

impl Keeper {
    fn keep(&mut self, inbox: &mpsc::Receiver<Order>) {
        while !self.says.is_closed() {
            match self.connect() {
                Ok(lines) => match self.serve(lines, inbox) {
                    Served::Broken => {}
                    Served::Closed => return,
                },
                Err(error) => {
                    if self.says.blocking_send(FromSupervisor::Down(chain(&error))).is_err() {
                        return;
                    }
                    thread::park_timeout(RETRY_EVERY);
                }
            }
        }
    }

    /// Its own supervisor first, then those of other versions.
    fn connect(&mut self) -> Result<Vec<Line>, Error> {
        let own = Supervisor::ensure(&self.program, ENSURE_WITHIN)?;
        let mut all = vec![own];
        for other in Supervisor::others(&self.program.state_dir, ENSURE_WITHIN) {
            match other {
                // It left meanwhile.
                Err(Error::Unreachable { source, .. }) if source.kind() != std::io::ErrorKind::WouldBlock => {}
                other => all.push(other?),
            }
        }
        let mut lines = Vec::new();
        for supervisor in all {
            self.count += 1;
            lines.push(Line { number: self.count, supervisor });
        }
        Ok(lines)
    }

    fn serve(&mut self, lines: Vec<Line>, inbox: &mpsc::Receiver<Order>) -> Served {
        let pid = lines[0].supervisor.pid();
        *self.table.lock() = Table::new(lines.iter().map(|line| (line.number, line.supervisor.pid())));
        if self.says.blocking_send(FromSupervisor::Up { pid }).is_err() {
            return Served::Closed;
        }
        let mut leases = std::mem::take(&mut self.leases);
        let keeper = &*self;
        let served = thread::scope(|scope| {
            let mut lines = lines;
            for line in &lines {
                let Ok(listening) = line.supervisor.try_clone() else {
                    close_all(&lines);
                    return Served::Broken;
                };
                let number = line.number;
                scope.spawn(move || keeper.listen(number, &listening));
            }
            let served = keeper.send_all(&mut lines, &mut leases, inbox);
            close_all(&lines);
            served
        });
        self.leases = leases;
        served
    }

    fn listen(&self, number: Number, supervisor: &Supervisor) {
        loop {
            let (what, goes_on) = match supervisor.receive(None) {
                Ok(Some(event)) => match self.table.lock().heard(number, event) {
                    Heard::Tell(event) => (Some(FromSupervisor::Event(event)), true),
                    Heard::TellThatItAnswers => (Some(FromSupervisor::Answers), true),
                    Heard::Nothing => (None, true),
                },
                Ok(None) => continue,
                // That one of another version has left is no news: it was asked to.
                Err(error) if self.table.lock().is_own(number) => (Some(FromSupervisor::Down(chain(&error))), false),
                Err(_) => (None, false),
            };
            let heard = what.is_none_or(|what| self.says.blocking_send(what).is_ok());
            if !(heard && goes_on) {
                // Where the other thread is gone it needs no waking.
                let _gone = self.wake.send(Order::Broken(number));
                return;
            }
        }
    }

    fn send_all(
        &self,
        lines: &mut Vec<Line>,
        leases: &mut BTreeMap<String, Duration>,
        inbox: &mpsc::Receiver<Order>,
    ) -> Served {
        for other in &lines[1..] {
            tracing::info!(
                pid = other.supervisor.pid(),
                version = other.supervisor.version(),
                "a supervisor of another version is busy; it takes no more, and leaves with its last job"
            );
            // Where it is gone its listener says so.
            let _gone = other.supervisor.send(&Request::Shutdown(ShutdownMode::WhenIdle));
        }
        let renewals = leases.iter().map(|(lease, sent_at)| Request::Renew { lease: lease.clone(), sent_at: *sent_at });
        for request in renewals.collect::<Vec<_>>().into_iter().chain([Request::List]) {
            if self.pass_on(lines, &request).is_err() {
                return Served::Broken;
            }
        }
        // A supervisor that was told to go is not to be followed by another.
        let mut at_break = Served::Broken;
        let (mut looks, mut asked_at) = (0_u32, boottime());
        loop {
            if boottime() >= asked_at + PING_EVERY {
                asked_at = boottime();
                let request = if looks > 0 { Request::List } else { Request::Ping };
                looks = looks.saturating_sub(1);
                if self.ask(lines, &request).is_err() {
                    return at_break;
                }
            }
            let request = match inbox.recv_timeout(PING_EVERY) {
                Ok(Order::Request(request)) => {
                    match &*request {
                        Request::Shutdown(_) => at_break = Served::Closed,
                        Request::Renew { lease, sent_at } => {
                            leases.insert(lease.clone(), *sent_at);
                        }
                        _ => {}
                    }
                    *request
                }
                Ok(Order::Broken(broken)) if lines[0].number == broken => return at_break,
                // One of another version, or an earlier connection's last word.
                Ok(Order::Broken(broken)) => {
                    let before = lines.len();
                    lines.retain(|line| line.number != broken);
                    if lines.len() == before {
                        continue;
                    }
                    self.table.lock().gone(broken);
                    looks = LOOKS_AFTER;
                    Request::List
                }
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Ok(Order::Close) | Err(mpsc::RecvTimeoutError::Disconnected) => return Served::Closed,
            };
            if let Err(error) = self.pass_on(lines, &request) {
                tracing::warn!(error = chain(&error), "a request did not reach the supervisor");
                return at_break;
            }
        }
    }

    /// Asks all whether they are there, and tells who has not answered the last time.
    fn ask(&self, lines: &[Line], request: &Request) -> Result<(), Error> {
        let silent = self.table.lock().silent(boottime());
        if let Some((pid, length)) = silent {
            // Nobody listens any more: then the inbox says so.
            let _told = self.says.blocking_send(FromSupervisor::Silent { pid, length });
        }
        for line in lines.iter().filter(|line| line.supervisor.version() >= PING_SINCE) {
            self.table.lock().asked(line.number, boottime());
        }
        self.pass_on(lines, request)
    }

    /// Sends a request to those whom it concerns. The error: to the own one it cannot be sent.
    fn pass_on(&self, lines: &[Line], request: &Request) -> Result<(), Error> {
        let (own, others) = lines.split_first().expect("there is always the own one, which is never removed");
        let to = {
            let mut table = self.table.lock();
            match request {
                Request::List => {
                    table.listing();
                    None
                }
                Request::Kill { key, .. } | Request::Forget { key } => Some(table.who_has(key)),
                Request::Start(_) => Some(own.number),
                Request::Ping | Request::Renew { .. } | Request::Shutdown(_) => None,
            }
        };
        for other in others.iter().filter(|other| to.is_none_or(|to| to == other.number)) {
            if !matches!(request, Request::Ping | Request::Renew { .. }) || other.supervisor.version() >= PING_SINCE {
                // Where it is gone its listener says so.
                let _gone = other.supervisor.send(request);
            }
        }
        if to.is_none_or(|to| to == own.number) {
            own.supervisor.send(request)?;
        }
        Ok(())
    }
}

fn close_all(lines: &[Line]) {
    for line in lines {
        line.supervisor.close();
    }
}

#[cfg(test)]
mod tests;
