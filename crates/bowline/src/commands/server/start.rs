//! `bowline server start`: a server, until it is told to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bowline_core::Timing;
use bowline_core::answer::Answer;
use bowline_core::input::Request;
use bowline_core::name::Actor;
use bowline_core::size::parse_size;
use bowline_core::time::Span;
use bowline_leader::{Leader, LeaderStatus};
use bowline_server::{Exposure, Server, ServerConfig, ServerError};
use tokio::sync::broadcast::error::RecvError;

use super::{Setting, data_folder, listen_address};
use crate::exit::{Exit, Trouble};
use crate::house::ServerReady;
use crate::notify::Notify;
use crate::{logging, process, runtime, signals};

/// How long a server whose parent is gone waits for its workers to leave: longer than they take.
const WORKERS_MAX: Duration = Duration::from_secs(40);

/// Between two looks whether a full disk has room again.
const ROOM_EVERY: Duration = Duration::from_secs(2);
/// With less than this on the disk of its data folder, in bytes, a server cannot be expected to start.
const ROOM_BYTES_MIN: u64 = 1 << 20;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server start
  bowline server start --data /var/lib/bowline --listen 127.0.0.1:7420
  bowline server start --listen 127.0.0.1:0 --json      takes a free port and prints it

SIGTERM or Ctrl-C: takes no more, answers what is under way, stops. Workers and their jobs go on.
SIGHUP: reads the configuration file again; `log` follows at once, the rest at the next start.
Under a service manager it says when it is ready, and feeds the watchdog (NOTIFY_SOCKET).")]
pub(crate) struct Args {
    /// Where everything durable lies [default: ./.bowline]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Allow an address that other machines can reach, without TLS
    #[arg(long)]
    insecure: bool,
    /// Keep an artifact's bytes for so long after nothing names them any more
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    keep_blobs: Span,
    /// Keep tasks and runs for so long after they have ended [default: 30 days]
    #[arg(long, value_name = "DURATION")]
    keep_ended: Option<Span>,
    /// Keep what `/events` tells for so long [default: 24h]
    #[arg(long, value_name = "DURATION")]
    keep_events: Option<Span>,
    /// Take no artifact that is larger
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "64GiB")]
    artifact_max: u64,
    #[command(flatten)]
    patience: Patience,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    stop_with_parent: bool,
}

/// How patient the server is.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Patience {
    /// How often workers say that they are there
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    heartbeat: Span,
    /// Without a heartbeat for so long a worker is suspect and given nothing new [default: three heartbeats]
    #[arg(long, value_name = "DURATION")]
    suspect_after: Option<Span>,
    /// Without a heartbeat for so long an attempt is lost, where its task says nothing else
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    lost_after: Span,
    /// Nothing is lost for so long after a start, except by proof
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    take_over_grace: Span,
    /// A worker that was put aside is tried with one task after so long
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    aside_for: Span,
    /// An identity of a pool may be given away when its holder was silent for so long
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pool_gone_after: Span,
    /// Who needs more room than any worker has free has one kept free for it after so long
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    keep_after: Span,
    /// A ticket that no connected worker can serve stands aside after so long
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    aside_after: Span,
    /// A task counts as though it had come earlier by this, for each level of its priority
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    ageing: Span,
}

/// The shortest heartbeat.
const HEARTBEAT_MIN: Span = Span(Duration::from_millis(100));

impl Patience {
    fn timing(self) -> anyhow::Result<Timing> {
        let suspect_after = self.suspect_after.map_or(self.heartbeat.0 * 3, |after| after.0);
        if self.heartbeat.0 < HEARTBEAT_MIN.0 {
            return Err(Trouble::usage("--heartbeat must be at least 100ms.").into());
        }
        if suspect_after <= self.heartbeat.0 || self.lost_after.0 < suspect_after {
            let wrong = "--heartbeat must be shorter than --suspect-after, and that no longer than --lost-after.";
            return Err(Trouble::usage(wrong).into());
        }
        Ok(Timing {
            heartbeat: self.heartbeat.0,
            suspect_after,
            lost_after: self.lost_after.0,
            take_over_grace: self.take_over_grace.0,
            aside_for: self.aside_for.0,
            pool_gone_after: self.pool_gone_after.0,
            keep_after: self.keep_after.0,
            aside_after: self.aside_after.0,
            ageing: self.ageing.0,
            ..Timing::default()
        })
    }
}

