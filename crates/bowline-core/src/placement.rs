//! Where a task would rather run: among the workers that can run it, which one first, and which never.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::spec::Requirement;
use crate::worker::Offer;

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

    /// How little a worker suits, by what it offers: the least is the best.
    pub(crate) fn unlike(&self, offer: Option<&Offer>) -> Unlike {
        let has = |all: &[Requirement]| match offer {
            Some(offer) if !all.is_empty() => all.iter().filter(|one| offer.has(one)).count(),
            Some(_) | None => 0,
        };
        (has(&self.avoid), Reverse(has(&self.prefer)))
    }
}

/// How many of what is avoided a worker has, and how many of what is preferred.
pub(crate) type Unlike = (usize, Reverse<usize>);

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

impl Fill {
    /// What a load counts for: the least is the best.
    pub(crate) fn weigh(self, load: u32) -> u32 {
        match self {
            Self::Spread => load,
            Self::Pack => u32::MAX - load,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_spread(fill: &Fill) -> bool {
    *fill == Fill::Spread
}
