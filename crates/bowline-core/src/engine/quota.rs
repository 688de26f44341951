//! Namespaces as people set them: quotas and shares; and what each uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::answer::{Answer, Refusal, RefusalCode, Reply};
use crate::explain::WaitReason;
use crate::fair::{
    LISTED_MAX, LimitView, NamespaceChange, NamespaceRoom, NamespaceRow, NamespaceView, SET_MAX, SHARE_MAX,
    USER_BYTES_MAX,
};
use crate::id::{AttemptNo, TaskId, TaskRef};
use crate::input::NewTask;
use crate::name::{Actor, Namespace, ResourceName};
use crate::resource::CAPACITY_MAX;
use crate::row::Subject;
use crate::state::StateKind;
use crate::time::Span;

use super::Engine;
use super::array::Stand;
use super::gate::{Gate, GateKey, Most, is_watched};
use super::lane::{LaneKey, Line, Waited};
use super::limit::amount_of;
use super::lines::Want;
use super::out::Cause;
use super::table::{HeldBy, Origin, Policy, Task};

/// Holders of a key that are listed at most.
const HOLDERS_LISTED_MAX: usize = 10;

/// A namespace of which something is set.
#[derive(Debug)]
pub(super) struct Tenant {
    pub row: NamespaceRow,
}

/// Unfinished tasks and elements of a namespace, counted as they move. What arrays have not begun is counted beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    queued: u64,
    running: u64,
    /// In doubt, or held by the server.
    other: u64,
}

impl Usage {
    fn of(&mut self, kind: StateKind, held: HeldBy) -> Option<&mut u64> {
        match kind {
            StateKind::Scheduled | StateKind::Blocked | StateKind::Waiting | StateKind::Ready => Some(&mut self.queued),
            StateKind::Assigned | StateKind::Running | StateKind::Stopping if held == HeldBy::Worker => {
                Some(&mut self.running)
            }
            StateKind::Assigned | StateKind::Running | StateKind::Stopping | StateKind::InDoubt => {
                Some(&mut self.other)
            }
            StateKind::Succeeded | StateKind::Failed | StateKind::Cancelled | StateKind::Skipped => None,
        }
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Invalid, message)
}

impl Engine {
    /// Sets quotas and shares of a namespace.
    pub(super) fn set_namespace(&mut self, actor: &Actor, name: &Namespace, change: NamespaceChange) -> Reply {
        check_change(&change)?;
        let old = self.rooms.get(name).map(|tenant| tenant.row.clone());
        let mut row = old.unwrap_or_else(|| NamespaceRow {
            name: name.clone(),
            version: 0,
            room: NamespaceRoom::default(),
            changed_by: actor.clone(),
            changed_at: self.now,
        });
        let room = row.room.clone().with(change);
        if room.user_shares.len() > SET_MAX || room.max_held.len() > SET_MAX {
            return Err(invalid(format!(
                "At most {SET_MAX} users, and {SET_MAX} resources, of one namespace are set."
            )));
        }
        if room != row.room || row.version == 0 {
            row.room = room;
            row.changed_by = actor.clone();
            row.changed_at = self.now;
            row.version += u32::from(self.out.namespaces.insert(name.clone()));
            let cause = Cause::new(actor, describe(&row.room));
            let subject = Subject::Namespace(Some(name.clone()));
            self.tell_of(subject, Some(name.clone()), AttemptNo(0), "set", &cause);
            self.put_tenant(row);
        }
        Ok(self.namespace(name))
    }

    /// As a row says, at a take-over: tasks come after it.
    pub(super) fn load_namespace(&mut self, row: NamespaceRow) {
        let name = row.name.clone();
        self.rooms.insert(name.clone(), Tenant { row });
        self.set_gates(&name);
        self.shares.weigh(&self.rooms);
    }

    fn put_tenant(&mut self, row: NamespaceRow) {
        let name = row.name.clone();
        let split = self.splits_users(&name);
        self.rooms.insert(name.clone(), Tenant { row });
        if split != self.splits_users(&name) {
            self.relane(&name);
        }
        self.set_gates(&name);
        for id in self.asking_in(&name) {
            self.follow_loaded(id);
        }
        self.restand_namespace(Some(&name));
        let was_on = self.shares.is_on();
        self.shares.weigh(&self.rooms);
        if self.shares.is_on() && !was_on {
            self.count_shares();
        }
        self.lanes.join_namespace(&name);
        self.gangs.stir();
    }

