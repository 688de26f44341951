//! What must always hold, by the numbers of the model.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::answer::{Answer, Overview};
use bowline_core::effect::Effect;
use bowline_core::explain::{Explanation, WaitReason};
use bowline_core::gang::{Form, Stage};
use bowline_core::id::{AttemptRef, Fence, ReplyTo, TaskId, TaskRef, WorkerId};
use bowline_core::input::{Input, Request};
use bowline_core::name::{Actor, ResourceName};
use bowline_core::resource::{Ask, Grant, Mode};
use bowline_core::row::{Subject, Unit};
use bowline_core::state::{AttemptEnd, StateKind};

use super::bench::{Bench, Pace, namespace};
use super::world::{PREFETCH, SLOTS, World};

/// What the last check saw.
#[derive(Default)]
pub(crate) struct Seen {
    newest: BTreeMap<TaskRef, Fence>,
    ends: BTreeMap<AttemptRef, Option<AttemptEnd>>,
    round: BTreeMap<TaskRef, Option<StateKind>>,
    history: usize,
    /// How much of each resource was held.
    used: BTreeMap<ResourceName, u64>,
    /// The most that there was of each.
    capacity: BTreeMap<ResourceName, u64>,
    was_lagging: bool,
    limits: super::limits::Seen,
}

impl Seen {
    /// Nothing but what is held, which may be more than there is since something shrank.
    pub(crate) fn of(world: &World) -> Self {
        let mut seen = Self::default();
        for grant in units(world).into_iter().flat_map(|(_, row, _)| &row.held) {
            *seen.used.entry(grant.name.clone()).or_default() += grant.amount;
        }
        seen
    }
}

fn units(world: &World) -> Vec<(TaskRef, &Unit, bool)> {
    let tables = &world.bench.tables;
    let singles = tables.tasks.values().map(|row| (TaskRef::whole(row.id), &row.unit, row.array.is_some()));
    let elements = tables.elements.values().map(|row| (TaskRef::element(row.task, row.index), &row.unit, false));
    singles.chain(elements).collect()
}

pub(crate) fn check(world: &mut World, seen: &mut Seen) {
    check_attempts(world, seen);
    check_gangs(world);
    check_workers(world);
    check_drained(world);
    check_history(world, seen);
    check_holders(world, seen);
    super::holds::check(world);
    super::limits::check(world, &mut seen.limits);
    if world.bench.pace == Pace::AtOnce {
        check_counts(world);
        check_explained(world);
        check_held(world);
        check_shadow(world);
        check_lines(world);
    }
}

/// I12, by the rows of one commit: of a gang that gathers nobody begins, of one that was claimed everybody has an attempt
/// until all have started; and a gang's row is there as long as one of its members has not ended.
fn check_gangs(world: &World) {
    let tables = &world.bench.tables;
    let mut open: BTreeMap<TaskId, (Form, Vec<StateKind>)> = BTreeMap::new();
    for row in tables.tasks.values().filter(|row| !row.unit.state.is_ended()) {
        if let Some(member) = tables.specs[&row.id].0.gang {
            let (_, states) = open.entry(member.first).or_insert((member.terms.form, Vec::new()));
            states.push(row.unit.state);
        }
    }
    assert!(open.keys().eq(tables.gangs.keys()), "a gang's row is there while a member has not ended");
    for (first, (form, states)) in open {
        let begins = |state: &StateKind| matches!(state, StateKind::Assigned | StateKind::Running);
        match tables.gangs[&first].stage {
            _ if form == Form::Chain => {
                let live = states.iter().filter(|state| state.is_live()).count();
                assert!(live <= 1, "of the chain of {first} one link runs at a time: {states:?}");
            }
            Stage::Gathering => assert!(!states.iter().any(begins), "I12: the gang of {first} gathers: {states:?}"),
            Stage::Starting => {
                assert!(states.iter().all(|state| state.is_live()), "I12: the gang of {first} starts: {states:?}");
            }
            Stage::Together => {}
        }
    }
}

