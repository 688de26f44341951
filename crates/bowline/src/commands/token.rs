//! `bowline token`: secrets that open a door.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context;
use bowline_api::NewToken;
use bowline_core::input::TokenRole;
use clap::Subcommand;

use super::Setting;
use crate::exit::Exit;

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline token create --enrol --name lab-3 > lab-3.token
  bowline token list")]
pub(crate) enum Command {
    /// Make a token; its secret is told this once
    Create(Create),
    /// List tokens, without their secrets
    #[command(after_help = "Examples:\n  bowline token list --json")]
    List,
}

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline token create --enrol --out lab-3.token    then there: bowline worker start --token-file lab-3.token
  bowline token create --enrol --pool lab --out lab.token    for any number of workers of the pool lab
  bowline token create --admin --name ci --out ci.token")]
pub(crate) struct Create {
    /// Good for enrolling one worker, once
    #[arg(long, required_unless_present = "admin")]
    enrol: bool,
    /// With --enrol: good for any number of workers, but only of this pool
    #[arg(long, value_name = "NAME", conflicts_with = "admin")]
    pool: Option<String>,
    /// Good for everything
    #[arg(long, conflicts_with = "enrol")]
    admin: bool,
    /// What it is for
    #[arg(long, value_name = "NAME", default_value = "unnamed")]
    name: String,
    /// Write it to this new file (mode 0600) instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create(args) => create(on, args).await,
        Command::List => list(on).await,
    }
}

async fn create(on: &Setting, args: Create) -> anyhow::Result<Exit> {
    let role = if args.admin { TokenRole::Admin } else { TokenRole::Enrol };
    // Opened first, so that no secret is made that then cannot be kept.
    let file = args
        .out
        .as_ref()
        .map(|path| {
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("The file `{}` cannot be made.", path.display()))
        })
        .transpose()?;
    let issued = on.client()?.create_token(&NewToken { name: args.name, role, pool: args.pool }).await?;
    match (file, &args.out) {
        (Some(mut file), Some(path)) => {
            writeln!(file, "{}", issued.token)
                .and_then(|()| file.sync_all())
                .with_context(|| format!("The token cannot be written to `{}`.", path.display()))?;
            on.out.note(format!("written to {}", path.display()));
        }
        _ if on.out.is_json() => on.out.document(&issued)?,
        _ => on.out.line(&issued.token)?,
    }
    Ok(Exit::GOOD)
}

async fn list(on: &Setting) -> anyhow::Result<Exit> {
    let tokens = on.client()?.tokens().await?;
    if on.out.is_json() {
        on.out.document(&tokens.items)?;
        return Ok(Exit::GOOD);
    }
    let role = |role| match role {
        TokenRole::Admin => "admin",
        TokenRole::Enrol => "enrol",
        TokenRole::Member => "member",
    };
    let rows = tokens
        .items
        .into_iter()
        .map(|token| vec![token.name, role(token.role).to_owned(), token.pool.unwrap_or_default()])
        .collect();
    on.out.table(&["name", "role", "pool"], rows)?;
    Ok(Exit::GOOD)
}
