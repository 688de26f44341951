//! Once the faults have stopped: everything is healed, whatever waits for people is settled by people who know, and
//! then everything that was acknowledged must end (I6).

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::gang::Form;
use bowline_core::id::{TaskId, TaskRef};
use bowline_core::input::{Completion, Request, RunVerb, TaskVerb};
use bowline_core::message::Paused;
use bowline_core::name::WorkerName;
use bowline_core::spec::{Action, Command};
use bowline_core::state::StateKind;

use super::{Drive, Later};
use crate::check::book::TaskSeen;
use crate::job::Plan;
use crate::process::{ClusterId, ProcId};
use crate::workload::trial::Trial;
use crate::workload::verbs::{namespace, run_verb, verb};
use crate::world::Role;

/// Between two looks, in microseconds.
const SLICE_US: u64 = 10_000_000;
/// After so many looks without anything having ended everything must have: 25 minutes.
const IDLE_SLICES_MAX: u32 = 150;
/// Each run has an end, so that whatever makes work without end is found: 11 days. Much to do for few slots takes its time.
const SLICES_MAX: u32 = 100_000;
/// After so many looks what nobody can do, or what never ends, is cancelled.
const PATIENCE_SLICES: u32 = 6;
/// Who looks after it believes a worker that it waits in vain when it has said so this often.
const HELD_OFF_TIMES: u32 = 3;
/// So many looks to deliver what is left, and to kill it: 10 minutes.
const LAST_SLICES_MAX: u32 = 60;
/// A client with so many open questions is not asked for more.
const QUESTIONS_MAX: usize = 20;

impl Drive {
    pub(super) fn settle(&mut self) {
        self.heal();
        let (mut before, mut idle) = (0, 0);
        for slice in 0..SLICES_MAX {
            if self.check().is_all_ended() {
                return self.finish();
            }
            // More may come for as long as something ends: steps of runs. So it is not what is left that tells.
            let ended = self.check().ended();
            idle = if ended > before { 0 } else { idle + 1 };
            before = ended;
            if idle > IDLE_SLICES_MAX {
                break;
            }
            self.care(slice);
            if !self.until(self.world.now + SLICE_US) {
                return;
            }
        }
        let now = self.world.now;
        self.check().did_not_end(now);
    }

    fn finish(&mut self) {
        for _ in 0..LAST_SLICES_MAX {
            if self.check().is_settled() || !self.until(self.world.now + SLICE_US) {
                return;
            }
        }
        let now = self.world.now;
        self.check().did_not_settle(now);
    }

    /// No fault is left: what is down is started, what stands still goes on, what is full is emptied.
    fn heal(&mut self) {
        let stays = |later: &Later| match later {
            Later::Look | Later::Start(_) | Later::Boot(_) | Later::Forgotten(_) => true,
            Later::Room(_) | Later::Quick(_) | Later::CutOff(..) | Later::Trap(..) => false,
        };
        self.later.retain(|_, later| stays(later));
        let (now, quick) = (self.world.now, self.shape.pace.commit_us);
        self.world.note_world(format_args!("everything is healed"));
        self.world.wires.clear();
        for machine in &mut self.world.machines {
            machine.disk.full = false;
            machine.refuses_sync = false;
            machine.cut_off_until = None;
        }
        for cluster in &mut self.world.clusters {
            cluster.commit_us = quick;
            cluster.next_fate = None;
        }
        for conn in self.world.net.conns.values_mut() {
            conn.stalled_until = conn.stalled_until.min(now);
        }
        for place in 0..self.world.slots.len() {
            self.world.go_on(ProcId(u32::try_from(place).unwrap_or(u32::MAX)));
        }
    }

