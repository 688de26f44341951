//! Mutants: mistakes that can be switched on, one at a time, to prove that the simulation's checker sees
//! them.
//!
//! A mutant is one line in the real code, as `if fence_ok || mutant::is(Mutant::FenceNotChecked)`. Without
//! the crate's feature `sim`, which nothing but the simulation turns on, [`is`] is `false` to the
//! compiler, and the line is gone; with it each thread has its own active mutant.

use crate::listed::listed;

listed! {
    /// A mistake. Whoever adds one, adds its line in the real code, and the checker must catch it.
    Mutant {
        /// A state message is applied whatever its fence.
        FenceNotChecked = "fence-not-checked",
        /// Effects leave before their batch is durable.
        EffectBeforeCommit = "effect-before-commit",
        /// A batch without rows is released while the batch before it is being committed.
        RowlessReleasedEarly = "rowless-released-early",
        /// A commit that failed counts as durable, and the leadership goes on.
        CommitFailureIgnored = "commit-failure-ignored",
        /// A standstill of the writer is held against the workers that were not heard meanwhile.
        StandstillNotCounted = "standstill-not-counted",
        /// A worker that has seen a newer state than the store holds is welcomed.
        RollbackNotDetected = "rollback-not-detected",
        /// An assignment leaves before its claim is durable.
        PopThenRecord = "pop-then-record",
        /// The store takes commits of a server that was deposed.
        EpochNotChecked = "epoch-not-checked",
        /// A store that was put back keeps its generation when that is accepted.
        GenerationNotRaised = "generation-not-raised",
        /// A claim's fence is without the store's generation.
        GenerationNotInFence = "generation-not-in-fence",
        /// A task that comes back to its place is claimed again under the same fence.
        FenceKeptOnReturn = "fence-kept-on-return",
        /// An attempt whose end is still to be delivered is given back at Hello.
        HelloRequeuesWhatIsPending = "hello-requeues-what-is-pending",
        /// An attempt's room is free as soon as it is told to stop.
        StoppingFreesTheSlot = "stopping-frees-the-slot",
        /// A cancel overwrites an end.
        CancelOverwritesSuccess = "cancel-overwrites-success",
        /// A success overwrites a cancel that was committed before it.
        SuccessOverwritesCancel = "success-overwrites-cancel",
        /// The same failure, reported twice, counts twice.
        RepeatedReportCounts = "repeated-report-counts",
        /// A late result counts although a newer attempt was claimed.
        LateResultUnchecked = "late-result-unchecked",
        /// An attempt that nothing may overlap is lost by silence alone.
        ForbidLostBySilence = "forbid-lost-by-silence",
        /// Attempts are lost by silence right after a take-over.
        LostRightAfterATakeOver = "lost-right-after-a-take-over",
        /// A failing task has one attempt more than it may.
        OneAttemptTooMany = "one-attempt-too-many",
        /// A dependency counts as met when its task begins.
        DependencyMetByAStart = "dependency-met-by-a-start",
        /// A dependency on a success is met by any end.
        FailureMeetsADependency = "failure-meets-a-dependency",
        /// More elements of an array run at once than may.
        WindowIgnored = "window-ignored",
        /// A gang goes on although a member was given back before all had started.
        GangStartsInPart = "gang-starts-in-part",
        /// What is paused is claimed.
        PauseIgnored = "pause-ignored",
        /// Resources are free as soon as their holder is told to stop.
        StoppingFreesTheResources = "stopping-frees-the-resources",
        /// What a run holds is free while its tasks are still being stopped.
        StoppingRunLetsGo = "stopping-run-lets-go",
        /// The end of a round frees no resource.
        EndKeepsTheResources = "end-keeps-the-resources",
        /// Whoever finds a resource free takes it, whoever stands in line.
        LineOvertaken = "line-overtaken",
        /// A task is given to a worker that it excludes.
        ExcludedIsGiven = "excluded-is-given",
        /// A lock counts as free while somebody shares it.
        SharedNotCounted = "shared-not-counted",
        /// More tasks under a concurrency key are at work than may be.
        ConcurrencyIgnored = "concurrency-ignored",
        /// More tasks under a rate begin than may.
        RateIgnored = "rate-ignored",
        /// A take-over forgets what began under a rate.
        RateForgottenAtReload = "rate-forgotten-at-reload",
        /// A namespace has more on workers, or holds more, than it may.
        QuotaIgnored = "quota-ignored",
        /// A namespace holds more of a resource than it may.
        HeldQuotaIgnored = "held-quota-ignored",
        /// A new idempotency key counts as one that was never used once it has left memory.
        NewKeysNotNoted = "new-keys-not-noted",
        /// Workers are given by ticket alone, whatever namespaces have had of them.
        SharesIgnored = "shares-ignored",
        /// Every namespace has the same share, whatever is set.
        WeightsIgnored = "weights-ignored",
        /// A task that is to be skipped for another under its key is not.
        DropForgotten = "drop-forgotten",
        /// A drained worker is given work.
        DrainedWorkerIsGivenWork = "drained-worker-is-given-work",
        /// A session goes on to be heard after a newer one was welcomed.
        OldSessionHeard = "old-session-heard",
        /// A process from another state directory takes an identity whose attempts may live.
        SeatTakenOverTheLiving = "seat-taken-over-the-living",
        /// What was done under an idempotency key is not remembered.
        KeyNotRemembered = "key-not-remembered",
        /// Ended tasks leave memory while older facts about them are on their way.
        StaleFactBelieved = "stale-fact-believed",
        /// A take-over sets no timers.
        TimersLostAtReload = "timers-lost-at-reload",
        /// A take-over does not evaluate what was due.
        DueForgottenAtReload = "due-forgotten-at-reload",
        /// A task that must not rerun goes back to its place after a loss.
        DoubtIsRerun = "doubt-is-rerun",
        /// A task that comes back to its place takes a new ticket.
        TicketLostOnReturn = "ticket-lost-on-return",
        /// An identity is forgotten, and its attempts are not lost.
        ForgottenWorkerKeepsItsAttempts = "forgotten-worker-keeps-its-attempts",
        /// A round's total limit never runs out.
        TotalLimitForgotten = "total-limit-forgotten",
        /// An array's cancel stops none of the elements that have begun.
        CancelForgetsElements = "cancel-forgets-elements",
        /// Retention removes a task on which an unfinished one depends.
        RetentionTakesWhatIsNeeded = "retention-takes-what-is-needed",
        /// A supervisor starts a job without having recorded it.
        JobNotRecorded = "job-not-recorded",
        /// A supervisor tells a job's end while some of its processes live.
        EndToldBeforeGone = "end-told-before-gone",
        /// A supervisor lets a job run on whose lease is over.
        LeaseNotEnforced = "lease-not-enforced",
        /// A supervisor sends TERM, and never KILL.
        KillNeverFollowsTerm = "kill-never-follows-term",
        /// A supervisor that is asked for all jobs leaves out those that run.
        ListOmitsTheLiving = "list-omits-the-living",
        /// A supervisor starts a second job under a name that it has a job of.
        KeyStartedTwice = "key-started-twice",
        /// A new supervisor leaves alone what the one before left running.
        LeftoversNotSwept = "leftovers-not-swept",
        /// A worker begins an attempt before its assignment is journaled.
        BegunBeforeJournaled = "begun-before-journaled",
        /// A worker sends an assured message before it is durable.
        SentBeforeDurable = "sent-before-durable",
        /// A worker forgets an assured message when it has sent it, not when it is acknowledged.
        ForgottenAtSending = "forgotten-at-sending",
        /// A worker does not send again in a new session what was not acknowledged in the one before.
        OutboxNotRewound = "outbox-not-rewound",
        /// A worker that is fenced off goes on.
        FencedIgnored = "fenced-ignored",
        /// A worker's Hello does not name what has ended and is not delivered.
        EndedPendingNotNamed = "ended-pending-not-named",
        /// A worker begins whatever it has, slots or not.
        SlotsNotCounted = "slots-not-counted",
        /// A stopped job's slot is free before its processes are gone.
        SlotFreedAtKill = "slot-freed-at-kill",
        /// The supervisor is told to forget a job before its end is journaled.
        JobForgottenBeforeJournaled = "job-forgotten-before-journaled",
        /// A worker says of what has begun and is called back that it has not, and lets it run.
        BegunRecalledAsUnbegun = "begun-recalled-as-unbegun",
        /// A worker takes an assignment of an earlier session.
        OldAssignmentTaken = "old-assignment-taken",
        /// A worker begins what it finds unbegun in its journal without asking the server.
        JournaledBegunUnasked = "journaled-begun-unasked",
        /// A worker says Hello before it knows what became of its jobs.
        HelloBeforeSupervisor = "hello-before-supervisor",
        /// A job of which its worker knows nothing is left running.
        UnknownJobLeftRunning = "unknown-job-left-running",
        /// A worker says of a job of which nobody knows how it ended that it succeeded.
        LostSaidSucceeded = "lost-said-succeeded",
        /// A lease counts from the answer to a heartbeat, not from when that was sent.
        LeaseFromAnswer = "lease-from-answer",
        /// A job's result is said when its log is delivered.
        ResultWaitsForItsLog = "result-waits-for-its-log",
        /// A job whose log the server does not have as a whole is said to have failed.
        MissingLogFailsItsResult = "missing-log-fails-its-result",
        /// `explain` names whoever is next in the line as the holder.
        NextExplainedAsHolder = "next-explained-as-holder",
        /// `explain` says nothing of pauses.
        PauseNotExplained = "pause-not-explained",
        /// `explain` says nothing of what a worker has too little of.
        TooSmallNotExplained = "too-small-not-explained",
        /// `explain` says nothing of a worker's drain.
        DrainNotExplained = "drain-not-explained",
    }
}

