//! Clients: each does this and that, one after the other, as somebody would who has seen only answers. Some vanish in the
//! middle of a request, and never know what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::books::Shared;
use super::shape::{Maker, PAUSED_NAMESPACE, Work};
use super::together::{self, TIGHT_NAMESPACE};
use crate::random::Random;
use crate::rest::{Answer, Rest, text};

/// No more is submitted while so many have not ended.
const UNENDED_MAX: usize = 45;
/// So many ended tasks stay; others are deleted.
const ENDED_KEPT: usize = 400;
/// Most tasks that are submitted as one.
const BATCH_MAX: u64 = 6;

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) rest: Rest,
    pub(crate) shared: Shared,
    pub(crate) maker: Maker,
    /// Its keys begin so.
    pub(crate) name: String,
    pub(crate) over: Arc<AtomicBool>,
}

impl Client {
    /// Goes on until it is over. Whatever it has begun it brings to its end.
    pub(crate) async fn go_on(self, mut random: Random) {
        let mut number = 0;
        while !self.over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(random.within(50, 400))).await;
            number += 1;
            if let Err(error) = self.one(number, &mut random).await {
                self.shared.find(&format!("client {}, deed {number}: {error:#}", self.name));
            }
        }
    }

    async fn one(&self, number: u64, random: &mut Random) -> Result<()> {
        let is_enough = self.shared.books().judge.unended().count() >= UNENDED_MAX;
        match random.within(0, 100) {
            0..44 if !is_enough => self.submit(number, random).await,
            44..50 if !is_enough => self.submit_gang(number, random).await,
            50..56 if !is_enough => self.submit_run(number, random).await,
            56..66 if !is_enough => self.submit_many(number, random).await,
            66..74 if !is_enough => self.vanish(number, random).await,
            74..76 => self.cancel_run(random).await,
            76..78 => settle_doubts(&self.rest, &self.shared, random).await,
            78..83 => self.verb("cancel", random).await.map(drop),
            83..88 => self.verb("retry", random).await.map(drop),
            88..92 => self.pause(random).await,
            92..94 => self.pause_namespace(random).await,
            94..100 => self.delete().await,
            _ => Ok(()),
        }
    }

    async fn submit(&self, number: u64, random: &mut Random) -> Result<()> {
        let work = self.maker.work(number, random);
        let path = format!("/tasks?namespace={}", work.namespace);
        let answer = self.rest.post_surely(&path, &work.body, &self.key(number)).await?;
        self.submitted(&answer, &[work], 1)
    }

    /// All or none, in one commit.
    async fn submit_many(&self, number: u64, random: &mut Random) -> Result<()> {
        let mut all: Vec<Work> =
            (0..random.within(2, BATCH_MAX + 1)).map(|_| self.maker.work(number, random)).collect();
        let namespace = all[0].namespace;
        all.retain(|work| work.namespace == namespace);
        let body = json!({ "tasks": all.iter().map(|work| work.body.clone()).collect::<Vec<_>>() });
        let path = format!("/tasks?namespace={namespace}");
        let answer = self.rest.post_surely(&path, &body, &self.key(number)).await?;
        self.submitted(&answer, &all, all.len() as u64)
    }

    /// Two or three that begin together, or not at all.
    async fn submit_gang(&self, number: u64, random: &mut Random) -> Result<()> {
        let body = together::gang(&self.maker, number, &self.name, random);
        let count = body["tasks"].as_array().map_or(0, Vec::len) as u64;
        let answer = self.rest.post_surely("/tasks", &body, &self.key(number)).await?;
        self.shared.done("gang");
        self.submitted(&answer, &[], count)
    }

    /// One that holds what its steps need.
    async fn submit_run(&self, number: u64, random: &mut Random) -> Result<()> {
        let body = together::run(&self.maker, random);
        let answer = self.rest.post_surely("/runs", &body, &self.key(number)).await?;
        ensure!(answer.is_good(), "a run gave {} {}", answer.status, answer.body);
        self.shared.done("run");
        self.shared.books().note_run(text(&answer.body, "id"));
        Ok(())
    }

    async fn cancel_run(&self, random: &mut Random) -> Result<()> {
        let runs: Vec<String> = self.shared.books().runs.iter().rev().take(5).cloned().collect();
        if runs.is_empty() {
            return Ok(());
        }
        let run = &runs[usize::try_from(random.within(0, runs.len() as u64)).unwrap_or_default()];
        let answer = self.rest.post_surely(&format!("/runs/{run}/cancel"), &Value::Null, "").await?;
        if answer.is_good() {
            self.shared.done("cancel a run");
        }
        Ok(())
    }

    fn submitted(&self, answer: &Answer, all: &[Work], count: u64) -> Result<()> {
        if text(&answer.body, "code") == "invalid" && all.iter().any(|work| work.may_be_refused) {
            self.shared.done("refused: more than there is");
            return Ok(());
        }
        ensure!(answer.is_good(), "a submit gave {} {}", answer.status, answer.body);
        *self.shared.books().done.entry("submitted".to_owned()).or_default() += count;
        Ok(())
    }

    /// Sends a submit, and is gone before the answer: in the middle of the request, or a moment later.
    async fn vanish(&self, number: u64, random: &mut Random) -> Result<()> {
        let work = self.maker.work(number, random);
        let within = Duration::from_millis(random.within(0, 25));
        let path = format!("/tasks?namespace={}", work.namespace);
        // Whatever came of it: nobody is there to know.
        tokio::time::timeout(within, self.rest.post(&path, &work.body, None)).await.ok();
        self.shared.done("vanished");
        Ok(())
    }

    /// A verb for a task of anybody's.
    async fn verb(&self, verb: &str, random: &mut Random) -> Result<Option<u64>> {
        let recent: Vec<u64> = self.shared.books().recent.iter().rev().take(60).copied().collect();
        if recent.is_empty() {
            return Ok(None);
        }
        let task = random.one_of(&recent);
        let did = self.act(task, verb).await?;
        Ok(did.then_some(task))
    }

    /// Whether it was done: its state may not allow it, or it was deleted meanwhile.
    async fn act(&self, task: u64, verb: &str) -> Result<bool> {
        for namespace in ["default", PAUSED_NAMESPACE, TIGHT_NAMESPACE] {
            let path = format!("/tasks/{task}/{verb}?namespace={namespace}");
            let answer = self.rest.post_surely(&path, &Value::Null, "").await?;
            match text(&answer.body, "code") {
                "not_found" => {}
                "conflict" => return Ok(false),
                _ => {
                    ensure!(answer.is_good(), "{verb} of task {task} gave {} {}", answer.status, answer.body);
                    self.shared.done(verb);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// For a while.
    async fn pause(&self, random: &mut Random) -> Result<()> {
        let Some(task) = self.verb("pause", random).await? else { return Ok(()) };
        tokio::time::sleep(Duration::from_millis(random.within(50, 1_200))).await;
        self.act(task, "resume").await.map(drop)
    }

    async fn pause_namespace(&self, random: &mut Random) -> Result<()> {
        let body = json!({ "namespace": PAUSED_NAMESPACE });
        for verb in ["pause", "resume"] {
            let answer = self.rest.post_surely(&format!("/{verb}"), &body, "").await?;
            ensure!(answer.is_good(), "{verb} of a namespace gave {} {}", answer.status, answer.body);
            if verb == "pause" {
                self.shared.done("pause a namespace");
                tokio::time::sleep(Duration::from_millis(random.within(50, 1_200))).await;
            }
        }
        Ok(())
    }

    /// Removes what ended long ago.
    async fn delete(&self) -> Result<()> {
        loop {
            let task = {
                let mut books = self.shared.books();
                if books.ended.len() <= ENDED_KEPT {
                    return Ok(());
                }
                books.ended.pop_front()
            };
            let Some(task) = task else { return Ok(()) };
            for namespace in ["default", PAUSED_NAMESPACE, TIGHT_NAMESPACE] {
                // It may have been retried, or be gone already.
                let answer = self.rest.delete(&format!("/tasks/{task}?namespace={namespace}")).await;
                if answer.is_ok_and(|answer| answer.is_good()) {
                    self.shared.done("delete");
                }
            }
        }
    }

    fn key(&self, number: u64) -> String {
        format!("{}-{number}", self.name)
    }
}

/// Whatever is still paused goes on: whoever paused it found that it had ended when he came to resume it, and it was
/// retried since.
pub(crate) async fn settle_pauses(rest: &Rest, shared: &Shared) -> Result<()> {
    for task in rest.items("/tasks?state=unfinished&namespace=*").await? {
        if !task["paused"].is_null() {
            let path = format!("/tasks/{}/resume?namespace={}", text(&task, "id"), text(&task, "namespace"));
            // It may have ended just now.
            if rest.post_surely(&path, &Value::Null, "").await?.is_good() {
                shared.done("resume at the end");
            }
        }
    }
    Ok(())
}

/// Somebody who knows says how those ended of whom nobody knows it, or that they are to run again.
pub(crate) async fn settle_doubts(rest: &Rest, shared: &Shared, random: &mut Random) -> Result<()> {
    for task in doubtful(rest).await? {
        let (verb, body) = match random.within(0, 3) {
            0 => ("retry", Value::Null),
            1 => ("resolve", json!({})),
            _ => ("resolve", json!({ "failure": "nobody saw it end" })),
        };
        let (id, namespace) = task;
        let path = format!("/tasks/{id}/{verb}?namespace={namespace}");
        // It may have been cancelled, or its result have come.
        if rest.post_surely(&path, &body, "").await?.is_good() {
            shared.done(&format!("{verb} in doubt"));
        }
    }
    Ok(())
}

/// Tasks and elements of which nobody knows how they ended, each with its namespace.
async fn doubtful(rest: &Rest) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for task in rest.items("/tasks?state=in_doubt,running&namespace=*").await? {
        let (id, namespace) = (text(&task, "id").to_owned(), text(&task, "namespace").to_owned());
        if !task["array"].is_null() {
            let path = format!("/tasks/{id}/elements?namespace={namespace}&state=in_doubt");
            let elements = rest.items(&path).await?;
            all.extend(elements.iter().map(|element| (text(element, "id").to_owned(), namespace.clone())));
        } else if task["state"] == "in_doubt" {
            all.push((id, namespace));
        }
    }
    Ok(all)
}
