//! A server and three workers, who kills them, and who starts them again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::books::Shared;
use crate::clock::Stopwatch;
use crate::net::SERVER;
use crate::parts::{Keeper, Part, Seen, processes};
use crate::random::Random;
use crate::rest::{Rest, text};
use crate::site::reach;
use crate::world::{LEASES, spec, words};

const WORKERS: usize = 3;
/// Slots of each.
const SLOTS: u64 = 5;
const PORT: u16 = 7440;
/// All workers are connected, and well, within this.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// What is to go by itself has so long for it.
const GONE_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// All processes under test.
#[derive(Debug)]
pub(crate) struct Fleet {
    room: PathBuf,
    server: Part,
    workers: Vec<Part>,
    /// It starts again whoever dies, and ends all of them when it goes.
    _keeper: Keeper,
}

/// What is done to whom.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Server,
    Worker,
    Supervisor,
    WorkerAndSupervisor,
    ServerAndWorker,
    Everything,
    Drain,
    Away,
    LongAway,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "kill server",
            Self::Worker => "kill worker",
            Self::Supervisor => "kill supervisor",
            Self::WorkerAndSupervisor => "kill worker, supervisor",
            Self::ServerAndWorker => "kill server, worker",
            Self::Everything => "kill everything",
            Self::Drain => "drain and back",
            Self::Away => "worker away",
            Self::LongAway => "worker long away",
        }
    }
}

impl Fleet {
    /// Starts everything, in a folder that may have been used before.
    pub(crate) async fn start(room: &Path, program: &Path) -> Result<(Self, Rest)> {
        for folder in ["said", "home", "run", "tmp"] {
            std::fs::create_dir_all(room.join(folder)).context("making folders")?;
        }
        let keeper = Keeper::new();
        let (data, address) = (room.join("server"), format!("{SERVER}:{PORT}"));
        let mut args =
            words(&["server", "start", "--insecure", "--data", &data.to_string_lossy(), "--listen", &address]);
        args.extend(words(&LEASES));
        args.extend(words(&["--aside-after", "2s"]));
        let server = keeper.keep(spec(room, "server", program, args))?;
        let rest = reach(&address, &data.join("token")).await?;
        let workers = (0..WORKERS).map(|number| {
            let (name, state) = (format!("w{number}"), room.join(format!("w{number}")));
            let mut args = words(&["worker", "start", "--identity", &name, "--server", &format!("http://{address}")]);
            args.extend(words(&["--token-file", &data.join("token").to_string_lossy()]));
            args.extend(words(&["--state", &state.to_string_lossy(), "--slots", &SLOTS.to_string()]));
            args.extend(words(&["--on-term", "release", "--check-every", "500ms"]));
            keeper.keep(spec(room, &name, program, args))
        });
        let workers = workers.collect::<Result<Vec<_>>>()?;
        let fleet = Self { room: room.to_owned(), server, workers, _keeper: keeper };
        fleet.is_ready(&rest).await?;
        Ok((fleet, rest))
    }

