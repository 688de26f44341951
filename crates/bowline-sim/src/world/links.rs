//! Connections at work: opening, delays, closing, breaking.

use super::{Due, Role, World};
use crate::net::End;
use crate::process::{Address, Caller, CloseWhy, ConnId, Event, MachineId, Packet, ProcId};

/// Who hears nothing at all gives up a connection after so long. In microseconds.
const CONNECT_TIMEOUT_US: u64 = 10_000_000;

impl World {
    fn delay(&mut self, conn: ConnId) -> u64 {
        let mean = self.net.conns.get(&conn).map_or(0, |conn| conn.delay_us);
        let now = self.now;
        let arrives = now + mean / 2 + self.random.around(mean / 2);
        self.net.conns.get(&conn).map_or(arrives, |conn| arrives.max(conn.stalled_until))
    }

    pub(crate) fn connect(&mut self, from: ProcId, to: &Address, caller: Caller) -> ConnId {
        let mean = match to {
            Address::Cluster(_) => self.pace.link_us,
            Address::Supervisor { .. } => self.pace.local_us,
        };
        let end = End { proc: from, life: self.life(from), open: true, last_at: 0 };
        let conn = self.net.open(end, to.clone(), mean);
        if let Address::Cluster(cluster) = to {
            self.observer.opens(self.now, from, conn, *cluster);
        }
        if let Address::Supervisor { dir } = to {
            self.observer.opens_local(self.now, conn, dir);
        }
        let at = self.delay(conn);
        self.queue.push(at, Due::Opening { conn, caller });
        conn
    }

    fn listener(&mut self, from: ProcId, to: &Address) -> Option<ProcId> {
        match to {
            Address::Cluster(cluster) => self.clusters[cluster.0 as usize].route,
            Address::Supervisor { dir } => {
                let machine = self.machine_of(from);
                let role = |slot: &super::Slot| {
                    slot.machine == machine && matches!(&slot.role, Role::Supervisor { dir: of } if of == dir)
                };
                let found = self.slots.iter().position(role);
                let proc = match found {
                    Some(place) => ProcId(u32::try_from(place).unwrap_or(u32::MAX)),
                    None => self.add_process(Role::Supervisor { dir: dir.clone() }, machine),
                };
                self.start(proc);
                Some(proc)
            }
        }
    }

    pub(super) fn opening(&mut self, conn: ConnId, caller: Caller) {
        let Some(found) = self.net.conns.get(&conn) else { return };
        let (cut, to, from) = (found.cut, found.to.clone(), found.ends[0]);
        let Some(from) = from.filter(|from| from.open && self.life(from.proc) == from.life) else { return };
        let is_far = matches!(to, Address::Cluster(_));
        let away = self.machine(self.machine_of(from.proc)).cut_off_until.filter(|_| is_far).unwrap_or(0) > self.now;
        let listener = if cut || away { None } else { self.listener(from.proc, &to) };
        let listener = listener.filter(|proc| self.is_running(*proc));
        let Some(proc) = listener else {
            // Nobody answers at all, and whoever asks gives up; or somebody says that nobody is there.
            let at = if away { self.now + CONNECT_TIMEOUT_US } else { self.delay(conn) };
            self.queue.push(at, Due::Closing { conn, side: 0, why: CloseWhy::Broken });
            return;
        };
        let life = self.life(proc);
        if let Some(found) = self.net.conns.get_mut(&conn) {
            found.ends[1] = Some(End { proc, life, open: true, last_at: self.now });
        }
        // Whoever was started for it begins first.
        self.queue.push(self.now, Due::Handle { proc, life, event: Event::Opened { conn, caller } });
    }

    pub(crate) fn send(&mut self, from: ProcId, conn: ConnId, packet: Packet) {
        let life = self.life(from);
        let at = self.delay(conn);
        let Some(found) = self.net.conns.get_mut(&conn) else { return };
        let Some(side) = found.side_of(from, life) else { return };
        if !found.ends[side].is_some_and(|end| end.open) {
            return;
        }
        let other = 1 - side;
        // What is sent before the other side has taken the connection arrives after the opening.
        let at = match &mut found.ends[other] {
            Some(end) => {
                end.last_at = end.last_at.max(at);
                end.last_at
            }
            None => at + found.delay_us * 4,
        };
        self.observer.sends(self.now, from, conn, &packet);
        let to = found.ends[other].map(|end| end.proc);
        let due = self.wires.sent(self.now, (from, to, conn), &packet);
        if let Some((at, number)) = due {
            self.queue.push(at, Due::Other(number));
        }
        self.queue.push(at, Due::Arrival { conn, side: other, packet: Box::new(packet) });
    }

