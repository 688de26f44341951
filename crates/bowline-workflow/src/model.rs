//! A checked workflow, inside.

use std::collections::BTreeMap;

use bowline_core::fair::{Concurrency, Rate};
use bowline_core::name::{Key, StepName, WorkflowName};
use bowline_core::placement::Placement;
use bowline_core::resource::Ask;
use bowline_core::run::Join;
use bowline_core::spec::{Condition, OnWorkerLoss, OutputFormat, Requirement, RetryPolicy, Timeouts};
use bowline_core::time::Span;
use serde_json::Value;

use crate::diagnostic::Range;
use crate::expr::Template;

/// Everything that the file says.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: WorkflowName,
    pub(crate) description: Option<String>,
    pub(crate) inputs: Vec<Input>,
    /// In the order of the file: a step's place is its node's index.
    pub(crate) steps: Vec<Step>,
    /// What the run holds for its whole length.
    pub(crate) holds: Vec<Ask>,
    pub(crate) result: Option<Shape>,
    /// Files that are the run's result: of which step, which.
    pub(crate) artifacts: Vec<(usize, String)>,
    /// The text, to tell where an expression stands that fails.
    pub(crate) text: String,
}

/// An input.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) kind: InputKind,
    pub(crate) default: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputKind {
    String,
    Int,
    Number,
    Bool,
    List,
    Map,
}

/// A step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: StepName,
    pub(crate) needs: Vec<Need>,
    pub(crate) join: Join,
    pub(crate) act: Act,
    pub(crate) for_each: Option<Shape>,
    pub(crate) at_most: Option<u32>,
    pub(crate) env: Vec<(String, Template)>,
    pub(crate) files: Vec<(String, Template)>,
    pub(crate) dir: Option<Template>,
    pub(crate) output: Option<OutputFormat>,
    pub(crate) artifacts: Vec<String>,
    pub(crate) split_output: bool,
    pub(crate) grace: Option<Span>,
    pub(crate) asks: Asks,
}

/// What a step asks for beside its work.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    pub(crate) requires: Vec<Requirement>,
    pub(crate) slots: Option<u32>,
    pub(crate) amounts: BTreeMap<Key, u64>,
    pub(crate) resources: Vec<Ask>,
    pub(crate) release_while_retrying: bool,
    pub(crate) placement: Placement,
    pub(crate) concurrency: Option<Concurrency>,
    pub(crate) rate: Option<Rate>,
    pub(crate) priority: i32,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    pub(crate) on_worker_loss: OnWorkerLoss,
}

/// A step that must have ended before.
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) step: String,
    /// Its place, once all steps are known.
    pub(crate) index: usize,
    pub(crate) on: Condition,
    pub(crate) range: Range,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Act {
    Shell(String),
    Argv(Vec<Template>),
    Noop,
    Wait,
    Sleep(Template),
    Http(Box<Http>),
}

#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) url: Template,
    pub(crate) method: Option<Template>,
    pub(crate) headers: Vec<(String, Template)>,
    pub(crate) body: Option<Shape>,
    pub(crate) expect: Vec<u16>,
    pub(crate) response_bytes_max: Option<u64>,
}

/// JSON with templates in the place of texts.
#[derive(Debug)]
pub(crate) enum Shape {
    Fixed(Value),
    Text(Template),
    List(Vec<Shape>),
    Map(Vec<(String, Shape)>),
}

impl Shape {
    /// Every template in it.
    pub(crate) fn templates<'a>(&'a self, into: &mut Vec<&'a Template>) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(template) => into.push(template),
            Self::List(items) => items.iter().for_each(|item| item.templates(into)),
            Self::Map(entries) => entries.iter().for_each(|(_, item)| item.templates(into)),
        }
    }
}

impl Step {
    /// Every template that is evaluated once for each element.
    pub(crate) fn work_templates(&self) -> Vec<&Template> {
        let mut all: Vec<&Template> = Vec::new();
        match &self.act {
            Act::Shell(_) | Act::Noop | Act::Wait => {}
            Act::Argv(argv) => all.extend(argv),
            Act::Sleep(length) => all.push(length),
            Act::Http(http) => {
                all.push(&http.url);
                all.extend(&http.method);
                all.extend(http.headers.iter().map(|(_, value)| value));
                http.body.iter().for_each(|body| body.templates(&mut all));
            }
        }
        all.extend(self.env.iter().map(|(_, value)| value));
        all.extend(self.files.iter().map(|(_, value)| value));
        all.extend(&self.dir);
        all
    }

    pub(crate) fn for_each_templates(&self) -> Vec<&Template> {
        let mut all = Vec::new();
        self.for_each.iter().for_each(|list| list.templates(&mut all));
        all
    }
}
