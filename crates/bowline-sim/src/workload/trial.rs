//! Trials: what comes on top of a seed so that one promise is tried hard, which chance alone seldom tries.

use bowline_core::fair::{NamespaceChange, Rate};
use bowline_core::input::{DryRun, NewTask, Request, Strict, Submit};
use bowline_core::name::{LimitKey, Namespace, ResourceName};
use bowline_core::spec::{Action, ArraySpec, Command, TaskSpec, Work as Doing};
use bowline_core::time::Span;

use super::Work;
use super::shape::{Happening, Shape, What};
use super::spec::new_task;
use super::verbs::namespace;
use crate::fault::Fault;
use crate::job::Plan;
use crate::random::Random;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// Rates whose time is longer than a take-over takes.
    Rates,
    /// Arrays that are retried before their end is in the store.
    Arrays,
    /// Quotas of resources.
    Held,
    /// Two namespaces that want all that there is, each with a share of its own.
    Contest,
}

/// Happenings of a trial are numbered from here on.
const NUMBER: u64 = 3_000;
/// The two that contend, with their shares: the first one is submitted first, so that by ticket it would have everything.
pub const CONTEST: [(&str, u32); 2] = [("lab", 3), ("shop", 1)];
/// Elements of each of their arrays.
const ELEMENTS: u32 = 150;
/// How long each of those takes, in microseconds.
const ELEMENT_US: u64 = 3_000_000;
/// At most so much of a resource is in the hands of the namespace, where that is set.
const HELD_MAX: u64 = 2;

impl Trial {
    /// Any.
    pub fn new(random: &mut Random) -> Self {
        [Self::Rates, Self::Arrays, Self::Held, Self::Contest][random.place(4).unwrap_or(0)]
    }

    /// Changes what the shape has for it.
    pub fn colour(self, shape: &mut Shape) {
        match self {
            Self::Rates => shape.servers = 2,
            Self::Arrays => (shape.pace.link_us, shape.pace.commit_us) = (200, 30_000),
            Self::Held => shape.tastes.asking = shape.tastes.asking.max(500),
            Self::Contest => {
                (shape.slots, shape.prefetch) = (shape.slots.min(2), shape.prefetch.min(1));
                shape.workers = shape.workers.min(2);
                shape.pooled = shape.pooled.min(shape.workers);
            }
        }
    }

    /// What happens on top of everything else.
    pub fn happenings(self, length_us: u64, random: &mut Random) -> Vec<Happening> {
        let what = self.what();
        let count = if self == Self::Contest { 1 } else { random.between(8, 24) };
        let one = |place: u64, random: &mut Random| {
            let what = what[random.place(what.len()).unwrap_or(0)];
            Happening { number: u32::try_from(NUMBER + place).unwrap_or(0), at: random.below(length_us), what }
        };
        (0..count).map(|place| one(place, random)).collect()
    }

    fn what(self) -> &'static [What] {
        match self {
            Self::Rates => &[
                What::Work(Work::Rarely),
                What::Work(Work::Rarely),
                What::Fault(Fault::TakeOver),
                What::Fault(Fault::KillServer),
            ],
            Self::Arrays => &[What::Work(Work::BadArray), What::Work(Work::RetryAtClose)],
            Self::Held => &[What::Work(Work::HeldQuota)],
            Self::Contest => &[What::Work(Work::Contest)],
        }
    }
}

fn job(length_us: u64, status: u8) -> TaskSpec {
    let plan = Plan { status, ..Plan::short(length_us) };
    TaskSpec::new(Doing::new(Action::Command(Command::Argv(plan.to_argv()))))
}

fn submit(namespace: Namespace, specs: Vec<TaskSpec>) -> Request {
    let tasks: Vec<NewTask> = specs.into_iter().map(new_task).collect();
    Request::Submit(Submit { namespace, tasks, key: None, dry_run: DryRun::No, strict: Strict::No })
}

/// Two short tasks under a rate whose time spans any take-over.
pub fn rarely(random: &mut Random) -> Request {
    let key = LimitKey::new("rarely").expect("it is a name");
    let one = |random: &mut Random| {
        let rate = Rate { key: key.clone(), count: 2, per: Span::secs(60) };
        TaskSpec { rate: Some(rate), ..job(random.around(300_000), 0) }
    };
    submit(namespace(), vec![one(random), one(random)])
}

/// A small array of which every element fails.
pub fn bad_array(random: &mut Random) -> Request {
    let count = u32::try_from(random.between(1, 4)).unwrap_or(1);
    let array = ArraySpec { first: 0, count, step: 1, at_most: None };
    submit(namespace(), vec![TaskSpec { array: Some(array), ..job(random.around(200_000), 1) }])
}

/// A quota of a resource is set, changed, or taken away.
pub fn held(random: &mut Random) -> Request {
    let name = ["north", "seats", "phones"][random.place(3).unwrap_or(0)];
    let most = random.per_mille(800).then(|| random.between(1, HELD_MAX));
    let max_held = std::iter::once((ResourceName::new(name).expect("it is a name"), most)).collect();
    Request::SetNamespace { name: namespace(), change: NamespaceChange { max_held, ..NamespaceChange::default() } }
}

/// No quota of a resource is left.
pub fn held_lifted() -> Request {
    let names = ["north", "seats", "phones"].map(|name| (ResourceName::new(name).expect("it is a name"), None));
    let change = NamespaceChange { max_held: names.into_iter().collect(), ..NamespaceChange::default() };
    Request::SetNamespace { name: namespace(), change }
}

/// Two arrays, of two namespaces with shares of their own, that want everything for a while.
pub fn contest() -> Vec<Request> {
    let name = |name: &str| Namespace::new(name).expect("it is a name");
    let share = |(of, share): (&str, u32)| {
        let change = NamespaceChange { share: Some(Some(share)), ..NamespaceChange::default() };
        Request::SetNamespace { name: name(of), change }
    };
    let want = |(of, _): (&str, u32)| {
        let array = ArraySpec { first: 0, count: ELEMENTS, step: 1, at_most: None };
        submit(name(of), vec![TaskSpec { array: Some(array), ..job(ELEMENT_US, 0) }])
    };
    CONTEST.into_iter().map(share).chain(CONTEST.into_iter().map(want)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn those_who_contend_want_the_same() {
        let wants: Vec<Arc<TaskSpec>> = contest()
            .into_iter()
            .filter_map(|request| match request {
                Request::Submit(submit) => Some(Arc::clone(&submit.tasks[0].spec)),
                _ => None,
            })
            .collect();
        assert_eq!(wants.len(), CONTEST.len());
        assert!(wants.windows(2).all(|two| two[0] == two[1]));
    }
}
