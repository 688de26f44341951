//! Gangs: their members gather under one ticket, are claimed in one commit, start together or not at all (I12), and what
//! becomes of the others when one is lost.
//!
//! What a member's move means to its gang is decided when the input that moved it has been applied, and in the same
//! commit: [`Engine::gang_moved`] notes the gang, [`Engine::serve_gangs`] looks at it as a whole. From a claim until all
//! have started, and while it gathers, no member goes its own way: it stands in no line and in no lane but with the
//! others, at the place of the first of them that has not ended.

mod ask;
mod board;
mod chain;
mod check;
mod place;
mod stand;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::answer::{Refusal, RefusalCode};
use crate::gang::{Board, Form, GangRow, Member, OnLost, Stage, Terms};
use crate::id::{TaskId, TaskRef, Ticket};
use crate::machine::{Event, Intent, State};
use crate::mutant::{self, Mutant};
use crate::probe::{self, Path};
use crate::state::StateKind;

pub(super) use check::member;

use super::Engine;
use super::lane::Line;
use super::lines::{Place, Want};
use super::out::Cause;

/// A gang of which a member has not ended.
#[derive(Debug)]
pub(super) struct Gang {
    row: GangRow,
    size: u32,
    terms: Terms,
    /// Its one place in the lines of all that its members ask for, and what that is.
    place: Option<(Place, Arc<[Want]>)>,
    /// Its place among those that wait for workers.
    line: Option<Line>,
    /// Members that were lost or given back since it was looked at.
    back: BTreeSet<TaskId>,
    /// Members that ended otherwise than well since then.
    bad: BTreeMap<TaskId, StateKind>,
    /// Members that wait, and do not stand anywhere yet.
    limbo: BTreeSet<TaskId>,
    link: chain::Link,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Gangs {
    all: BTreeMap<TaskId, Gang>,
    /// To be looked at.
    due: BTreeSet<TaskId>,
    /// Those whose members are all ready.
    ready: BTreeSet<Line>,
    /// Whether somebody joined those, or what kept one back is gone.
    is_stirred: bool,
}

impl Gangs {
    /// How many wait for room for all of them at once.
    pub(super) fn waiting(&self) -> u64 {
        self.ready.len() as u64
    }

    /// A member of each of the first of those.
    pub(super) fn first_waiting(&self, most: usize) -> Vec<TaskRef> {
        self.ready.iter().take(most).map(|line| line.unit).collect()
    }

    /// Whether none is to be looked at.
    pub(super) fn is_still(&self) -> bool {
        self.due.is_empty()
    }

    /// What kept some of them back may be gone.
    pub(super) fn stir(&mut self) {
        self.is_stirred = true;
    }

    /// Those that wait for workers.
    pub(super) fn ready(&self) -> &BTreeSet<Line> {
        &self.ready
    }

    /// Whether any waits for workers.
    pub(super) fn is_anybody_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Gangs that may be claimed now: all that are ready, where anything has changed.
    pub(super) fn take_ready(&mut self, has_room_changed: bool) -> BTreeSet<Line> {
        if std::mem::take(&mut self.is_stirred) || has_room_changed { self.ready.clone() } else { BTreeSet::new() }
    }

    fn unready(&mut self, first: TaskId) {
        if let Some(line) = self.all.get_mut(&first).and_then(|gang| gang.line.take()) {
            self.ready.remove(&line);
        }
    }
}

impl Gang {
    fn new(row: GangRow, terms: Terms, size: u32) -> Self {
        Self {
            row,
            size,
            terms,
            place: None,
            line: None,
            back: BTreeSet::new(),
            bad: BTreeMap::new(),
            limbo: BTreeSet::new(),
            link: chain::Link::default(),
        }
    }
}

impl Engine {
    /// A gang begins: before its first member does.
    pub(super) fn begin_gang(&mut self, first: TaskId, terms: Terms, size: u32) {
        let row = GangRow { id: first, version: 0, stage: Stage::Gathering, board: Board::default() };
        self.gangs.all.insert(first, Gang::new(row, terms, size));
        self.gangs.due.insert(first);
        self.touch_gang(first);
    }

    /// At a take-over, before its members.
    pub(super) fn load_gang(&mut self, row: GangRow) {
        self.gangs.due.insert(row.id);
        self.gangs.all.insert(row.id, Gang::new(row, Terms::default(), 0));
    }