    pub(super) fn arrival(&mut self, conn: ConnId, side: usize, packet: Box<Packet>) {
        let Some(found) = self.net.conns.get(&conn) else { return };
        if found.cut {
            return;
        }
        if found.stalled_until > self.now {
            let at = found.stalled_until;
            self.queue.push(at, Due::Arrival { conn, side, packet });
            return;
        }
        let Some(end) = found.ends[side].filter(|end| end.open) else { return };
        if self.life(end.proc) != end.life || !self.is_running(end.proc) {
            return;
        }
        self.observer.arrives(self.now, end.proc, conn, &packet);
        self.hand_over(end.proc, end.life, Event::Arrived { conn, packet: *packet });
    }

    pub(crate) fn close(&mut self, from: ProcId, conn: ConnId, why: CloseWhy) {
        let life = self.life(from);
        let at = self.delay(conn);
        let Some(found) = self.net.conns.get_mut(&conn) else { return };
        let Some(side) = found.side_of(from, life) else { return };
        if let Some(end) = &mut found.ends[side] {
            end.open = false;
        }
        let at = found.ends[1 - side].map_or(at, |end| end.last_at.max(at));
        self.queue.push(at, Due::Closing { conn, side: 1 - side, why });
        self.net.drop_closed(conn);
    }

    pub(super) fn closing(&mut self, conn: ConnId, side: usize, why: CloseWhy) {
        let Some(found) = self.net.conns.get_mut(&conn) else { return };
        if found.stalled_until > self.now {
            let at = found.stalled_until;
            self.queue.push(at, Due::Closing { conn, side, why });
            return;
        }
        let Some(end) = &mut found.ends[side] else { return };
        let (proc, life, was_open) = (end.proc, end.life, end.open);
        end.open = false;
        self.net.drop_closed(conn);
        if was_open {
            self.hand_over(proc, life, Event::Closed { conn, why });
        }
    }

    /// A process is gone: what it sent still arrives, and then the other sides hear of it.
    pub(super) fn break_connections(&mut self, proc: ProcId, life: u32, why: &CloseWhy) {
        let mine = self.net.conns.iter().filter(|(_, conn)| conn.side_of(proc, life).is_some());
        let mine: Vec<ConnId> = mine.map(|(conn, _)| *conn).collect();
        for conn in mine {
            let at = self.delay(conn);
            let Some(found) = self.net.conns.get_mut(&conn) else { continue };
            let Some(side) = found.side_of(proc, life) else { continue };
            if let Some(end) = &mut found.ends[side] {
                end.open = false;
            }
            let at = found.ends[1 - side].map_or(at, |end| end.last_at.max(at));
            self.queue.push(at, Due::Closing { conn, side: 1 - side, why: why.clone() });
            self.net.drop_closed(conn);
        }
    }

    /// A machine is gone without a word: nothing of what is under way arrives, not what the kernel still had of processes that
    /// died before it either, and nobody is told.
    pub(super) fn mute_connections(&mut self, proc: ProcId) {
        let is_its = |conn: &crate::net::Conn| conn.ends.iter().flatten().any(|end| end.proc == proc);
        for conn in self.net.conns.values_mut().filter(|conn| is_its(conn)) {
            conn.cut = true;
        }
    }

    /// Cuts a connection: what is in flight is lost in both directions. Each end hears of it after so long, or
    /// never (`None`): it believes that the connection stands.
    pub fn cut(&mut self, conn: ConnId, heard_after: [Option<u64>; 2]) {
        let Some(found) = self.net.conns.get_mut(&conn) else { return };
        found.cut = true;
        for (side, after) in heard_after.into_iter().enumerate() {
            if let Some(after) = after {
                self.queue.push(self.now + after, Due::Closing { conn, side, why: CloseWhy::Broken });
            }
        }
    }

    /// Nothing that this process has sent and that is under way arrives any more.
    pub fn silence(&mut self, proc: ProcId) {
        for conn in self.net.conns.values_mut() {
            conn.cut |= conn.ends[0].is_some_and(|end| end.proc == proc);
        }
    }

    /// A machine is cut off for so long: nothing gets in or out, and whoever is in the middle of something waits.
    pub fn cut_off(&mut self, machine: MachineId, length_us: u64) {
        let until = self.now + length_us;
        self.machine_mut(machine).cut_off_until = Some(until);
        let touches = |conn: &crate::net::Conn| {
            matches!(conn.to, Address::Cluster(_))
                && conn.ends.iter().flatten().any(|end| self.slots[end.proc.0 as usize].machine == machine)
        };
        let conns: Vec<ConnId> = self.net.conns.iter().filter(|(_, conn)| touches(conn)).map(|(id, _)| *id).collect();
        for conn in conns {
            self.stall_link(conn, length_us);
        }
    }

    /// Nothing arrives over a connection for so long; nothing is lost.
    pub fn stall_link(&mut self, conn: ConnId, length_us: u64) {
        let until = self.now + length_us;
        if let Some(found) = self.net.conns.get_mut(&conn) {
            found.stalled_until = found.stalled_until.max(until);
        }
    }
}
