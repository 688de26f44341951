//! The torment: kills, one after another, while the census runs; after each it waits, with a bound,
//! until everything is up again and every job that ran at that moment is accounted for.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline_api::{ConnectionState, NewTask, TaskQuery};
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;
use tokio::time::Instant;

use super::blow::{BLOWS, Blow, Fate, fate, seconds};
use super::processes::{Job, Kin, Process, Role};
use super::stage::WORKER;
use super::story::Story;

/// Between two blows, and before the first: everything is up that long at least.
const BREATH: Duration = Duration::from_millis(1_500);
/// And no sooner than this after the last one began: where all is back at once there is still something to see.
const PACE: Duration = Duration::from_millis(2_700);
/// After so long `explain` is asked.
const ASKED_AFTER: Duration = Duration::from_millis(100);
/// A job that is so old is worth a blow: it does not end just before.
const JOB_AGE: Duration = Duration::from_millis(30);
/// How long a moment is waited for at which a job runs.
const MOMENT_MAX: Duration = Duration::from_secs(1);
/// How long a task that waits is looked for, before one is made.
const WAITING_MAX: Duration = Duration::from_secs(10);
/// How long that one waits.
const DELAY: &str = "2s";
/// How long anything may take to come back, and any job to be accounted for.
const BACK_MAX: Duration = Duration::from_mins(1);
/// One question to a server that may be dying.
const QUESTION_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Kills, and looks.
#[derive(Debug)]
pub(super) struct Torment<'a> {
    pub(super) kin: &'a Kin,
    pub(super) client: &'a Client,
    pub(super) story: &'a Story,
}

/// What is remembered of all blows.
#[derive(Debug, Default)]
pub(super) struct Wounds {
    /// In order.
    pub(super) blows: Vec<Blow>,
    /// Attempts whose job lived on when the server or the worker was killed.
    pub(super) lived_on: BTreeSet<(TaskRef, u32)>,
    /// Attempts whose job died with the supervisor.
    pub(super) died: BTreeSet<(TaskRef, u32)>,
    /// A task beside the census's own, where one was made.
    pub(super) made: Option<TaskRef>,
}

impl Wounds {
    /// How often one in this role was killed.
    pub(super) fn kills(&self, role: Role) -> usize {
        self.blows.iter().filter(|blow| blow.hit(role)).count()
    }
}

/// Those that are killed at once, and what was seen of them just before.
struct Victims {
    roles: &'static [Role],
    processes: Vec<Process>,
    supervisor: Process,
    incarnation: u32,
    at: Instant,
}

