//! `bowline worker start`: a worker on this machine, until it is told to stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bowline_core::name::{PoolName, WorkerName};
use bowline_core::size::parse_size;
use bowline_core::time::Span;
use bowline_supervisor::Way;
use bowline_worker::checks::{Checks, Probe};
use bowline_worker::config::OUTBOX_BYTES_DEFAULT;
use bowline_worker::stats::Stats;
use bowline_worker::{LeftBehind, OnTerm, Owner, Server, Stop, WorkerConfig, WorkerError, WorkerExit};
use clap::ValueEnum;

use super::{Offers, Setting};
use crate::exit::{Exit, Trouble};
use crate::notify::Notify;
use crate::{connect, logging, process, signals};

/// How long `--on-term finish` lets attempts run on where `--within` says nothing.
const WITHIN_DEFAULT: Duration = Duration::from_hours(1);
/// How often it is looked whether the event loop has turned.
const TURN_LOOK: Duration = Duration::from_millis(100);
/// What of its own environment a worker hands to its jobs.
const HANDED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// Looking more often would only cost.
const CHECK_EVERY_MIN: Duration = Duration::from_millis(100);

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline worker start --server http://10.0.0.1:7420 --token-file lab-3.token --identity lab-3
  bowline worker start --slots 8 --capability gpu=a100 --memory 64GiB
  bowline worker start --on-term finish --within 1h
  bowline worker start --pool lab --token-file lab.token
  bowline worker start --server http://a:7420 --token-file a.token --server http://b:7420 --token-file b.token

The token is needed once: from then on the worker's own key, in its state folder, opens the door.
SIGTERM: `release` stops the jobs and gives them back; `finish` lets them run to their end;
`handoff` leaves them to their supervisor, and the next worker on the same state folder takes them
over. A second SIGTERM means `release`.
Several servers share the slots and amounts evenly, and one uses what the others leave. The first
--token-file is for the first --server, the second for the second. What one server does to its worker is no
trouble of the others.
Status 70: another process acts under this identity now, with every server that was served; service
managers must not restart on it.")]
pub(crate) struct Args {
    #[command(flatten)]
    offers: Offers,
    /// Act under whichever identity of this pool is free: NAME-1, NAME-2, …
    #[arg(long, value_name = "NAME", conflicts_with = "identity")]
    pool: Option<PoolName>,
    /// Of attempts that the identity's last holder left in another state folder, and that keep this worker out
    #[arg(long, value_name = "WHAT", default_value = "wait")]
    left: Left,
    /// Where it keeps its key, its journal and its jobs [default: ~/.local/state/bowline/worker-NAME]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Read the boot id from this file: in a container, one that is written anew at each of its starts
    /// [default: the kernel's]
    #[arg(long, value_name = "FILE")]
    boot_id_file: Option<PathBuf>,
    /// The strongest way to hold whole jobs together and to kill them; `bowline doctor` shows what this
    /// machine offers
    #[arg(long, value_name = "WAY", default_value = "cgroup")]
    kill_by: KillBy,
    #[command(flatten)]
    checks: CheckArgs,
    /// What SIGTERM and Ctrl-C mean
    #[arg(long, value_name = "MODE", default_value = "release")]
    on_term: Mode,
    /// With --on-term finish: at most so long, then as `release` [default: 1h]
    #[arg(long, value_name = "DURATION")]
    within: Option<Span>,
    /// Take nothing more while so many bytes wait to be acknowledged by a server [default: 256MiB and 2MiB a slot]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    outbox: Option<u64>,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    stop_with_parent: bool,
}

/// What the worker looks at to know whether it is fit. While it is not, it takes nothing, and says why.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Self-checks")]
struct CheckArgs {
    /// Broken while the disk of its state folder has less free than this
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "8MiB")]
    disk_min: u64,
    /// Broken while the machine has less memory available than this
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "16MiB")]
    memory_min: u64,
    /// How often disk and memory are looked at
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    check_every: Span,
    /// A command for `/bin/sh -c`: broken until it ends with status 0, and while it ends with another
    #[arg(long, value_name = "CMD")]
    probe: Option<String>,
    /// Between two probes
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "probe")]
    probe_every: Span,
    /// A probe that takes longer has failed
    #[arg(long, value_name = "DURATION", default_value = "10s", requires = "probe")]
    probe_timeout: Span,
}

