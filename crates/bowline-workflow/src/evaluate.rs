//! From a checked workflow and what has ended to what comes next. Pure.

mod scope;
mod work;

use std::sync::Arc;

use bowline_core::id::NodeIndex;
use bowline_core::input::{Evaluation, NewTask};
use bowline_core::spec::{ArraySpec, RESULT_BYTES_MAX, TaskSpec, Work};
use bowline_core::state::JobError;
use minijinja::Value;

use crate::Context;
use crate::diagnostic::{Range, place};
use crate::expr::Failure;
use crate::model::{Model, Step};
use scope::Scope;
use work::Recipe;

/// Most elements of one `for_each`.
pub const FOR_EACH_ELEMENTS_MAX: usize = 10_000;
/// Most bytes of text that all elements of one `for_each` hold together. 16 MiB.
pub const FOR_EACH_BYTES_MAX: usize = 16 << 20;

/// Why nothing came of it: which field, where it stands, what happened.
#[derive(Debug)]
pub(crate) struct Trouble {
    field: String,
    range: Option<Range>,
    cause: String,
}

impl Trouble {
    pub(crate) fn new(field: impl Into<String>, range: Option<&Range>, cause: impl Into<String>) -> Self {
        Self { field: field.into(), range: range.cloned(), cause: cause.into() }
    }

    pub(crate) fn from_failure(field: &str, range: &Range, failure: Failure) -> Self {
        Self::new(field, Some(range), failure.0)
    }

    fn error(self, model: &Model, whose: &str) -> JobError {
        let at = self.range.map_or(String::new(), |range| {
            let (line, ..) = place(&model.text, &range);
            format!(", line {line}")
        });
        let mut message = format!("{whose}: `{}`{at}: {}", self.field, self.cause);
        if message.len() > 4_000 {
            let cut = (0..=4_000).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
        }
        JobError { exit_status: None, signal: None, message }
    }
}

pub(crate) fn node(model: &Model, node: NodeIndex, context: &Context) -> Evaluation {
    let Some(step) = model.steps.get(node.0 as usize) else {
        let message = format!("the workflow has no step number {node}");
        return Evaluation::Failed(JobError { message, ..JobError::default() });
    };
    match try_node(model, step, context) {
        Ok(evaluation) => evaluation,
        Err(trouble) => Evaluation::Failed(trouble.error(model, &format!("step `{}`", step.name))),
    }
}

pub(crate) fn result(model: &Model, context: &Context) -> Evaluation {
    let Some(shape) = &model.result else { return Evaluation::Result("null".to_owned()) };
    let mut scope = Scope::new(model, context);
    let json = scope.shape(shape, "result").map(|value| value.to_string());
    match json {
        Ok(json) if json.len() <= RESULT_BYTES_MAX => Evaluation::Result(json),
        Ok(_) => {
            let trouble = Trouble::new("result", None, format!("the result is larger than {RESULT_BYTES_MAX} bytes"));
            Evaluation::Failed(trouble.error(model, "the run's result"))
        }
        Err(trouble) => Evaluation::Failed(trouble.error(model, "the run's result")),
    }
}

fn try_node(model: &Model, step: &Step, context: &Context) -> Result<Evaluation, Trouble> {
    let mut scope = Scope::new(model, context);
    let items = scope.items(step)?;
    let recipe = Recipe::new(step)?;
    let (work, elements) = match &items {
        None => (recipe.work(&mut scope, None)?, Vec::new()),
        Some(items) if items.is_empty() => return Ok(Evaluation::Nothing),
        Some(items) if !step.work_templates().iter().any(|template| template.reads_element()) => {
            (recipe.work(&mut scope, items.first().map(|item| (0, item)))?, Vec::new())
        }
        Some(items) => {
            let elements = each(&recipe, &mut scope, items)?;
            (elements[0].clone(), elements)
        }
    };
    let count = items.map(|items| u32::try_from(items.len()).unwrap_or(u32::MAX));
    let spec = spec(step, work, count);
    Ok(Evaluation::Task(Box::new(NewTask {
        spec: Arc::new(spec),
        elements: Arc::new(elements),
        after_earlier: Vec::new(),
    })))
}

fn each(recipe: &Recipe<'_>, scope: &mut Scope, items: &[Value]) -> Result<Vec<Work>, Trouble> {
    let mut bytes = 0;
    let mut elements = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let work = recipe.work(scope, Some((index, item)))?;
        bytes += work::bytes(&work);
        if bytes > FOR_EACH_BYTES_MAX {
            let cause = format!(
                "its elements hold more than {FOR_EACH_BYTES_MAX} bytes together: let each read what it needs from a file"
            );
            return Err(Trouble::new("for_each", None, cause));
        }
        elements.push(work);
    }
    Ok(elements)
}

fn spec(step: &Step, work: Work, count: Option<u32>) -> TaskSpec {
    let asks = &step.asks;
    TaskSpec {
        name: Some(step.name.to_string()),
        requires: asks.requires.clone(),
        slots: asks.slots.unwrap_or(1),
        amounts: asks.amounts.clone(),
        resources: asks.resources.clone(),
        release_while_retrying: asks.release_while_retrying,
        placement: asks.placement.clone(),
        concurrency: asks.concurrency.clone(),
        rate: asks.rate.clone(),
        priority: asks.priority,
        timeouts: asks.timeouts,
        retry: asks.retry,
        on_worker_loss: asks.on_worker_loss,
        array: count.map(|count| ArraySpec { at_most: step.at_most, ..ArraySpec::of(count) }),
        ..TaskSpec::new(work)
    }
}
