//! Connections: each a stream in either direction, in order, delayed, stalled half-open, or cut with what was in
//! flight lost on either side. Two connections between the same two know nothing of each other: what the
//! old one carries may arrive after the new one was opened.

use std::collections::BTreeMap;

use crate::process::{Address, ConnId, ProcId};

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The process.
    pub proc: ProcId,
    /// Its life: a later one knows nothing of the connection.
    pub life: u32,
    /// Whether it still listens.
    pub open: bool,
    /// When the last packet towards this end arrives: none after it may come before.
    pub last_at: u64,
}

/// A connection.
#[derive(Debug, Clone)]
pub struct Conn {
    /// Who opened it, and who took it. The second is not known before it arrives there.
    pub ends: [Option<End>; 2],
    /// Where it goes.
    pub to: Address,
    /// The mean delay, in microseconds.
    pub delay_us: u64,
    /// Nothing arrives before this moment of the world, in either direction.
    pub stalled_until: u64,
    /// It was cut: nothing arrives any more.
    pub cut: bool,
}

impl Conn {
    /// Which end this process is.
    pub fn side_of(&self, proc: ProcId, life: u32) -> Option<usize> {
        self.ends.iter().position(|end| end.is_some_and(|end| end.proc == proc && end.life == life))
    }
}

/// All connections.
#[derive(Debug, Clone, Default)]
pub struct Net {
    /// By number.
    pub conns: BTreeMap<ConnId, Conn>,
    next: u64,
}

impl Net {
    /// Opens one.
    pub fn open(&mut self, from: End, to: Address, delay_us: u64) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        let ends = [Some(from), None];
        self.conns.insert(conn, Conn { ends, to, delay_us, stalled_until: 0, cut: false });
        conn
    }

    /// Nobody listens at either end any more.
    pub fn drop_closed(&mut self, conn: ConnId) {
        let is_over = |conn: &Conn| conn.ends.iter().flatten().all(|end| !end.open);
        if self.conns.get(&conn).is_some_and(is_over) {
            self.conns.remove(&conn);
        }
    }
}
