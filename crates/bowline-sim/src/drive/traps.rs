//! What goes wrong between two steps: wires are laid, and when one is touched, something breaks at once. And faults
//! that are made of several.

use bowline_core::id::TaskRef;
use bowline_core::input::TaskVerb;
use bowline_core::time::Timestamp;

use super::inject::SECOND;
use super::{Drive, LATER, Later};
use crate::clock::WALL_START_US;
use crate::process::{ClusterId, Event};
use crate::random::Random;
use crate::workload::spec::Moment;
use crate::workload::theme::About;
use crate::workload::verbs::{Desk, verb};
use crate::world::{Role, Tripped, When};

/// What follows when a wire is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trap {
    KillAtStart,
    KillAtKill,
    EndAtKill,
    CutAtReport,
    LeaveAtAssign,
    KillAtStep,
    LateAnswer,
    AtEnd,
    RetryAtClose,
}

impl Trap {
    fn when(self) -> When {
        match self {
            Self::KillAtStart => When::Start,
            Self::KillAtKill | Self::EndAtKill => When::Kill,
            Self::CutAtReport | Self::AtEnd => When::Report,
            Self::LeaveAtAssign => When::Assign,
            Self::KillAtStep => When::Step,
            Self::LateAnswer => When::Answer,
            Self::RetryAtClose => When::Close,
        }
    }
}

impl Drive {
    /// Lays a wire for this happening.
    pub(super) fn lay(&mut self, trap: Trap, happening: u32, random: &mut Random) -> bool {
        let pace = &self.shape.pace;
        let most = match trap {
            Trap::KillAtStart | Trap::KillAtKill => 400,
            // What is evaluated follows the end.
            Trap::AtEnd if self.is_about(About::Runs) => pace.link_us * 2 + pace.commit_us * 2 + 3_000,
            Trap::EndAtKill | Trap::LateAnswer | Trap::AtEnd | Trap::RetryAtClose => 0,
            Trap::CutAtReport => pace.link_us * 2 + pace.commit_us * 2,
            Trap::LeaveAtAssign => pace.link_us,
            Trap::KillAtStep => 2_000,
        };
        let delay = random.below(most + 1);
        self.later_count += 1;
        let number = LATER + self.later_count;
        self.later.insert(number, Later::Trap(trap, happening));
        self.world.wires.lay(trap.when(), number, delay);
        true
    }

    fn is_about(&self, about: About) -> bool {
        self.shape.theme.as_ref().is_some_and(|theme| theme.about == about)
    }

    /// A wire was touched.
    pub(super) fn sprung(&mut self, trap: Trap, happening: u32, number: u64) {
        let Some(tripped) = self.world.wires.take(number) else { return };
        // What was drawn when it was laid is not drawn again.
        let random = &mut Random::new(self.setup.seed, 2_000_000 + u64::from(happening));
        self.world.note_world(format_args!("{trap:?} is sprung"));
        match trap {
            Trap::KillAtStart => self.kill_pair(&tripped, random),
            Trap::KillAtKill => {
                if let Some(supervisor) = tripped.to {
                    self.world.kill(supervisor);
                }
            }
            Trap::EndAtKill => {
                if let Some(key) = &tripped.key {
                    self.world.ends_now(tripped.from, key);
                }
            }
            Trap::CutAtReport => {
                if let Some(conn) = tripped.conn {
                    let after = [Some(random.below(SECOND)), Some(random.below(SECOND))];
                    self.world.cut(conn, after);
                }
            }
            Trap::LeaveAtAssign => {
                if let Some(worker) = tripped.to {
                    if random.per_mille(600) {
                        self.world.tell(worker, Event::Term);
                    } else {
                        self.world.stall(worker, random.between(21, 60) * SECOND);
                    }
                }
            }
            Trap::KillAtStep => {
                self.world.kill(tripped.from);
                self.start_in(tripped.from, random.below(3 * SECOND));
            }
            Trap::LateAnswer => self.late_answer(&tripped, random),
            Trap::AtEnd => self.at_end(&tripped, random),
            Trap::RetryAtClose => self.retry_at_close(&tripped),
        }
    }

