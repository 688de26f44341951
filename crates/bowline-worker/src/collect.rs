//! Collects what a job left: its result and its artifacts. Blocks; runs in the pool.
//!
//! A job that ended well with an output that cannot be used has failed, and is told why. An artifact that
//! cannot be delivered never holds back the end: it is noted in the log.

mod artifacts;
mod output;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use bowline_core::message::JobEnd;
use bowline_core::spec::Work;
use bowline_core::state::{JobError, TimeoutKind};
use bowline_protocol::LogStream;
use bowline_supervisor::wire::{Exit, Exited, StartFailed, Step, StopReason};

use crate::prepare::{Plan, log_file, splits_output};

/// What a job left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// How it ended.
    pub how: JobEnd,
    /// JSON, where it has a result.
    pub result: Option<String>,
}

impl Collected {
    /// Nothing but its end.
    pub fn bare(how: JobEnd) -> Self {
        Self { how, result: None }
    }

    /// A failure that has nothing but its sentence.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::bare(JobEnd::Error(JobError { message: message.into(), ..JobError::default() }))
    }
}

/// Collects the result of a job that ended like this, and finds the files that it left: name and place.
pub(crate) fn collect(plan: &Plan, how: JobEnd) -> (Collected, Vec<(String, PathBuf)>) {
    let mut notes = Vec::new();
    let (how, result) = match output::read(plan, &mut notes) {
        Ok(result) => (how, result),
        Err(error) => match how {
            JobEnd::Success => (JobEnd::Error(JobError { message: error.to_string(), ..JobError::default() }), None),
            // What it failed of first is what matters.
            JobEnd::Error(_) | JobEnd::Timeout(_) | JobEnd::Stopped => {
                notes.push(error.to_string());
                (how, None)
            }
        },
    };
    let files = artifacts::find(plan, &mut notes);
    if !notes.is_empty() {
        note(plan, &notes);
    }
    (Collected { how, result }, files)
}

/// Appends to the job's log what its worker has to say.
fn note(plan: &Plan, notes: &[String]) {
    let stream = if splits_output(&plan.work) { LogStream::Error } else { LogStream::Output };
    let text = notes.iter().fold(String::new(), |text, note| text + "bowline: " + note + "\n");
    let opened = OpenOptions::new().append(true).create(true).open(log_file(&plan.folder, stream));
    if let Err(error) = opened.and_then(|mut file| file.write_all(text.as_bytes())) {
        tracing::warn!(attempt = %plan.handover.assign.attempt, %error, text, "a note could not be added to the log");
    }
}

/// How a job ended, from what the supervisor says.
pub(crate) fn job_end(exited: &Exited) -> JobEnd {
    if exited.stopped == Some(StopReason::RunLimit) {
        return JobEnd::Timeout(TimeoutKind::Run);
    }
    match exited.exit {
        Exit::Code(0) => JobEnd::Success,
        Exit::Code(status) => JobEnd::Error(JobError {
            exit_status: Some(status),
            signal: None,
            message: format!("the command ended with exit status {status}"),
        }),
        Exit::Signal(signal) => JobEnd::Error(JobError {
            exit_status: None,
            signal: Some(signal),
            message: format!("the command was ended by signal {signal}{}", signal_name(signal)),
        }),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        14 => " (SIGALRM)",
        15 => " (SIGTERM)",
        24 => " (SIGXCPU)",
        25 => " (SIGXFSZ)",
        _ => "",
    }
}

/// Why a job could not be started, for people. 127 and 126 are what a shell says of the same.
pub(crate) fn start_failure(work: &Work, failed: &StartFailed) -> JobError {
    const NOT_FOUND: i32 = 2;
    const NO_PERMISSION: i32 = 13;
    let program = match &work.action {
        bowline_core::spec::Action::Command(bowline_core::spec::Command::Argv(argv)) => {
            argv.first().map_or("", String::as_str)
        }
        _ => "/bin/sh",
    };
    let place = work.dir.as_ref().map_or_else(|| "its own, empty folder".to_owned(), |dir| format!("the folder {dir}"));
    let error = std::io::Error::from_raw_os_error(failed.errno);
    let (exit_status, message) = match (failed.step, failed.errno) {
        (Step::Exec, NOT_FOUND) => (
            Some(127),
            format!(
                "the command `{program}` was not found on the worker; it was looked for in {place} and in its PATH: run it in another folder with `--dir`, take files along with `--send`, or give a whole script with `--script`"
            ),
        ),
        (Step::Exec, NO_PERMISSION) => {
            (Some(126), format!("the command `{program}` may not be executed: check its file mode on the worker"))
        }
        (Step::Cwd, _) => (None, format!("{place} could not be entered: {error}")),
        (step, _) => (None, format!("the command `{program}` could not be started: {step} failed: {error}")),
    };
    JobError { exit_status, signal: None, message }
}

/// For fuzzing and tests: the result of what a job wrote, as JSON, or why there is none.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn result_of(
    written: &[u8],
    output: &[u8],
    format: Option<bowline_core::spec::OutputFormat>,
) -> Result<Option<String>, String> {
    let mut notes = Vec::new();
    let result = output::result(written, format, || Ok(output.to_vec()), &mut notes);
    assert!(notes.len() <= 2, "notes have a bound");
    result.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
