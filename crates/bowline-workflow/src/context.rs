//! What an evaluation may see: inputs, and the steps that it reads, as they ended.

use std::collections::BTreeMap;

use bowline_core::id::RunId;
use bowline_core::name::StepName;
use bowline_core::run::NodeEnd;
use bowline_core::state::{Outcome, StateKind};
use serde_json::Value;

/// What an evaluation may see.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The run.
    pub run: RunId,
    /// The run's inputs: the object that [`crate::Workflow::inputs`] made.
    pub inputs: Value,
    /// The steps named by [`crate::Workflow::steps_read_by`], by name. Others may be left out.
    pub steps: BTreeMap<StepName, StepView>,
}

/// A step as it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// How.
    pub end: NodeEnd,
    /// Why, where it did not succeed.
    pub outcome: Option<Outcome>,
    /// The result of its task, where that is a single one and left a result.
    pub result: Option<Value>,
    /// Of a step with `for_each`: its elements, by index; `Some` and empty where it had nothing to
    /// do. `None` for any other step.
    pub elements: Option<Vec<ElementView>>,
}

/// An element of a step with `for_each`.
#[derive(Debug, Clone, PartialEq)]
pub struct ElementView {
    /// Its index, from 0.
    pub index: u32,
    /// Its state.
    pub state: StateKind,
    /// Why, where it did not succeed.
    pub outcome: Option<Outcome>,
    /// Its result, where it left one.
    pub result: Option<Value>,
}
