//! Hidden: the supervisor of a worker's jobs, and the first moments of a job's process. Both are
//! taken off the command line before anything else is looked at (see `main`), because they must be
//! small and quick; they are named here so that `--help` of nobody shows them and no other command
//! can take their names.

use crate::exit::{Exit, Trouble};

/// Whatever they are given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<std::ffi::OsString>,
}

/// Reached only by a command line that names other options before it.
pub(crate) fn refuse(args: Args) -> anyhow::Result<Exit> {
    drop(args.rest);
    Err(Trouble::usage("This is started by workers alone, and takes no options before its name.").into())
}
