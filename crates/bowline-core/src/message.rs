//! What worker and server say to each other, as the engine sees it. The wire form and the
//! promises (class, phases) of each kind are the protocol's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptRef, CommitNo, Epoch, Generation, Incarnation, SessionId};
use crate::name::WorkerName;
use crate::state::{JobError, TimeoutKind};
use crate::worker::{Health, Offer, Room, Seat};

/// A worker opens a session with this. First message, exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The identity under which it acts.
    pub name: WorkerName,
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
        /// The incarnation under which the process acts from now on.
        incarnation: Incarnation,
        /// The store's generation.
        generation: Generation,
        /// What becomes of each attempt that Hello named.
        verdicts: Vec<(AttemptRef, Verdict)>,
    },
    /// The identity cannot be taken now; say Hello again later.
    TryLater {
        /// Why, for people.
        why: String,
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
    /// `ArtifactCommitted`, by the artifact's name.
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
    /// Slots that it takes.
    pub slots: u32,
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