impl Torment<'_> {
    /// All blows, and the one question meanwhile.
    pub(super) async fn run(&self) -> anyhow::Result<Wounds> {
        let (wounds, made) = tokio::try_join!(self.blows(), self.ask())?;
        Ok(Wounds { made, ..wounds })
    }

    async fn blows(&self) -> anyhow::Result<Wounds> {
        let mut wounds = Wounds::default();
        let mut due = Instant::now();
        for roles in BLOWS {
            due = (Instant::now() + BREATH).max(due + PACE);
            tokio::time::sleep_until(due).await;
            let blow = self.strike(roles, &mut wounds).await?;
            self.story.tell("killed", &blow.sentence(), &blow)?;
            wounds.blows.push(blow);
        }
        Ok(wounds)
    }

    async fn strike(&self, roles: &'static [Role], wounds: &mut Wounds) -> anyhow::Result<Blow> {
        let (mut victims, mut jobs) = self.choose(roles).await?;
        victims.at = Instant::now();
        for process in &victims.processes {
            process.kill();
        }
        let with_supervisor = roles.contains(&Role::Supervisor);
        if !with_supervisor {
            // One may have ended by itself a moment before.
            jobs.retain(|job| job.process.is_alive());
        }
        let attempts = jobs.iter().map(|job| (job.task, job.attempt));
        if with_supervisor {
            wounds.died.extend(attempts);
        } else {
            wounds.lived_on.extend(attempts);
        }
        let mut blow = Blow { killed: roles.to_vec(), jobs: jobs.len(), ..Blow::default() };
        self.recover(&victims, &mut blow).await?;
        self.settle(&victims, &jobs, &mut blow).await?;
        Ok(blow)
    }

    /// Finds everybody, at a moment at which jobs run where there is one.
    async fn choose(&self, roles: &'static [Role]) -> anyhow::Result<(Victims, Vec<Job>)> {
        let supervisor = self.until("a supervisor", || self.kin.find(Role::Supervisor)).await?;
        let mut processes = Vec::new();
        for role in roles {
            processes.push(self.until(role.name(), || self.kin.find(*role)).await?);
        }
        let incarnation = self.client.worker(WORKER).await?.incarnation;
        let mut jobs = self.moment(supervisor).await;
        jobs.retain(|job| job.process.is_alive());
        Ok((Victims { roles, processes, supervisor, incarnation, at: Instant::now() }, jobs))
    }

    /// Waits for a moment at which a job runs that has not begun just now; the jobs of that moment.
    async fn moment(&self, supervisor: Process) -> Vec<Job> {
        let began = Instant::now();
        loop {
            let before = self.kin.jobs(supervisor);
            tokio::time::sleep(JOB_AGE).await;
            let jobs = self.kin.jobs(supervisor);
            if jobs.iter().any(|job| before.contains(job)) || began.elapsed() > MOMENT_MAX {
                return jobs;
            }
        }
    }

    /// Waits until all are there again.
    async fn recover(&self, victims: &Victims, blow: &mut Blow) -> anyhow::Result<()> {
        let impatient = self.client.with_patience(Duration::ZERO);
        if victims.roles.contains(&Role::Server) {
            while !answers(&impatient).await {
                self.wait(victims, "No server answered").await?;
            }
            blow.server_seconds = Some(seconds(victims.at.elapsed()));
        }
        let another = if victims.roles.contains(&Role::Worker) { victims.incarnation } else { 0 };
        while !is_connected(&impatient, another).await {
            self.wait(victims, "No worker was connected").await?;
        }
        blow.worker_seconds = seconds(victims.at.elapsed());
        if victims.roles.contains(&Role::Supervisor) {
            while self.kin.find(Role::Supervisor).is_none_or(|now| now == victims.supervisor) {
                self.wait(victims, "No supervisor was there").await?;
            }
            blow.supervisor_seconds = Some(seconds(victims.at.elapsed()));
        }
        Ok(())
    }

    /// Waits until every job's fate is known.
    async fn settle(&self, victims: &Victims, jobs: &[Job], blow: &mut Blow) -> anyhow::Result<()> {
        for job in jobs {
            let fate = loop {
                let is_alive = job.process.is_alive();
                let attempts = self.client.attempts(job.task).await?.items;
                let attempts: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.end)).collect();
                match fate(job, is_alive, &attempts) {
                    Fate::Open => {
                        let what = format!("Attempt {} of task {} was not accounted for", job.attempt, job.task);
                        self.wait(victims, &what).await?;
                    }
                    known => break known,
                }
            };
            match fate {
                Fate::RunsOn => blow.ran_on += 1,
                Fate::Ended => {
                    blow.ran_on += 1;
                    blow.ended_meanwhile += 1;
                }
                Fate::Again => blow.made_again += 1,
                Fate::Open => {}
            }
        }
        blow.settled_seconds = seconds(victims.at.elapsed());
        Ok(())
    }

    /// Asks once why a task waits. A task that was made to have one that does.
    async fn ask(&self) -> anyhow::Result<Option<TaskRef>> {
        tokio::time::sleep(ASKED_AFTER).await;
        let began = Instant::now();
        while began.elapsed() < WAITING_MAX {
            if let Some(task) = self.waiting().await?
                && self.explained(task).await?
            {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // So few folders that none of their tasks ever waits.
        let late = NewTask {
            name: Some("later".to_owned()),
            action: Some("noop".to_owned()),
            delay: Some(DELAY.parse()?),
            ..NewTask::default()
        };
        let made = self.client.submit(&late, &Write::default()).await?.ids.first().copied();
        if let Some(task) = made {
            self.explained(task).await?;
            self.client.wait_task(task, Some(BACK_MAX)).await?;
        }
        Ok(made)
    }

    /// Tells why a task waits. `false`: it does not wait any more.
    async fn explained(&self, task: TaskRef) -> anyhow::Result<bool> {
        let explained = self.client.explain(task).await?;
        let why: Vec<&str> = explained.reasons.iter().map(|reason| reason.sentence.as_str()).collect();
        if why.is_empty() {
            return Ok(false);
        }
        self.story.tell("explain", &format!("explain {task}: {}", why.join(" ")), &explained)?;
        Ok(true)
    }

    /// A task that waits: an element of an array, because one that waits for room says more; else any.
    async fn waiting(&self) -> anyhow::Result<Option<TaskRef>> {
        let query = TaskQuery { state: Some("unfinished".to_owned()), ..TaskQuery::default() };
        let tasks = self.client.tasks(&query).await?.items;
        let element = tasks.iter().find_map(|task| {
            let array = task.array.filter(|array| array.waiting > 0)?;
            Some(TaskRef::element(task.id.task, array.first + (array.count - 1) * array.step))
        });
        Ok(element.or_else(|| tasks.iter().find(|task| task.why.is_some()).map(|task| task.id)))
    }

    /// Waits until something is found, with a bound.
    async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            anyhow::ensure!(began.elapsed() < BACK_MAX, "There was no {what} within {BACK_MAX:?}.");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn wait(&self, victims: &Victims, what: &str) -> anyhow::Result<()> {
        let names: Vec<&str> = victims.roles.iter().map(|role| role.name()).collect();
        anyhow::ensure!(
            victims.at.elapsed() < BACK_MAX,
            "{what} within {BACK_MAX:?} after this was killed: {}.",
            names.join(", ")
        );
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}

/// Whether a server answers, and serves.
async fn answers(client: &Client) -> bool {
    matches!(tokio::time::timeout(QUESTION_MAX, client.ready()).await, Ok(Ok(())))
}

/// Whether the worker is connected, in an incarnation newer than that one.
async fn is_connected(client: &Client, than: u32) -> bool {
    match tokio::time::timeout(QUESTION_MAX, client.worker(WORKER)).await {
        Ok(Ok(worker)) => worker.connection == ConnectionState::Connected && worker.incarnation > than,
        Ok(Err(_)) | Err(_) => false,
    }
}
