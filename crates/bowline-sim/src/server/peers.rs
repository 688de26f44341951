//! Who is connected to a simulated server: clients, workers that have not said Hello, and sessions.

use std::collections::BTreeMap;

use bowline_core::id::SessionId;
use bowline_core::input::TokenRole;
use bowline_core::name::{PoolName, WorkerName};
use bowline_store::{MemoryStore, ReadStore};

use crate::process::{Caller, CloseWhy, ConnId, Io};

/// Whoever is at the other end.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    /// Asks.
    Client,
    /// A worker whose key was checked, before its Hello; or a second stream, on which none is said.
    Greeting { name: WorkerName, pool: Option<PoolName>, key: [u8; 32] },
    /// A worker's session.
    Session(SessionId),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_conn: BTreeMap<ConnId, Peer>,
    sessions: BTreeMap<SessionId, ConnId>,
}

impl Peers {
    /// Somebody has connected. A worker's key is checked before it is heard.
    pub(super) fn opened(&mut self, io: &mut Io<'_>, store: &MemoryStore, conn: ConnId, caller: Caller) {
        let peer = match caller {
            Caller::Client => Peer::Client,
            Caller::Local => return io.close(conn, CloseWhy::Broken),
            Caller::Worker { worker, pool, key } => {
                if !opens(store, &worker, pool.as_ref(), &key) {
                    return io.close(conn, CloseWhy::UnknownKey);
                }
                Peer::Greeting { name: worker, pool, key }
            }
        };
        self.by_conn.insert(conn, peer);
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Peer> {
        self.by_conn.get(&conn)
    }

    pub(super) fn conn_of(&self, session: SessionId) -> Option<ConnId> {
        self.sessions.get(&session).copied()
    }

    /// Its Hello was said.
    pub(super) fn welcome(&mut self, conn: ConnId, session: SessionId) {
        self.by_conn.insert(conn, Peer::Session(session));
        self.sessions.insert(session, conn);
    }

    /// The other side is gone. The session that is over with it.
    pub(super) fn closed(&mut self, conn: ConnId) -> Option<SessionId> {
        match self.by_conn.remove(&conn) {
            Some(Peer::Session(session)) => {
                self.sessions.remove(&session);
                Some(session)
            }
            Some(Peer::Client | Peer::Greeting { .. }) | None => None,
        }
    }

    /// Closes a connection. The session that is over with it.
    pub(super) fn end(&mut self, io: &mut Io<'_>, conn: ConnId, why: CloseWhy) -> Option<SessionId> {
        io.close(conn, why);
        self.closed(conn)
    }

    /// Closes every worker's connection.
    pub(super) fn end_workers(&mut self, io: &mut Io<'_>, why: &str) -> Vec<SessionId> {
        let is_worker = |peer: &Peer| matches!(peer, Peer::Greeting { .. } | Peer::Session(_));
        let workers = self.by_conn.iter().filter(|(_, peer)| is_worker(peer)).map(|(conn, _)| *conn);
        let workers: Vec<ConnId> = workers.collect();
        let over = |conn| self.end(io, conn, CloseWhy::Unavailable(why.to_owned()));
        workers.into_iter().filter_map(over).collect()
    }
}

/// Whether a key opens what its bearer names, as the real server looks it up.
fn opens(store: &MemoryStore, worker: &WorkerName, pool: Option<&PoolName>, key: &[u8; 32]) -> bool {
    let Some(pool) = pool else {
        let row = store.worker(worker).ok().flatten();
        return row.is_some_and(|row| row.pool.is_none() && row.key == *key);
    };
    let token = store.token(key).ok().flatten();
    token.is_some_and(|token| token.role == TokenRole::Member && token.pool.as_ref() == Some(pool))
}
