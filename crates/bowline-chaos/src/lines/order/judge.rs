//! Plays the events, one by one, in books of its own, and says what is wrong about each grant.

mod grant;
mod idle;
mod together;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ask::Ask;
use super::resource::{Declared, Place, Resource};
use super::wrong::{Kind, Wrong};
use super::{At, Unit};
use together::Member;
pub(crate) use together::{Key, Quota};
pub(crate) use told::{Snapshot, Told};

/// So many ended tasks are remembered: they may be retried, and their ticket is another one then.
const ENDED_MAX: usize = 4_096;
/// Findings that nobody has taken yet.
const WRONGS_MAX: usize = 1_000;

/// What happened to a task, as an event tells it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: At,
    /// The server's clock, in microseconds.
    pub(crate) at_us: i64,
    pub(crate) unit: Unit,
    pub(crate) what: String,
}

/// What is known of a task from whoever submitted it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) asks: Vec<Ask>,
    pub(crate) array: Option<Array>,
    pub(crate) release_while_retrying: bool,
    /// The concurrency key that it is under.
    pub(crate) key: Option<Key>,
    /// What its namespace may do at a time.
    pub(crate) quota: Option<Quota>,
    /// The gang of which it is a member.
    pub(crate) gang: Option<String>,
    /// The run under which it runs, or for which it holds all that it asks for.
    pub(crate) run: Option<String>,
    pub(crate) is_keeper: bool,
}

/// What is known of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Array {
    /// Its elements are 1 to this.
    pub(crate) count: u64,
    /// Only so many elements go at a time: the others stand aside, and nobody says so.
    pub(crate) has_window: bool,
    /// Its namespace is never paused.
    pub(crate) is_steady: bool,
}

