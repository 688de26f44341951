//! Resources: what tasks ask for, what is declared, who holds it and who is next.

use std::collections::BTreeMap;

use bowline_core::id::TaskRef;
use bowline_core::name::{Key, ResourceName, UnitName};
use bowline_core::resource::{
    Ask as CoreAsk, HolderView, PlaceView, ResourceChange as CoreChange, ResourceSummary, ResourceView, Service,
    Sticky, UnitSpec,
};
use bowline_core::state::StateKind;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::problem::Mistake;
use crate::task::{Reason, Why};
use crate::time::from_core_time;
use crate::why;

/// One thing that a task asks for, and holds while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// A lock: nobody else holds any of it. Made by its first use.
    Exclusive {
        /// Of which resource.
        name: String,
    },
    /// A shared lock: beside others, but not beside an exclusive one. Made by its first use.
    Shared {
        /// Of which resource.
        name: String,
    },
    /// A part of a declared capacity: a licence.
    Counted {
        /// Of which resource.
        name: String,
        /// How much of it. 1 where not said.
        #[serde(default = "one")]
        amount: u64,
    },
    /// A unit of a declared resource: a device.
    Unit {
        /// Of which resource. Where not said: of the one that has such units.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Attributes that it must have; `name` is the unit's own name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        with: BTreeMap<String, String>,
    },
}

fn one() -> u64 {
    1
}

impl Ask {
    /// In the engine's form. `path`: where it stands in its document.
    pub fn resolve(&self, path: &str) -> Result<CoreAsk, Box<Mistake>> {
        let named = |name: &String| {
            let path = format!("{path}.name");
            ResourceName::new(name.clone())
                .map_err(|error| Box::new(Mistake::field(&path, format!("`{path}`: {error}."))))
        };
        Ok(match self {
            Self::Exclusive { name } => CoreAsk::Exclusive { name: named(name)? },
            Self::Shared { name } => CoreAsk::Shared { name: named(name)? },
            Self::Counted { name, amount } => CoreAsk::Counted { name: named(name)?, amount: *amount },
            Self::Unit { name, with } => CoreAsk::Unit {
                name: name.as_ref().map(named).transpose()?,
                with: attributes(with, &format!("{path}.with"))?,
            },
        })
    }
}

fn attributes(given: &BTreeMap<String, String>, path: &str) -> Result<BTreeMap<Key, String>, Box<Mistake>> {
    let one = |(key, value): (&String, &String)| {
        let key =
            Key::new(key.clone()).map_err(|error| Box::new(Mistake::field(path, format!("`{path}`: {error}."))))?;
        Ok((key, value.clone()))
    };
    given.iter().map(one).collect()
}

/// A resource that a task asks for, holds or held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskResource {
    /// Its name.
    pub name: String,
    /// `exclusive`, `shared`, `counted` or `unit`.
    pub mode: String,
    /// How much of its capacity, or how many units; 0 for a lock, exclusive or shared.
    pub amount: u64,
    /// The attributes of each unit that is asked for, where some are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<BTreeMap<String, String>>,
    /// The task's place in its line; 0 until it has one.
    pub ticket: u64,
    /// `waiting`, `aside` (it keeps its place and delays nobody), `granted`, or `ended`: its task has ended.
    /// An array as a whole holds nothing: each of its elements does.
    pub state: String,
    /// Since when it is held.
    pub granted_at: Option<jiff::Timestamp>,
    /// The units that are held.
    pub units: Vec<String>,
}

