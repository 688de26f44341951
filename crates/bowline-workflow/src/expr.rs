//! Expressions: minijinja's syntax, within bounds that hold whatever the values are.
//!
//! minijinja bounds steps (fuel) and nesting, but neither the size of what operators and filters
//! make nor the length of what is printed. So its compiled form is rewritten before it runs: every
//! operator that can grow or walk a value becomes a call of a function that measures its operands
//! first ([`bounds`]), and raw text is printed by the same counted way as values are ([`program`]).
//! Filters, tests and functions are a closed list, each wrapped so. There is no way to a file, the
//! environment, a clock or randomness.

pub(crate) mod bounds;
pub(crate) mod program;
mod read;
pub(crate) mod render;

pub(crate) use program::{Failure, Program};
pub(crate) use read::{Kind, Site, Template, What, has_expression};
