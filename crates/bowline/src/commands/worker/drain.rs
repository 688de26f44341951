//! `bowline worker drain`: workers let go of everything, and what that waits for is shown as it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bowline_api::{DrainRequest, HeldAttempt, Worker, WorkerVerbName};
use bowline_client::Client;
use bowline_core::message::DrainMode;
use bowline_core::time::Span;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::Setting;
use super::steer::Chosen;
use crate::clock::age;
use crate::exit::Exit;
use crate::output::clean;
use crate::signals;

/// How often it is looked how far they are.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long the watching bears with a server that is away: the drain goes on without it.
const AWAY_MAX: Duration = Duration::from_mins(5);
/// Most attempts that one line names.
const NAMED_MAX: usize = 3;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline worker drain lab-3                           what runs comes to its end; nothing new begins
  bowline worker drain lab-3 --within 1h --exit --wait then the process ends too; shows what it waits for
  bowline worker drain lab-3 --mode release            stops what runs, and gives it back to others
  bowline worker drain --selector arch=arm64 --dry-run
  bowline worker drain --all --mode handoff --yes      before an upgrade: the next processes take over

A drained worker is given nothing until `bowline worker undrain`. With --wait, Ctrl-C ends the
watching and not the drain; the same command without --mode, --within and --exit watches on.")]
pub(crate) struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// What becomes of running attempts [default: finish]
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// With `finish`: after so long, as `release`
    #[arg(long, value_name = "DURATION")]
    within: Option<Span>,
    /// The workers' processes end when they hold nothing any more
    #[arg(long)]
    exit: bool,
    /// Show what it waits for, until they hold nothing any more
    #[arg(long)]
    wait: bool,
}

/// What becomes of running attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// They run to their end
    Finish,
    /// They are stopped and given back
    Release,
    /// They run on under their supervisor, and the process ends
    Handoff,
}

impl Args {
    fn request(&self) -> DrainRequest {
        let mode = match self.mode {
            None | Some(Mode::Finish) => DrainMode::Finish,
            Some(Mode::Release) => DrainMode::Release,
            Some(Mode::Handoff) => DrainMode::Handoff,
        };
        DrainRequest { mode, within: self.within, exit: self.exit.then_some(true) }
    }

    /// Whether it says nothing of how: then a drain that is under way is watched as it is.
    fn only_watches(&self) -> bool {
        self.wait && self.mode.is_none() && self.within.is_none() && !self.exit
    }
}

/// Drains them.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    args.chosen.said()?;
    let client = on.client()?;
    let named = args.chosen.names();
    let names = if args.only_watches() && !named.is_empty() && all_drain(&client, named).await? {
        named.to_vec()
    } else {
        let done = args.chosen.apply(on, &client, WorkerVerbName::Drain, Some(args.request())).await?;
        if done.exit != Exit::GOOD {
            return Ok(done.exit);
        }
        done.names
    };
    if args.wait { watch(on, &client, names).await } else { tell(on, &client, &names).await }
}

