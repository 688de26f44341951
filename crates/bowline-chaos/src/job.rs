//! What each job does: it says on a disk that no fault fills that it begins and ends, which attempt of which task
//! and when, and holds its task's lock as long as it lives. The lock goes with the process, however that ends: two
//! attempts of a task at once are seen in fact.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

use crate::clock::{Stopwatch, boot_ns, pause};
use crate::lines::grip::Grip;
use crate::nest::program;

/// A disk without room is tried again after so long.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Standard output is tried for so long.
const WRITE_WITHIN: Duration = Duration::from_mins(1);
/// The status of a job that fails.
pub(crate) const FAILS_WITH: u8 = 7;

/// The job: `MARKS-FOLDER NAME=NUMBER… [asks=…] [alone=KEY]`.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    match run(words) {
        Ok(code) => code,
        Err(error) => {
            // It goes into the job's log, and the mark that is missing is seen.
            writeln!(std::io::stderr(), "the job cannot do its work: {error:#}").ok();
            ExitCode::from(99)
        }
    }
}

struct Job {
    marks: PathBuf,
    task: String,
    attempt: String,
    worker: String,
}

fn run(words: &[OsString]) -> Result<ExitCode> {
    let marks = PathBuf::from(words.first().context("no folder for marks was named")?);
    let asked: BTreeMap<String, u64> = words[1..].iter().filter_map(|word| pair(word.to_str()?)).collect();
    let asked = |name: &str| asked.get(name).copied();
    let said =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    let job =
        Job { marks, task: said("BOWLINE_TASK_ID"), attempt: said("BOWLINE_ATTEMPT"), worker: said("BOWLINE_WORKER") };
    let lock = File::options()
        .create(true)
        .append(true)
        .open(job.marks.join("locks").join(&job.task))
        .context("opening the lock")?;
    // Two attempts of some tasks may overlap; these hold nothing in fact.
    let may_overlap = asked("overlaps").is_some();
    let is_alone = may_overlap || flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
    job.mark("begin")?;
    if !is_alone {
        job.mark("beside")?;
    }
    let asks = words.iter().find_map(|word| word.to_str()?.strip_prefix("asks=")).unwrap_or_default();
    let alone = words.iter().find_map(|word| word.to_str()?.strip_prefix("alone="));
    let grip = Grip::take(&job.marks, asks, alone).map_err(anyhow::Error::msg)?;
    for beside in &grip.troubles {
        job.mark(beside)?;
    }
    if asked("stubborn").is_some() {
        ignore_term()?;
    }
    if asked("hides").is_some() {
        hide()?;
    }
    job.lines(asked("lines").unwrap_or(0), Duration::from_millis(asked("ms").unwrap_or(0)))?;
    if asked("artifact").is_some() {
        job.artifact()?;
    }
    let fails = asked("fails").unwrap_or(0);
    if fails > 0 && job.failed_before()? < fails {
        job.mark("fail")?;
        return Ok(ExitCode::from(FAILS_WITH));
    }
    job.mark("end")?;
    drop((lock, grip));
    Ok(ExitCode::SUCCESS)
}

fn pair(word: &str) -> Option<(String, u64)> {
    let (name, number) = word.split_once('=')?;
    Some((name.to_owned(), number.parse().ok()?))
}

impl Job {
    /// One line, whole and on the disk before anything follows.
    fn mark(&self, what: &str) -> Result<()> {
        let mut file =
            File::options().create(true).append(true).open(self.marks.join("marks")).context("opening the marks")?;
        let line =
            format!("{} {what} {} {} {} {}\n", boot_ns(), self.task, self.attempt, self.worker, std::process::id());
        file.write_all(line.as_bytes()).context("leaving a mark")?;
        file.sync_data().context("syncing a mark")
    }

    /// How often this task has failed before; it counts itself.
    fn failed_before(&self) -> Result<u64> {
        let path = self.marks.join("fails").join(&self.task);
        let mut file =
            File::options().create(true).append(true).open(&path).context("opening the count of failures")?;
        let before = file.metadata().context("reading the count of failures")?.len();
        file.write_all(b".").context("counting a failure")?;
        file.sync_data().context("syncing the count of failures")?;
        Ok(before)
    }

    /// Numbered lines, spread over the time that the job takes. Where the disk is full each waits for room.
    fn lines(&self, count: u64, length: Duration) -> Result<()> {
        let watch = Stopwatch::start();
        for number in 1..=count {
            let line = log_line(&self.task, &self.attempt, number);
            write_patiently(line.as_bytes())?;
            let due = length * u32::try_from(number).unwrap_or(1) / u32::try_from(count).unwrap_or(1);
            pause(watch.left_of(due));
        }
        pause(watch.left_of(length));
        Ok(())
    }

    /// A file whose content tells whose it is. Without room there is none, and a mark says so.
    fn artifact(&self) -> Result<()> {
        let folder = std::env::var_os("BOWLINE_ARTIFACTS").context("there is no folder for artifacts")?;
        let path = Path::new(&folder).join("mine.txt");
        let written = std::fs::write(&path, artifact(&self.task, &self.attempt));
        if written.is_err() {
            std::fs::remove_file(&path).ok();
            self.mark("noroom")?;
        }
        Ok(())
    }
}

/// The line of that number in a job's log.
pub(crate) fn log_line(task: &str, attempt: &str, number: u64) -> String {
    format!("line {number} of task {task}, attempt {attempt}\n")
}

/// What the artifact of an attempt holds.
pub(crate) fn artifact(task: &str, attempt: &str) -> String {
    format!("task {task} attempt {attempt}\n").repeat(200)
}

fn write_patiently(mut bytes: &[u8]) -> Result<()> {
    let watch = Stopwatch::start();
    while !bytes.is_empty() {
        match rustix::io::write(std::io::stdout(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(_) if watch.elapsed() < WRITE_WITHIN => pause(TRY_AGAIN_AFTER),
            Err(error) => return Err(error).context("writing a line"),
        }
    }
    Ok(())
}

/// TERM is heard, and nothing is done about it.
fn ignore_term() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("making a runtime")?;
    let _guard = runtime.enter();
    let heard = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("hearing TERM")?;
    // The handler stays, whoever listens.
    drop(heard);
    Ok(())
}

/// Leaves a process behind: in a session of its own, with no file of the job's open.
fn hide() -> Result<()> {
    let mut command = program("setsid");
    command.args(["--fork", "sleep", "600"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().context("starting what is left behind")?;
    Ok(())
}
