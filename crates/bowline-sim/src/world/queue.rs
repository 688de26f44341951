//! What is to happen, in the order in which it does.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::job::{Ended, JobId};
use crate::process::{Caller, CloseWhy, ConnId, Event, Packet, ProcId};

/// Something that is to happen.
#[derive(Debug)]
pub enum Due {
    /// A process handles an event.
    Handle {
        /// Which.
        proc: ProcId,
        /// In which life.
        life: u32,
        /// What.
        event: Event,
    },
    /// A process's timer.
    Timer {
        /// Whose.
        proc: ProcId,
        /// In which life.
        life: u32,
        /// Which of its timers: an older one was replaced.
        number: u64,
    },
    /// A packet arrives.
    Arrival {
        /// Over which connection.
        conn: ConnId,
        /// At which end.
        side: usize,
        /// What.
        packet: Box<Packet>,
    },
    /// A connection reaches whoever listens.
    Opening {
        /// Which.
        conn: ConnId,
        /// Who opens it.
        caller: Caller,
    },
    /// An end hears that the connection is over.
    Closing {
        /// Which.
        conn: ConnId,
        /// Which end.
        side: usize,
        /// Why.
        why: CloseWhy,
    },
    /// A commit is done.
    Commit(u64),
    /// A batch of a file becomes durable.
    JournalDue {
        /// Whose.
        proc: ProcId,
        /// In which life.
        life: u32,
        /// Which file.
        file: String,
        /// Which of the file's batches.
        place: usize,
        /// As it was named.
        token: u64,
    },
    /// Files are synced.
    SyncDue {
        /// Whose.
        proc: ProcId,
        /// In which life.
        life: u32,
        /// As it was named.
        token: u64,
        /// How their names begin.
        files: String,
    },
    /// A job ends, if it lives still.
    JobEnds {
        /// Which.
        job: JobId,
        /// Its number: another one may have its name.
        number: u64,
        /// How.
        how: Ended,
    },
    /// A process that stood still goes on.
    Resume {
        /// Which.
        proc: ProcId,
    },
    /// A process is started again.
    Restart {
        /// Which.
        proc: ProcId,
    },
    /// Whatever drives the world takes its turn.
    Other(u64),
}

#[derive(Debug)]
struct Queued {
    at: u64,
    number: u64,
    due: Due,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What is to happen.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Queued>,
    count: u64,
}

impl Queue {
    /// Something happens at this moment.
    pub fn push(&mut self, at: u64, due: Due) {
        self.count += 1;
        self.heap.push(Queued { at, number: self.count, due });
    }

    /// The next thing, and when.
    pub fn pop(&mut self) -> Option<(u64, Due)> {
        self.heap.pop().map(|next| (next.at, next.due))
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|next| next.at)
    }
}
