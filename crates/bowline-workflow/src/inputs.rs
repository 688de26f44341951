//! A run's inputs: given values checked against what the workflow declares.

/// An input that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputError {
    /// Which.
    pub name: String,
    /// A whole sentence: what is wrong, and what to do.
    pub message: String,
}
