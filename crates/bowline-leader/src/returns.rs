//! What the threads beside the writer hand back to it. Each return answers one thing that the
//! writer gave out, so their number is bounded by what is under way.

use std::time::Duration;

use bowline_core::id::ParkId;
use bowline_core::input::{Evaluation, Fact};
use bowline_store::{CommitError, Swept};

use crate::commit::Durable;
use crate::term::Due;

/// What comes back to the writer.
#[derive(Debug)]
pub(crate) enum Return {
    /// The batch under way is durable.
    Committed { durable: Durable, took: Duration },
    /// A batch of retention is durable.
    Swept(Swept),
    /// The commit or the sweep failed, or nobody knows.
    CommitFailed(CommitError),
    /// What a parked input waits for.
    Facts { park: ParkId, facts: Vec<Fact> },
    /// What was due.
    Evaluated { due: Due, outcome: Evaluation },
    /// A thread beside the writer can't go on; why.
    Broken(String),
}
