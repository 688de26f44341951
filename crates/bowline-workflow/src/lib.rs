//! The workflow language: parse, validate, evaluate, advance.
//!
//! **Invariant:** pure: text and values in, graphs and tasks out; no IO, no clock; every evaluation
//! has a bound on steps, depth and size, and the same input gives the same output.
//!
//! A workflow is read with [`check`], which finds every mistake at once. Its [`Workflow::graph`] goes
//! into the run; whenever something of the run is due, [`Workflow::steps_read_by`] says whose results
//! are needed for it, and [`Workflow::evaluate`] or [`Workflow::result`] turn a [`Context`] with them
//! into what the engine takes. The text itself is what a run keeps: it is checked again where it is
//! evaluated (keep the [`Workflow`] in a cache; it is cheap to clone).
//!
//! ```text
//! text ─ yaml ─► tree with places ─ read ─► draft ─ resolve ─► model ─ evaluate ─► tasks, result
//!                     └──────── mistakes, each with its place ◄┘
//! ```

mod context;
mod diagnostic;
mod evaluate;
mod expr;
mod fields;
mod inputs;
mod model;
mod read;
mod resolve;
mod workflow;
mod yaml;

pub use context::{Context, ElementView, StepView};
pub use diagnostic::{Diagnostic, Style};
pub use evaluate::{FOR_EACH_BYTES_MAX, FOR_EACH_ELEMENTS_MAX};
pub use inputs::InputError;
pub use workflow::{WORKFLOW_BYTES_MAX, Workflow, check, data};
