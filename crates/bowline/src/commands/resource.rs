//! `bowline resource`: what tasks hold while they run, who holds it and who is next.

use bowline_api::{NewUnit, Resource, ResourceChange, ResourceEntry, ResourceHolder, ResourcePlace};
use bowline_core::id::TaskRef;
use bowline_core::name::{ResourceName, UnitName};
use bowline_core::resource::Sticky;
use clap::Subcommand;

use super::{Setting, submit};
use crate::clock::age;
use crate::exit::Exit;
use crate::output::clean;
use crate::watch::{Sight, Watch};

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline resource list
  bowline resource set simulator --capacity 4
  bowline resource set phones --unit ph1,model=x --unit ph2,model=y
  bowline resource show phones")]
pub(crate) enum Command {
    /// List resources: how much of each is held, and how many wait
    #[command(after_help = "Examples:\n  bowline resource list --json")]
    List,
    /// Show who holds a resource since when, who is next, and what that one waits for
    #[command(alias = "explain")]
    Show(One),
    /// Declare a resource, or change it; what is not said stays
    Set(Set),
    /// Remove declared resources that nobody holds or waits for
    #[command(after_help = "Examples:\n  bowline resource delete simulator")]
    Delete(Several),
}

/// One resource.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline resource show db
  bowline resource show phones --json
  bowline resource show db --watch

`bowline resource explain` is the same. With --watch it ends when the resource is gone: a lock that was made by its first use
goes with the last who holds it or waits for it.")]
pub(crate) struct One {
    /// Its name
    name: ResourceName,
    #[command(flatten)]
    watch: Watch,
}

/// Some resources.
#[derive(Debug, clap::Args)]
pub(crate) struct Several {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<ResourceName>,
}

/// What to declare.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline resource set simulator --capacity 4        a licence of which there are four
  bowline resource set phones --unit ph1,model=x,os=14 --unit ph2,model=y
  bowline resource set phones --out-of-service 'the rack is moved'
  bowline resource set phones --in-service
  bowline resource set repo --capacity 1 --sticky    who holds it rather goes to the worker that had it last

All units are named anew each time: a unit that is left out goes, once nobody holds it. Whoever holds more than there is
from then on keeps it to its end. A lock needs no declaration: its first use makes it.")]
pub(crate) struct Set {
    /// Its name
    name: ResourceName,
    /// How much of it there is [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "unit")]
    capacity: Option<u64>,
    /// A unit of it, with what it is like; may be repeated
    #[arg(long, value_name = "UNIT[,KEY=VALUE]…", value_parser = unit)]
    unit: Vec<NewUnit>,
    /// Give none of it out from now on, for this reason; who holds some keeps it
    #[arg(long, value_name = "REASON", conflicts_with = "in_service")]
    out_of_service: Option<String>,
    /// Give it out again
    #[arg(long)]
    in_service: bool,
    /// Who asks for it waits up to 30 s for the worker that had it last; `exclusive`: and a worker runs tasks of one such
    /// resource at a time; `no`: any worker will do
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "prefer", value_parser = sticky)]
    sticky: Option<Sticky>,
}

fn sticky(text: &str) -> Result<Sticky, String> {
    let all = [Sticky::No, Sticky::Prefer, Sticky::Exclusive];
    let found = all.into_iter().find(|sticky| sticky.name() == text);
    found.ok_or_else(|| "it is `prefer`, `exclusive` or `no`".to_owned())
}

fn unit(text: &str) -> Result<NewUnit, String> {
    let mut parts = text.split(',');
    let name = UnitName::new(parts.next().unwrap_or_default()).map_err(|error| error.to_string())?;
    let attributes = parts.filter(|pair| !pair.is_empty()).map(submit::attribute).collect::<Result<_, _>>()?;
    Ok(NewUnit { name: name.to_string(), attributes })
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List => list(on).await,
        Command::Show(one) => show(on, &one).await,
        Command::Set(args) => set(on, args).await,
        Command::Delete(several) => delete(on, &several.names).await,
    }
}

