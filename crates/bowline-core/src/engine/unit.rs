//! Moves units: asks the machine, then does what follows from its answer. The only place where a
//! unit's state changes.

use crate::effect::Effect;
use crate::id::{AttemptRef, Fence, RunId, TaskId, TaskRef, Ticket, WorkerId};
use crate::machine::{self, Begun, Blocked, Context, Event, Holder, Intent, Late, LostEnds, Refused, State, Step};
use crate::message::{StopWhy, ToWorker};
use crate::mutant::{self, Mutant};
use crate::probe::{self, Path};
use crate::row::{PauseMark, Subject};
use crate::run::NodeState;
use crate::state::{AttemptEnd, Outcome, StateKind};
use crate::time::Timestamp;

use super::Engine;
use super::array::Stand;
use super::lane::Line;
use super::late::is_plainly_lost;
use super::out::{Cause, Changed};
use super::run::NodeHot;
use super::table::{At, Hot};

impl Engine {
    /// Moves a single task, an element, or an array as a whole.
    pub(super) fn shift(&mut self, unit: TaskRef, event: Event, cause: &Cause) -> Result<StateKind, Refused> {
        let Some(cx) = self.context(unit) else { return Err(Refused::NoAttempt) };
        let Some(hot) = self.tasks.get(&unit.task).and_then(|task| task.unit(unit)) else {
            return Err(Refused::NoAttempt);
        };
        let step = machine::step(&hot.state, event, &cx)?;
        self.enter(unit, step, cause);
        let state = self.tasks.get(&unit.task).map(|task| match (task.unit(unit), unit.index, task.array()) {
            (Some(hot), _, _) => hot.state.kind(),
            (None, Some(index), Some(array)) => {
                array.element_state(index, task.hot.state.kind()).unwrap_or(StateKind::Cancelled)
            }
            (None, _, _) => task.hot.state.kind(),
        });
        state.ok_or(Refused::Ended)
    }

    fn context(&self, unit: TaskRef) -> Option<Context> {
        let task = self.tasks.get(&unit.task)?;
        let hot = task.unit(unit)?;
        let policy = &task.policy;
        let failures = hot.failures + 1;
        let attempt = AttemptRef { task: unit, fence: hot.fence() };
        let late = self.lost.get(&attempt).is_some_and(is_plainly_lost);
        Some(Context {
            blocked: if task.open().is_some() { Blocked::Yes } else { Blocked::No },
            late: if late { Late::Wanted } else { Late::No },
            extra_left: policy.retry.extra.saturating_sub(hot.failures)
                + u32::from(mutant::is(Mutant::OneAttemptTooMany)),
            losses: hot.losses,
            lost_on: self.lost_on(unit, hot.worker),
            lost_ends: if self.loss_ends(unit.task) { LostEnds::Yes } else { LostEnds::No },
            begun: if hot.started_at.get().is_some() { Begun::Yes } else { Begun::No },
            on_loss: policy.on_worker_loss,
            retry_at: self.now.plus(crate::rng::backoff(self.config.seed, &attempt, &policy.retry, failures)),
            live_elements: match (unit.index, task.array()) {
                (None, Some(array)) => array.live,
                (None, None) | (Some(_), _) => 0,
            },
        })
    }

    /// Different workers that lost an attempt of this round, this one included.
    fn lost_on(&self, unit: TaskRef, newest: Option<WorkerId>) -> u32 {
        let mut others = self.lost_of(unit).filter_map(|row| row.worker).peekable();
        // Nearly always: nothing was lost.
        if others.peek().is_none() {
            return u32::from(newest.is_some());
        }
        let mut workers: Vec<WorkerId> = others.chain(newest).collect();
        workers.sort_unstable();
        workers.dedup();
        u32::try_from(workers.len()).unwrap_or(u32::MAX)
    }

