//! Inputs that need what is not in memory, and what may leave memory.
//!
//! **Nothing stale.** A fact is read after its input was parked, so it shows at least what was
//! durable then. What changed in a later batch than that stays in memory as long as the input is
//! parked; and where fact and memory disagree, memory wins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::answer::{Refusal, RefusalCode};
use crate::effect::Effect;
use crate::id::{ParkId, RunId, TaskId};
use crate::input::{Evaluation, Fact, Input, Need, Request, Submit, TaskVerb};
use crate::message::FromWorker;
use crate::mutant::{self, Mutant};
use crate::name::Namespace;
use crate::probe::{self, Path};
use crate::row::{EndedRun, EndedTask};
use crate::spec::{Action, Command, Work};

use super::Engine;
use super::array::{Array, Element, Whole};
use super::run::{NodeHot, Run};
use super::table::{Hot, IsArray, Origin, Policy, Rare, Task};

/// Most inputs that wait for rows at a time.
pub(super) const PARKED_MAX: usize = 10_000;
/// Most bytes, about, of inputs that wait for rows at a time. 256 MiB. One alone may be larger.
const PARKED_BYTES_MAX: usize = 256 << 20;
/// What every input, and every piece of work, takes at least, in bytes.
const INPUT_BYTES: usize = 512;

/// Inputs that wait.
#[derive(Debug, Default)]
pub(super) struct Parking {
    next: ParkId,
    parked: BTreeMap<ParkId, Parked>,
    bytes: usize,
    wanted: Vec<(ParkId, Vec<Need>)>,
}

#[derive(Debug)]
struct Parked {
    input: Input,
    /// The last durable batch when it was parked.
    durable: u64,
    /// Its size, about.
    bytes: usize,
    again: Again,
}

/// Whether what was read for an input showed that it needs more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Yes,
}

impl Parking {
    /// Inputs waiting.
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    /// The last batch that every fact on its way is sure to show.
    fn floor(&self) -> Option<u64> {
        self.parked.first_key_value().map(|(_, parked)| parked.durable)
    }
}

/// Key of an idempotency key in memory.
pub(super) type KeyName = (Namespace, String);

/// What may leave memory once its batch is durable, in the order of the batches.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    queue: VecDeque<(u64, Leaves)>,
}

#[derive(Debug)]
enum Leaves {
    Task(TaskId),
    Run(RunId),
    Key(KeyName),
}

impl Evictions {
    pub(super) fn push_task(&mut self, batch: u64, task: TaskId) {
        self.queue.push_back((batch, Leaves::Task(task)));
    }

    pub(super) fn push_run(&mut self, batch: u64, run: RunId) {
        self.queue.push_back((batch, Leaves::Run(run)));
    }

    pub(super) fn push_key(&mut self, batch: u64, key: KeyName) {
        self.queue.push_back((batch, Leaves::Key(key)));
    }
}

impl Engine {
    /// What an input needs that is not in memory.
    fn needs(&self, input: &Input) -> Vec<Need> {
        let mut needs = Needs { engine: self, list: Vec::new() };
        match input {
            Input::Request { request, .. } => needs.of_request(request),
            Input::FromWorker { session, message } if self.sessions.contains_key(session) => needs.of_message(message),
            Input::Evaluated { outcome: Evaluation::Task(new), .. } => {
                new.spec.after.iter().for_each(|dependency| needs.task(dependency.task.task));
            }
            Input::Tick
            | Input::StoodStill { .. }
            | Input::Connected { .. }
            | Input::FromWorker { .. }
            | Input::Disconnected { .. }
            | Input::Evaluated { .. }
            | Input::Facts { .. } => {}
        }
        needs.list
    }

    /// Parks the input where it needs something. Gives it back where it does not.
    pub(super) fn park(&mut self, input: Input) -> Option<Input> {
        self.park_as(input, Again::No)
    }

    fn park_as(&mut self, input: Input, again: Again) -> Option<Input> {
        let needs = self.needs(&input);
        if needs.is_empty() {
            return Some(input);
        }
        let bytes = weight(&input);
        let is_full = self.parking.len() >= PARKED_MAX || self.parking.bytes.saturating_add(bytes) > PARKED_BYTES_MAX;
        if is_full && self.parking.len() > 0 {
            self.refuse_parking(&input);
            return None;
        }
        let id = self.parking.next;
        self.parking.next = id.next();
        self.parking.bytes = self.parking.bytes.saturating_add(bytes);
        self.parking.parked.insert(id, Parked { input, durable: self.durable, bytes, again });
        self.parking.wanted.push((id, needs));
        None
    }

