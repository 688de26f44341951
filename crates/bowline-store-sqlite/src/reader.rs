//! The readers.

use std::sync::Arc;

use bowline_core::id::{CommitNo, RunId, TaskId, TaskRef};
use bowline_core::input::{Fact, Need};
use bowline_core::row::{ArtifactRow, AttemptRow, ElementRow, ResultRow, RunRow, Subject, TaskRow, WorkerRow};
use bowline_core::spec::Work;

use bowline_store::{
    AttemptFilter, EventPage, HistoryPage, Page, RunDetail, RunFilter, StoreError, TaskDetail, TaskFilter, TaskSort,
};

/// Readers of a store file.
#[derive(Debug)]
pub struct SqliteReader {}

impl bowline_store::ReadStore for SqliteReader {
    fn fact(&self, _need: &Need) -> Result<Fact, StoreError> {
        Err(self.unready())
    }
    fn commit_no(&self) -> Result<CommitNo, StoreError> {
        Err(self.unready())
    }
    fn tasks(
        &self,
        _filter: &TaskFilter,
        _sort: TaskSort,
        _cursor: Option<&str>,
        _limit: usize,
    ) -> Result<Page<TaskRow>, StoreError> {
        Err(self.unready())
    }
    fn task(&self, _task: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        Err(self.unready())
    }
    fn elements(&self, _task: TaskId, _after: Option<u32>, _limit: usize) -> Result<Vec<ElementRow>, StoreError> {
        Err(self.unready())
    }
    fn work(&self, _task: TaskRef) -> Result<Option<Arc<Work>>, StoreError> {
        Err(self.unready())
    }
    fn attempts(&self, _filter: &AttemptFilter) -> Result<Vec<AttemptRow>, StoreError> {
        Err(self.unready())
    }
    fn results(&self, _task: TaskId) -> Result<Vec<ResultRow>, StoreError> {
        Err(self.unready())
    }
    fn artifacts(&self, _task: TaskRef) -> Result<Vec<ArtifactRow>, StoreError> {
        Err(self.unready())
    }
    fn history(&self, _subject: &Subject, _cursor: Option<&str>, _limit: usize) -> Result<HistoryPage, StoreError> {
        Err(self.unready())
    }
    fn events(&self, _after: Option<(CommitNo, u32)>, _limit: usize) -> Result<EventPage, StoreError> {
        Err(self.unready())
    }
    fn runs(&self, _filter: &RunFilter, _cursor: Option<&str>, _limit: usize) -> Result<Page<RunRow>, StoreError> {
        Err(self.unready())
    }
    fn run(&self, _run: RunId) -> Result<Option<RunDetail>, StoreError> {
        Err(self.unready())
    }
    fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        Err(self.unready())
    }
    fn tokens(&self) -> Result<Vec<bowline_core::input::Token>, StoreError> {
        Err(self.unready())
    }
}

impl SqliteReader {
    fn unready(&self) -> StoreError {
        StoreError::new("reading", "this store is still being built")
    }
}
