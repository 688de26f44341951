//! Namespaces: quotas and shares, and what is used of them; keys and rates of tasks.

use std::collections::BTreeMap;

use bowline_core::fair::{
    Concurrency as CoreConcurrency, LimitView, NamespaceChange as CoreChange, NamespaceView, Rate as CoreRate, Rule,
    ShareView,
};
use bowline_core::id::TaskRef;
use bowline_core::name::{LimitKey, ResourceName};
use bowline_core::time::Span;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Mistake;
use crate::resource::said;
use crate::system::PausedNamespace;
use crate::time::from_core_time;

/// Tasks of a namespace under one key are not all at work at once. One of `at_most`, `newest_wins` and `drop`;
/// `at_most: 1` where none is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// The key; within the namespace.
    pub key: String,
    /// So many at a time, first come, first served. The newest task that has not ended says how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
    /// It cancels whatever has not ended under the key, and begins when the processes of that are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_wins: Option<bool>,
    /// It is skipped while another under the key has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<bool>,
}

impl Concurrency {
    /// In the engine's form.
    pub fn resolve(&self) -> Result<CoreConcurrency, Box<Mistake>> {
        let key = limit_key(&self.key, "concurrency.key")?;
        let (newest, drop) = (self.newest_wins == Some(true), self.drop == Some(true));
        let rule = match (self.at_most, newest, drop) {
            (None, true, false) => Rule::NewestWins,
            (None, false, true) => Rule::Drop,
            (most, false, false) => Rule::AtMost(most.unwrap_or(1)),
            (_, true, _) | (_, _, true) => {
                let message = "`concurrency` has more than one of `at_most`, `newest_wins` and `drop`. Give only one.";
                return Err(Box::new(Mistake::field("concurrency", message)));
            }
        };
        Ok(CoreConcurrency { key, rule })
    }

    /// As a document.
    pub fn of(said: &CoreConcurrency) -> Self {
        let none = Self { key: said.key.to_string(), ..Self::default() };
        match said.rule {
            Rule::AtMost(most) => Self { at_most: Some(most), ..none },
            Rule::NewestWins => Self { newest_wins: Some(true), ..none },
            Rule::Drop => Self { drop: Some(true), ..none },
        }
    }
}

/// Tasks of a namespace under one key begin no more often than this; retries count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The key; within the namespace, and apart from concurrency keys.
    pub key: String,
    /// So many starts, at most 1000,
    pub count: u32,
    /// within any time as long as this.
    #[schema(value_type = String)]
    pub per: Span,
}

impl Rate {
    /// In the engine's form.
    pub fn resolve(&self) -> Result<CoreRate, Box<Mistake>> {
        Ok(CoreRate { key: limit_key(&self.key, "rate.key")?, count: self.count, per: self.per })
    }

    /// As a document.
    pub fn of(said: &CoreRate) -> Self {
        Self { key: said.key.to_string(), count: said.count, per: said.per }
    }
}

fn limit_key(key: &str, path: &str) -> Result<LimitKey, Box<Mistake>> {
    LimitKey::new(key).map_err(|error| Box::new(Mistake::field(path, format!("`{path}`: {error}."))))
}

/// A namespace: what is set about it, and what it uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NamespaceDoc {
    /// Its name.
    pub name: String,
    /// Its share of the workers. Absent: 1, where others have shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u32>,
    /// Shares of its users in it; 1 for those who are not named, where some are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_shares: BTreeMap<String, u32>,
    /// Tasks that have not begun, at most. Absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u64>,
    /// Tasks on workers, at most. Absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u64>,
    /// Of resources, at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max_held: BTreeMap<String, u64>,
    /// Who set that last. Absent: nothing was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<jiff::Timestamp>,
    /// Who paused it. Absent: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedNamespace>,
    /// Tasks and elements that have not begun.
    pub queued: u64,
    /// Tasks and elements on workers.
    pub running: u64,
    /// How much its tasks hold of resources of which it has a quota.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<String, u64>,
    /// What it has had of the workers. Absent: no shares count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub had: Option<Had>,
    /// The same of its users. At most 100.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, Had>,
    /// Its concurrency keys and rates in use. At most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitInUse>,
}

/// What somebody has had of the workers, beside what was due by the shares of those who wanted them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Had {
    /// The share.
    pub share: u32,
    /// Slots now.
    pub slots: u64,
    /// How much more than was due to it it has had: time of slots, divided by the share. Absent: not more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ahead: Option<Span>,
    /// How much less it has had. Absent: not less. Whoever is behind most goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub behind: Option<Span>,
}

/// A concurrency key, or a rate, in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitInUse {
    /// The key.
    pub key: String,
    /// How many at a time, or how many starts. Absent: one task alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
    /// A rate: within this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub per: Option<Span>,
    /// How many there are: at work or about to be, or begun within that time.
    pub used: u64,
    /// Who holds a place under it. At most 10.
    #[schema(value_type = Vec<String>)]
    pub holders: Vec<TaskRef>,
    /// Tasks and elements that wait because of it.
    pub waiting: u64,
}

