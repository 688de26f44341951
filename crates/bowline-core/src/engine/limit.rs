//! What concurrency keys, rates and quotas mean to tasks: who waits at which gate, who is inside, who is cancelled or
//! skipped for whom.
//!
//! A concurrency key is held from when its task may begin until its attempt has ended or is given back: not between a
//! failure and its retry. A start counts when it is claimed; until then whoever may begin counts as one.

use std::sync::Arc;

use crate::answer::{Refusal, RefusalCode};
use crate::explain::AsideWhy;
use crate::fair::{AT_MOST_MAX, Concurrency, RATE_COUNT_MAX, RATE_PER_MAX, RATE_PER_MIN, Rate, RateRow, Rule};
use crate::id::{TaskId, TaskRef};
use crate::mutant::{self, Mutant};
use crate::name::Namespace;
use crate::probe::{self, Path};
use crate::resource::Mode;
use crate::spec::TaskSpec;
use crate::state::StateKind;
use crate::time::Span;

use super::Engine;
use super::gate::{GateKey, Most, Says, is_watched, says_rate};
use super::lines::{Place, Want};
use super::out::Cause;
use super::table::{At, HeldBy, Policy};
use super::timer::Timer;

/// Holders of a key that are named at most.
const HOLDERS_NAMED_MAX: usize = 10;

/// What a task says of others under its keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Limits {
    pub concurrency: Option<Concurrency>,
    pub rate: Option<Rate>,
}

impl Limits {
    /// `None`: it says nothing.
    pub(super) fn of(spec: &TaskSpec) -> Option<Arc<Self>> {
        let says = spec.concurrency.is_some() || spec.rate.is_some();
        says.then(|| Arc::new(Self { concurrency: spec.concurrency.clone(), rate: spec.rate.clone() }))
    }
}

/// Bounds of what a task says.
pub(super) fn check_limits(spec: &TaskSpec) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(RefusalCode::Invalid, message));
    match spec.concurrency.as_ref().map(|concurrency| concurrency.rule) {
        Some(Rule::AtMost(most)) if most == 0 || most > AT_MOST_MAX => {
            return invalid(format!("its concurrency key allows {most} at a time; allow 1 to {AT_MOST_MAX}."));
        }
        Some(Rule::AtMost(_) | Rule::NewestWins | Rule::Drop) | None => {}
    }
    match &spec.rate {
        Some(rate) if rate.count == 0 || rate.count > RATE_COUNT_MAX => {
            invalid(format!("its rate allows {} starts; allow 1 to {RATE_COUNT_MAX}.", rate.count))
        }
        Some(rate) if rate.per.0 < RATE_PER_MIN || rate.per.0 > RATE_PER_MAX => invalid(format!(
            "its rate counts starts within {}; choose {} to {}.",
            rate.per,
            Span(RATE_PER_MIN),
            Span(RATE_PER_MAX)
        )),
        Some(_) | None => Ok(()),
    }
}

/// How much of a quota an ask takes: a lock is one.
pub(super) fn amount_of(want: &Want) -> u64 {
    match want.mode {
        Mode::Exclusive | Mode::Shared => 1,
        Mode::Counted | Mode::Unit => want.amount,
    }
}

impl Engine {
    /// The gates at which a task of this policy waits, with how much it takes of each.
    fn gates_of(&self, policy: &Policy) -> Vec<(GateKey, u64)> {
        let namespace = &policy.namespace;
        let mut gates = Vec::new();
        if let Some(limits) = &policy.limits {
            let key = limits.concurrency.iter().map(|said| (GateKey::Key(namespace.clone(), said.key.clone()), 1));
            let rate = limits.rate.iter().map(|said| (GateKey::Rate(namespace.clone(), said.key.clone()), 1));
            gates.extend(key.chain(rate));
        }
        if let Some(room) = self.rooms.get(namespace) {
            if room.row.room.max_running.is_some() && policy.held == HeldBy::Worker {
                gates.push((GateKey::Running(namespace.clone()), 1));
            }
            let wants = policy.wants.iter().filter(|want| room.row.room.max_held.contains_key(&want.name));
            gates.extend(wants.map(|want| (GateKey::Held(namespace.clone(), want.name.clone()), amount_of(want))));
        }
        gates.retain(|(key, _)| is_watched(key));
        gates
    }

    fn gates_of_unit(&self, unit: TaskRef) -> Vec<(GateKey, u64)> {
        let Some(task) = self.tasks.get(&unit.task).filter(|task| task.policy.asks()) else { return Vec::new() };
        if task.policy.limits.is_none() && self.rooms.is_empty() {
            return Vec::new();
        }
        self.gates_of(&task.policy)
    }

    /// A unit that waits takes its place at its gates.
    pub(super) fn join_gates(&mut self, place: Place) {
        for (key, amount) in self.gates_of_unit(place.1) {
            self.gates.join(&key, place, amount);
        }
    }

