//! Why a worker is given nothing more.

use crate::answer::{Answer, Refusal, RefusalCode, Reply};
use crate::explain::{LANES_LISTED_MAX, LaneMiss, PausedThing, WorkerExplanation, WorkerReason};
use crate::mutant::{self, Mutant};
use crate::name::WorkerName;
use crate::row::PauseMark;
use crate::state::StateKind;
use crate::worker::{Health, Offer};

use super::super::Engine;
use super::super::lane::{Lane, LaneKey, Line};
use super::super::worker::{Suspect, Worker};
use super::{LISTED_MAX, full_worker};

impl Engine {
    /// Everything that keeps a worker from being given something.
    pub(in super::super) fn explain_worker(&self, name: &WorkerName) -> Reply {
        let worker = self.worker_names.get(name).and_then(|id| self.workers.get(id)).ok_or_else(|| {
            let message = format!("There is no worker `{name}`; look for it with `bowline worker list`.");
            Refusal::new(RefusalCode::NotFound, message)
        })?;
        let (lanes, all) = self.misses(worker);
        let mut reasons = self.unavailable_reasons(worker);
        reasons.extend(no_room(worker));
        let count = |kind: StateKind| {
            let counted = self.state_counts().into_iter().find(|(other, _)| *other == kind);
            counted.map_or(0, |(_, count)| count)
        };
        let waiting = count(StateKind::Waiting);
        let gangs = self.gangs.waiting();
        if gangs > 0 {
            let first: Vec<_> = self.gangs.first_waiting(LISTED_MAX);
            let more = gangs - first.len() as u64;
            reasons.push(WorkerReason::GangsWait { first, more });
        }
        if all == 0 && gangs > 0 {
            // Who is ready is told.
        } else if all == 0 {
            let (blocked, scheduled) = (count(StateKind::Blocked), count(StateKind::Scheduled));
            reasons.push(WorkerReason::NothingReady { waiting, blocked, scheduled });
        } else if !reasons.iter().any(|reason| !matches!(reason, WorkerReason::GangsWait { .. }))
            || worker.free_key().is_some()
        {
            reasons.push(WorkerReason::NothingFits { lanes: all });
        }
        Ok(Answer::WorkerExplained(Box::new(WorkerExplanation {
            worker: name.clone(),
            room: worker.room(),
            used: worker.held.used().clone(),
            attempts: worker.held.len() as u64,
            beyond: worker.held.beyond() as u64,
            reasons,
            more: all.saturating_sub(lanes.len() as u64),
            lanes,
            ready: count(StateKind::Ready),
            waiting,
        })))
    }

    /// Why it is given nothing whatever its room: everything that [`Worker::unavailable`] knows, not the first alone.
    fn unavailable_reasons(&self, worker: &Worker) -> Vec<WorkerReason> {
        let mut reasons = Vec::new();
        let row = &worker.row;
        let heard = worker.heard_at.unwrap_or(worker.lease_from);
        match &worker.session {
            None => reasons.push(WorkerReason::NotConnected { since: heard }),
            Some(session) => {
                if worker.suspect == Suspect::Yes {
                    reasons.push(WorkerReason::Suspect { since: heard });
                }
                if let Health::Broken(why) = &session.health {
                    reasons.push(WorkerReason::Broken { why: why.clone() });
                }
                if !session.pending.is_empty() {
                    reasons.push(WorkerReason::Delivering { attempts: session.pending.len() as u64 });
                }
            }
        }
        let by = |mark: &PauseMark| (mark.by.0.as_ref().to_owned(), mark.since);
        if let Some((by, since)) = row.paused.as_ref().map(by) {
            reasons.push(WorkerReason::Paused { by, since });
        }
        if let Some(mark) = row.drain.as_ref().filter(|_| !mutant::is(Mutant::DrainNotExplained)) {
            let (by, left) = (mark.by.0.as_ref().to_owned(), worker.held.len() as u64);
            reasons.push(WorkerReason::Drained { by, since: mark.since, mode: mark.mode, left });
        }
        if let Some(mark) = row.aside.as_ref().filter(|_| !(worker.trial.is_due() && worker.held.len() == 0)) {
            let why = mark.reason.clone();
            reasons.push(WorkerReason::PutAside { since: mark.since, until: mark.try_at, why });
        }
        if let Some((by, since)) = self.pauses.all().map(by) {
            reasons.push(WorkerReason::EverythingPaused { by, since });
        }
        reasons
    }