    fn set_gates(&mut self, name: &Namespace) {
        let is_quota = |key: &GateKey| matches!(key, GateKey::Running(_) | GateKey::Held(..));
        let old: Vec<GateKey> = self.gates.of(name).map(|(key, _)| key.clone()).filter(is_quota).collect();
        for key in old {
            self.gates.empty(&key);
            self.gates.set(&key, None, 0);
        }
        let Some(tenant) = self.rooms.get(name) else { return };
        if let Some(most) = tenant.row.room.max_running {
            self.gates.set(&GateKey::Running(name.clone()), Some(most), self.usage(name).running);
        }
        for (resource, most) in &tenant.row.room.max_held {
            self.gates.set(&GateKey::Held(name.clone(), resource.clone()), Some(*most), 0);
        }
    }

    fn asking_in(&self, name: &Namespace) -> Vec<TaskId> {
        let of = |id: &TaskId| self.tasks.get(id).is_some_and(|task| task.policy.namespace == *name);
        self.asking_tasks().filter(of).collect()
    }

    pub(super) fn units_of(&self, id: TaskId) -> Vec<TaskRef> {
        match self.tasks.get(&id).map(|task| task.array()) {
            Some(Some(array)) => array.elements.keys().map(|index| TaskRef::element(id, *index)).collect(),
            Some(None) => vec![TaskRef::whole(id)],
            None => Vec::new(),
        }
    }

    /// A unit came into this state, or left it.
    pub(super) fn count_in_namespace(&mut self, unit: TaskRef, kind: StateKind, more: i64) {
        let Some(policy) = self.tasks.get(&unit.task).map(|task| &task.policy) else { return };
        let usage = match self.usages.get_mut(&policy.namespace) {
            Some(usage) => usage,
            None => self.usages.entry(policy.namespace.clone()).or_default(),
        };
        if let Some(count) = usage.of(kind, policy.held) {
            *count = count.saturating_add_signed(more);
        }
        let (running, is_empty) = (usage.running, *usage == Usage::default());
        if self.rooms.get(&policy.namespace).is_some_and(|tenant| tenant.row.room.max_running.is_some()) {
            self.gates.set_outside(&GateKey::Running(policy.namespace.clone()), running);
        }
        if is_empty {
            self.usages.remove(&policy.namespace);
        }
    }

    fn usage(&self, name: &Namespace) -> Usage {
        self.usages.get(name).copied().unwrap_or_default()
    }

    /// Whether as many tasks of the namespace are on workers, or about to be, as may be.
    pub(super) fn is_full(&self, namespace: &Namespace) -> bool {
        if self.rooms.is_empty() {
            return false;
        }
        let key = GateKey::Running(namespace.clone());
        let gate = self.gates.get(&key).filter(|_| is_watched(&key));
        gate.is_some_and(|gate| matches!(gate.most(), Most::So(most) if gate.used() >= most))
    }

    /// Whether its namespace's quota keeps a lane's tasks from workers. What asks was let through before it was ready.
    pub(super) fn is_held_up(&self, key: &LaneKey) -> bool {
        key.waited != Waited::LetThrough && self.is_full(&key.namespace)
    }

    /// Whether so many more may be on workers at once.
    pub(super) fn has_places(&self, namespace: &Namespace, count: usize) -> bool {
        let key = GateKey::Running(namespace.clone());
        let gate = self.gates.get(&key).filter(|_| is_watched(&key));
        let count = count as u64;
        gate.is_none_or(|gate| !matches!(gate.most(), Most::So(most) if gate.used().saturating_add(count) > most))
    }

    /// The same of so many at once, told.
    pub(super) fn quota_short_of(&self, namespace: &Namespace, count: usize) -> Option<WaitReason> {
        let gate = self.gates.get(&GateKey::Running(namespace.clone()))?;
        let Most::So(at_most) = gate.most() else { return None };
        let (namespace, running) = (namespace.clone(), gate.used());
        (!self.has_places(&namespace, count)).then_some(WaitReason::Quota { namespace, running, at_most })
    }

    /// The same, told.
    pub(super) fn quota_of(&self, key: &LaneKey) -> Option<WaitReason> {
        let gate = self.gates.get(&GateKey::Running(key.namespace.clone()))?;
        let Most::So(at_most) = gate.most() else { return None };
        self.is_held_up(key).then(|| WaitReason::Quota {
            namespace: key.namespace.clone(),
            running: gate.used(),
            at_most,
        })
    }

    /// Namespaces whose quota is full: nobody looks at their lanes.
    pub(super) fn note_full(&mut self) {
        let limited = self.rooms.iter().filter(|(_, tenant)| tenant.row.room.max_running.is_some());
        let full = limited.map(|(name, _)| name).filter(|name| self.is_full(name));
        self.held_back = full.cloned().collect();
    }