    fn kill_pair(&mut self, tripped: &Tripped, random: &mut Random) {
        let which = random.below(3);
        if which != 1
            && let Some(supervisor) = tripped.to
        {
            self.world.kill(supervisor);
        }
        if which != 0 {
            self.world.kill(tripped.from);
            self.start_in(tripped.from, random.below(3 * SECOND));
        }
    }

    /// The answer is heard late, and then the worker is cut off.
    fn late_answer(&mut self, tripped: &Tripped, random: &mut Random) {
        let Some((conn, worker)) = tripped.conn.zip(tripped.to) else { return };
        let late = random.between(4, 18) * SECOND;
        self.world.stall_link(conn, late);
        let machine = self.world.slots[worker.0 as usize].machine;
        self.later(late + 1, Later::CutOff(machine, random.between(60, 120) * SECOND));
    }

    /// Somebody asks for something while the end is on its way.
    fn at_end(&mut self, tripped: &Tripped, random: &mut Random) {
        let Some((attempt, server)) = tripped.attempt.zip(tripped.to) else { return };
        let Role::Server { cluster, .. } = self.world.slots[server.0 as usize].role else { return };
        if let Some(conn) = tripped.conn.filter(|_| random.per_mille(700) && !self.is_about(About::Runs)) {
            // Whoever asks has to connect first: the report arrives at about the same moment.
            let (link, commit) = (self.shape.pace.link_us, self.shape.pace.commit_us);
            let late = (link * 5).saturating_sub(random.below(commit * 2 + 1)) + random.below(link * 2 + 1);
            self.world.stall_link(conn, late);
        }
        let now = self.world.now;
        let moment = Moment { now: Timestamp(WALL_START_US + now), at_us: now };
        let workers = self.worker_names(cluster);
        let tastes = self.shape.tastes.clone();
        let book = &self.check().view(cluster).book;
        let request = Desk { book, tastes: &tastes, moment, workers: &workers }.crossing(attempt.task, random);
        self.vouch(cluster, &request);
        self.ask(cluster, request);
    }

    /// Somebody has the array tried again that has ended in the server, and not yet in the store.
    fn retry_at_close(&mut self, tripped: &Tripped) {
        let Role::Server { cluster, .. } = self.world.slots[tripped.from.0 as usize].role else { return };
        let Some(task) = tripped.task else { return };
        let request = verb(TaskRef::whole(task), TaskVerb::Retry);
        self.vouch(cluster, &request);
        self.ask(cluster, request);
    }

    /// A worker is cut off; and its server stands still meanwhile, or another one takes over.
    pub(super) fn deaf(&mut self, cluster: ClusterId, random: &mut Random) -> bool {
        let Some((proc, place)) = self.leading(cluster).zip(self.a_worker(random)) else { return false };
        let length = random.between(8, 90);
        self.world.cut_off(self.staff[place].machine, (length + random.between(4, 30)) * SECOND);
        if random.per_mille(600) {
            self.world.stall(proc, length * SECOND);
        } else {
            self.world.kill(proc);
            self.start_in(proc, random.below(3 * SECOND));
        }
        true
    }

    pub(super) fn term_supervisor(&mut self, random: &mut Random) -> bool {
        let Some(place) = self.a_worker(random) else { return false };
        let Some(supervisor) = random.one_of(&self.supervisors_of(place)).copied() else { return false };
        self.world.tell(supervisor, Event::Term);
        if random.per_mille(500) {
            self.world.tell(supervisor, Event::Term);
        }
        true
    }

    /// Somebody moves a worker's damaged journals away, as its message says, and starts it again.
    pub(super) fn lose_journal(&mut self, random: &mut Random) -> bool {
        let Some(place) = self.a_worker(random) else { return false };
        let proc = self.staff[place].proc;
        self.world.kill(proc);
        self.world.lose_batches(proc);
        self.check().journal_lost(proc);
        self.start_in(proc, random.below(4 * SECOND));
        true
    }
}
