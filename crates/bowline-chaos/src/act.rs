//! Act after act: a world is started, work and faults go on, all of it comes to its end, and is judged.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::join_all;
use rustix::process::{Signal, kill_process};

use crate::args::Args;
use crate::cgroup;
use crate::check::{self, Broken, facts};
use crate::clock::Stopwatch;
use crate::nest::{self, tool};
use crate::net;
use crate::parts::{Seen, processes};
use crate::plan::{Episode, Kind, Plan};
use crate::site::Site;
use crate::table::{Tally, say};
use crate::world::{Programs, World};

/// After so long everything is judged and begun anew.
const ACT_MAX: Duration = Duration::from_mins(5);
/// After the last fault of an episode everything works again within this: a dead connection is noticed after 20 s, and
/// whoever comes back may wait for 15 s.
const RECOVERY_MAX: Duration = Duration::from_mins(1);
/// When nothing breaks any more, all that was acknowledged has ended within this.
const END_MAX: Duration = Duration::from_mins(2);
/// What is to go by itself has so long for it.
const GONE_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between submits: to the fleet and to the house.
const FLEET_PACE_MS: (u64, u64) = (50, 150);
const HOUSE_PACE_MS: (u64, u64) = (300, 900);
/// Some heartbeats of each.
const FLEET_STOP_AFTER: &str = "2s";
const HOUSE_STOP_AFTER: &str = "15s";

