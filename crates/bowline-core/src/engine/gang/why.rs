//! Why a gang waits.

use crate::explain::WaitReason;
use crate::gang::Form;
use crate::id::{TaskId, TaskRef};
use crate::row::PauseMark;
use crate::state::StateKind;

use super::super::Engine;

/// Members listed at most.
const LISTED_MAX: usize = 10;

impl Engine {
    /// Other members that are paused, and so keep the gang of a task that goes with that alone.
    pub(in crate::engine) fn paused_members(&self, id: TaskId) -> Vec<(TaskId, &PauseMark)> {
        let Some((first, _)) = self.gang_of(id).filter(|_| self.is_bound(id)) else { return Vec::new() };
        let others = self.living(first).into_iter().filter(|other| *other != id);
        let paused = others.filter_map(|other| Some((other, self.tasks.get(&other)?.paused()?)));
        paused.take(LISTED_MAX).collect()
    }

    /// The quota of its namespace, where that has no place for all members at once.
    pub(in crate::engine) fn gang_quota(&self, id: TaskId) -> Option<WaitReason> {
        let (first, _) = self.gang_of(id).filter(|_| self.is_bound(id))?;
        self.quota_short_of(&self.tasks.get(&id)?.policy.namespace, self.living(first).len())
    }

    /// What keeps the gang of a task that goes with that alone.
    pub(in crate::engine) fn gang_reason(&self, id: TaskId) -> Option<WaitReason> {
        let (first, gang) = self.gang_of(id).filter(|_| self.is_bound(id))?;
        let living = self.living(first);
        let is_absent = |kind: StateKind| !matches!(kind, StateKind::Waiting | StateKind::Ready);
        let states = living.iter().map(|id| (TaskRef::whole(*id), self.kind_of(*id)));
        let absent: Vec<_> = states.filter(|(_, kind)| is_absent(*kind)).take(LISTED_MAX).collect();
        let placement = self.place_gang(first, &living);
        let mut lacking: Vec<TaskRef> = placement.lacking.into_iter().map(TaskRef::whole).collect();
        lacking.sort_unstable();
        lacking.truncate(LISTED_MAX);
        let kept = gang.line.map(|line| self.kept_for(line.unit)).unwrap_or_default();
        let kept =
            kept.into_iter().filter_map(|(id, _)| Some(self.workers.get(&id)?.row.name.clone())).take(LISTED_MAX);
        Some(WaitReason::Gang {
            first: TaskRef::whole(first),
            members: u32::try_from(living.len()).unwrap_or(u32::MAX),
            absent,
            placed: u32::try_from(placement.given.len()).unwrap_or(u32::MAX),
            lacking,
            distinct: gang.terms.form == Form::Distinct,
            kept: kept.collect(),
        })
    }
}
