//! Simulated workers around the bench: they journal, run, finish, forget, reconnect, and send again
//! what was not acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::effect::Effect;
use bowline_core::id::{AttemptRef, RunId, SessionId};
use bowline_core::input::{Input, Request};
use bowline_core::message::{Assured, Finished, FromWorker, JobEnd, KnownAs, StopWhy, ToWorker, Verdict};
use bowline_core::name::PoolName;
use bowline_core::run::DueKind;
use bowline_core::tables::Tables;

use super::bench::{Bench, hello};

pub(crate) struct World {
    pub(crate) bench: Bench,
    pub(crate) workers: Vec<SimWorker>,
    pub(crate) due: Vec<(RunId, DueKind, u32)>,
    /// Every assured message ever sent, to be sent again at odd times.
    pub(crate) sent: Vec<FromWorker>,
    pub(crate) dead_sessions: Vec<SessionId>,
    /// The rows as they were once, to be put back.
    pub(crate) backup: Option<Tables>,
}

pub(crate) struct SimWorker {
    /// Its own number: of its machine and its directories.
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) pool: bool,
    /// Which of its state directories it acts from.
    pub(crate) dir: u32,
    pub(crate) process: u32,
    pub(crate) boot: u32,
    pub(crate) incarnation: u32,
    pub(crate) session: Option<SessionId>,
    pub(crate) jobs: BTreeMap<AttemptRef, KnownAs>,
    pub(crate) outbox: Vec<FromWorker>,
    /// What keeps it out, as it was told.
    pub(crate) left: Vec<AttemptRef>,
    /// What it says of that when it comes again.
    pub(crate) claims: Vec<(AttemptRef, KnownAs)>,
}

fn pool() -> PoolName {
    PoolName::new("pool").unwrap()
}

pub(crate) const SLOTS: u32 = 2;
pub(crate) const PREFETCH: u32 = 1;

pub(crate) fn attempt_of(message: &FromWorker) -> Option<AttemptRef> {
    match message {
        FromWorker::Started(attempt)
        | FromWorker::Released { attempt, .. }
        | FromWorker::Gone { attempt, .. }
        | FromWorker::Late { attempt, .. }
        | FromWorker::ArtifactUndelivered { attempt, .. }
        | FromWorker::ArtifactCommitted { attempt, .. } => Some(*attempt),
        FromWorker::Finished(finished) => Some(finished.attempt),
        FromWorker::Heartbeat | FromWorker::Demand { .. } | FromWorker::Health(_) | FromWorker::Bye { .. } => None,
    }
}

fn is_acked(message: &FromWorker, attempt: AttemptRef, of: &Assured) -> bool {
    attempt_of(message) == Some(attempt)
        && match (message, of) {
            (FromWorker::Started(_), Assured::Started)
            | (FromWorker::Finished(_), Assured::Finished)
            | (FromWorker::Released { .. }, Assured::Released)
            | (FromWorker::Gone { .. }, Assured::Gone) => true,
            (FromWorker::ArtifactCommitted { name, .. }, Assured::Artifact(acked)) => name == acked,
            _ => false,
        }
}

impl World {
    pub(crate) fn new() -> Self {
        let mut bench = Bench::new();
        bench.request(Request::EnrolInPool { token: None, pool: pool(), key: [1; 32] }).unwrap();
        let workers = (0..5).map(|number| SimWorker {
            number,
            name: format!("lab-{number}"),
            pool: number > 2,
            dir: 1,
            process: 1,
            boot: 1,
            incarnation: 0,
            session: None,
            jobs: BTreeMap::new(),
            outbox: Vec::new(),
            left: Vec::new(),
            claims: Vec::new(),
        });
        let workers = workers.collect();
        Self { bench, workers, due: Vec::new(), sent: Vec::new(), dead_sessions: Vec::new(), backup: None }
    }

    /// Everything that has left the engine arrives.
    pub(crate) fn deliver(&mut self) {
        let effects = std::mem::take(&mut self.bench.effects);
        for effect in effects {
            match effect {
                Effect::Evaluate { run, what, version } => self.due.push((run, what, version)),
                Effect::Reply { .. } => {}
                Effect::Close { session } => {
                    self.dead_sessions.push(session);
                    for worker in self.workers.iter_mut().filter(|worker| worker.session == Some(session)) {
                        worker.session = None;
                    }
                }
                Effect::Send { session, message } => self.arrive(session, message),
            }
        }
    }