/// Everything that was asked for. Exits with 1 where something was found.
pub(crate) fn all(args: &Args) -> Result<ExitCode> {
    net::prepare()?;
    // Shared memory of its own: what dies with a changed clock leaves nothing elsewhere.
    tool(&["mount", "-t", "tmpfs", "own", "/dev/shm"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let tally = runtime.block_on(acts(args, nest::asked_to_stop()))?;
    tally.print(args.json)?;
    Ok(if tally.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn acts(args: &Args, asked: Arc<AtomicBool>) -> Result<Tally> {
    let (room, seed) = (nest::room(args)?, args.seed.unwrap_or_default());
    let programs = programs(args, &room)?;
    let mut plan = Plan::new(seed, &args.kinds());
    let mut tally = Tally { seed, ..Tally::default() };
    tally.rows = args.kinds().into_iter().map(|kind| (kind, crate::table::Row::default())).collect();
    say(&format!("seed {seed}, in {}", room.display()));
    let watch = Stopwatch::start();
    loop {
        tally.acts += 1;
        let folder = room.join(format!("act-{}", tally.acts));
        let mut act = Act {
            watch,
            plan: &mut plan,
            tally: &mut tally,
            asked: &asked,
            length: watch.left_of(args.length).min(ACT_MAX),
        };
        act.play(&folder, &programs).await?;
        tally.took = watch.elapsed();
        if watch.elapsed() >= args.length || asked.load(Ordering::Relaxed) || !tally.findings.is_empty() {
            return Ok(tally);
        }
        if !args.keep {
            std::fs::remove_dir_all(&folder).context("removing an act's folder")?;
        }
    }
}

fn programs(args: &Args, room: &Path) -> Result<Programs> {
    let new = std::path::absolute(&args.bowline)?;
    let old = if let Some(old) = &args.old {
        std::path::absolute(old)?
    } else {
        let copy = room.join("bowline");
        std::fs::copy(&new, &copy).context("copying the program")?;
        copy
    };
    Ok(Programs { new, old })
}

struct Act<'a> {
    /// Since the beginning of all.
    watch: Stopwatch,
    plan: &'a mut Plan,
    tally: &'a mut Tally,
    asked: &'a AtomicBool,
    length: Duration,
}

/// What faults did that excuses something.
#[derive(Debug, Default, Clone, Copy)]
struct Excuses {
    had_full_disks: bool,
    froze_supervisor: bool,
}

impl Act<'_> {
    async fn play(&mut self, folder: &Path, programs: &Programs) -> Result<()> {
        let (world, mut fleet, mut house) = World::start(folder.to_owned(), programs.clone()).await?;
        for site in [&mut fleet, &mut house] {
            site.recovers(RECOVERY_MAX).await.context("before the first fault")?;
        }
        let seed = self.tally.seed ^ (self.tally.acts << 32);
        fleet.begin(fleet.rest.by(&World::client_address()), seed, FLEET_PACE_MS, FLEET_STOP_AFTER)?;
        house.begin(house.rest.clone(), seed + 1, HOUSE_PACE_MS, HOUSE_STOP_AFTER)?;
        let excuses = self.episodes(&world, &mut fleet, &mut house).await?;
        self.say("no more faults, and no more work: all of it comes to its end");
        for site in [&mut fleet, &mut house] {
            site.submitted_all().await;
            self.judge(site, excuses).await?;
        }
        self.say("judged");
        self.jobs_left(&world.room).await;
        self.ends_of(&world);
        self.stop(&world).await;
        if !self.tally.findings.is_empty() {
            save(&world.room);
        }
        Ok(())
    }

    async fn episodes(&mut self, world: &World, fleet: &mut Site, house: &mut Site) -> Result<Excuses> {
        let watch = Stopwatch::start();
        let mut excuses = Excuses::default();
        while (watch.elapsed() < self.length || !self.plan.all_came()) && !self.asked.load(Ordering::Relaxed) {
            let episode = self.plan.next();
            let kinds = self.episode(world, &episode, &mut excuses).await;
            let since = Stopwatch::start();
            for site in [&mut *fleet, &mut *house] {
                if let Err(error) = site.recovers(RECOVERY_MAX).await {
                    self.tally.find(Broken::Other, format!("after {}: {error:#}", told(&episode)));
                    return Ok(excuses);
                }
            }
            self.say(&format!("  well again after {:.1} s", since.elapsed().as_secs_f64()));
            self.tally.recovered(kinds, since.elapsed());
        }
        Ok(excuses)
    }

    fn say(&self, what: &str) {
        say(&format!("{:>6.1} s  {what}", self.watch.elapsed().as_secs_f64()));
    }

    /// All faults of an episode; the kinds that were done.
    async fn episode(&mut self, world: &World, episode: &Episode, excuses: &mut Excuses) -> BTreeSet<Kind> {
        self.say(&told(episode));
        let done = join_all(episode.faults.iter().map(|fault| world.fault(*fault))).await;
        let mut kinds = BTreeSet::new();
        for (fault, done) in episode.faults.iter().zip(done) {
            let kind = fault.what.kind();
            match done {
                Ok(told) => {
                    kinds.insert(kind);
                    self.tally.rows.entry(kind).or_default().done += 1;
                    excuses.froze_supervisor |= told.froze_supervisor;
                    excuses.had_full_disks |= matches!(kind, Kind::Disk | Kind::Store);
                    self.tally.notes.extend(told.notes);
                    for what in told.findings {
                        self.tally.find(Broken::Other, what);
                    }
                }
                Err(error) => self.tally.find(Broken::Other, format!("{fault} could not be done: {error:#}")),
            }
        }
        kinds
    }

    async fn judge(&mut self, site: &mut Site, excuses: Excuses) -> Result<()> {
        let (unended, resolved) = site.ends_all(END_MAX).await?;
        self.say(&format!("{}: all has ended", site.name));
        // Logs come in their own time, and events a moment after what they tell of.
        site.logs_are_whole(GONE_WITHIN).await?;
        self.say(&format!("{}: all logs are whole", site.name));
        let mut case = facts::gather(site).await?;
        self.say(&format!("{}: all facts are known", site.name));
        site.deaf();
        (case.unended, case.resolved) = (unended, resolved);
        (case.had_full_disks, case.froze_supervisor) = (excuses.had_full_disks, excuses.froze_supervisor);
        for (broken, all) in check::judge(&case) {
            for what in all {
                self.tally.find(broken, format!("{}: {what}", site.name));
            }
        }
        let tally = &mut *self.tally;
        tally.tasks += case.tasks.len();
        tally.runs += case.runs.len();
        tally.attempts += case.attempts.values().map(Vec::len).sum::<usize>();
        tally.attempts_lost += case.attempts.values().flatten().filter(|attempt| attempt.end == "lost").count();
        tally.executions += case.marks.iter().filter(|mark| mark.what == "begin").count();
        tally.events += case.events.len();
        tally.log_bytes += case.logs.iter().map(|log| log.bytes.len()).sum::<usize>();
        tally.repeated += case.ledger.repeated;
        Ok(())
    }

    /// All tasks have ended and all workers are there: nothing of a job is left.
    async fn jobs_left(&mut self, room: &Path) {
        for seen in until_gone(room, |seen| seen.is_job).await {
            self.tally.find(Broken::Left, format!("of a job that has ended: process {:?}: {}", seen.pid, seen.line));
        }
    }

    /// Who ended by itself, and was not killed by us.
    fn ends_of(&mut self, world: &World) {
        for part in [&world.server, &world.up].into_iter().chain(&world.workers) {
            let own: Vec<String> = part.ends().into_iter().filter(|end| !end.contains("SIGKILL")).collect();
            if !own.is_empty() {
                let note = format!(
                    "{} was started {} times; it ended by itself: {}",
                    part.name(),
                    part.starts(),
                    own.join(", ")
                );
                self.tally.notes.push(note);
            }
        }
    }

    /// Everything is asked to end, and does.
    async fn stop(&mut self, world: &World) {
        for part in world.workers.iter().chain([&world.up, &world.server]) {
            if let Err(error) = part.stop().await {
                self.tally.find(Broken::Left, format!("{error:#}"));
            }
        }
        // They stay for a minute after their worker, unless they are asked.
        for pid in world.all_supervisors() {
            kill_process(pid, Signal::TERM).ok();
        }
        for seen in until_gone(&world.room, |_| true).await {
            self.tally
                .find(Broken::Left, format!("after everything was stopped: process {:?}: {}", seen.pid, seen.line));
            kill_process(seen.pid, Signal::KILL).ok();
        }
        let left = cgroup::home().map(|home| cgroup::left(&home)).unwrap_or_default();
        for (path, inside) in left.iter().filter(|(_, inside)| !inside.is_empty()) {
            self.tally.find(Broken::Left, format!("in the cgroup {}: processes {}", path.display(), inside.join(", ")));
        }
        self.tally.empty_cgroups = self.tally.empty_cgroups.max(left.len());
    }
}

fn told(episode: &Episode) -> String {
    episode.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What is still there after a while.
async fn until_gone(room: &Path, is_meant: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    let watch = Stopwatch::start();
    loop {
        let left: Vec<Seen> = processes(room).into_iter().filter(&is_meant).collect();
        if left.is_empty() || watch.elapsed() > GONE_WITHIN {
            return left;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What lies on disks that go with this process is copied, for whoever looks into what was found.
fn save(room: &Path) {
    let Ok(entries) = std::fs::read_dir(room) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with("-disk") {
            let to = room.join(format!("{name}-kept"));
            if let Err(error) = tool(&["cp", "-a", &entry.path().to_string_lossy(), &to.to_string_lossy()]) {
                say(&format!("{error:#}"));
            }
        }
    }
}
