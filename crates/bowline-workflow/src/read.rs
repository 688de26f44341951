//! From the YAML tree to the model: each field in its place, all mistakes recorded.

mod limits;
mod resources;
mod step;

use bowline_core::name::WorkflowName;
use bowline_core::resource::Ask;
use serde_json::Value;

use crate::diagnostic::Range;
use crate::fields::{Fields, Reader, list};
use crate::inputs::fits;
use crate::model::{Input, InputKind, Shape, Step};
use crate::yaml::{Data, Node};

/// What was read. Names that refer to something are not followed yet.
pub(crate) struct Draft {
    pub(crate) name: Option<WorkflowName>,
    pub(crate) description: Option<String>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) steps: Vec<Step>,
    pub(crate) holds: Vec<Ask>,
    pub(crate) result: Option<Shape>,
    pub(crate) artifacts: Vec<(String, Range, String)>,
}

/// Words for the types of inputs.
const KINDS: [(&str, InputKind); 6] = [
    ("string", InputKind::String),
    ("int", InputKind::Int),
    ("number", InputKind::Number),
    ("bool", InputKind::Bool),
    ("list", InputKind::List),
    ("map", InputKind::Map),
];

impl Reader<'_> {
    /// The whole file.
    pub(crate) fn workflow(&mut self, root: Node) -> Option<Draft> {
        let mut fields = self.fields(root, "the workflow", "name: my-workflow")?;
        let name = if let Some(node) = fields.take("name") {
            self.parsed(&node, "name")
        } else {
            self.wrong(&(0..0), "the workflow has no `name`", "write `name: my-workflow`");
            None
        };
        let description = fields.take("description").and_then(|node| self.text(&node, "description"));
        let inputs = fields.take("inputs").map(|node| self.inputs(node)).unwrap_or_default();
        let steps = if let Some((_, node)) = fields.take_entry("steps") {
            self.steps(node)
        } else {
            self.wrong(&(0..0), "the workflow has no `steps`", "write `steps:` with at least one step");
            Vec::new()
        };
        let holds = self.resources(&mut fields);
        let result = fields.take("result").map(|node| self.shape(node));
        let artifacts = fields.take("artifacts").map(|node| self.artifacts(node)).unwrap_or_default();
        fields.finish("the workflow", self);
        Some(Draft { name, description, inputs, steps, holds, result, artifacts })
    }

    fn inputs(&mut self, node: Node) -> Vec<Input> {
        let entries = self.entries(node, "`inputs`", "root: {type: string, default: /usr}").unwrap_or_default();
        let mut inputs = Vec::new();
        for (key, node) in entries {
            let is_name = key.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && key.text.starts_with(|c: char| c.is_ascii_alphabetic());
            if !is_name {
                let help = "use letters, digits and `_`, beginning with a letter";
                self.wrong(&key.range, format!("`{}` cannot name an input", key.text), help);
            }
            inputs.extend(self.input(key.text, node));
        }
        inputs
    }

    fn input(&mut self, name: String, node: Node) -> Option<Input> {
        let is_long = matches!(&node.data, Data::Map(entries)
            if entries.is_empty() || entries.iter().any(|(key, _)| matches!(key.text.as_str(), "type" | "default" | "description")));
        if !is_long {
            let default = if node.is_null() { None } else { Some(self.fixed(node)) };
            let kind = default.as_ref().map_or(InputKind::String, kind_of);
            return Some(Input { name, kind, default });
        }
        let mut fields = self.fields(node, "the input", "type: string")?;
        let kind = fields.take("type").and_then(|node| self.word(&node, "type", &KINDS));
        let default = fields.take("default").map(|node| (node.range.clone(), self.fixed(node)));
        if let Some(node) = fields.take("description") {
            self.text(&node, "description");
        }
        fields.finish("an input", self);
        let kind = kind.unwrap_or_else(|| default.as_ref().map_or(InputKind::String, |(_, value)| kind_of(value)));
        if let Some((range, value)) = &default
            && !fits(kind, value)
        {
            let message = format!("the default of `{name}` is no {}", kind.name());
            self.wrong(range, message, format!("write {}", kind.example()));
        }
        Some(Input { name, kind, default: default.map(|(_, value)| value) })
    }

    fn artifacts(&mut self, node: Node) -> Vec<(String, Range, String)> {
        let mut artifacts = Vec::new();
        let entries = self.entries(node, "`artifacts`", "report: [report.html]").unwrap_or_default();
        for (key, value) in entries {
            for glob in list(value) {
                if let Some(glob) = self.text(&glob, "a file's name") {
                    artifacts.push((key.text.clone(), key.range.clone(), glob));
                }
            }
        }
        artifacts
    }
}

fn kind_of(value: &Value) -> InputKind {
    match value {
        Value::Bool(_) => InputKind::Bool,
        Value::Number(number) if number.is_f64() => InputKind::Number,
        Value::Number(_) => InputKind::Int,
        Value::Array(_) => InputKind::List,
        Value::Object(_) => InputKind::Map,
        Value::Null | Value::String(_) => InputKind::String,
    }
}

/// Fields of a step that say what it does.
pub(crate) fn actions(fields: &mut Fields) -> [Option<Node>; 3] {
    [fields.take("run"), fields.take("argv"), fields.take("action")]
}
