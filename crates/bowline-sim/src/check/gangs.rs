//! I12: a gang is claimed in one commit; if a member fails, is lost or is given back before all have started, all are
//! given back. And a chain runs one link at a time.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::effect::Batch;
use bowline_core::gang::{Form, Member, Stage};
use bowline_core::id::TaskId;
use bowline_core::row::Row;
use bowline_core::state::StateKind;

use super::book::{Book, TaskSeen};
use super::{Found, Invariant};

/// What this rule remembers of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Gangs {
    stages: BTreeMap<TaskId, Stage>,
    members: BTreeMap<TaskId, Member>,
}

/// Takes a batch that the book has already.
pub fn commit(gangs: &mut Gangs, book: &Book, (found, at): (&mut Found, u64), batch: &Batch) {
    let mut touched: BTreeSet<TaskId> = BTreeSet::new();
    let mut claimed: BTreeSet<TaskId> = BTreeSet::new();
    let mut begun: BTreeSet<TaskId> = BTreeSet::new();
    for row in &batch.rows {
        match row {
            Row::NewTask(new) => {
                if let Some(member) = new.spec.gang {
                    gangs.members.insert(new.row.id, member);
                    touched.insert(member.first);
                }
            }
            Row::Task(row) => touched.extend(gangs.members.get(&row.id).map(|member| member.first)),
            Row::Attempt(row) if row.version == 1 => drop(claimed.insert(row.attempt.task.task)),
            Row::Gang(row) => {
                let before = gangs.stages.insert(row.id, row.stage);
                touched.insert(row.id);
                if row.stage == Stage::Starting && before != Some(Stage::Starting) {
                    begun.insert(row.id);
                }
            }
            Row::GangGone(id) => drop(gangs.stages.remove(id)),
            Row::TaskGone(id) => drop(gangs.members.remove(id)),
            _ => {}
        }
    }
    for first in touched {
        let open: Vec<(TaskId, Member, StateKind)> = open(gangs, book, first).collect();
        let stage = gangs.stages.get(&first).copied();
        judge(found, at, (first, stage), &open);
        // Claimed and come back within one batch nobody sees: who has begun anew has been claimed again in it.
        if begun.contains(&first) && open.iter().all(|(.., state)| state.is_live()) {
            let missing = open.iter().find(|(id, ..)| !claimed.contains(id));
            found.unless(missing.is_none(), at, Invariant::I12, || {
                format!("the gang of {first} was claimed, and its member {missing:?} not in the same commit")
            });
        }
    }
}

/// Members that have not ended.
fn open(gangs: &Gangs, book: &Book, first: TaskId) -> impl Iterator<Item = (TaskId, Member, StateKind)> {
    let all = gangs.members.range(first..).take_while(move |(_, member)| member.first == first);
    let seen = all.filter_map(|(id, member)| Some((*id, *member, state(book.tasks.get(id)?))));
    seen.filter(|(.., state)| !state.is_ended())
}

fn state(task: &TaskSeen) -> StateKind {
    task.unit.state
}

fn judge(found: &mut Found, at: u64, (first, stage): (TaskId, Option<Stage>), open: &[(TaskId, Member, StateKind)]) {
    let states: Vec<(TaskId, StateKind)> = open.iter().map(|(id, _, state)| (*id, *state)).collect();
    found.unless(stage.is_some() != open.is_empty(), at, Invariant::Sound, || {
        format!("the gang of {first} has a row ({stage:?}), and its members are {states:?}")
    });
    if open.iter().any(|(_, member, _)| member.terms.form == Form::Chain) {
        let live = states.iter().filter(|(_, state)| state.is_live()).count();
        found.unless(live <= 1, at, Invariant::I12, || format!("of the chain of {first} several run: {states:?}"));
        return;
    }
    let is_right = match stage {
        Some(Stage::Gathering) => {
            !states.iter().any(|(_, state)| matches!(state, StateKind::Assigned | StateKind::Running))
        }
        Some(Stage::Starting) => states.iter().all(|(_, state)| state.is_live()),
        Some(Stage::Together) | None => true,
    };
    found.unless(is_right, at, Invariant::I12, || {
        let stage = stage.unwrap_or_default();
        format!("the gang of {first} is at {stage:?}, and its members are {states:?}")
    });
}