    /// What people do who look after it.
    fn care(&mut self, slice: u32) {
        for cluster in (0..self.shape.clusters).map(ClusterId) {
            let client = self.clients[cluster.0 as usize][1];
            if self.waiting(client) > QUESTIONS_MAX {
                continue;
            }
            if slice.is_multiple_of(3) {
                self.lift(cluster);
            }
            self.settle_doubts(cluster);
            self.settle_tasks(cluster, slice);
            if slice >= PATIENCE_SLICES && slice.is_multiple_of(PATIENCE_SLICES) {
                self.forget_the_gone(cluster);
                self.forget_who_lives_nowhere(cluster);
                self.cancel_what_nobody_begins(cluster);
            }
        }
    }

    /// Nothing is paused or drained any more.
    fn lift(&mut self, cluster: ClusterId) {
        let book = &self.check().view(cluster).book;
        let mut asks = Vec::new();
        for name in &book.paused {
            let namespace = (!name.is_empty()).then(namespace);
            asks.push(Request::Pause { namespace, paused: Paused::No });
        }
        for worker in book.workers.values() {
            if worker.paused {
                asks.push(Request::PauseWorker { worker: worker.name.clone(), paused: Paused::No });
            }
            if worker.drained_since.is_some() {
                asks.push(Request::UndrainWorker { worker: worker.name.clone() });
            }
        }
        let paused = book.open_tasks().filter(|(_, task)| task.paused);
        asks.extend(paused.map(|(id, _)| verb(TaskRef::whole(id), TaskVerb::Resume)));
        let runs = book.runs.iter().filter(|(_, state)| !state.is_ended());
        asks.extend(runs.map(|(run, _)| run_verb(*run, RunVerb::Resume)));
        if self.shape.tastes.asking > 0 {
            asks.extend(crate::workload::resource::all_there());
        }
        if self.shape.tastes.limited > 0 {
            asks.push(crate::workload::limit::lifted());
        }
        if self.shape.trial == Some(Trial::Held) {
            asks.push(crate::workload::trial::held_lifted());
        }
        for ask in asks {
            self.ask(cluster, ask);
        }
    }

    /// What is in doubt is settled by who knows: no job of it lives.
    fn settle_doubts(&mut self, cluster: ClusterId) {
        for unit in self.check().in_doubt(cluster) {
            if self.check().facts.lives(cluster, unit) {
                continue;
            }
            self.check().facts.excuse(cluster, unit);
            let how = Completion::Failure("nobody knows".to_owned());
            self.ask(cluster, verb(unit, TaskVerb::Resolve { how }));
        }
    }

    fn settle_tasks(&mut self, cluster: ClusterId, slice: u32) {
        let left = self.slots_left(cluster);
        let book = &self.check().view(cluster).book;
        let slots =
            |id: TaskId| book.tasks.get(&id).filter(|task| !task.unit.state.is_ended()).map(|task| task.spec.slots);
        let of = |(id, task): (TaskId, &TaskSeen)| {
            let waits = matches!(task.spec.work.action, Action::Wait);
            // A gang may have been asked for when there were more workers.
            let is_apart = task.spec.gang.is_some_and(|member| match member.terms.form {
                Form::Distinct => true,
                Form::Together => member.all().filter_map(slots).sum::<u32>() > left,
                Form::Chain => false,
            });
            let is_picky = is_apart || !task.spec.requires.is_empty() || !task.spec.placement.excludes.is_empty();
            (id, waits, is_picky || task.spec.slots > 1 || is_endless(&task.spec.work.action))
        };
        let open: Vec<_> = book.open_tasks().map(of).collect();
        for (id, waits, may_never_end) in open {
            if waits {
                self.complete(cluster, id);
            }
            if may_never_end && slice >= PATIENCE_SLICES && slice.is_multiple_of(PATIENCE_SLICES) {
                self.ask(cluster, verb(TaskRef::whole(id), TaskVerb::Cancel { why: "it never ends".to_owned() }));
            }
        }
    }