/// I5, by the rows: whoever may begin or runs holds all that it asks for, whoever waits or has ended holds nothing;
/// exclusive excludes all, a unit has one holder, and nothing is granted beyond the capacity.
fn check_holders(world: &World, seen: &mut Seen) {
    let tables = &world.bench.tables;
    for row in tables.resources.values() {
        let most = seen.capacity.entry(row.name.clone()).or_default();
        *most = row.capacity.max(*most);
    }
    let mut held: BTreeMap<ResourceName, Vec<(TaskRef, Grant)>> = BTreeMap::new();
    for (unit, row, is_array) in units(world) {
        let asked: BTreeSet<&ResourceName> =
            tables.specs[&unit.task].0.resources.iter().filter_map(Ask::name).collect();
        let has: BTreeSet<&ResourceName> = row.held.iter().map(|grant| &grant.name).collect();
        let may_begin = row.state == StateKind::Ready || row.state.is_live() || row.state == StateKind::InDoubt;
        if is_array || row.state.is_ended() || row.state == StateKind::Waiting || row.state == StateKind::Blocked {
            assert!(has.is_empty(), "I5: {unit} is {} and holds {has:?}", row.state);
        } else if may_begin {
            assert_eq!(has, asked, "I5: {unit} is {}", row.state);
        }
        for grant in &row.held {
            held.entry(grant.name.clone()).or_default().push((unit, grant.clone()));
        }
    }
    for (name, holders) in &held {
        let exclusive = holders.iter().filter(|(_, grant)| grant.mode == Mode::Exclusive).count();
        assert!(exclusive == 0 || holders.len() == 1, "I5: {name} is held exclusively beside others: {holders:?}");
        let mut units = BTreeSet::new();
        for unit in holders.iter().flat_map(|(_, grant)| &grant.units) {
            assert!(units.insert(unit), "I5: unit {unit} of {name} is held twice: {holders:?}");
        }
        let used: u64 = holders.iter().map(|(_, grant)| grant.amount).sum();
        let capacity = tables.resources.get(name).map_or(1, |row| row.capacity);
        // What was granted before it shrank is kept; while commits lag, both may have come since the last look.
        let before = seen.used.insert(name.clone(), used).unwrap_or(0);
        let is_lagging = world.bench.pace != Pace::AtOnce || seen.was_lagging;
        let most = seen.capacity.get(name).copied().filter(|_| is_lagging).unwrap_or(capacity);
        assert!(used <= most.max(before), "I5: {used} of {name} are held, of {capacity}: {holders:?}");
    }
    seen.used.retain(|name, _| held.contains_key(name));
    seen.was_lagging = world.bench.pace != Pace::AtOnce;
}

/// I5, by the lines: what holders and lines say is what the rows say; and whoever is first in each of its lines, where
/// all is free, is not left waiting.
fn check_lines(world: &mut World) {
    let Ok(Answer::Resources(all)) = world.bench.request(Request::Resources) else { panic!("it answers") };
    for summary in all {
        let Ok(Answer::Resource(view)) = world.bench.request(Request::Resource { name: summary.name.clone() }) else {
            panic!("it answers")
        };
        for holder in &view.holders {
            let row = units(world).into_iter().find(|(unit, ..)| *unit == holder.task).map(|(_, row, _)| row.clone());
            let held = row.is_some_and(|row| row.held.contains(&holder.grant));
            assert!(held, "I5: {} holds {}", holder.task, summary.name);
        }
        assert!(view.line.is_sorted_by_key(|place| (place.ticket, place.task)), "I5: in the order of the tickets");
        for place in &view.line {
            let reasons = explain(&mut world.bench, place.task).map(|explanation| explanation.reasons);
            let is_kept = |reason: &WaitReason| matches!(reason, WaitReason::Resource { .. });
            let is_kept = reasons.as_ref().is_none_or(|reasons| reasons.iter().any(is_kept));
            assert!(is_kept, "I5: {} waits for nothing: {reasons:?}", place.task);
        }
    }
    world.deliver();
}

/// I7: nothing that a drained worker holds was given to it after the drain.
fn check_drained(world: &World) {
    let tables = &world.bench.tables;
    for worker in tables.workers.values() {
        let Some(mark) = &worker.drain else { continue };
        for row in tables.attempts.values().filter(|row| row.end.is_none() && row.worker == Some(worker.id)) {
            assert!(
                row.assigned_at <= mark.since,
                "I7: {} was given to {}, which is drained",
                row.attempt,
                worker.name
            );
        }
    }
}

/// I13: what is being stopped keeps its slot until its end is told; what is lost gives it up.
fn check_held(world: &mut World) {
    let mut live: BTreeMap<WorkerId, BTreeSet<AttemptRef>> = BTreeMap::new();
    for row in world.bench.tables.attempts.values().filter(|row| row.end.is_none()) {
        if let Some(worker) = row.worker {
            live.entry(worker).or_default().insert(row.attempt);
        }
    }
    for view in overview(&mut world.bench).workers {
        let held: BTreeSet<AttemptRef> = view.attempts.iter().copied().collect();
        assert_eq!(held, live.remove(&view.id).unwrap_or_default(), "I13: {} holds its live attempts", view.name);
        let slots = u32::try_from(held.len()).unwrap().min(SLOTS);
        assert!(view.used.slots <= slots, "I4: {} uses {} slots", view.name, view.used.slots);
        assert!(view.doubtful.is_empty() || view.silent_since.is_some(), "{} is heard", view.name);
    }
    assert!(live.is_empty(), "every live attempt is held by a worker that is known: {live:?}");
    world.deliver();
}

