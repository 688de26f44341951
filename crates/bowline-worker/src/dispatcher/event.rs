//! What can happen to a [`super::Dispatcher`].

use std::path::PathBuf;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_protocol::ServerMessage;
use bowline_supervisor::wire::{Event as JobEvent, Start};

use crate::checks::Found;
use crate::collect::Collected;
use crate::journal::Said;
use crate::logs::shipper::FromShipper;
use crate::uploads::FromUploads;

/// Something has happened.
#[derive(Debug)]
pub enum Event {
    /// Time has passed: something may be due. See [`super::Dispatcher::next_timer`].
    Time,
    /// The journal says what is durable, or that it cannot write.
    Journal(Said),
    /// The supervisor says, or the connection to it.
    Supervisor(FromSupervisor),
    /// A connection to the server says. One that was let go of is not listened to.
    Link(LinkNo, LinkEvent),
    /// The wire of this connection takes one more [`super::Action::Send`]. Said once when it opens, and once after
    /// each of them.
    Room(LinkNo),
    /// The task that ships logs says.
    Shipper(FromShipper),
    /// The task that delivers artifacts says.
    Uploads(FromUploads),
    /// What [`super::Action::Prepare`] came to; without a process there is nothing to start.
    Prepared(AttemptRef, Result<Option<Box<Start>>, Unprepared>),
    /// What [`super::Action::Collect`] found: how it ended, and the files that it left, by name and place.
    Collected(AttemptRef, Box<Collected>, Vec<(String, PathBuf)>),
    /// What [`super::Action::Perform`] came to.
    Answered(AttemptRef, Box<Collected>),
    /// What [`super::Action::EnrolAgain`] came to.
    EnrolledAgain(Enrolled),
    /// What [`super::Action::Check`] found.
    Checked(Found),
    /// What [`super::Action::ReadProbe`] found: the last words of the probe that ran under this key.
    ProbeSaid(String, String),
    /// Another server's dispatcher has changed what may be used here. See [`crate::shares`].
    SharesChanged,
    /// The process was told to stop.
    Told(Told),
}

/// Which connection: counted by the dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkNo(pub u64);

/// What a connection says.
#[derive(Debug)]
pub enum LinkEvent {
    /// What the server says.
    Messages {
        /// In order.
        messages: Vec<ServerMessage>,
        /// The store's generation.
        generation: u32,
        /// Its commit number; 0 where the server told none.
        commit_no: u64,
    },
    /// It is over: its last word.
    Down(LinkEnd),
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEnd {
    /// Broken, refused, closed: to be opened anew.
    Broken(String),
    /// The server does not know the key.
    UnknownKey(String),
    /// The two programs are too far apart.
    Version(String),
}

/// What the connection to the supervisor says.
#[derive(Debug)]
pub enum FromSupervisor {
    /// Connected: what it knows of every job follows, then [`JobEvent::Listed`].
    Up {
        /// Its process.
        pid: u32,
    },
    /// An event.
    Event(JobEvent),
    /// The connection broke; it is being opened anew.
    Down(String),
    /// It is connected, and has not answered for so long.
    Silent {
        /// Its process.
        pid: u32,
        /// How long.
        length: Duration,
    },
    /// It answers again.
    Answers,
}

/// Why an attempt cannot be made ready. Whole sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unprepared {
    /// The disk has no room: the worker's trouble, not the task's.
    NoRoom(String),
    /// Something else, which becomes the task's outcome.
    Failed(String),
}

/// Whether the server took the worker's key anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolled {
    /// It did.
    Yes,
    /// It did not, or could not be asked.
    No,
}

/// What the process was told, by signals. Later ones are stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// To leave, as [`crate::WorkerConfig::on_term`] says.
    Leave,
    /// To give everything back, whatever it does now.
    Release,
}