    fn arrive(&mut self, session: SessionId, message: ToWorker) {
        if let ToWorker::Assign(assign) = &message {
            let row = self.bench.tables.attempts.get(&assign.attempt).expect("I3: assigned only once it is durable");
            assert_eq!(row.session, assign.session, "I3");
        }
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.session == Some(session)) else { return };
        match message {
            ToWorker::Welcome { name, incarnation, verdicts, .. } => {
                name.as_str().clone_into(&mut worker.name);
                worker.incarnation = incarnation.0;
                worker.left.clear();
                for (attempt, known) in std::mem::take(&mut worker.claims) {
                    if known == KnownAs::Running {
                        worker.jobs.entry(attempt).or_insert(known);
                    }
                }
                for (attempt, verdict) in verdicts {
                    worker.obey(attempt, verdict);
                }
            }
            ToWorker::Assign(assign) => {
                worker.jobs.insert(assign.attempt, KnownAs::Assigned);
                let is_live = |known: &&KnownAs| matches!(known, KnownAs::Assigned | KnownAs::Running);
                let running = u32::try_from(worker.jobs.values().filter(is_live).count()).unwrap();
                assert!(running <= SLOTS + PREFETCH + 8, "I4: {running} jobs");
            }
            ToWorker::Cancel { attempt, why: StopWhy::Cancel | StopWhy::Timeout } => worker.stop(attempt),
            ToWorker::Cancel { attempt, why: why @ (StopWhy::Drain | StopWhy::Recall) } => worker.release(attempt, why),
            ToWorker::Verdict { attempt, verdict } => worker.obey(attempt, verdict),
            ToWorker::Ack { attempt, of } => {
                worker.outbox.retain(|message| !is_acked(message, attempt, &of));
                if matches!(of, Assured::Finished | Assured::Released | Assured::Gone) {
                    worker.jobs.remove(&attempt);
                }
            }
            ToWorker::TryLater { left, .. } => worker.left = left.into_iter().map(|left| left.attempt).collect(),
            ToWorker::Fenced { .. } => worker.end(),
            ToWorker::HeartbeatAck | ToWorker::Pause { .. } | ToWorker::Drain(_) | ToWorker::Undrain => {}
        }
    }

    /// A session opens: Hello, then the whole outbox.
    pub(crate) fn connect(&mut self, which: usize) {
        self.enrol_if_unknown(which);
        let worker = &mut self.workers[which];
        // Of what its supervisor does not have it can only say that it is gone.
        let process = format!("{}/{}", worker.number, worker.process);
        let mut hello = hello(&worker.name, &process, SLOTS);
        hello.seat.boot_id = format!("boot {} of {}", worker.boot, worker.number);
        hello.seat.state_dir = format!("dir {} of {}", worker.dir, worker.number);
        hello.incarnation.0 = worker.incarnation;
        hello.prefetch = PREFETCH;
        hello.pool = worker.pool.then(pool);
        hello.attempts = worker.jobs.iter().map(|(attempt, known)| (*attempt, *known)).collect();
        hello.attempts.extend(worker.claims.iter().filter(|(attempt, _)| !worker.jobs.contains_key(attempt)));
        if let Some(old) = worker.session {
            self.dead_sessions.push(old);
        }
        let session = self.bench.next_session();
        self.workers[which].session = Some(session);
        self.bench.apply(Input::Connected { session, hello: Box::new(hello), key: [1; 32] });
        self.deliver();
        self.flush(which);
    }

    fn enrol_if_unknown(&mut self, which: usize) {
        let name = &self.workers[which].name;
        let is_known = self.bench.tables.workers.values().any(|row| row.name.as_str() == name);
        if !is_known && !self.workers[which].pool {
            let name = name.clone();
            drop(self.bench.request(Request::Enrol { token: None, worker: name.parse().unwrap(), key: [1; 32] }));
        }
    }

    /// The worker begins anew from another directory; what it had runs on in the old one, unheard.
    pub(crate) fn move_away(&mut self, which: usize) {
        self.restart(which);
        let worker = &mut self.workers[which];
        worker.dir += 1;
        worker.jobs.clear();
        worker.outbox.clear();
    }

    /// What the worker says next time of what it was told is in its way.
    pub(crate) fn claim_left(&mut self, which: usize, known: KnownAs) {
        let worker = &mut self.workers[which];
        worker.claims = std::mem::take(&mut worker.left).into_iter().map(|attempt| (attempt, known)).collect();
    }

    /// Sends what is not acknowledged, in order.
    pub(crate) fn flush(&mut self, which: usize) {
        for message in self.workers[which].outbox.clone() {
            let Some(session) = self.workers[which].session else { return };
            self.bench.say(session, message);
            self.deliver();
        }
    }

    /// Puts a message into the outbox and sends it, where there is a session.
    pub(crate) fn report(&mut self, which: usize, message: FromWorker) {
        self.sent.push(message.clone());
        self.workers[which].outbox.push(message.clone());
        if let Some(session) = self.workers[which].session {
            self.bench.say(session, message);
        }
        self.deliver();
    }

    /// The process dies; its jobs go on under the supervisor.
    pub(crate) fn restart(&mut self, which: usize) {
        self.drop_connection(which);
        self.workers[which].process += 1;
        self.workers[which].incarnation = 0;
    }

    /// The machine restarts: nothing runs any more.
    pub(crate) fn reboot(&mut self, which: usize) {
        self.restart(which);
        let worker = &mut self.workers[which];
        worker.boot += 1;
        for known in worker.jobs.values_mut().filter(|known| **known == KnownAs::Running) {
            *known = KnownAs::Gone;
        }
    }

    pub(crate) fn drop_connection(&mut self, which: usize) {
        if let Some(session) = self.workers[which].session.take() {
            self.dead_sessions.push(session);
            self.bench.apply(Input::Disconnected { session });
            self.deliver();
        }
    }

    pub(crate) fn finish(&mut self, which: usize, attempt: AttemptRef, how: JobEnd) {
        self.workers[which].jobs.insert(attempt, KnownAs::EndedPending);
        let result = (how == JobEnd::Success).then(|| "{}".to_owned());
        self.report(which, FromWorker::Finished(Finished { attempt, how, result }));
    }

    /// The store is put back to what it was.
    pub(crate) fn roll_back(&mut self) -> bool {
        let Some(backup) = self.backup.take() else { return false };
        for worker in &mut self.workers {
            self.dead_sessions.extend(worker.session.take());
        }
        self.due.clear();
        self.bench.roll_back(backup);
        self.deliver();
        true
    }

    /// The server dies and another one leads.
    pub(crate) fn crash(&mut self) {
        for worker in &mut self.workers {
            self.dead_sessions.extend(worker.session.take());
        }
        self.due.clear();
        self.bench.crash();
        self.deliver();
    }

    /// What was stopped is reported, as its worker would.
    pub(crate) fn report_stopped(&mut self) {
        for which in 0..self.workers.len() {
            let stopped: BTreeSet<AttemptRef> = self.workers[which]
                .outbox
                .iter()
                .filter(|message| match message {
                    FromWorker::Finished(finished) => finished.how == JobEnd::Stopped,
                    FromWorker::Released { why, .. } => why == "drained",
                    _ => false,
                })
                .filter_map(attempt_of)
                .collect();
            if !stopped.is_empty() {
                self.flush(which);
            }
        }
    }
}