/// What to set about a namespace. What is not said stays as it is; `null` takes it away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceChange {
    /// Its share of the workers, from 1. Shares count from when the first namespace has one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    #[schema(value_type = Option<u32>)]
    pub share: Option<Option<u32>>,
    /// Shares of its users in it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user_shares: BTreeMap<String, Option<u32>>,
    /// Tasks that have not begun, at most: a submit beyond is refused.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    #[schema(value_type = Option<u64>)]
    pub max_queued: Option<Option<u64>>,
    /// Tasks on workers, at most.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    #[schema(value_type = Option<u64>)]
    pub max_running: Option<Option<u64>>,
    /// How much of a resource its tasks hold at a time, at most; a lock counts as 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub max_held: BTreeMap<String, Option<u64>>,
}

impl NamespaceChange {
    /// In the engine's form, or every mistake in it.
    pub fn resolve(&self) -> Result<CoreChange, Vec<Mistake>> {
        let mut max_held = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (name, most) in &self.max_held {
            match ResourceName::new(name) {
                Ok(name) => drop(max_held.insert(name, *most)),
                Err(error) => mistakes.push(Mistake::field("max_held", format!("`max_held`: {error}."))),
            }
        }
        let change = CoreChange {
            share: self.share,
            user_shares: self.user_shares.clone(),
            max_queued: self.max_queued,
            max_running: self.max_running,
            max_held,
        };
        if mistakes.is_empty() { Ok(change) } else { Err(mistakes) }
    }
}

/// As a document.
pub fn document(view: &NamespaceView) -> NamespaceDoc {
    let plain = |all: &BTreeMap<ResourceName, u64>| all.iter().map(|(name, most)| (name.to_string(), *most)).collect();
    NamespaceDoc {
        name: view.name.to_string(),
        share: view.room.share,
        user_shares: view.room.user_shares.clone(),
        max_queued: view.room.max_queued,
        max_running: view.room.max_running,
        max_held: plain(&view.room.max_held),
        changed_by: view.changed.as_ref().map(|(by, _)| by.0.to_string()),
        changed_at: view.changed.as_ref().map(|(_, at)| from_core_time(*at)),
        paused: view.paused.as_ref().map(|mark| PausedNamespace {
            namespace: view.name.to_string(),
            by: mark.by.0.to_string(),
            since: from_core_time(mark.since),
        }),
        queued: view.queued,
        running: view.running,
        held: plain(&view.held),
        had: view.share.as_ref().map(had),
        users: view.users.iter().map(|(user, share)| (user.clone(), had(share))).collect(),
        limits: view.limits.iter().map(limit).collect(),
    }
}

fn had(share: &ShareView) -> Had {
    let length = Some(Span(share.lead.length())).filter(|length| !length.0.is_zero());
    let (ahead, behind) = if share.lead.0 < 0 { (None, length) } else { (length, None) };
    Had { share: share.weight, slots: share.slots, ahead, behind }
}

fn limit(limit: &LimitView) -> LimitInUse {
    LimitInUse {
        key: limit.key.to_string(),
        at_most: limit.most,
        per: limit.per,
        used: limit.used,
        holders: limit.holders.clone(),
        waiting: limit.waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_rule_and_reads_back() {
        let read = |text: &str| serde_json::from_str::<Concurrency>(text).unwrap().resolve();
        for (text, rule) in [
            (r#"{"key":"k"}"#, Rule::AtMost(1)),
            (r#"{"key":"k","at_most":3}"#, Rule::AtMost(3)),
            (r#"{"key":"k","newest_wins":true}"#, Rule::NewestWins),
            (r#"{"key":"k","drop":true}"#, Rule::Drop),
        ] {
            let said = read(text).unwrap();
            assert_eq!(said.rule, rule, "{text}");
            assert_eq!(Concurrency::of(&said).resolve().unwrap(), said);
        }
        for wrong in [
            r#"{"key":" "}"#,
            r#"{"key":"k","at_most":1,"drop":true}"#,
            r#"{"key":"k","newest_wins":true,"drop":true}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_said_as_null_is_taken_away() {
        let change: NamespaceChange =
            serde_json::from_str(r#"{"share":null,"max_running":3,"max_held":{"seats":null}}"#).unwrap();
        let change = change.resolve().unwrap();
        assert_eq!((change.share, change.max_queued, change.max_running), (Some(None), None, Some(Some(3))));
        assert_eq!(change.max_held[&ResourceName::new("seats").unwrap()], None);
        let wrong = NamespaceChange { max_held: [("a b".to_owned(), Some(1))].into(), ..NamespaceChange::default() };
        assert_eq!(wrong.resolve().unwrap_err().len(), 1);
    }
}
