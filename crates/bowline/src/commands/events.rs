//! `bowline events`: every change as it happens.

use bowline_api::EventQuery;
use bowline_client::EventItem;

use super::Setting;
use crate::exit::Exit;
use crate::ids::{Id, Thing};
use crate::output::clean;
use crate::signals;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline events
  bowline events --of r12 --json
  bowline events --after 1024-3      go on after that event")]
pub(crate) struct Args {
    /// Only of this task or run
    #[arg(long, value_name = "ID")]
    of: Option<Id>,
    /// Go on after the event with this id
    #[arg(long, value_name = "EVENT")]
    after: Option<String>,
}

/// Follows them.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let mut query = EventQuery { after: args.after, ..EventQuery::default() };
    match args.of.map(|id| id.resolve(&on.config)).transpose()? {
        Some(Thing::Task(task)) => query.task = Some(task.to_string()),
        Some(Thing::Run(run)) => query.run = Some(format!("r{run}")),
        None => {}
    }
    let mut events = on.client()?.events(query);
    let mut stop = signals::Stop::new()?;
    loop {
        let item = tokio::select! {
            item = events.next() => item?,
            () = stop.asked() => return Ok(Exit::INTERRUPTED),
        };
        let EventItem::Event(event) = item else { continue };
        if on.out.is_json() {
            on.out.item(&event)?;
            continue;
        }
        let whom = event.task.or(event.run).or(event.worker).or(event.namespace).unwrap_or_default();
        let reason = if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
        let line = format!("{:.3} {} {whom} {}{reason} [{}]", event.at, event.kind.name(), event.what, event.actor);
        on.out.line(clean(&line))?;
    }
}
