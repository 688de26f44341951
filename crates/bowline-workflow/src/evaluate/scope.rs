//! What an evaluation's expressions see, and what they have used up together.

use std::collections::BTreeMap;

use bowline_core::run::NodeEnd;
use bowline_core::state::Outcome;
use minijinja::Value;

use super::{FOR_EACH_ELEMENTS_MAX, Trouble};
use crate::Context;
use crate::context::StepView;
use crate::expr::render::json_of;
use crate::expr::{Program, Template};
use crate::model::{Model, Shape, Step};

/// Most steps that all expressions of one evaluation take together.
const FUEL_TOTAL_MAX: u64 = 50_000_000;

/// See the module's doc.
pub(crate) struct Scope {
    root: BTreeMap<String, Value>,
    fuel: u64,
}

impl Scope {
    pub(crate) fn new(model: &Model, context: &Context) -> Self {
        let run =
            Value::from_pairs([("id", Value::from(context.run.0)), ("name", Value::from(format!("r{}", context.run)))]);
        let root = BTreeMap::from([("inputs".to_owned(), of_json(&context.inputs)), ("run".to_owned(), run)]);
        let mut scope = Self { root, fuel: 0 };
        let mut steps: BTreeMap<String, Value> = BTreeMap::new();
        // In the order of what they need, so that a list made from earlier results can be made anew.
        let mut left: Vec<&Step> = model.steps.iter().filter(|step| context.steps.contains_key(&step.name)).collect();
        while !left.is_empty() {
            let ready = |step: &&Step| {
                !step.for_each_templates().iter().flat_map(|template| &template.reads).any(|read| {
                    matches!(&read.what, crate::expr::What::Step(name, _) if context.steps.contains_key(name.as_str()) && !steps.contains_key(name))
                })
            };
            let at = left.iter().position(ready).unwrap_or(0);
            let step = left.remove(at);
            scope.root.insert("steps".to_owned(), Value::from(steps.clone()));
            if let Some(view) = context.steps.get(&step.name) {
                let seen = scope.seen(step, view);
                steps.insert(step.name.to_string(), seen);
            }
        }
        scope.root.insert("steps".to_owned(), Value::from(steps.clone()));
        scope
    }

    /// A step as expressions see it.
    fn seen(&mut self, step: &Step, view: &StepView) -> Value {
        let mut fields = BTreeMap::from([
            ("state", Value::from(end_name(view.end))),
            ("error", view.outcome.as_ref().map_or(Value::from(()), message)),
        ]);
        if step.for_each.is_none() {
            fields.insert("result", view.result.as_ref().map_or(Value::from(()), of_json));
            fields.insert("exit_status", exit_status(view.end == NodeEnd::Succeeded, view.outcome.as_ref()));
            return Value::from_pairs(fields);
        }
        // A step that never began may have no list.
        let items = self.items(step).ok().flatten().unwrap_or_default();
        let elements = view.elements.as_deref().unwrap_or_default();
        let failed = elements.iter().filter(|element| element.state.name() != "succeeded").count();
        let results: Vec<Value> = elements
            .iter()
            .map(|element| {
                Value::from_pairs([
                    ("index", Value::from(element.index)),
                    ("item", items.get(element.index as usize).cloned().unwrap_or(Value::from(()))),
                    ("state", Value::from(element.state.name())),
                    ("result", element.result.as_ref().map_or(Value::from(()), of_json)),
                    ("error", element.outcome.as_ref().map_or(Value::from(()), message)),
                    ("exit_status", exit_status(element.state.name() == "succeeded", element.outcome.as_ref())),
                ])
            })
            .collect();
        fields.insert("results", Value::from(results));
        fields.insert("items", Value::from(items));
        fields.insert("failed", Value::from(failed));
        Value::from_pairs(fields)
    }

