//! What a simulated process is, and all that it can do to its world.
//!
//! A process is a struct over the real, pure code: the world hands it one [`Event`] at a time, with an [`Io`]
//! through which it acts. Killing it drops the struct: nothing of it is left but what its machine's
//! [`crate::disk`] holds, and its jobs. A process that stands still gets its events later, in their order.

use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

use bowline_core::answer::Reply;
use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch, Generation};
use bowline_core::input::Request;
use bowline_core::name::{Actor, PoolName, WorkerName};
use bowline_core::time::Timestamp;
use bowline_protocol::{Delivery, ServerMessage, WorkerMessage};
use bowline_store::{CommitError, MemoryStore, RetentionPolicy, Swept};
use bowline_supervisor::wire;

use crate::clock::{Local, Which};
use crate::disk::DiskError;
use crate::job::{Ended, JobId, Plan, Signal};
use crate::random::Random;
use crate::world::World;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);
    };
}

number!(
    /// A place in the process table: what is started there again is the same one, in another life.
    ProcId(u32)
);
number!(
    /// A machine: a clock, a disk, a boot id.
    MachineId(u32)
);
number!(
    /// A store, with the servers that share it.
    ClusterId(u32)
);
number!(
    /// A connection.
    ConnId(u64)
);

/// A process over the real code.
pub trait Process: std::fmt::Debug {
    /// One event. The first one is [`Event::Begin`]; what it needs of its disk it reads then.
    fn handle(&mut self, io: &mut Io<'_>, event: Event);

    /// For the checker and the trace: the process as something known.
    fn as_any(&self) -> &dyn Any;
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// The server behind a cluster's address: whichever it leads to now.
    Cluster(ClusterId),
    /// The supervisor of this state directory, on the caller's own machine. It is started where there is none.
    Supervisor {
        /// The state directory, one for each server that a worker serves.
        dir: String,
    },
}

/// Who opens a connection, as its metadata say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A person or a program, over REST.
    Client,
    /// A worker, with a session in mind.
    Worker {
        /// The identity.
        worker: WorkerName,
        /// The pool of which it wants an identity.
        pool: Option<PoolName>,
        /// BLAKE3 of its key.
        key: [u8; 32],
    },
    /// A worker process, to its supervisor.
    Local,
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseWhy {
    /// Nobody listens there, or the network or the other process broke.
    Broken,
    /// The other side closed it in order.
    Done,
    /// The server does not know the key.
    UnknownKey,
    /// The server closed it, and says why.
    Unavailable(String),
}

/// What goes over a connection. Every packet arrives whole, or not at all.
#[derive(Debug, Clone)]
pub enum Packet {
    /// Messages of a worker, each with how it got here.
    FromWorker(Vec<(WorkerMessage, Option<Delivery>)>),
    /// Messages of a server, with how far its store is.
    FromServer {
        /// In order.
        messages: Vec<ServerMessage>,
        /// The store's generation.
        generation: Generation,
        /// The last commit that the server knows of.
        commit_no: CommitNo,
    },
    /// A client asks. The same number again is the same question, asked again.
    Ask {
        /// Chosen by the client.
        number: u64,
        /// Who.
        actor: Actor,
        /// What.
        request: Request,
    },
    /// A server answers.
    Answer {
        /// Of the question.
        number: u64,
        /// What.
        reply: Reply,
    },
    /// A worker to its supervisor.
    ToSupervisor(wire::Request),
    /// A supervisor to its worker.
    FromSupervisor(wire::Event),
}

/// What happens to a process.
#[derive(Debug)]
pub enum Event {
    /// It begins: its disk is as the life before left it.
    Begin,
    /// The moment of [`Io::set_timer`] has come.
    Timer,
    /// What [`Io::wake`] promised: something of its own takes its turn.
    Woken(u64),
    /// Somebody has opened a connection to it.
    Opened {
        /// The new connection.
        conn: ConnId,
        /// Who.
        caller: Caller,
    },
    /// A packet has arrived.
    Arrived {
        /// Over which connection.
        conn: ConnId,
        /// What.
        packet: Packet,
    },
    /// A connection is over: nothing more comes, and nothing more goes.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why.
        why: CloseWhy,
    },
    /// What [`Io::put`] or [`Io::sync`] asked for has been done, or could not be.
    Written {
        /// As it was named then.
        token: u64,
        /// `Ok`: durable.
        result: Result<(), DiskError>,
    },
    /// The commit that [`Io::commit`] began has ended. An error says nothing of whether the rows are there.
    Committed {
        /// How.
        result: Result<CommitNo, CommitError>,
    },
    /// The sweep that [`Io::sweep`] began has ended.
    Swept {
        /// How.
        result: Result<Swept, CommitError>,
    },
    /// To a client: ask this of its cluster, again and again until it is answered.
    Do(Box<Request>),
    /// A job of this supervisor has ended: no process of it is left.
    JobEnded {
        /// The supervisor's key for it.
        key: String,
        /// How.
        ended: Ended,
    },
    /// It was told to end in order (SIGTERM).
    Term,
}

/// A process's hands.
#[derive(Debug)]
pub struct Io<'w> {
    pub(crate) world: &'w mut World,
    pub(crate) me: ProcId,
}

