//! Chains: tasks that follow each other on one worker. The next is claimed for that worker in the commit of the end of
//! the one before, with what that one held; so nobody gets in between.
//!
//! A worker that runs a link holds nothing beforehand: what it had would begin in the slot that is kept.

use crate::gang::Form;
use crate::id::{TaskId, TaskRef, Ticket, WorkerId};
use crate::machine::{Event, State};
use crate::probe::{self, Path};
use crate::resource::Grant;
use crate::state::StateKind;

use super::super::Engine;
use super::super::out::Cause;
use super::super::table::{At, Hot};
use super::super::worker::Beyond;

/// Between the end of a link and the begin of the next: within one commit.
#[derive(Debug, Default)]
pub(super) struct Link {
    ended: Option<(TaskId, Option<WorkerId>)>,
    passing: Option<(TaskId, Box<[Grant]>)>,
}

impl Link {
    pub(super) fn ended(&mut self, link: TaskId, worker: Option<WorkerId>) {
        self.ended = Some((link, worker));
    }
}

impl Engine {
    fn next_link(&self, id: TaskId) -> Option<TaskId> {
        let (first, gang) = self.gang_of(id).filter(|(_, gang)| gang.terms.form == Form::Chain)?;
        let next = TaskId(id.0 + 1);
        let is_link = next.0 < first.0 + u64::from(gang.size);
        self.tasks.get(&next).filter(|task| is_link && !task.is_ended()).map(|_| next)
    }

    /// What a link that ended well held is the next one's. Whether it is kept for that.
    pub(in crate::engine) fn passes_on(&mut self, unit: TaskRef, kind: StateKind) -> bool {
        if kind != StateKind::Succeeded || self.next_link(unit.task).is_none() {
            return false;
        }
        let held = self.hot_mut(unit).and_then(Hot::take_held);
        let first = self.gang_of(unit.task).map(|(first, _)| first);
        if let Some(gang) = first.and_then(|first| self.gangs.all.get_mut(&first)) {
            gang.link.passing = held.map(|held| (unit.task, held));
        }
        true
    }

    /// A link takes the ticket of the chain.
    pub(in crate::engine) fn chain_ticket(&self, id: TaskId) -> Option<(Ticket, At)> {
        let member = self.tasks.get(&id)?.gang().filter(|member| member.terms.form == Form::Chain)?;
        let of = |id: TaskId| {
            let task = self.tasks.get(&id).filter(|task| task.ticket.0 > 0)?;
            Some((task.ticket, task.ticket_at))
        };
        // The one before has ended in this very commit, and is in memory.
        member.all().find_map(of)
    }

    /// The next link goes on where the one before has ended.
    pub(super) fn serve_chain(&mut self, first: TaskId) {
        let Some(gang) = self.gangs.all.get_mut(&first) else { return };
        gang.bad.clear();
        gang.back.clear();
        let (ended, passing) = (gang.link.ended.take(), gang.link.passing.take());
        let next = ended.and_then(|(link, worker)| Some((self.next_link(link)?, worker)));
        if let Some((from, held)) = passing {
            for grant in &held {
                self.lines.release(TaskRef::whole(from), grant);
            }
            if let Some((next, _)) = next {
                self.take_over_held(TaskRef::whole(next), &held);
            }
        }
        if let Some((next, Some(worker))) = next {
            self.follow_on(next, worker);
        }
    }

    /// It holds from here on what the link before it held: they ask for the same.
    fn take_over_held(&mut self, unit: TaskRef, held: &[Grant]) {
        if self.kind_of(unit.task) != StateKind::Waiting || self.aside_why(unit).is_some() {
            return;
        }
        self.unstand(unit);
        for grant in held {
            self.lines.hold(unit, grant);
        }
        if let Some(hot) = self.hot_mut(unit) {
            hot.set_held(held.into());
        }
        let cause = Cause::server("it goes on with what the link before it held");
        self.shift(unit, Event::Granted, &cause).expect("what waits can be granted");
    }

    fn follow_on(&mut self, next: TaskId, worker: WorkerId) {
        let Some(task) = self.tasks.get(&next) else { return };
        let is_open = matches!(task.hot.state, State::Ready)
            && !self.is_stood_down(next)
            && self.pauses.all().is_none()
            && self.pauses.of(&task.policy.namespace).is_none()
            && self.has_places(&task.policy.namespace, 1);
        let takes = |key| {
            let worker = self.workers.get(&worker).filter(|worker| worker.free.is_some())?;
            self.takes(worker, key, &self.line_of(TaskRef::whole(next))?)
        };
        if !is_open || takes(&task.policy.lane_key) != Some(Beyond::No) {
            return;
        }
        probe::reached(Path::ChainGoesOn);
        self.claim_for(TaskRef::whole(next), worker);
    }
}