    /// Too much waits already: people are asked to try again, workers send again after they have
    /// reconnected.
    fn refuse_parking(&mut self, input: &Input) {
        match input {
            Input::Request { reply, .. } => {
                let message = "Too many requests wait for what must be read first; try again in a moment.";
                let refusal = Refusal::new(RefusalCode::Busy, message);
                self.out.effects.push(Effect::Reply { to: *reply, reply: Err(refusal) });
            }
            Input::FromWorker { session, .. } => {
                self.disconnected(*session, "too many messages wait for what must be read first");
                self.out.effects.push(Effect::Close { session: *session });
            }
            Input::Evaluated { run, .. } => self.evaluate_due(*run),
            Input::Tick
            | Input::StoodStill { .. }
            | Input::Connected { .. }
            | Input::Disconnected { .. }
            | Input::Facts { .. } => {}
        }
    }

    pub(super) fn wanted(&mut self) -> Vec<(ParkId, Vec<Need>)> {
        std::mem::take(&mut self.parking.wanted)
    }

    /// Facts have come: they enter memory where memory knows nothing, and the input is given back.
    pub(super) fn unpark(&mut self, park: ParkId, facts: Vec<Fact>) -> Option<Input> {
        let parked = self.parking.parked.remove(&park)?;
        self.parking.bytes = self.parking.bytes.saturating_sub(parked.bytes);
        for fact in facts {
            match fact {
                Fact::Task(Some(ended)) => self.recall_task(*ended),
                Fact::Run(Some(ended)) => self.recall_run(*ended),
                Fact::Key(Some(row)) => {
                    let name = (row.namespace.clone(), row.key.clone());
                    if self.keys.contains_key(&name) {
                        probe::reached(Path::KeyReusedWhileTheFirstIsParked);
                    } else {
                        let filling = self.filling();
                        self.evictions.push_key(filling, name.clone());
                        self.keys.insert(name, row);
                    }
                }
                Fact::Task(None) => probe::reached(Path::ParkedForAPurgedTask),
                Fact::Run(None) | Fact::Key(None) => {}
            }
        }
        // Only now it is known of which gang a task is: its members are wanted too, once.
        match (parked.again, &parked.input) {
            (Again::No, Input::Request { request: Request::Tasks { verb: TaskVerb::Retry, .. }, .. }) => {
                self.park_as(parked.input, Again::Yes)
            }
            _ => Some(parked.input),
        }
    }

    /// An ended task comes back into memory, for one batch at least.
    fn recall_task(&mut self, ended: EndedTask) {
        let EndedTask { row, spec, elements } = ended;
        let id = row.id;
        if self.tasks.contains_key(&id) || self.tasks_gone.contains_key(&id) || !row.unit.state.is_ended() {
            self.note_stale_fact(id);
            return;
        }
        let mut task = self.task_from(row, &spec);
        if let Some(array) = task.array_mut() {
            for element in elements {
                array.mark_ended(element.index, element.unit.state);
                let hot = Hot::from_row(&element.unit, IsArray::No);
                array.elements.insert(element.index, Element { version: element.version, hot });
            }
            array.whole = Whole::Yes;
        }
        self.tasks.insert(id, task);
        let filling = self.filling();
        self.evictions.push_task(filling, id);
    }

    /// A fact came for what memory knows better.
    fn note_stale_fact(&self, id: TaskId) {
        match self.tasks.get(&id) {
            Some(task) if task.array().is_some() => probe::reached(Path::ArrayRecalledWhileAnotherWaits),
            Some(task) if !task.is_ended() => probe::reached(Path::RetriedWhileAnotherWaits),
            Some(_) => probe::reached(Path::TaskRecalledWhileAnotherWaits),
            None if self.tasks_gone.contains_key(&id) => probe::reached(Path::TaskRemovedWhileAnotherWaits),
            None => {}
        }
    }

    /// A task from its row and description.
    pub(super) fn task_from(&mut self, row: crate::row::TaskRow, spec: &crate::spec::TaskSpec) -> Task {
        let policy = self.policy_of(&row, spec);
        Self::task_with(row, spec, policy)
    }

    /// What it has in common with others.
    pub(super) fn policy_of(&mut self, row: &crate::row::TaskRow, spec: &crate::spec::TaskSpec) -> Arc<Policy> {
        let (namespace, created_by) = (row.namespace.clone(), row.created_by.clone());
        let origin = Origin { namespace, created_by, run: row.run, step: row.step.clone() };
        let lane = self.lane_key(&origin, spec);
        let lane = self.lanes.intern(lane);
        self.policies.shared(Policy::of(spec, origin, lane))
    }

