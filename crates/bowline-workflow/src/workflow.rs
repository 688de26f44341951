//! A checked workflow, and what can be asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowline_core::id::NodeIndex;
use bowline_core::input::Evaluation;
use bowline_core::name::WorkflowName;
use bowline_core::run::{DueKind, Edge, Graph, Node};
use serde_json::Value;

use crate::diagnostic::Mistakes;
use crate::evaluate;
use crate::expr::{Template, What};
use crate::fields::Reader;
use crate::inputs;
use crate::model::Model;
use crate::resolve::resolve;
use crate::yaml;
use crate::{Context, Diagnostic, InputError};

/// Largest workflow file, in bytes. 512 KiB.
pub const WORKFLOW_BYTES_MAX: usize = 512 << 10;

/// A workflow without mistakes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Workflow {
    model: Arc<Model>,
}

/// Reads and checks a workflow's text. All its mistakes at once, in the order of the text; never
/// more than 100.
pub fn check(file_name: &str, text: &str) -> Result<Workflow, Vec<Diagnostic>> {
    let mut mistakes = Mistakes::default();
    if text.len() > WORKFLOW_BYTES_MAX {
        let message = format!("`{file_name}` is larger than {WORKFLOW_BYTES_MAX} bytes");
        mistakes.add(0..0, message, Some("keep data in files of their own".to_owned()));
        return Err(mistakes.into_diagnostics(text));
    }
    let Some(root) = yaml::parse(text, &mut mistakes) else { return Err(mistakes.into_diagnostics(text)) };
    let mut reader = Reader { file: text, mistakes };
    let draft = reader.workflow(root);
    let mut mistakes = reader.mistakes;
    let model = draft.and_then(|mut draft| {
        let artifacts = resolve(&mut draft, &mut mistakes);
        Some(Model {
            name: draft.name?,
            description: draft.description,
            inputs: draft.inputs,
            steps: draft.steps,
            holds: draft.holds,
            result: draft.result,
            artifacts,
            text: text.to_owned(),
        })
    });
    match model {
        Some(model) if mistakes.is_empty() => Ok(Workflow { model: Arc::new(model) }),
        _ => Err(mistakes.into_diagnostics(text)),
    }
}

/// Reads a YAML file that is no workflow, by the same rules, as JSON.
pub fn data(text: &str) -> Result<Value, Vec<Diagnostic>> {
    let mut mistakes = Mistakes::default();
    match yaml::parse(text, &mut mistakes) {
        Some(node) if mistakes.is_empty() => Ok(node.value()),
        _ => Err(mistakes.into_diagnostics(text)),
    }
}

impl Workflow {
    /// Its name.
    pub fn name(&self) -> &WorkflowName {
        &self.model.name
    }

    /// What it says of itself.
    pub fn description(&self) -> Option<&str> {
        self.model.description.as_deref()
    }

    /// Its shape: a node for each step, in the order of the file.
    pub fn graph(&self) -> Graph {
        let nodes = self.model.steps.iter().map(|step| Node {
            name: step.name.clone(),
            needs: step.needs.iter().map(|need| Edge { from: node(need.index), on: need.on }).collect(),
            join: step.join,
        });
        Graph { nodes: nodes.collect(), asks: self.model.holds.clone() }
    }

    /// The run's inputs as one object: what is given, checked (a text is read as the declared type),
    /// and the defaults of what is not. Every error at once.
    pub fn inputs(&self, given: &BTreeMap<String, Value>) -> Result<Value, Vec<InputError>> {
        inputs::fill(&self.model.inputs, given)
    }

    /// The steps whose results an evaluation needs in its [`Context`], in the order of the graph.
    pub fn steps_read_by(&self, what: DueKind) -> Vec<NodeIndex> {
        let mut templates: Vec<&Template> = Vec::new();
        match what {
            DueKind::Node(at) => {
                if let Some(step) = self.model.steps.get(at.0 as usize) {
                    templates.extend(step.for_each_templates());
                    templates.extend(step.work_templates());
                }
            }
            DueKind::Result => self.model.result.iter().for_each(|result| result.templates(&mut templates)),
        }
        let mut read = BTreeSet::new();
        self.follow(&templates, &mut read);
        read.into_iter().map(node).collect()
    }

    /// What templates read; and, of a step with `for_each`, what its list is made of, as its items are
    /// made anew from that.
    fn follow(&self, templates: &[&Template], read: &mut BTreeSet<usize>) {
        for what in templates.iter().flat_map(|template| &template.reads).map(|read| &read.what) {
            let What::Step(name, _) = what else { continue };
            let Some(at) = self.model.steps.iter().position(|step| step.name.as_str() == name) else { continue };
            if read.insert(at) {
                self.follow(&self.model.steps[at].for_each_templates(), read);
            }
        }
    }

    /// What a node does: [`Evaluation::Task`], [`Evaluation::Nothing`] (a `for_each` over an empty
    /// list) or [`Evaluation::Failed`].
    pub fn evaluate(&self, node: NodeIndex, context: &Context) -> Evaluation {
        evaluate::node(&self.model, node, context)
    }

    /// The run's result: [`Evaluation::Result`] or [`Evaluation::Failed`]. `null` where the file names
    /// none.
    pub fn result(&self, context: &Context) -> Evaluation {
        evaluate::result(&self.model, context)
    }

    /// The files that are the run's result: of which node, and a glob for the artifact's name.
    pub fn result_artifacts(&self) -> Vec<(NodeIndex, String)> {
        self.model.artifacts.iter().map(|(at, glob)| (node(*at), glob.clone())).collect()
    }
}

fn node(at: usize) -> NodeIndex {
    NodeIndex(u32::try_from(at).unwrap_or(u32::MAX))
}