async fn show(on: &Setting, one: &One) -> anyhow::Result<Exit> {
    let was_there = std::cell::Cell::new(false);
    let look = async |on: &Setting| match on.client()?.resource(one.name.as_str()).await {
        Ok(found) => {
            was_there.set(true);
            tell(on, &found).map(|()| Sight::Open)
        }
        Err(error) if error.is_not_found() && was_there.get() => {
            if on.out.is_json() {
                on.out.document(&serde_json::Value::Null)?;
            } else {
                on.out.line(format!("`{}` is gone: nobody holds it, or waits for it.", one.name))?;
            }
            Ok(Sight::Over)
        }
        Err(error) => Err(error.into()),
    };
    one.watch.look(on, look).await
}

async fn list(on: &Setting) -> anyhow::Result<Exit> {
    let all = on.client()?.resources().await?.items;
    if on.out.is_json() {
        on.out.document(&all)?;
    } else if all.is_empty() {
        on.out.line("There are no resources. `bowline resource set NAME` declares one; `--lock` makes one.")?;
    } else {
        let head = ["name", "capacity", "used", "holders", "waiting", "aside", "service"];
        on.out.table(&head, all.iter().map(entry).collect())?;
    }
    Ok(Exit::GOOD)
}

fn entry(entry: &ResourceEntry) -> Vec<String> {
    let numbers = [entry.capacity, entry.used, entry.held_by, entry.waiting, entry.asides];
    let service = entry.out_of_service.as_ref().map_or_else(|| "in".to_owned(), |why| format!("out: {why}"));
    let numbers = numbers.iter().map(ToString::to_string);
    std::iter::once(entry.name.clone()).chain(numbers).chain([service]).collect()
}

async fn set(on: &Setting, args: Set) -> anyhow::Result<Exit> {
    let out_of_service = if args.in_service { Some(None) } else { args.out_of_service.map(Some) };
    let units = (!args.unit.is_empty()).then_some(args.unit);
    let change = ResourceChange { capacity: args.capacity, units, out_of_service, sticky: args.sticky };
    let set = on.client()?.set_resource(args.name.as_str(), &change).await?;
    if on.out.is_json() {
        on.out.document(&set)?;
    } else {
        let service = set.out_of_service.as_ref().map_or_else(String::new, |why| format!(", out of service: {why}"));
        let sticky = set.sticky.as_ref().map_or_else(String::new, |how| format!(", sticky ({how})"));
        on.out.line(clean(&format!("{}: {}{sticky}{service}", set.name, size(&set))))?;
    }
    Ok(Exit::GOOD)
}

async fn delete(on: &Setting, names: &[ResourceName]) -> anyhow::Result<Exit> {
    let client = on.client()?;
    for name in names {
        let was = client.delete_resource(name.as_str()).await?;
        if on.out.is_json() {
            on.out.item(&was)?;
        } else {
            on.out.line(format!("{name} deleted"))?;
        }
    }
    Ok(Exit::GOOD)
}

fn size(resource: &Resource) -> String {
    match resource.units.len() {
        0 => format!("capacity {}", resource.capacity),
        1 => "1 unit".to_owned(),
        units => format!("{units} units"),
    }
}

