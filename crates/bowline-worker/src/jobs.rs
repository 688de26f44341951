//! The connection to the supervisor: one thread that keeps it open and sends, one that listens. What is
//! sent while there is none waits; after each (re)connection the supervisor tells of every job.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bowline_supervisor::client::Supervisor;
use bowline_supervisor::wire::{Event, Request};
use tokio::sync::mpsc as channel;

use crate::error::WorkerError;
use crate::pool::chain;

/// A supervisor that has not come up for so long is a failure.
const ENSURE_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Events on their way to the dispatcher.
const EVENTS_MAX: usize = 1_024;

/// What comes from there.
#[derive(Debug)]
pub(crate) enum FromSupervisor {
    /// Connected: what it knows of every job follows, then `Listed`.
    Up { pid: u32 },
    /// An event.
    Event(Event),
    /// The connection broke; it is being opened anew.
    Down(String),
}

enum Order {
    Request(Box<Request>),
    /// This connection broke.
    Broken(u64),
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
    pub(crate) fn start(
        exe: PathBuf,
        folder: PathBuf,
    ) -> Result<(Self, channel::Receiver<FromSupervisor>), WorkerError> {
        let (orders, inbox) = mpsc::channel();
        let (says, events) = channel::channel(EVENTS_MAX);
        let keeper = Keeper { exe, folder, wake: orders.clone(), says };
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
    exe: PathBuf,
    folder: PathBuf,
    wake: mpsc::Sender<Order>,
    says: channel::Sender<FromSupervisor>,
}

enum Served {
    Broken,
    Closed,
}

impl Keeper {
    fn keep(&self, inbox: &mpsc::Receiver<Order>) {
        let mut number = 0;
        while !self.says.is_closed() {
            number += 1;
            match Supervisor::ensure(&self.exe, &self.folder, ENSURE_WITHIN) {
                Ok(supervisor) => match self.serve(number, &supervisor, inbox) {
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

    fn serve(&self, number: u64, supervisor: &Supervisor, inbox: &mpsc::Receiver<Order>) -> Served {
        if self.says.blocking_send(FromSupervisor::Up { pid: supervisor.pid() }).is_err() {
            return Served::Closed;
        }
        let Ok(listening) = supervisor.try_clone() else { return Served::Broken };
        thread::scope(|scope| {
            scope.spawn(move || self.listen(number, &listening));
            let served = send_all(number, supervisor, inbox);
            supervisor.close();
            served
        })
    }

    fn listen(&self, number: u64, supervisor: &Supervisor) {
        loop {
            let (what, goes_on) = match supervisor.receive(None) {
                Ok(Some(event)) => (FromSupervisor::Event(event), true),
                Ok(None) => continue,
                Err(error) => (FromSupervisor::Down(chain(&error)), false),
            };
            let heard = self.says.blocking_send(what).is_ok();
            if !(heard && goes_on) {
                // Where the other thread is gone it needs no waking.
                let _gone = self.wake.send(Order::Broken(number));
                return;
            }
        }
    }
}

fn send_all(number: u64, supervisor: &Supervisor, inbox: &mpsc::Receiver<Order>) -> Served {
    if supervisor.send(&Request::List).is_err() {
        return Served::Broken;
    }
    // A supervisor that was told to go is not to be followed by another.
    let mut at_break = Served::Broken;
    loop {
        match inbox.recv() {
            Ok(Order::Request(request)) => {
                if matches!(*request, Request::Shutdown(_)) {
                    at_break = Served::Closed;
                }
                if let Err(error) = supervisor.send(&request) {
                    tracing::warn!(error = chain(&error), "a request did not reach the supervisor");
                    return at_break;
                }
            }
            Ok(Order::Broken(broken)) if broken == number => return at_break,
            // An earlier connection's last word.
            Ok(Order::Broken(_)) => {}
            Ok(Order::Close) | Err(mpsc::RecvError) => return Served::Closed,
        }
    }
}