    /// The items of a step with `for_each`; `None` for any other.
    pub(crate) fn items(&mut self, step: &Step) -> Result<Option<Vec<Value>>, Trouble> {
        let list = match &step.for_each {
            None => return Ok(None),
            Some(Shape::Text(template)) => self.value(template, "for_each")?,
            Some(shape) => of_json(&self.shape(shape, "for_each")?),
        };
        let range = step.for_each_templates().first().map(|template| &template.range);
        let is_list = matches!(list.kind(), minijinja::value::ValueKind::Seq | minijinja::value::ValueKind::Iterable);
        let items = if is_list { list.try_iter().ok() } else { None };
        let Some(items) = items else {
            return Err(Trouble::new("for_each", range, format!("it is {}, and must be a list", kind(&list))));
        };
        let items: Vec<Value> = items.take(FOR_EACH_ELEMENTS_MAX + 1).collect();
        if items.len() > FOR_EACH_ELEMENTS_MAX {
            let cause = format!("it has more than {FOR_EACH_ELEMENTS_MAX} elements: hand several to each element");
            return Err(Trouble::new("for_each", range, cause));
        }
        Ok(Some(items))
    }

    /// Sets the element that `item` and `index` mean.
    pub(crate) fn set_element(&mut self, index: usize, item: &Value) {
        self.root.insert("item".to_owned(), item.clone());
        self.root.insert("index".to_owned(), Value::from(index));
    }

    pub(crate) fn run(&mut self, program: &Program<'_>, template: &Template, field: &str) -> Result<Value, Trouble> {
        let root = Value::from(self.root.clone());
        let (value, fuel) =
            program.run(&root).map_err(|failure| Trouble::from_failure(field, &template.range, failure))?;
        self.fuel += fuel;
        if self.fuel > FUEL_TOTAL_MAX {
            let cause = format!("the step's expressions take more than {FUEL_TOTAL_MAX} steps together");
            return Err(Trouble::new(field, Some(&template.range), cause));
        }
        Ok(value)
    }

    /// A template's value.
    pub(crate) fn value(&mut self, template: &Template, field: &str) -> Result<Value, Trouble> {
        let program =
            Program::new(template).map_err(|failure| Trouble::from_failure(field, &template.range, failure))?;
        self.run(&program, template, field)
    }

    /// A shape as JSON.
    pub(crate) fn shape(&mut self, shape: &Shape, field: &str) -> Result<serde_json::Value, Trouble> {
        Ok(match shape {
            Shape::Fixed(value) => value.clone(),
            Shape::List(items) => {
                let values = items.iter().enumerate().map(|(at, item)| self.shape(item, &format!("{field}[{at}]")));
                serde_json::Value::Array(values.collect::<Result<_, _>>()?)
            }
            Shape::Map(entries) => {
                let values = entries
                    .iter()
                    .map(|(name, item)| Ok((name.clone(), self.shape(item, &format!("{field}.{name}"))?)));
                serde_json::Value::Object(values.collect::<Result<_, Trouble>>()?)
            }
            Shape::Text(template) => {
                let value = self.value(template, field)?;
                let trouble = |cause: String| Trouble::new(field, Some(&template.range), cause);
                let json = json_of(&value, None)
                    .map_err(|error| trouble(error.detail().unwrap_or("it has no JSON").to_owned()))?;
                serde_json::from_str(&json).map_err(|error| trouble(error.to_string()))?
            }
        })
    }
}

/// JSON as a value. Objects keep their keys in alphabetical order.
fn of_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(whole)) => Value::from(whole),
            (None, None) => Value::from(number.as_f64().unwrap_or(0.0)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(of_json).collect::<Vec<_>>().into(),
        serde_json::Value::Object(entries) => {
            Value::from_pairs(entries.iter().map(|(name, value)| (name.as_str(), of_json(value))))
        }
    }
}

/// A value's type, for people.
pub(crate) fn kind(value: &Value) -> String {
    match value.kind() {
        minijinja::value::ValueKind::None => "nothing (null)".to_owned(),
        minijinja::value::ValueKind::Seq | minijinja::value::ValueKind::Iterable => "a list".to_owned(),
        other => format!("a {other}"),
    }
}

fn end_name(end: NodeEnd) -> &'static str {
    match end {
        NodeEnd::Succeeded => "succeeded",
        NodeEnd::Failed => "failed",
        NodeEnd::Cancelled => "cancelled",
        NodeEnd::Skipped => "skipped",
    }
}

fn message(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Succeeded => Value::from(()),
        other => Value::from(other.message()),
    }
}

fn exit_status(succeeded: bool, outcome: Option<&Outcome>) -> Value {
    match outcome {
        Some(Outcome::Error(error)) => error.exit_status.map_or(Value::from(()), Value::from),
        _ if succeeded => Value::from(0),
        _ => Value::from(()),
    }
}