    /// It waits no more, or for something else.
    pub(super) fn leave_gates(&mut self, place: Place) {
        if self.asks(place.1.task) {
            self.gates.open.remove(&place);
        }
        for (key, _) in self.gates_of_unit(place.1) {
            self.gates.leave(&key, place);
        }
    }

    /// It was let through everywhere: with no resource to ask for it may begin.
    pub(super) fn may_open(&mut self, place: Place, wants: &[Want]) {
        if wants.is_empty() {
            self.gates.open.insert(place);
        }
    }

    /// Who is inside follows from the state.
    pub(super) fn follow_gates(&mut self, unit: TaskRef, kind: StateKind) {
        let is_inside = |key: &GateKey| match key {
            GateKey::Key(..) => kind.is_live() || matches!(kind, StateKind::Ready | StateKind::InDoubt),
            GateKey::Rate(..) | GateKey::Running(_) => kind == StateKind::Ready,
            GateKey::Held(_, name) => {
                let hot = self.tasks.get(&unit.task).and_then(|task| task.unit(unit));
                hot.is_some_and(|hot| hot.held().iter().any(|grant| grant.name == *name))
            }
        };
        let whole_array = unit.index.is_none() && self.tasks.get(&unit.task).is_some_and(|task| task.array().is_some());
        if whole_array {
            return;
        }
        let gates = self.gates_of_unit(unit);
        let gates: Vec<_> = gates.into_iter().map(|(key, amount)| (is_inside(&key).then_some(amount), key)).collect();
        for (amount, key) in gates {
            self.gates.hold(&key, unit, amount);
        }
    }

    /// At a take-over.
    pub(super) fn follow_loaded(&mut self, id: TaskId) {
        for unit in self.units_of(id) {
            let kind = self.tasks.get(&id).and_then(|task| task.unit(unit)).map(|hot| hot.state.kind());
            self.follow_gates(unit, kind.unwrap_or(StateKind::Waiting));
        }
    }

    /// The gate that keeps a unit out, where one does.
    pub(super) fn gate_why(&self, unit: TaskRef) -> Option<AsideWhy> {
        let place = (self.tasks.get(&unit.task)?.ticket, unit);
        let closed = self
            .gates_of_unit(unit)
            .into_iter()
            .find(|(key, amount)| self.gates.get(key).is_some_and(|gate| !gate.lets(place, *amount)));
        closed.and_then(|(key, _)| self.say_gate(&key))
    }

    fn say_gate(&self, key: &GateKey) -> Option<AsideWhy> {
        let gate = self.gates.get(key)?;
        let most = match gate.most() {
            Most::So(most) => most,
            Most::Sole | Most::Any => 1,
        };
        Some(match key {
            GateKey::Running(_) => AsideWhy::Running { running: gate.used(), at_most: most },
            GateKey::Held(_, name) => AsideWhy::Held { name: name.clone(), held: gate.held(), at_most: most },
            GateKey::Key(_, key) => {
                let since = |unit: TaskRef| {
                    let hot = self.tasks.get(&unit.task).and_then(|task| task.unit(unit));
                    (unit, hot.and_then(|hot| hot.ready_at.get()).unwrap_or_default())
                };
                AsideWhy::Concurrency {
                    key: key.clone(),
                    at_most: (gate.most() != Most::Sole).then_some(u32::try_from(most).unwrap_or(u32::MAX)),
                    holders: gate.holders().take(HOLDERS_NAMED_MAX).map(since).collect(),
                    more: u32::try_from(gate.holders().count().saturating_sub(HOLDERS_NAMED_MAX)).unwrap_or(u32::MAX),
                    first: gate.let_through().take(HOLDERS_NAMED_MAX).collect(),
                }
            }
            GateKey::Rate(_, key) => {
                let is_full = gate.starts.len() as u64 >= most;
                AsideWhy::Rate {
                    key: key.clone(),
                    count: u32::try_from(most).unwrap_or(u32::MAX),
                    per: Span(gate.per),
                    until: gate.starts.front().filter(|_| is_full).map(|at| at.plus(gate.per)),
                    // Whoever is ready has not begun either.
                    first: gate.holders().chain(gate.let_through()).take(HOLDERS_NAMED_MAX).collect(),
                }
            }
        })
    }

    /// The task counts under its keys, until its round ends.
    pub(super) fn begin_limits(&mut self, id: TaskId) {
        self.say_limits(id, |limits| {
            let key = limits.concurrency.as_ref().map(|said| Says::Rule(said.rule));
            (key, limits.rate.as_ref().map(says_rate))
        });
    }

    /// Its round is over.
    pub(super) fn end_limits(&mut self, id: TaskId) {
        self.say_limits(id, |_| (None, None));
    }

    fn say_limits(&mut self, id: TaskId, says: impl Fn(&Limits) -> (Option<Says>, Option<Says>)) {
        let Some(policy) = self.tasks.get(&id).map(|task| Arc::clone(&task.policy)) else { return };
        let Some(limits) = &policy.limits else { return };
        let (rule, rate) = says(limits);
        if let Some(said) = &limits.concurrency {
            self.gates.say(&GateKey::Key(policy.namespace.clone(), said.key.clone()), id, rule);
        }
        if let Some(said) = &limits.rate {
            self.gates.say(&GateKey::Rate(policy.namespace.clone(), said.key.clone()), id, rate);
            self.retime_rates();
        }
    }

