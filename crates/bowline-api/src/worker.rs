//! Workers.

use std::collections::BTreeMap;

use bowline_core::message::DrainMode;
use bowline_core::state::StateKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::task::PausedDoc;

/// A worker: its durable identity, and what is known of it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Whether it is connected.
    pub connection: ConnectionState,
    /// The count of processes that have acted under this identity.
    pub incarnation: u32,
    /// The version that it runs. Absent while it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it can do: `key` or `key=value`.
    pub capabilities: Vec<String>,
    /// The actions that it has drivers for.
    pub actions: Vec<String>,
    /// Its slots.
    pub slots: u32,
    /// Slots that are taken.
    pub slots_used: u32,
    /// Its amounts.
    pub amounts: BTreeMap<String, u64>,
    /// Amounts that are taken.
    pub amounts_used: BTreeMap<String, u64>,
    /// What it holds.
    pub attempts: Vec<HeldAttempt>,
    /// Paused by whom. Absent: not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedDoc>,
    /// Why it takes no work though it is connected. Absent: fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// To let go of everything, or done with that. Absent: not drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainDoc>,
    /// Given nothing, because too many different tasks failed too quickly there. Absent: not put aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<AsideDoc>,
    /// The pool to which the identity belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Since when its session is open. Absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_since: Option<jiff::Timestamp>,
    /// It has been silent since then: suspect, or away. Absent: it is heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<jiff::Timestamp>,
    /// When it was heard last. Absent: not since this server leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<jiff::Timestamp>,
    /// When it enrolled.
    pub enrolled_at: jiff::Timestamp,
    /// How it is, in numbers; only where one worker is asked for, and only while it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vitals: Option<WorkerVitals>,
}

/// A worker that lets go of everything, and is given nothing until it is undrained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainDoc {
    /// By whom.
    pub by: String,
    /// Since when.
    pub since: jiff::Timestamp,
    /// `finish`, `release` or `handoff`.
    #[schema(value_type = String)]
    pub mode: DrainMode,
    /// `finish`: from here on as `release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_at: Option<jiff::Timestamp>,
    /// Whether its process ends with it.
    pub exit: bool,
    /// Whether it holds nothing any more.
    pub done: bool,
}

/// A worker that is given nothing, but for one task at a time to try it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AsideDoc {
    /// Since when.
    pub since: jiff::Timestamp,
    /// It is tried with one task from here on.
    pub try_at: jiff::Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// What a worker tells of itself with each heartbeat. Counters are since its process began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerVitals {
    /// When it told this.
    pub at: jiff::Timestamp,
    /// Messages between it and this server, by kind.
    pub messages: Vec<MessageCounts>,
    /// Messages that are not acknowledged.
    pub outbox_messages: u64,
    /// Their bytes, with the room that is kept for the ends of what runs.
    pub outbox_bytes: u64,
    /// Beyond so many bytes it takes nothing more.
    pub outbox_bytes_max: u64,
    /// For how long the oldest of them has waited, in milliseconds. Absent: nothing waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unacknowledged_ms: Option<u64>,
    /// How late its event loop was at worst since the heartbeat before, in milliseconds.
    pub loop_lag_ms: u64,
    /// The same since its process began.
    pub loop_lag_max_ms: u64,
    /// Jobs that were told to stop and of which something cannot be killed. They keep their slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<StuckDoc>,
}

/// A job of which something cannot be killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StuckDoc {
    /// Its task.
    pub task: String,
    /// Its attempt's number.
    pub attempt: u32,
    /// The processes, as the worker's machine numbers them.
    pub processes: Vec<u32>,
}

/// Counts of one kind of message, as a worker has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageCounts {
    /// The kind.
    pub kind: String,
    /// `assured`, `timely` or `best_effort`.
    pub class: String,
    /// Sent; of the kinds that the server sends: received.
    pub sent: u64,
    /// Of these, sent again after a reconnect.
    pub retried: u64,
    /// Given up: too late, replaced by a newer one, or without room.
    pub dropped: u64,
    /// Refused by the server as stale.
    pub refused: u64,
}

/// Whether a worker is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// A session is open and answers.
    Connected,
    /// Nothing heard for 15 s, with or without a session: given nothing new, until what it has is lost.
    Suspect,
    /// No session, and it holds nothing or has been silent for less.
    Away,
}

impl ConnectionState {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Suspect => "suspect",
            Self::Away => "away",
        }
    }
}

/// An attempt that a worker holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldAttempt {
    /// The task or element.
    pub task: String,
    /// The attempt's number.
    pub attempt: u32,
    /// Its worker is silent, and nobody knows how it is.
    #[serde(default)]
    pub doubtful: bool,
    /// It is lost then, where its worker stays silent. Absent: only by proof, or its worker is heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<jiff::Timestamp>,
    /// What it is an attempt of; only where one worker is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<HeldTask>,
}

/// What somebody who waits for an attempt wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldTask {
    /// The task's namespace.
    pub namespace: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its action.
    pub action: String,
    /// Its state.
    #[schema(value_type = String)]
    pub state: StateKind,
    /// When the attempt started. Absent: it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<jiff::Timestamp>,
    /// It is stopped then, because its run timeout is over. Absent: it has none, or has not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<jiff::Timestamp>,
}

/// A worker that wants an identity.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The name that it wants to act under.
    pub name: String,
    /// The pool of which it wants an identity, whichever is free. `name` is then of no matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Its own key: 32 random bytes as 64 hexadecimal digits. The server keeps only a hash of it.
    pub key: String,
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrol").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The identity is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// The name under which it acts.
    pub name: String,
}
