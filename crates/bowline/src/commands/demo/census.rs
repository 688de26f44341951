//! The census: the workflow as it is shipped, run again and again, and beside it a count of the same
//! folder in plain Rust, which shares nothing with the workflow but the question.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bowline_api::{NewRun, Run};
use bowline_client::{Client, ClientError, Write};
use bowline_core::id::RunId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::story::{Story, count as counted, grouped, rounded};
use crate::failures;

/// The workflow, so that the demo works wherever the binary is.
pub(super) const WORKFLOW: &str = include_str!("../../../../../examples/census.yaml");
/// Its report for programs.
const REPORT: &str = "census.json";
/// Largest report that is read, in bytes.
const REPORT_BYTES_MAX: usize = 64 << 20;
/// How long a report is asked for, while servers die.
const FETCH_MAX: Duration = Duration::from_mins(1);
/// Between two tries.
const FETCH_PAUSE: Duration = Duration::from_millis(50);
/// A small folder is counted by several runs side by side, so that about so many tasks are under way.
const TASKS_WANTED: usize = 48;
/// Most runs side by side.
const LANES_MAX: usize = 8;
/// Runs that end within so many seconds are told together.
const TOLD_EVERY: f64 = 1.5;
/// Differences that are told.
const TOLD_MAX: usize = 3;

/// What is in one of the folders directly below the root, or directly in the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbers {
    /// Regular files.
    files: u64,
    /// Folders, at any depth.
    folders: u64,
    /// Bytes of the files, every hard link counted.
    bytes: u64,
}

/// What this program counted by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    #[serde(flatten)]
    all: Numbers,
    /// First the root itself, then its folders in the order of their names' bytes.
    #[serde(skip)]
    parts: Vec<(String, Numbers)>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers { files, folders, bytes } = self.all;
        write!(f, "{} files in {} folders, {} bytes", grouped(files), grouped(folders), grouped(bytes))
    }
}

/// Counts a folder.
pub(super) fn count(root: &Path) -> io::Result<Tally> {
    let mut own = Numbers::default();
    let folders = look(root, &mut own)?;
    let mut names: Vec<PathBuf> = folders;
    names.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    let mut parts = vec![(String::new(), own)];
    for top in names {
        let name = top.file_name().unwrap_or_default().to_string_lossy().into_owned();
        parts.push((name, below(top)));
    }
    let mut all = Numbers::default();
    for (_, part) in &parts {
        all.files += part.files;
        all.folders += part.folders;
        all.bytes += part.bytes;
    }
    Ok(Tally { all, parts })
}

fn below(top: PathBuf) -> Numbers {
    let mut numbers = Numbers::default();
    let mut left = vec![top];
    while let Some(folder) = left.pop() {
        // What cannot be read is counted by nobody: the census names it as unreadable.
        left.extend(look(&folder, &mut numbers).unwrap_or_default());
    }
    numbers
}

/// Adds what lies directly in a folder, and gives its folders. Links are not followed.
fn look(folder: &Path, numbers: &mut Numbers) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let Ok(entry) = entry else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            numbers.folders += 1;
            folders.push(entry.path());
        } else if kind.is_file() {
            numbers.files += 1;
            numbers.bytes += entry.metadata().map_or(0, |metadata| metadata.size());
        }
    }
    Ok(folders)
}

/// The report, as far as it is compared.
#[derive(Debug, Deserialize)]
struct Report {
    #[serde(flatten)]
    all: Numbers,
    failed: u64,
    entries: Vec<Entry>,
}

/// One task of it.
#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
    #[serde(flatten)]
    numbers: Option<Numbers>,
}

/// Everything in which a report differs from what was counted; the first few, for people.
fn differences(report: &Report, tally: &Tally) -> Vec<String> {
    let mut found = Vec::new();
    if report.all != tally.all || report.failed > 0 {
        found.push(format!(
            "in all it has {:?} and {} not counted; right is {:?}",
            report.all, report.failed, tally.all
        ));
    }
    if report.entries.len() != tally.parts.len() {
        found.push(format!("it has {} parts; right is {}", report.entries.len(), tally.parts.len()));
    }
    for (entry, (name, numbers)) in report.entries.iter().zip(&tally.parts) {
        if entry.name != *name || entry.numbers != Some(*numbers) {
            found.push(format!("`{}` has {:?}; right is `{name}` with {numbers:?}", entry.name, entry.numbers));
        }
    }
    found.truncate(TOLD_MAX);
    found
}

/// What became of the runs.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// All of them, in the order of their ends.
    pub(super) runs: Vec<RunId>,
    /// What was wrong in their reports.
    pub(super) wrong: Vec<String>,
    /// Whether the folder itself changed meanwhile, so that nothing can be compared.
    pub(super) changing: bool,
    /// Runs that were told.
    told: usize,
    /// When, in the story's seconds.
    told_at: f64,
}

/// Runs it.
#[derive(Debug)]
pub(super) struct Census<'a> {
    client: &'a Client,
    story: &'a Story,
    root: &'a str,
    /// What is right.
    tally: &'a Tally,
    reports: Mutex<Reports>,
}

impl<'a> Census<'a> {
    /// Of that folder, with that tally.
    pub(super) fn new(client: &'a Client, story: &'a Story, root: &'a str, tally: &'a Tally) -> Self {
        Self { client, story, root, tally, reports: Mutex::default() }
    }