    /// Out of the old state, into the new one, and on through what is passed within one commit.
    fn enter(&mut self, unit: TaskRef, step: Step, cause: &Cause) {
        let Step { next, attempt, failure, lost } = step;
        let now = self.now;
        let Some((was, fence)) = self.leave(unit) else { return };
        if let Some(end) = attempt {
            let ended = if let State::Ended { outcome } = &next { Some((**outcome).clone()) } else { None };
            let outcome = failure.clone().or(ended);
            self.end_attempt(AttemptRef { task: unit, fence }, end, outcome);
        }
        let is_first = matches!(was, StateKind::Scheduled | StateKind::Blocked);
        let kind = next.kind();
        if self.gives_up(unit, was, kind) && !self.passes_on(unit, kind) {
            self.release_held(unit);
        }
        let Some(hot) = self.hot_mut(unit) else { return };
        if lost.is_some() {
            hot.losses += 1;
        }
        // Of a loss while a limit was being enforced the limit is what counts.
        let last = failure.or(lost.map(|message| Outcome::Lost { message }));
        if let Some(last) = last {
            hot.failures += u32::from(!matches!(last, Outcome::Lost { .. }));
            hot.last = Some(Box::new(last));
        }
        hot.state = next;
        hot.since = now;
        if kind == StateKind::Waiting && is_first && hot.failures == 0 && hot.losses == 0 {
            hot.waiting_at = now.into();
        }
        self.settle(unit, kind, cause);
        self.gang_moved(unit, was, kind);
    }

    /// Whether what it holds is free again. Between a failure and its retry, and in doubt, it keeps what it holds.
    fn gives_up(&self, unit: TaskRef, was: StateKind, kind: StateKind) -> bool {
        let is_back = was.is_live() || was == StateKind::Ready;
        match kind {
            StateKind::Waiting => is_back,
            StateKind::Scheduled => self.tasks.get(&unit.task).is_some_and(|task| task.policy.release_while_retrying),
            StateKind::Stopping => mutant::is(Mutant::StoppingFreesTheResources),
            StateKind::Blocked | StateKind::Ready | StateKind::Assigned | StateKind::Running | StateKind::InDoubt => {
                false
            }
            StateKind::Succeeded | StateKind::Failed | StateKind::Cancelled | StateKind::Skipped => {
                !mutant::is(Mutant::EndKeepsTheResources)
            }
        }
    }

    /// What the old state held in the engine's indexes is let go.
    fn leave(&mut self, unit: TaskRef) -> Option<(StateKind, Fence)> {
        let hot = self.tasks.get(&unit.task)?.unit(unit)?;
        let (was, fence) = (hot.state.kind(), hot.fence());
        self.count(unit, was, Count::Down);
        if was == StateKind::Ready {
            self.unline(unit);
        }
        if was == StateKind::Waiting && !self.unstand_gang(unit) && self.asks(unit.task) {
            self.unstand(unit);
        }
        if was.is_live() {
            self.count_live(unit, Count::Down);
        }
        Some((was, fence))
    }

    /// What the new state needs is put in place.
    fn settle(&mut self, unit: TaskRef, kind: StateKind, cause: &Cause) {
        let now = self.now;
        let Some(hot) = self.hot_mut(unit) else { return };
        let attempt = hot.attempt;
        match kind {
            StateKind::Ready => hot.ready_at = now.into(),
            StateKind::Running => hot.started_at = now.into(),
            StateKind::Assigned => hot.waiting_at = At::default(),
            StateKind::Succeeded | StateKind::Failed | StateKind::Cancelled | StateKind::Skipped => {
                hot.ended_at = now.into();
            }
            StateKind::Scheduled
            | StateKind::Blocked
            | StateKind::Waiting
            | StateKind::Stopping
            | StateKind::InDoubt => {}
        }
        self.count(unit, kind, Count::Up);
        if kind.is_live() {
            self.count_live(unit, Count::Up);
        }
        self.touch_unit(unit);
        if self.asks(unit.task) {
            self.follow_gates(unit, kind);
        }
        if kind == StateKind::Waiting {
            self.enter_waiting(unit, cause);
            return;
        }
        self.tell(unit, attempt, kind.name(), cause);
        self.retime(unit);
        match kind {
            StateKind::Ready => self.line_up(unit),
            StateKind::Running => {
                self.note_started(unit);
                self.keeper_began(unit.task);
            }
            StateKind::Stopping => {
                self.tell_worker_to_stop(unit);
                self.free_too_early(unit);
            }
            StateKind::Succeeded | StateKind::Failed | StateKind::Cancelled | StateKind::Skipped => {
                self.ended(unit, kind, cause);
            }
            StateKind::Scheduled
            | StateKind::Blocked
            | StateKind::Waiting
            | StateKind::Assigned
            | StateKind::InDoubt => {}
        }
    }

