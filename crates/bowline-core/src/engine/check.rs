//! Bounds of what is asked for, checked again where it enters the engine.

use crate::answer::{Refusal, RefusalCode};
use crate::input::NewTask;
use crate::name::NAME_BYTES_MAX;
use crate::run::{Graph, Join, NODES_MAX};
use crate::spec::{
    ARRAY_ELEMENTS_MAX, Action, ArraySpec, Command, DEPENDENCIES_MAX, ITEMS_MAX, Requirement, SLOTS_MAX, TaskSpec, Work,
};

/// Longest name of a task, in bytes.
const TASK_NAME_BYTES_MAX: usize = 2 * NAME_BYTES_MAX;
/// Most extra attempts.
const RETRIES_MAX: u32 = 10_000;

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Invalid, message)
}

fn too_large(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::TooLarge, message)
}

/// Whether a new task keeps to the bounds. `place` is its place in its submit, from 0.
pub(super) fn check_task(place: usize, new: &NewTask) -> Result<(), Refusal> {
    check_spec(&new.spec).and_then(|()| check_elements(new)).and_then(|()| check_earlier(place, new)).map_err(
        |refusal| {
            let who =
                new.spec.name.as_deref().map_or_else(|| format!("Task {}", place + 1), |name| format!("Task `{name}`"));
            Refusal::new(refusal.code, format!("{who}: {}", refusal.message))
        },
    )
}

fn check_earlier(place: usize, new: &NewTask) -> Result<(), Refusal> {
    if new.spec.after.len() + new.after_earlier.len() > DEPENDENCIES_MAX {
        return Err(too_large(format!(
            "it names more than {DEPENDENCIES_MAX} dependencies; join some of them by a task of their own."
        )));
    }
    match new.after_earlier.iter().find(|(earlier, _)| *earlier >= place) {
        Some((earlier, _)) => Err(invalid(format!(
            "it depends on the task at place {earlier} of the same submit, which does not come before it; put that one first."
        ))),
        None => Ok(()),
    }
}

fn check_spec(spec: &TaskSpec) -> Result<(), Refusal> {
    if spec.name.as_ref().is_some_and(|name| name.len() > TASK_NAME_BYTES_MAX) {
        return Err(too_large(format!("its name is longer than {TASK_NAME_BYTES_MAX} bytes; shorten it.")));
    }
    let items = [
        ("labels", spec.labels.len()),
        ("required capabilities", spec.requires.len()),
        ("amounts", spec.amounts.len()),
        ("preferred capabilities", spec.placement.prefer.len()),
        ("avoided capabilities", spec.placement.avoid.len()),
        ("excluded capabilities", spec.placement.excludes.len()),
        ("artifact patterns", spec.work.artifacts.len()),
    ];
    if let Some((what, count)) = items.into_iter().find(|(_, count)| *count > ITEMS_MAX) {
        return Err(too_large(format!("it has {count} {what}; at most {ITEMS_MAX} are allowed.")));
    }
    let excludes = |wanted: &&Requirement| {
        let same = |not: &Requirement| not.key == wanted.key && (not.value.is_none() || not.value == wanted.value);
        spec.placement.excludes.iter().any(same)
    };
    if let Some(both) = spec.requires.iter().find(excludes) {
        return Err(invalid(format!(
            "it requires `{both}` and excludes it, so no worker could ever run it; drop one of them."
        )));
    }
    if spec.slots > SLOTS_MAX {
        return Err(too_large(format!("it asks for {} slots; at most {SLOTS_MAX} are allowed.", spec.slots)));
    }
    if spec.slots == 0 && !spec.work.action.is_held_by_server() {
        return Err(invalid("it asks for no slot; ask for at least 1."));
    }
    if spec.retry.extra > RETRIES_MAX {
        return Err(too_large(format!("it asks for more than {RETRIES_MAX} retries; ask for fewer.")));
    }
    if spec.resources.len() > ITEMS_MAX {
        return Err(too_large(format!(
            "it asks for {} resources; at most {ITEMS_MAX} are allowed.",
            spec.resources.len()
        )));
    }
    super::resource::check_resources(spec)?;
    super::limit::check_limits(spec)?;
    check_work(&spec.work)?;
    spec.array.as_ref().map_or(Ok(()), check_array)
}