    /// What the lanes with ready tasks miss on it, nearest first, and how many lanes there are.
    fn misses(&self, worker: &Worker) -> (Vec<LaneMiss>, u64) {
        let lanes =
            self.lanes.occupied().filter_map(|id| self.lanes.get(id)).filter(|lane| !lane.key.is_held_by_server);
        let mut near: Vec<(usize, usize, Line, &Lane)> = lanes
            .filter_map(|lane| {
                let first = lane.first()?;
                let (never, now) = self.far(worker, &lane.key, &first);
                Some((never, now, first, lane))
            })
            .collect();
        near.sort_by_key(|(never, now, line, _)| (*never, *now, *line));
        let all = near.len() as u64;
        near.truncate(LANES_LISTED_MAX);
        (near.into_iter().map(|(.., line, lane)| self.miss(worker, lane, line)).collect(), all)
    }

    /// How much a lane misses on a worker: for ever, and now.
    fn far(&self, worker: &Worker, key: &LaneKey, first: &Line) -> (usize, usize) {
        let lacks = |offer: &Offer| {
            let missing = key.requires.iter().filter(|wanted| !offer.has(wanted)).count();
            let no_driver = usize::from(!offer.actions.iter().any(|action| action == key.action));
            let has = |name| offer.room.amounts.get(name).copied().unwrap_or(0);
            let small = key.room.iter().filter(|(name, wanted)| *wanted > has(name)).count();
            missing + no_driver + key.excluded(offer).len() + small + usize::from(key.slots > offer.room.slots)
        };
        let never = worker.row.offer.as_ref().map_or(0, lacks);
        (never, usize::from(never == 0 && self.takes(worker, key, first).is_none()))
    }

    fn miss(&self, worker: &Worker, lane: &Lane, line: Line) -> LaneMiss {
        let key = &lane.key;
        let offer = worker.row.offer.as_ref();
        let fits = offer.is_some_and(|offer| key.fits(offer));
        let short_of = if fits { full_worker(worker, key).short_of } else { Vec::new() };
        let kept = worker.kept.as_ref().filter(|_| fits && self.is_kept_from(worker, key, &line));
        let kept_for = kept.and_then(|kept| self.waits_there(kept.line));
        let takes_none = worker.is_meant(key) && kept_for.is_none() && worker.takes(key).is_none();
        let is_behind = fits && takes_none && short_of.is_empty();
        let paused = self.pauses.of(&key.namespace).map(|mark| {
            let what = PausedThing::Namespace(key.namespace.clone());
            (what, mark.by.0.as_ref().to_owned(), mark.since)
        });
        let view = self.lane_view(lane);
        let turn = self.tasks.get(&line.unit.task).and_then(|task| self.turn_of_others(task));
        LaneMiss {
            lane: view.name,
            namespace: key.namespace.clone(),
            ready: view.ready,
            first: line.unit,
            paused,
            missing: offer.map(|offer| key.missing(offer)).unwrap_or_default(),
            excluded: offer.map(|offer| key.excluded(offer)).unwrap_or_default(),
            away: !worker.is_meant(key),
            of_its_gang: self.apart_from(line.unit).get(&worker.row.id).copied(),
            kept_for,
            too_small: offer.map(|offer| key.too_small(&offer.room)).unwrap_or_default(),
            short_of,
            behind: if is_behind { worker.held.beyond() as u64 } else { 0 },
            fairness: self.quota_of(key).into_iter().chain(turn).collect(),
        }
    }
}

/// Its slots are all taken, or it asked for no more.
fn no_room(worker: &Worker) -> Option<WorkerReason> {
    let session = worker.session.as_ref()?;
    let held_by: Vec<_> = worker.held.attempts().take(LISTED_MAX).collect();
    let more = (worker.held.len() - held_by.len()) as u64;
    let (room, used) = (worker.room(), worker.held.used());
    let most = session.demand.as_ref().map(|(most, _)| u64::from(*most));
    if let Some(at_most) = most.filter(|most| worker.held.len() as u64 >= *most) {
        return Some(WorkerReason::NoMoreAsked { at_most, held_by, more });
    }
    let beyond = worker.held.beyond() as u64;
    (used.slots >= room.slots || beyond > 0).then(|| WorkerReason::NoSlot {
        slots: u64::from(room.slots),
        beyond,
        prefetch: u64::from(session.prefetch),
        held_by,
        more,
    })
}