    /// Unfinished tasks under the concurrency key of this one, the oldest first.
    fn others_under(&self, id: TaskId, rule: Rule) -> Vec<TaskId> {
        let Some(policy) = self.tasks.get(&id).map(|task| &task.policy) else { return Vec::new() };
        let said = policy.limits.as_ref().and_then(|limits| limits.concurrency.as_ref());
        let Some(said) = said.filter(|said| said.rule == rule) else { return Vec::new() };
        let gate = self.gates.get(&GateKey::Key(policy.namespace.clone(), said.key.clone()));
        gate.map(|gate| gate.members().filter(|other| *other != id).collect()).unwrap_or_default()
    }

    /// Why a new task is skipped: another under its key has not ended.
    pub(super) fn dropped_for(&self, id: TaskId) -> Option<String> {
        let other = *self.others_under(id, Rule::Drop).first()?;
        if mutant::is(Mutant::DropForgotten) {
            return None;
        }
        probe::reached(Path::DroppedForAnother);
        let limits = self.tasks.get(&id)?.policy.limits.as_ref()?;
        let key = &limits.concurrency.as_ref()?.key;
        Some(format!("task {other}, which has the same concurrency key `{key}`, had not ended"))
    }

    /// What is skipped while another under its key has not ended is not retried beside it either.
    pub(super) fn check_not_dropped(&self, id: TaskId) -> Result<(), Refusal> {
        match self.others_under(id, Rule::Drop).first() {
            Some(other) => {
                let message = format!(
                    "Task {id} cannot be retried now: task {other}, which has the same concurrency key, has not ended."
                );
                Err(Refusal::new(RefusalCode::Conflict, message))
            }
            None => Ok(()),
        }
    }

    /// The newest under a key cancels the others.
    pub(super) fn replace_others(&mut self, id: TaskId, cause: &Cause) {
        for other in self.others_under(id, Rule::NewestWins) {
            probe::reached(Path::ReplacedByANewer);
            let reason = format!("task {id} has taken its place: it has the same concurrency key");
            self.cancel_unit(TaskRef::whole(other), &Cause::new(&cause.actor, reason)).ok();
        }
    }

    /// A unit under a rate was claimed.
    pub(super) fn note_start(&mut self, unit: TaskRef) {
        let Some(policy) = self.tasks.get(&unit.task).map(|task| &task.policy) else { return };
        let Some(rate) = policy.limits.as_ref().and_then(|limits| limits.rate.as_ref()) else { return };
        let (namespace, key) = (policy.namespace.clone(), rate.key.clone());
        self.gates.started(&GateKey::Rate(namespace.clone(), key.clone()), self.now);
        self.out.rates.insert((namespace, key));
        self.retime_rates();
    }

    /// As it is stored.
    pub(super) fn rate_row(&self, (namespace, key): &(Namespace, crate::name::LimitKey)) -> RateRow {
        let gate = self.gates.get(&GateKey::Rate(namespace.clone(), key.clone()));
        let starts = gate.map(|gate| gate.starts.iter().copied().collect()).unwrap_or_default();
        let per = Span(gate.map(|gate| gate.per).unwrap_or_default());
        RateRow { namespace: namespace.clone(), key: key.clone(), per, starts }
    }

    /// At a take-over.
    pub(super) fn load_rate(&mut self, row: RateRow) {
        if !mutant::is(Mutant::RateForgottenAtReload) {
            self.gates.load(&GateKey::Rate(row.namespace, row.key), row.per.0, row.starts);
            self.retime_rates();
        }
    }

    fn retime_rates(&mut self) {
        let next = self.gates.next_expiry();
        let old = std::mem::replace(&mut self.rates_timer, At::from(next));
        if old != self.rates_timer {
            if let Some(old) = old.get() {
                self.timers.remove(&(old, Timer::Rates));
            }
            if let Some(next) = self.rates_timer.get() {
                self.timers.insert((next, Timer::Rates));
            }
        }
    }

    /// Some starts no longer count.
    pub(super) fn fire_rates(&mut self) {
        self.rates_timer = At::default();
        for key in self.gates.expire(self.now) {
            if let GateKey::Rate(namespace, key) = key {
                self.out.rates.insert((namespace, key));
            }
        }
        self.retime_rates();
    }

    /// Whoever is let through stands in line, whoever is not stands aside.
    pub(super) fn serve_gates(&mut self) {
        while let Some(unit) = self.gates.pop_stirred() {
            self.restand(unit);
        }
    }

    /// The next unit that asks for no resource and may begin.
    pub(super) fn serve_open(&mut self) -> bool {
        let Some(place) = self.gates.open.pop_first() else { return false };
        if self.aside_why(place.1).is_some() {
            self.restand(place.1);
        } else {
            self.grant(place, &[]);
        }
        true
    }
}
