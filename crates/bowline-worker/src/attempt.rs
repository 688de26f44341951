//! One attempt: its pure machine in [`machine`], and what its driver keeps of it in `Attempt`.

pub mod machine;

use std::path::PathBuf;
use std::sync::Arc;

use bowline_core::id::AttemptRef;
use bowline_core::spec::Work;
use bowline_core::worker::Room;
use bowline_protocol::{Handover, LogStream, Sealed};
use bowline_supervisor::wire::Start;

use crate::clock::Moment;
use crate::collect::Collected;
use crate::logs::LogMark;
use crate::prepare::splits_output;
use crate::shares::Weight;
use machine::State;

/// What the driver keeps of an attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// As it was handed over.
    pub(crate) handover: Arc<Handover>,
    /// What it takes while it runs.
    pub(crate) claim: Room,
    /// Its work, parsed.
    pub(crate) work: Arc<Work>,
    /// Where its machine stands.
    pub(crate) state: State,
    /// Whether `Started` is on its way or was.
    pub(crate) announced: Announced,
    /// What it counts for among all that this worker has.
    pub(crate) weight: Weight,
    /// When it began.
    pub(crate) begun: Option<Moment>,
    /// Its logs, where it has any.
    pub(crate) logs: Vec<LogMark>,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// Whether it is made ready before there is a slot for it.
    pub(crate) ahead: Ahead,
    /// What the supervisor is to start; kept until it says that it has.
    pub(crate) start: Option<Box<Start>>,
    /// Whether the request of an `http` action is under way.
    pub(crate) request: Requested,
    /// What came of it, as far as it is known.
    pub(crate) outcome: Option<Collected>,
    /// Why it is given back, for people.
    pub(crate) why: &'static str,
}

/// How far an attempt is made ready before there is a slot for it. Its machine knows nothing of that: it waits, and can be
/// called back.
#[derive(Debug)]
pub(crate) enum Ahead {
    /// It is not, or has begun.
    No,
    /// Its folder and files are being made: whatever becomes of it, they are removed only after that.
    UnderWay,
    /// What the supervisor is to start.
    Ready(Option<Box<Start>>),
    /// It could not be: it is tried again when it begins.
    Failed,
}

/// Whether a request is under way that this process makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requested {
    /// There is none.
    No,
    /// It is.
    Yes,
}

/// Where an attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Handed over to this process, or found in the journal and taken up by it.
    Handed,
    /// Found in the journal, and nothing has been heard of it yet: neither from the supervisor nor from
    /// the server.
    Journal,
    /// Found in the journal with its end.
    Settled,
}

impl Attempt {
    /// Handed over now, or found in the journal.
    pub(crate) fn new(handover: Handover, work: Work, folder: PathBuf, origin: Origin) -> Self {
        let assign = &handover.assign;
        let claim = Room { slots: assign.slots, amounts: assign.amounts.iter().cloned().collect() };
        Self {
            claim,
            handover: Arc::new(handover),
            work: Arc::new(work),
            state: State::Queued,
            announced: Announced::No,
            weight: Weight::Nothing,
            begun: None,
            logs: Vec::new(),
            folder,
            origin,
            ahead: Ahead::No,
            start: None,
            request: Requested::No,
            outcome: None,
            why: "",
        }
    }

    /// It has logs from now on, or still has.
    pub(crate) fn open_logs(&mut self) {
        if self.logs.is_empty() {
            self.logs.push(LogMark::new(LogStream::Output, 0, Sealed::No));
            if splits_output(&self.work) {
                self.logs.push(LogMark::new(LogStream::Error, 0, Sealed::No));
            }
        }
    }
}

/// Whether the server has been, or is being, told that the job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// Not yet.
    No,
    /// It has.
    Yes,
}

/// An attempt's name towards the supervisor, and of its folder: safe as a file name, never used
/// for another attempt.
pub fn key_of(attempt: AttemptRef) -> String {
    let fence = attempt.fence;
    match attempt.task.index {
        None => format!("t{}-g{}-a{}", attempt.task.task, fence.generation, fence.attempt),
        Some(index) => format!("t{}.{index}-g{}-a{}", attempt.task.task, fence.generation, fence.attempt),
    }
}

/// The attempt of this key. `None`: it is no attempt's.
pub fn of_key(key: &str) -> Option<AttemptRef> {
    use bowline_core::id::{AttemptNo, Fence, Generation};
    let mut parts = key.strip_prefix('t')?.split('-');
    let task = parts.next()?.parse().ok()?;
    let generation = Generation(parts.next()?.strip_prefix('g')?.parse().ok()?);
    let attempt = AttemptNo(parts.next()?.strip_prefix('a')?.parse().ok()?);
    parts.next().is_none().then_some(AttemptRef { task, fence: Fence { generation, attempt } })
}

#[cfg(test)]
mod tests {
    use bowline_protocol::sample;

    use super::*;

    #[test]
    fn a_key_tells_its_attempt() {
        for attempt in [sample::attempt(4711, None), sample::attempt(4711, Some(7))] {
            assert_eq!(of_key(&key_of(attempt)), Some(attempt));
        }
        for other in ["", "t1", "t1-g0", "t1-g0-a1-x", "x1-g0-a1", "t1-g0-a"] {
            assert_eq!(of_key(other), None, "{other}");
        }
    }
}
