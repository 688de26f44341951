//! Following tasks and runs to their end, with their output on the way, and the exit status that
//! their end stands for.

use std::time::Duration;

use bowline_api::{EventQuery, Task};
use bowline_client::{Client, ClientError, EventItem, LogRequest, LogStart};
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;

use crate::commands::Setting;
use crate::exit::Exit;
use crate::ids::Thing;
use crate::{output, signals};

/// A log that is not sealed so long after its task has ended is given up: a log never delays a result.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// What is shown on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nothing but how it ended.
    Ends,
    /// The output of a single task.
    Output,
}

/// Waits for the end of all of them. Ctrl-C and the limit end the waiting, not the work.
pub(crate) async fn until_ended(
    on: &Setting,
    client: &Client,
    things: &[Thing],
    limit: Option<Duration>,
    show: Show,
) -> anyhow::Result<Exit> {
    let mut stop = signals::Stop::new()?;
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let names: Vec<String> = things.iter().map(ToString::to_string).collect();
    let names = names.join(" ");
    tokio::select! {
        // An end that is there is told before the limit, and the limit before a signal.
        biased;
        exit = all(on, client, things, show) => exit,
        () = late => {
            on.out.note(format!("Not ended within the time given; it goes on: `bowline wait {names}`."));
            Ok(Exit::WAITED_OUT)
        }
        () = stop.asked() => {
            on.out.note(format!("Interrupted; the work goes on: `bowline wait {names}`, `bowline cancel {names}`."));
            Ok(Exit::INTERRUPTED)
        }
    }
}

async fn all(on: &Setting, client: &Client, things: &[Thing], show: Show) -> anyhow::Result<Exit> {
    let mut worst = Exit::GOOD;
    for thing in things {
        let (good, status) = match *thing {
            Thing::Task(id) => {
                let task = match show {
                    Show::Output if things.len() == 1 && !on.out.is_json() => with_output(client, id).await?,
                    Show::Output | Show::Ends => client.wait_task(id, None).await?,
                };
                tell_task(on, &task, things.len())?;
                (task.state == StateKind::Succeeded, status_of(&task))
            }
            Thing::Run(id) => {
                let run = client.wait_run(id, None).await?;
                if on.out.is_json() {
                    on.out.item(&run)?;
                } else {
                    on.out.note(format!("{} {}", run.id, run.state));
                }
                (run.state == "succeeded", if run.state == "succeeded" { Exit::GOOD } else { Exit::FAILED })
            }
        };
        if things.len() == 1 {
            return Ok(status);
        }
        if !good {
            worst = Exit::FAILED;
        }
    }
    Ok(worst)
}

fn tell_task(on: &Setting, task: &Task, of: usize) -> anyhow::Result<()> {
    if on.out.is_json() {
        on.out.item(task)?;
    } else if of > 1 {
        on.out.line(format!("{} {}", task.id, task.state))?;
    } else if task.state != StateKind::Succeeded {
        let why = task.outcome.as_ref().map(|outcome| outcome.message.as_str()).unwrap_or_default();
        on.out.note(format!("task {} {}: {}", task.id, task.state, output::clean_lines(why)));
    }
    Ok(())
}

/// The status that one task's end stands for: its command's own, 128+n for a signal, 125 where
/// Bowline itself could not.
pub(crate) fn status_of(task: &Task) -> Exit {
    if task.state == StateKind::Succeeded {
        return Exit::GOOD;
    }
    if task.array.is_some() {
        return Exit::FAILED;
    }
    let Some(outcome) = &task.outcome else { return Exit::BOWLINE };
    let status = match (outcome.exit_status, outcome.signal) {
        (Some(status), _) => status,
        (None, Some(signal)) => 128 + signal,
        (None, None) => return Exit::BOWLINE,
    };
    match u8::try_from(status & 0xff) {
        // A failed task never ends like a good one.
        Ok(0) | Err(_) => Exit::BOWLINE,
        Ok(status) => Exit(status),
    }
}

/// Waits for a task's end and copies its attempts' logs to standard output, one after another.
async fn with_output(client: &Client, id: TaskRef) -> anyhow::Result<Task> {
    let mut events = client.events(EventQuery { task: Some(id.to_string()), ..EventQuery::default() });
    let mut shown = 0;
    loop {
        let item = events.next().await?;
        if matches!(&item, EventItem::Event(event) if event.attempt.is_none() && !is_end(&event.what)) {
            continue;
        }
        let task = client.task(id).await?;
        // Of an array no single log can be followed.
        let newest = if task.array.is_some() { shown } else { task.attempt };
        let begun = task.started_at.is_some() || task.state.is_ended();
        while begun && shown < newest {
            shown += 1;
            copy_log(client, id, shown).await?;
        }
        let task = if shown > 0 { client.task(id).await? } else { task };
        if task.state.is_ended() && (task.array.is_some() || task.attempt == shown || task.started_at.is_none()) {
            return Ok(task);
        }
    }
}

fn is_end(what: &str) -> bool {
    StateKind::parse(what).is_some_and(StateKind::is_ended)
}

/// Copies one attempt's log until it is sealed.
async fn copy_log(client: &Client, task: TaskRef, attempt: u32) -> anyhow::Result<()> {
    let request =
        LogRequest { attempt: Some(attempt), follow: true, start: LogStart::Offset(0), ..LogRequest::new(task) };
    let copy = async {
        match crate::commands::logs::copy(client, request, (crate::logview::Look::PLAIN, "")).await {
            // An attempt that never ran has no log.
            Err(error) if error.downcast_ref::<ClientError>().is_some_and(ClientError::is_not_found) => Ok(()),
            other => other,
        }
    };
    let over = async {
        let ended: Result<_, ClientError> = client.wait_task(task, None).await;
        tokio::time::sleep(LOG_PATIENCE).await;
        ended.map(|_| ())
    };
    tokio::select! {
        copied = copy => copied,
        over = over => Ok(over?),
    }
}

#[cfg(test)]
mod tests;
