//! `bowline up`: a server and a worker on this machine, until Ctrl-C.

mod tail;

use std::ffi::OsString;
use std::path::PathBuf;

use super::Setting;
use super::server::{data_folder, listen_address, passed_on};
use crate::exit::{Exit, Trouble};
use crate::house::{Address, House, Incident, Plan, Urgency};
use crate::{runtime, signals};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline up
  bowline up --data /var/lib/bowline --slots 8
  bowline up --listen 127.0.0.1:0 --json      takes a free port and prints it

Ctrl-C stops the jobs, gives them back to be run again by the next `up` on the same data folder,
and ends server and worker; a second Ctrl-C kills what is still there.
Server and worker are processes of their own: when one of them dies it is started again, and no
job is disturbed. When `up` itself is killed, both notice, and stop in the same way.")]
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
    /// Show the logs of server and worker here too, on standard error
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    worker: super::worker::Offers,
}

/// Starts both, and keeps them.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let data = std::path::absolute(data_folder(on, args.data))?;
    refuse_second(on, &data)?;
    let mut worker_args: Vec<OsString> = passed_on(on);
    worker_args.extend(args.worker.as_arguments(on)?);
    let mut server_args = passed_on(on);
    server_args.extend(args.insecure.then(|| OsString::from("--insecure")));
    let plan = Plan {
        data,
        address: Address::At(listen_address(on, args.listen)?.to_string()),
        server_args,
        worker_args,
        env: Vec::new(),
        identity: args.worker.identity(on)?,
    };
    let mut stop = signals::Stop::new()?;
    if args.verbose {
        for name in ["server", "worker"] {
            tail::follow(name, plan.logs().join(format!("{name}.log")));
        }
    }
    let mut house = tokio::select! {
        house = House::start(&plan) => house?,
        // Children that are on their way stop when this process lets go of them.
        () = stop.asked() => return Ok(Exit::INTERRUPTED),
    };
    greet(on, &house, &plan)?;
    let exit = keep(on, &mut house, &mut stop).await;
    leave(on, &mut house, &mut stop).await;
    Ok(exit)
}

/// Whoever starts `up` twice on one data folder is told so, and where the first one is.
fn refuse_second(on: &Setting, data: &std::path::Path) -> anyhow::Result<()> {
    let Ok(data) = std::fs::canonicalize(data) else { return Ok(()) };
    let Some(other) = runtime::live(on.config.environment()).into_iter().find(|server| server.data == data) else {
        return Ok(());
    };
    Err(Trouble::new(
        Exit::REFUSED,
        format!(
            "A server is already up on `{}`: {} (process {}). Use that one, or choose another folder with --data.",
            data.display(),
            other.url,
            other.pid
        ),
    )
    .into())
}

fn greet(on: &Setting, house: &House, plan: &Plan) -> anyhow::Result<()> {
    if on.out.is_json() {
        on.out.item(&house.server)?;
        return Ok(());
    }
    on.out.line(format!("up at {}", house.server.server))?;
    on.out.line(format!("  token file  {}", house.server.token_file.display()))?;
    on.out.line(format!("  worker      {}", house.worker))?;
    on.out.line(format!("  data        {}", plan.data.display()))?;
    on.out.line(format!("  logs        {}", plan.logs().display()))?;
    on.out.line("Ctrl-C stops both.")?;
    Ok(())
}

/// Until somebody asks, or a child has ended for good.
async fn keep(on: &Setting, house: &mut House, stop: &mut signals::Stop) -> Exit {
    loop {
        tokio::select! {
            incident = house.incident() => match incident {
                Incident::Restart { name, how, pause } => {
                    on.out.note(format!("The {name} died ({how}); it is started again in {} ms.", pause.as_millis()));
                }
                Incident::Over(ended) => {
                    let exit = ended.exit;
                    on.out.note(format!("error: {:#}", ended.into_error()));
                    return exit;
                }
            },
            () = stop.asked() => return Exit::GOOD,
        }
    }
}

async fn leave(on: &Setting, house: &mut House, stop: &mut signals::Stop) {
    on.out.note("Stopping: jobs are stopped and given back. Ctrl-C again to kill.");
    let hurry = house.hurry();
    let left = house.stop(Urgency::Drain);
    tokio::pin!(left);
    loop {
        tokio::select! {
            () = &mut left => return,
            () = stop.asked() => hurry.more(),
        }
    }
}