    /// Lanes that were held back, and whose namespace has room now.
    pub(super) fn let_back(&mut self) {
        if self.held_back.is_empty() {
            return;
        }
        for namespace in std::mem::take(&mut self.held_back) {
            if !self.is_full(&namespace) {
                self.lanes.join_namespace(&namespace);
                self.gangs.stir();
            }
        }
    }

    /// Whether a new task may be queued, and what it asks for be held at all.
    pub(super) fn check_quotas(&self, namespace: &Namespace, new: &[NewTask]) -> Result<(), Refusal> {
        let Some(tenant) = self.rooms.get(namespace) else { return Ok(()) };
        let room = &tenant.row.room;
        if let Some(most) = room.max_queued {
            let queued = self.usage(namespace).queued + self.unstarted_in(namespace);
            let elements = |new: &NewTask| new.spec.array.as_ref().map_or(1, |array| u64::from(array.count));
            let more: u64 = new.iter().map(elements).sum();
            if queued.saturating_add(more) > most {
                let message = format!(
                    "Namespace {namespace} may have {most} tasks queued (its quota `max_queued`) and has {queued}, so \
                     {more} more are refused; wait until some have begun, or raise it with `bowline namespace set \
                     {namespace} --max-queued N`."
                );
                return Err(Refusal::new(RefusalCode::Conflict, message));
            }
        }
        for want in new.iter().flat_map(|new| Want::of(&new.spec.resources).to_vec()) {
            match room.max_held.get(&want.name) {
                Some(most) if amount_of(&want) > *most => {
                    let message = format!(
                        "Namespace {namespace} may hold {most} of `{}` (its quota `max_held`), and a task asks for {}.",
                        want.name,
                        amount_of(&want)
                    );
                    return Err(Refusal::new(RefusalCode::Conflict, message));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Elements that have not begun, of each array that has not ended, with its namespace.
    fn unstarted(&self) -> impl Iterator<Item = (&Namespace, u64)> {
        let arrays = self.unfinished_arrays.iter().filter_map(|id| self.tasks.get(id));
        let arrays = arrays.filter(|task| !task.hot.state.kind().is_ended());
        arrays.filter_map(|task| Some((&task.policy.namespace, u64::from(task.array()?.unstarted()))))
    }

    fn unstarted_in(&self, namespace: &Namespace) -> u64 {
        self.unstarted().filter(|(of, _)| *of == namespace).map(|(_, count)| count).sum()
    }

    /// One namespace: what is set, and what it uses.
    pub(super) fn namespace(&self, name: &Namespace) -> Answer {
        Answer::Namespace(Box::new(self.namespace_view(name, self.unstarted_in(name))))
    }

    /// All of them of which something is set, that are paused, or that have tasks that have not ended.
    pub(super) fn namespaces(&self) -> Answer {
        let paused = self.pauses.namespaces().map(|(name, _)| name);
        let known = self.usages.keys().chain(self.rooms.keys()).chain(paused);
        let mut all: BTreeMap<&Namespace, u64> = known.map(|name| (name, 0)).collect();
        for (name, unstarted) in self.unstarted() {
            *all.entry(name).or_default() += unstarted;
        }
        Answer::Namespaces(all.into_iter().map(|(name, unstarted)| self.namespace_view(name, unstarted)).collect())
    }

    fn namespace_view(&self, name: &Namespace, unstarted: u64) -> NamespaceView {
        let usage = self.usage(name);
        let row = self.rooms.get(name).map(|tenant| &tenant.row);
        let room = row.map(|row| row.room.clone()).unwrap_or_default();
        let held = |resource: &ResourceName| {
            let gate = self.gates.get(&GateKey::Held(name.clone(), resource.clone()));
            (resource.clone(), gate.map_or(0, Gate::held))
        };
        let limits = self.gates.of(name).filter_map(|(key, gate)| limit_view(key, gate)).take(LISTED_MAX);
        NamespaceView {
            name: name.clone(),
            changed: row.map(|row| (row.changed_by.clone(), row.changed_at)),
            paused: self.pauses.of(name).cloned(),
            queued: usage.queued + unstarted,
            running: usage.running,
            held: room.max_held.keys().map(held).collect(),
            share: self.shares.view(name, self.now),
            users: self.shares.users(name, self.now).into_iter().take(LISTED_MAX).collect(),
            limits: limits.collect(),
            room,
        }
    }

    /// Whether users of the namespace have shares of their own.
    fn splits_users(&self, namespace: &Namespace) -> bool {
        self.rooms.get(namespace).is_some_and(|tenant| !tenant.row.room.user_shares.is_empty())
    }

    /// The lane of a task: users have their own where they have shares.
    pub(super) fn lane_key(&self, origin: &Origin, spec: &crate::spec::TaskSpec) -> LaneKey {
        let mut key = LaneKey::of(&origin.namespace, spec);
        if !self.rooms.is_empty() && self.splits_users(&origin.namespace) {
            key.user = Some(Arc::clone(&origin.created_by.0));
        }
        key
    }

    /// Users of a namespace have lanes of their own from here on, or have none any more.
    fn relane(&mut self, namespace: &Namespace) {
        let is_its = |task: &Task| task.policy.namespace == *namespace && !task.is_ended();
        let ids: Vec<TaskId> = self.tasks.iter().filter(|(_, task)| is_its(task)).map(|(id, _)| id).collect();
        let splits = self.splits_users(namespace);
        for id in ids {
            self.leave_lane(id);
            self.end_asking(id);
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let mut policy = Policy::clone(&task.policy);
            let user = splits.then(|| Arc::clone(&policy.created_by.0));
            let (lane, lane_key) = self.lanes.intern(LaneKey { user, ..LaneKey::clone(&policy.lane_key) });
            (policy.lane, policy.lane_key) = (lane, lane_key);
            task.policy = self.policies.shared(policy);
            self.begin_asking(id);
            self.line_up(TaskRef::whole(id));
        }
    }

    fn leave_lane(&mut self, id: TaskId) {
        let whole = TaskRef::whole(id);
        let Some(line) = self.line_of(whole) else { return };
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let (lane, asks) = (task.policy.lane, task.policy.asks());
        let Some(array) = task.array_mut() else { return self.unline(whole) };
        array.stand = Stand::Out;
        let ready: Vec<u32> = array.ready.iter().copied().collect();
        let next = if asks { None } else { array.next_lined.take() };
        for index in ready {
            self.quit_lane(Line { unit: TaskRef::element(id, index), ..line });
        }
        if let Some(index) = next {
            self.lanes.remove(lane, &Line { unit: TaskRef::element(id, index), ..line });
            self.lanes.note_array(lane, id, false);
        }
    }
}

fn limit_view(key: &GateKey, gate: &Gate) -> Option<LimitView> {
    let (key, per) = match key {
        GateKey::Running(_) | GateKey::Held(..) => return None,
        GateKey::Key(_, key) => (key.clone(), None),
        GateKey::Rate(_, key) => (key.clone(), Some(Span(gate.per))),
    };
    let most = match gate.most() {
        Most::So(most) => Some(most),
        Most::Any | Most::Sole => None,
    };
    let holders = gate.holders().take(HOLDERS_LISTED_MAX).collect();
    Some(LimitView { key, most, per, used: gate.used(), holders, waiting: gate.waiting() })
}

fn describe(room: &NamespaceRoom) -> String {
    let mut all = Vec::new();
    all.extend(room.share.map(|share| format!("share {share}")));
    all.extend(room.user_shares.iter().map(|(user, share)| format!("share {share} for {user}")));
    all.extend(room.max_queued.map(|most| format!("max_queued {most}")));
    all.extend(room.max_running.map(|most| format!("max_running {most}")));
    all.extend(room.max_held.iter().map(|(name, most)| format!("max_held {most} of {name}")));
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

/// Bounds of what is set.
pub fn check_change(change: &NamespaceChange) -> Result<(), Refusal> {
    let shares = change.share.flatten().into_iter().chain(change.user_shares.values().copied().flatten());
    for share in shares {
        if share == 0 || share > SHARE_MAX {
            return Err(invalid(format!("A share is 1 to {SHARE_MAX}; {share} is none.")));
        }
    }
    if let Some(user) = change.user_shares.keys().find(|user| user.is_empty() || user.len() > USER_BYTES_MAX) {
        return Err(invalid(format!("`{user}` is no user's name: write 1 to {USER_BYTES_MAX} bytes.")));
    }
    let quotas = [change.max_queued.flatten(), change.max_running.flatten()].into_iter().flatten();
    match quotas.chain(change.max_held.values().copied().flatten()).find(|most| *most > CAPACITY_MAX) {
        Some(most) => Err(invalid(format!("A quota is 0 to {CAPACITY_MAX}; {most} is too much."))),
        None => Ok(()),
    }
}