/// A resource: how much there is of it, who holds it and who is next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Resource {
    /// Its name; one for the whole fleet.
    pub name: String,
    /// Whether it was declared. What was made by its first use goes with the last who holds it or waits for it.
    pub declared: bool,
    /// How much of it there is; with units: how many.
    pub capacity: u64,
    /// How much of that is held; all of it while somebody holds it exclusively.
    pub used: u64,
    /// Why nobody is granted any of it now. Absent: it is in service.
    pub out_of_service: Option<String>,
    /// `prefer`: who asks for it waits up to 30 s for the worker that had it last; `exclusive`: and a worker runs tasks of
    /// one such resource at a time. Absent: neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<String>,
    /// The worker that had it last, where it is sticky.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_on: Option<String>,
    /// Its units, where it has named ones.
    pub units: Vec<ResourceUnit>,
    /// Who declared or changed it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<jiff::Timestamp>,
    /// Who holds it, longest first. At most 100.
    pub holders: Vec<ResourceHolder>,
    /// Holders in all.
    pub held_by: u64,
    /// Who stands in its line, first the first. At most 100.
    pub line: Vec<ResourcePlace>,
    /// Places in all.
    pub waiting: u64,
    /// What the first in line waits for besides this resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_waits_for: Vec<Reason>,
    /// Who stands aside: keeps the place, and delays nobody. At most 100.
    pub aside: Vec<ResourcePlace>,
    /// Asides in all.
    pub asides: u64,
}

/// A named unit of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceUnit {
    /// Its name.
    pub name: String,
    /// What it is like.
    pub attributes: BTreeMap<String, String>,
    /// Which task holds it. Absent: none.
    #[schema(value_type = Option<String>)]
    pub holder: Option<TaskRef>,
}

/// Who holds a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceHolder {
    /// Which task or element.
    #[schema(value_type = String)]
    pub task: TaskRef,
    /// The run for which it holds it, as a whole. Absent: it holds it for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Its ticket.
    pub ticket: u64,
    /// Its state.
    #[schema(value_type = String)]
    pub state: StateKind,
    /// `exclusive`, `shared`, `counted` or `unit`.
    pub mode: String,
    /// How much of the capacity; 0 for a lock, exclusive or shared.
    pub amount: u64,
    /// Which units.
    pub units: Vec<String>,
    /// Since when.
    pub since: jiff::Timestamp,
    /// What keeps it from going on: it waits for a worker, or its worker is silent. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// Who waits for a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourcePlace {
    /// Which task or element.
    #[schema(value_type = String)]
    pub task: TaskRef,
    /// The run for which it waits, as a whole. Absent: it waits for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Its ticket: the order of the line.
    pub ticket: u64,
    /// `exclusive`, `shared`, `counted` or `unit`.
    pub mode: String,
    /// For how much of the capacity; 0 for a lock, exclusive or shared.
    pub amount: u64,
    /// Since when it waits.
    pub since: jiff::Timestamp,
    /// Why it stands aside. Absent: it stands in the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A resource in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceEntry {
    /// Its name.
    pub name: String,
    /// Whether it was declared.
    pub declared: bool,
    /// How much of it there is.
    pub capacity: u64,
    /// How much of that is held.
    pub used: u64,
    /// Who holds some of it: how many.
    pub held_by: u64,
    /// Who stands in its line: how many.
    pub waiting: u64,
    /// Who stands aside: how many.
    pub asides: u64,
    /// Why nobody is granted any of it now. Absent: it is in service.
    pub out_of_service: Option<String>,
}

/// What to declare, or to change, about a resource. What is not said stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceChange {
    /// How much of it there is: 1 where nobody says. Takes its units away, where it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Its named units; all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<NewUnit>>,
    /// Why nobody is granted any of it from now on; `null` puts it in service again. Who holds it keeps it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    pub out_of_service: Option<Option<String>>,
    /// `no`, `prefer` (who asks for it waits up to 30 s for the worker that had it last) or `exclusive` (that, and a worker
    /// runs tasks of one such resource at a time).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sticky: Option<Sticky>,
}

/// Whether it is there at all, and then whether it is `null`.
#[expect(clippy::option_option, reason = "whether it is said, and what: both may be nothing")]
pub(crate) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A unit to declare.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUnit {
    /// Its name; unique within its resource.
    pub name: String,
    /// What it is like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl ResourceChange {
    /// In the engine's form, or every mistake in it.
    pub fn resolve(&self) -> Result<CoreChange, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut units = self.units.as_ref().map(|units| Vec::with_capacity(units.len()));
        for (at, unit) in self.units.iter().flatten().enumerate() {
            match unit.resolve(&format!("units[{at}]")) {
                Ok(unit) => units.iter_mut().for_each(|units| units.push(unit.clone())),
                Err(mistake) => mistakes.push(*mistake),
            }
        }
        let service = self.out_of_service.as_ref().map(|why| why.clone().map_or(Service::In, Service::Out));
        if mistakes.is_empty() {
            Ok(CoreChange { capacity: self.capacity, units, service, sticky: self.sticky })
        } else {
            Err(mistakes)
        }
    }
}

