//! `bowline server`: starts a server, checks its data.

mod check;
mod start;

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;

use super::Setting;
use crate::exit::{Exit, Trouble};

/// The store, in the data folder.
const STORE_FILE: &str = "bowline.db";

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline server start --data /var/lib/bowline
  bowline server check --data /var/lib/bowline")]
pub(crate) enum Command {
    /// Start a server
    Start(start::Args),
    /// Check a server's data folder, without starting anything
    Check(check::Args),
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(args) => start::run(on, args).await,
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

/// What `up` and `run` hand on to both their children.
pub(crate) fn passed_on(on: &Setting) -> Vec<OsString> {
    let format = on.config.text("log_format").unwrap_or("text");
    vec![OsString::from(format!("--log-format={format}"))]
}
