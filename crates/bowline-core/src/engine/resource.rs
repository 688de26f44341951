//! Resources as people declare, change and look at them.

use std::collections::{BTreeMap, BTreeSet};

use crate::answer::{Answer, Refusal, RefusalCode, Reply};
use crate::explain::{AsideWhy, WaitReason};
use crate::id::{AttemptNo, TaskRef};
use crate::input::{NewTask, Strict};
use crate::name::{Actor, Key, ResourceName};
use crate::resource::{
    ATTRIBUTES_MAX, Ask, CAPACITY_MAX, HolderView, PlaceView, ResourceChange, ResourceRow, ResourceSummary,
    ResourceView, Service, Sticky, TEXT_BYTES_MAX, UNITS_MAX, UnitSpec, VIEW_LISTED_MAX,
};
use crate::row::Subject;
use crate::spec::TaskSpec;

use super::Engine;
use super::lines::{Place, Resource, Want};
use super::out::Cause;

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Invalid, message)
}

fn unknown(name: &ResourceName) -> Refusal {
    let message = format!("There is no resource `{name}`; look for it with `bowline resource list`.");
    Refusal::new(RefusalCode::NotFound, message)
}

impl Engine {
    /// Declares a resource, or changes it.
    pub(super) fn set_resource(&mut self, actor: &Actor, name: &ResourceName, change: ResourceChange) -> Reply {
        check_change(name, &change)?;
        let old = self.lines.get(name).and_then(|resource| resource.row.clone());
        let what = if old.is_some() { "changed" } else { "declared" };
        let mut row = old.unwrap_or_else(|| ResourceRow {
            name: name.clone(),
            version: 0,
            capacity: 1,
            units: Vec::new(),
            out_of_service: None,
            sticky: Sticky::No,
            changed_by: actor.clone(),
            changed_at: self.now,
        });
        let before = row.clone();
        if let Some(capacity) = change.capacity {
            row.capacity = capacity;
            row.units = Vec::new();
        }
        if let Some(units) = change.units {
            row.capacity = units.len() as u64;
            row.units = units;
        }
        match change.service {
            Some(Service::In) => row.out_of_service = None,
            Some(Service::Out(why)) => row.out_of_service = Some(why),
            None => {}
        }
        row.sticky = change.sticky.unwrap_or(row.sticky);
        if row != before || row.version == 0 {
            row.changed_by = actor.clone();
            row.changed_at = self.now;
            row.version += u32::from(!self.out.resources.contains(name));
            self.out.resources.insert(name.clone());
            self.tell_resource(name, what, &Cause::new(actor, describe(&row)));
            self.lines.declare(row);
            self.restand_at(name);
            self.join_lanes_anew(name);
        }
        self.resource(name)
    }

