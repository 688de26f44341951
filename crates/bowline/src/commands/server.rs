//! `bowline server`: starts a server, backs it up, puts it back, checks its data.

mod backup;
mod check;
mod downgrade;
mod restore;
mod rollback;
mod start;

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::Context;
use bowline_server::backup::BackupError;
use clap::Subcommand;

use super::Setting;
use crate::exit::{Exit, Trouble};

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline server start --data /var/lib/bowline
  bowline server backup /backups/bowline-monday.tar
  bowline server check /backups/bowline-monday.tar")]
pub(crate) enum Command {
    /// Start a server
    Start(start::Args),
    /// Back up a server while it goes on
    Backup(backup::Args),
    /// Put a backup into the data folder of a server that is stopped
    Restore(restore::Args),
    /// Lead again with a store that was put back to an earlier state
    AcceptRollback(rollback::Args),
    /// Give the store of a server that is stopped the form that earlier releases read
    Downgrade(downgrade::Args),
    /// Check a server's data folder or a backup, without starting anything
    Check(check::Args),
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(args) => start::run(on, args).await,
        Command::Backup(args) => backup::run(on, args).await,
        Command::Restore(args) => restore::run(on, &args),
        Command::AcceptRollback(args) => rollback::run(on, &args).await,
        Command::Downgrade(args) => downgrade::run(on, &args),
        Command::Check(args) => check::run(on, &args),
    }
}

/// The flag, or the setting `data`.
pub(crate) fn data_folder(on: &Setting, flag: Option<PathBuf>) -> PathBuf {
    flag.unwrap_or_else(|| PathBuf::from(on.config.text("data").unwrap_or(".bowline")))
}

/// The flag, or the setting `listen`.
pub(crate) fn listen_address(on: &Setting, flag: Option<String>) -> anyhow::Result<SocketAddr> {
    let text = flag.unwrap_or_else(|| on.config.text("listen").unwrap_or("127.0.0.1:7420").to_owned());
    let wrong = || {
        Trouble::usage(format!("`{text}` is no address: write one such as 127.0.0.1:7420 (port 0 takes a free one)."))
    };
    let mut found = text.to_socket_addrs().with_context(wrong)?;
    found.next().ok_or_else(|| wrong().into())
}

/// A backup's trouble, with the status that goes with it.
fn backup_trouble(error: BackupError, what: String) -> anyhow::Error {
    let exit = if error.is_refusal() { Exit::REFUSED } else { Exit::FAILED };
    anyhow::Error::new(error).context(Trouble::new(exit, what))
}

/// What `up` and `run` hand on to both their children.
pub(crate) fn passed_on(on: &Setting) -> Vec<OsString> {
    let format = on.config.text("log_format").unwrap_or("text");
    vec![OsString::from(format!("--log-format={format}"))]
}
