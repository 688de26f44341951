//! Probes: rare paths that the simulation must have taken, counted as they are.
//!
//! Code on such a path says so by [`reached`]. Without the crate's feature `sim`, which nothing but the
//! simulation turns on, that is nothing at all; with it each thread counts for itself.

use crate::listed::listed;

listed! {
    /// A rare path. Whoever knows one in his own code adds it, and says [`reached`] there.
    Path {
        /// A lost attempt's result came while its task was waiting or ready again, and was accepted.
        LateResultWhileRequeued = "late-result-while-requeued",
        /// A success came while its task was being stopped by a cancel: the cancel stood.
        CancelCrossingSuccess = "cancel-crossing-success",
        /// Hello named an attempt as assigned that its worker had journaled and not begun.
        HelloWithUnbegunAssignment = "hello-with-unbegun-assignment",
        /// Hello did not name an assignment that was never journaled: it was given back.
        HelloWithUnjournaledAssignment = "hello-with-unjournaled-assignment",
        /// Another server took the leadership over while a batch was applied and not yet committed.
        TakeOverBetweenApplyAndCommit = "take-over-between-apply-and-commit",
        /// A commit failed, or nobody knew, after its batch was applied.
        CommitFailedAfterApply = "commit-failed-after-apply",
        /// Answers and acknowledgements without a row waited behind a commit that was under way.
        RowlessBehindACommit = "rowless-behind-a-commit",
        /// The writer stood still for longer than a heartbeat, and timers had come due meanwhile.
        StandstillWithTimersDue = "standstill-with-timers-due",
        /// A worker had seen a newer state than the store holds.
        RollbackSeenAtHello = "rollback-seen-at-hello",
        /// A session was closed because its queue was full.
        SessionOverrun = "session-overrun",
        /// A lost attempt's result came while its task was in doubt: it ended the doubt.
        LateResultWhileInDoubt = "late-result-while-in-doubt",
        /// A success came while its task was being stopped by a limit: the limit stood.
        LimitCrossingSuccess = "limit-crossing-success",
        /// A result came before a drained worker had given its attempt back: the result counts.
        DrainYieldsToAResult = "drain-yields-to-a-result",
        /// An end was reported of an attempt whose round was over.
        ReportAfterTheRound = "report-after-the-round",
        /// A success was reported of a task that had ended in another way: it is evidence.
        SuccessAfterAnotherEnd = "success-after-another-end",
        /// An end was reported again of an attempt that had failed and is to be followed by another.
        ReportRepeated = "report-repeated",
        /// Something was reported of a task that is there no more.
        ReportOfPurgedTask = "report-of-purged-task",
        /// An end was reported of an attempt that was claimed before the store was put back.
        ReportFromBeforeARestore = "report-from-before-a-restore",
        /// A lost attempt's result came after a newer one was claimed.
        ResultOfASupersededAttempt = "result-of-a-superseded-attempt",
        /// A lost attempt's result was accepted though its worker's identity had been forgotten.
        ResultOfAForgottenWorker = "result-of-a-forgotten-worker",
        /// What no longer decided anything was kept as evidence.
        EvidenceKept = "evidence-kept",
        /// A job had begun before its worker heard that it is to stop.
        BegunWhileStopping = "begun-while-stopping",
        /// A suspect worker was heard again before anything of it was lost.
        SuspectHeardAgain = "suspect-heard-again",
        /// A lost attempt came back running, and went on under its own fence.
        LateAttemptRevived = "late-attempt-revived",
        /// A ticket stands aside because its task is paused.
        AsideForAPause = "aside-for-a-pause",
        /// A gang had no room for all of its members at once, and waited.
        GangWaitsForRoom = "gang-waits-for-room",
        /// A member failed, was lost or given back before all had started: all were given back.
        GangGivenBackBeforeItStarted = "gang-given-back-before-it-started",
        /// A member was lost after all had started: all were given back, to be claimed anew together.
        GangRerunAfterALoss = "gang-rerun-after-a-loss",
        /// A member ended badly, and its gang with it.
        GangStoppedWithAMember = "gang-stopped-with-a-member",
        /// A member came back after all had started, and went to its place without the others.
        MemberGoesAlone = "member-goes-alone",
        /// The next link of a chain was claimed in the commit of the end of the one before.
        ChainGoesOn = "chain-goes-on",
        /// A ticket stands aside because a resource is out of service, or has too little now.
        AsideForAResource = "aside-for-a-resource",
        /// A ticket stands aside because no connected worker has been able to run its task for too long.
        AsideForWantOfAWorker = "aside-for-want-of-a-worker",
        /// An element's ticket stands aside because its array's window is full.
        AsideForTheWindow = "aside-for-the-window",
        /// A worker is kept free for who needs much of it.
        WorkerKeptFree = "worker-kept-free",
        /// Workers are kept free for a gang.
        WorkersKeptFreeForAGang = "workers-kept-free-for-a-gang",
        /// A worker was kept free for somebody, and is for somebody who stands before him.
        KeptForAnEarlierOne = "kept-for-an-earlier-one",
        /// A unit waits for another worker than the one that failed it last.
        AwayFromTheWorkerThatFailed = "away-from-the-worker-that-failed",
        /// There is no other.
        NoOtherWorkerThanTheOneThatFailed = "no-other-worker-than-the-one-that-failed",
        /// A ticket stands aside because of its concurrency key.
        AsideForAKey = "aside-for-a-key",
        /// A ticket stands aside because of its rate.
        AsideForARate = "aside-for-a-rate",
        /// A ticket stands aside because of a quota.
        AsideForAQuota = "aside-for-a-quota",
        /// A task was cancelled for a newer one under its concurrency key.
        ReplacedByANewer = "replaced-by-a-newer",
        /// A task was skipped for one under its concurrency key that had not ended.
        DroppedForAnother = "dropped-for-another",
        /// A ticket steps back to its number.
        SteppedBackToItsNumber = "stepped-back-to-its-number",
        /// A run ended before it was granted what it asks for as a whole.
        RunEndedBeforeItHeld = "run-ended-before-it-held",
        /// A task that was ready gives its grants back to stand aside.
        GrantsGivenBackAside = "grants-given-back-aside",
        /// A lost attempt came back running, and was told to stop.
        LateAttemptTurnedAway = "late-attempt-turned-away",
        /// An attempt was lost while it was being stopped: the stop's intent came true.
        LossWhileStopping = "loss-while-stopping",
        /// Hello named an attempt whose end was still to be delivered.
        HelloWithAReportPending = "hello-with-a-report-pending",
        /// Hello gave back what the last holder of the identity had left.
        HelloGivesBackWhatWasLeft = "hello-gives-back-what-was-left",
        /// Hello named a running attempt under another boot id: it was lost.
        HelloAfterAReboot = "hello-after-a-reboot",
        /// Hello named an attempt that was to stop: it was told again.
        HelloWhileStopping = "hello-while-stopping",
        /// Hello named an attempt of a task that the store does not hold (any more, or yet).
        HelloNamesWhatTheStoreLacks = "hello-names-what-the-store-lacks",
        /// Hello named an attempt of which a newer one had been claimed.
        HelloNamesASupersededAttempt = "hello-names-a-superseded-attempt",
        /// An older process of an identity came back, and was fenced off.
        OlderProcessFenced = "older-process-fenced",
        /// A Hello came after a later one of the same state directory, and was turned away.
        HelloOvertaken = "hello-overtaken",
        /// A process from another state directory had to wait for what the last holder may still run.
        NewcomerMustWait = "newcomer-must-wait",
        /// A new process took an identity that was being handed over.
        SecondIncarnationDuringHandoff = "second-incarnation-during-handoff",
        /// A new process took an identity that held attempts.
        SecondIncarnationTakesAttemptsOver = "second-incarnation-takes-attempts-over",
        /// A pool had no free identity, and got a new one.
        PoolGrows = "pool-grows",
        /// The writer stood still, and a worker's lease had run out meanwhile: it was made longer.
        StandstillWithALeaseDue = "standstill-with-a-lease-due",
        /// A drain called back what had been assigned and not begun.
        DrainCrossingAnAssignment = "drain-crossing-an-assignment",
        /// A drain met an attempt that was being stopped already.
        DrainOfWhatIsBeingStopped = "drain-of-what-is-being-stopped",
        /// A started task that must not rerun was given back: it is in doubt.
        DrainLeavesADoubt = "drain-leaves-a-doubt",
        /// A drained worker did not finish within its limit: what ran was given back.
        FinishingEndsByItsLimit = "finishing-ends-by-its-limit",
        /// A worker was forgotten that held attempts: they were lost.
        ForgottenWorkerHeldAttempts = "forgotten-worker-held-attempts",
        /// A worker was put aside because task after task failed on it.
        BlackHolePutAside = "black-hole-put-aside",
        /// A task succeeded on a worker that had been put aside.
        BlackHoleHealed = "black-hole-healed",
        /// A task was lost on so many workers that it counts as poison.
        PoisonByDifferentWorkers = "poison-by-different-workers",
        /// A task was lost so often that it counts as poison, on whichever workers.
        PoisonByCount = "poison-by-count",
        /// Somebody said how a doubtful attempt ended.
        DoubtResolved = "doubt-resolved",
        /// An array's element was cancelled that had never begun.
        ElementCancelledBeforeItBegan = "element-cancelled-before-it-began",
        /// A dependency ended so that its dependent could never run.
        DependencyLost = "dependency-lost",
        /// A task was retried while a task that it depends on had not ended.
        RetriedWhileADependencyIsOpen = "retried-while-a-dependency-is-open",
        /// An array was retried before all that is known of it was back in memory.
        ArrayRetriedTooSoon = "array-retried-too-soon",
        /// A task was to be deleted whose end was not yet durable.
        DeleteCrossingTheCommit = "delete-crossing-the-commit",
        /// An idempotency key was used again while its first use was parked.
        KeyReusedWhileTheFirstIsParked = "key-reused-while-the-first-is-parked",
        /// An input was parked for a task that was gone when it was read.
        ParkedForAPurgedTask = "parked-for-a-purged-task",
        /// A fact came for an ended task that another input had recalled meanwhile.
        TaskRecalledWhileAnotherWaits = "task-recalled-while-another-waits",
        /// A fact came for an array that another input had recalled meanwhile.
        ArrayRecalledWhileAnotherWaits = "array-recalled-while-another-waits",
        /// A fact showed a task as ended that had been retried meanwhile.
        RetriedWhileAnotherWaits = "retried-while-another-waits",
        /// A fact showed a task that had been removed meanwhile.
        TaskRemovedWhileAnotherWaits = "task-removed-while-another-waits",
        /// Something old was to be brought back to life while retention was removing it.
        RevivalOfWhatIsBeingRemoved = "revival-of-what-is-being-removed",
        /// Retention removed tasks while facts were on their way.
        RetentionCrossingARead = "retention-crossing-a-read",
        /// Retention had its turn although inputs were waiting to be committed.
        SweepUnderLoad = "sweep-under-load",
        /// A take-over found an attempt that was lost, and may still come back.
        LossRememberedOverATakeOver = "loss-remembered-over-a-take-over",
        /// An evaluation came back after what it was for had changed.
        EvaluationOutOfDate = "evaluation-out-of-date",
        /// A job was born while it was being stopped: it got its TERM as soon as it ran.
        BornWhileBeingStopped = "born-while-being-stopped",
        /// A second stop of a job shortened its grace.
        GraceShortened = "grace-shortened",
        /// A job's end and the order to kill it crossed.
        KillCrossingEnd = "kill-crossing-end",
        /// A supervisor stopped a job because its server was away for longer than its `stop_after`.
        LeaseStoppedAJob = "lease-stopped-a-job",
        /// A job's first process had ended, and others of it had not.
        FirstProcessEndedBeforeTheRest = "first-process-ended-before-the-rest",
        /// A job could not be killed within the bound: that was told.
        JobCannotBeKilled = "job-cannot-be-killed",
        /// A job that could not be killed ended after all.
        UnkillableJobEnded = "unkillable-job-ended",
        /// A job ended while no worker was connected to its supervisor.
        JobEndedWithoutAWorker = "job-ended-without-a-worker",
        /// A supervisor could not sync the ends of its jobs, and tried again.
        EndsNotSynced = "ends-not-synced",
        /// A job's record went with the machine's power; its end was known from where it was synced.
        EndKnownFromItsSlotAlone = "end-known-from-its-slot-alone",
        /// What an earlier supervisor left could not be killed at first, and then was gone.
        EarlierJobGoneAtLast = "earlier-job-gone-at-last",
        /// A supervisor found a record of a job that was cut or changed.
        RecordDamaged = "record-damaged",
        /// A worker was handed an assignment of another session, and dropped it.
        AssignmentOfOtherSession = "assignment-of-other-session",
        /// A worker was handed an assignment twice.
        AssignedAgain = "assigned-again",
        /// `Started` was lost with the link, and said anew.
        StartedSaidAnew = "started-said-anew",
        /// A worker found an attempt's end in its journal that the server had not acknowledged to the process before.
        EndFoundInJournal = "end-found-in-journal",
        /// An attempt that a worker found in its journal is not the server's any more.
        RecoveredUnknownToServer = "recovered-unknown-to-server",
        /// A worker was told to call back what had begun meanwhile.
        RecallCrossingBegin = "recall-crossing-begin",
        /// A worker was told to stop what had ended meanwhile.
        StopCrossingEnd = "stop-crossing-end",
        /// A job ended by itself while it was being stopped to be given back: its result counts.
        ResultCrossingGiveBack = "result-crossing-give-back",
        /// A worker's journal was refused by the disk, and written later.
        JournalRefusedThenAccepted = "journal-refused-then-accepted",
        /// A worker took nothing in because too many batches waited for its disk.
        TooManyBatchesPending = "too-many-batches-pending",
        /// A worker's link went down while messages waited for room on the wire.
        LinkDownWithFullLane = "link-down-with-full-lane",
        /// A heartbeat, or another timely message, was given up because the wire took nothing.
        TimelyGivenUp = "timely-given-up",
        /// An attempt waited because another server's attempts had the slots.
        TwoServersOneSlot = "two-servers-one-slot",
        /// An assignment arrived at a worker that was handing its jobs over to the next process.
        AssignedWhileHandingOver = "assigned-while-handing-over",
        /// An assignment arrived at a worker that was leaving: it was given back unstarted.
        AssignedWhileLeaving = "assigned-while-leaving",
        /// A worker was fenced off while it had jobs.
        FencedWithJobs = "fenced-with-jobs",
        /// A worker's supervisor told of a living job of which the worker knew nothing.
        JobUnknownToWorker = "job-unknown-to-worker",
        /// The order to start a job was lost with the connection to the supervisor, and given again.
        StartOrderedAgain = "start-ordered-again",
        /// An order to kill was given again after the connection to the supervisor was lost.
        KillOrderedAgain = "kill-ordered-again",
        /// A job's start was missed, and its end was the first that its worker heard of it.
        StartMissed = "start-missed",
        /// A worker's attempt could not begin in time, and was given back.
        StartByPassed = "start-by-passed",
        /// What was on a worker and had not begun was given back because the worker was not fit.
        UnfitWithQueue = "unfit-with-queue",
        /// What had been made ready before there was a slot for it began.
        BegunMadeReady = "begun-made-ready",
    }
}

