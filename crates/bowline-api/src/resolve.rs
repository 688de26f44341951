//! From what people write to what the engine takes: the one place. Checks form and bounds only, and
//! finds every mistake at once.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::input::NewTask as CoreTask;
use bowline_core::resource::Ask;
use bowline_core::spec::{
    ARRAY_ELEMENTS_MAX, ArraySpec, Condition, DEPENDENCIES_MAX, Dependency, ITEMS_MAX, LOG_BYTES_MIN, RetryPolicy,
    SLOTS_MAX, SPEC_BYTES_MAX, SUBMIT_TASKS_MAX, TaskSpec, Timeouts as CoreTimeouts, Work, file_path_is_good,
    secret_name_is_good,
};

use crate::action::Said;
use crate::namespace::{Concurrency, Rate};
use crate::new_task::{AfterWhat, NewElement, NewTask};
use crate::placement::Placement;
use crate::problem::Mistake;
use crate::time::to_core_time;

/// Most mistakes that are told at once.
pub const MISTAKES_MAX: usize = 100;
/// Longest name of a task, in bytes: the engine's own bound.
const TASK_NAME_BYTES_MAX: usize = 2 * bowline_core::name::NAME_BYTES_MAX;
/// Longest duration that is taken: ten years.
const DURATION_MAX: Duration = Duration::from_hours(24 * 3_650);
/// Longest key or value of a label, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// Most variables in a task's environment.
const ENV_MAX: usize = 1_024;

/// Why nothing was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Unfit {
    /// These are wrong. Never empty.
    Mistakes(Vec<Mistake>),
    /// Larger than a bound; the sentence names it.
    TooLarge(Box<Mistake>),
}

/// Where the mistakes of one task go.
struct Found<'a> {
    prefix: &'a str,
    mistakes: &'a mut Vec<Mistake>,
    too_large: &'a mut Option<Mistake>,
}

impl Found<'_> {
    /// A mistake whose path, in its message too, is below the task.
    fn add(&mut self, mistake: Mistake) {
        let mistake = self.placed(mistake);
        self.mistakes.push(mistake);
    }

    fn field(&mut self, path: &str, message: impl Into<String>) {
        self.add(Mistake::field(path, message));
    }

    fn too_large(&mut self, mistake: Mistake) {
        let mistake = self.placed(mistake);
        self.too_large.get_or_insert(mistake);
    }

    fn placed(&self, mut mistake: Mistake) -> Mistake {
        let full = |path: &str| match (self.prefix.is_empty(), path.is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.prefix.to_owned(),
            (false, false) => format!("{}.{path}", self.prefix),
        };
        if let Some(path) = mistake.path.as_deref().filter(|path| !path.is_empty()) {
            mistake.message = mistake.message.replacen(&format!("`{path}`"), &format!("`{}`", full(path)), 1);
        }
        let path = full(mistake.path.as_deref().unwrap_or_default());
        mistake.path = (!path.is_empty()).then_some(path);
        mistake
    }
}

/// Turns one task into the engine's form.
pub fn one(task: &NewTask) -> Result<CoreTask, Unfit> {
    all_with(std::slice::from_ref(task), |_| String::new()).map(|mut tasks| tasks.remove(0))
}

/// Turns many into the engine's form: all of them, or none.
pub fn many(tasks: &[NewTask]) -> Result<Vec<CoreTask>, Unfit> {
    if tasks.is_empty() {
        return Err(Unfit::Mistakes(vec![Mistake::field("tasks", "`tasks` is empty. Give at least one task.")]));
    }
    if tasks.len() > SUBMIT_TASKS_MAX {
        let message = format!(
            "`tasks` holds {} tasks, and at most {SUBMIT_TASKS_MAX} can be submitted at once. Submit them in parts, or as an array.",
            tasks.len()
        );
        return Err(Unfit::TooLarge(Box::new(Mistake::field("tasks", message))));
    }
    all_with(tasks, |place| format!("tasks[{place}]"))
}

