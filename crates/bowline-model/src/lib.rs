//! The smallest model of how work changes hands: one server, two workers, two tasks, and everything
//! that can go wrong between them, tried in every order.
//!
//! The model is written from the protocol's text, not from the engine's code, so that a mistake of
//! one is not a mistake of the other. Task 0 may overlap (`overlap: allow`), task 1 may not
//! (`overlap: forbid`). Each claim has a number that no part of the protocol sees: by it the
//! properties tell whether a report ended the attempt that it was about.
//!
//! What no promise and no later step can tell apart is one state: which worker is called the first, which numbers sessions
//! have, what was on record before a restore. A worker's crash is no trouble of its own: its journal has all that counts, so it
//! is a connection that breaks.

mod server;
mod world;

pub use server::{Server, Store, Task};
pub use world::{Action, Job, Message, State, Worker};

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
}

/// How often each kind of trouble may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Troubles {
    /// The server dies and comes back.
    pub server_crashes: u8,
    /// A connection breaks.
    pub cuts: u8,
    /// A machine restarts: its running jobs are gone.
    pub reboots: u8,
    /// A lease runs out.
    pub losses: u8,
    /// The store is put back to where it was at the beginning, by `restore`.
    pub restores: u8,
    /// A message arrives twice.
    pub repeats: u8,
}

/// The model: a flaw or none, and the troubles.
#[derive(Debug, Clone, Copy)]
pub struct Handover {
    /// The mistake.
    pub flaw: Flaw,
    /// The troubles.
    pub troubles: Troubles,
    /// The tasks that there are to do: of 0 and 1.
    pub tasks: &'static [usize],
}

impl Model for Handover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.troubles, self.tasks, self.flaw)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.possible(actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.act(action);
        (next != *state).then(|| next.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a report ends the attempt that it is about", |_, state: &State| {
                state.server.store.tasks.iter().all(|task| match task {
                    Task::Ended { claim, by, .. } => claim == by,
                    Task::Ready { .. } | Task::Bound { .. } => true,
                })
            }),
            Property::always("what runs is on record", |_, state: &State| {
                state.is_restored || state.jobs().all(|(_, attempt, _)| state.server.store.knows(attempt))
            }),
            Property::always("what must not overlap runs once", |_, state: &State| {
                state.is_restored || state.running(FORBID) <= 1
            }),
            Property::always("an acknowledged end stays", |_, state: &State| {
                state.is_restored
                    || state
                        .ended
                        .iter()
                        .zip(&state.server.store.tasks)
                        .all(|(acked, task)| !acked || matches!(task, Task::Ended { .. }))
            }),
            Property::always("finished work is not made again", |_, state: &State| {
                state.is_restored || !state.was_redone
            }),
            Property::sometimes("everything ends", |_, state: &State| {
                state.server.store.tasks.iter().all(|task| matches!(task, Task::Ended { .. }))
            }),
            Property::sometimes("a late report is taken", |_, state: &State| state.was_late),
            Property::sometimes("two attempts of one task at once, where that is allowed", |_, state: &State| {
                state.running(1 - FORBID) > 1
            }),
        ]
    }
}
