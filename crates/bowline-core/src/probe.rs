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
    }
}

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
}

#[cfg(not(feature = "sim"))]
mod counting {
    use super::Path;

    pub(super) fn of(_path: Path) -> u64 {
        0
    }

    pub(super) fn reset() {}
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
