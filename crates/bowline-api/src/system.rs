//! The server itself: version, queue, pauses, tokens.

use std::collections::BTreeMap;

use bowline_core::input::TokenRole;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::task::PausedDoc;

/// What answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The program's version.
    pub version: String,
    /// The API's version: `v1`.
    pub api: String,
    /// `leading`, `loading: …` and why, or `rolled_back`: the store was put back to an earlier state, and
    /// `bowline server accept-rollback` is wanted.
    pub status: String,
    /// The leader's epoch. Absent while loading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The store's generation. Absent while loading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The last durable commit. Absent while loading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_no: Option<u64>,
}

/// Counts as they are now: cheap, for autoscalers and for one screen.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Unfinished tasks and elements by state.
    pub states: BTreeMap<String, u64>,
    /// Ready ones by lane.
    pub lanes: Vec<Lane>,
    /// Runs that have not ended.
    pub runs: u64,
    /// Workers that are connected.
    pub workers_connected: u64,
    /// Workers known.
    pub workers: u64,
    /// Slots of connected workers.
    pub slots: u64,
    /// Of these, taken.
    pub slots_used: u64,
    /// Paused namespaces.
    pub paused: Vec<PausedNamespace>,
    /// Who paused everything. Absent: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_paused: Option<PausedDoc>,
}

/// A namespace of which nothing is claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PausedNamespace {
    /// Which.
    pub namespace: String,
    /// By whom.
    pub by: String,
    /// Since when.
    pub since: jiff::Timestamp,
}

/// Ready tasks that ask for the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lane {
    /// What they ask for.
    pub name: String,
    /// How many.
    pub ready: u64,
    /// When the oldest of them became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready_at: Option<jiff::Timestamp>,
    /// How long ago that is, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<f64>,
}

/// What to pause or resume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// This namespace. Absent: everything, on all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A generation that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewGeneration {
    /// Its number. Whatever was claimed in an earlier one is older than whatever is claimed from now on.
    pub generation: u32,
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// `enrol` (one worker, once; with a pool: any number of workers of that pool) or `admin` (everything).
    #[schema(value_type = String)]
    pub role: TokenRole,
    /// The pool to which an enrolment token is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// A token that was made. The secret is told this once, and kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenIssued {
    /// For people.
    pub name: String,
    /// What it may do.
    #[schema(value_type = String)]
    pub role: TokenRole,
    /// The secret.
    pub token: String,
}

impl std::fmt::Debug for TokenIssued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenIssued").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// A token that opens a door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// For people.
    pub name: String,
    /// What it may do.
    #[schema(value_type = String)]
    pub role: TokenRole,
    /// The pool to which it is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}