fn tell(on: &Setting, resource: &Resource) -> anyhow::Result<()> {
    if on.out.is_json() {
        return Ok(on.out.document(resource)?);
    }
    let service = resource.out_of_service.as_ref().map_or_else(|| "in".to_owned(), |why| format!("out: {why}"));
    let declared = match (&resource.changed_by, resource.changed_at) {
        (Some(by), Some(at)) => format!("by {by}, {} ago", age(at)),
        _ => "no: made by its first use".to_owned(),
    };
    for (name, value) in [
        ("name", resource.name.clone()),
        ("size", format!("{}, {} held", size(resource), resource.used)),
        ("declared", declared),
        ("service", service),
        ("sticky", resource.sticky.clone().unwrap_or_else(|| "no".to_owned())),
        ("warm on", resource.warm_on.clone().unwrap_or_else(|| "-".to_owned())),
    ] {
        on.out.line(format!("{name:<12} {}", clean(&value)))?;
    }
    let units: Vec<_> = resource.units.iter().map(unit_row).collect();
    part(on, "Units", resource.capacity, &["unit", "attributes", "held by"], units)?;
    let head = ["task", "ticket", "state", "how", "units", "for", "note"];
    part(on, "Held by", resource.held_by, &head, resource.holders.iter().map(holder_row).collect())?;
    let head = ["task", "ticket", "how", "for"];
    part(on, "In line", resource.waiting, &head, resource.line.iter().map(place_row).collect())?;
    next(on, resource)?;
    let aside = resource.aside.iter().map(|place| {
        let mut row = place_row(place);
        row.push(place.why.clone().unwrap_or_default());
        row
    });
    part(on, "Aside", resource.asides, &["task", "ticket", "how", "for", "why"], aside.collect())
}

/// Who is next, and for what else it waits.
fn next(on: &Setting, resource: &Resource) -> anyhow::Result<()> {
    let Some(next) = resource.line.first() else { return Ok(()) };
    if resource.next_waits_for.is_empty() {
        on.out.line(format!("\nNext is {}; it waits for this resource alone.", next.task))?;
        return Ok(());
    }
    on.out.line(format!("\nNext is {}; besides this resource it waits for:", next.task))?;
    for reason in &resource.next_waits_for {
        on.out.line(format!("  - {}", clean(&reason.sentence)))?;
    }
    Ok(())
}

/// A table with its heading, where there is something in it.
fn part(on: &Setting, what: &str, all: u64, head: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let shown = rows.len();
    on.out.line(if all > shown as u64 {
        format!("\n{what} (the first {shown} of {all}):")
    } else {
        format!("\n{what}:")
    })?;
    Ok(on.out.table(head, rows)?)
}

fn unit_row(unit: &bowline_api::ResourceUnit) -> Vec<String> {
    let attributes: Vec<String> = unit.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![unit.name.clone(), attributes.join(" "), unit.holder.map_or_else(|| "-".to_owned(), |task| task.to_string())]
}

/// A task; or the run for which it is there, with it.
fn who(task: TaskRef, run: Option<&str>) -> String {
    run.map_or_else(|| task.to_string(), |run| format!("{run} ({task})"))
}

fn holder_row(holder: &ResourceHolder) -> Vec<String> {
    vec![
        who(holder.task, holder.run.as_deref()),
        holder.ticket.to_string(),
        holder.state.to_string(),
        how(&holder.mode, holder.amount),
        holder.units.join(", "),
        age(holder.since),
        holder.why.as_ref().map(|why| why.sentence.clone()).unwrap_or_default(),
    ]
}

fn place_row(place: &ResourcePlace) -> Vec<String> {
    vec![
        who(place.task, place.run.as_deref()),
        place.ticket.to_string(),
        how(&place.mode, place.amount),
        age(place.since),
    ]
}

fn how(mode: &str, amount: u64) -> String {
    match mode {
        "exclusive" | "shared" => mode.to_owned(),
        "unit" if amount == 1 => "1 unit".to_owned(),
        "unit" => format!("{amount} units"),
        _ => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_a_name_and_what_it_is_like() {
        let read = unit("ph1,model=x,os=14").unwrap();
        assert_eq!((read.name.as_str(), read.attributes["os"].as_str()), ("ph1", "14"));
        assert!(unit("ph2").unwrap().attributes.is_empty());
        for wrong in ["", ",model=x", "ph1,model", "a b"] {
            assert!(unit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn how_it_is_held_is_told_in_short() {
        assert_eq!([how("shared", 0), how("unit", 2), how("counted", 3)], ["shared", "2 units", "3"]);
    }
}
