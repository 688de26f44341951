//! `bowline server restore`: puts a backup into the data folder of a server that is stopped.

use std::path::PathBuf;

use bowline_server::backup::{self, Force, Restored};
use serde::Serialize;

use super::{Setting, backup_trouble, data_folder};
use crate::clock;
use crate::exit::Exit;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server restore /backups/monday.tar --data /var/lib/bowline
  bowline server restore /backups/monday.tar --force

The server on that folder must be stopped; workers and their jobs may go on. With --force a folder that
holds something is used too: what the backup replaces is put aside in it, logs and artifacts stay.

The next start begins a later generation. What was done after the backup is forgotten; results of it that
workers still bring are recorded or dropped, and never end anything newer.")]
pub(crate) struct Args {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where everything durable lies [default: ./.bowline]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Also into a folder that is not empty
    #[arg(long)]
    force: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    data: PathBuf,
    generation: u32,
    made_at: jiff::Timestamp,
    put_aside: Option<PathBuf>,
}

/// Restores.
pub(super) fn run(on: &Setting, args: &Args) -> anyhow::Result<Exit> {
    let data = data_folder(on, args.data.clone());
    let force = if args.force { Force::Yes } else { Force::No };
    let restored = backup::restore(&args.file, &data, force, clock::now()).map_err(|error| {
        let what = format!("`{}` was not restored into `{}`.", args.file.display(), data.display());
        backup_trouble(error, what)
    })?;
    let Restored { manifest, generation, aside } = restored;
    let done = Done { data, generation, made_at: manifest.made_at, put_aside: aside };
    if on.out.is_json() {
        on.out.document(&done)?;
        return Ok(Exit::GOOD);
    }
    on.out.line(format!("{}: as it was at {:.0}, now generation {}", done.data.display(), done.made_at, generation))?;
    if let Some(aside) = &done.put_aside {
        on.out.line(format!("what was there before: {}", aside.display()))?;
    }
    on.out.note(format!("Start it with `bowline server start --data {}`.", done.data.display()));
    Ok(Exit::GOOD)
}
