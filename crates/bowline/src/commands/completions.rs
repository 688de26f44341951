//! `bowline completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::output;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline completions bash > ~/.local/share/bash-completion/completions/bowline
  bowline completions zsh  > ~/.zfunc/_bowline
  bowline completions fish > ~/.config/fish/completions/bowline.fish")]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

/// Prints the script.
#[expect(clippy::needless_pass_by_value, reason = "every command owns its arguments")]
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::Cli::command(), "bowline", &mut script);
    output::raw(&script)?;
    Ok(Exit::GOOD)
}