impl CheckArgs {
    fn checks(&self) -> Checks {
        let probe = self.probe.as_ref().map(|command| Probe {
            command: command.clone(),
            every: self.probe_every.0,
            timeout: self.probe_timeout.0,
        });
        Checks {
            every: self.check_every.0.max(CHECK_EVERY_MIN),
            disk_free_min: self.disk_min,
            memory_free_min: self.memory_min,
            probe,
            ..Checks::default()
        }
    }
}

/// How whole jobs are held together and killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KillBy {
    /// A cgroup (version 2) a job
    Cgroup,
    /// A PID namespace a job
    Namespace,
    /// Process group, descent and a mark in the environment
    Descent,
}

impl From<KillBy> for Way {
    fn from(kill_by: KillBy) -> Self {
        match kill_by {
            KillBy::Cgroup => Self::Cgroup,
            KillBy::Namespace => Self::Namespace,
            KillBy::Descent => Self::Descent,
        }
    }
}

/// What it means to be told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Let what runs come to its end
    Finish,
    /// Stop what runs and give it back
    Release,
    /// Leave what runs to the supervisor
    Handoff,
}

/// What is said of attempts that the last holder of the identity left elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Left {
    /// Wait until they have ended or are lost
    Wait,
    /// They run no more, and are given back
    Release,
    /// They run no more, and count as failed
    Fail,
}

/// Starts it.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let levels = logging::start(&on.config)?;
    let notify = Notify::new(on.config.environment());
    let config = config(on, &args)?;
    let (identity, pool, state) = (config.identity.clone(), config.pool.clone(), config.state_dir.clone());
    // A pool's worker has its name from the server; what it was given last is in its folder.
    let who = || Owner::last_seen_in(&identity, pool.as_ref(), &state);
    let server = std::iter::once(&config.server).chain(config.further.iter().map(|server| &server.url));
    let server = server.cloned().collect::<Vec<_>>().join(", ");
    let begins = format!("{}, for {server}; SIGTERM means {}", who(), mode_name(args.on_term));
    on.out.note(begins.clone());
    notify.status(&format!("{} begins, for {server}", who()));
    let stats = Arc::clone(&config.stats);
    let drained = Arc::clone(&config.stats);
    let stop = Stop::default();
    signals::outlive_file_limit();
    let watched = async {
        first_turn(&stats).await;
        notify.ready(&begins);
        let mut seen = 0;
        notify.feed(async |_| std::mem::replace(&mut seen, stats.turns()) != stats.turns()).await
    };
    let ended = tokio::select! {
        ended = until_told(config, args.stop_with_parent.into(), (&stop, &notify)) => ended,
        never = watched => match never {},
        never = levels.follow(on, &notify) => match never {},
    };
    let told_by_signal = stop.leave.is_cancelled();
    match ended {
        Ok(WorkerExit::Stopped) if !told_by_signal && drained.is_drained_for_good() => {
            on.out.note(format!("The {} is drained, and ends as that asked for.", who()));
            Ok(Exit::DRAINED)
        }
        Ok(WorkerExit::Stopped) => Ok(Exit::GOOD),
        Ok(WorkerExit::Fenced { why }) => Err(Trouble::new(
            Exit::FENCED,
            format!("The {} has been fenced off, and has stopped its jobs: {why}.", who()),
        )
        .into()),
        Err(error) => {
            let exit = exit_of(&error);
            let what = format!("The {} cannot work.", who());
            Err(anyhow::Error::new(error).context(Trouble::new(exit, what)))
        }
    }
}

/// Whether the worker ends with whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bond {
    None,
    Parent,
}

impl From<bool> for Bond {
    fn from(stop_with_parent: bool) -> Self {
        if stop_with_parent { Self::Parent } else { Self::None }
    }
}

/// Works until it is told to stop, or must not go on.
async fn until_told(
    config: WorkerConfig,
    bond: Bond,
    (stop, notify): (&Stop, &Notify),
) -> Result<WorkerExit, WorkerError> {
    let told = async {
        let mut signals = match signals::Stop::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "signals cannot be listened for; leaving");
                stop.leave.cancel();
                return;
            }
        };
        let orphaned = async {
            match bond {
                Bond::Parent => process::parent_gone().await,
                Bond::None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signals.asked() => tracing::info!("told to stop"),
            () = orphaned => tracing::info!("the parent is gone"),
        }
        notify.stopping("leaving as --on-term says");
        stop.leave.cancel();
        signals.asked().await;
        notify.stopping("giving everything back");
        stop.release.cancel();
    };
    let working = bowline_worker::run(config, stop.clone());
    tokio::pin!(working);
    tokio::select! {
        ended = &mut working => return ended,
        () = told => {}
    }
    working.await
}

