//! What a [`super::Dispatcher`] wants done.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::message::{Hello, JobEnd};
use bowline_core::name::WorkerName;
use bowline_core::spec::HttpRequest;
use bowline_protocol::{Delivery, WorkerMessage};
use bowline_supervisor::wire::{Request, Start};

use super::event::LinkNo;
use crate::config::WorkerExit;
use crate::journal::Batch;
use crate::logs::shipper::ToShipper;
use crate::prepare::Plan;
use crate::uploads::ToUploads;

/// A message, with how it got here.
pub type Parcel = (WorkerMessage, Option<Delivery>);

/// Something is to be done, in the order in which it is said. Nothing here is waited for: what comes of it is an
/// [`super::Event`].
#[derive(Debug)]
pub enum Action {
    /// Write these changes, after all earlier ones; once they are durable, say so with what follows from them
    /// ([`super::Event::Journal`]). While that fails it is tried again, and told.
    Persist(Batch),
    /// Send this to the supervisor, now or as soon as there is a connection.
    Job(Request),
    /// Run the probe: its log goes first, then it is started like a job.
    Probe(Box<Start>),
    /// Read the last words of the probe that ran under this key.
    ReadProbe(String),
    /// Open this connection and say Hello on it. There is never more than one.
    Open(LinkNo, Box<Hello>),
    /// Send this on the connection, as one frame where it fits. There is room: the wire said so.
    Send(LinkNo, Vec<Parcel>),
    /// Send this on the connection, room or not, and close it in order.
    LastWords(LinkNo, Vec<Parcel>),
    /// Let go of the connection, and of what is on its way.
    Drop(LinkNo),
    /// Make an attempt ready.
    Prepare(AttemptRef, Box<Plan>),
    /// Collect what a job left that ended like this.
    Collect(AttemptRef, Box<Plan>, JobEnd),
    /// Perform an HTTP request, within so long.
    Perform(AttemptRef, Box<HttpRequest>, Option<Duration>),
    /// Give up the attempt's request. Its answer may come nevertheless.
    Abort(AttemptRef),
    /// Tell the task that ships logs.
    Ship(ToShipper),
    /// Tell the task that delivers artifacts.
    Upload(ToUploads),
    /// Tell that task to send files again which the server misses.
    UploadAgain {
        /// Whose they are.
        attempt: AttemptRef,
        /// What they are called.
        names: Vec<String>,
        /// They lie in one of these folders; the first counts.
        folders: [PathBuf; 2],
    },
    /// Look at the disk and the memory.
    Check,
    /// Have the server take the worker's key anew.
    EnrolAgain,
    /// Write down the identity that this worker was given, to be shown.
    NoteName(WorkerName),
    /// Remove the folders of all attempts but these.
    Sweep(BTreeSet<String>),
    /// Remove an attempt's folder.
    Remove(PathBuf),
    /// Nothing is left to be done here: the last action of all.
    Exit(WorkerExit),
}
