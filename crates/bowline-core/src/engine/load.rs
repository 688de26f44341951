//! A take-over: rows become hot state, and what follows from them is put in place.

use std::sync::Arc;

use crate::id::{RunId, TaskId, TaskRef};
use crate::machine::{Event, State};
use crate::mutant::{self, Mutant};
use crate::probe::{self, Path};
use crate::row::{AttemptRow, ElementRow, Loaded, TaskRow};
use crate::spec::{Dependency, TaskSpec};
use crate::state::StateKind;
use crate::time::Timestamp;

use super::Engine;
use super::able::may_be_aside;
use super::array::Element;
use super::out::Cause;
use super::run::{NodeHot, Run};
use super::table::{Hot, IsArray};
use super::unit::Count;
use super::worker::Worker;

/// Since when nobody has been able to run what stands aside for that.
fn unable_since(row: &TaskRow, spec: &TaskSpec) -> Option<Timestamp> {
    row.unit.until.filter(|_| spec.asks() && may_be_aside(row.unit.state, spec.array.is_some()))
}

impl Engine {
    /// One row.
    pub(super) fn load_row(&mut self, row: Loaded) {
        match row {
            Loaded::Counters(counters) => self.counters = counters,
            Loaded::Worker(row) => {
                self.worker_names.insert(row.name.clone(), row.id);
                self.workers.insert(row.id, Worker::from_row(*row, self.now));
            }
            Loaded::Pause(row) => self.pauses.set(row),
            Loaded::Token(token) => {
                self.tokens.insert(token.hash, token);
            }
            Loaded::Resource(row) => self.lines.declare(*row),
            Loaded::Namespace(row) => self.load_namespace(*row),
            Loaded::Rate(row) => self.load_rate(row),
            Loaded::Gang(row) => self.load_gang(*row),
            Loaded::Run(row, graph) => {
                self.runs.insert(row.id, Run::new(*row, graph));
            }
            Loaded::Node(row) => {
                let node = row.node;
                if let Some(run) = self.runs.get_mut(&row.run) {
                    run.set_node(node, NodeHot::from_row(*row));
                }
            }
            Loaded::Task(row, spec) => self.load_task(*row, spec),
            Loaded::Element(row) => self.load_element(&row),
            Loaded::Attempt(row) => self.load_attempt(*row),
            // How it ended was decided by the commit that ended it.
            Loaded::Ended(..) => {}
            Loaded::Keys(hashes) => self.known_keys.load(hashes),
        }
    }

    fn load_task(&mut self, row: TaskRow, spec: Arc<TaskSpec>) {
        let id = row.id;
        let policy = match self.policies.last_loaded(&row, &spec) {
            Some(policy) => policy,
            None => self.policy_of(&row, &spec),
        };
        let unable_since = unable_since(&row, &spec);
        let task = Self::task_with(row, &spec, Arc::clone(&policy));
        self.policies.note_loaded(spec, policy);
        if task.array().is_some() {
            self.unfinished_arrays.insert(id);
        }
        if let Some(member) = task.gang() {
            self.load_member(member);
        }
        self.tasks.insert(id, task);
        if let Some(since) = unable_since {
            self.load_aside(id, since);
        }
    }

    fn load_element(&mut self, row: &ElementRow) {
        let Some(array) = self.tasks.get_mut(&row.task).and_then(|task| task.array_mut()) else { return };
        if row.unit.state.is_ended() {
            array.mark_ended(row.index, row.unit.state);
        } else {
            let hot = Hot::from_row(&row.unit, IsArray::No);
            array.elements.insert(row.index, Element { version: row.version, hot });
        }
    }

    fn load_attempt(&mut self, row: AttemptRow) {
        let attempt = row.attempt;
        if row.end.is_some() {
            let task = self.tasks.get(&attempt.task.task).filter(|task| task.round == row.round);
            let is_open = task.and_then(|task| task.unit(attempt.task)).is_some_and(|hot| !hot.state.kind().is_ended());
            if is_open {
                probe::reached(Path::LossRememberedOverATakeOver);
                self.lost.insert(attempt, row);
            }
            return;
        }
        let key = self.claimed_as(attempt.task);
        let held = self.tasks.get(&attempt.task.task).and_then(|task| Some(task.unit(attempt.task)?.held()));
        if let Some((held, worker)) = held.zip(row.worker) {
            self.lines.note_warm(held, worker);
        }
        if let Some((worker, key)) = row.worker.zip(key)
            && let Some(worker) = self.workers.get_mut(&worker)
        {
            let room = worker.room();
            worker.held.add(attempt, key, &room);
        }
        self.attempts.insert(attempt, row);
    }

