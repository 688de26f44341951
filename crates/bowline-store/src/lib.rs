//! What a store must do, by role, without saying how.
//!
//! * [`LeaderStore`]: the one writer's side. Leadership, take-over, commit.
//! * [`ReadStore`]: everything that reads. Pages by index, never holds back the writer, never sees
//!   what is not durable.
//! * [`RollbackStore`]: a store that was put back to an earlier state says so, until that is accepted.
//! * [`RetentionStore`]: removes what has been kept long enough, in small batches.
//!
//! **Invariant:** no rule of the model lives in a store. A commit is all or nothing, and a write
//! that touches another number of rows than it must fails the commit.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod memory;
pub mod paging;
pub mod read;
pub mod write;

pub use memory::MemoryStore;
pub use read::{
    AttemptFilter, EventPage, HistoryPage, Page, ReadStore, RunDetail, RunFilter, TaskDetail, TaskFilter, TaskSort,
    TaskWork,
};
pub use write::{
    CommitError, LeaderStore, Leadership, RetentionPolicy, RetentionStore, RollbackStore, StoreError, Swept,
};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::MemoryStore;
    use crate::conformance::Stores;

    fn memory() -> Stores {
        let store = MemoryStore::new();
        Stores { writer: Box::new(store.clone()), reader: Arc::new(store), keep: Box::new(()) }
    }

    crate::conformance_tests!(memory);
}
