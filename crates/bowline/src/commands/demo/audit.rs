//! The count at the end: every task of every run, read over REST from its history and its attempts.

use std::collections::BTreeMap;

use bowline_api::{HistoryEntry, PageQuery, Task, TaskQuery};
use bowline_client::Client;
use bowline_core::id::{RunId, TaskRef};
use bowline_core::state::{AttemptEnd, StateKind};
use serde::Serialize;

use super::torment::Wounds;

/// Lines of a history, and tasks of a run, that are asked for at once.
const PAGE: usize = 1_000;
/// What is named of a kind of trouble.
const NAMED_MAX: usize = 5;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Audit {
    /// Tasks, each element of an array as one.
    pub(super) tasks: usize,
    /// Attempts at them.
    pub(super) attempts: usize,
    /// Attempts whose job died because its supervisor did.
    pub(super) lost_with_supervisor: usize,
    /// Attempts that were given back before their job had begun.
    pub(super) given_back: usize,
    /// Attempts that ended otherwise, and not well.
    pub(super) failed: usize,
    /// Tasks without an end.
    pub(super) without_an_end: usize,
    /// Tasks that ended more than once.
    pub(super) ended_twice: usize,
    /// Attempts that were made again although only the server or the worker was killed.
    pub(super) disturbed: usize,
    /// What is to be looked at, by name; the first few of each kind.
    pub(super) named: Vec<String>,
}

/// Reads everything.
pub(super) async fn audit(client: &Client, runs: &[RunId], wounds: &Wounds) -> anyhow::Result<Audit> {
    let mut audit = Audit::default();
    let mut all = Vec::new();
    for run in runs {
        all.extend(tasks(client, *run).await?);
    }
    if let Some(made) = wounds.made {
        all.push(client.task(made).await?);
    }
    for task in &all {
        audit.attempts_of(client, task, wounds).await?;
        for one in parts(task) {
            let ends = ends(client, one).await?;
            audit.task(one, ends);
        }
    }
    Ok(audit)
}

impl Audit {
    async fn attempts_of(&mut self, client: &Client, task: &Task, wounds: &Wounds) -> anyhow::Result<()> {
        let mut good: BTreeMap<TaskRef, usize> = BTreeMap::new();
        for attempt in client.attempts(task.id).await?.items {
            let known = (attempt.task, attempt.attempt);
            self.attempts += 1;
            let died = wounds.died.contains(&known);
            match attempt.end {
                Some(AttemptEnd::Succeeded) => *good.entry(attempt.task).or_default() += 1,
                Some(AttemptEnd::Lost | AttemptEnd::Released) if died || attempt.started_at.is_some() => {
                    self.lost_with_supervisor += 1;
                }
                Some(AttemptEnd::Lost | AttemptEnd::Released) => self.given_back += 1,
                None
                | Some(AttemptEnd::Failed | AttemptEnd::TimedOut | AttemptEnd::Cancelled | AttemptEnd::Superseded) => {
                    self.failed += 1;
                }
            }
            let lived = wounds.lived_on.contains(&known) && !died;
            if lived && attempt.end != Some(AttemptEnd::Succeeded) {
                self.disturbed += 1;
                self.name(self.disturbed, format!("attempt {} of task {} was disturbed", known.1, known.0));
            }
        }
        for (task, times) in good.into_iter().filter(|(_, times)| *times > 1) {
            self.ended_twice += 1;
            self.name(self.ended_twice, format!("task {task} succeeded in {times} attempts"));
        }
        Ok(())
    }

    /// One task, by how often its history says that it ended.
    fn task(&mut self, task: TaskRef, ends: usize) {
        self.tasks += 1;
        match ends {
            0 => {
                self.without_an_end += 1;
                self.name(self.without_an_end, format!("task {task} has no end"));
            }
            1 => {}
            more => {
                self.ended_twice += 1;
                self.name(self.ended_twice, format!("task {task} ended {more} times"));
            }
        }
    }

    fn name(&mut self, number: usize, what: String) {
        if number <= NAMED_MAX {
            self.named.push(what);
        }
    }
}

async fn tasks(client: &Client, run: RunId) -> anyhow::Result<Vec<Task>> {
    let mut query = TaskQuery { limit: Some(PAGE), ..TaskQuery::default() };
    let mut tasks = Vec::new();
    loop {
        let page = client.run_tasks(run, &query).await?;
        tasks.extend(page.items);
        match page.next_cursor {
            None => return Ok(tasks),
            next => query.cursor = next,
        }
    }
}

/// The task itself, or of an array its elements.
fn parts(task: &Task) -> Vec<TaskRef> {
    match task.array {
        None => vec![task.id],
        Some(array) => {
            let index = |number| array.first + number * array.step;
            (0..array.count).map(|number| TaskRef::element(task.id.task, index(number))).collect()
        }
    }
}

/// How often the history says that it ended.
async fn ends(client: &Client, task: TaskRef) -> anyhow::Result<usize> {
    let mut query = PageQuery { limit: Some(PAGE), ..PageQuery::default() };
    let mut ends = 0;
    loop {
        let page = client.history(task, &query).await?;
        ends += page.items.iter().filter(|line| is_end(line)).count();
        match page.next_cursor {
            None => return Ok(ends),
            next => query.cursor = next,
        }
    }
}

fn is_end(line: &HistoryEntry) -> bool {
    StateKind::parse(&line.what).is_some_and(StateKind::is_ended)
}

#[cfg(test)]
mod tests {
    use bowline_core::id::TaskId;

    use super::*;

    #[test]
    fn a_task_without_an_end_and_one_with_two_are_counted_and_named() {
        let mut audit = Audit::default();
        for (number, ends) in [(1, 1), (2, 0), (3, 2)] {
            audit.task(TaskRef::whole(TaskId(number)), ends);
        }
        assert_eq!((audit.tasks, audit.without_an_end, audit.ended_twice), (3, 1, 1));
        assert_eq!(audit.named, ["task 2 has no end", "task 3 ended 2 times"]);
    }
}
