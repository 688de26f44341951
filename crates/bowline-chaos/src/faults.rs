//! Does one fault to the world: begins it, lets it last, takes it back. What cannot be done is an error, and no fault
//! that counts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::clock::Stopwatch;
use crate::herd;
use crate::nest::tool;
use crate::parts::Part;
use crate::plan::{Fault, Full, Weather, What, Whom};
use crate::site::reach;
use crate::world::{Version, World};

/// A victim that is being started again is waited for so long.
const VICTIM_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// With a limit on the size of files, no write beyond this succeeds.
const FILE_BYTES_MAX: u64 = 4_096;
/// A server of another version is ready within this, or will never be.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// What is to be told of a fault besides its name.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) notes: Vec<String>,
    /// What must not be.
    pub(crate) findings: Vec<String>,
    /// A supervisor stood still, so that it could enforce nothing.
    pub(crate) froze_supervisor: bool,
}

impl World {
    /// From its beginning to its end.
    pub(crate) async fn fault(&self, fault: Fault) -> Result<Told> {
        tokio::time::sleep(fault.at).await;
        let mut told = Told::default();
        match fault.what {
            What::Kill(whom) => {
                self.each(whom, |pid| kill_process(pid, Signal::KILL).is_ok()).await?;
            }
            What::Stop(whom) => {
                told.froze_supervisor = matches!(whom, Whom::Supervisor(_) | Whom::Both(_));
                let stopped = self.each(whom, |pid| kill_process(pid, Signal::STOP).is_ok()).await?;
                tokio::time::sleep(fault.hold).await;
                for pid in stopped {
                    // Somebody else may have killed it meanwhile.
                    kill_process(pid, Signal::CONT).ok();
                }
            }
            What::Netns(cut) => {
                self.cable.cut(cut)?;
                tokio::time::sleep(fault.hold).await;
                self.cable.mend(cut)?;
            }
            What::Relay(weather) => self.weather(weather, fault.hold).await,
            What::Disk(full) => self.full(full, fault.hold).await?,
            What::StoreServer => limited(&self.server, fault.hold).await?,
            What::StoreWorker(number) => limited(&self.workers[number], fault.hold).await?,
            What::ClockServer(by) => self.clock(&self.server, by, fault.hold).await?,
            What::ClockWorker(number, by) => self.clock(&self.workers[number], by, fault.hold).await?,
            What::Herd => told
                .notes
                .push(herd::comes_back(&self.room, &self.programs.new, &self.keeper, &mut told.findings).await?),
            What::Upgrade => self.upgrade(fault.hold, &mut told).await?,
        }
        Ok(told)
    }

