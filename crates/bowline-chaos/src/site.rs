//! A server with its workers, as the load and the judge see them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::check::marks;
use crate::clock::Stopwatch;
use crate::load::{Acked, Book, Load};
use crate::rest::{Rest, text};
use crate::watch::{Ear, listen};
use tokio::task::JoinSet;

/// A server is ready, and its workers are there, within this.
const START_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// A server with its workers.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) rest: Rest,
    /// Names, with their slots.
    pub(crate) workers: Vec<(String, u64)>,
    /// Where its jobs leave their marks.
    pub(crate) marks: PathBuf,
    pub(crate) book: Book,
    pub(crate) ear: Ear,
    work: JoinSet<()>,
    listening: JoinSet<()>,
    over: Arc<AtomicBool>,
    probes: u64,
}

impl Site {
    /// Waits until the server is there, and listens from its first event on.
    pub(crate) fn new(name: &'static str, rest: Rest, workers: Vec<(String, u64)>, marks: PathBuf) -> Result<Self> {
        for folder in ["locks", "fails"] {
            std::fs::create_dir_all(marks.join(folder)).context("making folders for marks")?;
        }
        std::fs::write(marks.join("marks"), "").context("making the file of marks")?;
        let mut site = Self {
            name,
            rest,
            workers,
            marks,
            book: Book::default(),
            ear: Ear::default(),
            work: JoinSet::new(),
            listening: JoinSet::new(),
            over: Arc::default(),
            probes: 0,
        };
        site.listening.spawn(listen(site.rest.clone(), Arc::clone(&site.ear)));
        Ok(site)
    }

    /// Work begins. It is submitted by `rest`, which may go another way than the judge's questions.
    pub(crate) fn begin(&mut self, rest: Rest, seed: u64, pace_ms: (u64, u64), stop_after: &'static str) -> Result<()> {
        let load = Load { pace_ms, stop_after, ..Load::new(rest, Arc::clone(&self.book), seed, &self.marks)? };
        self.work.spawn(load.go_on(Arc::clone(&self.over)));
        Ok(())
    }

    /// No more work; what was submitted is answered.
    pub(crate) async fn submitted_all(&mut self) {
        self.over.store(true, std::sync::atomic::Ordering::Relaxed);
        while self.work.join_next().await.is_some() {}
    }

    /// Waits until the server leads, every worker is there and well, and each has done something new.
    pub(crate) async fn recovers(&mut self, within: Duration) -> Result<Duration> {
        let watch = Stopwatch::start();
        self.probes += 1;
        let number = self.probes;
        let outcome = tokio::time::timeout(within, async {
            self.all_connected().await;
            let mut ids = Vec::new();
            for (worker, _) in &self.workers {
                let body = json!({ "name": "probe", "command": ["true"], "requires": [format!("box={worker}")], "priority": 100 });
                let answer = self.rest.post_surely("/tasks", &body, &format!("probe-{number}-{worker}")).await?;
                let id = text(&answer.body, "id").to_owned();
                anyhow::ensure!(answer.is_good() && !id.is_empty(), "a probe was refused: {}", answer.body);
                ids.push(id);
            }
            for id in ids {
                self.ends(&id).await;
            }
            anyhow::Ok(())
        });
        match outcome.await {
            Ok(Ok(())) => Ok(watch.elapsed()),
            Ok(Err(error)) => Err(error),
            Err(_) => bail!(
                "{}: not everything works again within {} s: {}",
                self.name,
                within.as_secs(),
                self.troubles().await
            ),
        }
    }

    async fn ends(&self, id: &str) {
        loop {
            let task = self.rest.get(&format!("/tasks/{id}")).await;
            if task.is_ok_and(|task| matches!(text(&task.body, "state"), "succeeded" | "failed" | "cancelled")) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn all_connected(&self) {
        while !self.rest.is_ready().await || !self.missing().await.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Workers that are not there, or not well.
    async fn missing(&self) -> Vec<String> {
        let answer = self.rest.get("/workers").await;
        let found = answer.map(|answer| answer.body["items"].clone()).unwrap_or_default();
        let is_well = |name: &str| {
            found.as_array().into_iter().flatten().any(|worker: &Value| {
                text(worker, "name") == name && text(worker, "connection") == "connected" && worker["broken"].is_null()
            })
        };
        self.workers.iter().filter(|(name, _)| !is_well(name)).map(|(name, _)| name.clone()).collect()
    }

    /// What keeps it from being well, for people.
    async fn troubles(&self) -> String {
        let workers = self.rest.get("/workers").await.map(|answer| answer.body.to_string());
        let workers = workers.unwrap_or_else(|error| format!("{error:#}"));
        format!(
            "ready: {}, not there or not well: {:?}; workers: {workers}",
            self.rest.is_ready().await,
            self.missing().await
        )
    }

    /// Waits until every task has ended; tasks in doubt are resolved on the way, by turns. What had not ended in time.
    pub(crate) async fn ends_all(&self, within: Duration) -> Result<(Vec<String>, Vec<String>)> {
        let watch = Stopwatch::start();
        let mut resolved = Vec::new();
        loop {
            let open = self.rest.items("/tasks?state=unfinished").await?;
            if open.is_empty() {
                return Ok((Vec::new(), resolved));
            }
            for task in open.iter().filter(|task| text(task, "state") == "in_doubt") {
                let id = text(task, "id");
                let answer = self.rest.post_surely(&format!("/tasks/{id}/resolve"), &json!({}), "").await?;
                if answer.is_good() {
                    resolved.push(id.to_owned());
                }
            }
            if watch.elapsed() > within {
                let left = open.iter().map(|task| {
                    format!("task {} ({}) is {}", text(task, "id"), text(task, "name"), text(task, "state"))
                });
                return Ok((left.collect(), resolved));
            }
            tokio::time::sleep(LOOK_EVERY * 4).await;
        }
    }

    /// Waits until nothing more can come of any log, and all events were heard. What is missing then is found.
    pub(crate) async fn logs_are_whole(&self, within: Duration) -> Result<()> {
        let watch = Stopwatch::start();
        // A task that never began has no log, and nothing that would say that none comes.
        let written = std::fs::read_to_string(self.marks.join("marks")).context("reading the marks")?;
        let marks = marks::read(&written).map_err(anyhow::Error::msg)?;
        let begun: BTreeSet<String> = marks.into_iter().map(|mark| mark.task).collect();
        let lines = |task: &&Acked| task.spec.lines > 0 && task.spec.array.is_none() && begun.contains(&task.id);
        let ids: Vec<String> = {
            let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.tasks.iter().filter(lines).map(|task| task.id.clone()).collect()
        };
        for id in ids {
            while watch.elapsed() < within && !self.rest.log_is_sealed(&id).await.unwrap_or(false) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Listens no more.
    pub(crate) fn deaf(&mut self) {
        self.listening.abort_all();
    }
}

/// Waits until a server at that address has written its token and is ready.
pub(crate) async fn reach(address: &str, token_file: &std::path::Path) -> Result<Rest> {
    let watch = Stopwatch::start();
    loop {
        if let Ok(rest) = Rest::new(address, token_file)
            && rest.is_ready().await
        {
            return Ok(rest);
        }
        if watch.elapsed() > START_WITHIN {
            bail!("no server is ready at {address} within {} s", START_WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
