//! The server is killed again and again while tasks are submitted, run and end. Every acknowledged
//! task ends exactly once, no job is disturbed, no result is lost, and nothing is left running.

#![expect(clippy::disallowed_methods, reason = "tests read the clock and wait with a bound")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bowline_api::{NewTask, PageQuery, TaskQuery};
use bowline_client::{Client, Write};
use rustix::process::{Signal, kill_process};

use crate::harness::{Room, Up, process_of, until};

const TASKS: usize = 2_000;
const TASKS_PER_SUBMIT: usize = 50;
/// At least so often the server is killed; more often where the work takes longer.
const KILLS_MIN: usize = 8;
/// Then it is left alone: a worker holds little more than it can do at once, and has nothing to do without it.
const KILLS_MAX: usize = 16;
/// The worker's event loop is never later than this, on two processors that are busy with all of it.
const LAG_MAX_MS: u64 = 1_000;

fn client(up: &Up) -> Client {
    let token = std::fs::read_to_string(&up.token_file).unwrap();
    Client::new(&up.url, Some(token.trim())).unwrap()
}

/// A job that leaves a mark for each of its executions, and gives a result.
fn job(marks: &str, number: usize) -> NewTask {
    NewTask {
        name: Some(format!("torment-{number}")),
        shell: Some(
            "echo \"$NUMBER begun\" >>\"$MARKS\"\necho \"line of $NUMBER\"\n\
             [ $((NUMBER % 10)) -ne 0 ] || sleep 0.5\n\
             echo \"number=$NUMBER\" >\"$BOWLINE_OUTPUT\"\n\
             echo \"$NUMBER ended\" >>\"$MARKS\"\n"
                .to_owned(),
        ),
        env: BTreeMap::from([("NUMBER".to_owned(), number.to_string()), ("MARKS".to_owned(), marks.to_owned())]),
        ..NewTask::default()
    }
}

/// Submits everything in small pieces, each again under its key until it is acknowledged.
async fn submit_all(client: &Client, marks: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for first in (0..TASKS).step_by(TASKS_PER_SUBMIT) {
        let tasks: Vec<_> = (first..first + TASKS_PER_SUBMIT).map(|number| job(marks, number)).collect();
        let write = Write { key: Some(format!("torment-{first}")), ..Write::default() };
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            match client.submit_many(tasks.clone(), &write).await {
                Ok(submitted) => {
                    ids.extend(submitted.ids.iter().map(ToString::to_string));
                    break;
                }
                Err(error) => assert!(Instant::now() < deadline, "not acknowledged within a minute: {error}"),
            }
        }
    }
    ids
}

