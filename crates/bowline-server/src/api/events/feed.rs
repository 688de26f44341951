//! All events after a place: first those that the store keeps, then live ones.
//!
//! The live side is subscribed to before the store is read, so nothing falls between the two; what
//! comes on both is told by its place, and given once. A reader that is slower than the live side
//! goes back to the store.

use std::collections::VecDeque;

use bowline_api::EventId;
use bowline_core::id::CommitNo;
use bowline_core::row::HistoryRow;
use bowline_leader::Committed;
use bowline_store::EventPage;
use tokio::sync::broadcast::{self, error::RecvError};

use super::gone;
use crate::api::fault::Fault;
use crate::api::shell::Shell;

/// Events read from the store at a time.
const PAGE: usize = 1_000;

/// An event and its place.
pub(super) struct Item {
    pub(super) id: EventId,
    pub(super) row: HistoryRow,
}

/// Where the next events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Store,
    Live,
}

/// All events after a place.
pub(super) struct Feed {
    shell: Shell,
    live: broadcast::Receiver<Committed>,
    last: EventId,
    source: Source,
    ready: VecDeque<Item>,
}

impl Feed {
    /// Events after this one; without it, from now on.
    pub(super) async fn open(shell: Shell, after: Option<EventId>) -> Result<Self, Fault> {
        let live = shell.app.leader.events();
        let head = shell.read(|store| Ok(store.commit_no()?)).await?;
        let (last, source) = match after {
            None => (EventId { commit: head.0, index: u32::MAX }, Source::Live),
            Some(after) if after.commit > head.0 => return Err(gone()),
            Some(after) => (after, Source::Store),
        };
        let mut feed = Self { shell, live, last, source, ready: VecDeque::new() };
        if feed.source == Source::Store {
            // Read at once, so that what is no longer kept is an answer and not a broken stream.
            feed.read_store().await?;
        }
        Ok(feed)
    }

    /// The place after which it goes on: of the event given last.
    pub(super) fn last(&self) -> EventId {
        self.ready.front().map_or(self.last, |_| self.before_ready())
    }

    pub(super) fn shell(&self) -> &Shell {
        &self.shell
    }

    /// The next event. `None`: the server goes down.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, Fault> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            match self.source {
                Source::Store => self.read_store().await?,
                Source::Live => {
                    let next = tokio::select! {
                        () = self.shell.app.stopping.cancelled() => return Ok(None),
                        next = self.live.recv() => next,
                    };
                    match next {
                        Ok(committed) => self.take(&committed),
                        Err(RecvError::Lagged(_)) => self.source = Source::Store,
                        Err(RecvError::Closed) => return Ok(None),
                    }
                }
            }
        }
    }

    /// Reads one page; at the store's end what comes live is next.
    async fn read_store(&mut self) -> Result<(), Fault> {
        let after = (CommitNo(self.last.commit), self.last.index);
        let page = self.shell.read(move |store| Ok(store.events(Some(after), PAGE)?)).await?;
        let EventPage::Events(events) = page else { return Err(gone()) };
        if events.is_empty() {
            self.source = Source::Live;
        }
        for (commit, index, row) in events {
            self.push(EventId { commit: commit.0, index }, row);
        }
        Ok(())
    }

    fn take(&mut self, committed: &Committed) {
        for (index, row) in (0_u32..).zip(committed.events.iter()) {
            let id = EventId { commit: committed.commit_no.0, index };
            if id > self.last {
                self.push(id, row.clone());
            }
        }
    }

    fn push(&mut self, id: EventId, row: HistoryRow) {
        self.last = id;
        self.ready.push_back(Item { id, row });
    }

    /// The place right before the first event that waits to be given.
    fn before_ready(&self) -> EventId {
        match self.ready.front().map(|item| item.id) {
            Some(EventId { commit, index: 0 }) => EventId { commit: commit.saturating_sub(1), index: u32::MAX },
            Some(EventId { commit, index }) => EventId { commit, index: index - 1 },
            None => self.last,
        }
    }
}