    /// The same, where that is known.
    pub(super) fn task_with(row: crate::row::TaskRow, spec: &crate::spec::TaskSpec, policy: Arc<Policy>) -> Task {
        let is_array = if spec.array.is_some() { IsArray::Yes } else { IsArray::No };
        let array = spec
            .array
            .clone()
            .zip(row.array)
            .map(|(shape, counts)| Box::new(Array::with(shape, counts).asking(spec.asks())));
        let rare = Rare {
            name: row.name.map(Into::into),
            paused: row.paused.map(Box::new),
            after: (!spec.after.is_empty()).then(|| spec.after.as_slice().into()),
            open: None,
            array,
            gang: spec.gang.map(Box::new),
        };
        Task {
            policy,
            version: row.version,
            round: row.round,
            round_at: row.round_at,
            submitted_at: row.submitted_at,
            ticket: row.ticket,
            ticket_at: row.ticket_at.into(),
            hot: Hot::from_row(&row.unit, is_array),
            rare: rare.kept(),
            written: 0,
        }
    }

    fn recall_run(&mut self, ended: EndedRun) {
        let EndedRun { row, graph, nodes } = ended;
        let id = row.id;
        if self.runs.contains_key(&id) || self.runs_gone.contains_key(&id) || !row.state.is_ended() {
            return;
        }
        let mut run = Run::new(row, graph);
        for node in nodes {
            run.set_node(node.node, NodeHot::from_row(node));
        }
        self.runs.insert(id, run);
        let filling = self.filling();
        self.evictions.push_run(filling, id);
    }

    /// Every batch up to this one is durable.
    pub(super) fn note_durable(&mut self, batch: u64) {
        self.durable = self.durable.max(batch);
        self.evict();
    }

    /// Lets go of what is durable, and is shown by every fact on its way.
    pub(super) fn evict(&mut self) {
        let parked = self.parking.floor().filter(|_| !mutant::is(Mutant::StaleFactBelieved));
        let floor = parked.map_or(self.durable, |floor| floor.min(self.durable));
        while let Some((batch, _)) = self.evictions.queue.front() {
            if *batch > floor {
                return;
            }
            match self.evictions.queue.pop_front() {
                Some((_, Leaves::Task(id))) => self.evict_task(id, floor),
                Some((_, Leaves::Run(id))) => {
                    if self.runs_gone.get(&id).is_some_and(|batch| *batch <= floor) {
                        self.runs_gone.remove(&id);
                    }
                    if self.runs.get(&id).is_some_and(|run| run.row.state.is_ended() && run.written <= floor) {
                        self.runs.remove(&id);
                    }
                }
                Some((_, Leaves::Key(name))) => {
                    self.keys.remove(&name);
                }
                None => return,
            }
        }
    }

    fn evict_task(&mut self, id: TaskId, floor: u64) {
        if self.tasks_gone.get(&id).is_some_and(|batch| *batch <= floor) {
            self.tasks_gone.remove(&id);
        }
        if self.tasks.get(&id).is_some_and(|task| task.is_ended() && task.written <= floor) {
            self.tasks.remove(&id);
        }
    }
}

/// What an input takes in memory, about: its own texts, and what every one takes.
fn weight(input: &Input) -> usize {
    let of_work = |work: &Work| {
        let action = match &work.action {
            Action::Command(Command::Argv(argv)) => argv.iter().map(String::len).sum(),
            Action::Command(Command::Shell(text)) => text.len(),
            Action::Http(request) => request.url.len() + request.body.as_ref().map_or(0, String::len),
            Action::Noop | Action::Wait | Action::Sleep(_) => 0,
        };
        let texts = |texts: &BTreeMap<String, String>| texts.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        INPUT_BYTES + action + texts(&work.env) + texts(&work.files)
    };
    let of_task = |new: &crate::input::NewTask| {
        of_work(&new.spec.work) + new.elements.iter().map(of_work).sum::<usize>() + 32 * new.spec.after.len()
    };
    let own = match input {
        Input::Request { request: Request::Submit(submit) | Request::SubmitGang(submit, _), .. } => {
            submit.tasks.iter().map(of_task).sum()
        }
        Input::Request { request: Request::StartRun(start), .. } => start.source.len() + start.inputs.len(),
        Input::Request { request: Request::Tasks { tasks, .. }, .. } => size_of_val(tasks.as_slice()),
        Input::FromWorker { message: FromWorker::Finished(finished), .. } => {
            finished.result.as_ref().map_or(0, String::len)
        }
        Input::Evaluated { outcome: Evaluation::Task(new), .. } => of_task(new),
        Input::Request { .. }
        | Input::FromWorker { .. }
        | Input::Evaluated { .. }
        | Input::Tick
        | Input::StoodStill { .. }
        | Input::Connected { .. }
        | Input::Disconnected { .. }
        | Input::Facts { .. } => 0,
    };
    INPUT_BYTES + own
}

