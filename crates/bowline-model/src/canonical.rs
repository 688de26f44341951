//! What nothing can tell apart is one state.
//!
//! Every rule here leaves out only what no promise and no later step looks at: an invariant broken in a state that is left out
//! is broken in the one that stands for it, or in one that follows.

use crate::message::{Attempt, CLAIMS_MAX, Claims, Message, Messages, What};
use crate::server::Task;
use crate::world::{Job, State, everybody};
use crate::{FORBID, Flaw, TASKS, Troubles};

impl Troubles {
    /// Whether the server can still fall behind what it has decided.
    fn may_forget(self) -> bool {
        self.server_crashes > 0 || self.restores > 0
    }

    /// Whether a session can still end.
    fn may_hang_up(self) -> bool {
        self.may_forget() || self.cuts > 0 || self.handovers > 0 || self.reboots > 0
    }
}

impl State {
    /// The state that stands for all that are like this one.
    pub(super) fn canonical(mut self) -> Self {
        self.do_what_cannot_matter();
        self.forget_what_nobody_asks_for();
        self.forget_what_is_dead();
        self.forget_what_is_over();
        let this = self.renumbered();
        this.min(this.swapped())
    }

    /// Every state apart, but for the numbers of claims and sessions, which would never end.
    pub(super) fn renumbered(mut self) -> Self {
        self.renumber_claims();
        everybody().for_each(|worker| self.renumber_sessions(worker));
        self
    }

    /// When the server cannot die any more, a commit that waits is a message that is slow. A Welcome that stops nothing
    /// only lets other messages through, which may be slow themselves. When no session can end any more, nobody sees when
    /// an acknowledgement arrives.
    fn do_what_cannot_matter(&mut self) {
        if !self.troubles.may_forget() && self.server.flaw != Flaw::EffectBeforeCommit {
            self.commit();
        }
        let network = self.network;
        for message in &network {
            let jobs = &self.workers[usize::from(message.worker)].jobs;
            let is_seen = match message.what {
                What::Welcome(stop) => {
                    jobs.iter().any(|(attempt, job)| *job == Job::Running && stop & attempt.bit() != 0)
                }
                What::Ack(_) => self.troubles.may_hang_up() || self.server.flaw == Flaw::AckSettlesAll,
                What::Hello | What::Finished(_) | What::Assign(_) => true,
            };
            if !is_seen {
                self.arrive(*message);
            }
        }
    }

    /// Jobs that no store that there is, or can be again, will ever take for one of its own: what is over of these may as
    /// well be settled, and what runs of an older generation is not looked at.
    fn forget_what_nobody_asks_for(&mut self) {
        if self.server.flaw == Flaw::AckSettlesAll {
            // Its acknowledgement does something all the same.
            return;
        }
        let this = *self;
        for of in &mut self.workers {
            for (attempt, job) in of.jobs.as_mut_slice() {
                let is_old = attempt.generation != this.server.store.generation;
                let is_looked_at = !is_old && (*job == Job::Running || !this.server.store.knows(*attempt));
                if !is_looked_at && this.server.never_asks_for(*attempt) {
                    *job = Job::Settled;
                }
            }
        }
    }

    /// A task that is over in every store that there is stays so, and nothing can come of it any more once no assignment of it
    /// is on its way.
    fn forget_what_is_over(&mut self) {
        let mut is_all_over = true;
        for task in 0..TASKS {
            let assigned = self.messages().any(|message| matches!(message.what, What::Assign(it) if it.task() == task));
            if assigned || !self.server.is_over(task) {
                is_all_over = false;
                continue;
            }
            self.ended[task] = false;
            if task == FORBID {
                self.is_made = false;
            } else if self.server.flaw != Flaw::LeaseFreesForbidden {
                self.troubles.losses = 0;
            }
        }
        let is_broken = self.running(FORBID) > 1 || !self.jobs().all(|(attempt, _)| self.server.store.knows(attempt));
        if is_all_over && !is_broken {
            self.server.close();
            (self.workers, self.network, self.troubles) = Default::default();
        }
    }

    /// Messages that would do nothing whenever they came, lost attempts that nobody has, and ended ones that nobody asks for.
    fn forget_what_is_dead(&mut self) {
        let this = *self;
        self.network.retain(|message| this.is_alive(*message));
        self.server.held.retain(|message| this.is_alive(*message));
        let this = *self;
        for task in self.server.stores_mut().flat_map(|store| &mut store.tasks) {
            if let Task::Ready { lost, .. } = task {
                *lost = lost.filter(|lost| this.is_held_by_anybody(*lost));
            }
        }
        for (worker, of) in everybody().zip(&mut self.workers) {
            let is_asked_for = |attempt: Attempt| {
                this.messages().any(|message| message.worker == worker && message.what == What::Assign(attempt))
            };
            of.jobs.retain(|(attempt, job)| *job != Job::Settled || is_asked_for(*attempt));
        }
    }

    fn messages(&self) -> impl Iterator<Item = &Message> {
        self.network.iter().chain(self.server.held.iter())
    }

