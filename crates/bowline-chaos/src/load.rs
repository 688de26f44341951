//! The work that goes on while everything breaks, and a ledger of what was acknowledged: the promise that is judged.
//!
//! Every submit has a key and is sent again under it until there is an answer, as the client of anybody would do.

pub(crate) mod shape;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::random::Random;
use crate::rest::{Rest, text};
use shape::Maker;
pub(crate) use shape::{Kin, Spec, Want};

/// No more is submitted while so many tasks have not ended.
const UNFINISHED_MAX: u64 = 45;
/// Or while so many submits wait for their answer.
const WAITING_MAX: usize = 30;
/// Between two looks at how much there is to do.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acked {
    pub(crate) id: String,
    pub(crate) spec: Spec,
    /// What it depends on.
    pub(crate) after: Vec<(String, Kin)>,
    /// A cancel was answered with yes.
    pub(crate) is_cancelled: bool,
}

/// A run that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct AckedRun {
    pub(crate) id: String,
    pub(crate) elements: usize,
}

/// All that was acknowledged, and what went wrong on the way.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) tasks: Vec<Acked>,
    pub(crate) runs: Vec<AckedRun>,
    pub(crate) faults: Vec<String>,
    /// Submits that were sent twice on purpose.
    pub(crate) repeated: u64,
}

/// Shared by all submits.
pub(crate) type Book = Arc<Mutex<Ledger>>;

/// Where work goes.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) rest: Rest,
    pub(crate) book: Book,
    /// Before each submit it waits for a time between these.
    pub(crate) pace_ms: (u64, u64),
    /// Without a heartbeat for so long a job of this shape stops itself: some heartbeats of this server.
    pub(crate) stop_after: &'static str,
    pub(crate) seed: u64,
    /// What jobs run: this program.
    pub(crate) job: String,
    pub(crate) marks: String,
}

impl Load {
    pub(crate) fn new(rest: Rest, book: Book, seed: u64, marks: &Path) -> anyhow::Result<Self> {
        let job = std::env::current_exe()?.to_string_lossy().into_owned();
        Ok(Self {
            rest,
            book,
            pace_ms: (60, 180),
            stop_after: "15s",
            seed,
            job,
            marks: marks.to_string_lossy().into_owned(),
        })
    }

    /// Submits until it is over, and then waits for the answers that are missing.
    pub(crate) async fn go_on(self, over: Arc<AtomicBool>) {
        let mut random = Random::new(self.seed);
        let mut waiting = JoinSet::new();
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(random.within(self.pace_ms.0, self.pace_ms.1))).await;
            while waiting.try_join_next().is_some() {}
            if waiting.len() >= WAITING_MAX || (number % 4 == 0 && self.is_enough().await) {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            number += 1;
            let (load, seed) = (self.clone(), random.next());
            waiting.spawn(async move { load.one(number, Random::new(seed)).await });
        }
        while waiting.join_next().await.is_some() {}
    }

    async fn is_enough(&self) -> bool {
        let Ok(queue) = self.rest.get("/queue").await else { return false };
        let states = queue.body["states"].as_object().map(|states| states.values().filter_map(Value::as_u64).sum());
        states.unwrap_or(0u64) >= UNFINISHED_MAX
    }

    async fn one(&self, number: u64, mut random: Random) {
        let outcome =
            if random.percent(4) { self.run(number, &mut random).await } else { self.tasks(number, &mut random).await };
        if let Err(error) = outcome {
            self.fault(format!("submit {number}: {error:#}"));
        }
    }

    fn fault(&self, what: String) {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).faults.push(what);
    }

    async fn tasks(&self, number: u64, random: &mut Random) -> anyhow::Result<()> {
        let group =
            shape::group(&Maker { number, job: &self.job, marks: &self.marks, stop_after: self.stop_after }, random);
        let body = json!({ "tasks": group.iter().map(|(body, _)| body).collect::<Vec<_>>() });
        let key = format!("chaos-{}-{number}", self.seed);
        let answer = self.rest.post_surely("/tasks", &body, &key).await?;
        let ids = ids(&answer.body);
        anyhow::ensure!(answer.is_good() && ids.len() == group.len(), "status {}: {}", answer.status, answer.body);
        let acked: Vec<Acked> = ids
            .iter()
            .zip(&group)
            .map(|(id, (_, spec))| {
                let after = spec.after.iter().map(|(index, kin)| (ids[*index].clone(), *kin)).collect();
                Acked { id: id.clone(), spec: spec.clone(), after, is_cancelled: false }
            })
            .collect();
        self.book.lock().unwrap_or_else(PoisonError::into_inner).tasks.extend(acked);
        if random.percent(15) {
            self.again(&body, &key, &ids).await?;
        }
        if group[0].1.want == Want::CancelledOrNot {
            tokio::time::sleep(Duration::from_millis(random.within(0, 1_500))).await;
            self.cancel(&ids[0]).await?;
        }
        Ok(())
    }

    /// The same again under the same key is the same tasks; another one is refused.
    async fn again(&self, body: &Value, key: &str, before: &[String]) -> anyhow::Result<()> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).repeated += 1;
        let answer = self.rest.post_surely("/tasks", body, key).await?;
        if !answer.is_good() || ids(&answer.body) != before || answer.body["replayed"] != true {
            self.fault(format!(
                "the same submit under the key {key} again gave {} {} and not {before:?}",
                answer.status, answer.body
            ));
        }
        let other = self.rest.post_surely("/tasks", &json!({ "command": ["true"] }), key).await?;
        if text(&other.body, "code") != "idempotency_key_reused" {
            self.fault(format!("another submit under the key {key} gave {} {}", other.status, other.body));
        }
        Ok(())
    }

    /// Cancels, until there is an answer that stands.
    async fn cancel(&self, id: &str) -> anyhow::Result<()> {
        let answer = self.rest.post_surely(&format!("/tasks/{id}/cancel"), &Value::Null, "").await?;
        if answer.is_good() {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.tasks.iter_mut().filter(|task| task.id == id).for_each(|task| task.is_cancelled = true);
        } else if text(&answer.body, "code") != "conflict" {
            self.fault(format!("cancelling task {id} gave {} {}", answer.status, answer.body));
        }
        Ok(())
    }

    async fn run(&self, number: u64, random: &mut Random) -> anyhow::Result<()> {
        let elements = usize::try_from(random.within(2, 6)).unwrap_or(2);
        let body = json!({ "workflow": shape::workflow(&self.job, &self.marks, elements), "file": "chaos.yaml" });
        let answer = self.rest.post_surely("/runs", &body, &format!("chaos-run-{}-{number}", self.seed)).await?;
        let id = text(&answer.body, "id").to_owned();
        anyhow::ensure!(answer.is_good() && !id.is_empty(), "status {}: {}", answer.status, answer.body);
        self.book.lock().unwrap_or_else(PoisonError::into_inner).runs.push(AckedRun { id, elements });
        Ok(())
    }
}

fn ids(body: &Value) -> Vec<String> {
    let ids = body["ids"].as_array().into_iter().flatten();
    ids.filter_map(|id| id.as_str().map(str::to_owned)).collect()
}
