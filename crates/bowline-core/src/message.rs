//! What worker and server say to each other, as the engine sees it. The wire form and the
//! promises (class, phases) of each kind are the protocol's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptRef, CommitNo, Epoch, Generation, Incarnation, SessionId};
use crate::name::{Key, PoolName, ResourceName, UnitName, WorkerName};
use crate::state::{JobError, TimeoutKind};
use crate::worker::{Health, Offer, Room, Seat};

/// A worker opens a session with this. First message, exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The identity under which it acts. With a pool: the one that it had last, or any name that the
    /// pool does not have.
    pub name: WorkerName,
    /// The pool of which it wants an identity, whichever is free. `None`: the name's own.
    pub pool: Option<PoolName>,
    /// The incarnation that it was given, or 0 where its process has none yet.
    pub incarnation: Incarnation,
    /// Where it acts from.
    pub seat: Seat,
    /// Its program's version.
    pub version: String,
    /// What it offers.
    pub offer: Offer,
    /// Attempts that it may hold beyond its slots.
    pub prefetch: u32,
    /// Whether it is fit for work: one that is not is handed nothing from the first moment.
    pub health: Health,
    /// Newest generation that it has seen; `None` on its first visit.
    pub seen: Option<(Generation, CommitNo)>,
    /// Every attempt that it knows of.
    pub attempts: Vec<(AttemptRef, KnownAs)>,
}

/// What a worker says of an attempt in its Hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownAs {
    /// Journaled, not begun.
    Assigned,
    /// The job runs, under the boot id that Hello carries.
    Running,
    /// It ended; its last message is in the outbox.
    EndedPending,
    /// Its job is gone and nobody knows how it ended.
    Gone,
    /// Left by the last holder of the identity, and not going on here: no process of it is left, and it
    /// is given back.
    GivenBack,
    /// Left by the last holder of the identity, and not going on here: it counts as failed.
    Failed,
}

/// An attempt that the last holder of an identity left, as whoever takes it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Which.
    pub attempt: AttemptRef,
    /// What became of it, or what is still to.
    pub fate: Fate,
}

/// What becomes of an attempt that the last holder of an identity left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on under the new process.
    Adopted,
    /// It has ended; its report is still to come.
    Ended,
    /// It is lost.
    Lost,
    /// It was given back.
    GivenBack,
    /// It has failed.
    Failed,
    /// It is in the way: it may still run elsewhere. Name it in Hello as `running` (its supervisor has
    /// it), `given_back`, `failed` or `gone`; or wait.
    InTheWay {
        /// It is lost after so long, where nobody is heard of it. `None`: only by proof.
        lost_in: Option<Duration>,
    },
}

/// Worker to server, after Hello.
#[derive(Debug, Clone, PartialEq)]
pub enum FromWorker {
    /// Still here.
    Heartbeat,
    /// What this server may use, and the last Assign that the worker has seen.
    Demand {
        /// Most attempts, prefetch included.
        attempts_max: u32,
        /// Slots and amounts.
        room: Room,
    },
    /// The job runs.
    Started(AttemptRef),
    /// The attempt's end, with its result.
    Finished(Finished),
    /// Given back, no process left.
    Released {
        /// Which attempt.
        attempt: AttemptRef,
        /// Whether its job had been started.
        started: bool,
        /// Why, for people.
        why: String,
    },
    /// The attempt's job is gone, and nobody knows how it ended: its supervisor died. It is lost.
    Gone {
        /// Which attempt.
        attempt: AttemptRef,
        /// What is known, for people.
        why: String,
    },
    /// How the message of this kind about this attempt got here, which comes next: not at once, or not at the
    /// first try. Recorded where that message is news.
    Late {
        /// Whose.
        attempt: AttemptRef,
        /// What comes next.
        of: Assured,
        /// Since it was said, on the worker's own clock.
        waited: Duration,
        /// How often it was sent.
        sends: u32,
    },
    /// A file that the attempt leaves; its bytes are durable.
    ArtifactCommitted {
        /// Whose.
        attempt: AttemptRef,
        /// Its name within the attempt.
        name: String,
        /// BLAKE3 of its bytes, in hex.
        digest: String,
        /// Its size.
        bytes: u64,
    },
    /// A file that the attempt left and that cannot be kept: recorded, so that nobody looks for it in vain.
    ArtifactUndelivered {
        /// Whose.
        attempt: AttemptRef,
        /// Its name within the attempt.
        name: String,
        /// Why, for people.
        why: String,
    },
    /// How the worker is.
    Health(Health),
    /// Leaves in order.
    Bye {
        /// Why, for people.
        why: String,
    },
}

/// The end of an attempt, in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Which attempt.
    pub attempt: AttemptRef,
    /// How.
    pub how: JobEnd,
    /// Its result as JSON, checked by the shell; at most [`crate::spec::RESULT_BYTES_MAX`].
    pub result: Option<String>,
}

/// How a job ended, as its worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEnd {
    /// Well.
    Success,
    /// Badly.
    Error(JobError),
    /// A limit that the worker measures ran out; no process is left.
    Timeout(TimeoutKind),
    /// Stopped as the server asked; no process is left.
    Stopped,
}

