//! The machine of an attempt on its worker. Pure: what happens comes in as an [`Event`], what is to be
//! done goes out as [`Step`]s, in order.
//!
//! ```text
//! queued ► preparing ► starting ► running ► collecting ► ended
//!    │         │           │         │           
//!    │         └───────────┴────┬────┘           
//!    │                          ▼                 
//!    └──────────────────────► stopping ─────────► ended
//! ```
//!
//! `ended` means that the end is known and on its way: through the journal into the outbox, and from
//! there to the server. What comes after that changes nothing.

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Has no slot yet.
    Queued,
    /// Its folder and files are being made.
    Preparing,
    /// The supervisor was asked to start it.
    Starting,
    /// Its job runs.
    Running,
    /// It is to stop.
    Stopping {
        /// What follows.
        then: Then,
        /// What must come to rest first.
        under: Under,
    },
    /// Its job is over; result and artifacts are being collected.
    Collecting,
    /// Over.
    Ended,
}

/// What must come to rest before a stopping attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Under {
    /// Its preparation.
    Preparation,
    /// Its job, which the supervisor was asked to kill.
    Job,
}

/// What follows when an attempt was stopped. Where several ask, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Then {
    /// It is given back; a result that arrives before is not thrown away.
    GiveBack,
    /// It failed: the set-up took too long.
    SetupTimeout,
    /// It ended as the server asked.
    Stopped,
    /// The server knows nothing of it any more: nothing is said.
    Nothing,
}

/// How a job came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Over {
    /// By itself.
    ByItself,
    /// Its run limit stopped it.
    RunLimit,
    /// The worker stopped it.
    Asked,
    /// The supervisor had to leave.
    SupervisorLeft,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// There is a slot for it.
    Begin,
    /// It is ready to start.
    Prepared,
    /// It cannot be made ready; the driver knows why.
    PrepareFailed,
    /// Its job runs.
    JobStarted,
    /// Its job cannot be started; the driver knows why.
    StartFailed,
    /// Its job is over, no process is left.
    JobOver(Over),
    /// Its job is gone, and nobody knows how it ended.
    JobLost,
    /// Result and artifacts are collected.
    Collected,
    /// It is to stop.
    Stop(Then),
}

/// What is to be done, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Make its folder and files.
    Prepare,
    /// Ask the supervisor to start it.
    Launch,
    /// Ask the supervisor to stop it.
    Kill,
    /// Tell the server that it runs.
    Announce,
    /// Collect result and artifacts.
    Collect,
    /// Record its end.
    End(End),
}

/// An attempt's end, as it is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// What was collected.
    Collected,
    /// It could not begin; the driver knows why.
    Failed,
    /// Given back before its job ran.
    ReleasedUnstarted,
    /// Given back after its job had run.
    ReleasedStarted,
    /// Its set-up took too long.
    SetupTimeout,
    /// Stopped as asked.
    Stopped,
    /// Nobody knows how its job ended: it is lost.
    Lost,
    /// Nothing is said.
    Nothing,
}

/// Whether an event had its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fit {
    /// It had.
    Expected,
    /// It came too late, or twice: it changed nothing.
    Ignored,
}

impl Then {
    fn end(self, under: Under) -> End {
        match (self, under) {
            (Self::GiveBack, Under::Preparation) => End::ReleasedUnstarted,
            (Self::GiveBack, Under::Job) => End::ReleasedStarted,
            (Self::SetupTimeout, _) => End::SetupTimeout,
            (Self::Stopped, _) => End::Stopped,
            (Self::Nothing, _) => End::Nothing,
        }
    }
}

impl State {
    /// Moves the machine: the next state, what is to be done, and whether the event had its place.
    #[must_use]
    pub fn on(self, event: Event) -> (Self, Vec<Step>, Fit) {
        let (next, steps) = match self {
            Self::Queued => queued(event),
            Self::Preparing => preparing(event),
            Self::Starting => starting(event),
            Self::Running => running(event),
            Self::Stopping { then, under } => stopping(then, under, event),
            Self::Collecting => collecting(event),
            Self::Ended => None,
        }
        .map_or((self, None), |(next, steps)| (next, Some(steps)));
        match steps {
            Some(steps) => (next, steps, Fit::Expected),
            None => (self, Vec::new(), Fit::Ignored),
        }
    }

    /// Whether it takes room.
    pub fn takes_slot(self) -> bool {
        match self {
            Self::Queued | Self::Collecting | Self::Ended => false,
            Self::Preparing | Self::Starting | Self::Running | Self::Stopping { .. } => true,
        }
    }

    /// Whether its job may have begun.
    pub fn may_have_job(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping { under: Under::Job, .. } => true,
            Self::Queued
            | Self::Preparing
            | Self::Stopping { under: Under::Preparation, .. }
            | Self::Collecting
            | Self::Ended => false,
        }
    }
}