    /// Waits until the server leads, and all workers are connected and take work.
    pub(crate) async fn is_ready(&self, rest: &Rest) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            let found = rest.get("/workers").await.map(|answer| answer.body["items"].clone()).unwrap_or_default();
            let well =
                found.as_array().into_iter().flatten().filter(|worker| text(worker, "connection") == "connected");
            if well.filter(|worker| worker["broken"].is_null()).count() >= WORKERS {
                return Ok(());
            }
            if watch.elapsed() > READY_WITHIN {
                bail!("not all workers are there and well within {} s: {found}", READY_WITHIN.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Does something to somebody.
    pub(crate) async fn fault(&self, rest: &Rest, shared: &Shared, random: &mut Random) -> Result<()> {
        let fault = random.one_of(&[
            Fault::Server,
            Fault::Server,
            Fault::Worker,
            Fault::Worker,
            Fault::Supervisor,
            Fault::WorkerAndSupervisor,
            Fault::WorkerAndSupervisor,
            Fault::ServerAndWorker,
            Fault::Everything,
            Fault::Drain,
            Fault::Away,
            Fault::Away,
            Fault::LongAway,
        ]);
        let number = random.one_of(&[0, 1, 2]);
        let (server, worker) = (self.server.pid(), self.workers[number].pid());
        let victims: Vec<Pid> = match fault {
            Fault::Server => server.into_iter().collect(),
            Fault::Worker => worker.into_iter().collect(),
            Fault::Supervisor => self.supervisors(number),
            Fault::WorkerAndSupervisor => worker.into_iter().chain(self.supervisors(number)).collect(),
            Fault::ServerAndWorker => server.into_iter().chain(worker).collect(),
            Fault::Everything => {
                let workers = self.workers.iter().filter_map(Part::pid);
                server
                    .into_iter()
                    .chain(workers)
                    .chain((0..WORKERS).flat_map(|number| self.supervisors(number)))
                    .collect()
            }
            Fault::Drain => {
                self.drain(rest, number, random).await?;
                Vec::new()
            }
            Fault::Away => {
                self.away(rest, number, random.within(3_500, 6_000)).await?;
                Vec::new()
            }
            Fault::LongAway => {
                self.away(rest, number, random.within(12_000, 16_000)).await?;
                Vec::new()
            }
        };
        for pid in victims {
            // Who has gone by itself is not missed.
            kill_process(pid, Signal::KILL).ok();
        }
        *shared.books().faults.entry(fault.name().to_owned()).or_default() += 1;
        Ok(())
    }

    /// It gives back all that it has, and comes back.
    async fn drain(&self, rest: &Rest, number: usize, random: &mut Random) -> Result<()> {
        rest.post_surely(&format!("/workers/w{number}/drain"), &json!({ "mode": "release" }), "").await?;
        tokio::time::sleep(Duration::from_millis(random.within(200, 1_500))).await;
        let answer = rest.post_surely(&format!("/workers/w{number}/undrain"), &json!({}), "").await?;
        if !answer.is_good() {
            bail!("undrain gave {} {}", answer.status, answer.body);
        }
        Ok(())
    }

    /// It stands still: past its lease, and past what its supervisor lets a job go on for without it.
    async fn away(&self, rest: &Rest, number: usize, ms: u64) -> Result<()> {
        // A supervisor that is just being started again could stop nobody meanwhile.
        self.is_ready(rest).await?;
        let Some(pid) = self.workers[number].pid() else { return Ok(()) };
        // Who has gone by itself is not missed.
        kill_process(pid, Signal::STOP).ok();
        tokio::time::sleep(Duration::from_millis(ms)).await;
        kill_process(pid, Signal::CONT).ok();
        Ok(())
    }

    fn supervisors(&self, number: usize) -> Vec<Pid> {
        let state = self.room.join(format!("w{number}/supervisor"));
        let words = format!(" supervisor --state {}", state.display());
        processes(&self.room).into_iter().filter(|seen| seen.line.contains(&words)).map(|seen| seen.pid).collect()
    }

    /// Processes of jobs that have not gone by themselves, when all have ended.
    pub(crate) async fn jobs_left(&self) -> Vec<String> {
        let left = self.until_gone(|seen| seen.is_job).await;
        left.iter().map(|seen| format!("of a job that has ended: process {:?}: {}", seen.pid, seen.line)).collect()
    }

    async fn until_gone(&self, which: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let watch = Stopwatch::start();
        loop {
            let left: Vec<Seen> = processes(&self.room).into_iter().filter(|seen| which(seen)).collect();
            if left.is_empty() || watch.elapsed() > GONE_WITHIN {
                return left;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Everything is asked to end; who does not.
    pub(crate) async fn stop(&self) -> Vec<String> {
        let mut found = Vec::new();
        for part in self.workers.iter().chain([&self.server]) {
            found.extend(part.stop().await.err().map(|error| format!("{error:#}")));
        }
        for number in 0..WORKERS {
            for pid in self.supervisors(number) {
                kill_process(pid, Signal::TERM).ok();
            }
        }
        let left = self.until_gone(|_| true).await;
        found.extend(left.iter().map(|seen| format!("after everything was stopped: {:?}: {}", seen.pid, seen.line)));
        found
    }

    /// Who ended by itself, and was not killed by us.
    pub(crate) fn ends(&self) -> Vec<String> {
        let ends = [&self.server].into_iter().chain(&self.workers).map(|part| {
            let own: Vec<String> = part.ends().into_iter().filter(|end| !end.contains("SIGKILL")).collect();
            (part.name(), own)
        });
        ends.filter(|(_, own)| !own.is_empty())
            .map(|(name, own)| format!("{name} ended by itself: {}", own.join(", ")))
            .collect()
    }
}