    /// At a take-over: what its members know of it.
    pub(super) fn load_member(&mut self, member: &Member) {
        if let Some(gang) = self.gangs.all.get_mut(&member.first) {
            gang.size = member.size;
            gang.terms = member.terms;
        }
    }

    /// The gang's row is to be written.
    fn touch_gang(&mut self, first: TaskId) {
        if let Some(gang) = self.gangs.all.get_mut(&first)
            && self.out.gangs.insert(first)
        {
            gang.row.version += 1;
        }
    }

    /// The last member has ended.
    fn end_gang(&mut self, first: TaskId) {
        self.unplace(first);
        self.gangs.unready(first);
        let Some(gang) = self.gangs.all.remove(&first) else { return };
        let is_unwritten = self.out.gangs.remove(&first) && gang.row.version == 1;
        if !is_unwritten {
            self.out.gangs_gone.insert(first);
        }
    }

    /// The rows of gangs that changed.
    pub(super) fn gang_rows(&self, changed: &BTreeSet<TaskId>) -> Vec<GangRow> {
        changed.iter().filter_map(|first| Some(self.gangs.all.get(first)?.row.clone())).collect()
    }

    /// The gang of a task, where it has one that has not ended.
    pub(super) fn gang_of(&self, id: TaskId) -> Option<(TaskId, &Gang)> {
        let first = self.tasks.get(&id)?.gang()?.first;
        Some((first, self.gangs.all.get(&first)?))
    }

    /// Whether the task goes with its gang alone: it gathers, or has not started as a whole.
    pub(super) fn is_bound(&self, id: TaskId) -> bool {
        self.gang_of(id).is_some_and(|(_, gang)| gang.terms.form != Form::Chain && gang.row.stage != Stage::Together)
    }

    /// Whether the loss of this member ends its round.
    pub(super) fn loss_ends(&self, id: TaskId) -> bool {
        let is_stop = |gang: &Gang| gang.terms.on_lost == OnLost::StopAll && gang.row.stage == Stage::Together;
        self.gang_of(id).is_some_and(|(_, gang)| gang.terms.form != Form::Chain && is_stop(gang))
    }

    /// Members that have not ended, in order.
    pub(super) fn living(&self, first: TaskId) -> Vec<TaskId> {
        let size = self.gangs.all.get(&first).map_or(0, |gang| gang.size);
        let is_member = |id: &TaskId| {
            let task = self.tasks.get(id).filter(|task| !task.is_ended());
            task.and_then(|task| task.gang()).is_some_and(|member| member.first == first)
        };
        (0..u64::from(size)).map(|index| TaskId(first.0 + index)).filter(is_member).collect()
    }

    fn kind_of(&self, id: TaskId) -> StateKind {
        self.tasks.get(&id).map_or(StateKind::Cancelled, |task| task.hot.state.kind())
    }

    /// For people: `worker-1 (task 5)`.
    fn call_member(&self, id: TaskId) -> String {
        let name = self.tasks.get(&id).and_then(|task| task.name());
        name.map_or_else(|| format!("task {id}"), |name| format!("`{name}` (task {id})"))
    }

    /// A unit moved: its gang is looked at before anything is given out.
    pub(super) fn gang_moved(&mut self, unit: TaskRef, was: StateKind, kind: StateKind) {
        let Some((first, _)) = self.gang_of(unit.task) else { return };
        self.gangs.due.insert(first);
        let worker = self.tasks.get(&unit.task).and_then(|task| task.hot.worker);
        let Some(gang) = self.gangs.all.get_mut(&first) else { return };
        match kind {
            StateKind::Waiting if was.is_live() => {
                gang.back.insert(unit.task);
            }
            StateKind::Failed | StateKind::Cancelled | StateKind::Skipped => {
                gang.bad.insert(unit.task, kind);
            }
            StateKind::Succeeded => gang.link.ended(unit.task, worker),
            StateKind::Waiting
            | StateKind::Scheduled
            | StateKind::Blocked
            | StateKind::Ready
            | StateKind::Assigned
            | StateKind::Running
            | StateKind::Stopping
            | StateKind::InDoubt => {}
        }
    }

    /// A member is `waiting`: where it stands, its gang decides. Whether it is a member of one that decides.
    pub(super) fn waits_in_gang(&mut self, unit: TaskRef, cause: &Cause) -> bool {
        let Some((first, gang)) = self.gang_of(unit.task) else { return false };
        if gang.terms.form == Form::Chain {
            return false;
        }
        self.gangs.due.insert(first);
        if let Some(gang) = self.gangs.all.get_mut(&first) {
            gang.limbo.insert(unit.task);
        }
        let attempt = self.tasks.get(&unit.task).map(|task| task.hot.attempt).unwrap_or_default();
        self.tell(unit, attempt, StateKind::Waiting.name(), cause);
        self.retime(unit);
        true
    }

