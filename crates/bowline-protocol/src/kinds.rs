//! Every kind of message, with what it promises and when it may come: one table, which the compiler
//! keeps complete.
//!
//! | kind | direction | class | about an attempt that is |
//! |---|---|---|---|
//! | `hello` `heartbeat` `demand` `health` `bye` | to the server | timely | (the session) |
//! | `started` | to the server | assured | assigned, preparing |
//! | `finished` | to the server | assured | in any phase; late, it is judged by its fence |
//! | `released` `gone` | to the server | assured | in any phase but ended |
//! | `artifact_committed` | to the server | assured | running, uploading, stopping, ended |
//! | `artifact_undelivered` | to the server | assured | running, uploading, stopping, ended |
//! | `log_segment` | to the server | assured, in an order of its own | running, uploading, stopping, ended |
//! | `upload_progress` | to the server | best effort | running, uploading |
//! | `welcome` `try_later` `fenced` `heartbeat_ack` `pause` `drain` `undrain` | to the worker | timely | (the session) |
//! | `assign` | to the worker | timely | assigned |
//! | `cancel` | to the worker | timely | in any phase but ended |
//! | `ack` `verdict` | to the worker | timely | in any phase |
//!
//! A message outside its phases is no error: it is recorded or dropped, acknowledged, and answered
//! by a verdict.

use bowline_core::state::Phase;

/// What a kind of message promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wait and retry: applied exactly once, in order. Kept until acknowledged.
    Assured,
    /// Give up and report: arrives by its deadline, or the sender knows that it did not; said anew
    /// from the current state after a reconnect.
    Timely,
    /// Guarantee nothing: losing it harms nothing.
    BestEffort,
}

impl Class {
    /// As it is written in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Assured => "assured",
            Self::Timely => "timely",
            Self::BestEffort => "best_effort",
        }
    }
}

/// Who sends a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The worker.
    ToServer,
    /// The server.
    ToWorker,
}

/// What a kind speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The session as a whole: it may come in every phase of every attempt.
    Session,
    /// One attempt, in these phases.
    Attempt(&'static [Phase]),
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KindRow {
    /// As it is written in logs and metrics.
    pub name: &'static str,
    /// Who sends it.
    pub direction: Direction,
    /// What it promises.
    pub class: Class,
    /// When it may come.
    pub scope: Scope,
}

/// Every kind of message, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A worker opens a session.
    Hello,
    /// Still here.
    Heartbeat,
    /// What the server may use.
    Demand,
    /// The job runs.
    Started,
    /// The attempt's end.
    Finished,
    /// Given back.
    Released,
    /// Its job is gone.
    Gone,
    /// A file that the attempt leaves.
    ArtifactCommitted,
    /// A file that the attempt left and that cannot be kept.
    ArtifactUndelivered,
    /// How far uploads are.
    UploadProgress,
    /// A range of a log, or its seal.
    LogSegment,
    /// How the worker is.
    Health,
    /// Leaves in order.
    Bye,
    /// The answer to Hello.
    Welcome,
    /// The identity cannot be taken now.
    TryLater,
    /// A newer process acts under this identity.
    Fenced,
    /// The answer to a heartbeat.
    HeartbeatAck,
    /// An attempt to make.
    Assign,
    /// Stop an attempt.
    Cancel,
    /// Claim nothing, or claim again.
    Pause,
    /// Let go of everything.
    Drain,
    /// Take work again.
    Undrain,
    /// An assured message is applied, or refused and recorded.
    Ack,
    /// What becomes of an attempt.
    Verdict,
}

