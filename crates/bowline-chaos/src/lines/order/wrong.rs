//! What can be wrong with an order, by name.

use serde::{Deserialize, Serialize};

/// What was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Two hold what only one may.
    TwoHolders,
    /// Somebody holds something beside the one who has all of it.
    BesideExclusive,
    /// More is held than there is.
    OverCapacity,
    /// A named unit was given to two, or to somebody who had not asked for such a one.
    Unit,
    /// A later ticket was granted before an earlier one that stood in the same line.
    Overtaken,
    /// A ticket changed in its round, or does not follow those that were taken before.
    Ticket,
    /// What an attempt held was given on before its processes were gone.
    FreedEarly,
    /// It began without holding what it asks for.
    NotHeld,
    /// A holder that is no live task.
    NoTask,
    /// The first in line, for whom all was free, was not granted it; or waited without end while its line moved.
    Starved,
    /// Granted although it was out of service.
    OutOfService,
    /// More are at work under a key than may be, or on workers in a namespace, or hold a resource there.
    TooMany,
    /// Some of a gang were given out, and others not.
    GangInPart,
    /// A step's task had begun without what its run holds, or was at work when that was free.
    RunHold,
    /// The task asks for something else than was submitted, or the resource tells what cannot be.
    Told,
}

impl Kind {
    pub(crate) const ALL: [Self; 15] = [
        Self::TwoHolders,
        Self::BesideExclusive,
        Self::OverCapacity,
        Self::Unit,
        Self::Overtaken,
        Self::Ticket,
        Self::FreedEarly,
        Self::NotHeld,
        Self::NoTask,
        Self::Starved,
        Self::OutOfService,
        Self::TooMany,
        Self::GangInPart,
        Self::RunHold,
        Self::Told,
    ];

    /// As the table calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TwoHolders => "two holders",
            Self::BesideExclusive => "beside an exclusive one",
            Self::OverCapacity => "over capacity",
            Self::Unit => "units given twice",
            Self::Overtaken => "overtaken",
            Self::Ticket => "tickets changed",
            Self::FreedEarly => "freed early",
            Self::NotHeld => "begun without",
            Self::NoTask => "holders without task",
            Self::Starved => "starved",
            Self::OutOfService => "out of service",
            Self::TooMany => "too many at work",
            Self::GangInPart => "gangs in part",
            Self::RunHold => "runs without hold",
            Self::Told => "told wrongly",
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wrong {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl Wrong {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}
