//! The census: the workflow as it is shipped, run again and again, and beside it a count of the same
//! folder in plain Rust, which shares nothing with the workflow but the question.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bowline_api::{NewRun, Run};
use bowline_client::{Client, ClientError, Write};
use bowline_core::id::RunId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::story::{Story, count as counted, grouped};
use crate::failures;

/// The workflow, so that the demo works wherever the binary is.
pub(super) const WORKFLOW: &str = include_str!("../../../../../examples/census.yaml");
/// Its report for programs.
const REPORT: &str = "census.json";
/// Largest report that is read, in bytes.
const REPORT_BYTES_MAX: usize = 64 << 20;
/// Times that a report is asked for, while servers die.
const FETCHES_MAX: usize = 20;
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
    /// All of them.
    pub(super) runs: Vec<RunId>,
    /// What was wrong in their reports.
    pub(super) wrong: Vec<String>,
    /// Whether the folder itself changed meanwhile, so that nothing can be compared.
    pub(super) changing: bool,
}

/// Runs it.
#[derive(Debug)]
pub(super) struct Census<'a> {
    pub(super) client: &'a Client,
    pub(super) story: &'a Story,
    pub(super) root: &'a str,
    /// What is right.
    pub(super) tally: &'a Tally,
}

impl Census<'_> {
    /// One after another, until it is over; the one that is under way then is the last.
    pub(super) async fn again_and_again(&self, over: watch::Receiver<bool>) -> anyhow::Result<Reports> {
        let mut reports = Reports::default();
        while reports.runs.is_empty() || !*over.borrow() {
            let began = self.story.seconds();
            let (id, run) = self.once().await?;
            reports.runs.push(id);
            let report = self.report(id).await?;
            let wrong = differences(&report, self.tally);
            let number = reports.runs.len();
            let tasks = run.progress.map_or(0, |progress| progress.total);
            let seconds = self.story.seconds() - began;
            let verdict = if wrong.is_empty() { "its report equals that count" } else { "its report is WRONG" };
            self.story.tell(
                "census",
                &format!("census {number} done in {seconds:.1} s: {} tasks; {verdict}", grouped(tasks)),
                &serde_json::json!({"run": run.id, "tasks": tasks, "right": wrong.is_empty()}),
            )?;
            reports.wrong.extend(wrong.into_iter().map(|what| format!("report of {}: {what}", run.id)));
        }
        Ok(reports)
    }

    async fn once(&self) -> anyhow::Result<(RunId, Run)> {
        let inputs = serde_json::Map::from_iter([("root".to_owned(), self.root.into())]);
        let new = NewRun { workflow: WORKFLOW.to_owned(), file: Some("census.yaml".to_owned()), inputs };
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
        let mut fetches = 0;
        let bytes = loop {
            fetches += 1;
            // A server that is killed while it sends breaks off: it is asked again.
            match self.bytes(task, attempt).await {
                Err(error) if error.is_unreachable() && fetches < FETCHES_MAX => {}
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