    /// The ticket is taken here, and its places in the lines. With nothing to ask for, or all of it still held, the
    /// unit is ready in the same commit. An array as a whole asks for nothing: its elements do.
    fn enter_waiting(&mut self, unit: TaskRef, cause: &Cause) {
        if self.waits_in_gang(unit, cause) {
            return;
        }
        let is_first = self.tasks.get(&unit.task).is_some_and(|task| task.ticket.0 == 0);
        if is_first || mutant::is(Mutant::TicketLostOnReturn) {
            let now = At::from(self.now);
            let of_chain = self.chain_ticket(unit.task);
            let (ticket, ticket_at) = of_chain.unwrap_or_else(|| (self.new_ticket(), now));
            if let Some(task) = self.tasks.get_mut(&unit.task) {
                task.ticket = ticket;
                task.ticket_at = ticket_at;
            }
            self.touch_task(unit.task);
        }
        self.take_places(unit, cause);
    }

    /// The next number in the one order.
    pub(super) fn new_ticket(&mut self) -> Ticket {
        let ticket = self.counters.ticket;
        self.counters.ticket = ticket.next();
        self.out.counters = Changed::Yes;
        ticket
    }

    /// It stands in line for all that it asks for. What asks for nothing, or holds it all, is ready.
    pub(super) fn take_places(&mut self, unit: TaskRef, cause: &Cause) {
        let asks = self
            .tasks
            .get(&unit.task)
            .is_some_and(|task| task.policy.asks() && (unit.index.is_some() || task.array().is_none()));
        if !asks || self.still_holds(unit) {
            self.shift(unit, Event::Granted, cause).expect("what waits can be granted");
            return;
        }
        self.stand(unit, cause);
        self.retime(unit);
    }

    /// A unit begins its life, or its new round, in this state.
    pub(super) fn begin(&mut self, unit: TaskRef, cause: &Cause) {
        let now = self.now;
        let Some(hot) = self.hot_mut(unit) else { return };
        let kind = hot.state.kind();
        if kind == StateKind::Waiting {
            hot.waiting_at = now.into();
        }
        self.settle(unit, kind, cause);
    }

    /// The attempt's row is closed, and its room is free.
    fn end_attempt(&mut self, attempt: AttemptRef, end: AttemptEnd, outcome: Option<Outcome>) {
        let now = self.now;
        let Some(row) = self.attempts.get_mut(&attempt) else { return };
        row.ended_at = Some(now);
        row.end = Some(end);
        row.outcome = outcome;
        let (worker, from) = (row.worker, row.started_at.unwrap_or(row.assigned_at));
        self.touch_attempt(attempt);
        let row = self.attempts.remove(&attempt);
        if row.as_ref().is_some_and(|row| end == AttemptEnd::Lost && row.outcome.is_some()) {
            probe::reached(Path::LossWhileStopping);
        }
        if let Some(row) = row.filter(|_| end == AttemptEnd::Lost) {
            self.lost.insert(attempt, row);
        }
        if let Some(worker) = worker {
            self.unload_worker(worker, &attempt);
            self.note_luck(worker, attempt, end, from);
        }
    }

