//! Messages of all sessions, counted by kind.

/// Messages of all sessions, counted by kind.
#[derive(Debug, Default)]
pub struct SessionCounts {}