    /// Removes a declared resource that nobody holds or waits for.
    pub(super) fn delete_resource(&mut self, actor: &Actor, name: &ResourceName) -> Reply {
        let resource = self.lines.get(name).ok_or_else(|| unknown(name))?;
        let Some(row) = &resource.row else {
            let message = format!("`{name}` was never declared: it goes with the last who holds it or waits for it.");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        };
        let (held, waiting) = (resource.holders.len(), resource.waiting() + resource.aside.len() as u64);
        if held > 0 || waiting > 0 {
            let message = format!(
                "`{name}` is held by {held} and waited for by {waiting}; cancel them first (`bowline resource show {name}` \
                 names them), or put it out of service with `bowline resource set {name} --out-of-service REASON`."
            );
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let asks = |id: &crate::id::TaskId| {
            self.tasks.get(id).is_some_and(|task| task.policy.wants.iter().any(|want| want.name == *name))
        };
        if let Some(task) = self.asking_tasks().find(asks) {
            let message = format!("Task {task} will ask for `{name}`; cancel it first, or wait for its end.");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        // One that this very batch declares has never been stored.
        let is_stored = row.version > 1 || !self.out.resources.contains(name);
        self.out.resources.remove(name);
        if is_stored {
            self.out.resources_gone.insert(name.clone());
        }
        self.lines.undeclare(name);
        self.tell_resource(name, "deleted", &Cause::new(actor, ""));
        Ok(Answer::Done)
    }

    fn tell_resource(&mut self, name: &ResourceName, what: &str, cause: &Cause) {
        self.tell_of(Subject::Resource(name.clone()), None, AttemptNo(0), what, cause);
    }

    /// Who holds it, and who is next.
    pub(super) fn resource(&self, name: &ResourceName) -> Reply {
        let resource = self.lines.get(name).ok_or_else(|| unknown(name))?;
        let mut holders: Vec<HolderView> = resource
            .holders
            .iter()
            .filter_map(|(task, grant)| {
                let ticket = self.tasks.get(&task.task)?.ticket;
                let state = self.dependency_state(*task)?;
                let run = self.kept_run(task.task);
                Some(HolderView { task: *task, run, ticket, state, grant: grant.clone(), why: None })
            })
            .collect();
        holders.sort_by_key(|holder| (holder.grant.at, holder.ticket, holder.task));
        holders.truncate(VIEW_LISTED_MAX);
        for holder in &mut holders {
            holder.why = self.reasons(holder.task).into_iter().next();
        }
        let line = resource.first_places(VIEW_LISTED_MAX);
        let next = line.first().map(|(_, unit)| self.reasons(*unit)).unwrap_or_default();
        let is_of_another = |reason: &WaitReason| match reason {
            WaitReason::Resource { name: other, .. } => other != name,
            _ => true,
        };
        let aside = resource.aside.iter().take(VIEW_LISTED_MAX);
        let view = ResourceView {
            name: name.clone(),
            declared: resource.row.clone(),
            capacity: resource.capacity(),
            used: resource.used(),
            warm_on: self.lines.warm_on(name).and_then(|id| Some(self.workers.get(&id)?.row.name.clone())),
            units: resource.units().map(|(unit, holder)| (unit.clone(), holder)).collect(),
            held_by: resource.holders.len() as u64,
            holders,
            line: line.into_iter().filter_map(|place| self.place_view(name, place)).collect(),
            waiting: resource.waiting(),
            next: next.into_iter().filter(is_of_another).collect(),
            aside: aside
                .filter_map(|place| {
                    let why = self.lines.aside(place.1)?;
                    Some((self.place_view(name, *place)?, say_aside(why)))
                })
                .collect(),
            asides: resource.aside.len() as u64,
        };
        Ok(Answer::Resource(Box::new(view)))
    }

    fn place_view(&self, name: &ResourceName, (ticket, unit): Place) -> Option<PlaceView> {
        let task = self.tasks.get(&unit.task)?;
        let want = task.policy.wants.iter().find(|want| want.name == *name)?;
        let since = task.unit(unit).unwrap_or(&task.hot).since;
        let run = self.kept_run(unit.task);
        Some(PlaceView { task: unit, run, ticket, mode: want.mode, amount: want.amount, since })
    }

    /// All of them, by name.
    pub(super) fn resources(&self) -> Answer {
        let summary = |(name, resource): (&ResourceName, &Resource)| ResourceSummary {
            name: name.clone(),
            is_declared: resource.row.is_some(),
            capacity: resource.capacity(),
            used: resource.used(),
            held_by: resource.holders.len() as u64,
            waiting: resource.waiting(),
            asides: resource.aside.len() as u64,
            out_of_service: resource.out_of_service().map(str::to_owned),
        };
        Answer::Resources(self.lines.all().map(summary).collect())
    }

    /// Whether what a task asks for could ever be granted.
    pub(super) fn check_asks(&self, new: &NewTask) -> Result<(), Refusal> {
        let spec = self.with_names(&new.spec)?;
        let spec = spec.as_ref().unwrap_or(&new.spec);
        for want in Want::of(&spec.resources).iter() {
            let resource = self.lines.get(&want.name);
            let is_declared = resource.is_some_and(|resource| resource.row.is_some());
            let needs_it = spec
                .resources
                .iter()
                .any(|ask| matches!(ask, Ask::Counted { .. } | Ask::Unit { .. }) && ask.name() == Some(&want.name));
            if needs_it && !is_declared {
                return Err(invalid(format!(
                    "There is no resource `{0}` to ask for a part of; declare it with `bowline resource set {0} \
                     --capacity N` or `--unit NAME`.",
                    want.name
                )));
            }
            if let Some(resource) = resource {
                resource.could_fit(want).map_err(|why| {
                    invalid(format!(
                        "This is never possible: {why}; `bowline resource show {}` tells what there is.",
                        want.name
                    ))
                })?;
            }
        }
        Ok(())
    }

    /// Resources that have such units.
    fn having<'a>(&'a self, with: &'a BTreeMap<Key, String>) -> impl Iterator<Item = &'a ResourceName> {
        let has = |resource: &Resource| resource.units().any(|(unit, _)| unit.has(with));
        self.lines.all().filter(move |(_, resource)| has(resource)).map(|(name, _)| name)
    }

    /// Asks for units of no resource by name get the name of the one that has such units. `None`: nothing changes.
    pub(super) fn with_names(&self, spec: &TaskSpec) -> Result<Option<TaskSpec>, Refusal> {
        if !spec.resources.iter().any(|ask| matches!(ask, Ask::Unit { name: None, .. })) {
            return Ok(None);
        }
        let mut spec = spec.clone();
        for ask in &mut spec.resources {
            if let Ask::Unit { name: name @ None, with } = ask {
                let found: Vec<&ResourceName> = self.having(with).collect();
                let all: Vec<String> = with.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let all = all.join(",");
                match found.as_slice() {
                    [one] => *name = Some((*one).clone()),
                    [] => {
                        return Err(invalid(format!(
                            "There is no device with {all}; `bowline resource list` tells which resources there are."
                        )));
                    }
                    [one, other, ..] => {
                        return Err(invalid(format!(
                            "Both `{one}` and `{other}` have devices with {all}; say which, as in `--device {one}:{all}`."
                        )));
                    }
                }
            }
        }
        Ok(Some(spec))
    }

    /// What is not possible now about these.
    pub(super) fn resource_warnings<'a>(&self, asks: impl IntoIterator<Item = &'a Ask>) -> Vec<String> {
        // Whoever names no resource asks for the one that has such units.
        let name = |ask: &'a Ask| match ask {
            Ask::Unit { name: None, with } => self.having(with).next(),
            other => other.name(),
        };
        let names: BTreeSet<&ResourceName> = asks.into_iter().filter_map(name).collect();
        let out = names.into_iter().filter_map(|name| Some((name, self.lines.get(name)?.out_of_service()?)));
        out.map(|(name, why)| format!("`{name}` is out of service: {why}")).collect()
    }