/// Whether paths are counted: what is worked out for a probe alone is not worked out otherwise.
pub const COUNTS: bool = cfg!(feature = "sim");

/// This path was taken.
#[cfg(not(feature = "sim"))]
#[inline(always)]
pub fn reached(_path: Path) {}

/// This path was taken.
#[cfg(feature = "sim")]
pub fn reached(path: Path) {
    counting::add(path);
}

/// How often each path was taken by this thread since [`reset`], in the order of [`Path::ALL`]. Without the
/// feature `sim`: never.
pub fn counts() -> Vec<(Path, u64)> {
    Path::ALL.iter().map(|path| (*path, counting::of(*path))).collect()
}

/// Begins to count anew, in this thread.
pub fn reset() {
    counting::reset();
}

/// Does this, and counts nothing of it: what is only tried out on a copy says nothing of what was reached.
pub fn unseen<T>(work: impl FnOnce() -> T) -> T {
    let before = counting::all();
    let done = work();
    counting::restore(&before);
    done
}

#[cfg(feature = "sim")]
mod counting {
    use std::cell::Cell;

    use super::Path;

    thread_local! {
        static COUNTS: [Cell<u64>; Path::ALL.len()] = const { [const { Cell::new(0) }; Path::ALL.len()] };
    }

    pub(super) fn add(path: Path) {
        COUNTS.with(|counts| counts[path as usize].set(counts[path as usize].get() + 1));
    }