impl NewUnit {
    fn resolve(&self, path: &str) -> Result<UnitSpec, Box<Mistake>> {
        let own = format!("{path}.name");
        let name = UnitName::new(self.name.clone());
        let name = name.map_err(|error| Box::new(Mistake::field(&own, format!("`{own}`: {error}."))))?;
        Ok(UnitSpec { name, attributes: attributes(&self.attributes, &format!("{path}.attributes"))? })
    }
}

/// What a task asks for, and what it holds of that: one entry for each resource.
pub fn of_task(asks: &[CoreAsk]) -> Vec<TaskResource> {
    let mut all: Vec<TaskResource> = Vec::new();
    for ask in asks {
        let name = ask.name().map_or_else(String::new, ToString::to_string);
        let (amount, with) = match ask {
            CoreAsk::Exclusive { .. } | CoreAsk::Shared { .. } => (0, None),
            CoreAsk::Counted { amount, .. } => (*amount, None),
            CoreAsk::Unit { with, .. } => (1, Some(plain(with)).filter(|with| !with.is_empty())),
        };
        match all.iter_mut().find(|known| known.name == name) {
            Some(known) => {
                known.amount += amount;
                known.with.extend(with);
            }
            None => all.push(TaskResource {
                name,
                mode: ask.mode().name().to_owned(),
                amount,
                with: with.into_iter().collect(),
                ticket: 0,
                state: "waiting".to_owned(),
                granted_at: None,
                units: Vec::new(),
            }),
        }
    }
    all
}

fn plain(attributes: &BTreeMap<Key, String>) -> BTreeMap<String, String> {
    attributes.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
}

/// Units by name.
pub fn unit_names(units: &[UnitName]) -> Vec<String> {
    units.iter().map(ToString::to_string).collect()
}

/// The engine's view as a document.
pub fn document(view: &ResourceView) -> Resource {
    let row = view.declared.as_ref();
    Resource {
        name: view.name.to_string(),
        declared: row.is_some(),
        capacity: view.capacity,
        used: view.used,
        out_of_service: row.and_then(|row| row.out_of_service.clone()),
        sticky: row.map(|row| row.sticky).filter(|sticky| *sticky != Sticky::No).map(|sticky| sticky.name().to_owned()),
        warm_on: view.warm_on.as_ref().map(ToString::to_string),
        units: view.units.iter().map(|(unit, holder)| unit_document(unit, *holder)).collect(),
        changed_by: row.map(|row| row.changed_by.0.to_string()),
        changed_at: row.map(|row| from_core_time(row.changed_at)),
        holders: view.holders.iter().map(holder).collect(),
        held_by: view.held_by,
        line: view.line.iter().map(|standing| place(standing, None)).collect(),
        waiting: view.waiting,
        next_waits_for: view.next.iter().map(why::reason).collect(),
        aside: view.aside.iter().map(|(standing, why)| place(standing, Some(why.clone()))).collect(),
        asides: view.asides,
    }
}

/// A resource that is about to be declared.
pub fn not_yet(name: &ResourceName, change: &CoreChange) -> Resource {
    let units = change.units.iter().flatten();
    Resource {
        name: name.to_string(),
        declared: false,
        capacity: change.units.as_ref().map_or(change.capacity.unwrap_or(1), |units| units.len() as u64),
        used: 0,
        sticky: change.sticky.filter(|how| *how != Sticky::No).map(|how| how.name().to_owned()),
        warm_on: None,
        out_of_service: match &change.service {
            Some(Service::Out(why)) => Some(why.clone()),
            Some(Service::In) | None => None,
        },
        units: units.map(|unit| unit_document(unit, None)).collect(),
        changed_by: None,
        changed_at: None,
        holders: Vec::new(),
        held_by: 0,
        line: Vec::new(),
        waiting: 0,
        next_waits_for: Vec::new(),
        aside: Vec::new(),
        asides: 0,
    }
}

