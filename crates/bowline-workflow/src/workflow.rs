//! A checked workflow, and what can be asked of it.

use std::collections::BTreeMap;

use bowline_core::id::NodeIndex;
use bowline_core::input::Evaluation;
use bowline_core::name::WorkflowName;
use bowline_core::run::{DueKind, Graph};
use bowline_core::state::JobError;
use serde_json::Value;

use crate::{Context, Diagnostic, InputError};

/// A workflow without mistakes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Workflow {
    name: WorkflowName,
    graph: Graph,
}

/// Reads and checks a workflow's text. All its mistakes at once.
pub fn check(file_name: &str, text: &str) -> Result<Workflow, Vec<Diagnostic>> {
    let message = format!("{file_name} ({} bytes) cannot be checked yet", text.len());
    Err(vec![Diagnostic { message, line: 1, column: 1, length: 1, help: None }])
}

impl Workflow {
    /// Its name.
    pub fn name(&self) -> &WorkflowName {
        &self.name
    }

    /// What it says of itself.
    pub fn description(&self) -> Option<&str> {
        None
    }

    /// Its shape.
    pub fn graph(&self) -> Graph {
        self.graph.clone()
    }

    /// The run's inputs as one object: what is given, checked (a text is read as the declared type),
    /// and the defaults of what is not.
    pub fn inputs(&self, given: &BTreeMap<String, Value>) -> Result<Value, Vec<InputError>> {
        let _ = given;
        Ok(Value::Null)
    }

    /// The steps whose results an evaluation needs in its [`Context`].
    pub fn steps_read_by(&self, what: DueKind) -> Vec<NodeIndex> {
        let _ = what;
        Vec::new()
    }

    /// What a node does: [`Evaluation::Task`], [`Evaluation::Nothing`] or [`Evaluation::Failed`].
    pub fn evaluate(&self, node: NodeIndex, context: &Context) -> Evaluation {
        let _ = (node, context);
        Evaluation::Failed(JobError::default())
    }

    /// The run's result: [`Evaluation::Result`] or [`Evaluation::Failed`].
    pub fn result(&self, context: &Context) -> Evaluation {
        let _ = context;
        Evaluation::Failed(JobError::default())
    }

    /// The files that are the run's result: of which node, and a glob for the artifact's name.
    pub fn result_artifacts(&self) -> Vec<(NodeIndex, String)> {
        Vec::new()
    }
}