    /// One after another, small ones side by side, until it is over; those that are under way then are
    /// the last.
    pub(super) async fn again_and_again(&self, over: watch::Receiver<bool>) -> anyhow::Result<Reports> {
        let lanes = TASKS_WANTED.div_ceil(self.tally.parts.len()).clamp(1, LANES_MAX);
        futures::future::try_join_all((0..lanes).map(|_| self.lane(&over))).await?;
        self.tell(true)?;
        Ok(std::mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    async fn lane(&self, over: &watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut is_first = true;
        while is_first || !*over.borrow() {
            is_first = false;
            let (id, run) = self.once().await?;
            let wrong = differences(&self.report(id).await?, self.tally);
            {
                let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
                reports.runs.push(id);
                reports.wrong.extend(wrong.into_iter().map(|what| format!("report of {}: {what}", run.id)));
            }
            self.tell(false)?;
        }
        Ok(())
    }

    /// Tells of the runs that ended, some together.
    fn tell(&self, everything: bool) -> io::Result<()> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, done, now) = (reports.told, reports.runs.len(), self.story.seconds());
        let is_soon = now - reports.told_at < TOLD_EVERY && told > 0;
        if done == told || (is_soon && !everything) {
            return Ok(());
        }
        let which = match done - told {
            1 => format!("census {done} is done"),
            _ => format!("censuses {} to {done} are done", told + 1),
        };
        let is_right = reports.wrong.is_empty();
        let verdict = match (is_right, done - told) {
            (false, _) => "a report is WRONG",
            (true, 1) => "its report equals the count",
            (true, _) => "their reports equal the count",
        };
        reports.told = done;
        reports.told_at = now;
        let more = serde_json::json!({"first": told + 1, "last": done, "right": is_right, "until": rounded(now)});
        self.story.tell("census", &format!("{which}; {verdict}"), &more)
    }

    async fn once(&self) -> anyhow::Result<(RunId, Run)> {
        let inputs = serde_json::Map::from_iter([("root".to_owned(), self.root.into())]);
        let new = NewRun {
            workflow: WORKFLOW.to_owned(),
            file: Some("census.yaml".to_owned()),
            inputs,
            resources: Vec::new(),
            strict: None,
        };
        // Sent again under its key where the server dies before it answers.
        let started = self.client.start_run(&new, &Write::default()).await?;
        let id =
            started.id.as_deref().and_then(RunId::parse).context("The server started a run and did not say which.")?;
        let run = self.client.wait_run(id, None).await?;
        if run.state != "succeeded" {
            let why = failures::tell(self.client, id, &run).await?;
            anyhow::bail!("The census {} ended as {}.\n{}", run.id, run.state, why.trim_end());
        }
        Ok((id, run))
    }

    async fn report(&self, id: RunId) -> anyhow::Result<Report> {
        let left = self.client.run_artifacts(id).await?.items;
        let found = left.iter().filter(|left| left.result && left.artifact.name == REPORT);
        let newest = found.max_by_key(|left| left.artifact.attempt).context("The census left no report.")?;
        let (task, attempt) = (newest.artifact.task, newest.artifact.attempt);
        let began = Instant::now();
        let bytes = loop {
            // A server that is killed while it sends breaks off: it is asked again.
            match self.bytes(task, attempt).await {
                Err(error) if error.is_unreachable() && began.elapsed() < FETCH_MAX => {
                    tokio::time::sleep(FETCH_PAUSE).await;
                }
                bytes => break bytes?,
            }
        };
        serde_json::from_slice(&bytes).context("The census's report is no JSON of the kind that it should be.")
    }

    async fn bytes(&self, task: bowline_core::id::TaskRef, attempt: u32) -> Result<Vec<u8>, ClientError> {
        let mut stream = self.client.artifact(task, REPORT, Some(attempt)).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            if bytes.len() < REPORT_BYTES_MAX {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(bytes)
    }
}

impl Reports {
    /// For people.
    pub(super) fn words(&self) -> String {
        counted(self.runs.len(), "run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fs::create_dir_all(path.join("b/inner")).unwrap();
        fs::create_dir_all(path.join("a")).unwrap();
        fs::write(path.join("directly"), "12345").unwrap();
        fs::write(path.join("b/inner/file"), "123").unwrap();
        fs::hard_link(path.join("b/inner/file"), path.join("a/again")).unwrap();
        std::os::unix::fs::symlink("/", path.join("a/link")).unwrap();
        root
    }

    #[test]
    fn files_folders_and_bytes_are_counted_and_links_are_not_followed() {
        let root = tree();
        let tally = count(root.path()).unwrap();
        let numbers = |files, folders, bytes| Numbers { files, folders, bytes };
        assert_eq!(tally.all, numbers(3, 3, 11));
        let parts = [("", numbers(1, 2, 5)), ("a", numbers(1, 0, 3)), ("b", numbers(1, 1, 3))];
        assert_eq!(tally.parts, parts.map(|(name, numbers)| (name.to_owned(), numbers)));
        assert!(count(&root.path().join("missing")).is_err());
    }

    #[test]
    fn a_report_that_is_wrong_in_one_number_is_found_out() {
        let root = tree();
        let tally = count(root.path()).unwrap();
        let report = |bytes: u64| -> Report {
            serde_json::from_value(serde_json::json!({
                "root": "/x", "files": 3, "folders": 3, "bytes": 11, "unreadable": 0, "failed": 0,
                "entries": [
                    {"name": "", "files": 1, "folders": 2, "bytes": 5},
                    {"name": "a", "files": 1, "folders": 0, "bytes": bytes},
                    {"name": "b", "files": 1, "folders": 1, "bytes": 3},
                ],
            }))
            .unwrap()
        };
        assert_eq!(differences(&report(3), &tally), Vec::<String>::new());
        assert_eq!(differences(&report(4), &tally).len(), 1);
    }
}
