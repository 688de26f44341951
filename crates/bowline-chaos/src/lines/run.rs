//! All of it: from its beginning, or on from where another one was left, until its time is over, it is asked to end, or
//! something was found. Then whatever was submitted comes to its end, and nobody may be left.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::books::{Books, Shared};
use super::client::{Client, settle_doubts, settle_pauses};
use super::deeds::Deeds;
use super::fleet::Fleet;
use super::shape::Maker;
use super::table::{self, Json};
use super::{STATE_FILE, ask, change, ear};
use crate::args::Args;
use crate::clock::Stopwatch;
use crate::random::Random;
use crate::rest::{Rest, text};
use crate::table::say;
use crate::{nest, net};

const CLIENTS: u64 = 6;
const TELL_EVERY: Duration = Duration::from_secs(10);
const SAVE_EVERY: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two faults, in milliseconds.
const FAULT_PAUSE_MS: (u64, u64) = (800, 4_000);
/// When nothing breaks any more, all that was submitted has ended within this.
const END_WITHIN: Duration = Duration::from_mins(3);
const END_WITHIN_IF_FOUND: Duration = Duration::from_secs(20);
/// Everything that has happened has been heard within this.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// Everything that was asked for. Exits with 1 where something was found.
pub(crate) fn all(args: &Args) -> Result<ExitCode> {
    net::prepare()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let asked = nest::asked_to_stop();
    let found = runtime.block_on(Run::begin(args, &asked))?;
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Run<'a> {
    args: &'a Args,
    asked: &'a AtomicBool,
    room: PathBuf,
    watch: Stopwatch,
    /// Of runs that this one goes on from.
    spent_s: u64,
    shared: Shared,
    random: Random,
}

impl<'a> Run<'a> {
    async fn begin(args: &'a Args, asked: &'a AtomicBool) -> Result<u64> {
        let (room, seed) = (nest::room(args)?, args.seed.unwrap_or_default());
        let state = room.join(STATE_FILE);
        let marks = room.join("marks");
        let (books, is_new) = if state.is_file() {
            (Books::load(&state)?, false)
        } else {
            (Books { seed, deeds: Deeds::new(&marks)?, ..Books::default() }, true)
        };
        let spent_s = books.spent_s;
        say(&format!("seed {}, {spent_s} s so far, in {}", books.seed, room.display()));
        let random = Random::new(books.seed ^ (spent_s << 20));
        let run = Self { args, asked, room, watch: Stopwatch::start(), spent_s, shared: Shared::new(books), random };
        run.play(&marks, is_new).await
    }