/// Gathers needs.
struct Needs<'a> {
    engine: &'a Engine,
    list: Vec<Need>,
}

impl Needs<'_> {
    fn add(&mut self, need: Need) {
        if !self.list.contains(&need) {
            self.list.push(need);
        }
    }

    /// A task that may exist, but is not in memory.
    fn task(&mut self, id: TaskId) {
        let engine = self.engine;
        let may_exist = id.0 > 0 && id < engine.counters.task;
        if may_exist && !engine.tasks.contains_key(&id) && !engine.tasks_gone.contains_key(&id) {
            self.add(Need::Task(id));
        }
    }

    /// The others of its gang, where that has ended.
    fn members(&mut self, id: TaskId) {
        let engine = self.engine;
        let member = engine.tasks.get(&id).filter(|task| task.is_ended()).and_then(|task| task.gang());
        member.into_iter().flat_map(crate::gang::Member::all).for_each(|id| self.task(id));
    }

    fn key(&mut self, namespace: &Namespace, key: Option<&crate::input::IdempotencyKey>) {
        let Some(key) = key else { return };
        let name = (namespace.clone(), key.key.clone());
        if !self.engine.keys.contains_key(&name) && self.engine.known_keys.may_have(&name) {
            self.add(Need::Key { namespace: name.0, key: name.1 });
        }
    }

    fn of_submit(&mut self, submit: &Submit) {
        self.key(&submit.namespace, submit.key.as_ref());
        let after: BTreeSet<TaskId> =
            submit.tasks.iter().flat_map(|new| new.spec.after.iter().map(|dependency| dependency.task.task)).collect();
        for task in after {
            self.task(task);
        }
    }

    fn of_request(&mut self, request: &Request) {
        match request {
            Request::Submit(submit) | Request::SubmitGang(submit, _) => self.of_submit(submit),
            Request::StartRun(start) => self.key(&start.namespace, start.key.as_ref()),
            Request::Tasks { tasks, verb, .. } => tasks.iter().for_each(|unit| {
                self.task(unit.task);
                if *verb == TaskVerb::Retry {
                    self.members(unit.task);
                }
            }),
            Request::Run { run, .. } => {
                if run.0 > 0
                    && *run < self.engine.counters.run
                    && !self.engine.runs.contains_key(run)
                    && !self.engine.runs_gone.contains_key(run)
                {
                    self.add(Need::Run(*run));
                }
            }
            Request::Explain { task, .. } => self.task(task.task),
            Request::Pause { .. }
            | Request::Gang { .. }
            | Request::PauseWorker { .. }
            | Request::DrainWorker { .. }
            | Request::UndrainWorker { .. }
            | Request::ForgetWorker { .. }
            | Request::EnrolInPool { .. }
            | Request::PutToken(_)
            | Request::Enrol { .. }
            | Request::ExplainWorker { .. }
            | Request::ExplainRun { .. }
            | Request::WhyWaiting { .. }
            | Request::Overview
            | Request::SetResource { .. }
            | Request::DeleteResource { .. }
            | Request::Resource { .. }
            | Request::Resources
            | Request::SetNamespace { .. }
            | Request::Namespace { .. }
            | Request::Namespaces => {}
        }
    }

    fn of_message(&mut self, message: &FromWorker) {
        match message {
            FromWorker::Started(attempt)
            | FromWorker::Released { attempt, .. }
            | FromWorker::Gone { attempt, .. }
            | FromWorker::Late { attempt, .. }
            | FromWorker::ArtifactCommitted { attempt, .. }
            | FromWorker::ArtifactUndelivered { attempt, .. } => self.task(attempt.task.task),
            FromWorker::Finished(finished) => self.task(finished.attempt.task.task),
            FromWorker::Heartbeat | FromWorker::Demand { .. } | FromWorker::Health(_) | FromWorker::Bye { .. } => {}
        }
    }
}
