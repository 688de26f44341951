//! `bowline workflow`: checks files, lists what was run.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use bowline_api::PageQuery;
use bowline_workflow::{Diagnostic, Style, Workflow};
use clap::Subcommand;
use serde::Serialize;

use super::Setting;
use crate::clock::age;
use crate::exit::{Exit, Trouble};
use crate::output::clean_lines;

/// Largest workflow file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline workflow check census.yaml
  bowline workflow list
  bowline workflow show census")]
pub(crate) enum Command {
    /// Find every mistake in workflow files, and start nothing
    Check(Check),
    /// List the workflows that were run
    #[command(after_help = "Examples:\n  bowline workflow list --json")]
    List,
    /// Show a workflow as its newest run keeps it
    Show(Show),
}

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline workflow check census.yaml
  bowline workflow check *.yaml --json

Needs no server. Status 2 where a file has mistakes.")]
pub(crate) struct Check {
    /// Workflow files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bowline workflow show census")]
pub(crate) struct Show {
    /// Its name
    name: String,
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check(args) => check(on, &args),
        Command::List => list(on).await,
        Command::Show(args) => show(on, args).await,
    }
}

/// A workflow file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its name, for messages.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Reads it.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let unusable = || Trouble::usage(format!("The workflow file `{}` cannot be read.", path.display()));
        let file = std::fs::File::open(path).with_context(unusable)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(unusable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(anyhow::anyhow!("it is larger than {FILE_BYTES_MAX} bytes")).with_context(unusable);
        }
        let text = String::from_utf8(bytes).with_context(unusable)?;
        Ok(Self { name: path.display().to_string(), text })
    }

    /// Checks it.
    pub(crate) fn check(&self) -> Result<Workflow, Vec<Diagnostic>> {
        bowline_workflow::check(&self.name, &self.text)
    }

    /// Its mistakes as people see them.
    pub(crate) fn render(&self, mistakes: &[Diagnostic]) -> String {
        let coloured = std::io::stderr().is_terminal();
        let style = if coloured { Style::Coloured } else { Style::Plain };
        let mut text: String = mistakes
            .iter()
            .map(|mistake| {
                let rendered = mistake.render(&self.name, &self.text, style);
                // Colours are the renderer's own; whatever the file holds must not steer a terminal.
                if coloured { rendered } else { clean_lines(&rendered) + "\n" }
            })
            .collect::<Vec<_>>()
            .join("\n");
        let count = mistakes.len();
        write!(text, "{}: {count} {}", self.name, if count == 1 { "mistake" } else { "mistakes" }).ok();
        text
    }
}

/// A mistake as JSON.
#[derive(Debug, Serialize)]
struct Mistake<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    length: usize,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

fn check(on: &Setting, args: &Check) -> anyhow::Result<Exit> {
    let mut exit = Exit::GOOD;
    for path in &args.files {
        let source = Source::read(path)?;
        match source.check() {
            Ok(workflow) if on.out.is_json() => {
                on.out.item(&serde_json::json!({"file": source.name, "workflow": workflow.name(), "mistakes": []}))?;
            }
            Ok(workflow) => {
                let steps = workflow.graph().nodes.len();
                on.out.line(format!(
                    "{}: workflow `{}` with {steps} steps, no mistakes",
                    source.name,
                    workflow.name()
                ))?;
            }
            Err(mistakes) => {
                exit = Exit::USAGE;
                if on.out.is_json() {
                    let list: Vec<Mistake<'_>> = mistakes.iter().map(|mistake| json(&source, mistake)).collect();
                    on.out.item(&serde_json::json!({"file": source.name, "mistakes": list}))?;
                } else {
                    on.out.note(source.render(&mistakes));
                }
            }
        }
    }
    Ok(exit)
}

fn json<'a>(source: &'a Source, mistake: &'a Diagnostic) -> Mistake<'a> {
    Mistake {
        file: &source.name,
        line: mistake.line,
        column: mistake.column,
        length: mistake.length,
        message: &mistake.message,
        help: mistake.help.as_deref(),
    }
}

async fn list(on: &Setting) -> anyhow::Result<Exit> {
    let page = PageQuery { limit: Some(bowline_api::PAGE_MAX), ..PageQuery::default() };
    let workflows = on.client()?.workflows(&page).await?.items;
    if on.out.is_json() {
        on.out.document(&workflows)?;
        return Ok(Exit::GOOD);
    }
    let rows = workflows
        .into_iter()
        .map(|flow| vec![flow.name, flow.newest_run, flow.newest_state, age(flow.newest_started_at)])
        .collect();
    on.out.table(&["name", "newest run", "state", "age"], rows)?;
    Ok(Exit::GOOD)
}

async fn show(on: &Setting, args: Show) -> anyhow::Result<Exit> {
    let workflow = on.client()?.workflow(&args.name).await?;
    if on.out.is_json() {
        on.out.document(&workflow)?;
    } else {
        on.out.line(clean_lines(workflow.source.as_deref().unwrap_or_default()))?;
    }
    Ok(Exit::GOOD)
}