type Next = Option<(State, Vec<Step>)>;

#[expect(clippy::unnecessary_wraps, reason = "an answer of the machine, like the others")]
fn ended(end: End) -> Next {
    Some((State::Ended, vec![Step::End(end)]))
}

fn queued(event: Event) -> Next {
    match event {
        Event::Begin => Some((State::Preparing, vec![Step::Prepare])),
        Event::Stop(then) => ended(then.end(Under::Preparation)),
        // Work that cannot be read has nothing to prepare.
        Event::PrepareFailed => ended(End::Failed),
        Event::Prepared
        | Event::JobStarted
        | Event::StartFailed
        | Event::JobOver(_)
        | Event::JobLost
        | Event::Collected => None,
    }
}

fn preparing(event: Event) -> Next {
    match event {
        Event::Prepared => Some((State::Starting, vec![Step::Launch])),
        Event::PrepareFailed => ended(End::Failed),
        Event::Stop(then) => Some((State::Stopping { then, under: Under::Preparation }, vec![])),
        Event::Begin
        | Event::JobStarted
        | Event::StartFailed
        | Event::JobOver(_)
        | Event::JobLost
        | Event::Collected => None,
    }
}

fn starting(event: Event) -> Next {
    match event {
        Event::JobStarted => Some((State::Running, vec![Step::Announce])),
        Event::StartFailed => ended(End::Failed),
        // Its start was missed: the connection to the supervisor broke meanwhile.
        Event::JobOver(over) => job_over(over, vec![Step::Announce]),
        Event::JobLost => ended(End::Lost),
        Event::Stop(then) => Some((State::Stopping { then, under: Under::Job }, vec![Step::Kill])),
        Event::Begin | Event::Prepared | Event::PrepareFailed | Event::Collected => None,
    }
}

fn running(event: Event) -> Next {
    match event {
        Event::JobOver(over) => job_over(over, vec![]),
        Event::JobLost => ended(End::Lost),
        Event::Stop(then) => Some((State::Stopping { then, under: Under::Job }, vec![Step::Kill])),
        Event::Begin
        | Event::Prepared
        | Event::PrepareFailed
        | Event::JobStarted
        | Event::StartFailed
        | Event::Collected => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an answer of the machine, like the others")]
fn job_over(over: Over, mut steps: Vec<Step>) -> Next {
    let (next, step) = match over {
        Over::ByItself | Over::RunLimit => (State::Collecting, Step::Collect),
        Over::Asked => (State::Ended, Step::End(End::Stopped)),
        Over::SupervisorLeft => (State::Ended, Step::End(End::ReleasedStarted)),
    };
    steps.push(step);
    Some((next, steps))
}

#[expect(clippy::match_same_arms, reason = "one arm a rule, each with its reason")]
fn stopping(then: Then, under: Under, event: Event) -> Next {
    match (event, under) {
        (Event::Prepared | Event::PrepareFailed, Under::Preparation) => ended(then.end(under)),
        // The order to kill it is on its way already.
        (Event::JobStarted, Under::Job) => Some((State::Stopping { then, under }, vec![])),
        (Event::StartFailed, Under::Job) => ended(then.end(Under::Preparation)),
        // Finished work is not thrown away by a give-back.
        (Event::JobOver(Over::ByItself | Over::RunLimit), Under::Job) if then == Then::GiveBack => {
            Some((State::Collecting, vec![Step::Collect]))
        }
        // What is given back was stopped in order, which nobody can say of this one.
        (Event::JobLost, Under::Job) if then == Then::GiveBack => ended(End::Lost),
        (Event::JobOver(_) | Event::JobLost, Under::Job) => ended(then.end(under)),
        (Event::Stop(other), _) => Some((State::Stopping { then: then.max(other), under }, vec![])),
        (Event::Prepared | Event::PrepareFailed, Under::Job)
        | (Event::JobStarted | Event::StartFailed | Event::JobOver(_) | Event::JobLost, Under::Preparation)
        | (Event::Begin | Event::Collected, _) => None,
    }
}

fn collecting(event: Event) -> Next {
    match event {
        Event::Collected => ended(End::Collected),
        Event::Stop(Then::Nothing) => ended(End::Nothing),
        // The job is over: what it left is delivered, and the server judges it.
        Event::Stop(Then::GiveBack | Then::SetupTimeout | Then::Stopped) => Some((State::Collecting, vec![])),
        Event::Begin
        | Event::Prepared
        | Event::PrepareFailed
        | Event::JobStarted
        | Event::StartFailed
        | Event::JobOver(_)
        | Event::JobLost => None,
    }
}

#[cfg(test)]
mod tests;