/// What is counted, so that it is seen that something was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) grants: u64,
    /// Of these: whose place was known.
    pub(crate) placed: u64,
    pub(crate) units_known: u64,
    pub(crate) asides: u64,
    pub(crate) returns: u64,
    pub(crate) losses: u64,
    pub(crate) kept_for_retry: u64,
    pub(crate) snapshots: u64,
    pub(crate) doubts: u64,
    /// Judged against a key or a quota.
    pub(crate) limited: u64,
    /// Gangs that began.
    pub(crate) gangs: u64,
    /// Begun under what their run holds.
    pub(crate) under_runs: u64,
    pub(crate) longest_line: u64,
    pub(crate) longest_wait_us: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Task {
    shape: Shape,
    /// `None`: it was forgotten, and came back.
    round: Option<u64>,
    /// By round, from the current one on.
    tickets: BTreeMap<u64, u64>,
    has_entered: bool,
    is_paused: bool,
    /// Of an array: the last element that anything was heard of.
    last: u64,
    /// Of an array: where its next element stands, which never began, and of which no event tells.
    shadow: Option<Place>,
    /// As a member of a gang.
    member: Member,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stand {
    Out,
    InLine,
    Aside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// No attempt lives.
    None,
    /// An attempt lives, and its processes.
    Live,
    Stopping,
    /// It was said that the attempt is lost, or was given back: what it held may be freed.
    LetGo,
    /// Between a failure and the next attempt.
    Retrying,
    Doubt,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Life {
    stand: Stand,
    phase: Phase,
    holds: bool,
    place: Option<Place>,
    since_us: i64,
    /// Grants in its lines when it came to stand.
    grants_before: u64,
    is_told: bool,
}

/// The books.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Judge {
    at: At,
    now_us: i64,
    tasks: BTreeMap<u64, Task>,
    lives: BTreeMap<Unit, Life>,
    resources: BTreeMap<String, Resource>,
    ended: BTreeMap<u64, (At, Option<Task>)>,
    /// The highest ticket of earlier commits, and of this one.
    tickets: (u64, u64),
    given: BTreeMap<Unit, Vec<(String, i64, Vec<String>)>>,
    touched: BTreeSet<String>,
    /// Given to a worker, granted, and ended for a run, in this commit.
    begun: BTreeSet<Unit>,
    granted: BTreeSet<Unit>,
    let_go: BTreeSet<String>,
    /// Holders that had ended, as a resource told: who is told again is a finding.
    ghosts: BTreeMap<String, BTreeSet<Unit>>,
    wrongs: Vec<Wrong>,
    pub(crate) counts: Counts,
}

impl Judge {
    /// Up to where everything has been heard.
    pub(crate) fn position(&self) -> At {
        self.at
    }

    /// What was found since it was last asked.
    pub(crate) fn take_wrongs(&mut self) -> Vec<Wrong> {
        std::mem::take(&mut self.wrongs)
    }

    /// Whether it needs to be told what this task asks for.
    pub(crate) fn knows(&self, task: u64) -> bool {
        self.tasks.contains_key(&task) || self.ended.contains_key(&task)
    }

    /// Units that have not ended.
    pub(crate) fn unended(&self) -> impl Iterator<Item = Unit> {
        self.lives.keys().copied()
    }

    /// Who holds something, and what.
    pub(crate) fn holding(&self) -> Vec<(Unit, String)> {
        let all = self.resources.iter();
        all.flat_map(|(name, resource)| resource.holders.keys().map(move |unit| (*unit, name.clone()))).collect()
    }

    #[cfg(test)]
    pub(super) fn shape_of(&self, task: u64) -> Shape {
        let ended = || self.ended.get(&task)?.1.as_ref();
        self.tasks.get(&task).or_else(ended).map(|task| task.shape.clone()).unwrap_or_default()
    }

    /// A task that was submitted. One that asks for nothing is none of ours.
    pub(crate) fn introduce(&mut self, task: u64, shape: Shape) {
        if shape == Shape::default() || self.knows(task) {
            return;
        }
        self.tasks.insert(task, Task::new(shape));
    }

    /// A resource is being declared: from the request on.
    pub(crate) fn declare(&mut self, name: &str, declared: Declared, sent_us: i64) {
        self.resources.entry(name.to_owned()).or_default().declare(declared, sent_us);
    }

    /// The newest declaration was answered.
    pub(crate) fn declared(&mut self, name: &str, answered_us: i64) {
        self.resources.entry(name.to_owned()).or_default().declared(answered_us);
        self.touched.insert(name.to_owned());
    }

    /// What it is declared to be now.
    pub(crate) fn declaration(&self, name: &str) -> Declared {
        self.resources.get(name).map(Resource::newest).unwrap_or_default()
    }

    /// The next event. The commit of the one before may be over with it.
    pub(crate) fn hear(&mut self, event: &Event) {
        if event.at.commit != self.at.commit {
            self.close();
        }
        self.at = event.at;
        self.now_us = self.now_us.max(event.at_us);
        self.counts.events += 1;
        let unit = event.unit;
        if event.what == "retried" {
            self.retried(unit.task);
        }
        let Some(task) = self.tasks.get_mut(&unit.task) else { return };
        match event.what.as_str() {
            "submitted" => task.round = Some(1),
            "waiting" | "ready" | "stands_aside" => self.enters(unit.task),
            "paused" => task.is_paused = true,
            "resumed" => task.is_paused = false,
            _ => {}
        }
        self.shade(unit);
        let is_whole =
            unit.index.is_none() && self.tasks.get(&unit.task).is_some_and(|task| task.shape.array.is_some());
        match event.what.as_str() {
            "succeeded" | "failed" | "cancelled" | "skipped" => self.ends(unit, &event.what),
            _ if is_whole => {}
            what => self.lives_on(unit, what),
        }
    }

    /// A new round of what has ended.
    fn retried(&mut self, task: u64) {
        if let Some((_, ended)) = self.ended.remove(&task)
            && let Some(mut ended) = ended
        {
            ended.round = ended.round.map(|round| round + 1);
            (ended.has_entered, ended.is_paused, ended.last, ended.shadow) = (false, false, 0, None);
            let round = ended.round.unwrap_or(u64::MAX);
            ended.tickets.retain(|of, _| *of >= round);
            ended.member = Member::default();
            self.tasks.insert(task, ended);
        }
    }

    /// The first of its round that is heard of a ticket.
    fn enters(&mut self, id: u64) {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| !task.has_entered) else { return };
        task.has_entered = true;
        // A gang takes its ticket when the last of it waits: whoever waits before hears of it too early.
        let Some(ticket) = task.ticket().filter(|_| task.shape.gang.is_none()) else { return };
        let before = self.tickets.0;
        self.tickets.1 = self.tickets.1.max(ticket);
        if ticket <= before {
            let text = format!("{id} took ticket {ticket} at {}; ticket {before} had been taken before", self.at);
            self.find(Wrong::new(Kind::Ticket, text));
        }
    }

    /// Of an array the next element stands in line too, and no event tells so. In a round that is not its first, any
    /// may that did not succeed.
    fn shade(&mut self, unit: Unit) {
        let Some(task) = self.tasks.get_mut(&unit.task) else { return };
        let Some(array) = task.shape.array.filter(|_| task.has_entered) else { return };
        task.last = task.last.max(unit.index.unwrap_or(0));
        let next = if task.round == Some(1) { task.last + 1 } else { 0 };
        let unit = Unit { task: unit.task, index: Some(next) };
        let shadow = task.ticket().filter(|_| next <= array.count).map(|ticket| (ticket, unit));
        if shadow == task.shadow {
            return;
        }
        self.unshade(unit.task);
        let Some(task) = self.tasks.get_mut(&unit.task) else { return };
        task.shadow = shadow;
        let Some(shadow) = shadow else { return };
        for ask in &task.shape.asks {
            self.resources.entry(ask.resource.clone()).or_default().shadows.insert(shadow);
        }
    }

    fn unshade(&mut self, task: u64) {
        let Some(task) = self.tasks.get_mut(&task) else { return };
        let Some(shadow) = task.shadow.take() else { return };
        for ask in &task.shape.asks {
            let resource = self.resources.get_mut(&ask.resource);
            resource.map(|resource| resource.shadows.remove(&shadow));
            self.touched.insert(ask.resource.clone());
        }
    }

    fn lives_on(&mut self, unit: Unit, what: &str) {
        let now_us = self.now_us;
        self.lives.entry(unit).or_insert_with(|| Life::new(now_us));
        match what {
            "waiting" => self.waits(unit),
            "ready" => self.granted(unit),
            "stands_aside" => self.stands_aside(unit),
            "steps_back" => {
                self.counts.returns += 1;
                self.stand(unit);
            }
            // A lost attempt that came back before a newer one began.
            "running" if self.is(unit, |life| life.phase == Phase::LetGo && !life.holds) => {
                self.granted(unit);
                self.begun.insert(unit);
                self.enter_phase(unit, Phase::Live);
            }
            "assigned" | "running" => self.begins(unit, what),
            "stopping" => self.enter_phase(unit, Phase::Stopping),
            "in_doubt" => {
                self.counts.doubts += 1;
                self.enter_phase(unit, Phase::Doubt);
            }
            "lost" | "given_back" => {
                self.counts.losses += u64::from(what == "lost");
                self.enter_phase(unit, Phase::LetGo);
                self.scatters(unit);
            }
            "scheduled" => self.schedules(unit),
            "blocked" => self.leave(unit),
            _ => {}
        }
    }

    /// In line, holding nothing. Between a failure and the next attempt it is passed through, and keeps what it holds.
    fn waits(&mut self, unit: Unit) {
        if self.is(unit, |life| life.holds && life.phase == Phase::Retrying) {
            return;
        }
        if self.is(unit, |life| life.holds && life.phase == Phase::Live) {
            let text = format!(
                "{unit} waits again at {}, and nobody said that its attempt is lost or was given back",
                self.at
            );
            self.find(Wrong::new(Kind::FreedEarly, text));
        }
        self.release(unit);
        self.stand(unit);
    }

    fn stands_aside(&mut self, unit: Unit) {
        self.counts.asides += 1;
        if self.is(unit, |life| life.holds && matches!(life.phase, Phase::Live | Phase::Stopping | Phase::Doubt)) {
            let text = format!("{unit} stood aside at {} with an attempt that lives", self.at);
            self.find(Wrong::new(Kind::FreedEarly, text));
        }
        self.release(unit);
        self.leave(unit);
        if let Some(life) = self.lives.get_mut(&unit) {
            life.stand = Stand::Aside;
        }
    }

    fn schedules(&mut self, unit: Unit) {
        self.leave(unit);
        let gives_up = self.tasks.get(&unit.task).is_some_and(|task| task.shape.release_while_retrying);
        if gives_up || self.fails_too_early(unit) {
            self.release(unit);
            self.enter_phase(unit, Phase::None);
        } else if self.is(unit, |life| life.holds) {
            self.counts.kept_for_retry += 1;
            self.enter_phase(unit, Phase::Retrying);
        } else {
            self.enter_phase(unit, Phase::None);
        }
    }

    fn begins(&mut self, unit: Unit, what: &str) {
        let asks_for_nothing = self.tasks.get(&unit.task).is_some_and(|task| task.shape.asks.is_empty());
        if asks_for_nothing && let Some(life) = self.lives.get_mut(&unit) {
            // Of an array's element that asks for nothing it is not told that it may begin.
            life.holds = true;
        }
        if !self.is(unit, |life| life.holds) {
            let text = format!("{unit} is {what} at {}, and was not granted what it asks for", self.at);
            self.find(Wrong::new(Kind::NotHeld, text));
        }
        self.leave(unit);
        if what == "assigned" {
            self.begun.insert(unit);
        }
        self.enter_phase(unit, Phase::Live);
        self.begins_with_others(unit, what);
    }

    fn ends(&mut self, unit: Unit, what: &str) {
        if what == "cancelled" && self.is(unit, |life| life.holds && life.phase == Phase::Live) {
            let text = format!("{unit} was cancelled at {} while it ran, before its processes were gone", self.at);
            self.find(Wrong::new(Kind::FreedEarly, text));
        }
        self.release(unit);
        self.leave(unit);
        self.lives.remove(&unit);
        self.given.remove(&unit);
        self.begun.remove(&unit);
        if unit.index.is_some() {
            return;
        }
        // Elements that never began end with their array, and nobody says so.
        let elements = Unit { task: unit.task, index: Some(0) }..=Unit { task: unit.task, index: Some(u64::MAX) };
        let left: Vec<Unit> = self.lives.range(elements).map(|(unit, _)| *unit).collect();
        for element in left {
            // Of one in doubt nothing lives any more.
            if self.is(element, |life| life.holds && !matches!(life.phase, Phase::None | Phase::Doubt)) {
                let text =
                    format!("array {} ended at {} while {element} had not and held something", unit.task, self.at);
                self.find(Wrong::new(Kind::NoTask, text));
            }
            self.release(element);
            self.leave(element);
            self.lives.remove(&element);
            self.given.remove(&element);
        }
        self.unshade(unit.task);
        let task = self.tasks.remove(&unit.task);
        let keeper = task.as_ref().filter(|task| task.shape.is_keeper);
        self.let_go.extend(keeper.and_then(|keeper| keeper.shape.run.clone()));
        let gang = task.as_ref().and_then(|task| task.shape.gang.clone());
        self.ended.insert(unit.task, (self.at, task));
        while self.ended.len() > ENDED_MAX {
            self.ended.pop_first();
        }
        self.gather(gang.as_deref());
    }

    fn stand(&mut self, unit: Unit) {
        self.leave(unit);
        let Some(task) = self.tasks.get(&unit.task) else { return };
        let place = task.ticket().map(|ticket| (ticket, unit));
        let mut grants_before = 0;
        for ask in &task.shape.asks {
            let resource = self.resources.entry(ask.resource.clone()).or_default();
            match place {
                Some(place) => resource.line.insert(place),
                None => resource.unplaced.insert(unit),
            };
            grants_before += resource.grants;
            self.touched.insert(ask.resource.clone());
            self.counts.longest_line = self.counts.longest_line.max(resource.line.len() as u64);
        }
        let now_us = self.now_us;
        if let Some(life) = self.lives.get_mut(&unit) {
            (life.stand, life.place, life.since_us, life.grants_before) = (Stand::InLine, place, now_us, grants_before);
        }
        self.gather_of(unit);
    }

    /// Leaves every line.
    fn leave(&mut self, unit: Unit) {
        let Some(life) = self.lives.get_mut(&unit).filter(|life| life.stand != Stand::Out) else { return };
        let place = life.place.take();
        life.stand = Stand::Out;
        for ask in self.tasks.get(&unit.task).iter().flat_map(|task| &task.shape.asks) {
            let Some(resource) = self.resources.get_mut(&ask.resource) else { continue };
            resource.unplaced.remove(&unit);
            place.map(|place| resource.line.remove(&place));
            self.touched.insert(ask.resource.clone());
        }
        self.gather_of(unit);
    }

    /// It holds nothing any more.
    fn release(&mut self, unit: Unit) {
        let Some(life) = self.lives.get_mut(&unit).filter(|life| life.holds) else { return };
        life.holds = false;
        for ask in self.tasks.get(&unit.task).iter().flat_map(|task| &task.shape.asks) {
            if let Some(resource) = self.resources.get_mut(&ask.resource) {
                resource.holders.remove(&unit);
            }
            self.touched.insert(ask.resource.clone());
        }
    }

    fn enter_phase(&mut self, unit: Unit, phase: Phase) {
        if let Some(life) = self.lives.get_mut(&unit) {
            life.phase = phase;
        }
        for ask in self.tasks.get(&unit.task).iter().flat_map(|task| &task.shape.asks) {
            let held = self.resources.get_mut(&ask.resource).and_then(|resource| resource.holders.get_mut(&unit));
            if let Some(held) = held {
                held.is_stopping = phase == Phase::Stopping;
            }
        }
    }

    fn is(&self, unit: Unit, what: impl Fn(&Life) -> bool) -> bool {
        self.lives.get(&unit).is_some_and(what)
    }

    fn find_all(&mut self, wrongs: Vec<Wrong>) {
        for wrong in wrongs {
            self.find(wrong);
        }
    }

    fn find(&mut self, wrong: Wrong) {
        if self.wrongs.len() < WRONGS_MAX {
            self.wrongs.push(wrong);
        }
    }
}