    /// With `strict`, what is not possible now is refused.
    pub(super) fn check_strict(strict: Strict, warnings: &[String]) -> Result<(), Refusal> {
        match (strict, warnings.first()) {
            (Strict::Yes, Some(warning)) => {
                let message = format!("This is not possible now, and was to be refused then: {warning}.");
                Err(Refusal::new(RefusalCode::Conflict, message))
            }
            (Strict::Yes, None) | (Strict::No, _) => Ok(()),
        }
    }
}

/// For people.
pub(super) fn say_aside(why: &AsideWhy) -> String {
    match why {
        AsideWhy::Paused => "it is paused".to_owned(),
        AsideWhy::OutOfService { name, reason } => format!("`{name}` is out of service: {reason}"),
        AsideWhy::TooMuch { name } => format!("`{name}` has less than it asks for now"),
        AsideWhy::NoWorker { .. } => "no connected worker has been able to run it for too long".to_owned(),
        AsideWhy::Window => "as many elements of its array are under way as may be".to_owned(),
        AsideWhy::Concurrency { key, holders, first, .. } => {
            let named: Vec<String> =
                holders.iter().map(|(task, _)| task).chain(first).map(ToString::to_string).collect();
            let named = if named.is_empty() { "others".to_owned() } else { named.join(", ") };
            format!("as many tasks under the concurrency key `{key}` are at work as may be: {named}")
        }
        AsideWhy::Rate { key, count, per, .. } => format!("its rate `{key}` allows {count} starts within {per}"),
        AsideWhy::Running { at_most, .. } => {
            format!("its namespace may have {at_most} tasks on workers (its quota `max_running`), and has")
        }
        AsideWhy::Held { name, at_most, .. } => {
            format!("its namespace may hold {at_most} of `{name}` (its quota `max_held`), and does")
        }
    }
}

