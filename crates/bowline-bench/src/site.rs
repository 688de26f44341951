//! A server with its workers, as people start them: processes of their own, TCP between them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_client::Client;
use serde::Deserialize;

use crate::args::Plan;
use crate::drive::until;
use crate::process::{self, Process, cpu_us, private_bytes};

/// How long the server may take to say where it listens.
const START_MAX: Duration = Duration::from_mins(2);
/// How long workers may take to be there.
const CONNECT_MAX: Duration = Duration::from_mins(1);
/// Log levels of what is measured.
const QUIET: &str = "warn";
/// The worker tells of every step of each attempt.
const STEPS: &str = "warn,bowline_worker::dispatcher::attempts=debug";

/// What a server says when it serves.
#[derive(Debug, Deserialize)]
struct Ready {
    server: String,
    token_file: PathBuf,
}

/// How much a worker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    Quiet,
    Steps,
}

/// Processor time of server, and of worker, supervisors and jobs, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) server: f64,
    pub(crate) workers: f64,
}

/// A server with its workers. What is left of it when it is dropped is killed.
#[derive(Debug)]
pub(crate) struct Site {
    program: PathBuf,
    server: Option<Process>,
    workers: Vec<Process>,
    url: String,
    token_file: PathBuf,
    client: Client,
    // The last one: it goes when all that works in it is gone.
    folder: tempfile::TempDir,
}

impl Site {
    /// Starts a server.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        Self::start_with(plan, &[])
    }

    /// Starts a server with further arguments.
    pub(crate) fn start_with(plan: &Plan, args: &[&str]) -> Result<Self> {
        let folder = plan.folder().context("making a data folder")?;
        let (server, ready) = serve(&plan.program, folder.path(), "127.0.0.1:0", args)?;
        let token = std::fs::read_to_string(&ready.token_file).context("reading the administrator's token")?;
        let client = Client::new(&ready.server, Some(token.trim()))?;
        Ok(Self {
            program: plan.program.clone(),
            server: Some(server),
            workers: Vec::new(),
            url: ready.server,
            token_file: ready.token_file,
            client,
            folder,
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a worker with so many slots. It connects by and by.
    pub(crate) fn employ(&mut self, slots: u32, voice: Voice, args: &[&str]) -> Result<()> {
        let number = self.workers.len();
        let (name, slots) = (format!("bench-{number}"), slots.to_string());
        let state = self.folder.path().join(&name).to_string_lossy().into_owned();
        let token = self.token_file.to_string_lossy().into_owned();
        let mut all = vec!["worker", "start", "--server", &self.url, "--token-file", &token];
        all.extend(["--identity", &name, "--state", &state, "--slots", &slots]);
        all.extend(args);
        let log = if voice == Voice::Steps { STEPS } else { QUIET };
        self.workers.push(Process::start(&self.program, &all, (self.folder.path(), log))?);
        Ok(())
    }

    /// Waits until all workers are connected.
    pub(crate) async fn manned(&self) -> Result<()> {
        let wanted = self.workers.len() as u64;
        until(CONNECT_MAX, "the workers are connected", async || {
            Ok(self.client.queue().await?.workers_connected >= wanted)
        })
        .await
    }

    /// The worker that was started first.
    pub(crate) fn worker(&self) -> Result<&Process> {
        self.workers.first().context("no worker was started")
    }

    pub(crate) fn server_pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Process::pid)
    }

    /// What all its processes have taken of the processors until now.
    pub(crate) fn cpu(&self) -> Cpu {
        let supervisors = process::supervisors(self.folder.path());
        let workers = self.workers.iter().map(Process::pid).chain(supervisors);
        Cpu { server: cpu_us(self.server_pid()), workers: workers.map(cpu_us).sum() }
    }

    /// Private memory of server, of workers and of supervisors, in bytes.
    pub(crate) fn memory(&self) -> [f64; 3] {
        let workers = self.workers.iter().map(Process::pid).map(private_bytes).sum();
        let supervisors = process::supervisors(self.folder.path()).into_iter().map(private_bytes).sum();
        [private_bytes(self.server_pid()), workers, supervisors]
    }

    /// Stops the server.
    pub(crate) fn rest(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), Process::stop)
    }

    /// Starts the server anew, where it listened before.
    pub(crate) fn resume(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the server has not been stopped");
        let address = self.url.trim_start_matches("http://").to_owned();
        let (server, _) = serve(&self.program, self.folder.path(), &address, &[])?;
        self.server = Some(server);
        Ok(())
    }

    /// Stops the workers and their supervisors.
    pub(crate) fn dismiss(&mut self) -> Result<()> {
        for worker in self.workers.drain(..) {
            worker.stop()?;
        }
        process::dismiss(self.folder.path())
    }

    /// Stops everything in order.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.dismiss()?;
        self.rest()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.workers.clear();
        // Whoever drops a site that was not stopped tells of another error already.
        process::dismiss(self.folder.path()).ok();
    }
}

fn serve(program: &Path, room: &Path, address: &str, args: &[&str]) -> Result<(Process, Ready)> {
    let data = room.join("data").to_string_lossy().into_owned();
    let mut all = vec!["server", "start", "--json", "--listen", address, "--data", &data];
    all.extend(args);
    let server = Process::start(program, &all, (room, QUIET))?;
    let ready = server.line(START_MAX, |line| serde_json::from_str::<Ready>(&line.text).ok());
    Ok((server, ready.context("the server did not say that it serves")?))
}

/// What was taken of the processors between two looks, for each of so many.
pub(crate) fn each(before: Cpu, after: Cpu, count: u64) -> Cpu {
    let count = crate::clock::as_f64(count.max(1));
    Cpu { server: (after.server - before.server) / count, workers: (after.workers - before.workers) / count }
}
