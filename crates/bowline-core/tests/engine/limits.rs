//! Limits in the torment: keys, rates and quotas at random, and never more than they allow, by the rows.

use std::collections::BTreeMap;

use bowline_core::fair::{Concurrency, NamespaceChange, Rate, Rule};
use bowline_core::id::TaskId;
use bowline_core::input::Request;
use bowline_core::name::{LimitKey, ResourceName};
use bowline_core::spec::TaskSpec;
use bowline_core::time::{Span, Timestamp};

use super::bench::namespace;
use super::world::World;

/// At most so many under the key `two`.
const TWO: usize = 2;
/// So many starts under the key `often`,
const OFTEN: usize = 3;
/// within so long.
const WITHIN: u64 = 10;

/// What the last check saw.
#[derive(Default)]
pub(crate) struct Seen {
    running: u64,
    held: u64,
    /// Of what is set: how often it was changed.
    version: u32,
}

pub(crate) fn key(key: &str) -> LimitKey {
    LimitKey::new(key).unwrap()
}

pub(crate) fn limit(spec: &mut TaskSpec, a: u8, b: u8) {
    let under = |of: &str, rule| Some(Concurrency { key: key(of), rule });
    match a.wrapping_div(4).wrapping_add(b) % 12 {
        0 | 1 => spec.concurrency = under("two", Rule::AtMost(2)),
        2 => spec.concurrency = under("newest", Rule::NewestWins),
        3 => spec.concurrency = under("dropped", Rule::Drop),
        4 | 5 => spec.rate = Some(Rate { key: key("often"), count: 3, per: Span::secs(WITHIN) }),
        6 => {
            spec.concurrency = under("two", Rule::AtMost(2));
            spec.rate = Some(Rate { key: key("often"), count: 3, per: Span::secs(WITHIN) });
        }
        _ => {}
    }
}

pub(crate) fn set_quotas(world: &mut World, a: u8, b: u8) {
    let name = ResourceName::new("lic").unwrap();
    let mut change = NamespaceChange::default();
    match a % 6 {
        0 => change.max_running = Some(Some(u64::from(b % 4))),
        1 => change.max_running = Some(None),
        2 => change.max_queued = Some((b % 2 == 0).then_some(20)),
        3 => drop(change.max_held.insert(name, (b % 3 > 0).then_some(u64::from(b % 3)))),
        4 => change.share = Some((b % 2 == 0).then_some(u32::from(b) + 1)),
        _ => drop(change.user_shares.insert("ada".to_owned(), (b % 2 == 0).then_some(2))),
    }
    drop(world.bench.request(Request::SetNamespace { name: namespace(), change }));
}

pub(crate) fn lift_quotas(world: &mut World) {
    let max_held = BTreeMap::from([(ResourceName::new("lic").unwrap(), None)]);
    let change =
        NamespaceChange { max_running: Some(None), max_queued: Some(None), max_held, ..NamespaceChange::default() };
    world.bench.request(Request::SetNamespace { name: namespace(), change }).unwrap();
}

/// No key, rate or quota is exceeded. What was there before a quota shrank is kept.
pub(crate) fn check(world: &World, seen: &mut Seen) {
    let tables = &world.bench.tables;
    let spec = |task: TaskId| &tables.specs[&task].0;
    let is_under = |task: TaskId, of: &str| spec(task).concurrency.as_ref().is_some_and(|said| said.key == key(of));
    let live: Vec<TaskId> =
        tables.attempts.values().filter(|row| row.end.is_none()).map(|row| row.attempt.task.task).collect();
    let two = live.iter().filter(|task| is_under(**task, "two")).count();
    assert!(two <= TWO, "{two} tasks under a key that allows {TWO}: {live:?}");
    for sole in ["newest", "dropped"] {
        let mut under: Vec<TaskId> = live.iter().copied().filter(|task| is_under(*task, sole)).collect();
        under.dedup();
        assert!(under.len() <= 1, "{under:?} are at work, and one of them may be");
    }
    let open = tables.tasks.values().filter(|row| !row.unit.state.is_ended() && is_under(row.id, "dropped"));
    assert!(open.count() <= 1, "whoever comes while one has not ended is skipped");
    let begun = tables.attempts.values().filter(|row| spec(row.attempt.task.task).rate.is_some());
    let mut begun: Vec<Timestamp> = begun.map(|row| row.assigned_at).collect();
    begun.sort_unstable();
    for window in begun.windows(OFTEN + 1) {
        let within = window[OFTEN].since(window[0]);
        assert!(within.as_secs() >= WITHIN, "{} starts within {within:?}: {window:?}", OFTEN + 1);
    }
    let row = tables.namespaces.get(&namespace());
    let room = row.map(|row| row.room.clone()).unwrap_or_default();
    let version = row.map_or(0, |row| row.version);
    let running = tables.attempts.values().filter(|row| row.end.is_none() && row.worker.is_some()).count() as u64;
    let units = tables.tasks.values().map(|row| &row.unit).chain(tables.elements.values().map(|row| &row.unit));
    let held = units.flat_map(|unit| &unit.held).filter(|grant| grant.name.as_str() == "lic").map(|grant| grant.amount);
    let held: u64 = held.sum();
    if version == seen.version {
        let most = room.max_running.unwrap_or(u64::MAX).max(seen.running);
        assert!(running <= most, "{running} are on workers, and {:?} may be", room.max_running);
        let most = room.max_held.get("lic").copied().unwrap_or(u64::MAX).max(seen.held);
        assert!(held <= most, "{held} are held, and {:?} may be", room.max_held);
    }
    *seen = Seen { running, held, version };
}
