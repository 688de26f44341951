//! `bowline server`: starts a server, checks its data.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bowline_core::answer::{Answer, Connection};
use bowline_core::input::Request;
use bowline_core::name::Actor;
use bowline_server::{Exposure, Server, ServerConfig, ServerError};
use clap::Subcommand;
use tokio::sync::broadcast::error::RecvError;

use super::Setting;
use crate::exit::{Exit, Trouble};
use crate::house::ServerReady;
use crate::{logging, process, runtime, signals};

/// How long a server whose parent is gone waits for its workers to leave: longer than they take.
const WORKERS_MAX: Duration = Duration::from_secs(40);
/// The store, in the data folder.
const STORE_FILE: &str = "bowline.db";

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline server start --data /var/lib/bowline
  bowline server check --data /var/lib/bowline")]
pub(crate) enum Command {
    /// Start a server
    Start(Start),
    /// Check a server's data folder, without starting anything
    Check(Check),
}

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server start
  bowline server start --data /var/lib/bowline --listen 127.0.0.1:7420
  bowline server start --listen 127.0.0.1:0 --json      takes a free port and prints it

SIGTERM or Ctrl-C: takes no more, answers what is under way, stops. Workers and their jobs go on.")]
pub(crate) struct Start {
    /// Where everything durable lies [default: ./.bowline]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Allow an address that other machines can reach, without TLS
    #[arg(long)]
    insecure: bool,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    stop_with_parent: bool,
}

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server check
  bowline server check --data /var/lib/bowline --json")]
pub(crate) struct Check {
    /// Where everything durable lies [default: ./.bowline]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(args) => start(on, args).await,
        Command::Check(args) => check(on, &args),
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

async fn start(on: &Setting, args: Start) -> anyhow::Result<Exit> {
    logging::start(&on.config)?;
    let data = data_folder(on, args.data);
    let mut config = ServerConfig::new(&data);
    config.listen = listen_address(on, args.listen)?;
    config.exposure = if args.insecure { Exposure::Insecure } else { Exposure::Loopback };
    let mut stop = signals::Stop::new()?;
    let mut server = bowline_server::start(config).await.map_err(|error| {
        let exit = exit_of(&error);
        let what = format!("The server on the data folder `{}` could not start.", data.display());
        anyhow::Error::new(error).context(Trouble::new(exit, what))
    })?;
    let ready = ServerReady { server: server.url(), token_file: std::path::absolute(server.token_file())? };
    let kept = args.stop_with_parent.into();
    let _registered = runtime::register(on.config.environment(), &ready.server, &data, &ready.token_file, kept)
        .inspect_err(|error| tracing::warn!(%error, "commands will not find this server by themselves"));
    announce(on, &ready)?;
    let orphaned =
        async { if args.stop_with_parent { process::parent_gone().await } else { std::future::pending().await } };
    tokio::select! {
        outcome = server.wait() => {
            outcome.with_context(|| format!("The server on the data folder `{}` could not go on.", data.display()))?;
            return Err(anyhow::anyhow!("The server stopped, though nobody asked it to."));
        }
        () = stop.asked() => tracing::info!("asked to stop"),
        () = orphaned => {
            tracing::info!("the parent is gone; waiting for the workers to give back what they have");
            workers_gone(&server).await;
        }
    }
    server.shutdown().await;
    Ok(Exit::GOOD)
}

/// Waits until no worker is connected any more, bounded: those of the same parent are leaving now,
/// and what they give back is to be recorded.
async fn workers_gone(server: &Server) {
    let leader = &server.state().leader;
    let mut events = leader.events();
    let gone = async {
        while let Ok(Answer::Overview(seen)) = leader.request(Actor::server(), Request::Overview).await {
            if seen.workers.iter().all(|worker| worker.connection == Connection::Away) {
                return;
            }
            // Missed events are no matter: it is the state that is asked for.
            if matches!(events.recv().await, Err(RecvError::Closed)) {
                return;
            }
        }
    };
    if tokio::time::timeout(WORKERS_MAX, gone).await.is_err() {
        tracing::warn!("workers are still connected; stopping all the same");
    }
}

fn announce(on: &Setting, ready: &ServerReady) -> anyhow::Result<()> {
    if on.out.is_json() {
        on.out.item(ready)?;
    } else {
        on.out.line(format!("serving at {}", ready.server))?;
        on.out.line(format!("token file {}", ready.token_file.display()))?;
    }
    Ok(())
}

/// What another start would meet again is a refusal.
fn exit_of(error: &ServerError) -> Exit {
    match error {
        ServerError::Exposed(_) => Exit::USAGE,
        ServerError::AddressTaken { .. } => Exit::REFUSED,
        ServerError::Listen { .. }
        | ServerError::Data { .. }
        | ServerError::Secrets(_)
        | ServerError::Store(_)
        | ServerError::Logs(_)
        | ServerError::Blobs(_)
        | ServerError::Leader(_)
        | ServerError::NotLeading(_)
        | ServerError::WriterStopped => Exit::FAILED,
    }
}

/// What a look at a data folder finds.
#[derive(Debug, serde::Serialize)]
struct Found {
    data: PathBuf,
    ok: bool,
    findings: Vec<String>,
}

fn check(on: &Setting, args: &Check) -> anyhow::Result<Exit> {
    let data = data_folder(on, args.data.clone());
    if !data.is_dir() {
        return Err(
            Trouble::new(Exit::MISSING, format!("There is no data folder `{}`; see --data.", data.display())).into()
        );
    }
    let findings = findings(&data);
    let found = Found { data, ok: findings.is_empty(), findings };
    if on.out.is_json() {
        on.out.document(&found)?;
    } else if found.ok {
        on.out.line(format!("{}: in order", found.data.display()))?;
    } else {
        for finding in &found.findings {
            on.out.line(finding)?;
        }
    }
    Ok(if found.ok { Exit::GOOD } else { Exit::FAILED })
}

fn findings(data: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut findings = Vec::new();
    let token = data.join(bowline_server::TOKEN_FILE);
    match std::fs::metadata(&token) {
        Err(error) => findings.push(format!("The token file `{}` cannot be looked at: {error}.", token.display())),
        Ok(metadata) if metadata.mode() & 0o077 != 0 => {
            findings.push(format!("Others may read the token file `{}`; run `chmod 600` on it.", token.display()));
        }
        Ok(_) => {}
    }
    match bowline_store_sqlite::check(&data.join(STORE_FILE)) {
        Err(error) => findings.push(format!("{:#}", anyhow::Error::new(error))),
        Ok(report) => findings.extend(report.problems),
    }
    findings
}

/// What `up` and `run` hand on to both their children.
pub(crate) fn passed_on(on: &Setting) -> Vec<OsString> {
    let format = on.config.text("log_format").unwrap_or("text");
    vec![OsString::from(format!("--log-format={format}"))]
}
