//! Exit statuses, and how trouble is told: once, as a chain, at the very edge.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::output::{clean, clean_lines};

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// Done and good.
    pub(crate) const GOOD: Self = Self(0);
    /// A task or run failed, or something broke that has no number of its own.
    pub(crate) const FAILED: Self = Self(1);
    /// Wrong usage.
    pub(crate) const USAGE: Self = Self(2);
    /// No such thing.
    pub(crate) const MISSING: Self = Self(3);
    /// The server can't be reached.
    pub(crate) const UNREACHABLE: Self = Self(4);
    /// Refused: permission, conflict, quota.
    pub(crate) const REFUSED: Self = Self(5);
    /// A worker whose identity another process has taken over. Service managers must not restart
    /// it on this.
    pub(crate) const FENCED: Self = Self(70);
    /// A worker that was drained, with the end of its process. Service managers must not restart it on
    /// this: it would be drained again.
    pub(crate) const DRAINED: Self = Self(71);
    /// The `--timeout` of a wait ran out.
    pub(crate) const WAITED_OUT: Self = Self(124);
    /// Waited for a task whose command has no status of its own: Bowline could not run it.
    pub(crate) const BOWLINE: Self = Self(125);
    /// Interrupted.
    pub(crate) const INTERRUPTED: Self = Self(130);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// Trouble with an exit status of its own. Anywhere in a chain it decides how the process ends.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Trouble {
    exit: Exit,
    message: String,
}

impl Trouble {
    /// With this status and sentence.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The caller used it wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::USAGE, message)
    }
}

/// Ends the process: says what went wrong, where something did, and picks the status.
pub(crate) fn report(outcome: anyhow::Result<Exit>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::GOOD.into(),
        Err(error) => {
            let mut text = String::new();
            let mut said = String::new();
            for (depth, cause) in error.chain().enumerate() {
                let cause = clean_lines(&cause.to_string());
                // A cause that the line before already quotes adds nothing.
                if depth > 0 && said.contains(&cause) {
                    continue;
                }
                text.push_str(if depth == 0 { "error: " } else { "  because: " });
                text.push_str(&cause);
                text.push('\n');
                said = cause;
            }
            text.push_str(&more(&error));
            // Nobody is left to tell where even this cannot be written.
            drop(anstream::stderr().write_all(text.as_bytes()));
            exit_of(&error).into()
        }
    }
}

/// Help that was asked for, or a command line that cannot be read.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell where even this cannot be written.
    drop(error.print());
    ExitCode::from(if error.use_stderr() { Exit::USAGE } else { Exit::GOOD })
}

/// Every mistake that a server found, and what to do next.
fn more(error: &anyhow::Error) -> String {
    let Some(error) = error.downcast_ref::<bowline_client::ClientError>() else { return String::new() };
    let mut text = String::new();
    for mistake in error.api().map(|api| api.mistakes.as_slice()).unwrap_or_default() {
        let line = match (&mistake.rendered, &mistake.path) {
            (Some(rendered), _) => clean_lines(rendered.trim_end()),
            (None, Some(path)) => format!("  {}: {}", clean(path), clean_lines(&mistake.message)),
            (None, None) => format!("  {}", clean_lines(&mistake.message)),
        };
        text.push_str(&line);
        text.push('\n');
    }
    if let Some(advice) = crate::connect::advice(error) {
        writeln!(text, "  {advice}").ok();
    }
    text
}

fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(trouble) = error.downcast_ref::<Trouble>() {
        return trouble.exit;
    }
    error.downcast_ref::<bowline_client::ClientError>().map_or(Exit::FAILED, crate::connect::exit_of)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
