//! `bowline server accept-rollback`: a store that was put back to an earlier state is to stand.

use std::path::PathBuf;

use anyhow::Context;
use bowline_api::NewGeneration;
use bowline_store::RollbackStore;

use super::{Setting, data_folder};
use crate::exit::{Exit, Trouble};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server accept-rollback
  bowline server accept-rollback --data /var/lib/bowline     a server that is stopped

A server whose data folder was put back to an earlier state by other means than `server restore` (a
snapshot of its machine, a copied folder) leads no more once a worker comes that has seen later. Put the
newest copy back; or say this, and it leads again, in a later generation: what was done after that state
is forgotten, and results of it that workers still bring never end anything newer.")]
pub(crate) struct Args {
    /// The data folder of a server that is stopped [default: the running server is asked]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Accepts it.
pub(super) async fn run(on: &Setting, args: &Args) -> anyhow::Result<Exit> {
    let generation = match &args.data {
        Some(data) => NewGeneration { generation: stopped(&data_folder(on, Some(data.clone())))? },
        None => on.client()?.accept_rollback().await?,
    };
    if on.out.is_json() {
        on.out.document(&generation)?;
    } else {
        on.out.line(format!("accepted: generation {} begins", generation.generation))?;
    }
    Ok(Exit::GOOD)
}

fn stopped(data: &std::path::Path) -> anyhow::Result<u32> {
    let store = data.join("bowline.db");
    if !store.is_file() {
        let what = format!("There is no store in the data folder `{}`; see --data.", data.display());
        return Err(Trouble::new(Exit::MISSING, what).into());
    }
    let refused = || Trouble::new(Exit::REFUSED, format!("The store in `{}` stays as it is.", data.display()));
    let mut opened = bowline_store_sqlite::open(&store).with_context(refused)?;
    Ok(opened.store.accept_rollback(None).with_context(refused)?.0)
}