    async fn play(mut self, marks: &Path, is_new: bool) -> Result<u64> {
        let program = std::path::absolute(&self.args.bowline)?;
        let (fleet, rest) = Fleet::start(&self.room, &program).await?;
        let mut ears = JoinSet::new();
        ears.spawn(ear::listen(rest.clone(), self.shared.clone()));
        if is_new {
            change::begin(&rest, &self.shared).await?;
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut work = JoinSet::new();
        let maker = Maker {
            job: std::env::current_exe()?.to_string_lossy().into_owned(),
            marks: marks.to_string_lossy().into_owned(),
        };
        for number in 0..CLIENTS {
            let name = format!("c{number}-{}-{}", self.shared.books().seed, self.spent_s);
            let client = Client {
                rest: rest.clone(),
                shared: self.shared.clone(),
                maker: maker.clone(),
                name,
                over: Arc::clone(&over),
            };
            work.spawn(client.go_on(Random::new(self.random.next())));
        }
        work.spawn(change::go_on(rest.clone(), self.shared.clone(), self.random.next(), Arc::clone(&over)));
        work.spawn(ask::go_on(rest.clone(), self.shared.clone(), Arc::clone(&over)));
        self.torment(&fleet, &rest).await?;
        over.store(true, Ordering::Relaxed);
        say(&format!("{:>6} s  no more faults, and no more work: all of it comes to its end", self.seconds()));
        while work.join_next().await.is_some() {}
        self.end(&fleet, &rest).await?;
        ears.abort_all();
        for what in fleet.stop().await {
            self.shared.find(&what);
        }
        self.finish(&fleet)
    }

    /// Faults, until its time is over or something was found.
    async fn torment(&mut self, fleet: &Fleet, rest: &Rest) -> Result<()> {
        let (mut next, mut told, mut saved) = (Stopwatch::start(), Stopwatch::start(), Stopwatch::start());
        let mut pause = Duration::from_secs(2);
        while self.is_to_go_on() {
            tokio::time::sleep(LOOK_EVERY).await;
            self.shared.books().read_deeds()?;
            if next.elapsed() > pause {
                fleet.fault(rest, &self.shared, &mut self.random).await?;
                next = Stopwatch::start();
                pause = Duration::from_millis(self.random.within(FAULT_PAUSE_MS.0, FAULT_PAUSE_MS.1));
            }
            if told.elapsed() > TELL_EVERY {
                told = Stopwatch::start();
                say(&table::progress(&self.shared.books(), self.seconds()));
            }
            if saved.elapsed() > SAVE_EVERY {
                saved = Stopwatch::start();
                self.save()?;
            }
        }
        Ok(())
    }

    fn is_to_go_on(&self) -> bool {
        let is_asked = self.asked.load(Ordering::Relaxed);
        !is_asked && self.seconds() < self.args.length.as_secs() && self.shared.books().found() == 0
    }

    fn seconds(&self) -> u64 {
        self.spent_s + self.watch.elapsed().as_secs()
    }

    fn save(&self) -> Result<()> {
        let mut books = self.shared.books();
        books.spent_s = self.seconds();
        let unended = books.judge.unended().map(|unit| unit.task.to_string()).collect();
        books.deeds.sweep(&unended);
        books.save(&self.room.join(STATE_FILE))
    }

    /// All has ended, nobody holds anything, no process is left.
    async fn end(&self, fleet: &Fleet, rest: &Rest) -> Result<()> {
        fleet.is_ready(rest).await?;
        change::end(rest, &self.shared).await?;
        self.drop_some(rest).await?;
        settle_pauses(rest, &self.shared).await?;
        let watch = Stopwatch::start();
        // Where something was found that may last for ever.
        let within = if self.shared.books().found() == 0 { END_WITHIN } else { END_WITHIN_IF_FOUND };
        let mut random = Random::new(self.spent_s);
        let left = loop {
            let open = rest.items("/tasks?state=unfinished&namespace=*").await?;
            self.shared.books().read_deeds()?;
            settle_doubts(rest, &self.shared, &mut random).await?;
            if open.is_empty() || watch.elapsed() > within {
                break open;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        for task in left.iter().take(5) {
            let (id, namespace) = (text(task, "id"), text(task, "namespace"));
            let why =
                rest.document(&format!("/tasks/{id}/explain?namespace={namespace}")).await.map(|why| why.to_string());
            self.shared.find(&format!("not ended: {task}: {}", why.unwrap_or_else(|error| format!("{error:#}"))));
        }
        if left.is_empty() {
            let watch = Stopwatch::start();
            while self.shared.books().judge.unended().next().is_some() && watch.elapsed() < HEARD_WITHIN {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let unended: Vec<String> = self.shared.books().judge.unended().map(|unit| unit.to_string()).collect();
            if !unended.is_empty() {
                self.shared.find(&format!("all has ended, and no event told of the end of {unended:?}"));
            }
            ask::nobody_is_left(rest, &self.shared).await?;
            for what in fleet.jobs_left().await {
                self.shared.find(&what);
            }
        }
        let mut books = self.shared.books();
        books.judge.close();
        books.take_wrongs();
        books.read_deeds()
    }

    /// Every second one of those who are left is cancelled: whatever it is doing, it leaves no place behind.
    async fn drop_some(&self, rest: &Rest) -> Result<()> {
        let open = rest.items("/tasks?state=unfinished&namespace=*").await?;
        for task in open.iter().step_by(2) {
            let path = format!("/tasks/{}/cancel?namespace={}", text(task, "id"), text(task, "namespace"));
            // It may have ended meanwhile.
            if rest.post_surely(&path, &serde_json::Value::Null, "").await?.is_good() {
                self.shared.done("cancel at the end");
            }
        }
        Ok(())
    }

    /// The table; and the state, where there is something to go on from.
    fn finish(&self, fleet: &Fleet) -> Result<u64> {
        let (is_whole, found) = (self.seconds() >= self.args.length.as_secs(), self.shared.books().found());
        if is_whole && found == 0 && !self.args.keep {
            std::fs::remove_file(self.room.join(STATE_FILE)).ok();
        } else {
            self.save().context("writing down where this was left")?;
            say(&format!("to go on from here: cargo xtask lines --resume {} --for …", self.room.display()));
        }
        if found > 0 {
            let heard: Vec<String> = self.shared.books().heard.iter().cloned().collect();
            std::fs::write(self.room.join("heard.txt"), heard.join("\n")).context("writing down what was heard")?;
        }
        for end in fleet.ends() {
            say(&format!("note: {end}"));
        }
        let json = if self.args.json { Json::Yes } else { Json::No };
        table::print(&self.shared.books(), self.seconds(), json)?;
        Ok(found)
    }
}