fn unit_document(unit: &UnitSpec, holder: Option<TaskRef>) -> ResourceUnit {
    ResourceUnit { name: unit.name.to_string(), attributes: plain(&unit.attributes), holder }
}

fn holder(view: &HolderView) -> ResourceHolder {
    ResourceHolder {
        task: view.task,
        run: view.run.map(|run| format!("r{run}")),
        ticket: view.ticket.0,
        state: view.state,
        mode: view.grant.mode.name().to_owned(),
        amount: view.grant.amount,
        units: unit_names(&view.grant.units),
        since: from_core_time(view.grant.at),
        why: view.why.as_ref().map(why::why),
    }
}

fn place(view: &PlaceView, why: Option<String>) -> ResourcePlace {
    ResourcePlace {
        task: view.task,
        run: view.run.map(|run| format!("r{run}")),
        ticket: view.ticket.0,
        mode: view.mode.name().to_owned(),
        amount: view.amount,
        since: from_core_time(view.since),
        why,
    }
}

/// The engine's summary as a document.
pub fn entry(summary: &ResourceSummary) -> ResourceEntry {
    ResourceEntry {
        name: summary.name.to_string(),
        declared: summary.is_declared,
        capacity: summary.capacity,
        used: summary.used,
        held_by: summary.held_by,
        waiting: summary.waiting,
        asides: summary.asides,
        out_of_service: summary.out_of_service.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_are_read_as_people_write_them_and_tell_where_they_are_wrong() {
        let read = |text: &str| serde_json::from_str::<Ask>(text).unwrap().resolve("resources[2]");
        let name = ResourceName::new("lic").unwrap();
        assert_eq!(read(r#"{"mode":"counted","name":"lic"}"#), Ok(CoreAsk::Counted { name, amount: 1 }));
        let with = [(Key::new("model").unwrap(), "x".to_owned())].into();
        assert_eq!(read(r#"{"mode":"unit","with":{"model":"x"}}"#), Ok(CoreAsk::Unit { name: None, with }));
        let path = |text: &str| read(text).unwrap_err().path;
        assert_eq!(path(r#"{"mode":"shared","name":"a b"}"#).as_deref(), Some("resources[2].name"));
        assert_eq!(path(r#"{"mode":"unit","with":{"a b":"x"}}"#).as_deref(), Some("resources[2].with"));
        assert!(serde_json::from_str::<Ask>(r#"{"mode":"shared","name":"a","amount":1}"#).is_err());
    }

    #[test]
    fn what_is_not_said_stays_and_null_puts_in_service() {
        let read = |text: &str| serde_json::from_str::<ResourceChange>(text).unwrap();
        assert_eq!(read("{}"), ResourceChange::default());
        assert_eq!(read(r#"{"out_of_service":null}"#).resolve().unwrap().service, Some(Service::In));
        let broken = read(r#"{"out_of_service":"flat"}"#);
        assert_eq!(broken.resolve().unwrap().service, Some(Service::Out("flat".to_owned())));
        for change in [broken, read(r#"{"out_of_service":null}"#), read(r#"{"capacity":3}"#)] {
            let text = serde_json::to_string(&change).unwrap();
            assert_eq!(read(&text), change, "{text}");
        }
        let wrong = read(r#"{"units":[{"name":"a"},{"name":"b c"},{"name":"d","attributes":{"e f":"g"}}]}"#);
        let paths: Vec<_> = wrong.resolve().unwrap_err().into_iter().filter_map(|mistake| mistake.path).collect();
        assert_eq!(paths, ["units[1].name", "units[2].attributes"]);
    }

    #[test]
    fn units_of_one_resource_are_one_entry() {
        let unit = |with: &[(&str, &str)]| CoreAsk::Unit {
            name: ResourceName::new("phones").ok(),
            with: with.iter().map(|(key, value)| (Key::new(*key).unwrap(), (*value).to_owned())).collect(),
        };
        let all = of_task(&[unit(&[("model", "x")]), unit(&[])]);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].amount, all[0].with.len(), all[0].mode.as_str()), (2, 1, "unit"));
    }
}
