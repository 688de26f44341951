//! What server and workers say to each other, and what they say it about.

use crate::list::List;

/// An attempt: its fence, and the number of its claim, which only the properties look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attempt {
    /// Of which task.
    pub task: u8,
    /// The generation in which it was claimed.
    pub generation: u8,
    /// Its number within the task.
    pub number: u8,
    /// Its claim: never the same twice.
    pub claim: u8,
}

/// A set of claims, of both tasks.
pub type Claims = u16;

/// Claims of one task that anything still knows of, at most.
pub(super) const CLAIMS_MAX: u8 = 8;

impl Attempt {
    /// Its claim's place among those of both tasks.
    pub fn bit(self) -> Claims {
        1 << (self.task * CLAIMS_MAX + self.claim)
    }

    /// The place of its task.
    pub fn task(self) -> usize {
        usize::from(self.task)
    }
}

/// What is on its way, between one worker and the server, in one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Message {
    /// By whom, or to whom.
    pub worker: u8,
    /// In which session.
    pub session: u8,
    /// What is said.
    pub what: What,
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum What {
    /// A worker opens a session, and names what it knows of.
    #[default]
    Hello,
    /// A report of a worker.
    Finished(Attempt),
    /// The session stands; these attempts are to be stopped.
    Welcome(Claims),
    /// An attempt for the worker to make.
    Assign(Attempt),
    /// The report is settled.
    Ack(Attempt),
}

/// What is on its way, in no order: whichever may be the next to arrive.
pub type Messages = List<Message, 14>;
