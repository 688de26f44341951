//! What tasks have in common: keys under which not all are at work, rates of starts; and a namespace's quotas and shares.
//! Each key has one rule in a run, so that nobody need ask which task was the newest.

use bowline_core::fair::{Concurrency, NamespaceChange, Rate, Rule};
use bowline_core::input::Request;
use bowline_core::name::LimitKey;
use bowline_core::spec::TaskSpec;
use bowline_core::time::Span;

use super::verbs::namespace;
use crate::random::Random;

fn key(key: &str) -> LimitKey {
    LimitKey::new(key).expect("it is a name")
}

fn under(of: &str, rule: Rule) -> Concurrency {
    Concurrency { key: key(of), rule }
}

/// A task is under a key, a rate, or both.
pub fn limit(spec: &mut TaskSpec, random: &mut Random) {
    match random.below(8) {
        0 | 1 => spec.concurrency = Some(under("one", Rule::AtMost(1))),
        2 | 3 => spec.concurrency = Some(under("two", Rule::AtMost(2))),
        4 => spec.concurrency = Some(under("newest", Rule::NewestWins)),
        5 => spec.concurrency = Some(under("dropped", Rule::Drop)),
        _ => {}
    }
    if spec.concurrency.is_none() || random.per_mille(200) {
        spec.rate = Some(if random.per_mille(500) {
            Rate { key: key("often"), count: 3, per: Span::secs(4) }
        } else {
            Rate { key: key("seldom"), count: 1, per: Span::secs(10) }
        });
    }
}

fn set(change: NamespaceChange) -> Request {
    Request::SetNamespace { name: namespace(), change }
}

/// A quota or a share changes.
pub fn change(random: &mut Random) -> Request {
    let mut change = NamespaceChange::default();
    match random.below(6) {
        0..=2 => change.max_running = Some(Some(random.between(1, 4))),
        3 => change.max_running = Some(None),
        4 => change.share = Some(Some(3)),
        _ => drop(change.user_shares.insert("ada".to_owned(), random.per_mille(500).then_some(2))),
    }
    set(change)
}

/// Nothing is kept back any more.
pub fn lifted() -> Request {
    set(NamespaceChange { max_running: Some(None), ..NamespaceChange::default() })
}
