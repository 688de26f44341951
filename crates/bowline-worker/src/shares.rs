//! Slots and amounts, shared among the servers that a worker serves. What a server may use is worked out
//! by the pure [`Ledger`]; [`Share`] is one server's hand on it.
//!
//! The rules, in order:
//!
//! 1. What has begun never takes more than there is (I4). Whatever is beyond waits here.
//! 2. Each server may use what the others do not hold.
//! 3. A server below its even share goes first when room is free. Where the others' tasks are short, it may
//!    also have its share before the room is free: it waits here for as long as one of them lasts. Where they
//!    are long, what is given back is offered to it alone for a moment ([`TURN`]).
//! 4. A server that is away, broken or leaving has no share; what it holds still counts.

mod ledger;

use std::sync::Arc;
use std::time::Duration;

use bowline_core::worker::Room;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Moment;
use ledger::Ledger;
pub(crate) use ledger::{Pace, Standing, Weight};

/// For so long free room is offered first to servers below their share.
pub(crate) const TURN: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Shares {
    ledger: Mutex<Ledger>,
    changed: watch::Sender<()>,
    /// Where there is only one there is nobody to tell.
    tells: bool,
}

/// One server's hand on what all share.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    own: usize,
    changes: watch::Receiver<()>,
}

/// A share for each of so many servers.
pub fn shares(room: &Room, servers: usize) -> Vec<Share> {
    let (changed, changes) = watch::channel(());
    let ledger = Mutex::new(Ledger::new(room.clone(), servers));
    let shares = Arc::new(Shares { ledger, changed, tells: servers > 1 });
    (0..servers).map(|own| Share { shares: Arc::clone(&shares), own, changes: changes.clone() }).collect()
}

impl Share {
    /// What this server may use now.
    pub(crate) fn allowance(&self, now: Moment) -> Room {
        self.shares.ledger.lock().allowance(self.own, now)
    }

    /// Whether an attempt that takes this may begin now. Where not, it waits, and others may give way.
    pub(crate) fn may_begin(&self, claim: &Room) -> bool {
        let mut ledger = self.shares.ledger.lock();
        let may = ledger.may_begin(self.own, claim);
        let told = ledger.waits(self.own, (!may).then_some(claim));
        drop(ledger);
        self.tell(told);
        may
    }

    /// Nothing waits to begin.
    pub(crate) fn nothing_waits(&self) {
        let told = self.shares.ledger.lock().waits(self.own, None);
        self.tell(told);
    }

    /// An attempt that takes this weighs otherwise now.
    pub(crate) fn moved(&self, claim: &Room, (from, to): (Weight, Weight), now: Moment) {
        if from != to {
            self.shares.ledger.lock().moved(self.own, claim, (from, to), now);
            self.tell(true);
        }
    }

    /// How this server stands, and how long its tasks are.
    pub(crate) fn stands(&self, standing: Standing, pace: Pace) {
        let told = self.shares.ledger.lock().stands(self.own, standing, pace);
        self.tell(told);
    }

    /// Whether others share.
    pub fn is_shared(&self) -> bool {
        self.shares.tells
    }

    /// Tells when something has changed here.
    pub fn watch(&self) -> Watch {
        Watch(self.changes.clone())
    }

    fn tell(&self, changed: bool) {
        if changed && self.shares.tells {
            self.shares.changed.send_replace(());
        }
    }
}

/// Tells when something has changed in what servers share: then each other one's dispatcher is to be told
/// ([`crate::dispatcher::Event::SharesChanged`]).
#[derive(Debug, Clone)]
pub struct Watch(watch::Receiver<()>);

impl Watch {
    /// Whether something has changed since this was asked last.
    pub fn is_news(&mut self) -> bool {
        let is_news = self.0.has_changed().unwrap_or(false);
        self.0.mark_unchanged();
        is_news
    }

    /// Ends when something has changed since it was asked last. Never, once nobody is left who could change it.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Share {
    /// A server that is not served any more holds nothing here: its jobs are its supervisor's.
    fn drop(&mut self) {
        self.shares.ledger.lock().leave(self.own);
        self.tell(true);
    }
}