impl SimWorker {
    fn obey(&mut self, attempt: AttemptRef, verdict: Verdict) {
        match verdict {
            Verdict::Continue | Verdict::Missing => {}
            Verdict::Stop => self.stop(attempt),
            Verdict::Superseded | Verdict::Gone => {
                self.jobs.remove(&attempt);
                self.outbox.retain(|message| attempt_of(message) != Some(attempt));
            }
        }
    }

    /// Fenced: its jobs are stopped, and it ends. Whoever starts it again starts another process.
    fn end(&mut self) {
        self.incarnation = 0;
        self.process += 1;
        self.jobs.clear();
        self.outbox.clear();
    }

    /// Stopped and given back; what has begun is not called back.
    fn release(&mut self, attempt: AttemptRef, why: StopWhy) {
        let started = match (self.jobs.get(&attempt), why) {
            (Some(KnownAs::Assigned), _) => false,
            (Some(KnownAs::Running), StopWhy::Drain) => true,
            _ => return,
        };
        self.jobs.insert(attempt, KnownAs::EndedPending);
        self.outbox.push(FromWorker::Released { attempt, started, why: "drained".into() });
    }

    /// Stopped at once; the report waits in the outbox.
    fn stop(&mut self, attempt: AttemptRef) {
        let is_live =
            self.jobs.get(&attempt).is_some_and(|known| matches!(known, KnownAs::Assigned | KnownAs::Running));
        if is_live {
            self.jobs.insert(attempt, KnownAs::EndedPending);
            self.outbox.push(FromWorker::Finished(Finished { attempt, how: JobEnd::Stopped, result: None }));
        }
    }
}