/// I11: an engine made of the rows says of every task what this one says.
fn check_shadow(world: &mut World) {
    let mut shadow = world.bench.shadow();
    let now = world.bench.now;
    let mut ask = |request: Request| {
        shadow.apply(now, Input::Request { reply: ReplyTo(1), actor: Actor::new("ada"), request });
        // The rows of ended tasks would have to be read first.
        shadow.take_needs();
        let effects = shadow.take_batch().effects;
        effects.into_iter().find_map(|effect| if let Effect::Reply { reply, .. } = effect { Some(reply) } else { None })
    };
    let Some(Ok(Answer::Overview(made))) = ask(Request::Overview) else { panic!("it answers") };
    let open: Vec<TaskRef> =
        units(world).into_iter().filter(|(_, row, _)| !row.state.is_ended()).map(|(unit, ..)| unit).collect();
    for task in open {
        let said = ask(Request::Explain { namespace: namespace(), task });
        let Some(Ok(Answer::Explained(said))) = said else { panic!("I11: {task}: {said:?}") };
        assert_eq!(Some(lasting(*said)), explain(&mut world.bench, task).map(lasting), "I11: {task}");
    }
    assert_eq!(made.states, overview(&mut world.bench).states, "I11");
    world.deliver();
}

/// Whatever is ready, and could be given to nobody, has a reason; so nothing that could be given is left.
fn check_explained(world: &mut World) {
    let ready: Vec<TaskRef> =
        units(world).into_iter().filter(|(_, row, _)| row.state == StateKind::Ready).map(|(unit, ..)| unit).collect();
    for unit in ready {
        let explanation = explain(&mut world.bench, unit).expect("it is there");
        let is_still = explanation.state == StateKind::Ready;
        assert!(!is_still || !explanation.reasons.is_empty(), "{unit} is ready, and nothing says why it waits");
    }
    world.deliver();
}

/// I1: one live attempt at most, and it is the newest. I8: an attempt ends once.
fn check_attempts(world: &World, seen: &mut Seen) {
    let tables = &world.bench.tables;
    let mut live: BTreeMap<TaskRef, AttemptRef> = BTreeMap::new();
    for row in tables.attempts.values() {
        let before = seen.ends.insert(row.attempt, row.end).flatten();
        // What was lost may come back, and end once more; nothing else does.
        let may_change = before.is_none_or(|before| before == AttemptEnd::Lost);
        assert!(row.end == before || may_change, "I8: {} ended as {before:?}, then as {:?}", row.attempt, row.end);
        if row.end.is_none() {
            assert_eq!(
                live.insert(row.attempt.task, row.attempt),
                None,
                "I1: one live attempt of {}",
                row.attempt.task
            );
        }
    }
    for (unit, row, is_array) in units(world) {
        let newest = seen.newest.entry(unit).or_default();
        assert!(row.fence() >= *newest, "I1: fences of {unit} only grow");
        *newest = row.fence();
        let is_live = row.state.is_live() && !is_array;
        assert_eq!(live.get(&unit).map(|attempt| attempt.fence), is_live.then(|| row.fence()), "I1: {unit} {row:?}");
        assert!(
            !row.state.is_ended() || row.outcome.as_ref().is_some_and(|o| o.state() == row.state),
            "I2: {unit} {row:?}"
        );
    }
}

/// I4: no worker holds more than its slots and its prefetch.
fn check_workers(world: &World) {
    let tables = &world.bench.tables;
    for worker in tables.workers.keys() {
        let held = tables.attempts.values().filter(|row| row.end.is_none() && row.worker == Some(*worker)).count();
        assert!(u32::try_from(held).unwrap() <= SLOTS + PREFETCH, "I4: worker {worker} holds {held}");
    }
}

/// I2, I10: a round ends once; nothing follows its end but a new round.
fn check_history(world: &World, seen: &mut Seen) {
    let history = &world.bench.tables.history;
    for line in &history[seen.history..] {
        let Subject::Task(unit) = line.subject else { continue };
        if line.what == "retried" {
            seen.round.retain(|known, _| known.task != unit.task);
            continue;
        }
        let Some(state) = StateKind::parse(&line.what) else { continue };
        let round = seen.round.entry(unit).or_default();
        assert_eq!(*round, None, "I2, I10: {unit} has ended, and is {state} after that");
        if state.is_ended() {
            *round = Some(state);
        }
    }
    seen.history = history.len();
}

pub(crate) fn overview(bench: &mut Bench) -> Overview {
    match bench.request(Request::Overview) {
        Ok(Answer::Overview(overview)) => *overview,
        other => panic!("{other:?}"),
    }
}