async fn all_drain(client: &Client, names: &[String]) -> anyhow::Result<bool> {
    for name in names {
        if client.worker(name).await?.drain.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What they wait for now.
async fn tell(on: &Setting, client: &Client, names: &[String]) -> anyhow::Result<Exit> {
    if on.out.is_json() {
        return Ok(Exit::GOOD);
    }
    for name in names {
        for line in waits_for(&client.worker(name).await?) {
            on.out.line(format!("  {line}"))?;
        }
    }
    Ok(Exit::GOOD)
}

/// A line for each attempt that a worker still holds.
fn waits_for(worker: &Worker) -> Vec<String> {
    worker.attempts.iter().map(|held| attempt(worker, held)).collect()
}

fn attempt(worker: &Worker, held: &HeldAttempt) -> String {
    let mut text = format!("{} waits for {}#{}", clean(&worker.name), held.task, held.attempt);
    if let Some(of) = &held.of {
        let name = of.name.as_deref().unwrap_or(&of.action);
        write!(text, " ({}), {}", clean(name), of.state).ok();
        if let Some(started) = of.started_at {
            write!(text, " for {}", age(started)).ok();
        }
        if let Some(until) = of.until {
            write!(text, ", at most until {until:.0}").ok();
        }
    }
    if let Some(at) = worker.drain.as_ref().and_then(|drain| drain.release_at) {
        write!(text, "; stopped and given back at {at:.0}").ok();
    }
    if held.doubtful {
        text.push_str("; its worker is silent, and nobody knows how it is");
    }
    text
}

/// Where a worker is on its way to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    Waits,
    Done,
    /// Somebody has given it work again.
    Undrained,
}

/// Until they hold nothing any more. Ctrl-C ends the watching, not the drain.
async fn watch(on: &Setting, client: &Client, names: Vec<String>) -> anyhow::Result<Exit> {
    let mut stop = signals::Stop::new()?;
    let how = names.join(" ");
    tokio::select! {
        exit = watched(on, client, names) => exit,
        () = stop.asked() => {
            on.out.note(format!(
                "Detached; the drain goes on. `bowline worker drain {how} --wait` watches it again, \
                 `bowline worker undrain {how}` ends it."
            ));
            Ok(Exit::INTERRUPTED)
        }
    }
}

async fn watched(on: &Setting, client: &Client, names: Vec<String>) -> anyhow::Result<Exit> {
    let client = &client.with_patience(AWAY_MAX);
    let bar = progress_bar();
    let mut incarnations: BTreeMap<String, u32> = BTreeMap::new();
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut left: BTreeSet<String> = names.into_iter().collect();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut exit = Exit::GOOD;
    while !left.is_empty() {
        look.tick().await;
        let mut waiting = Vec::new();
        for name in left.clone() {
            let worker = match client.worker(&name).await {
                Ok(worker) => worker,
                Err(error) if error.is_not_found() => {
                    bar.suspend(|| on.out.note(format!("{name} was forgotten")));
                    left.remove(&name);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let first = *incarnations.entry(name.clone()).or_insert(worker.incarnation);
            bar.suspend(|| changes(on, &worker, told.entry(name.clone()).or_default()))?;
            match far(&worker, first) {
                Far::Waits => waiting.extend(waits_for(&worker)),
                Far::Done => {
                    bar.suspend(|| end(on, &worker))?;
                    left.remove(&name);
                }
                Far::Undrained => {
                    bar.suspend(|| on.out.note(format!("{name} was given work again by somebody; watching no more")));
                    left.remove(&name);
                    exit = Exit::FAILED;
                }
            }
        }
        bar.set_message(summary(&waiting));
    }
    bar.finish_and_clear();
    Ok(exit)
}

fn far(worker: &Worker, first: u32) -> Far {
    let Some(drain) = &worker.drain else {
        // Whoever took over a handed over worker is not drained any more.
        return if worker.incarnation > first { Far::Done } else { Far::Undrained };
    };
    let gone = worker.session_since.is_none() || worker.incarnation > first;
    let done = match (drain.mode, drain.exit) {
        // What it holds stays with its supervisor.
        (DrainMode::Handoff, _) => gone,
        (DrainMode::Finish | DrainMode::Release, true) => drain.done && gone,
        (DrainMode::Finish | DrainMode::Release, false) => drain.done,
    };
    if done { Far::Done } else { Far::Waits }
}

/// Tells what a worker has come to hold, and what it let go of, since it was told last.
fn changes(on: &Setting, worker: &Worker, told: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let id = |held: &HeldAttempt| format!("{}#{}", held.task, held.attempt);
    let now: BTreeSet<String> = worker.attempts.iter().map(id).collect();
    if now == *told {
        return Ok(());
    }
    if on.out.is_json() {
        on.out.item(worker)?;
    } else {
        for held in worker.attempts.iter().filter(|held| !told.contains(&id(held))) {
            on.out.line(attempt(worker, held))?;
        }
        for gone in told.difference(&now) {
            on.out.line(format!("{} let go of {gone}; {} left", clean(&worker.name), now.len()))?;
        }
    }
    *told = now;
    Ok(())
}

fn end(on: &Setting, worker: &Worker) -> anyhow::Result<()> {
    if on.out.is_json() {
        return Ok(on.out.item(worker)?);
    }
    let name = clean(&worker.name);
    let line = match worker.attempts.len() {
        0 => format!("{name} drained"),
        1 => format!("{name} handed over; its supervisor has 1 attempt"),
        more => format!("{name} handed over; its supervisor has {more} attempts"),
    };
    Ok(on.out.line(line)?)
}

/// On a terminal: one line that always says what is waited for now.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn summary(waiting: &[String]) -> String {
    let more = waiting.len().saturating_sub(NAMED_MAX);
    let mut text = waiting.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    if more > 0 {
        write!(text, "; and {more} more").ok();
    }
    text
}