    /// All rows are there.
    pub(super) fn put_in_place(&mut self, now: Timestamp) {
        self.advance_clock(now);
        self.led_from = self.now;
        self.policies.end_loading();
        let tasks: Vec<TaskId> = self.tasks.keys().collect();
        self.date_tickets();
        for id in &tasks {
            self.hold_loaded(*id);
        }
        for id in &tasks {
            self.load_keeper(*id);
            self.place_dependencies(*id);
            self.count_task(*id);
        }
        // By ticket, all being counted: who is let through at a gate is so at once, as before. Nobody moves, and nothing is told.
        let (mut asking, others): (Vec<TaskId>, Vec<TaskId>) = tasks.into_iter().partition(|id| self.asks(*id));
        asking.sort_by_key(|id| (self.tasks.get(id).map(|task| task.ticket), *id));
        for id in others.into_iter().chain(asking) {
            self.place_task(id);
        }
        let workers: Vec<_> = self.workers.keys().copied().collect();
        for id in workers {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.lease_from = self.now;
            }
            self.retime_worker(id);
        }
        self.count_shares();
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        for id in runs.into_iter().filter(|_| !mutant::is(Mutant::DueForgottenAtReload)) {
            self.evaluate_due(id);
        }
    }

    /// What a task and its elements hold.
    fn hold_loaded(&mut self, id: TaskId) {
        if !self.asks(id) {
            return;
        }
        self.begin_asking(id);
        let Some(task) = self.tasks.get(&id) else { return };
        let elements = task.array().into_iter().flat_map(|array| &array.elements);
        let elements = elements.map(|(index, element)| (TaskRef::element(id, *index), &element.hot));
        for (unit, hot) in std::iter::once((TaskRef::whole(id), &task.hot)).chain(elements) {
            for grant in hot.held() {
                self.lines.hold(unit, grant);
            }
        }
        self.follow_loaded(id);
    }

    /// A blocked task's dependencies, from its description and what has not ended. How the others
    /// ended was decided by the commits that ended them.
    fn place_dependencies(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let is_early = matches!(task.hot.state, State::Blocked | State::Scheduled { .. });
        if !is_early || task.hot.failures > 0 {
            return;
        }
        let after = task.after().cloned();
        let open: Vec<Dependency> = after
            .iter()
            .flat_map(|after| after.iter())
            .filter(|dependency| self.is_open(dependency, task.round_at))
            .copied()
            .collect();
        self.watch(id, open);
    }

    /// A dependency whose round began after the dependent's has ended in between, and was met then.
    fn is_open(&self, dependency: &Dependency, since: Timestamp) -> bool {
        let is_same_round = self.tasks.get(&dependency.task.task).is_some_and(|task| task.round_at <= since);
        is_same_round && self.dependency_state(dependency.task).is_some_and(|state| !state.is_ended())
    }

    fn count_task(&mut self, id: TaskId) {
        let whole = TaskRef::whole(id);
        let Some(task) = self.tasks.get(&id) else { return };
        let kind = task.hot.state.kind();
        let elements: Vec<(u32, StateKind)> = task.array().map_or_else(Vec::new, |array| {
            array.elements.iter().map(|(index, element)| (*index, element.hot.state.kind())).collect()
        });
        self.count(whole, kind, Count::Up);
        if let Some(array) = self.tasks.get_mut(&id).and_then(|task| task.array_mut()) {
            let waiting = elements.iter().filter(|(_, kind)| *kind == StateKind::Ready);
            array.ready.extend(waiting.map(|(index, _)| *index));
            let live = elements.iter().filter(|(_, kind)| kind.is_live()).count();
            array.live += u32::try_from(live).unwrap_or(u32::MAX);
        }
        for (index, kind) in elements {
            self.count(TaskRef::element(id, index), kind, Count::Up);
        }
    }

    fn place_task(&mut self, id: TaskId) {
        let whole = TaskRef::whole(id);
        let Some(task) = self.tasks.get(&id) else { return };
        let kind = task.hot.state.kind();
        for unit in if task.array().is_some() { self.units_of(id) } else { Vec::new() } {
            self.retime(unit);
        }
        if kind == StateKind::Waiting && !self.is_bound(id) {
            self.stand_loaded(whole);
        }
        if matches!(kind, StateKind::Ready | StateKind::Running) {
            self.stand_loaded_elements(id);
        }
        if !mutant::is(Mutant::TimersLostAtReload) {
            self.retime(whole);
        }
        self.line_up(whole);
        let is_free = self.tasks.get(&id).is_some_and(|task| task.open().is_none() && task.hot.state == State::Blocked);
        if is_free {
            self.shift(whole, Event::Met, &Cause::server("nothing that it depends on is left")).ok();
        }
    }
}
