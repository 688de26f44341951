//! `bowline demo`: the census under torment. Its own server, worker and supervisor in a temporary
//! folder are killed again and again while it runs; what followed is told, and counted in the end.
//!
//! ```text
//! count by itself ► start the house ► censuses, one after another ─┬► audit ► stop ► look for leftovers ► verdict
//!                                     blows, one after another ────┘
//! ```
//!
//! Nothing in the verdict is assumed: ends are read from the history over REST, processes from `/proc`,
//! and the report is compared with a count that this program makes without the workflow.

mod audit;
mod blow;
mod census;
mod processes;
mod stage;
mod story;
mod torment;
mod verdict;

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::sync::watch;

use super::Setting;
use crate::exit::{Exit, Trouble};
use crate::output::raw;
use crate::signals;
use census::{Census, Tally};
use stage::Stage;
use story::Story;
use torment::{Torment, Wounds};
use verdict::Verdict;

/// What is counted where nothing is said: the first that is there.
const ROOTS: [&str; 3] = ["/usr/share", "/usr", "/etc"];
/// Slots where nothing is said: one for each processor, within these bounds.
const SLOTS: (usize, usize) = (2, 8);

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline demo
  bowline demo --root /var/lib
  bowline demo --json
  bowline demo --workflow >census.yaml      the workflow that it runs, to look at and to keep

Counts what is below a folder, in parallel tasks, again and again, and meanwhile kills (SIGKILL) the
server, the worker, their supervisor, and all at once. Tells what followed, and compares the
report with a count of its own. Takes 20 to 30 seconds on two processors; longer where the folder is
large. Uses a server, a worker and a temporary folder of its own, and leaves nothing of them; Ctrl-C
stops it. Ends with 0 only if no task was left without an end, none ended twice, no process was
left, and every report was right.")]
pub(crate) struct Args {
    /// The folder to count [default: /usr/share]
    #[arg(long, value_name = "PATH")]
    root: Option<PathBuf>,
    /// The same, written as for `bowline run`
    #[arg(long, short, value_name = "root=PATH", value_parser = root_of, conflicts_with = "root")]
    input: Option<PathBuf>,
    /// Jobs at a time [default: one for each processor, 2 to 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    slots: Option<u32>,
    /// Print the workflow that is run, and do nothing else
    #[arg(long)]
    workflow: bool,
}

fn root_of(text: &str) -> Result<PathBuf, String> {
    match text.split_once('=') {
        Some(("root", path)) => Ok(path.into()),
        _ => Err("the census takes one input: write it as root=PATH".to_owned()),
    }
}

/// Shows it.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    if args.workflow {
        raw(census::WORKFLOW.as_bytes())?;
        return Ok(Exit::GOOD);
    }
    let root = root(args.root.or(args.input))?;
    let story = Story::new(on.out);
    let mut stop = signals::Stop::new()?;
    let slots = args.slots.map_or_else(slots_default, |slots| slots as usize);
    let mut stage = Stage::new(slots)?;
    let outcome = tokio::select! {
        outcome = play(on, &story, &mut stage, &root) => Some(outcome),
        () = stop.asked() => None,
    };
    if outcome.is_none() {
        on.out.note("Stopping. Ctrl-C again to kill.");
    }
    let left = stage.leave(on, &mut stop).await;
    let Some(outcome) = outcome else { return Ok(Exit::INTERRUPTED) };
    let verdict = Verdict { left, ..outcome? };
    verdict.tell(on, &story, &root)?;
    Ok(if verdict.is_good() { Exit::GOOD } else { Exit::FAILED })
}

/// Everything up to the moment at which the house is stopped.
async fn play(on: &Setting, story: &Story, stage: &mut Stage, root: &str) -> anyhow::Result<Verdict> {
    story.opening(root, stage)?;
    let tally = counted(root).await?;
    story.tell("counted", &format!("counted without Bowline, to compare: {tally}"), &tally)?;
    stage.start(on).await?;
    story.tell("up", "server, worker and supervisor are up; the census begins", &serde_json::json!({}))?;
    let client = stage.client(on)?;
    let (tell_over, over) = watch::channel(false);
    let kin = stage.kin();
    let torment = Torment { kin: &kin, client: &client, story };
    let census = Census::new(&client, story, root, &tally);
    let both = async {
        let blows = async {
            let wounds = torment.run().await;
            tell_over.send_replace(true);
            wounds
        };
        let (wounds, reports): (Wounds, _) = tokio::try_join!(blows, census.again_and_again(over))?;
        let audit = audit::audit(&client, &reports.runs, &wounds).await?;
        anyhow::Ok(Verdict { wounds, reports, audit, left: Vec::new() })
    };
    let broken = stage.broken();
    let mut verdict = tokio::select! {
        verdict = both => verdict?,
        error = broken => return Err(error),
    };
    if !verdict.reports.wrong.is_empty() && counted(root).await? != tally {
        verdict.reports.changing = true;
    }
    Ok(verdict)
}

async fn counted(root: &str) -> anyhow::Result<Tally> {
    let path = PathBuf::from(root);
    tokio::task::spawn_blocking(move || census::count(&path))
        .await?
        .with_context(|| format!("The folder `{root}` cannot be counted."))
}

/// The folder to count, as an absolute path.
fn root(said: Option<PathBuf>) -> anyhow::Result<String> {
    let root = match said {
        Some(root) => std::path::absolute(&root)?,
        None => ROOTS.into_iter().map(Path::new).find(|root| root.is_dir()).unwrap_or(Path::new("/")).to_owned(),
    };
    let unusable = |why: &str| Trouble::usage(format!("The folder `{}` cannot be counted: {why}.", root.display()));
    if !root.is_dir() {
        return Err(unusable("there is no such folder").into());
    }
    let text = root.to_str().ok_or_else(|| unusable("its name is not valid UTF-8"))?;
    Ok(text.to_owned())
}

fn slots_default() -> usize {
    std::thread::available_parallelism().map_or(SLOTS.0, usize::from).clamp(SLOTS.0, SLOTS.1)
}