/// Starts it, and serves until it is told to stop.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let levels = logging::start(&on.config)?;
    let notify = Notify::new(on.config.environment());
    let data = data_folder(on, args.data);
    let mut config = ServerConfig::new(&data);
    config.listen = listen_address(on, args.listen)?;
    config.exposure = if args.insecure { Exposure::Insecure } else { Exposure::Loopback };
    config.timing = args.patience.timing()?;
    config.blobs_kept = args.keep_blobs.0.max(Duration::from_secs(1));
    config.blob_bytes_max = args.artifact_max;
    config.retention.ended = args.keep_ended.map_or(config.retention.ended, |kept| kept.0);
    config.retention.events = args.keep_events.map_or(config.retention.events, |kept| kept.0);
    let mut stop = signals::Stop::new()?;
    signals::outlive_file_limit();
    let Some(mut server) = when_there_is_room(config, &notify, &mut stop).await.map_err(|error| {
        let exit = exit_of(&error);
        let what = format!("The server on the data folder `{}` could not start.", data.display());
        anyhow::Error::new(error).context(Trouble::new(exit, what))
    })?
    else {
        return Ok(Exit::GOOD);
    };
    let ready = ServerReady { server: server.url(), token_file: std::path::absolute(server.token_file())? };
    let kept = args.stop_with_parent.into();
    let _registered = runtime::register(on.config.environment(), &ready.server, &data, &ready.token_file, kept)
        .inspect_err(|error| tracing::warn!(%error, "commands will not find this server by themselves"));
    announce(on, &ready)?;
    notify.ready(&format!("serving at {}", ready.server));
    let leader = server.state().leader.clone();
    let orphaned =
        async { if args.stop_with_parent { process::parent_gone().await } else { std::future::pending().await } };
    tokio::select! {
        outcome = server.wait() => {
            outcome.with_context(|| format!("The server on the data folder `{}` could not go on.", data.display()))?;
            return Err(anyhow::anyhow!("The server stopped, though nobody asked it to."));
        }
        () = stop.asked() => tracing::info!("asked to stop"),
        never = levels.follow(on, &notify) => match never {},
        never = notify.feed(async |within| turns(&leader, within).await) => match never {},
        () = orphaned => {
            tracing::info!("the parent is gone; waiting for the workers to give back what they have");
            workers_gone(&server).await;
        }
    }
    notify.stopping("answering what is under way");
    server.shutdown().await;
    Ok(Exit::GOOD)
}

/// Starts the server; on a full disk, again and again until there is room: what is acknowledged lies there, and
/// whoever has to make room needs no restart for it. `None`: told to stop meanwhile.
async fn when_there_is_room(
    config: ServerConfig,
    notify: &Notify,
    stop: &mut signals::Stop,
) -> Result<Option<Server>, ServerError> {
    loop {
        let data = config.data.clone();
        match bowline_server::start(config.clone()).await {
            Err(error) if may_pass(&error) && has_no_room(&data) => {
                let every = ROOM_EVERY.as_secs();
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    data = %data.display(),
                    "the disk is full: waiting for room; make some, the server looks every {every} s"
                );
                notify.status("the disk is full: waiting for room");
            }
            other => return other.map(Some),
        }
        tokio::select! {
            () = tokio::time::sleep(ROOM_EVERY) => {}
            () = stop.asked() => return Ok(None),
        }
    }
}

/// Whether an error may be gone when there is room: not one that says what somebody has to change.
fn may_pass(error: &ServerError) -> bool {
    match error {
        ServerError::Exposed(_)
        | ServerError::AddressTaken { .. }
        | ServerError::Listen { .. }
        | ServerError::Secrets(_)
        | ServerError::WriterStopped => false,
        ServerError::Data { .. }
        | ServerError::Store(_)
        | ServerError::Logs(_)
        | ServerError::Blobs(_)
        | ServerError::Backup(_)
        | ServerError::Leader(_)
        | ServerError::NotLeading(_) => true,
    }
}

/// Whether the disk of a folder, or of the nearest one above that is there, has no room for a start.
fn has_no_room(folder: &Path) -> bool {
    let disk = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    disk.is_some_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_BYTES_MIN)
}

/// Whether the writer takes an input within this time. One that has nobody to lead is not stuck: its
/// status says what it waits for, and starting again would not help.
async fn turns(leader: &Leader, within: Duration) -> bool {
    let before = leader.stats().inputs;
    let asked = leader.request(Actor::server(), Request::Overview);
    // A commit that takes long holds up the answer, not the writer.
    let answered = matches!(tokio::time::timeout(within, asked).await, Ok(Ok(_)));
    let leads = matches!(&*leader.status().borrow(), LeaderStatus::Leading { .. });
    answered || !leads || leader.stats().inputs != before
}

/// Waits until no worker is connected any more, bounded: those of the same parent are leaving now,
/// and what they give back is to be recorded.
async fn workers_gone(server: &Server) {
    let leader = &server.state().leader;
    let mut events = leader.events();
    let gone = async {
        while let Ok(Answer::Overview(seen)) = leader.request(Actor::server(), Request::Overview).await {
            if !seen.workers.iter().any(|worker| worker.has_session) {
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
        | ServerError::Backup(_)
        | ServerError::Leader(_)
        | ServerError::NotLeading(_)
        | ServerError::WriterStopped => Exit::FAILED,
    }
}
