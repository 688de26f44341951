//! `bowline task elements`.

use bowline_api::{ElementQuery, Task};

use super::{Setting, list};
use crate::exit::Exit;
use crate::ids::Id;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline task elements 4711
  bowline task elements 4711 --state failed
  bowline task elements last --limit 1000 --json")]
pub(crate) struct Args {
    /// An array, or `last`
    id: Id,
    /// In one of these states; `unfinished` and `ended` stand for all of that kind
    #[arg(long, value_name = "STATE,…")]
    state: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = list::limit)]
    limit: usize,
}

/// Lists.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let id = args.id.task(&on.config)?;
    let client = on.client()?;
    let mut query = ElementQuery { state: args.state, ..ElementQuery::default() };
    let mut elements: Vec<Task> = Vec::new();
    while elements.len() < args.limit {
        query.limit = Some((args.limit - elements.len()).min(bowline_api::PAGE_MAX));
        let page = client.elements(id, &query).await?;
        elements.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    if on.out.is_json() {
        on.out.document(&elements)?;
        return Ok(Exit::GOOD);
    }
    list::table(on, &elements)?;
    if query.cursor.is_some() {
        on.out.note(format!("There are more than {} of them; see --limit.", args.limit));
    }
    Ok(Exit::GOOD)
}