    pub(super) fn note_started(&mut self, unit: TaskRef) {
        if mutant::is(Mutant::DependencyMetByAStart) {
            self.dependency_ended(unit, StateKind::Succeeded);
        }
        let now = self.now;
        let Some(hot) = self.tasks.get(&unit.task).and_then(|task| task.unit(unit)) else { return };
        let attempt = AttemptRef { task: unit, fence: hot.fence() };
        if let Some(row) = self.attempts.get_mut(&attempt)
            && row.started_at.is_none()
        {
            row.started_at = Some(now);
            self.touch_attempt(attempt);
        }
        if self.tasks.get(&unit.task).is_some_and(|task| unit.index.is_none() && task.array().is_some()) {
            self.line_up_array(unit.task);
        }
    }

    fn tell_worker_to_stop(&mut self, unit: TaskRef) {
        let Some(hot) = self.tasks.get(&unit.task).and_then(|task| task.unit(unit)) else { return };
        let State::Stopping { on: Holder::Worker(worker), intent } = &hot.state else { return };
        let why = stop_why(intent);
        let attempt = AttemptRef { task: unit, fence: hot.fence() };
        self.send(*worker, ToWorker::Cancel { attempt, why });
    }

    /// What a mutant does: the slot is free before the job's processes are gone.
    fn free_too_early(&mut self, unit: TaskRef) {
        if !mutant::is(Mutant::StoppingFreesTheSlot) {
            return;
        }
        let hot = self.tasks.get(&unit.task).and_then(|task| task.unit(unit));
        if let Some((fence, worker)) = hot.and_then(|hot| Some((hot.fence(), hot.worker?))) {
            self.unload_worker(worker, &AttemptRef { task: unit, fence });
        }
    }

    /// To a worker's session, where it has one.
    pub(super) fn send(&mut self, worker: WorkerId, message: ToWorker) {
        let session = self.workers.get(&worker).and_then(|worker| worker.session.as_ref()).map(|session| session.id);
        if let Some(session) = session {
            self.out.effects.push(Effect::Send { session, message });
        }
    }

    /// A unit's round is over: whoever waits for it goes on.
    fn ended(&mut self, unit: TaskRef, kind: StateKind, cause: &Cause) {
        self.forget_lost(unit);
        match unit.index {
            None => {
                self.drop_unstarted(unit.task, kind);
                self.line_up_array(unit.task);
                self.task_ended(unit.task, kind);
            }
            Some(index) => self.element_ended(unit.task, index, kind, cause),
        }
    }

    fn task_ended(&mut self, id: TaskId, kind: StateKind) {
        self.unfinished_arrays.remove(&id);
        self.end_asking(id);
        if let Some(task) = self.tasks.get_mut(&id)
            && let Some(open) = task.take_open()
        {
            self.forget_open(id, &open);
        }
        let filling = self.filling();
        self.evictions.push_task(filling, id);
        self.dependency_ended(TaskRef::whole(id), kind);
        self.node_task_ended(id, kind);
    }

    pub(super) fn hot_mut(&mut self, unit: TaskRef) -> Option<&mut Hot> {
        self.tasks.get_mut(&unit.task)?.unit_mut(unit)
    }

    /// The unit's place in its lane.
    pub(super) fn line_of(&self, unit: TaskRef) -> Option<Line> {
        let task = self.tasks.get(&unit.task)?;
        let due = super::fair::due(task.ticket_at.get(), task.policy.priority, self.config.timing.ageing);
        Some(Line { due, ticket: task.ticket, unit })
    }

    /// A ready unit takes its place, unless it is paused.
    pub(super) fn line_up(&mut self, unit: TaskRef) {
        if self.stir_gang_of(unit.task) {
            return;
        }
        let Some(task) = self.tasks.get_mut(&unit.task) else { return };
        if let Some(array) = task.array_mut() {
            let stand = array.stand;
            if let Some(index) = unit.index {
                array.ready.insert(index);
                if stand == Stand::In
                    && let Some(line) = self.line_of(unit)
                {
                    self.join_lane(line);
                }
            }
            self.line_up_array(unit.task);
            if unit.index.is_none() {
                self.stand_elements(unit.task);
            }
            self.end_array_if_done(unit.task, &Cause::server("all its elements have ended"));
            return;
        }
        if !matches!(task.hot.state, State::Ready) {
            return;
        }
        if !self.is_stood_down(unit.task)
            && let Some(line) = self.line_of(unit)
        {
            self.join_lane(line);
        }
    }