fn all_with(tasks: &[NewTask], prefix: impl Fn(usize) -> String) -> Result<Vec<CoreTask>, Unfit> {
    let mut mistakes = Vec::new();
    let mut too_large = None;
    let mut resolved: Vec<CoreTask> = Vec::with_capacity(tasks.len());
    for (place, task) in tasks.iter().enumerate() {
        // Who submits many submits equal ones: they are understood, and kept, once.
        if let Some(last) = resolved.last()
            && mistakes.is_empty()
            && too_large.is_none()
            && tasks[place - 1] == *task
        {
            resolved.push(last.clone());
            continue;
        }
        let prefix = prefix(place);
        let mut found = Found { prefix: &prefix, mistakes: &mut mistakes, too_large: &mut too_large };
        resolved.extend(resolve(task, place, &mut found));
        if mistakes.len() >= MISTAKES_MAX {
            mistakes.truncate(MISTAKES_MAX);
            break;
        }
    }
    match (too_large, mistakes.is_empty()) {
        (_, false) => Err(Unfit::Mistakes(mistakes)),
        (Some(mistake), true) => Err(Unfit::TooLarge(Box::new(mistake))),
        (None, true) => Ok(resolved),
    }
}

fn resolve(task: &NewTask, place: usize, found: &mut Found<'_>) -> Option<CoreTask> {
    check_texts(task, found);
    check_counts(task, found);
    check_durations(task, found);
    let array = array(task, found);
    let elements = elements(task, found);
    let work = match elements.first() {
        Some(first) if said(task).is_nothing() => Some(first.clone()),
        _ => work(task, found),
    };
    let (after, after_earlier) = dependencies(task, place, found);
    let mut spec = TaskSpec::new(work?);
    spec.name.clone_from(&task.name);
    spec.labels.clone_from(&task.labels);
    spec.requires.clone_from(&task.requires);
    spec.slots = task.slots.unwrap_or(1);
    spec.amounts = task.amounts.iter().map(|(name, amount)| (name.clone(), amount.0)).collect();
    spec.resources = resources(task, found);
    spec.release_while_retrying = task.release_while_retrying.unwrap_or(false);
    spec.placement = task.placement.as_ref().map(Placement::to_core).unwrap_or_default();
    spec.concurrency = limit(task.concurrency.as_ref().map(Concurrency::resolve), found);
    spec.rate = limit(task.rate.as_ref().map(Rate::resolve), found);
    spec.priority = task.priority.unwrap_or(0);
    spec.after = after;
    spec.delay = task.delay;
    spec.at = task.at.map(to_core_time);
    spec.deadline = task.deadline.map(to_core_time);
    spec.timeouts = timeouts(task, found);
    spec.retry = retry(task, found);
    spec.on_worker_loss = task.on_worker_loss.unwrap_or_default();
    spec.overlap = task.overlap;
    spec.lost_after = task.lost_after;
    spec.stop_after = task.stop_after;
    spec.array = array;
    check_size(&spec, found);
    Some(CoreTask { spec: Arc::new(spec), elements: Arc::new(elements), after_earlier })
}

fn said(task: &NewTask) -> Said<'_> {
    Said {
        command: task.command.as_ref(),
        shell: task.shell.as_ref(),
        action: task.action.as_ref(),
        with: task.with.as_ref(),
    }
}

fn work(task: &NewTask, found: &mut Found<'_>) -> Option<Work> {
    match said(task).resolve() {
        Ok(action) => Some(Work {
            action,
            env: task.env.clone(),
            dir: task.dir.clone(),
            files: task.files.clone(),
            artifacts: task.artifacts.clone(),
            output: task.output,
            split_output: task.split_output.unwrap_or(false),
            secrets: task.secrets.clone(),
            log_bytes_max: task.log_limit.map(|limit| limit.0),
            grace: task.grace,
        }),
        Err(mistake) => {
            found.add(*mistake);
            None
        }
    }
}