/// Waits until the worker's event loop turns.
async fn first_turn(stats: &Stats) {
    while stats.turns() == 0 {
        tokio::time::sleep(TURN_LOOK).await;
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Finish => "finish: what runs comes to its end",
        Mode::Release => "release: what runs is stopped and given back",
        Mode::Handoff => "handoff: what runs goes on under its supervisor",
    }
}

fn config(on: &Setting, args: &Args) -> anyhow::Result<WorkerConfig> {
    let mut located = connect::locate_all(&on.config).into_iter();
    let Some(first) = located.next() else { return Err(Trouble::usage("No server is named.").into()) };
    let identity = match &args.pool {
        Some(pool) => WorkerName::new(pool.as_str())?,
        None => args.offers.identity(on)?,
    };
    let state = state_folder(on, args.state.clone(), &identity)?;
    // `/proc/self/exe` still works when the file was replaced by a newer one.
    let mut config = WorkerConfig::new(first.url.clone(), identity, state, PathBuf::from("/proc/self/exe"));
    config.pool.clone_from(&args.pool);
    config.left = match args.left {
        Left::Wait => LeftBehind::Wait,
        Left::Release => LeftBehind::Release,
        Left::Fail => LeftBehind::Fail,
    };
    config.capabilities = args.offers.capabilities();
    config.room = args.offers.room(on)?;
    args.offers.apply(&mut config)?;
    let token = |server: &connect::Located| server.token_file.as_deref().map(connect::read_token).transpose();
    config.enrol_token = token(&first)?;
    for server in located {
        config.further.push(Server { enrol_token: token(&server)?, url: server.url });
    }
    bound_outbox(&mut config, args.outbox)?;
    config.on_term = match args.on_term {
        Mode::Finish => OnTerm::Finish { within: args.within.map_or(WITHIN_DEFAULT, |within| within.0) },
        Mode::Release => OnTerm::Release,
        Mode::Handoff => OnTerm::Handoff,
    };
    config.boot_id_file = args.boot_id_file.as_ref().map(std::path::absolute).transpose()?;
    config.kill_by = args.kill_by.into();
    config.checks = args.checks.checks();
    config.job_env = job_environment(on);
    env!("CARGO_PKG_VERSION").clone_into(&mut config.version);
    Ok(config)
}

/// The outbox must hold the ends of what runs on all slots.
fn bound_outbox(config: &mut WorkerConfig, said: Option<u64>) -> anyhow::Result<()> {
    let least = config.outbox_bytes_least();
    let default = OUTBOX_BYTES_DEFAULT.saturating_add(least);
    let bytes = said.map_or(default, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if bytes < least {
        let slots = config.room.slots;
        return Err(Trouble::usage(format!("--outbox must be at least {least} bytes for {slots} slots.")).into());
    }
    config.outbox_bytes_max = bytes;
    Ok(())
}

fn job_environment(on: &Setting) -> BTreeMap<String, String> {
    let environment = on.config.environment();
    HANDED_ON.iter().filter_map(|name| Some(((*name).to_owned(), environment.text(name)?))).collect()
}

fn state_folder(on: &Setting, flag: Option<PathBuf>, identity: &WorkerName) -> anyhow::Result<PathBuf> {
    if let Some(folder) = flag.or_else(|| on.config.text("state").map(PathBuf::from)) {
        return std::path::absolute(&folder).with_context(|| format!("`{}` is no folder.", folder.display()));
    }
    // A name may hold slashes; a folder's name may not.
    let name = identity.as_str().replace(['/', ':'], "_");
    let home = on.config.environment().state_home();
    home.map(|home| home.join("bowline").join(format!("worker-{name}"))).ok_or_else(|| {
        Trouble::usage("There is no home folder to keep the worker's state in; name one with --state.").into()
    })
}

fn exit_of(error: &WorkerError) -> Exit {
    match error {
        WorkerError::StateDirBusy { .. } | WorkerError::OtherIdentity { .. } | WorkerError::EnrolRefused(_) => {
            Exit::REFUSED
        }
        WorkerError::NoToken | WorkerError::ServerAddress(_) | WorkerError::SameServer(_) => Exit::USAGE,
        WorkerError::StateDir { .. }
        | WorkerError::Journal { .. }
        | WorkerError::HttpClient(_)
        | WorkerError::DamagedId(_)
        | WorkerError::DamagedKey(_)
        | WorkerError::Thread(_) => Exit::FAILED,
    }
}