    /// A unit leaves its place.
    pub(super) fn unline(&mut self, unit: TaskRef) {
        let Some(line) = self.line_of(unit) else { return };
        let Some(task) = self.tasks.get_mut(&unit.task) else { return };
        match (task.array_mut(), unit.index) {
            (Some(array), Some(index)) => {
                array.ready.remove(&index);
                let asks = array.asks;
                self.quit_lane(line);
                if asks {
                    self.line_up_array(unit.task);
                }
            }
            (Some(_), None) => {}
            (None, _) => self.quit_lane(line),
        }
    }

    /// Whether the task itself, or its run, is paused.
    pub(super) fn is_stood_down(&self, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(&id) else { return true };
        (task.paused().is_some() || self.run_pause(id).is_some()) && !mutant::is(Mutant::PauseIgnored)
    }

    /// The pause of the run that a task acts for. A task that was retried by itself after its step had
    /// ended acts for none.
    pub(super) fn run_pause(&self, id: TaskId) -> Option<(RunId, &PauseMark)> {
        let (run_id, node) = self.tasks.get(&id)?.policy.run?;
        let run = self.runs.get(&run_id)?;
        let is_active = |hot: &NodeHot| hot.state == NodeState::Active { task: id };
        let acts = run.keeper == Some(id) || run.nodes.get(node.0 as usize).is_some_and(is_active);
        run.row.paused.as_ref().filter(|_| acts).map(|mark| (run_id, mark))
    }

    pub(super) fn count(&mut self, unit: TaskRef, kind: StateKind, way: Count) {
        let is_array = self.tasks.get(&unit.task).is_some_and(|task| task.array().is_some());
        if kind.is_ended() || (is_array && unit.index.is_none()) {
            return;
        }
        self.count_in_namespace(unit, kind, if matches!(way, Count::Up) { 1 } else { -1 });
        let count = self.counts.entry(kind).or_default();
        match way {
            Count::Up => *count += 1,
            Count::Down => *count = count.saturating_sub(1),
        }
    }

    fn count_live(&mut self, unit: TaskRef, way: Count) {
        let Some(array) = self.tasks.get_mut(&unit.task).and_then(|task| task.array_mut()) else { return };
        if unit.index.is_none() {
            return;
        }
        match way {
            Count::Up => array.live += 1,
            Count::Down => array.live = array.live.saturating_sub(1),
        }
        if array.spec.at_most.is_some() {
            self.line_up_array(unit.task);
        }
    }

    /// What a loaded unit adds to the counts.
    pub(super) fn count_loaded(&mut self, unit: TaskRef, kind: StateKind) {
        self.count(unit, kind, Count::Up);
        if kind.is_live() {
            self.count_live(unit, Count::Up);
        }
    }

    /// Every transition of something that is no task.
    pub(super) fn tell_worker(&mut self, worker: WorkerId, what: &str, cause: &Cause) {
        if let Some(worker) = self.workers.get(&worker) {
            let subject = Subject::Worker(worker.row.name.clone());
            self.tell_of(subject, None, crate::id::AttemptNo(0), what, cause);
        }
    }

    /// `now`, never back.
    pub(super) fn advance_clock(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }
}

/// One more, or one less.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Up,
    Down,
}

/// What a worker is told of a stop.
pub(super) fn stop_why(intent: &Intent) -> StopWhy {
    match intent {
        Intent::GiveBack => StopWhy::Drain,
        Intent::End(outcome) => match **outcome {
            Outcome::Timeout { .. } => StopWhy::Timeout,
            Outcome::Cancelled { .. }
            | Outcome::Succeeded
            | Outcome::Error(_)
            | Outcome::Lost { .. }
            | Outcome::Rejected { .. }
            | Outcome::Skipped { .. } => StopWhy::Cancel,
        },
    }
}
