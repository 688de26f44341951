//! Ceilings: what is below Bowline, by itself.

pub(crate) mod commits;
pub(crate) mod disk;
pub(crate) mod rows;
pub(crate) mod spawn;
