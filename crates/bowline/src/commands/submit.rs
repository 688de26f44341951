//! `bowline submit`: a task, an array of tasks, or many from a file.

mod asks;
mod build;
mod limits;
mod options;
mod place;
mod script;

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::Context;
use bowline_api::{Submit, Submitted};
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;

pub(crate) use asks::{Resources, attribute};
pub(crate) use options::Options;

use super::Setting;
use crate::exit::{Exit, Trouble};
use crate::follow;
use crate::ids::{self, Thing};

/// Largest file read for a submit, in bytes: no more fits into a request.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "Examples:
  bowline submit -- make -C /src/project test
  bowline submit --wait --name nightly --timeout 2h --retries 2 -- ./nightly.sh
  bowline submit --array 1-100%10 -- sh -c 'echo element $BOWLINE_ARRAY_INDEX'
  bowline submit --each-line hosts.txt -- ping -c 1 {}
  bowline submit --script build.sh -- --fast
  bowline submit --send data.csv -- ./count.sh data.csv
  bowline submit --after 4711:any --delay 10m -- ./report
  bowline submit --lock db --license simulator=2 -- ./migrate
  bowline submit --device phones:model=x -- sh -c 'flash $BOWLINE_RESOURCE_PHONES'
  bowline submit --from-json tasks.json

Dependencies: `--after 4711` waits for success; `:any` for any end, `:fail` for a failure.
Resources: `bowline resource list` shows them; first come, first served.
With --each-line every `{}` stands for the line, which the job also sees as BOWLINE_LINE.
A script may carry options in lines above its first command: `#BOWLINE --memory 2GiB`."
)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Run this file as a script; what follows `--` are its arguments
    #[arg(long, value_name = "FILE", conflicts_with = "from_json")]
    script: Option<std::path::PathBuf>,
    /// Take this file (text) along into the job's own folder; may be repeated
    #[arg(long, value_name = "PATH", conflicts_with_all = ["from_json", "dir"])]
    send: Vec<std::path::PathBuf>,
    /// Make this file (text) its standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from_json", "dir"])]
    stdin: Option<std::path::PathBuf>,
    /// One element of an array for each line of this file (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["array", "from_json"])]
    each_line: Option<std::path::PathBuf>,
    /// Tasks as the REST interface takes them: one, a list, or {"tasks": […]} (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    from_json: Option<std::path::PathBuf>,
    /// The members of a gang, as YAML or JSON: {"tasks": […], "gang": {"distinct": true}}, or a list (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["command", "from_json", "script", "each_line"])]
    gang: Option<std::path::PathBuf>,
    /// The same key again gives the same tasks, and makes no new ones
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,
    /// Follow it to its end, show its output, and end with its status
    #[arg(long)]
    wait: bool,
    /// With --wait: give up waiting after so long (status 124); the task goes on
    #[arg(long, value_name = "DURATION", requires = "wait")]
    wait_timeout: Option<bowline_core::time::Span>,
    /// Check and say what would be done, and do nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Print nothing but the id
    #[arg(long, short)]
    quiet: bool,
    /// The program and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A key that a server takes.
fn key(text: &str) -> Result<String, String> {
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if fits { Ok(text.to_owned()) } else { Err("it has 1 to 255 printable ASCII characters without spaces".to_owned()) }
}

/// Submits.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let args = args.with_script_options()?;
    let submit = args.tasks()?;
    let client = on.client()?;
    let write = Write {
        key: args.idempotency_key.clone(),
        dry_run: args.dry_run,
        strict: args.options.strict() || submit.strict == Some(true),
    };
    let answer = crate::connect::submit(&client, submit, &write).await?;
    tell(on, &args, &answer)?;
    if let Some(last) = answer.ids.last() {
        ids::remember(&on.config, Thing::Task(*last));
    }
    if args.wait { follow(on, &client, &answer.ids, &args).await } else { Ok(Exit::GOOD) }
}

impl Args {
    /// With the options that the script carries, below those of the command line.
    fn with_script_options(self) -> anyhow::Result<Self> {
        let Some(path) = &self.script else { return Ok(self) };
        let carried = script::options(&read_text(path)?)?;
        if carried.is_empty() { Ok(self) } else { options::reparse(&carried) }
    }

    fn tasks(&self) -> anyhow::Result<Submit> {
        if let Some(path) = &self.gang {
            let mut submit = build::from_file(&path.display().to_string(), &read_text(path)?)
                .with_context(|| Trouble::usage(format!("`{}` holds no gang.", path.display())))?;
            submit.gang.get_or_insert_default();
            return Ok(submit);
        }
        if let Some(path) = &self.from_json {
            return build::from_json(&read_text(path)?)
                .with_context(|| Trouble::usage(format!("`{}` holds no tasks.", path.display())));
        }
        let mut task = self.options.task();
        match &self.script {
            Some(path) => build::script(&mut task, path, &read_text(path)?, &self.command),
            None if self.command.is_empty() => {
                return Err(Trouble::usage(
                    "There is nothing to run. Write the command behind `--`, or use --script or --from-json.",
                )
                .into());
            }
            None => task.command = Some(self.command.clone()),
        }
        for path in &self.send {
            build::send(&mut task, path, read_text(path)?)
                .with_context(|| Trouble::usage(format!("`{}` cannot be taken along.", path.display())))?;
        }
        if let Some(path) = &self.stdin {
            build::stdin(&mut task, read_text(path)?);
        }
        if let Some(path) = &self.each_line {
            build::each_line(&mut task, &read_text(path)?)
                .with_context(|| Trouble::usage(format!("`{}` makes no array.", path.display())))?;
        }
        Ok(Submit { tasks: vec![task], strict: None, gang: None })
    }
}

/// A file's text, or standard input's.
fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    let unusable = || Trouble::usage(format!("`{}` cannot be read.", path.display()));
    read.with_context(unusable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(anyhow::anyhow!("it is larger than {FILE_BYTES_MAX} bytes")).with_context(unusable);
    }
    String::from_utf8(bytes).with_context(unusable)
}

fn tell(on: &Setting, args: &Args, answer: &Submitted) -> anyhow::Result<()> {
    if on.out.is_json() {
        if !args.wait {
            on.out.document(answer)?;
        }
        return Ok(());
    }
    if !args.quiet {
        for warning in &answer.warnings {
            on.out.note(format!("note: {}", crate::output::clean(warning)));
        }
    }
    if args.dry_run {
        on.out.note("Nothing was submitted (--dry-run); everything was in order.");
        return Ok(());
    }
    let ids: Vec<String> = answer.ids.iter().map(ToString::to_string).collect();
    if args.wait {
        // Standard output is the command's own.
        if !args.quiet {
            on.out.note(format!("submitted {}", ids.join(" ")));
        }
    } else {
        on.out.line(ids.join("\n"))?;
        if !args.quiet && std::io::stdout().is_terminal() {
            on.out.note("`bowline logs last -f` shows its output, `bowline wait last` waits for its end.");
        }
    }
    Ok(())
}

async fn follow(on: &Setting, client: &Client, ids: &[TaskRef], args: &Args) -> anyhow::Result<Exit> {
    let things: Vec<Thing> = ids.iter().copied().map(Thing::Task).collect();
    let limit = args.wait_timeout.map(|span| span.0);
    follow::until_ended(on, client, &things, limit, follow::Show::Output).await
}