/// Whether this is the active mutant. Without the feature `sim`: never.
#[cfg(not(feature = "sim"))]
#[expect(clippy::inline_always, reason = "without the feature a mutant must be nothing at all")]
#[inline(always)]
pub fn is(_mutant: Mutant) -> bool {
    false
}

/// Whether this is the active mutant of this thread.
#[cfg(feature = "sim")]
pub fn is(mutant: Mutant) -> bool {
    switch::ACTIVE.get() == Some(mutant)
}

/// Makes this the active mutant of this thread; `None`: the code as it is meant. Without the feature `sim`
/// nothing happens.
#[cfg(not(feature = "sim"))]
pub fn set_active(_mutant: Option<Mutant>) {}

/// Makes this the active mutant of this thread; `None`: the code as it is meant.
#[cfg(feature = "sim")]
pub fn set_active(mutant: Option<Mutant>) {
    switch::ACTIVE.set(mutant);
}

#[cfg(feature = "sim")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        pub(super) static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_each_its_own_and_lead_back() {
        let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(crate::listed::wrong_names(&names), Vec::<&str>::new());
        for mutant in Mutant::ALL {
            assert_eq!(Mutant::from_name(mutant.name()), Some(*mutant));
            assert!(mutant.about().ends_with('.'), "{}", mutant.name());
        }
    }

    #[test]
    fn at_most_one_is_active_and_with_the_feature_alone() {
        let active = || Mutant::ALL.iter().copied().filter(|mutant| is(*mutant)).collect::<Vec<_>>();
        assert_eq!(active(), []);
        set_active(Some(Mutant::FenceNotChecked));
        assert_eq!(active(), if cfg!(feature = "sim") { vec![Mutant::FenceNotChecked] } else { vec![] });
        set_active(None);
        assert_eq!(active(), []);
    }
}
