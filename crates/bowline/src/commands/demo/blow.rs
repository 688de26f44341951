//! One blow: who is killed at once, and what can be seen of its end.

use std::time::Duration;

use bowline_core::state::AttemptEnd;
use serde::Serialize;

use super::processes::{Job, Role};
use super::story::{count, rounded};

/// Who is killed, one blow after another.
pub(super) const BLOWS: [&[Role]; 7] = [
    &[Role::Server],
    &[Role::Worker],
    &[Role::Supervisor],
    &[Role::Server],
    &[Role::Worker, Role::Supervisor],
    &[Role::Server],
    &[Role::Server, Role::Worker, Role::Supervisor],
];

/// What followed a blow.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Blow {
    /// Who was killed.
    pub(super) killed: Vec<Role>,
    /// Jobs that ran at that moment.
    pub(super) jobs: usize,
    /// Of these, jobs that ran on in the same process.
    pub(super) ran_on: usize,
    /// Of these that ran on, the ones that had ended well when all was up again.
    pub(super) ended_meanwhile: usize,
    /// Of these, attempts that died and were made again.
    pub(super) made_again: usize,
    /// Seconds until a server answered, where it was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_seconds: Option<f64>,
    /// Seconds until a worker was connected.
    pub(super) worker_seconds: f64,
    /// Seconds until a supervisor was there, where it was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) supervisor_seconds: Option<f64>,
    /// Seconds until every job of that moment was accounted for.
    pub(super) settled_seconds: f64,
}

impl Blow {
    /// Whether it hit one in this role.
    pub(super) fn hit(&self, role: Role) -> bool {
        self.killed.contains(&role)
    }

    /// In one line.
    pub(super) fn sentence(&self) -> String {
        let names: Vec<&str> = self.killed.iter().map(|role| role.name()).collect();
        let who = match names.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
            few => few.concat(),
        };
        format!("{who} killed: {}; {}", self.recovery(), self.jobs())
    }

    fn recovery(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.server_seconds.map(|seconds| format!("a server answers after {seconds:.2} s")));
        parts.extend(self.supervisor_seconds.map(|seconds| format!("another supervisor after {seconds:.2} s")));
        if self.hit(Role::Worker) {
            parts.push(format!("the next worker after {:.2} s", self.worker_seconds));
        } else if self.hit(Role::Server) {
            parts.push(format!("the worker is back after {:.2} s", self.worker_seconds));
        }
        parts.join(", ")
    }

    fn jobs(&self) -> String {
        if self.jobs == 0 {
            return "no job ran just then".to_owned();
        }
        if self.hit(Role::Supervisor) {
            let died = self.jobs - self.ran_on;
            return format!("{} died with it, none is left, {} made again", count(died, "job"), self.made_again);
        }
        let to_the_end = match self.ended_meanwhile {
            0 => String::new(),
            ended if ended == self.ran_on => ", to the end".to_owned(),
            ended => format!(", {ended} of them to the end"),
        };
        format!("{} ran on{to_the_end}", count(self.ran_on, "job"))
    }
}

/// What became of one job that was seen at a blow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody can tell yet.
    Open,
    /// Its process lives, and its attempt is the newest.
    RunsOn,
    /// Its attempt ended well.
    Ended,
    /// Its attempt ended otherwise, and a newer one has begun.
    Again,
}

/// Judges a job by its attempts as the server tells them, oldest first: number and end of each.
pub(super) fn fate(job: &Job, is_alive: bool, attempts: &[(u32, Option<AttemptEnd>)]) -> Fate {
    let own = attempts.iter().find(|(number, _)| *number == job.attempt);
    let newer = attempts.iter().any(|(number, _)| *number > job.attempt);
    match own {
        Some((_, Some(AttemptEnd::Succeeded))) => Fate::Ended,
        Some((_, None)) if is_alive && !newer => Fate::RunsOn,
        Some(_) if newer && !is_alive => Fate::Again,
        _ => Fate::Open,
    }
}

/// A duration as it is told.
pub(super) fn seconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use bowline_core::id::{TaskId, TaskRef};

    use super::*;
    use crate::commands::demo::processes::Process;

    #[test]
    fn a_blow_is_told_in_one_line() {
        let blow = Blow {
            killed: vec![Role::Server],
            jobs: 2,
            ran_on: 2,
            ended_meanwhile: 1,
            server_seconds: Some(0.3),
            worker_seconds: 0.4,
            ..Blow::default()
        };
        let told = "server killed: a server answers after 0.30 s, the worker is back after 0.40 s; 2 jobs ran on, 1 of \
                    them to the end";
        assert_eq!(blow.sentence(), told);
        let blow = Blow {
            killed: vec![Role::Server, Role::Worker, Role::Supervisor],
            jobs: 1,
            made_again: 1,
            server_seconds: Some(1.0),
            worker_seconds: 1.2,
            supervisor_seconds: Some(1.1),
            ..Blow::default()
        };
        let told = "server, worker and supervisor killed: a server answers after 1.00 s, another supervisor after 1.10 s, \
                    the next worker after 1.20 s; 1 job died with it, none is left, 1 made again";
        assert_eq!(blow.sentence(), told);
    }

    #[test]
    fn a_job_is_judged_by_its_own_attempt_and_by_its_process() {
        let job = Job { process: Process::of(1).unwrap(), task: TaskRef::whole(TaskId(1)), attempt: 2 };
        let good = Some(AttemptEnd::Succeeded);
        let back = Some(AttemptEnd::Released);
        for (is_alive, attempts, expected) in [
            (true, vec![(2, None)], Fate::RunsOn),
            (false, vec![(2, None)], Fate::Open),
            (false, vec![(2, good)], Fate::Ended),
            (false, vec![(2, back)], Fate::Open),
            (false, vec![(2, back), (3, None)], Fate::Again),
            // Its process should be gone before another one begins.
            (true, vec![(2, back), (3, None)], Fate::Open),
            (true, vec![], Fate::Open),
        ] {
            assert_eq!(fate(&job, is_alive, &attempts), expected, "{is_alive} {attempts:?}");
        }
    }
}