fn check_work(work: &Work) -> Result<(), Refusal> {
    match &work.action {
        Action::Command(Command::Argv(argv)) if argv.first().is_none_or(String::is_empty) => {
            Err(invalid("its command is empty; name a program."))
        }
        Action::Command(Command::Shell(text)) if text.trim().is_empty() => {
            Err(invalid("its script is empty; write what is to be run."))
        }
        Action::Http(request) if !request.url.starts_with("http://") && !request.url.starts_with("https://") => {
            Err(invalid(format!("`{}` is no web address; begin it with http:// or https://.", request.url)))
        }
        Action::Command(Command::Argv(_) | Command::Shell(_))
        | Action::Http(_)
        | Action::Noop
        | Action::Wait
        | Action::Sleep(_) => Ok(()),
    }
}

fn check_array(array: &ArraySpec) -> Result<(), Refusal> {
    if array.count == 0 || array.count > ARRAY_ELEMENTS_MAX {
        return Err(too_large(format!(
            "its array has {} elements; it must have 1 to {ARRAY_ELEMENTS_MAX}.",
            array.count
        )));
    }
    let last = u64::from(array.first) + u64::from(array.count - 1) * u64::from(array.step);
    if array.step == 0 || last > u64::from(u32::MAX) {
        return Err(invalid("its array's indexes go too far, or step by 0; choose a smaller range."));
    }
    if array.at_most == Some(0) {
        return Err(invalid("its array allows no element at a time; allow at least 1, or leave the limit out."));
    }
    Ok(())
}

fn check_elements(new: &NewTask) -> Result<(), Refusal> {
    if new.elements.is_empty() {
        return Ok(());
    }
    let Some(array) = &new.spec.array else {
        return Err(invalid("it has elements but is no array; give it an array."));
    };
    if new.elements.len() != array.count as usize {
        return Err(invalid(format!(
            "its array has {} elements, but work for {} was sent; send one piece of work for each.",
            array.count,
            new.elements.len()
        )));
    }
    let action = &new.spec.work.action;
    let is_like = |work: &Work| match (action, &work.action) {
        (Action::Sleep(one), Action::Sleep(other)) => one == other,
        (one, other) => one.name() == other.name(),
    };
    if let Some(place) = new.elements.iter().position(|work| !is_like(work)) {
        return Err(invalid(format!(
            "the element at place {place} does something else than its array (`{}`); submit it as a task of its own.",
            action.name()
        )));
    }
    new.elements.iter().try_for_each(check_work)
}

/// Whether a run's shape keeps to the bounds and has no cycle.
pub(super) fn check_graph(graph: &Graph) -> Result<(), Refusal> {
    if graph.nodes.is_empty() || graph.nodes.len() > NODES_MAX {
        return Err(too_large(format!("The workflow has {} steps; it must have 1 to {NODES_MAX}.", graph.nodes.len())));
    }
    for node in &graph.nodes {
        if node.needs.iter().any(|edge| edge.from.0 as usize >= graph.nodes.len()) {
            return Err(invalid(format!("Step `{}` needs a step that does not exist.", node.name)));
        }
        if let Join::AtLeast(least) = node.join
            && least as usize > node.needs.len()
        {
            return Err(invalid(format!("Step `{}` needs {least} others, but names fewer.", node.name)));
        }
    }
    if has_cycle(graph) {
        return Err(invalid("The workflow's steps need each other in a circle; take one of the needs away."));
    }
    Ok(())
}

/// Kahn's algorithm: what can never come to its turn lies on a cycle, or behind one.
fn has_cycle(graph: &Graph) -> bool {
    let outs = super::run::out_edges(graph);
    let mut missing: Vec<usize> = graph.nodes.iter().map(|node| node.needs.len()).collect();
    let mut turn: Vec<usize> = (0..missing.len()).filter(|node| missing[*node] == 0).collect();
    let mut done = 0;
    while let Some(node) = turn.pop() {
        done += 1;
        for next in &outs[node] {
            let next = next.0 as usize;
            missing[next] -= 1;
            if missing[next] == 0 {
                turn.push(next);
            }
        }
    }
    done < graph.nodes.len()
}
