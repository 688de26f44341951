//! `bowline namespace set`, `show`: quotas and shares.

use bowline_api::{Had, LimitInUse, NamespaceChange, NamespaceDoc};
use bowline_core::name::{Namespace, ResourceName};

use crate::clock::age;
use crate::commands::Setting;
use crate::exit::{Exit, Trouble};
use crate::output::clean;

/// One namespace.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name
    name: Namespace,
}

/// What to set.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline namespace set lab --max-queued 1000 --max-running 20
  bowline namespace set lab --max-held simulator=2
  bowline namespace set lab --share 3 --user-share ada=2
  bowline namespace set lab --max-running none

What is over a quota waits, and delays nobody; a submit beyond --max-queued is refused. Shares count from when the first
namespace has one; a namespace without one has a share of 1 then, and so has a user where others have one.")]
pub(crate) struct Set {
    /// Its name
    name: Namespace,
    /// Its share of the workers' time, from 1; `none` takes it away
    #[arg(long, value_name = "N|none", value_parser = bound)]
    share: Option<Bound>,
    /// A user's share within it; may be repeated
    #[arg(long, value_name = "USER=N|none", value_parser = user)]
    user_share: Vec<(String, Bound)>,
    /// Tasks that have not begun, at most
    #[arg(long, value_name = "N|none", value_parser = bound)]
    max_queued: Option<Bound>,
    /// Tasks on workers at a time, at most
    #[arg(long, value_name = "N|none", value_parser = bound)]
    max_running: Option<Bound>,
    /// How much of a resource its tasks hold at a time, at most; may be repeated
    #[arg(long, value_name = "RESOURCE=N|none", value_parser = held)]
    max_held: Vec<(String, Bound)>,
}

/// A number, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound(Option<u64>);

fn bound(text: &str) -> Result<Bound, String> {
    match text {
        "none" => Ok(Bound(None)),
        number => number.parse().map(|number| Bound(Some(number))).map_err(|_| "write a number, or `none`".to_owned()),
    }
}

fn user(text: &str) -> Result<(String, Bound), String> {
    match text.rsplit_once('=') {
        Some((user, share)) if !user.is_empty() => Ok((user.to_owned(), bound(share)?)),
        Some(_) | None => Err("write USER=N".to_owned()),
    }
}

fn held(text: &str) -> Result<(String, Bound), String> {
    let (name, most) = text.rsplit_once('=').ok_or("write RESOURCE=N")?;
    let name = ResourceName::new(name).map_err(|error| error.to_string())?;
    Ok((name.to_string(), bound(most)?))
}

/// A share is smaller than other numbers.
fn share(bound: Bound) -> anyhow::Result<Option<u32>> {
    let small = |number: u64| u32::try_from(number).map_err(|_| Trouble::usage(format!("{number} is no share.")));
    Ok(bound.0.map(small).transpose()?)
}

impl Set {
    fn change(&self) -> anyhow::Result<NamespaceChange> {
        let users = self.user_share.iter().map(|(user, bound)| Ok((user.clone(), share(*bound)?)));
        Ok(NamespaceChange {
            share: self.share.map(share).transpose()?,
            user_shares: users.collect::<anyhow::Result<_>>()?,
            max_queued: self.max_queued.map(|bound| bound.0),
            max_running: self.max_running.map(|bound| bound.0),
            max_held: self.max_held.iter().map(|(name, bound)| (name.clone(), bound.0)).collect(),
        })
    }
}

/// Sets them.
pub(super) async fn set(on: &Setting, args: Set) -> anyhow::Result<Exit> {
    let change = args.change()?;
    if change == NamespaceChange::default() {
        let what = "Say what to set: --share, --user-share, --max-queued, --max-running or --max-held.";
        return Err(Trouble::usage(what).into());
    }
    let doc = on.client()?.set_namespace(args.name.as_str(), &change).await?;
    if on.out.is_json() {
        on.out.document(&doc)?;
    } else {
        on.out.line(clean(&format!("{}: {}", doc.name, is_set(&doc))))?;
    }
    Ok(Exit::GOOD)
}