impl Io<'_> {
    /// Which process this is.
    pub const fn me(&self) -> ProcId {
        self.me
    }

    /// How often it was started before this life.
    pub fn life(&self) -> u32 {
        self.world.life(self.me)
    }

    /// What its machine's clocks show.
    pub fn now(&self) -> Local {
        self.world.local(self.me)
    }

    /// The kernel's boot id of its machine.
    pub fn boot_id(&self) -> String {
        self.world.boot_id(self.me)
    }

    /// Random numbers for what a program draws itself: ids, jitter.
    pub fn random(&mut self) -> &mut Random {
        self.world.random_of(self.me)
    }

    /// Wakes it with [`Event::Timer`] when its `CLOCK_MONOTONIC` shows this. There is one timer: a later call
    /// replaces it, `None` takes it away.
    pub fn set_timer(&mut self, at: Option<Duration>) {
        self.world.set_timer(self.me, Which::Monotonic, at);
    }

    /// The same by `CLOCK_BOOTTIME`, which goes on while the machine is suspended.
    pub fn set_boot_timer(&mut self, at: Option<Duration>) {
        self.world.set_timer(self.me, Which::Boot, at);
    }

    /// Wakes it with [`Event::Woken`] after so long: something of its own (a thread, a task, a file) takes its turn.
    pub fn wake(&mut self, after: Duration, token: u64) {
        self.world.wake(self.me, after, token);
    }

    /// Opens a connection. What is sent at once follows the opening; whether somebody is there shows later.
    pub fn connect(&mut self, to: &Address, caller: Caller) -> ConnId {
        self.world.connect(self.me, to, caller)
    }

    /// Sends over a connection: in order, later; into the void where it is over.
    pub fn send(&mut self, conn: ConnId, packet: Packet) {
        self.world.send(self.me, conn, packet);
    }

    /// Closes a connection in order: what was sent before still arrives. It hears nothing more of it.
    pub fn close(&mut self, conn: ConnId, why: CloseWhy) {
        self.world.close(self.me, conn, why);
    }

    /// Writes a batch of records to a file, all or nothing, and syncs it; [`Event::Written`] follows. Until then
    /// a crash may lose it, never a part of it, and never without every later one of the same file.
    pub fn put<T: 'static>(&mut self, file: &str, batch: T, token: u64) {
        self.world.put(self.me, file, Rc::new(batch), token);
    }

    /// The batches that a file holds, in order.
    pub fn batches<T: 'static>(&self, file: &str) -> Vec<Rc<T>> {
        self.world.batches(self.me, file)
    }

    /// Appends bytes to a file, which is made where it is missing. Not synced: a crash of the machine loses
    /// them, or tears them; one of the process does not.
    pub fn append(&mut self, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.world.append(self.me, file, bytes)
    }

    /// Replaces a file at once by these bytes (written beside it, synced, renamed).
    pub fn replace(&mut self, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.world.replace(self.me, file, bytes)
    }

    /// Begins to sync all files; [`Event::Written`] follows.
    pub fn sync(&mut self, token: u64) {
        self.world.sync(self.me, token);
    }

    /// Appends bytes to a file whose room was set aside before, on a full disk too. Not synced.
    pub fn append_in_place(&mut self, file: &str, bytes: &[u8]) {
        self.world.append_in_place(self.me, file, bytes);
    }

    /// Begins to sync this process's files whose names begin so, and no others; [`Event::Written`] follows.
    pub fn sync_only(&mut self, prefix: &str, token: u64) {
        self.world.sync_only(self.me, prefix, token);
    }

    /// What a file holds. `None`: there is none.
    pub fn read(&self, file: &str) -> Option<Vec<u8>> {
        self.world.read(self.me, file)
    }

    /// The files whose names begin so, by name.
    pub fn files(&self, prefix: &str) -> Vec<String> {
        self.world.files(self.me, prefix)
    }

    /// Removes a file.
    pub fn remove(&mut self, file: &str) {
        self.world.remove(self.me, file);
    }

    /// Takes the lock of a worker's state directory, until this process ends. Whether nobody else had it.
    pub fn lock(&mut self, dir: &str) -> bool {
        self.world.lock(self.me, dir)
    }

    /// Bytes that are free on its disk.
    pub fn disk_free(&self) -> u64 {
        self.world.disk_free(self.me)
    }

    /// The store of a cluster, for taking leadership, loading and reading. Commits go through [`Io::commit`].
    pub fn store(&self, cluster: ClusterId) -> MemoryStore {
        self.world.store(cluster)
    }

    /// It leads a cluster from now on: whoever watches is told.
    pub fn leads(&mut self, cluster: ClusterId) {
        self.world.observer.leads(self.world.now, cluster, self.me);
    }

    /// Begins a commit; [`Event::Committed`] follows.
    pub fn commit(&mut self, cluster: ClusterId, epoch: Epoch, now: Timestamp, batch: Batch) {
        self.world.commit(self.me, cluster, epoch, now, batch);
    }

    /// Begins to remove what has been kept long enough; [`Event::Swept`] follows.
    pub fn sweep(&mut self, cluster: ClusterId, epoch: Epoch, now: Timestamp, policy: RetentionPolicy) {
        self.world.sweep(self.me, cluster, (epoch, now), policy);
    }

    /// Starts a job of this name. A process of the same name that is left from before lives on beside it.
    pub fn spawn(&mut self, dir: &str, key: &str, plan: Plan) {
        self.world.spawn_job(self.me, dir, key, plan);
    }

    /// Sends a signal to all processes of a job on this machine.
    pub fn signal(&mut self, dir: &str, key: &str, signal: Signal) {
        self.world.signal_job(self.me, dir, key, signal);
    }

    /// The jobs of a state directory of which a process lives on this machine, as a look at cgroups and marks shows.
    pub fn living(&self, dir: &str) -> Vec<String> {
        self.world.living_jobs(self.me, dir)
    }

    /// Ends this process, with an exit status, once the event is handled.
    pub fn exit(&mut self, status: i32) {
        self.world.exit(self.me, status);
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.world.note(self.me, text);
    }

    /// Names a job of this machine.
    pub fn job_id(&self, dir: &str, key: &str) -> JobId {
        JobId { machine: self.world.machine_of(self.me), dir: dir.to_owned(), key: key.to_owned() }
    }
}