    pub(super) fn of(path: Path) -> u64 {
        COUNTS.with(|counts| counts[path as usize].get())
    }

    pub(super) fn reset() {
        COUNTS.with(|counts| counts.iter().for_each(|count| count.set(0)));
    }

    pub(super) fn all() -> Vec<u64> {
        COUNTS.with(|counts| counts.iter().map(Cell::get).collect())
    }

    pub(super) fn restore(before: &[u64]) {
        COUNTS.with(|counts| counts.iter().zip(before).for_each(|(count, before)| count.set(*before)));
    }
}

#[cfg(not(feature = "sim"))]
mod counting {
    use super::Path;

    pub(super) fn of(_path: Path) -> u64 {
        0
    }

    pub(super) fn reset() {}

    pub(super) fn all() -> Vec<u64> {
        Vec::new()
    }

    pub(super) fn restore(_before: &[u64]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_each_its_own_and_lead_back() {
        let names: Vec<_> = Path::ALL.iter().map(|path| path.name()).collect();
        assert_eq!(crate::listed::wrong_names(&names), Vec::<&str>::new());
        for path in Path::ALL {
            assert_eq!(Path::from_name(path.name()), Some(*path));
            assert!(path.about().ends_with('.'), "{}", path.name());
        }
    }

    #[test]
    fn what_is_reached_is_counted_with_the_feature_alone() {
        reset();
        reached(Path::CancelCrossingSuccess);
        reached(Path::CancelCrossingSuccess);
        let counted = if cfg!(feature = "sim") { 2 } else { 0 };
        assert!(counts().contains(&(Path::CancelCrossingSuccess, counted)));
        reset();
        assert!(counts().iter().all(|(_, count)| *count == 0));
    }
}