impl Task {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            round: None,
            tickets: BTreeMap::new(),
            has_entered: false,
            is_paused: false,
            last: 0,
            shadow: None,
            member: Member::default(),
        }
    }

    /// Whether it is certain that its next element stands in line, if all that it asks for is there.
    fn is_steady(&self) -> bool {
        let is_free = self.shape.key.is_none() && self.shape.quota.is_none();
        let is_steady = is_free && self.shape.array.is_some_and(|array| array.is_steady && !array.has_window);
        is_steady && !self.is_paused && self.round == Some(1)
    }

    fn ticket(&self) -> Option<u64> {
        self.tickets.get(&self.round?).copied()
    }
}

impl Life {
    const fn new(now_us: i64) -> Self {
        Self {
            stand: Stand::Out,
            phase: Phase::None,
            holds: false,
            place: None,
            since_us: now_us,
            grants_before: 0,
            is_told: false,
        }
    }
}

/// What a unit asks of that resource, where it is known to stand for it.
fn asked<'a>(tasks: &'a BTreeMap<u64, Task>, resource: &'a str) -> impl Fn(Unit) -> Option<Ask> + 'a {
    move |unit| {
        tasks
            .get(&unit.task)
            .filter(|task| !task.member.is_scattered)?
            .shape
            .asks
            .iter()
            .find(|ask| ask.resource == resource)
            .cloned()
    }
}
