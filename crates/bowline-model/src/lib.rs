//! The smallest model of how work changes hands: one server, two workers, two tasks, and everything
//! that can go wrong between them, tried in every order.
//!
//! The model is written from the protocol's text, not from the engine's code, so that a mistake of
//! one is not a mistake of the other. Task 0 may overlap (`overlap: allow`), task 1 may not
//! (`overlap: forbid`). Each claim has a number that no part of the protocol sees: by it the
//! properties tell whether a report ended the attempt that it was about.
//!
//! A message that is lost is one that never arrives, so that any number of them are lost in every search; what was sent
//! over a connection that breaks is lost for good. A worker's crash is a connection that breaks, because its journal
//! has all that counts. What no promise and no later step can tell apart is one state ([`State`] is made canonical after
//! each step): which worker is called the first, which numbers claims and sessions have, when it is heard what
//! changes nothing. That this hides nothing is searched, too ([`States::Each`]). Bounds: each kind of trouble as often as
//! [`Troubles`] says, two attempts of a task as its row counts them; none of depth.

mod canonical;
mod list;
mod message;
mod server;
mod world;

pub use list::List;
pub use message::{Attempt, Claims, Message, Messages, What};
pub use server::{Server, Store, Task};
pub use world::{Action, Job, Jobs, State, Worker};

use stateright::{Model, Property};

/// Tasks in the model.
pub const TASKS: usize = 2;
/// Workers in the model.
pub const WORKERS: usize = 2;
/// The task that must never run twice at once.
pub const FORBID: usize = 1;

/// A mistake built in on purpose: the check must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// None: the protocol as it is.
    None,
    /// What the server says leaves it before it is durable.
    EffectBeforeCommit,
    /// A fence is the attempt's number alone, without the generation.
    FenceWithoutGeneration,
    /// Hello takes an attempt whose report is on its way for lost.
    HelloRequeuesPending,
    /// A worker begins what a session that is over had assigned.
    StaleAssignBegun,
    /// A lease that runs out frees a task that must not overlap, too.
    LeaseFreesForbidden,
    /// A worker forgets what it ended as soon as that is acknowledged, so that an assignment that comes twice begins anew.
    SettledForgotten,
    /// An acknowledgement of one report lets go of every report in the outbox.
    AckSettlesAll,
}

impl Flaw {
    /// None, and each of them.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::EffectBeforeCommit,
        Self::FenceWithoutGeneration,
        Self::HelloRequeuesPending,
        Self::StaleAssignBegun,
        Self::LeaseFreesForbidden,
        Self::SettledForgotten,
        Self::AckSettlesAll,
    ];
}

/// How often each kind of trouble may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Troubles {
    /// The server dies and comes back.
    pub server_crashes: u8,
    /// A connection breaks, or a worker's process dies.
    pub cuts: u8,
    /// A worker's process hands its jobs over to the next one, or its connection breaks, before the server knows.
    pub handovers: u8,
    /// A machine restarts: its running jobs are gone.
    pub reboots: u8,
    /// A lease runs out.
    pub losses: u8,
    /// The store is put back to where it was at the beginning, by `restore`.
    pub restores: u8,
    /// A message arrives twice.
    pub repeats: u8,
}

impl Troubles {
    /// None.
    pub const NONE: Self =
        Self { server_crashes: 0, cuts: 0, handovers: 0, reboots: 0, losses: 0, restores: 0, repeats: 0 };
    /// Each of them, once.
    pub const ALL: Self =
        Self { server_crashes: 1, cuts: 1, handovers: 1, reboots: 1, losses: 1, restores: 1, repeats: 1 };
}

/// Which states are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    /// One for all that nothing can tell apart.
    Merged,
    /// Each, but for the numbers of claims and sessions: many times more, to show that the others hide nothing.
    Each,
}

/// The model: a flaw or none, and the troubles.
#[derive(Debug, Clone, Copy)]
pub struct Handover {
    /// Which states.
    pub states: States,
    /// The mistake.
    pub flaw: Flaw,
    /// The troubles.
    pub troubles: Troubles,
    /// The tasks that there are to do: of 0 and 1.
    pub tasks: &'static [usize],
}

impl Handover {
    fn seen(&self, state: &State) -> State {
        match self.states {
            States::Merged => state.canonical(),
            States::Each => state.renumbered(),
        }
    }
}

impl Model for Handover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.seen(&State::new(self.troubles, self.tasks, self.flaw))]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.possible(actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        next.act(action);
        let next = self.seen(&next);
        // A trouble that changes nothing is none.
        let changed = State { troubles: state.troubles, ..next };
        (changed != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a report ends the attempt that it is about", |_, state: &State| {
                !state.server.store.tasks.contains(&Task::EndedByAnother)
            }),
            Property::always("what runs is on record", |_, state: &State| {
                state.jobs().all(|(attempt, _)| state.server.store.knows(attempt))
            }),
            Property::always("what must not overlap runs once", |_, state: &State| state.running(FORBID) <= 1),
            Property::always("an acknowledged end stays", |_, state: &State| {
                let mut tasks = state.ended.iter().zip(&state.server.store.tasks);
                tasks.all(|(is_told, task)| !is_told || matches!(task, Task::Ended))
            }),
            Property::always("finished work is not made again", |_, state: &State| !state.was_redone),
            Property::sometimes("everything ends", |_, state: &State| {
                state.server.store.tasks.iter().all(|task| *task == Task::Ended)
            }),
            Property::sometimes("a late report is taken", |_, state: &State| {
                state.network.iter().any(|message| state.is_late(*message))
            }),
            Property::sometimes("two attempts of one task at once, where that is allowed", |_, state: &State| {
                state.running(1 - FORBID) > 1
            }),
        ]
    }
}