/// The counts are those of the rows.
fn check_counts(world: &mut World) {
    // Whatever is due happens first, and would happen in the middle of the question.
    world.bench.apply(Input::Tick);
    world.deliver();
    let mut counts: BTreeMap<StateKind, u64> = BTreeMap::new();
    for (_, row, is_array) in units(world) {
        if !is_array && !row.state.is_ended() {
            *counts.entry(row.state).or_default() += 1;
        }
    }
    for row in world.bench.tables.tasks.values().filter(|row| !row.unit.state.is_ended()) {
        let Some(array) = row.array else { continue };
        let known = world.bench.tables.elements.range((row.id, 0)..=(row.id, u32::MAX)).map(|(_, row)| row);
        let with_rows = known.filter(|row| row.version > 0).count() as u64;
        let unstarted = u64::from(array.count) - with_rows.min(u64::from(array.count));
        let dropped = u64::from(array.cancelled + array.skipped);
        let ended_rows = world.bench.tables.elements.range((row.id, 0)..=(row.id, u32::MAX));
        let ended_rows = ended_rows
            .filter(|(_, row)| matches!(row.unit.state, StateKind::Cancelled | StateKind::Skipped))
            .count() as u64;
        // Elements that ask for resources, or are under a key or rate, wait for those first.
        let asks = world.bench.tables.specs[&row.id].0.asks();
        let state = match row.unit.state {
            StateKind::Ready | StateKind::Running | StateKind::Stopping if asks => StateKind::Waiting,
            StateKind::Running | StateKind::Stopping => StateKind::Ready,
            other => other,
        };
        let left = unstarted - (dropped - ended_rows).min(unstarted);
        if left > 0 {
            *counts.entry(state).or_default() += left;
        }
    }
    let seen: BTreeMap<StateKind, u64> = overview(&mut world.bench).states.into_iter().collect();
    world.deliver();
    assert_eq!(seen, counts, "the overview counts what there is");
}

pub(crate) fn explain(bench: &mut Bench, task: TaskRef) -> Option<Explanation> {
    match bench.request(Request::Explain { namespace: namespace(), task }) {
        Ok(Answer::Explained(explanation)) => Some(*explanation),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    }
}

/// Of an explanation, what does not hang on who is connected.
pub(crate) fn lasting(explanation: Explanation) -> Explanation {
    let reasons = explanation.reasons.into_iter().filter(lasts);
    let reasons = reasons.map(|reason| match reason {
        WaitReason::Gang { first, members, absent, distinct, .. } => {
            WaitReason::Gang { first, members, absent, placed: 0, lacking: Vec::new(), distinct, kept: Vec::new() }
        }
        other => other,
    });
    Explanation { reasons: reasons.collect(), ..explanation }
}

fn lasts(reason: &WaitReason) -> bool {
    match reason {
        WaitReason::NotBefore { .. }
        | WaitReason::Backoff { .. }
        | WaitReason::Dependency { .. }
        | WaitReason::Paused { .. }
        | WaitReason::Behind { .. }
        | WaitReason::ArrayWindow { .. }
        | WaitReason::Resource { .. }
        | WaitReason::Aside { .. }
        | WaitReason::InDoubt { .. }
        | WaitReason::Quota { .. }
        | WaitReason::Gang { .. }
        | WaitReason::Held { .. } => true,
        WaitReason::WorkerSilent { .. }
        | WaitReason::Share { .. }
        | WaitReason::NoWorkerFits { .. }
        | WaitReason::WorkersUnavailable { .. }
        | WaitReason::KeptFree { .. }
        | WaitReason::KeptForIt { .. }
        | WaitReason::AwayFrom { .. }
        | WaitReason::WarmOn { .. }
        | WaitReason::RunsForAnother { .. }
        | WaitReason::OfItsGang { .. }
        // Which of its elements is the first that waits hangs on that too.
        | WaitReason::Element { .. }
        | WaitReason::NoRoom { .. } => false,
    }
}

/// I9: of a session that is over nothing is heard.
pub(crate) fn check_dead_session(world: &mut World, which: usize, message: usize) {
    if world.bench.pace == Pace::Lagging || world.dead_sessions.is_empty() || world.sent.is_empty() {
        return;
    }
    let session = world.dead_sessions[which % world.dead_sessions.len()];
    let message = world.sent[message % world.sent.len()].clone();
    world.bench.apply(Input::Tick);
    world.deliver();
    let before = world.bench.tables.clone();
    world.bench.say(session, message);
    assert!(world.bench.effects.is_empty(), "I9: {:?}", world.bench.effects);
    assert_eq!(world.bench.tables, before, "I9");
}
