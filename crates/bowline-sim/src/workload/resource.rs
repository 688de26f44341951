//! What tasks ask for, and what becomes of it: two locks, a licence, and devices of two kinds.

use std::collections::BTreeMap;

use bowline_core::input::Request;
use bowline_core::name::{Key, ResourceName, UnitName};
use bowline_core::resource::{Ask, ResourceChange, Service, UnitSpec};
use bowline_core::spec::{Overlap, TaskSpec};

use crate::random::Random;

const LOCKS: [&str; 2] = ["north", "south"];
const LICENCE: &str = "seats";
const DEVICES: &str = "phones";
/// The most that there is of the licence.
const SEATS_MAX: u64 = 3;

fn name(name: &str) -> ResourceName {
    ResourceName::new(name).expect("it is a name")
}

fn with(key: &str, value: &str) -> BTreeMap<Key, String> {
    BTreeMap::from([(Key::new(key).expect("it is a name"), value.to_owned())])
}

fn lock(place: usize, random: &mut Random) -> Ask {
    let name = name(LOCKS[place % LOCKS.len()]);
    if random.per_mille(500) { Ask::Exclusive { name } } else { Ask::Shared { name } }
}

fn device(random: &mut Random) -> Ask {
    let with = match random.below(4) {
        0 => BTreeMap::new(),
        1 => with("model", "x"),
        2 => with("model", "y"),
        _ => with("name", "ph2"),
    };
    Ask::Unit { name: Some(name(DEVICES)), with }
}

/// A task asks for one to three of them.
pub fn ask(spec: &mut TaskSpec, random: &mut Random) {
    let licence = |random: &mut Random| Ask::Counted { name: name(LICENCE), amount: random.between(1, 2) };
    spec.resources = match random.below(8) {
        0..=2 => vec![lock(random.place(2).unwrap_or(0), random)],
        3 => vec![lock(0, random), lock(1, random)],
        4 => vec![licence(random)],
        5 => vec![device(random)],
        6 => vec![licence(random), lock(random.place(2).unwrap_or(0), random)],
        _ => vec![device(random), lock(0, random), licence(random)],
    };
    spec.release_while_retrying = random.per_mille(300);
    // Also what holds something exclusively may be lost by silence, where somebody says so.
    if spec.overlap.is_none() && random.per_mille(400) {
        spec.overlap = Some(Overlap::Allow);
    }
}

/// What a run asks for as a whole: a lock, with a shared one or without.
pub fn held_by_a_run(items: u64) -> Vec<Ask> {
    let mut asks = vec![Ask::Exclusive { name: name(LOCKS[0]) }];
    if items > 2 {
        asks.push(Ask::Shared { name: name(LOCKS[1]) });
    }
    asks
}

fn units(count: usize) -> Vec<UnitSpec> {
    let all = [("ph1", "x"), ("ph2", "y"), ("ph3", "y")];
    let unit = |(unit, model): &(&str, &str)| UnitSpec {
        name: UnitName::new(unit).expect("it is a name"),
        attributes: with("model", model),
    };
    all.iter().take(count).map(unit).collect()
}

fn set(of: &str, change: ResourceChange) -> Request {
    Request::SetResource { name: name(of), change }
}

fn service(of: &str, service: Service) -> Request {
    set(of, ResourceChange { service: Some(service), ..ResourceChange::default() })
}

/// Declares one of them, changes it, or takes it away.
pub fn change(random: &mut Random) -> Vec<Request> {
    let of = [LICENCE, DEVICES, LOCKS[0]][random.place(3).unwrap_or(0)];
    match random.below(8) {
        0 => vec![service(of, Service::Out("moving house".to_owned()))],
        1 => vec![service(of, Service::In)],
        2 => vec![Request::DeleteResource { name: name(of) }],
        3 | 4 => {
            let (capacity, count) = (random.between(1, SEATS_MAX), random.between(1, 3));
            let seats = ResourceChange { capacity: Some(capacity), ..ResourceChange::default() };
            let phones = units(usize::try_from(count).unwrap_or(1));
            let phones = ResourceChange { units: Some(phones), ..ResourceChange::default() };
            vec![set(LICENCE, seats), set(DEVICES, phones)]
        }
        _ => all_there(),
    }
}

/// Everything is there and in service.
pub fn all_there() -> Vec<Request> {
    let seats = ResourceChange { capacity: Some(SEATS_MAX), service: Some(Service::In), ..ResourceChange::default() };
    let phones = ResourceChange { units: Some(units(3)), service: Some(Service::In), ..ResourceChange::default() };
    let locks = LOCKS.iter().map(|lock| service(lock, Service::In));
    [set(LICENCE, seats), set(DEVICES, phones)].into_iter().chain(locks).collect()
}