    pub(super) fn is_alive(&self, message: Message) -> bool {
        let of = &self.workers[usize::from(message.worker)];
        let newest = self.server.sessions[usize::from(message.worker)];
        let is_of_session = message.session == of.session;
        // With this flaw it is about other attempts, too.
        let is_over = |attempt| of.job(attempt) == Some(Job::Over) || self.server.flaw == Flaw::AckSettlesAll;
        match message.what {
            What::Hello => message.session > newest,
            What::Finished(attempt) => {
                let is_asked_for = self.server.would_end(attempt).is_some() || is_over(attempt);
                message.session == newest && is_asked_for
            }
            What::Welcome(_) => is_of_session && !of.is_welcome,
            What::Assign(_) => is_of_session || self.server.flaw == Flaw::StaleAssignBegun,
            What::Ack(attempt) => is_of_session && is_over(attempt),
        }
    }

    /// Whether a worker has the lost attempt, or one that the server takes for it, or will.
    fn is_held_by_anybody(&self, lost: Attempt) -> bool {
        let jobs = self.workers.iter().flat_map(|of| of.jobs.iter());
        let jobs = jobs.filter(|(_, job)| *job != Job::Settled).map(|(attempt, _)| *attempt);
        let said = self.messages().filter_map(|message| match message.what {
            What::Assign(attempt) | What::Finished(attempt) => Some(attempt),
            What::Hello | What::Welcome(_) | What::Ack(_) => None,
        });
        jobs.chain(said).any(|attempt| self.server.is_same(attempt, lost))
    }

    /// Everything that names an attempt.
    fn attempts_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        let server = &mut self.server;
        let messages = self.network.as_mut_slice().iter_mut().chain(server.held.as_mut_slice());
        let said = messages.filter_map(|message| match &mut message.what {
            What::Assign(attempt) | What::Finished(attempt) | What::Ack(attempt) => Some(attempt),
            What::Hello | What::Welcome(_) => None,
        });
        let stores = [&mut server.store, &mut server.memory].into_iter().chain(&mut server.backup);
        let stores = stores.flat_map(crate::server::Store::attempts_mut);
        let jobs = self.workers.iter_mut().flat_map(|of| of.jobs.as_mut_slice()).map(|(attempt, _)| attempt);
        said.chain(stores).chain(jobs)
    }

    /// A claim's number that nothing knows of.
    pub(super) fn unused_claim(mut self, task: u8) -> u8 {
        let used =
            self.attempts_mut().filter(|attempt| attempt.task == task).fold(0, |used, attempt| used | attempt.bit());
        let unused = (!(used >> (task * CLAIMS_MAX))).trailing_zeros();
        u8::try_from(unused).ok().filter(|unused| *unused < CLAIMS_MAX).expect("claims in mind are bounded")
    }

    /// Claims are told apart by their numbers, and which numbers these are is of no interest.
    fn renumber_claims(&mut self) {
        let used: Claims = self.attempts_mut().fold(0, |used, attempt| used | attempt.bit());
        let running = self.workers.iter().flat_map(|of| of.jobs.iter()).filter(|(_, job)| *job == Job::Running);
        let running = running.fold(0, |running, (attempt, _)| running | attempt.bit());
        let of_task =
            |bit: Claims| if bit < 1 << CLAIMS_MAX { (1 << CLAIMS_MAX) - 1 } else { !((1 << CLAIMS_MAX) - 1) };
        // How many there are before it, in its task.
        let place = |bit: Claims| (used & of_task(bit) & (bit - 1)).count_ones();
        let moved = |claims: Claims| {
            let bits = (0..Claims::BITS).map(|place| 1 << place).filter(|bit| claims & used & bit != 0);
            bits.fold(0, |moved, bit| {
                moved | 1 << (place(bit) + if bit < 1 << CLAIMS_MAX { 0 } else { u32::from(CLAIMS_MAX) })
            })
        };
        self.server.store.recorded = moved(self.server.store.recorded);
        self.server.memory.recorded = moved(self.server.memory.recorded);
        for message in self.network.as_mut_slice().iter_mut().chain(self.server.held.as_mut_slice()) {
            if let What::Welcome(stop) = &mut message.what {
                *stop = moved(*stop & running);
            }
        }
        for attempt in self.attempts_mut() {
            attempt.claim = u8::try_from(place(attempt.bit())).unwrap_or(attempt.claim);
        }
    }

    /// Sessions are told apart by their numbers, and which numbers these are is of no interest.
    fn renumber_sessions(&mut self, worker: u8) {
        let index = usize::from(worker);
        let mine = |message: &&Message| message.worker == worker;
        let known = [self.server.sessions[index], self.workers[index].session];
        let known = self.messages().filter(mine).map(|message| message.session).chain(known);
        let known: u64 = known.fold(0, |known, session| known | 1 << session) & !1;
        let new = |session: u8| {
            let before = known & ((1 << session) - 1);
            if session == 0 { 0 } else { u8::try_from(before.count_ones() + 1).unwrap_or(session) }
        };
        self.server.sessions[index] = new(self.server.sessions[index]);
        self.workers[index].session = new(self.workers[index].session);
        for message in self.network.as_mut_slice().iter_mut().chain(self.server.held.as_mut_slice()) {
            if message.worker == worker {
                message.session = new(message.session);
            }
        }
    }

    /// The same, with the workers' numbers exchanged: which of the two is called the first makes no difference.
    fn swapped(mut self) -> Self {
        self.workers.reverse();
        self.server.swap_workers();
        swap(&mut self.network);
        swap(&mut self.server.held);
        self
    }
}

fn swap(messages: &mut Messages) {
    for message in messages.as_mut_slice() {
        message.worker = 1 - message.worker;
    }
    messages.sort();
}