fn elements(task: &NewTask, found: &mut Found<'_>) -> Vec<Work> {
    let mut works: Vec<Work> = Vec::with_capacity(task.elements.len());
    for (place, element) in task.elements.iter().enumerate() {
        let before = found.mistakes.len();
        let prefix = match found.prefix {
            "" => format!("elements[{place}]"),
            prefix => format!("{prefix}.elements[{place}]"),
        };
        let mut below = Found { prefix: &prefix, mistakes: found.mistakes, too_large: found.too_large };
        let work = work(&merged(task, element), &mut below);
        check_env(&element.env, &mut below);
        if let (Some(work), Some(first)) = (&work, works.first())
            && work.action.name() != first.action.name()
        {
            below.field("", format!("Its action is `{}`, and that of the first element is `{}`. All elements of an array have the same.", work.action.name(), first.action.name()));
        }
        works.extend(work);
        if found.mistakes.len() > before + MISTAKES_MAX {
            break;
        }
    }
    works
}

/// The task as it is for one element.
fn merged(task: &NewTask, element: &NewElement) -> NewTask {
    let own = Said {
        command: element.command.as_ref(),
        shell: element.shell.as_ref(),
        action: element.action.as_ref(),
        with: element.with.as_ref(),
    };
    let mut whole = NewTask {
        env: task.env.clone(),
        dir: task.dir.clone(),
        files: task.files.clone(),
        artifacts: task.artifacts.clone(),
        output: task.output,
        split_output: task.split_output,
        secrets: task.secrets.clone(),
        log_limit: task.log_limit,
        grace: task.grace,
        ..NewTask::default()
    };
    whole.env.extend(element.env.clone());
    if own.is_nothing() {
        (whole.command, whole.shell) = (task.command.clone(), task.shell.clone());
        (whole.action, whole.with) = (task.action.clone(), task.with.clone());
    } else {
        (whole.command, whole.shell) = (element.command.clone(), element.shell.clone());
        (whole.action, whole.with) = (element.action.clone(), element.with.clone());
    }
    whole
}

fn array(task: &NewTask, found: &mut Found<'_>) -> Option<ArraySpec> {
    let count = u32::try_from(task.elements.len()).unwrap_or(u32::MAX);
    let array = match (&task.array, count) {
        (None, 0) => return None,
        (None, count) => ArraySpec::of(count),
        (Some(array), _) => array.0.clone(),
    };
    if count > 0 && array.count != count {
        found.field("array", format!("`array` has {} elements, and `elements` has {count}.", array.count));
    }
    if array.count == 0 || array.step == 0 || array.at_most == Some(0) {
        found.field("array", "`array` needs a count, a step and, where given, a limit of at least 1.");
    }
    if array.count > ARRAY_ELEMENTS_MAX {
        found.too_large(Mistake::field(
            "array",
            format!("`array` has {} elements, and at most {ARRAY_ELEMENTS_MAX} are possible.", array.count),
        ));
    }
    let last = u64::from(array.first) + u64::from(array.count.saturating_sub(1)) * u64::from(array.step);
    if last > u64::from(u32::MAX) {
        found.field("array", format!("`array` ends at the index {last}, and at most {} is possible.", u32::MAX));
    }
    Some(array)
}

fn dependencies(task: &NewTask, place: usize, found: &mut Found<'_>) -> (Vec<Dependency>, Vec<(usize, Condition)>) {
    let mut after = Vec::new();
    let mut earlier = Vec::new();
    for (at, dependency) in task.after.iter().enumerate() {
        match dependency.what {
            AfterWhat::Task(task) => after.push(Dependency { task, on: dependency.on }),
            AfterWhat::Earlier(other) if other < place => earlier.push((other, dependency.on)),
            AfterWhat::Earlier(other) => found.field(
                &format!("after[{at}]"),
                format!("`after[{at}]` names `#{other}`, which does not come before this task in the submit."),
            ),
        }
    }
    (after, earlier)
}

