//! The whole of it: the shipped program as `bowline up`, tasks submitted over REST, a worker behind
//! TCP, until the last task has ended.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bowline_api::NewTask;
use bowline_client::{Client, Write};
use bowline_core::spec::SUBMIT_TASKS_MAX;
use bowline_core::state::StateKind;
use rustix::process::{Pid, Signal, kill_process};

use crate::Noop;
use crate::clock::Stopwatch;

/// How long the server may take to say where it listens, and to be ready with its worker.
const START_MAX: Duration = Duration::from_mins(1);
/// How long it may take to leave in order.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Between two looks at whether all tasks have ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long all tasks may take.
const WORK_MAX: Duration = Duration::from_mins(10);

/// Starts the program, submits, waits. Tasks a second.
pub(crate) fn measure(noop: &Noop, program: &Path) -> Result<f64> {
    let folder = noop.data().context("making a data folder")?;
    let data = folder.path().join("data");
    let server = Server::start(program, &data)?;
    let url = server.address()?;
    let token = std::fs::read_to_string(data.join("token")).context("reading the administrator's token")?;
    let client = Client::new(&url, Some(token.trim()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figure = runtime.block_on(work(noop, &client))?;
    server.stop()?;
    Ok(figure)
}

async fn work(noop: &Noop, client: &Client) -> Result<f64> {
    let watch = Stopwatch::start();
    while client.ready().await.is_err() || client.queue().await.map_or(0, |queue| queue.workers_connected) == 0 {
        ensure!(watch.elapsed() < START_MAX, "the server has no worker after {START_MAX:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let watch = Stopwatch::start();
    let mut left = noop.tasks;
    let mut ends = Vec::new();
    while left > 0 {
        let count = left.min(SUBMIT_TASKS_MAX as u64);
        let task = || NewTask { action: Some("noop".to_owned()), ..NewTask::default() };
        let submitted = client.submit_many((0..count).map(|_| task()).collect(), &Write::default()).await?;
        ends.extend(submitted.ids.first().into_iter().chain(submitted.ids.last()).copied());
        left -= count;
    }
    while client.queue().await?.states.values().sum::<u64>() > 0 {
        ensure!(watch.elapsed() < WORK_MAX, "not all tasks have ended after {WORK_MAX:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let figure = watch.per_second(noop.tasks);
    for id in ends {
        let task = client.task(id).await?;
        ensure!(task.state == StateKind::Succeeded, "task {id} is {}", task.state);
    }
    Ok(figure)
}

/// The program, running. Killed when it is dropped without having been stopped.
struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "the bench starts the program that it measures")]
    fn start(program: &Path, data: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{}`", program.display()))?;
        let (sender, lines) = channel();
        if let Some(out) = child.stdout.take() {
            pass_on(out, sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            pass_on(err, sender);
        }
        Ok(Self { child, lines })
    }

    /// Where it listens, from the first line that says so.
    fn address(&self) -> Result<String> {
        let watch = Stopwatch::start();
        let mut said = Vec::new();
        while let Some(left) = START_MAX.checked_sub(watch.elapsed()) {
            let Ok(line) = self.lines.recv_timeout(left) else { break };
            if let Some(url) = address_in(&line) {
                return Ok(url);
            }
            said.push(line);
        }
        Err(anyhow!("the server did not say where it listens; it said: {}", said.join(" | ")))
    }

    /// Asks it to leave, and waits until it has.
    fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("stopping the server")?;
        let watch = Stopwatch::start();
        // Its output ends with the process.
        while let Some(left) = STOP_MAX.checked_sub(watch.elapsed()) {
            if self.lines.recv_timeout(left).is_err() {
                break;
            }
        }
        let status = self.child.try_wait()?;
        ensure!(status.is_some() || watch.elapsed() < STOP_MAX, "the server did not stop within {STOP_MAX:?}");
        self.child.wait().context("waiting for the server")?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // What fails here has ended by itself.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Reads lines for as long as they come, so that the program never waits for its output.
fn pass_on(from: impl Read + Send + 'static, to: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Nobody may listen any more; what is said must be read all the same.
            to.send(line).ok();
        }
    });
}

/// The first address in a line.
fn address_in(line: &str) -> Option<String> {
    let from = line.find("http://")?;
    let rest = &line[from..];
    let end = rest.find(|c: char| c.is_whitespace() || "\"'`,)".contains(c)).unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn addresses() {
        let found = address_in("Listening on http://127.0.0.1:4711/, token in x");
        assert_eq!(found.as_deref(), Some("http://127.0.0.1:4711"));
        assert_eq!(address_in("no address"), None);
    }
}