    /// Every gang that moved is looked at.
    pub(super) fn serve_gangs(&mut self) {
        while let Some(first) = self.gangs.due.pop_first() {
            self.prune_board(first);
            let living = self.living(first);
            let Some(gang) = self.gangs.all.get(&first) else { continue };
            let (form, stage) = (gang.terms.form, gang.row.stage);
            if living.is_empty() {
                self.end_gang(first);
                continue;
            }
            match (form, stage) {
                (Form::Chain, _) => self.serve_chain(first),
                _ if self.stop_all(first, &living) => {}
                (_, Stage::Gathering) => self.gather(first, &living),
                (_, Stage::Starting) => self.watch_start(first, &living),
                (_, Stage::Together) => self.stay_together(first, &living),
            }
        }
    }

    fn set_stage(&mut self, first: TaskId, stage: Stage) {
        if let Some(gang) = self.gangs.all.get_mut(&first) {
            gang.row.stage = stage;
            gang.back.clear();
        }
        self.touch_gang(first);
    }

    /// Where the first bad end stops all: whether it did.
    fn stop_all(&mut self, first: TaskId, living: &[TaskId]) -> bool {
        let Some(gang) = self.gangs.all.get_mut(&first).filter(|gang| gang.terms.on_lost == OnLost::StopAll) else {
            return false;
        };
        let Some((bad, kind)) = gang.bad.pop_first() else { return false };
        gang.bad.clear();
        probe::reached(Path::GangStoppedWithAMember);
        let reason = format!("{} of its gang ended as {kind}, and with `stop_all` all end then", self.call_member(bad));
        let cause = Cause::server(reason);
        for id in living {
            self.cancel_unit(TaskRef::whole(*id), &cause).ok();
        }
        true
    }

    /// They wait for the last of them, for what they ask for, and for workers; all together.
    fn gather(&mut self, first: TaskId, living: &[TaskId]) {
        if let Some(gang) = self.gangs.all.get_mut(&first) {
            gang.bad.clear();
            gang.back.clear();
        }
        let kinds: Vec<StateKind> = living.iter().map(|id| self.kind_of(*id)).collect();
        if kinds.iter().all(|kind| *kind == StateKind::Ready) {
            return self.line_up_gang(first, living);
        }
        // Who comes from a failure still has what it held: it is granted anew with what the others ask for.
        for (id, _) in living.iter().zip(&kinds).filter(|(_, kind)| **kind == StateKind::Waiting) {
            self.release_of_member(*id);
        }
        self.gangs.unready(first);
        if kinds.iter().all(|kind| *kind == StateKind::Waiting) {
            return self.stand_together(first, living);
        }
        self.unplace(first);
        let cause = Cause::server("a member of its gang waits for something else");
        let ready = living.iter().zip(&kinds).filter(|(_, kind)| **kind == StateKind::Ready);
        for (id, _) in ready {
            self.shift(TaskRef::whole(*id), Event::StoodAside, &cause).expect("what is ready can stand aside");
        }
    }

    /// They were claimed: all start, or all are given back.
    fn watch_start(&mut self, first: TaskId, living: &[TaskId]) {
        let failed = self.gangs.all.get_mut(&first).map(|gang| std::mem::take(&mut gang.bad)).unwrap_or_default();
        let failed = failed.into_iter().find(|(_, kind)| *kind == StateKind::Failed).map(|(id, _)| id);
        let is_back = |id: &&TaskId| !self.kind_of(**id).is_live();
        let back = failed.or_else(|| living.iter().find(is_back).copied());
        if let Some(back) = back.filter(|_| !mutant::is(Mutant::GangStartsInPart)) {
            probe::reached(Path::GangGivenBackBeforeItStarted);
            let who = self.call_member(back);
            let reason =
                format!("{who} of its gang did not start: it is given back, and the gang is claimed anew together");
            self.give_all_back(first, living, &Cause::server(reason));
        } else if living.iter().all(|id| self.has_begun(*id)) {
            self.set_stage(first, Stage::Together);
        }
    }

