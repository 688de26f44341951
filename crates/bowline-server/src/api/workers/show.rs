//! From a worker's row and the leader's view of it to its document.

use bowline_api::{AsideDoc, ConnectionState, DrainDoc, HeldAttempt, Worker, from_core_time};
use bowline_core::answer::{Connection, WorkerView};
use bowline_core::id::AttemptRef;
use bowline_core::message::Exit;
use bowline_core::row::{AsideMark, DrainMark, WorkerRow};
use bowline_core::worker::{Capabilities, Health, Offer, Room};

use crate::api::show;
use crate::session::SessionCounts;

/// A worker as a document, without what is told of one alone.
pub(super) fn document(row: &WorkerRow, view: Option<&WorkerView>, sessions: &SessionCounts) -> Worker {
    let offer = view.and_then(|view| view.offer.clone()).or_else(|| row.offer.clone());
    let offer = offer.unwrap_or_else(|| Offer {
        capabilities: Capabilities::new(),
        actions: Vec::new(),
        room: Room::default(),
    });
    let used = view.map(|view| view.used.clone()).unwrap_or_default();
    let capability = |(key, value): (&bowline_core::name::Key, &Option<String>)| match value {
        None => key.to_string(),
        Some(value) => format!("{key}={value}"),
    };
    let amounts = |room: &Room| room.amounts.iter().map(|(name, amount)| (name.to_string(), *amount)).collect();
    Worker {
        name: row.name.to_string(),
        connection: view.map_or(ConnectionState::Away, |view| connection(view.connection)),
        incarnation: row.incarnation.0,
        version: view.and_then(|view| view.version.clone()),
        capabilities: offer.capabilities.iter().map(capability).collect(),
        actions: offer.actions,
        slots: offer.room.slots,
        slots_used: used.slots,
        amounts: amounts(&offer.room),
        amounts_used: amounts(&used),
        attempts: view.map(attempts).unwrap_or_default(),
        paused: show::paused(row.paused.as_ref()),
        drain: row.drain.as_ref().map(|mark| drain(mark, view)),
        aside: row.aside.as_ref().map(aside),
        pool: row.pool.as_ref().map(ToString::to_string),
        session_since: show::time(sessions.session_since(row.id)),
        silent_since: view.and_then(|view| show::time(view.silent_since)),
        broken: view.and_then(|view| match &view.health {
            Health::Ok => None,
            Health::Broken(why) => Some(why.clone()),
        }),
        heard_at: view.and_then(|view| show::time(view.heard_at)),
        enrolled_at: from_core_time(row.enrolled_at),
        vitals: None,
    }
}

fn attempts(view: &WorkerView) -> Vec<HeldAttempt> {
    let held = |attempt: &AttemptRef| {
        let doubt = view.doubtful.iter().find(|doubt| doubt.attempt == *attempt);
        HeldAttempt {
            task: attempt.task.to_string(),
            attempt: attempt.fence.attempt.0,
            doubtful: doubt.is_some(),
            lost_at: doubt.and_then(|doubt| show::time(doubt.lost_at)),
            of: None,
        }
    };
    view.attempts.iter().map(held).collect()
}

fn drain(mark: &DrainMark, view: Option<&WorkerView>) -> DrainDoc {
    DrainDoc {
        by: mark.by.0.to_string(),
        since: from_core_time(mark.since),
        mode: mark.mode,
        release_at: show::time(mark.release_at),
        exit: mark.exit == Exit::Yes,
        done: view.is_none_or(|view| view.attempts.is_empty()),
    }
}

fn aside(mark: &AsideMark) -> AsideDoc {
    AsideDoc { since: from_core_time(mark.since), try_at: from_core_time(mark.try_at), reason: mark.reason.clone() }
}

fn connection(connection: Connection) -> ConnectionState {
    match connection {
        Connection::Connected => ConnectionState::Connected,
        Connection::Suspect => ConnectionState::Suspect,
        Connection::Away => ConnectionState::Away,
    }
}