/// Server to worker.
#[derive(Debug, Clone, PartialEq)]
pub enum ToWorker {
    /// The answer to Hello.
    Welcome {
        /// Who leads.
        epoch: Epoch,
        /// The identity under which the process acts: of a pool, the one that it was given.
        name: WorkerName,
        /// The incarnation under which the process acts from now on.
        incarnation: Incarnation,
        /// The store's generation.
        generation: Generation,
        /// The worker is to say this often that it is there.
        heartbeat: Duration,
        /// What becomes of each attempt that Hello named.
        verdicts: Vec<(AttemptRef, Verdict)>,
        /// What the last process under this identity left. Empty for another session of the same one.
        left: Vec<Left>,
    },
    /// The identity cannot be taken now; say Hello again later.
    TryLater {
        /// Why, for people.
        why: String,
        /// Attempts that are in the way. At most [`LEFT_MAX`].
        left: Vec<Left>,
    },
    /// A newer process acts under this identity, or it was forgotten: stop the jobs and exit.
    Fenced {
        /// Why, for people.
        why: String,
    },
    /// The answer to a heartbeat.
    HeartbeatAck,
    /// An attempt to make. The shell adds the work itself.
    Assign(Assign),
    /// Stop an attempt.
    Cancel {
        /// Which.
        attempt: AttemptRef,
        /// Why.
        why: StopWhy,
    },
    /// Claim nothing, or claim again.
    Pause {
        /// Whether paused.
        paused: Paused,
    },
    /// Let go of everything, in this way. Said anew after each Welcome until [`ToWorker::Undrain`].
    Drain(Drain),
    /// Take work again.
    Undrain,
    /// The message of this kind about this attempt is applied, or refused and recorded.
    Ack {
        /// Which attempt.
        attempt: AttemptRef,
        /// Which kind.
        of: Assured,
    },
    /// What becomes of an attempt that the worker spoke of.
    Verdict {
        /// Which.
        attempt: AttemptRef,
        /// What.
        verdict: Verdict,
    },
}

/// Most attempts that [`ToWorker::TryLater`] and [`ToWorker::Welcome`] list as left.
pub const LEFT_MAX: usize = 1_000;

/// How a worker lets go of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// What becomes of running attempts.
    pub mode: DrainMode,
    /// `finish`: after so long, as `release`. `None`: without an end. As it stands when it is said.
    pub within: Option<Duration>,
    /// Whether the process ends when nothing is held any more.
    pub exit: Exit,
}

/// What becomes of running attempts in a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainMode {
    /// They run to their end.
    #[default]
    Finish,
    /// They are stopped, and given back with their ticket. The server sends the cancels, with
    /// [`StopWhy::Drain`].
    Release,
    /// They run on under the supervisor; the process ends at once, and another one takes over. Always
    /// with [`Exit::Yes`]: a worker that stays cannot hand over.
    Handoff,
}

impl DrainMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Finish, Self::Release, Self::Handoff];

    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Release => "release",
            Self::Handoff => "handoff",
        }
    }
}

/// Whether a drained worker's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It stays connected, and holds nothing until it is undrained.
    #[default]
    No,
    /// It ends when nothing is held any more.
    Yes,
}

/// The assured kinds that the engine acknowledges.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assured {
    /// `Started`.
    Started,
    /// `Finished`.
    Finished,
    /// `Released`.
    Released,
    /// `Gone`.
    Gone,
    /// `ArtifactCommitted` or `ArtifactUndelivered`, by the artifact's name.
    Artifact(String),
}

/// An attempt handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assign {
    /// Which.
    pub attempt: AttemptRef,
    /// The session that it was claimed for: another one drops it.
    pub session: SessionId,
    /// Begin within this long of receiving it, or give it back.
    pub start_by: Duration,
    /// Set-up limit.
    pub setup_timeout: Duration,
    /// Run limit.
    pub run_timeout: Option<Duration>,
    /// The supervisor kills the job when the newest answered heartbeat was sent longer ago than this.
    pub stop_after: Option<Duration>,
    /// Slots that it takes.
    pub slots: u32,
    /// Amounts that it takes, by name.
    pub amounts: Vec<(Key, u64)>,
    /// Resources that it holds.
    pub resources: Vec<Held>,
}

/// What a job is told of a resource that its task holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// Its name.
    pub name: ResourceName,
    /// How much of its capacity; 0 for a lock, exclusive or shared.
    pub amount: u64,
    /// Which units, where it has named ones.
    pub units: Vec<UnitName>,
}

/// Why a job is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopWhy {
    /// Somebody cancelled it.
    Cancel,
    /// A limit ran out.
    Timeout,
    /// The worker is drained.
    Drain,
    /// Called back before it began.
    Recall,
}

/// Whether something is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paused {
    /// It is not.
    #[default]
    No,
    /// It is.
    Yes,
}

/// What becomes of an attempt that a worker named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Stop it and report.
    Stop,
    /// A newer attempt exists: stop it; what it leaves is evidence.
    Superseded,
    /// Send those bytes again.
    Missing,
    /// The server knows nothing of it any more: let go of everything about it.
    Gone,
}
