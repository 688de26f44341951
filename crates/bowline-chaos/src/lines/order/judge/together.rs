//! What goes by more than one task: never more at work under a key than may be, or in a namespace; of a gang all begin,
//! or none; what a run holds lasts from before its first step to its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Judge, Life, Phase, Stand, Task};
use crate::lines::order::Unit;
use crate::lines::order::ask::{Ask, Mode};
use crate::lines::order::wrong::{Kind, Wrong};

/// A concurrency key, which says the same of everybody under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// `None`: one task, with all its elements.
    pub(crate) at_most: Option<usize>,
}

/// What a namespace may do at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quota {
    pub(crate) namespace: String,
    pub(crate) max_running: usize,
    /// By resource; a lock counts as one.
    pub(crate) max_held: BTreeMap<String, u64>,
}

/// What is known of a member of a gang.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// Somebody of the gang does not wait: it stands in no line.
    pub(super) is_scattered: bool,
    /// It has begun since all of them were last given out.
    pub(super) has_begun: bool,
}

impl Life {
    const fn is_at_work(&self) -> bool {
        matches!(self.phase, Phase::Live | Phase::Stopping)
    }
}

impl Judge {
    /// A commit is over: whoever began in it, or was granted something, is judged beside all others.
    pub(super) fn judge_together(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        for unit in &begun {
            let Some(shape) = self.tasks.get(&unit.task).map(|task| task.shape.clone()) else { continue };
            if let Some(key) = &shape.key {
                self.judge_key(*unit, key);
            }
            if let Some(quota) = &shape.quota {
                self.judge_running(*unit, quota);
            }
            if let Some(gang) = &shape.gang {
                self.judge_gang(*unit, gang);
            }
        }
        for unit in std::mem::take(&mut self.granted) {
            let quota = self.tasks.get(&unit.task).and_then(|task| task.shape.quota.clone());
            if let Some(quota) = quota {
                self.judge_held(unit, &quota);
            }
        }
        for run in std::mem::take(&mut self.let_go) {
            self.judge_let_go(&run);
        }
    }

    /// Those at work of whom this is so.
    fn at_work(&self, is: impl Fn(&Task) -> bool) -> Vec<Unit> {
        let is = |unit: &Unit| self.tasks.get(&unit.task).is_some_and(&is);
        self.lives.iter().filter(|(unit, life)| life.is_at_work() && is(unit)).map(|(unit, _)| *unit).collect()
    }

    fn judge_key(&mut self, unit: Unit, key: &Key) {
        self.counts.limited += 1;
        let others = self.at_work(|task| task.shape.key.as_ref().is_some_and(|other| other.name == key.name));
        let is_too_many = match key.at_most {
            Some(most) => others.len() > most,
            None => others.iter().any(|other| other.task != unit.task),
        };
        if is_too_many {
            let text = format!(
                "{unit} began at {} under the key `{}`, under which are at work: {others:?}",
                self.at, key.name
            );
            self.find(Wrong::new(Kind::TooMany, text));
        }
    }

    fn judge_running(&mut self, unit: Unit, quota: &Quota) {
        self.counts.limited += 1;
        let others = self.at_work(|task| task.shape.quota.as_ref() == Some(quota));
        if others.len() > quota.max_running {
            let (namespace, most) = (&quota.namespace, quota.max_running);
            let text = format!(
                "{unit} began at {} in `{namespace}`, where at most {most} may run, beside {others:?}",
                self.at
            );
            self.find(Wrong::new(Kind::TooMany, text));
        }
    }

    fn judge_held(&mut self, unit: Unit, quota: &Quota) {
        self.counts.limited += 1;
        let is_its =
            |other: &Unit| self.tasks.get(&other.task).is_some_and(|task| task.shape.quota.as_ref() == Some(quota));
        let over = quota.max_held.iter().find_map(|(name, most)| {
            let held = self.resources.get(name)?.holders.iter().filter(|(other, _)| is_its(other));
            let held: u64 = held.map(|(_, held)| counts_as(held.mode, held.amount)).sum();
            let asks =
                self.tasks.get(&unit.task).is_some_and(|task| task.shape.asks.iter().any(|ask| ask.resource == *name));
            (asks && held > *most).then(|| format!("{held} of `{name}`, of which it may hold {most}"))
        });
        if let Some(over) = over {
            let text = format!("with {unit}, at {}, `{}` holds {over}", self.at, quota.namespace);
            self.find(Wrong::new(Kind::TooMany, text));
        }
    }

