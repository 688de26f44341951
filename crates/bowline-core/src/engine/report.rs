//! What workers say. Every assured message is acknowledged, whatever it changes: a state message
//! needs the newest fence, evidence is recorded under its own attempt, and what came before changes
//! nothing again.

use crate::effect::Effect;
use crate::id::{AttemptRef, SessionId, TaskRef, WorkerId};
use crate::machine::{Event, Intent, State};
use crate::message::{Assured, Finished, FromWorker, JobEnd, ToWorker, Verdict};
use crate::mutant::{self, Mutant};
use crate::name::Actor;
use crate::probe::{self, Path};
use crate::row::{ArtifactRow, ResultRow};
use crate::state::{Outcome, StateKind};
use crate::worker::{Health, Room};

use super::Engine;
use super::out::Cause;
use super::worker::{Leaving, Suspect};

/// Pieces of evidence remembered so that the same one is not recorded twice. The oldest goes first.
const EVIDENCE_MAX: usize = 10_000;

/// How an attempt that a worker speaks of stands.
pub(super) enum Standing {
    /// It is the newest, and its unit is in this state.
    Newest(StateKind, Owner),
    /// A newer one exists, or its round is over.
    Old,
    /// Nothing is known of its task.
    Gone,
}

/// Whether the attempt lives on the worker that speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Speaker,
    Nobody,
}