/// Kills the server whenever another one has taken its place and the worker is back.
fn kill_again_and_again((room, marks): (&Room, &str), up: &Up, kills: &AtomicUsize, over: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = client(up);
    let mut last = None;
    while !over.load(Ordering::Relaxed) && kills.load(Ordering::Relaxed) < KILLS_MAX {
        let now = process_of(room, "server start").filter(|pid| Some(*pid) != last);
        let back = || {
            let workers = runtime.block_on(client.workers());
            workers.is_ok_and(|workers| {
                workers.items.iter().any(|worker| worker.connection == bowline_api::ConnectionState::Connected)
            })
        };
        if let Some(pid) = now.filter(|_| back()) {
            // At another moment of its work each time: when so many jobs more have begun or ended.
            let marked = || std::fs::read_to_string(marks).unwrap_or_default().lines().count();
            let (nth, before) = (kills.load(Ordering::Relaxed), marked());
            let wanted = (before + nth * 13 % 60).min(TASKS * 2);
            until("there is more work", || marked() >= wanted || over.load(Ordering::Relaxed));
            if over.load(Ordering::Relaxed) {
                return;
            }
            kill_process(pid, Signal::KILL).unwrap();
            kills.fetch_add(1, Ordering::Relaxed);
            last = Some(pid);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn all_tasks(client: &Client) -> Vec<bowline_api::Task> {
    let mut query = TaskQuery { limit: Some(1_000), ..TaskQuery::default() };
    let mut tasks = Vec::new();
    loop {
        let page = client.tasks(&query).await.unwrap();
        tasks.extend(page.items);
        match page.next_cursor {
            None => return tasks,
            next => query.cursor = next,
        }
    }
}

/// What must hold of one task in the end.
async fn check_task(client: &Client, task: &bowline_api::Task) {
    let id = task.id;
    assert_eq!(task.state.name(), "succeeded", "task {id}: {:?}", task.outcome);
    let shown = client.task(id).await.unwrap();
    let number = task.name.as_deref().unwrap().trim_start_matches("torment-").to_owned();
    let result = shown.result.unwrap_or_else(|| panic!("task {id} lost its result"));
    assert_eq!(result["number"], number, "task {id}");
    let history = client.history(id, &PageQuery::default()).await.unwrap();
    let ends = history.items.iter().filter(|line| line.what == "succeeded").count();
    assert_eq!(ends, 1, "task {id} ended {ends} times");
}

/// The worker's event loop was never late, and what it had to send again it has sent.
async fn check_worker(client: &Client) {
    let name = client.workers().await.unwrap().items.remove(0).name;
    let vitals = client.worker(&name).await.unwrap().vitals.expect("it is connected");
    assert!(vitals.loop_lag_max_ms < LAG_MAX_MS, "the event loop was late: {vitals:?}");
    let retried: u64 = vitals.messages.iter().map(|counts| counts.retried).sum();
    assert!(retried > 0, "the server was killed, and nothing was sent again: {vitals:?}");
}

fn check_marks(marks: &str) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(marks).unwrap().lines() {
        *seen.entry(line.to_owned()).or_default() += 1;
    }
    for number in 0..TASKS {
        for what in ["begun", "ended"] {
            let line = format!("{number} {what}");
            assert_eq!(seen.remove(&line), Some(1), "`{line}` is to be found exactly once");
        }
    }
    assert!(seen.is_empty(), "executions that nobody asked for: {seen:?}");
}

#[test]
fn the_server_is_killed_again_and_again_and_nothing_is_lost_or_done_twice() {
    let room = Room::new();
    let up = room.up(&["--slots", "4"]);
    let marks = room.work().join("marks").to_str().unwrap().to_owned();
    let (kills, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = client(&up);
    std::thread::scope(|scope| {
        // Should this test fail, the killer ends with it.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _over = Over(&over);
        scope.spawn(|| kill_again_and_again((&room, &marks), &up, &kills, &over));
        let ids = runtime.block_on(submit_all(&client, &marks));
        assert_eq!(ids.len(), TASKS);
        let worker = process_of(&room, "worker start").unwrap();
        let deadline = Instant::now() + Duration::from_mins(7);
        loop {
            let done = std::fs::read_to_string(&marks).unwrap_or_default().matches("ended").count();
            if done >= TASKS && kills.load(Ordering::Relaxed) >= KILLS_MIN {
                break;
            }
            assert!(Instant::now() < deadline, "{done} of {TASKS} done, {kills:?} kills{}", room.stories());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(process_of(&room, "worker start"), Some(worker), "the worker was restarted");
    });
    assert!(kills.load(Ordering::Relaxed) >= KILLS_MIN);
    until("every task has ended", || {
        let unfinished = TaskQuery { state: Some("unfinished".to_owned()), ..TaskQuery::default() };
        runtime.block_on(client.tasks(&unfinished)).is_ok_and(|page| page.items.is_empty())
    });
    runtime.block_on(async {
        let tasks = all_tasks(&client).await;
        assert_eq!(tasks.len(), TASKS);
        for task in &tasks {
            check_task(&client, task).await;
        }
    });
    check_marks(&marks);
    runtime.block_on(check_worker(&client));
    assert_eq!(up.stop(), Some(0));
    room.wait_empty();
}