/// Everything about one.
pub(super) async fn show(on: &Setting, one: &One) -> anyhow::Result<Exit> {
    let doc = on.client()?.one_namespace(one.name.as_str()).await?;
    if on.out.is_json() {
        on.out.document(&doc)?;
        return Ok(Exit::GOOD);
    }
    let set = match (&doc.changed_by, doc.changed_at) {
        (Some(by), Some(at)) => format!("{}; by {by}, {} ago", is_set(&doc), age(at)),
        _ => is_set(&doc),
    };
    let paused =
        doc.paused.as_ref().map_or_else(|| "no".to_owned(), |by| format!("by {} for {}", by.by, age(by.since)));
    let mut facts = vec![
        ("name", doc.name.clone()),
        ("set", set),
        ("queued", of(doc.queued, doc.max_queued)),
        ("running", of(doc.running, doc.max_running)),
    ];
    for (name, most) in &doc.max_held {
        let held = doc.held.get(name).copied().unwrap_or(0);
        facts.push(("held", format!("{} of {name}", of(held, Some(*most)))));
    }
    facts.extend(doc.had.as_ref().map(|had| ("share", had_of(had))));
    facts.push(("paused", paused));
    for (name, value) in facts {
        on.out.line(format!("{name:<12} {}", clean(&value)))?;
    }
    if !doc.users.is_empty() {
        on.out.line("\nUsers:")?;
        on.out
            .table(&["user", "share"], doc.users.iter().map(|(user, had)| vec![user.clone(), had_of(had)]).collect())?;
    }
    if !doc.limits.is_empty() {
        on.out.line("\nKeys:")?;
        on.out.table(&["key", "used", "waiting", "held by"], doc.limits.iter().map(limit).collect())?;
    }
    Ok(Exit::GOOD)
}

/// A line of the list.
pub(super) fn entry(doc: &NamespaceDoc) -> Vec<String> {
    let share = doc.had.as_ref().map_or_else(|| "-".to_owned(), |had| had.share.to_string());
    vec![doc.name.clone(), of(doc.queued, doc.max_queued), of(doc.running, doc.max_running), share]
}

fn of(used: u64, most: Option<u64>) -> String {
    most.map_or_else(|| used.to_string(), |most| format!("{used} of {most}"))
}

fn had_of(had: &Had) -> String {
    let lead = match (had.ahead, had.behind) {
        (Some(ahead), _) => format!("{ahead} ahead"),
        (None, Some(behind)) => format!("{behind} behind"),
        (None, None) => "even".to_owned(),
    };
    format!("{}: {} slots now, {lead}", had.share, had.slots)
}

fn limit(limit: &LimitInUse) -> Vec<String> {
    let used = match (limit.at_most, limit.per) {
        (most, Some(per)) => format!("{} within {per}", of(limit.used, most)),
        (most, None) => of(limit.used, Some(most.unwrap_or(1))),
    };
    let holders: Vec<String> = limit.holders.iter().map(ToString::to_string).collect();
    vec![limit.key.clone(), used, limit.waiting.to_string(), holders.join(", ")]
}

fn is_set(doc: &NamespaceDoc) -> String {
    let mut all = Vec::new();
    all.extend(doc.share.map(|share| format!("share {share}")));
    all.extend(doc.user_shares.iter().map(|(user, share)| format!("share {share} for {user}")));
    all.extend(doc.max_queued.map(|most| format!("at most {most} queued")));
    all.extend(doc.max_running.map(|most| format!("at most {most} running")));
    all.extend(doc.max_held.iter().map(|(name, most)| format!("at most {most} of {name}")));
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_numbers_or_none() {
        assert_eq!(bound("12"), Ok(Bound(Some(12))));
        assert_eq!(bound("none"), Ok(Bound(None)));
        assert_eq!(user("a=b=3"), Ok(("a=b".to_owned(), Bound(Some(3)))));
        assert_eq!(held("seats=none"), Ok(("seats".to_owned(), Bound(None))));
        for wrong in ["", "-1", "x"] {
            assert!(bound(wrong).is_err(), "{wrong}");
        }
        for wrong in ["ada", "=3", "ada=x"] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
        assert!(held("a b=1").is_err() && share(Bound(Some(u64::MAX))).is_err());
    }
}
