//! `bowline version`: of this program, and of the server where one answers.

use serde::Serialize;

use super::Setting;
use crate::exit::Exit;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline version
  bowline version --client
  bowline version --json")]
pub(crate) struct Args {
    /// Do not ask a server
    #[arg(long)]
    client: bool,
}

#[derive(Debug, Serialize)]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<bowline_api::Version>,
}

/// Prints.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    // A server that does not answer is no trouble here.
    let server = if args.client { None } else { on.client()?.version().await.ok() };
    let versions = Versions { client: env!("CARGO_PKG_VERSION"), server };
    if on.out.is_json() {
        on.out.document(&versions)?;
        return Ok(Exit::GOOD);
    }
    on.out.line(format!("bowline {}", versions.client))?;
    if let Some(server) = &versions.server {
        on.out.line(format!("server  {} ({})", server.version, server.status))?;
    }
    Ok(Exit::GOOD)
}