const BEFORE_THE_JOB: &[Phase] = &[Phase::Assigned, Phase::Preparing];
const NOT_ENDED: &[Phase] = &[Phase::Assigned, Phase::Preparing, Phase::Running, Phase::Uploading, Phase::Stopping];
const WHILE_IT_LASTS: &[Phase] = &[Phase::Running, Phase::Uploading];
const FROM_THE_JOB_ON: &[Phase] = &[Phase::Running, Phase::Uploading, Phase::Stopping, Phase::Ended];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Hello,
        Self::Heartbeat,
        Self::Demand,
        Self::Started,
        Self::Finished,
        Self::Released,
        Self::Gone,
        Self::ArtifactCommitted,
        Self::ArtifactUndelivered,
        Self::UploadProgress,
        Self::LogSegment,
        Self::Health,
        Self::Bye,
        Self::Welcome,
        Self::TryLater,
        Self::Fenced,
        Self::HeartbeatAck,
        Self::Assign,
        Self::Cancel,
        Self::Pause,
        Self::Drain,
        Self::Undrain,
        Self::Ack,
        Self::Verdict,
    ];

    /// This kind's row of the table.
    pub const fn row(self) -> KindRow {
        use Class::{Assured, BestEffort, Timely};
        use Direction::{ToServer, ToWorker};
        use Scope::{Attempt, Session};
        let (name, direction, class, scope) = match self {
            Self::Hello => ("hello", ToServer, Timely, Session),
            Self::Heartbeat => ("heartbeat", ToServer, Timely, Session),
            Self::Demand => ("demand", ToServer, Timely, Session),
            Self::Started => ("started", ToServer, Assured, Attempt(BEFORE_THE_JOB)),
            Self::Finished => ("finished", ToServer, Assured, Attempt(&Phase::ALL)),
            Self::Released => ("released", ToServer, Assured, Attempt(NOT_ENDED)),
            Self::Gone => ("gone", ToServer, Assured, Attempt(NOT_ENDED)),
            Self::ArtifactCommitted => ("artifact_committed", ToServer, Assured, Attempt(FROM_THE_JOB_ON)),
            Self::ArtifactUndelivered => ("artifact_undelivered", ToServer, Assured, Attempt(FROM_THE_JOB_ON)),
            Self::UploadProgress => ("upload_progress", ToServer, BestEffort, Attempt(WHILE_IT_LASTS)),
            Self::LogSegment => ("log_segment", ToServer, Assured, Attempt(FROM_THE_JOB_ON)),
            Self::Health => ("health", ToServer, Timely, Session),
            Self::Bye => ("bye", ToServer, Timely, Session),
            Self::Welcome => ("welcome", ToWorker, Timely, Session),
            Self::TryLater => ("try_later", ToWorker, Timely, Session),
            Self::Fenced => ("fenced", ToWorker, Timely, Session),
            Self::HeartbeatAck => ("heartbeat_ack", ToWorker, Timely, Session),
            Self::Assign => ("assign", ToWorker, Timely, Attempt(&[Phase::Assigned])),
            Self::Cancel => ("cancel", ToWorker, Timely, Attempt(NOT_ENDED)),
            Self::Pause => ("pause", ToWorker, Timely, Session),
            Self::Drain => ("drain", ToWorker, Timely, Session),
            Self::Undrain => ("undrain", ToWorker, Timely, Session),
            Self::Ack => ("ack", ToWorker, Timely, Attempt(&Phase::ALL)),
            Self::Verdict => ("verdict", ToWorker, Timely, Attempt(&Phase::ALL)),
        };
        KindRow { name, direction, class, scope }
    }

    /// As it is written in logs and metrics.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What it promises.
    pub const fn class(self) -> Class {
        self.row().class
    }

    /// Who sends it.
    pub const fn direction(self) -> Direction {
        self.row().direction
    }

    /// The phases of an attempt in which it may come.
    pub const fn phases(self) -> &'static [Phase] {
        match self.row().scope {
            Scope::Session => &Phase::ALL,
            Scope::Attempt(phases) => phases,
        }
    }

    /// Whether it may come while its attempt is in this phase.
    pub fn may_come_in(self, phase: Phase) -> bool {
        self.phases().contains(&phase)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_listed_once_under_a_name_of_its_own() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        let kinds: BTreeSet<_> = Kind::ALL.into_iter().collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
    }

    #[test]
    fn whatever_the_server_says_is_timely_and_every_assured_kind_speaks_of_an_attempt() {
        for kind in Kind::ALL {
            let row = kind.row();
            match row.class {
                Class::Assured => {
                    assert_eq!(row.direction, Direction::ToServer, "{kind:?}");
                    assert!(matches!(row.scope, Scope::Attempt(_)), "{kind:?}");
                }
                Class::Timely | Class::BestEffort => {}
            }
            if row.direction == Direction::ToWorker {
                assert_eq!(row.class, Class::Timely, "{kind:?}");
            }
        }
    }

    #[test]
    fn evidence_may_come_after_the_end_and_state_may_not_but_for_a_late_finish() {
        let late: Vec<_> = Kind::ALL
            .into_iter()
            .filter(|kind| kind.class() == Class::Assured && kind.may_come_in(Phase::Ended))
            .collect();
        let evidence = [Kind::Finished, Kind::ArtifactCommitted, Kind::ArtifactUndelivered, Kind::LogSegment];
        assert_eq!(late, evidence);
    }
}