    /// One of them was given out, and not all had begun since the last time: so all are, in this commit.
    fn judge_gang(&mut self, unit: Unit, gang: &str) {
        if self.have_all_begun(gang) {
            return;
        }
        let members = self.members(gang);
        let is_out = |member: &u64| !self.lives.get(&whole(*member)).is_some_and(Life::is_at_work);
        if let Some(out) = members.iter().copied().find(is_out) {
            let text = format!("{unit} of the gang {gang} was given out at {} without {out}: {members:?}", self.at);
            self.find(Wrong::new(Kind::GangInPart, text));
        } else if members.first() == Some(&unit.task) {
            self.counts.gangs += 1;
        }
    }

    fn judge_let_go(&mut self, run: &str) {
        let left = self.at_work(|task| task.shape.run.as_deref() == Some(run));
        if !left.is_empty() {
            let text = format!("what run {run} holds was free at {}, and of it are at work: {left:?}", self.at);
            self.find(Wrong::new(Kind::RunHold, text));
        }
    }

    /// Of a run: it holds what it holds. Of a gang: once all have begun, each is for itself.
    pub(super) fn begins_with_others(&mut self, unit: Unit, what: &str) {
        let Some(shape) = self.tasks.get(&unit.task).map(|task| task.shape.clone()) else { return };
        if let Some(run) = shape.run.filter(|_| !shape.is_keeper) {
            let is_keeper = |task: &Task| task.shape.is_keeper && task.shape.run.as_deref() == Some(&run);
            self.counts.under_runs += 1;
            // Who keeps it may not be known, where it had gone before anybody asked.
            let is_known = self.tasks.values().any(is_keeper);
            if is_known && self.at_work(is_keeper).is_empty() {
                let text = format!("{unit} is {what} at {}, and its run {run} does not hold what it asks for", self.at);
                self.find(Wrong::new(Kind::RunHold, text));
            }
        }
        if shape.gang.is_some()
            && what == "running"
            && let Some(task) = self.tasks.get_mut(&unit.task)
        {
            task.member.has_begun = true;
        }
    }

    /// A member failed before all of its gang had begun: the gang gathers anew, and holds nothing meanwhile.
    pub(super) fn fails_too_early(&mut self, unit: Unit) -> bool {
        let Some(gang) = self.tasks.get(&unit.task).and_then(|task| task.shape.gang.clone()) else { return false };
        let have_all = self.have_all_begun(&gang);
        if !have_all {
            self.begins_anew(&gang);
        }
        !have_all
    }

    fn have_all_begun(&self, gang: &str) -> bool {
        self.members(gang).iter().all(|member| self.tasks.get(member).is_some_and(|task| task.member.has_begun))
    }

    fn begins_anew(&mut self, gang: &str) {
        for member in self.members(gang) {
            if let Some(task) = self.tasks.get_mut(&member) {
                task.member.has_begun = false;
            }
        }
    }

    /// A member is lost or was given back. Before all have begun, and where all are to begin again, none has begun.
    pub(super) fn scatters(&mut self, unit: Unit) {
        let Some(gang) = self.tasks.get(&unit.task).and_then(|task| task.shape.gang.clone()) else { return };
        if gang.ends_with("rerun_all") || !self.have_all_begun(&gang) {
            self.begins_anew(&gang);
        }
    }

    /// The members of a gang that have not ended.
    fn members(&self, gang: &str) -> Vec<u64> {
        let is_one = |task: &Task| task.shape.gang.as_deref() == Some(gang);
        self.tasks.iter().filter(|(_, task)| is_one(task)).map(|(id, _)| *id).collect()
    }

    pub(super) fn gather_of(&mut self, unit: Unit) {
        let gang = self.tasks.get(&unit.task).and_then(|task| task.shape.gang.clone());
        self.gather(gang.as_deref());
    }

    /// A gang stands in its lines while all of it waits, and else in none.
    pub(super) fn gather(&mut self, gang: Option<&str>) {
        let Some(gang) = gang else { return };
        let members = self.members(gang);
        let is_in_line = |member: &u64| self.lives.get(&whole(*member)).is_some_and(|life| life.stand == Stand::InLine);
        let is_scattered = !members.iter().all(is_in_line);
        for member in members {
            if let Some(task) = self.tasks.get_mut(&member) {
                task.member.is_scattered = is_scattered;
            }
        }
    }
}

const fn whole(task: u64) -> Unit {
    Unit { task, index: None }
}

/// How much of a quota that is.
const fn counts_as(mode: Mode, amount: u64) -> u64 {
    match mode {
        Mode::Exclusive | Mode::Shared => 1,
        Mode::Counted | Mode::Unit => amount,
    }
}

impl Quota {
    /// Whether one task may ask for this much.
    pub(crate) fn allows(&self, ask: &Ask) -> bool {
        self.max_held.get(&ask.resource).is_none_or(|most| counts_as(ask.mode, ask.amount) <= *most)
    }
}