fn describe(row: &ResourceRow) -> String {
    let size =
        if row.units.is_empty() { format!("capacity {}", row.capacity) } else { format!("{} units", row.units.len()) };
    let sticky = match row.sticky {
        Sticky::No => "",
        Sticky::Prefer => ", sticky",
        Sticky::Exclusive => ", sticky: one at a time",
    };
    match &row.out_of_service {
        Some(why) => format!("{size}{sticky}, out of service: {why}"),
        None => format!("{size}{sticky}"),
    }
}

/// Bounds of what is declared.
pub fn check_change(name: &ResourceName, change: &ResourceChange) -> Result<(), Refusal> {
    if change.capacity.is_some() && change.units.is_some() {
        return Err(invalid(format!("`{name}` has a capacity or named units, not both; name one of them.")));
    }
    if change.capacity.is_some_and(|capacity| capacity == 0 || capacity > CAPACITY_MAX) {
        return Err(invalid(format!(
            "The capacity of `{name}` must be 1 to {CAPACITY_MAX}; to give none of it out, put it out of service."
        )));
    }
    if let Some(Service::Out(why)) = &change.service
        && (why.trim().is_empty() || why.len() > TEXT_BYTES_MAX)
    {
        return Err(invalid(format!("Say in 1 to {TEXT_BYTES_MAX} bytes why `{name}` is out of service.")));
    }
    change.units.as_deref().map_or(Ok(()), |units| check_units(name, units))
}

fn check_units(name: &ResourceName, units: &[UnitSpec]) -> Result<(), Refusal> {
    if units.is_empty() || units.len() > UNITS_MAX {
        return Err(invalid(format!("`{name}` must have 1 to {UNITS_MAX} units.")));
    }
    let mut seen = BTreeSet::new();
    for unit in units {
        if !seen.insert(&unit.name) {
            return Err(invalid(format!("`{name}` has two units named `{}`; give each a name of its own.", unit.name)));
        }
        let other =
            unit.attributes.iter().find(|(key, value)| key.as_str() == "name" && **value != *unit.name.as_str());
        if let Some((_, other)) = other {
            return Err(invalid(format!(
                "Unit `{}` of `{name}` cannot have the attribute `name={other}`: `name` is the unit's own name. Leave it out, or \
                 choose another key.",
                unit.name
            )));
        }
        let is_too_long = unit.attributes.values().any(|value| value.len() > TEXT_BYTES_MAX);
        if unit.attributes.len() > ATTRIBUTES_MAX || is_too_long {
            return Err(invalid(format!(
                "Unit `{}` has too many attributes, or too long ones: at most {ATTRIBUTES_MAX} of {TEXT_BYTES_MAX} bytes.",
                unit.name
            )));
        }
    }
    Ok(())
}

/// Bounds of what is asked for: each resource once, except for several units.
pub(super) fn check_resources(spec: &TaskSpec) -> Result<(), Refusal> {
    let mut seen: BTreeSet<&ResourceName> = BTreeSet::new();
    let mut units: BTreeSet<&ResourceName> = BTreeSet::new();
    for ask in &spec.resources {
        match ask {
            Ask::Counted { name, amount } if *amount == 0 || *amount > CAPACITY_MAX => {
                return Err(invalid(format!("it asks for {amount} of `{name}`; ask for 1 to {CAPACITY_MAX}.")));
            }
            Ask::Unit { name: None, with } if with.is_empty() => {
                return Err(invalid("it asks for a device without saying which; name its resource or an attribute."));
            }
            Ask::Unit { with, .. } if with.len() > ATTRIBUTES_MAX => {
                return Err(invalid(format!(
                    "it names {} attributes of a device; name at most {ATTRIBUTES_MAX}.",
                    with.len()
                )));
            }
            Ask::Exclusive { .. } | Ask::Shared { .. } | Ask::Counted { .. } | Ask::Unit { .. } => {}
        }
        let Some(name) = ask.name() else { continue };
        let is_again = if matches!(ask, Ask::Unit { .. }) {
            units.insert(name);
            seen.contains(name)
        } else {
            !seen.insert(name) || units.contains(name)
        };
        if is_again {
            return Err(invalid(format!("it asks for `{name}` twice; ask once, or for several units of it.")));
        }
    }
    Ok(())
}

/// A unit of a task, first to last.
pub(super) fn units_of(task: crate::id::TaskId) -> (TaskRef, TaskRef) {
    (TaskRef::whole(task), TaskRef::element(task, u32::MAX))
}
