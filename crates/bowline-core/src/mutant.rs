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
