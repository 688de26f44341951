//! Following names: needs, cycles, and what expressions read.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Mistakes, nearest};
use crate::expr::{Template, What};
use crate::model::{Input, Step};
use crate::read::Draft;

/// What a step shows to expressions.
const FIELDS: [&str; 7] = ["result", "results", "items", "state", "error", "exit_status", "failed"];

/// Follows every name in the draft. Mistakes are recorded.
pub(crate) fn resolve(draft: &mut Draft, mistakes: &mut Mistakes) -> Vec<(usize, String)> {
    let places: BTreeMap<String, usize> =
        draft.steps.iter().enumerate().map(|(at, step)| (step.name.to_string(), at)).collect();
    needs(&mut draft.steps, &places, mistakes);
    cycles(&draft.steps, mistakes);
    let before = ancestors(&draft.steps);
    for (at, step) in draft.steps.iter().enumerate() {
        let view =
            View { inputs: &draft.inputs, steps: &draft.steps, places: &places, reader: Some((at, &before[at])) };
        step.for_each_templates().into_iter().for_each(|template| view.check(template, Element::No, mistakes));
        let element = if step.for_each.is_some() { Element::Yes } else { Element::No };
        step.work_templates().into_iter().for_each(|template| view.check(template, element, mistakes));
    }
    if let Some(result) = &draft.result {
        let view = View { inputs: &draft.inputs, steps: &draft.steps, places: &places, reader: None };
        let mut templates = Vec::new();
        result.templates(&mut templates);
        for template in templates {
            view.check(template, Element::No, mistakes);
        }
    }
    let mut artifacts = Vec::new();
    for (step, range, glob) in &draft.artifacts {
        match places.get(step) {
            Some(at) => artifacts.push((*at, glob.clone())),
            None => mistakes.add(range.clone(), format!("there is no step `{step}`"), near(step, &places)),
        }
    }
    artifacts
}

fn near(written: &str, places: &BTreeMap<String, usize>) -> Option<String> {
    let near = nearest(written, places.keys().map(String::as_str))?;
    Some(format!("did you mean `{near}`?"))
}

fn needs(steps: &mut [Step], places: &BTreeMap<String, usize>, mistakes: &mut Mistakes) {
    for (at, step) in steps.iter_mut().enumerate() {
        step.needs.retain_mut(|need| match places.get(&need.step) {
            Some(index) if *index == at => {
                let help = Some("take it away".to_owned());
                mistakes.add(need.range.clone(), format!("step `{}` needs itself", need.step), help);
                false
            }
            Some(index) => {
                need.index = *index;
                true
            }
            None => {
                let help = near(&need.step, places);
                mistakes.add(need.range.clone(), format!("there is no step `{}`", need.step), help);
                false
            }
        });
    }
}

/// Names each cycle once, at the need that closes it.
fn cycles(steps: &[Step], mistakes: &mut Mistakes) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; steps.len()];
    for start in 0..steps.len() {
        // The path from `start`: each step with the next of its needs to follow.
        let mut path: Vec<(usize, usize)> = Vec::new();
        if marks[start] == Mark::New {
            marks[start] = Mark::Open;
            path.push((start, 0));
        }
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let Some(need) = steps[at].needs.get(*next) else {
                marks[at] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[need.index] {
                Mark::Done => {}
                Mark::New => {
                    marks[need.index] = Mark::Open;
                    path.push((need.index, 0));
                }
                Mark::Open => {
                    let from = path.iter().position(|(step, _)| *step == need.index).unwrap_or(0);
                    let names: Vec<&str> = path[from..]
                        .iter()
                        .map(|(step, _)| steps[*step].name.as_str())
                        .chain([need.step.as_str()])
                        .collect();
                    let message = format!("these steps wait for each other: {}", names.join(" → "));
                    mistakes.add(need.range.clone(), message, Some("take one of these needs away".to_owned()));
                }
            }
        }
    }
}

/// For each step, all that it needs, directly or not.
fn ancestors(steps: &[Step]) -> Vec<BTreeSet<usize>> {
    (0..steps.len())
        .map(|start| {
            let mut seen = BTreeSet::new();
            let mut open: Vec<usize> = vec![start];
            while let Some(at) = open.pop() {
                open.extend(steps[at].needs.iter().map(|need| need.index).filter(|index| seen.insert(*index)));
            }
            seen
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Element {
    Yes,
    No,
}

struct View<'a> {
    inputs: &'a [Input],
    steps: &'a [Step],
    places: &'a BTreeMap<String, usize>,
    /// The step that reads, and the steps that have ended by then. `None`: the result, after all.
    reader: Option<(usize, &'a BTreeSet<usize>)>,
}

impl View<'_> {
    fn check(&self, template: &Template, element: Element, mistakes: &mut Mistakes) {
        for read in &template.reads {
            let wrong = match &read.what {
                What::Input(None) => None,
                What::Input(Some(name)) => self.input(name),
                What::Element if element == Element::Yes => None,
                What::Element => {
                    let help = "they belong to `argv`, `env`, `files`, `dir` and `with` of a step with `for_each`";
                    Some(("there is no `item` and no `index` here".to_owned(), Some(help.to_owned())))
                }
                What::Step(name, field) => {
                    if let Some((message, help)) = field.as_ref().and_then(|field| self.field(name, &field.name)) {
                        let range = field.as_ref().map_or(read.range.clone(), |field| field.range.clone());
                        mistakes.add(range, message, help);
                    }
                    self.step(name)
                }
            };
            if let Some((message, help)) = wrong {
                mistakes.add(read.range.clone(), message, help);
            }
        }
    }

    fn input(&self, name: &str) -> Option<(String, Option<String>)> {
        if self.inputs.iter().any(|input| input.name == name) {
            return None;
        }
        let known = self.inputs.iter().map(|input| input.name.as_str());
        let help = match nearest(name, known) {
            Some(near) => format!("did you mean `inputs.{near}`?"),
            None => format!("declare it: `inputs: {{{name}: …}}`"),
        };
        Some((format!("there is no input `{name}`"), Some(help)))
    }

    fn step(&self, name: &str) -> Option<(String, Option<String>)> {
        let Some(place) = self.places.get(name) else {
            return Some((format!("there is no step `{name}`"), near(name, self.places)));
        };
        let (at, before) = self.reader?;
        if before.contains(place) {
            return None;
        }
        let message = if *place == at {
            "a step cannot read its own result".to_owned()
        } else {
            format!("step `{}` reads `{name}` without waiting for it", self.steps[at].name)
        };
        let help = (*place != at).then(|| format!("add `{name}` to its `needs`"));
        Some((message, help))
    }

    fn field(&self, step: &str, field: &str) -> Option<(String, Option<String>)> {
        let is_array = self.steps[*self.places.get(step)?].for_each.is_some();
        let message = format!("step `{step}` has no `{field}`");
        match (field, is_array) {
            ("result" | "exit_status", true) => {
                let help =
                    format!("it has a `for_each`: read `steps.{step}.results`, a list with one entry an element");
                Some((message, Some(help)))
            }
            ("results" | "items" | "failed", false) => {
                Some((message, Some(format!("it has no `for_each`: read `steps.{step}.result`"))))
            }
            _ if FIELDS.contains(&field) => None,
            _ => {
                let help = match nearest(field, FIELDS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a step has: {}", FIELDS.join(", ")),
                };
                Some((message, Some(help)))
            }
        }
    }
}