fn resources(task: &NewTask, found: &mut Found<'_>) -> Vec<Ask> {
    let mut asks = Vec::with_capacity(task.resources.len());
    for (at, ask) in task.resources.iter().enumerate() {
        match ask.resolve(&format!("resources[{at}]")) {
            Ok(ask) => asks.push(ask),
            Err(mistake) => found.add(*mistake),
        }
    }
    asks
}

fn limit<T>(said: Option<Result<T, Box<Mistake>>>, found: &mut Found<'_>) -> Option<T> {
    match said? {
        Ok(limit) => Some(limit),
        Err(mistake) => {
            found.add(*mistake);
            None
        }
    }
}

fn timeouts(task: &NewTask, found: &mut Found<'_>) -> CoreTimeouts {
    let given = task.timeouts.unwrap_or_default();
    if task.timeout.is_some() && given.run.is_some() {
        found.field("timeout", "`timeout` is short for `timeouts.run`. Give only one of them.");
    }
    let run = given.run.or(task.timeout);
    for (name, limit) in [("queue", given.queue), ("setup", given.setup), ("run", run), ("total", given.total)] {
        if limit.is_some_and(|limit| limit.0.is_zero()) {
            found.field(&format!("timeouts.{name}"), format!("`timeouts.{name}` is 0. Leave it out for no limit."));
        }
    }
    CoreTimeouts { queue: given.queue, setup: given.setup, run, total: given.total }
}

fn retry(task: &NewTask, found: &mut Found<'_>) -> RetryPolicy {
    let given = task.retry.unwrap_or_default();
    let default = RetryPolicy::default();
    if task.retries.is_some() && given.extra.is_some() {
        found.field("retries", "`retries` is short for `retry.extra`. Give only one of them.");
    }
    let backoff = given.backoff.unwrap_or(default.backoff);
    let backoff_max = given.backoff_max.unwrap_or(default.backoff_max.max(backoff));
    if backoff_max < backoff {
        found.field("retry.backoff_max", "`retry.backoff_max` is shorter than `retry.backoff`.");
    }
    RetryPolicy { extra: given.extra.or(task.retries).unwrap_or(default.extra), backoff, backoff_max }
}

fn check_texts(task: &NewTask, found: &mut Found<'_>) {
    if let Some(name) = &task.name
        && (name.is_empty() || name.len() > TASK_NAME_BYTES_MAX || name.chars().any(char::is_control))
    {
        found.field("name", format!("`name` must have 1 to {TASK_NAME_BYTES_MAX} bytes and no control characters."));
    }
    for (key, value) in &task.labels {
        let fits = |text: &str| text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control);
        if key.is_empty() || key.contains(['=', ',']) || !fits(key) || !fits(value) {
            let key: String = key.chars().take(64).collect();
            found.field(
                &format!("labels.{key}"),
                format!("The label `{key}` cannot be used: keys hold no `=` and no `,`, and neither part is longer than {TEXT_BYTES_MAX} bytes or holds control characters."),
            );
        }
    }
    check_env(&task.env, found);
    check_log(task, found);
    if task.dir.as_deref().is_some_and(|dir| !dir.starts_with('/') || dir.contains('\0')) {
        found.field("dir", "`dir` must be an absolute path on the worker, such as `/srv/data`.");
    }
    for path in task.files.keys().filter(|path| !file_path_is_good(path)) {
        let path: String = path.chars().take(64).collect();
        found.field(
            &format!("files.{path}"),
            format!("The file `{path}` cannot be written: name it by a path within the task's folder, without `..`."),
        );
    }
    for (at, pattern) in task.artifacts.iter().enumerate() {
        if pattern.is_empty() || pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
            found.field(
                &format!("artifacts[{at}]"),
                format!("`artifacts[{at}]` must be a pattern within the task's folder, such as `*.json`."),
            );
        }
    }
}

