//! Where a task would rather run: among the workers that can run it, which one first, and which never.

use serde::{Deserialize, Serialize};

use crate::spec::Requirement;

/// The capability that every worker has: its own name.
pub const WORKER_CAPABILITY: &str = "worker";

/// Which of several workers a task is given to. Each list has at most [`crate::spec::ITEMS_MAX`] entries, each a
/// capability of workers; `worker=NAME` is one that every worker has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// The emptiest worker first, or the fullest.
    #[serde(default, skip_serializing_if = "is_spread")]
    pub fill: Fill,
    /// Workers with more of these first. One without any is taken where no other has room now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefer: Vec<Requirement>,
    /// Workers with any of these last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<Requirement>,
    /// Workers with any of these never.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<Requirement>,
}

impl Placement {
    /// Nothing is wished for but room.
    pub fn is_plain(&self) -> bool {
        self.fill == Fill::Spread && self.prefer.is_empty() && self.avoid.is_empty()
    }
}

/// Which worker with room goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// The least loaded one.
    #[default]
    Spread,
    /// The most loaded one: others stay empty.
    Pack,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_spread(fill: &Fill) -> bool {
    *fill == Fill::Spread
}