    /// What all workers that somebody still starts have together.
    fn slots_left(&self, cluster: ClusterId) -> u32 {
        let there = self.staff.iter().filter(|staff| !staff.retired);
        let roles = there.filter_map(|staff| match &self.world.slots[staff.proc.0 as usize].role {
            Role::Worker(role) if role.servers.contains(&cluster) => Some((&role.name, role.slots)),
            _ => None,
        });
        // Of those of one name one acts.
        let by_name: BTreeMap<_, _> = roles.collect();
        by_name.values().sum()
    }

    fn complete(&mut self, cluster: ClusterId, id: TaskId) {
        let book = &self.check().view(cluster).book;
        let running = |state: StateKind| state == StateKind::Running;
        let elements = book.elements.range((id, 0)..=(id, u32::MAX)).filter(|(_, unit)| running(unit.state));
        let mut units: Vec<TaskRef> = elements.map(|((task, index), _)| TaskRef::element(*task, *index)).collect();
        if book.tasks.get(&id).is_some_and(|task| task.count.is_none() && running(task.unit.state)) {
            units.push(TaskRef::whole(id));
        }
        for unit in units {
            self.ask(cluster, verb(unit, TaskVerb::Complete { how: Completion::Success(None) }));
        }
    }

    /// Where the next holder of an identity waits for attempts of one before it that no process is left of, somebody
    /// looks there, and says so, as the worker's own message asks for.
    fn forget_who_lives_nowhere(&mut self, cluster: ClusterId) {
        let check = self.check();
        let mut names = Vec::new();
        for id in check.sessions.held_off(cluster, HELD_OFF_TIMES) {
            let book = &check.view(cluster).book;
            let held: Vec<TaskRef> = book.held.get(&id).into_iter().flatten().map(|attempt| attempt.task).collect();
            let lives = held.iter().any(|unit| check.facts.lives(cluster, *unit));
            let name = book.workers.get(&id).map(|worker| worker.name.clone());
            names.extend(name.filter(|_| !held.is_empty() && !lives));
        }
        for worker in names {
            self.ask(cluster, Request::ForgetWorker { worker });
        }
    }

    /// A store was put back behind everybody's back, and has given out under an old name what its worker takes for what it
    /// has ended before. Whoever put it back sees it assigned, and never begun.
    fn cancel_what_nobody_begins(&mut self, cluster: ClusterId) {
        for unit in self.check().with_two_meanings(cluster) {
            if !self.check().facts.lives(cluster, unit) {
                self.ask(cluster, verb(unit, TaskVerb::Cancel { why: "it is never begun".to_owned() }));
            }
        }
    }

    /// Identities under which nobody acts any more are forgotten: of what they had nothing lives.
    fn forget_the_gone(&mut self, cluster: ClusterId) {
        let mut names: BTreeSet<WorkerName> = BTreeSet::new();
        for staff in self.staff.iter().filter(|staff| self.world.is_running(staff.proc) || !staff.retired) {
            let Role::Worker(role) = &self.world.slots[staff.proc.0 as usize].role else { continue };
            if role.pool.is_some() {
                // Which of a pool's identities it has only the server knows.
                return;
            }
            names.insert(role.name.clone());
        }
        let book = &self.check().view(cluster).book;
        let holds = |id| book.held.get(id).is_some_and(|held| !held.is_empty());
        let gone = book.workers.iter().filter(|(id, worker)| holds(id) && !names.contains(&worker.name));
        let gone: Vec<WorkerName> = gone.map(|(_, worker)| worker.name.clone()).collect();
        for worker in gone {
            self.ask(cluster, Request::ForgetWorker { worker });
        }
    }
}

/// Whether a job never ends by itself.
fn is_endless(action: &Action) -> bool {
    match action {
        Action::Command(Command::Argv(argv)) => Plan::from_argv(argv).is_some_and(|plan| plan.length_us.is_none()),
        Action::Command(Command::Shell(_)) | Action::Noop | Action::Http(_) | Action::Wait | Action::Sleep(_) => false,
    }
}