impl Engine {
    /// A message of a session. Of any but the newest session nothing is heard.
    pub(super) fn hear(&mut self, session: SessionId, message: FromWorker) {
        let Some(id) = self.sessions.get(&session).copied() else { return };
        self.heard(id);
        match message {
            FromWorker::Heartbeat => {
                self.out.effects.push(Effect::Send { session, message: ToWorker::HeartbeatAck });
            }
            FromWorker::Demand { attempts_max, room } => self.demand(id, attempts_max, room),
            FromWorker::Started(attempt) => self.started(id, attempt),
            FromWorker::Finished(finished) => self.finished(id, finished),
            FromWorker::Released { attempt, started, why } => self.released(id, attempt, started, why),
            FromWorker::Gone { attempt, why } => self.reported_gone(id, attempt, why),
            FromWorker::Late { attempt, of, waited, sends } => self.came_late(id, (attempt, &of), waited, sends),
            FromWorker::ArtifactCommitted { attempt, name, digest, bytes } => {
                let artifact = ArtifactRow { attempt, name, digest, bytes, at: self.now };
                self.artifact(id, artifact);
            }
            FromWorker::ArtifactUndelivered { attempt, name, why } => self.undelivered(id, attempt, name, &why),
            FromWorker::Health(health) => self.health(id, health),
            FromWorker::Bye { why } => {
                self.disconnected(session, &why);
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.leaving = Leaving::InOrder;
                }
                self.out.effects.push(Effect::Close { session });
            }
        }
    }

    fn heard(&mut self, id: WorkerId) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.heard_at = Some(now);
        worker.lease_from = now;
        if worker.suspect == Suspect::Yes {
            probe::reached(Path::SuspectHeardAgain);
            worker.suspect = Suspect::No;
            self.refresh_free(id);
        }
    }

    fn demand(&mut self, id: WorkerId, attempts_max: u32, room: Room) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Some(session) = &mut worker.session {
            session.prefetch = attempts_max.saturating_sub(room.slots);
            session.demand = Some((attempts_max, room));
        }
        let room = worker.room();
        worker.held.move_up(&room);
        self.refresh_free(id);
    }

    fn health(&mut self, id: WorkerId, health: Health) {
        let Some(session) = self.workers.get_mut(&id).and_then(|worker| worker.session.as_mut()) else { return };
        if session.health == health {
            return;
        }
        let cause = match &health {
            Health::Ok => Cause::server("it says that it is well again"),
            Health::Broken(why) => Cause::server(why.clone()),
        };
        let what = if health == Health::Ok { "healthy" } else { "broken" };
        session.health = health;
        self.tell_worker(id, what, &cause);
        self.refresh_free(id);
    }

    pub(super) fn standing(&self, id: WorkerId, attempt: AttemptRef) -> Standing {
        let Some(task) = self.tasks.get(&attempt.task.task) else { return Standing::Gone };
        let Some(hot) = task.unit(attempt.task) else {
            let exists = attempt.task.index.zip(task.array());
            let exists = exists.is_some_and(|(index, array)| array.spec.place_of(index).is_some());
            return if exists { Standing::Old } else { Standing::Gone };
        };
        if mutant::is(Mutant::FenceNotChecked) {
            return Standing::Newest(hot.state.kind(), Owner::Speaker);
        }
        if hot.fence() != attempt.fence {
            return Standing::Old;
        }
        let lives_here = self.attempts.get(&attempt).is_some_and(|row| row.worker == Some(id));
        Standing::Newest(hot.state.kind(), if lives_here { Owner::Speaker } else { Owner::Nobody })
    }

    fn ack(&mut self, id: WorkerId, attempt: AttemptRef, of: Assured) {
        let settles = matches!(of, Assured::Started | Assured::Finished | Assured::Released | Assured::Gone);
        self.send(id, ToWorker::Ack { attempt, of });
        let session = self.workers.get_mut(&id).and_then(|worker| worker.session.as_mut());
        if settles && session.is_some_and(|session| session.pending.remove(&attempt)) {
            self.refresh_free(id);
        }
    }

    fn gone(&mut self, id: WorkerId, attempt: AttemptRef) {
        probe::reached(Path::ReportOfPurgedTask);
        self.send(id, ToWorker::Verdict { attempt, verdict: Verdict::Gone });
    }

    pub(super) fn actor_of(&self, id: WorkerId) -> Actor {
        self.workers.get(&id).map_or_else(Actor::server, |worker| Actor::from(&worker.row.name))
    }

    fn started(&mut self, id: WorkerId, attempt: AttemptRef) {
        match self.standing(id, attempt) {
            Standing::Newest(StateKind::Assigned, Owner::Speaker) => {
                let cause = Cause::new(&self.actor_of(id), "");
                self.shift(attempt.task, Event::Started, &cause).expect("assigned leads to running");
            }
            // It began before it heard that it is to stop.
            Standing::Newest(StateKind::Stopping, Owner::Speaker) => self.began(attempt.task),
            Standing::Newest(_, Owner::Speaker) => {}
            Standing::Newest(_, Owner::Nobody) | Standing::Old => {
                self.send(id, ToWorker::Verdict { attempt, verdict: Verdict::Superseded });
            }
            Standing::Gone => self.gone(id, attempt),
        }
        self.ack(id, attempt, Assured::Started);
    }

    /// Its job had begun, though its state does not say so.
    fn began(&mut self, unit: TaskRef) {
        probe::reached(Path::BegunWhileStopping);
        let now = self.now;
        if let Some(hot) = self.hot_mut(unit)
            && hot.started_at.get().is_none()
        {
            hot.started_at = now.into();
            self.touch_unit(unit);
            self.note_started(unit);
        }
    }

    fn finished(&mut self, id: WorkerId, finished: Finished) {
        let Finished { attempt, how, result } = finished;
        let cause = Cause::new(&self.actor_of(id), end_reason(&how));
        if attempt.fence.generation < self.config.generation {
            probe::reached(Path::ReportFromBeforeARestore);
        }
        match self.standing(id, attempt) {
            Standing::Newest(state, Owner::Speaker) => {
                let is_success = how == JobEnd::Success;
                self.keep_result(attempt, result);
                self.note_crossing(attempt, &how);
                if state == StateKind::Stopping && is_success {
                    self.tell(
                        attempt.task,
                        attempt.fence.attempt,
                        "evidence",
                        &Cause::new(&cause.actor, "it succeeded after its stop was decided"),
                    );
                }
                self.shift(attempt.task, Event::Finished(how), &cause).ok();
            }
            Standing::Newest(state, Owner::Nobody) if !state.is_ended() => {
                self.note_repeated(attempt);
                let cause = Cause::new(&cause.actor, format!("late: {}", cause.reason));
                self.finished_late(Finished { attempt, how, result }, &cause);
            }
            Standing::Newest(state, Owner::Nobody) => {
                probe::reached(Path::ReportAfterTheRound);
                if how == JobEnd::Success && state != StateKind::Succeeded {
                    probe::reached(Path::SuccessAfterAnotherEnd);
                    self.evidence(attempt, result, &cause);
                }
            }
            Standing::Old if mutant::is(Mutant::LateResultUnchecked) && self.lost.contains_key(&attempt) => {
                self.shift(attempt.task, Event::Finished(how), &cause).ok();
            }
            Standing::Old => {
                self.superseded(attempt, &how);
                self.evidence(attempt, result, &cause);
            }
            Standing::Gone => self.gone(id, attempt),
        }
        self.ack(id, attempt, Assured::Finished);
    }

    /// A report that crossed a stop.
    fn note_crossing(&self, attempt: AttemptRef, how: &JobEnd) {
        let state = if probe::COUNTS { self.state_of(attempt) } else { None };
        let Some(State::Stopping { intent, .. }) = state else { return };
        match (intent, how) {
            (Intent::GiveBack, JobEnd::Success | JobEnd::Error(_) | JobEnd::Timeout(_)) => {
                probe::reached(Path::DrainYieldsToAResult);
            }
            (Intent::End(outcome), JobEnd::Success) if matches!(**outcome, Outcome::Timeout { .. }) => {
                probe::reached(Path::LimitCrossingSuccess);
            }
            (Intent::End(_), JobEnd::Success) => probe::reached(Path::CancelCrossingSuccess),
            (Intent::GiveBack, JobEnd::Stopped)
            | (Intent::End(_), JobEnd::Error(_) | JobEnd::Timeout(_) | JobEnd::Stopped) => {}
        }
    }

    /// The same report again, of an attempt that failed and is to be followed by another: it changes nothing.
    fn note_repeated(&mut self, attempt: AttemptRef) {
        if self.lost.contains_key(&attempt) {
            return;
        }
        probe::reached(Path::ReportRepeated);
        if mutant::is(Mutant::RepeatedReportCounts)
            && let Some(hot) = self.hot_mut(attempt.task)
        {
            hot.failures += 1;
        }
    }

    pub(super) fn keep_result(&mut self, attempt: AttemptRef, result: Option<String>) {
        if let Some(json) = result {
            self.out.results.entry(attempt).or_insert(ResultRow { attempt, json });
        }
    }

    /// What no longer decides anything is kept under its own attempt.
    fn evidence(&mut self, attempt: AttemptRef, result: Option<String>, cause: &Cause) {
        if !self.evidence_seen.insert(attempt) {
            return;
        }
        probe::reached(Path::EvidenceKept);
        if self.evidence_seen.len() > EVIDENCE_MAX {
            self.evidence_seen.pop_first();
        }
        self.keep_result(attempt, result);
        self.tell(attempt.task, attempt.fence.attempt, "evidence", cause);
    }

    fn released(&mut self, id: WorkerId, attempt: AttemptRef, started: bool, why: String) {
        let is_drained = self.workers.get(&id).is_some_and(|worker| worker.row.drain.is_some());
        let is_with_its_gang = !is_drained
            && self.state_of(attempt).is_some_and(|state| state.kind() == StateKind::Stopping)
            && self.gang_of(attempt.task.task).is_some();
        // A worker that is told to give something back takes itself for drained.
        let why = if is_with_its_gang { "all of its gang are claimed anew together".to_owned() } else { why };
        let cause = Cause::new(&self.actor_of(id), why);
        match self.standing(id, attempt) {
            Standing::Newest(state, Owner::Speaker) => {
                if started && state == StateKind::Assigned {
                    self.shift(attempt.task, Event::Started, &cause).expect("assigned leads to running");
                } else if started {
                    self.began(attempt.task);
                }
                self.give_back(attempt, &cause);
            }
            Standing::Newest(_, Owner::Nobody) | Standing::Old => {}
            Standing::Gone => self.gone(id, attempt),
        }
        self.ack(id, attempt, Assured::Released);
    }

    /// Its worker found that nobody will ever know how it ended: the worker's word is proof.
    fn reported_gone(&mut self, id: WorkerId, attempt: AttemptRef, why: String) {
        let cause = Cause::new(&self.actor_of(id), why);
        match self.standing(id, attempt) {
            Standing::Newest(_, Owner::Speaker) => {
                self.lose(attempt, &cause);
                self.note_gone(id, attempt.task.task);
            }
            Standing::Newest(_, Owner::Nobody) | Standing::Old => {}
            Standing::Gone => self.gone(id, attempt),
        }
        self.ack(id, attempt, Assured::Gone);
    }

    fn artifact(&mut self, id: WorkerId, artifact: ArtifactRow) {
        let (attempt, name) = (artifact.attempt, artifact.name.clone());
        match self.standing(id, attempt) {
            Standing::Newest(..) | Standing::Old => {
                let key = (attempt, name.clone());
                let cause = Cause::new(&self.actor_of(id), name.clone());
                if self.artifacts_seen.get(&key) != Some(&artifact.digest) {
                    self.artifacts_seen.insert(key.clone(), artifact.digest.clone());
                    if self.artifacts_seen.len() > EVIDENCE_MAX {
                        self.artifacts_seen.pop_first();
                    }
                    self.out.artifacts.insert(key, artifact);
                    self.tell(attempt.task, attempt.fence.attempt, "artifact", &cause);
                }
            }
            Standing::Gone => self.gone(id, attempt),
        }
        self.ack(id, attempt, Assured::Artifact(name));
    }

    fn undelivered(&mut self, id: WorkerId, attempt: AttemptRef, name: String, why: &str) {
        match self.standing(id, attempt) {
            Standing::Newest(..) | Standing::Old => {
                // Remembered as an artifact without a digest.
                let key = (attempt, name.clone());
                if self.artifacts_seen.insert(key, String::new()).as_deref() != Some("") {
                    if self.artifacts_seen.len() > EVIDENCE_MAX {
                        self.artifacts_seen.pop_first();
                    }
                    let cause = Cause::new(&self.actor_of(id), format!("{name}: {why}"));
                    self.tell(attempt.task, attempt.fence.attempt, "artifact_undelivered", &cause);
                }
            }
            Standing::Gone => self.gone(id, attempt),
        }
        self.ack(id, attempt, Assured::Artifact(name));
    }
}

fn end_reason(how: &JobEnd) -> String {
    match how {
        JobEnd::Success => String::new(),
        JobEnd::Error(error) => error.message.clone(),
        JobEnd::Timeout(which) => format!("the {} limit ran out", which.name()),
        JobEnd::Stopped => "stopped".to_owned(),
    }
}
