//! `bowline server downgrade`: the way back to an earlier release.

use std::path::PathBuf;

use anyhow::Context;

use super::{Setting, data_folder};
use crate::exit::{Exit, Trouble};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server downgrade --data /var/lib/bowline

For a server that is stopped, before an earlier release is started in its place: nothing that is in the store is
lost, and jobs run on. A release that knows nothing of resources, limits, namespaces, gangs or held runs refuses a store in
which they are used; what it must know is told. A later release brings the store to its own form again when it starts.")]
pub(crate) struct Args {
    /// Where everything durable lies [default: ./.bowline]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// What became of it.
#[derive(Debug, serde::Serialize)]
struct Done {
    data: PathBuf,
    store_version: u32,
    oldest_reader: u32,
}

/// Writes the earlier form.
pub(super) fn run(on: &Setting, args: &Args) -> anyhow::Result<Exit> {
    let data = data_folder(on, args.data.clone());
    let store = data.join("bowline.db");
    if !store.is_file() {
        let what = format!("There is no store in the data folder `{}`; see --data.", data.display());
        return Err(Trouble::new(Exit::MISSING, what).into());
    }
    let refused = || Trouble::new(Exit::REFUSED, format!("The store in `{}` stays as it is.", data.display()));
    let done = bowline_store_sqlite::downgrade(&store).with_context(refused)?;
    let done = Done { data, store_version: done.version, oldest_reader: done.oldest_reader };
    if on.out.is_json() {
        on.out.document(&done)?;
    } else {
        on.out.line(format!(
            "The store has version {} now. A release that knows store version {} may be started with it.",
            done.store_version, done.oldest_reader
        ))?;
    }
    Ok(Exit::GOOD)
}
