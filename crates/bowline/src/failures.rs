//! What failed in a run, told so that nobody has to go and look: the step, the element, the end of
//! its log, and the command that shows more.

use std::time::Duration;

use bowline_api::{Run, Task, TaskQuery};
use bowline_client::{Client, ClientError, LogRequest, LogStart};
use bowline_core::id::{RunId, TaskRef};
use bowline_core::state::{AttemptEnd, StateKind};
use std::fmt::Write as _;

use crate::output::{clean, clean_lines};

/// Most failed tasks and elements that are told.
const TOLD_MAX: usize = 5;
/// Lines of a log's end that are shown.
const TAIL_LINES: u64 = 10;
/// Most bytes of it.
const TAIL_BYTES_MAX: usize = 16 << 10;

/// What can have a log of its own: the task, or of an array its failed elements, or else all started.
pub(crate) async fn with_logs(client: &Client, task: &Task) -> Result<Vec<TaskRef>, ClientError> {
    if task.array.is_none() {
        return Ok(vec![task.id]);
    }
    let attempts = client.attempts(task.id).await?.items;
    let bad =
        |end: Option<AttemptEnd>| matches!(end, Some(AttemptEnd::Failed | AttemptEnd::TimedOut | AttemptEnd::Lost));
    let mut failed: Vec<TaskRef> =
        attempts.iter().filter(|attempt| bad(attempt.end)).map(|attempt| attempt.task).collect();
    if failed.is_empty() || task.state == StateKind::Succeeded {
        failed = attempts.iter().map(|attempt| attempt.task).collect();
    }
    failed.sort_unstable();
    failed.dedup();
    Ok(failed)
}

/// A text about everything that failed in a run; empty where nothing did.
pub(crate) async fn tell(client: &Client, id: RunId, run: &Run) -> Result<String, ClientError> {
    let query = TaskQuery {
        state: Some("failed".to_owned()),
        sort: Some("oldest".to_owned()),
        limit: Some(TOLD_MAX),
        ..TaskQuery::default()
    };
    let mut text = String::new();
    let tasks = client.run_tasks(id, &query).await?.items;
    let mut told = 0;
    for task in &tasks {
        for failed in with_logs(client, task).await? {
            if told == TOLD_MAX {
                writeln!(text, "… and more: `bowline runs show {}`", run.id).ok();
                return Ok(text);
            }
            told += 1;
            text.push_str(&one(client, task, failed).await?);
        }
    }
    // Steps that failed before they had a task: an expression.
    for step in run.steps.iter().filter(|step| step.state == bowline_api::StepState::Failed && step.task.is_none()) {
        let why = step.outcome.as_ref().map(|outcome| outcome.message.as_str()).unwrap_or_default();
        writeln!(text, "step `{}` failed: {}", clean(&step.name), clean_lines(why)).ok();
    }
    Ok(text)
}

async fn one(client: &Client, task: &Task, id: TaskRef) -> Result<String, ClientError> {
    let shown = if id == task.id { task.clone() } else { client.task(id).await? };
    let why = shown.outcome.as_ref().map_or("no reason was given", |outcome| outcome.message.as_str());
    let element = id.index.map(|index| format!(", element {index}")).unwrap_or_default();
    let step = clean(task.step.as_deref().unwrap_or_default());
    let mut text = format!("step `{step}`{element} (task {id}) {}: {}\n", shown.state, clean_lines(why));
    for line in tail(client, id).await?.lines() {
        writeln!(text, "  | {}", clean(line)).ok();
    }
    writeln!(text, "  more: `bowline logs {id}`").ok();
    Ok(text)
}

/// How long the end of a failed step's log is waited for: logs come in their own time.
const LOG_PATIENCE: Duration = Duration::from_secs(3);

/// The end of what the newest attempt wrote: to standard error, where that is kept apart and says
/// something, else to standard output. A task that never ran wrote nothing.
async fn tail(client: &Client, id: TaskRef) -> Result<String, ClientError> {
    let request = LogRequest { start: LogStart::Tail(TAIL_LINES), ..LogRequest::new(id) };
    // Its end is there once the log is sealed.
    let whole = LogRequest { follow: true, ..request.clone() };
    drop(tokio::time::timeout(LOG_PATIENCE, read(client, whole)).await);
    let out = read(client, request.clone()).await?;
    let errors = read(client, LogRequest { stream: Some("err".to_owned()), ..request }).await?;
    Ok(if errors.trim().is_empty() { out } else { errors })
}

async fn read(client: &Client, request: LogRequest) -> Result<String, ClientError> {
    let mut log = client.log(request);
    let mut bytes = Vec::new();
    loop {
        match log.next().await {
            Ok(Some(piece)) if bytes.len() + piece.len() <= TAIL_BYTES_MAX => bytes.extend_from_slice(&piece),
            Ok(Some(piece)) => {
                bytes.extend_from_slice(&piece);
                let surplus = bytes.len() - TAIL_BYTES_MAX;
                bytes.drain(..surplus);
            }
            Ok(None) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.is_not_found() => return Ok(String::new()),
            Err(error) => return Err(error),
        }
    }
}