fn check_env(env: &std::collections::BTreeMap<String, String>, found: &mut Found<'_>) {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let name: String = name.chars().take(64).collect();
            found.field(
                &format!("env.{name}"),
                format!("The variable `{name}` cannot be set: names hold no `=`, and neither part holds a NUL byte."),
            );
        }
    }
}

fn check_log(task: &NewTask, found: &mut Found<'_>) {
    for (variable, name) in &task.secrets {
        let shown: String = name.chars().take(64).collect();
        if variable.is_empty() || variable.contains(['=', '\0']) || !secret_name_is_good(name) {
            found.field(
                &format!("secrets.{}", variable.chars().take(64).collect::<String>()),
                format!("`{shown}` cannot be the name of a secret: write letters, digits, `.`, `_` and `-`."),
            );
        }
    }
    if task.log_limit.is_some_and(|limit| limit.0 < LOG_BYTES_MIN) {
        found.field("log_limit", "`log_limit` must be at least `4KiB`.");
    }
}

fn check_counts(task: &NewTask, found: &mut Found<'_>) {
    let counts = [
        ("labels", task.labels.len(), ITEMS_MAX),
        ("requires", task.requires.len(), ITEMS_MAX),
        ("amounts", task.amounts.len(), ITEMS_MAX),
        ("placement.prefer", task.placement.as_ref().map_or(0, |placement| placement.prefer.len()), ITEMS_MAX),
        ("placement.avoid", task.placement.as_ref().map_or(0, |placement| placement.avoid.len()), ITEMS_MAX),
        ("placement.excludes", task.placement.as_ref().map_or(0, |placement| placement.excludes.len()), ITEMS_MAX),
        ("resources", task.resources.len(), ITEMS_MAX),
        ("artifacts", task.artifacts.len(), ITEMS_MAX),
        ("after", task.after.len(), DEPENDENCIES_MAX),
        ("env", task.env.len(), ENV_MAX),
        ("files", task.files.len(), ENV_MAX),
        ("secrets", task.secrets.len(), ITEMS_MAX),
    ];
    for (name, count, most) in counts {
        if count > most {
            found.field(name, format!("`{name}` has {count} items, and at most {most} are possible."));
        }
    }
    if task.slots.is_some_and(|slots| slots == 0 || slots > SLOTS_MAX) {
        found.field("slots", format!("`slots` must be 1 to {SLOTS_MAX}."));
    }
}

/// A length of time that nobody can mean is a mistake, mostly of the unit.
fn check_durations(task: &NewTask, found: &mut Found<'_>) {
    let (timeouts, retry) = (task.timeouts.unwrap_or_default(), task.retry.unwrap_or_default());
    let lengths = [
        ("delay", task.delay),
        ("timeout", task.timeout),
        ("timeouts.queue", timeouts.queue),
        ("timeouts.setup", timeouts.setup),
        ("timeouts.run", timeouts.run),
        ("timeouts.total", timeouts.total),
        ("retry.backoff", retry.backoff),
        ("retry.backoff_max", retry.backoff_max),
        ("lost_after", task.lost_after),
        ("stop_after", task.stop_after),
        ("grace", task.grace),
    ];
    for (name, length) in lengths {
        if length.is_some_and(|length| length.0 > DURATION_MAX) {
            found.field(name, format!("`{name}` is longer than ten years (3650d), the most that is taken."));
        }
    }
}

fn check_size(spec: &TaskSpec, found: &mut Found<'_>) {
    let bytes = serde_json::to_vec(spec).map_or(0, |json| json.len());
    if bytes > SPEC_BYTES_MAX {
        let message = format!(
            "The task's description has {bytes} bytes, and at most {SPEC_BYTES_MAX} (1 MiB) are possible. Keep large data in files, and name them."
        );
        found.too_large(Mistake { message, ..Mistake::default() });
    }
}

#[cfg(test)]
mod tests;
