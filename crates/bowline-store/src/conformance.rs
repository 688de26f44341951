//! What every store must pass: one suite of cases, each with a fresh, empty store from a factory.
//!
//! A store's crate calls [`conformance_tests!`](crate::conformance_tests) with its factory, which
//! makes one test of each case.

mod history;
mod leading;
mod listing;
mod loading;
mod removing;
pub mod rows;
pub mod snapshot;
mod writing;

use std::any::Any;
use std::fmt::Display;
use std::sync::Arc;

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch};
use bowline_core::row::{HistoryRow, Loaded, Row};
use bowline_core::time::Timestamp;

use crate::read::ReadStore;
use crate::write::{CommitError, LeaderStore, RetentionPolicy, RetentionStore, RollbackStore, Swept};

pub use self::history::*;
pub use self::leading::*;
pub use self::listing::*;
pub use self::loading::*;
pub use self::removing::*;
pub use self::writing::*;

/// The writer's side as a whole.
pub trait WriteStore: LeaderStore + RetentionStore + RollbackStore {}

impl<T: LeaderStore + RetentionStore + RollbackStore> WriteStore for T {}

/// A store under test.
pub struct Stores {
    /// Its writer.
    pub writer: Box<dyn WriteStore>,
    /// Its readers.
    pub reader: Arc<dyn ReadStore>,
    /// What must live as long: a temporary folder.
    pub keep: Box<dyn Any>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// Makes a fresh, empty store.
pub type Factory = fn() -> Stores;

/// What must have worked.
pub fn ok<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the store failed: {error}"),
    }
}

/// A led store, with the verbs that the cases use.
#[derive(Debug)]
pub struct Stand {
    /// The store.
    pub stores: Stores,
    /// The leadership's epoch.
    pub epoch: Epoch,
    /// The time that commits carry.
    pub now: Timestamp,
}

impl Stand {
    /// Leads a fresh store.
    pub fn new(factory: Factory) -> Self {
        let mut stores = factory();
        let taken = ok(stores.writer.take_leadership(Timestamp(1_000)));
        Self { stores, epoch: taken.epoch, now: taken.now }
    }

    /// Tries to commit rows and history.
    pub fn try_commit(&mut self, rows: Vec<Row>, history: Vec<HistoryRow>) -> Result<CommitNo, CommitError> {
        let batch = Batch { number: 1, rows, history, effects: Vec::new() };
        self.stores.writer.commit(self.epoch, self.now, &batch)
    }

    /// Commits rows.
    pub fn commit(&mut self, rows: Vec<Row>) -> CommitNo {
        ok(self.try_commit(rows, Vec::new()))
    }

    /// Commits history.
    pub fn record(&mut self, history: Vec<HistoryRow>) -> CommitNo {
        ok(self.try_commit(Vec::new(), history))
    }

    /// Tries to commit rows of which one is wrong, and checks that nothing was written.
    pub fn refuse(&mut self, rows: &[Row]) {
        let before = self.loaded();
        let commit = ok(self.reader().commit_no());
        let refused = self.try_commit(rows.to_vec(), Vec::new());
        assert!(matches!(refused, Err(CommitError::RowCount { .. })), "{rows:?} gave {refused:?}");
        assert_eq!(self.loaded(), before, "a refused commit left something behind");
        assert_eq!(ok(self.reader().commit_no()), commit, "a refused commit was counted");
    }

    /// What a take-over would load.
    pub fn loaded(&mut self) -> Vec<Loaded> {
        let mut rows = Vec::new();
        ok(self.stores.writer.load(&mut |row| rows.push(row)));
        rows
    }

    /// Sweeps once.
    pub fn sweep(&mut self, policy: &RetentionPolicy) -> Swept {
        ok(self.stores.writer.sweep(self.epoch, self.now, policy))
    }

    /// The readers.
    pub fn reader(&self) -> &dyn ReadStore {
        &*self.stores.reader
    }
}

/// Makes one test of each case of the suite, for the store that the factory makes.
#[macro_export]
macro_rules! conformance_tests {
    ($factory:expr) => {
        $crate::conformance_tests!(@ $factory;
            leadership_raises_the_epoch_and_keeps_the_time
            a_deposed_writer_commits_nothing
            a_deposed_writer_sweeps_nothing
            commits_are_counted_one_by_one
            a_commit_is_all_or_nothing
            a_rollback_is_remembered_until_it_is_accepted
            a_generation_is_raised_above_every_other
            a_worker_is_forgotten_once
            tasks_follow_the_rule_of_writing
            elements_follow_the_rule_of_writing
            attempts_follow_the_rule_of_writing
            runs_follow_the_rule_of_writing
            nodes_follow_the_rule_of_writing
            workers_follow_the_rule_of_writing
            gangs_follow_the_rule_of_writing
            resources_follow_the_rule_of_writing
            what_is_held_is_kept_with_its_task
            namespaces_follow_the_rule_of_writing
            starts_under_a_rate_come_and_go
            keys_are_inserted_once
            tokens_are_used_up_once
            results_stay_as_first_written
            artifacts_replace_their_name
            pauses_come_and_go
            an_empty_store_loads_its_counters
            loading_hands_over_what_has_not_ended_in_order
            loading_names_ended_tasks_that_are_still_needed
            loading_tells_which_keys_there_are
            tasks_read_back_as_written
            work_of_elements_is_found_by_index
            filters_narrow_the_list
            an_array_with_an_element_in_doubt_is_found
            pages_are_complete_while_tasks_come_in
            pages_in_both_orders
            bad_cursors_are_refused
            runs_are_listed_newest_first
            facts_tell_what_is_stored
            history_pages_in_order
            history_is_kept_by_subject
            events_follow_a_place
            events_that_were_swept_are_too_old
            a_task_gone_takes_everything_with_it
            retention_removes_what_ended_long_ago
            retention_keeps_to_its_batch
            a_runs_tasks_go_with_their_run
            what_an_unfinished_task_needs_stays
            keys_go_after_their_tasks
        );
    };
    (@ $factory:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$case($factory);
            }
        )*
    };
}
