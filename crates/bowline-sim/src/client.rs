//! A client: asks its cluster, asks again where no answer comes, and never dies. The world is told what it was
//! answered by whoever watches.

use std::any::Any;
use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::answer::RefusalCode;
use bowline_core::input::Request;
use bowline_core::name::Actor;

use crate::process::{Address, Caller, CloseWhy, ClusterId, ConnId, Event, Io, Packet, Process};

/// Without an answer for so long it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(7);
/// It gives up after so many tries.
const TRIES_MAX: u32 = 30;

/// [`Event::Woken`] with this: it asks again what it has asked last, answered or not, at once.
pub const ASK_TWICE: u64 = u64::MAX;

/// A question without an answer yet.
#[derive(Debug)]
struct Open {
    request: Request,
    conn: Option<ConnId>,
    tries: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    cluster: ClusterId,
    asked: u64,
    open: BTreeMap<u64, Open>,
    /// What it has asked last.
    last: Option<(u64, Request)>,
}

impl Client {
    /// Of this cluster.
    pub const fn new(cluster: ClusterId) -> Self {
        Self { cluster, asked: 0, open: BTreeMap::new(), last: None }
    }

    /// Questions without an answer.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    fn ask(&mut self, io: &mut Io<'_>, number: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        open.tries += 1;
        if open.tries > TRIES_MAX {
            self.open.remove(&number);
            return;
        }
        if let Some(old) = open.conn.take() {
            io.close(old, CloseWhy::Done);
        }
        let conn = io.connect(&Address::Cluster(self.cluster), Caller::Client);
        open.conn = Some(conn);
        let actor = Actor::new("ada");
        io.send(conn, Packet::Ask { number, actor, request: open.request.clone() });
        io.wake(ASK_AGAIN, number << 8 | u64::from(open.tries));
    }

    fn lost(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let number = self.open.iter().find(|(_, open)| open.conn == Some(conn)).map(|(number, _)| *number);
        let Some((number, open)) = number.and_then(|number| Some((number, self.open.get_mut(&number)?))) else {
            return;
        };
        open.conn = None;
        let tries = open.tries;
        io.wake(Duration::from_millis(500), number << 8 | u64::from(tries));
    }
}

impl Process for Client {
    fn handle(&mut self, io: &mut Io<'_>, event: Event) {
        match event {
            Event::Do(request) => {
                self.asked += 1;
                self.last = Some((self.asked, (*request).clone()));
                self.open.insert(self.asked, Open { request: *request, conn: None, tries: 0 });
                self.ask(io, self.asked);
            }
            Event::Woken(ASK_TWICE) => {
                if let Some((number, request)) = self.last.clone() {
                    let conn = io.connect(&Address::Cluster(self.cluster), Caller::Client);
                    io.send(conn, Packet::Ask { number, actor: Actor::new("ada"), request });
                }
            }
            Event::Woken(token) => {
                let (number, tries) = (token >> 8, token & 0xff);
                if self.open.get(&number).is_some_and(|open| u64::from(open.tries) == tries) {
                    self.ask(io, number);
                }
            }
            Event::Arrived { conn, packet: Packet::Answer { number, reply } } => {
                io.close(conn, CloseWhy::Done);
                let again = matches!(&reply, Err(refusal) if matches!(
                    refusal.code,
                    RefusalCode::NotLeading | RefusalCode::RolledBack | RefusalCode::Busy
                ));
                if again {
                    self.lost(io, conn);
                } else {
                    self.open.remove(&number);
                }
            }
            Event::Closed { conn, .. } => self.lost(io, conn),
            Event::Begin
            | Event::Timer
            | Event::Opened { .. }
            | Event::Arrived { .. }
            | Event::Written { .. }
            | Event::Committed { .. }
            | Event::Swept { .. }
            | Event::JobEnded { .. }
            | Event::Term => {}
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