    fn has_begun(&self, id: TaskId) -> bool {
        let Some(hot) = self.tasks.get(&id).map(|task| &task.hot) else { return true };
        match &hot.state {
            // Who is being ended keeps nobody from starting.
            State::Running { .. } | State::Stopping { intent: Intent::End(_), .. } => true,
            State::Stopping { intent: Intent::GiveBack, .. } => hot.started_at.get().is_some(),
            State::Scheduled { .. }
            | State::Blocked
            | State::Waiting
            | State::Ready
            | State::Assigned { .. }
            | State::InDoubt
            | State::Ended { .. } => false,
        }
    }

    /// Whoever has an attempt is stopped and given back; the gang gathers anew, at its ticket.
    fn give_all_back(&mut self, first: TaskId, living: &[TaskId], cause: &Cause) {
        self.set_stage(first, Stage::Gathering);
        self.gangs.due.insert(first);
        for id in living {
            // Who is being stopped already is on his way.
            self.shift(TaskRef::whole(*id), Event::Drained, cause).ok();
        }
    }

    /// All have started once. What the loss of one means to the others was agreed.
    fn stay_together(&mut self, first: TaskId, living: &[TaskId]) {
        let Some(gang) = self.gangs.all.get_mut(&first) else { return };
        gang.bad.clear();
        let back = std::mem::take(&mut gang.back);
        let lost = back.into_iter().find(|id| living.contains(id));
        let on_lost = gang.terms.on_lost;
        match (lost, on_lost) {
            (Some(lost), OnLost::RerunAll) => {
                probe::reached(Path::GangRerunAfterALoss);
                let reason = format!("{} of its gang was lost: all are claimed anew together", self.call_member(lost));
                self.give_all_back(first, living, &Cause::server(reason));
            }
            // A loss has ended it, and the others with it; this one was given back.
            (Some(lost), OnLost::StopAll) => {
                let who = self.call_member(lost);
                let reason = format!("{who} of its gang was given back, and with `stop_all` all end then");
                let cause = Cause::server(reason);
                for id in living {
                    self.cancel_unit(TaskRef::whole(*id), &cause).ok();
                }
            }
            (Some(_), OnLost::Continue) | (None, _) => self.go_alone(first),
        }
    }

    /// Members that came back go to their places, each for itself.
    fn go_alone(&mut self, first: TaskId) {
        let Some(gang) = self.gangs.all.get_mut(&first) else { return };
        let waiting = std::mem::take(&mut gang.limbo);
        for id in waiting {
            if self.kind_of(id) == StateKind::Waiting {
                probe::reached(Path::MemberGoesAlone);
                self.take_places(TaskRef::whole(id), &Cause::server("it goes to its place, without the others"));
            }
        }
    }

    /// A new round of all members: together, once all have ended.
    pub(super) fn retry_gang(&mut self, id: TaskId, cause: &Cause) -> Option<Result<StateKind, Refusal>> {
        let member = *self.tasks.get(&id)?.gang()?;
        if self.gangs.all.contains_key(&member.first) {
            let message = format!(
                "Task {id} is a member of a gang of which not all have ended; retry it then: all begin anew together."
            );
            return Some(Err(Refusal::new(RefusalCode::Conflict, message)));
        }
        let is_here = |id: &TaskId| {
            let task = self.tasks.get(id).filter(|task| task.is_ended());
            task.is_some_and(|task| self.check_not_swept(task.hot.ended_at.get(), "It").is_ok())
        };
        let members: Vec<TaskId> = member.all().filter(is_here).collect();
        if member.terms.form == Form::Chain
            && let Some((gone, next)) = gap(&members)
        {
            let message = format!(
                "Task {gone}, which came before task {next} in its chain, was deleted, and a chain is run anew as a whole; \
                 submit what is left of it as a new one."
            );
            return Some(Err(Refusal::new(RefusalCode::Conflict, message)));
        }
        self.begin_gang(member.first, member.terms, member.size);
        for member in &members {
            if let Some(task) = self.tasks.get_mut(member) {
                task.ticket = Ticket(0);
            }
        }
        for member in members {
            self.new_round(member, cause);
        }
        Some(Ok(self.kind_of(id)))
    }
}

/// The last one that is missing between two of these, and the one after it.
fn gap(members: &[TaskId]) -> Option<(TaskId, TaskId)> {
    let gap = members.windows(2).find(|pair| pair[1].0 - pair[0].0 > 1)?;
    Some((TaskId(gap[1].0 - 1), gap[1]))
}
