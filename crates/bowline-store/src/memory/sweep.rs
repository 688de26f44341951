//! Removing what has been kept long enough.

use bowline_core::id::{RunId, TaskId};
use bowline_core::mutant::{self, Mutant};
use bowline_core::row::Made;
use bowline_core::time::Timestamp;

use super::state::State;
use crate::write::{RetentionPolicy, Swept};

impl State {
    pub(super) fn sweep(&mut self, now: Timestamp, policy: &RetentionPolicy) -> Swept {
        let mut swept = Swept::default();
        self.sweep_tasks(now, policy, &mut swept);
        self.sweep_runs(now, policy, &mut swept);
        self.sweep_events(now, policy, &mut swept);
        self.sweep_keys(now, policy, &mut swept);
        swept
    }

    fn is_needed(&self, task: TaskId) -> bool {
        let needs = |other: &super::state::StoredTask| other.spec.after.iter().any(|needed| needed.task.task == task);
        self.tasks.values().any(|other| !other.row.unit.state.is_ended() && needs(other))
    }

    fn sweep_tasks(&mut self, now: Timestamp, policy: &RetentionPolicy, swept: &mut Swept) {
        let mut old: Vec<(Timestamp, TaskId)> = self
            .tasks
            .values()
            .filter(|task| task.row.run.is_none() && task.row.unit.state.is_ended())
            .filter_map(|task| Some((task.row.unit.ended_at?, task.row.id)))
            .filter(|(ended_at, _)| ended_at.plus(policy.ended) <= now)
            .collect();
        old.sort_unstable();
        old.retain(|(_, task)| !self.is_needed(*task) || mutant::is(Mutant::RetentionTakesWhatIsNeeded));
        for (_, task) in old.into_iter().take(policy.batch_max) {
            self.forget_task(task);
            swept.tasks.push(task);
        }
    }

    fn sweep_runs(&mut self, now: Timestamp, policy: &RetentionPolicy, swept: &mut Swept) {
        let mut old: Vec<(Timestamp, RunId)> = self
            .runs
            .values()
            .filter(|run| run.row.state.is_ended())
            .filter_map(|run| Some((run.row.ended_at?, run.row.id)))
            .filter(|(ended_at, _)| ended_at.plus(policy.ended) <= now)
            .collect();
        old.sort_unstable();
        for (_, run) in old {
            if swept.tasks.len() + swept.runs.len() >= policy.batch_max {
                return;
            }
            let tasks: Vec<_> =
                self.tasks.values().filter(|task| task.row.run.is_some_and(|(of, _)| of == run)).cloned().collect();
            if tasks.iter().any(|task| !task.row.unit.state.is_ended() || self.is_needed(task.row.id)) {
                continue;
            }
            for task in tasks {
                self.forget_task(task.row.id);
                swept.tasks.push(task.row.id);
            }
            self.forget_run(run);
            swept.runs.push(run);
        }
    }

    fn sweep_events(&mut self, now: Timestamp, policy: &RetentionPolicy, swept: &mut Swept) {
        let old: Vec<_> = self
            .events
            .iter()
            .take_while(|(_, events)| events.at.plus(policy.events) <= now)
            .take(policy.batch_max)
            .map(|(commit, events)| (*commit, u32::try_from(events.rows.len()).unwrap_or(u32::MAX)))
            .collect();
        for (commit, count) in old {
            self.events.remove(&commit);
            self.swept = Some((commit, count.saturating_sub(1)));
            swept.events += 1;
        }
    }

    /// Keys whose turn it is to be looked at: those whose tasks are gone go, others wait for their
    /// next turn.
    fn sweep_keys(&mut self, now: Timestamp, policy: &RetentionPolicy, swept: &mut Swept) {
        let mut due: Vec<_> = self
            .keys
            .iter()
            .filter(|(_, key)| key.looked_at.plus(policy.keys) <= now)
            .map(|(id, key)| (key.looked_at, id.clone()))
            .collect();
        due.sort_unstable();
        for (_, id) in due.into_iter().take(policy.batch_max) {
            let Some(mut key) = self.keys.get(&id).cloned() else { continue };
            let kept = match &key.row.made {
                Made::Tasks(tasks) => tasks.iter().any(|task| self.tasks.contains(task)),
                Made::Run(run) => self.runs.contains(run),
            };
            if kept {
                key.looked_at = now;
                self.keys.put(id, key);
            } else {
                self.keys.remove(&id);
                swept.keys += 1;
            }
        }
    }
}