    /// Does something to each process of a victim; those to which it was done.
    async fn each(&self, whom: Whom, act: impl Fn(Pid) -> bool) -> Result<Vec<Pid>> {
        let watch = Stopwatch::start();
        loop {
            let done: Vec<Pid> = self.pids(whom).into_iter().filter(|pid| act(*pid)).collect();
            if !done.is_empty() {
                return Ok(done);
            }
            if watch.elapsed() > VICTIM_WITHIN {
                bail!("there is no {whom:?} to do anything to");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn pids(&self, whom: Whom) -> Vec<Pid> {
        let worker = |number: usize| self.workers[number].pid();
        match whom {
            Whom::Server => self.server.pid().into_iter().collect(),
            Whom::Worker(number) => worker(number).into_iter().collect(),
            Whom::Supervisor(number) => self.supervisors(number),
            Whom::Both(number) => worker(number).into_iter().chain(self.supervisors(number)).collect(),
            Whom::ServerAndWorker(number) => self.server.pid().into_iter().chain(worker(number)).collect(),
            Whom::Up => self.up.pid().into_iter().collect(),
            Whom::UpServer => self.of_house(" server start ").into_iter().collect(),
            Whom::UpWorker => self.of_house(" worker start ").into_iter().collect(),
        }
    }

    async fn weather(&self, weather: Weather, hold: Duration) {
        // Those who submit are treated as a worker is.
        let relays = [&self.worker_relay, &self.client_relay];
        for relay in relays {
            relay.begin(weather);
        }
        tokio::time::sleep(hold).await;
        for relay in relays {
            relay.mend();
        }
    }

    async fn full(&self, full: Full, hold: Duration) -> Result<()> {
        let disks = match full {
            Full::Worker(number) | Full::WorkerFiles(number) => vec![&self.worker_disks[number]],
            Full::Server | Full::ServerFiles => vec![&self.server_disk],
            Full::Both(number) => vec![&self.server_disk, &self.worker_disks[number]],
        };
        for disk in &disks {
            match full {
                Full::Worker(_) | Full::Server | Full::Both(_) => disk.fill()?,
                Full::WorkerFiles(_) | Full::ServerFiles => disk.fill_files()?,
            }
        }
        tokio::time::sleep(hold).await;
        for disk in disks {
            disk.free();
        }
        Ok(())
    }

    /// Under a time of day that jumps there and back, twice, with a death in between.
    async fn clock(&self, part: &Part, by: i64, hold: Duration) -> Result<()> {
        let library = faketime().context("clock faults need libfaketime: install the package `faketime`")?;
        let file = self.room.join(format!("{}-clock", part.name()));
        let set = |by: i64| std::fs::write(&file, format!("{by:+}s\n")).context("setting a clock");
        set(0)?;
        let env = [
            ("LD_PRELOAD", library.to_string_lossy().into_owned()),
            ("FAKETIME_TIMESTAMP_FILE", file.to_string_lossy().into_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ];
        part.stop().await?;
        part.start(|spec| spec.env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())?;
        let piece = hold / 4;
        tokio::time::sleep(piece).await;
        set(by)?;
        tokio::time::sleep(piece).await;
        set(-by / 2)?;
        part.signal(Signal::KILL);
        tokio::time::sleep(piece).await;
        set(by / 3)?;
        tokio::time::sleep(piece).await;
        set(0)?;
        part.stop().await?;
        part.start(|spec| spec.env.clear())
    }

    /// Down to the older version and up again, in either order of server and workers, one at a time.
    async fn upgrade(&self, hold: Duration, told: &mut Told) -> Result<()> {
        if let Err(why) = self.put_server_back().await {
            told.notes
                .push(format!("the older version does not lead with this store: only the workers went back ({why:#})"));
            self.put(&self.server, Version::New).await?;
        }
        tokio::time::sleep(hold).await;
        for worker in &self.workers {
            self.put(worker, Version::Old).await?;
        }
        tokio::time::sleep(hold).await;
        self.put(&self.server, Version::New).await?;
        tokio::time::sleep(hold).await;
        for worker in &self.workers {
            self.put(worker, Version::New).await?;
        }
        Ok(())
    }

    /// As docs/operating.md tells it.
    async fn put_server_back(&self) -> Result<()> {
        self.server.stop().await?;
        let new = self.programs.of(Version::New).to_string_lossy().into_owned();
        let data = self.room.join("server-disk/data").to_string_lossy().into_owned();
        tool(&[&new, "server", "downgrade", "--data", &data])?;
        self.put(&self.server, Version::Old).await?;
        ensure!(self.is_up().await, "it does not come up");
        Ok(())
    }

    async fn put(&self, part: &Part, version: Version) -> Result<()> {
        part.stop().await?;
        let program = self.programs.of(version).to_owned();
        part.start(|spec| spec.program = program)
    }

    async fn is_up(&self) -> bool {
        let token = self.room.join("server-disk/data/token");
        let address = World::server_address();
        tokio::time::timeout(READY_WITHIN, reach(&address, &token)).await.is_ok_and(|reached| reached.is_ok())
    }
}

/// No file of this process may grow: its writes fail, or it dies of them.
async fn limited(part: &Part, hold: Duration) -> Result<()> {
    let pid = part.pid().with_context(|| format!("`{}` does not run", part.name()))?;
    let limit = |current| prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum: None });
    limit(Some(FILE_BYTES_MAX)).context("limiting the size of files")?;
    tokio::time::sleep(hold).await;
    // Where it died of it, the next one has no limit.
    limit(None).ok();
    Ok(())
}

/// Where Debian and others put it.
fn faketime() -> Option<PathBuf> {
    let name = "faketime/libfaketime.so.1";
    let multiarch = format!("/usr/lib/{}-linux-gnu/{name}", std::env::consts::ARCH);
    let places =
        [multiarch, format!("/usr/lib/{name}"), format!("/usr/lib64/{name}"), format!("/usr/local/lib/{name}")];
    places.into_iter().map(PathBuf::from).find(|path| path.is_file())
}
