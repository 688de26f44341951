//! `bowline wait`: until tasks or runs have ended.

use bowline_core::time::Span;

use super::Setting;
use crate::exit::Exit;
use crate::follow::{self, Show};
use crate::ids::Id;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline wait last
  bowline wait 4711 4712 --timeout 10m
  bowline wait r12 --json

Of one task the status is its command's own (128+n for a signal, 125 where Bowline could not run
it); of several things 0 where all ended well, else 1; 124 where the time ran out.")]
pub(crate) struct Args {
    /// Tasks, runs, or `last`
    #[arg(required = true, value_name = "ID")]
    ids: Vec<Id>,
    /// Give up after so long; the work goes on
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
}

/// Waits.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let things = args.ids.into_iter().map(|id| id.resolve(&on.config)).collect::<anyhow::Result<Vec<_>>>()?;
    follow::until_ended(on, &on.client()?, &things, args.timeout.map(|span| span.0), Show::Ends).await
}
