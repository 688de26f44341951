//! The writer: takes the leadership, loads, commits, sweeps.

use std::path::{Path, PathBuf};

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch, Generation, TaskId, TaskRef};
use bowline_core::row::{KEYS_LOADED_MAX, Loaded, Row};
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;
use bowline_store::{
    CommitError, LeaderStore, Leadership, RetentionPolicy, RetentionStore, RollbackStore, StoreError, Swept,
};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::checkpoint::Checkpoints;
use crate::lock::OwnerLock;
use crate::sweep::sweep;
use crate::tables::tasks::Along;
use crate::tables::{
    WriteError, Written, artifacts, attempts, counters, elements, events, gangs, history, keys, leadership, namespaces,
    nodes, pauses, resources, results, runs, tasks, tokens, workers,
};
use crate::writer::Writer;

/// The one writer of a store file. Dropping it closes the file in order.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    // Fields are dropped in this order: the checkpoints end, then the writer closes, then the file
    // is free for others.
    checkpoints: Checkpoints,
    connection: Connection,
    _lock: OwnerLock,
}

impl SqliteStore {
    pub(crate) fn new(path: &Path, connection: Connection, checkpoints: Checkpoints, lock: OwnerLock) -> Self {
        Self { path: path.to_owned(), checkpoints, connection, _lock: lock }
    }

    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Does something in one transaction: all of it, or nothing.
    fn transact<T>(
        &mut self,
        operation: &str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, WriteError>,
    ) -> Result<T, CommitError> {
        let operation = format!("{operation} `{}`", self.path.display());
        let failed = |error: rusqlite::Error| WriteError::Sql(error).during(&operation);
        let before = self.connection.total_changes();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let done = work(&transaction).map_err(|error| error.during(&operation))?;
        transaction.commit().map_err(failed)?;
        self.checkpoints.note(self.connection.total_changes().saturating_sub(before));
        self.checkpoints.renew(&self.connection);
        Ok(done)
    }
}

impl LeaderStore for SqliteStore {
    fn take_leadership(&mut self, now: Timestamp) -> Result<Leadership, StoreError> {
        let taken = self.transact("taking the leadership in", |transaction| Ok(leadership::take(transaction, now)?));
        taken.map_err(plain)
    }

    fn load(&mut self, each: &mut dyn FnMut(Loaded)) -> Result<(), StoreError> {
        let path = &self.path;
        let transaction = self.connection.transaction();
        transaction
            .and_then(|transaction| load(&transaction, each))
            .map_err(|error| StoreError::new(format!("loading `{}`", path.display()), error))
    }

    fn commit(&mut self, epoch: Epoch, now: Timestamp, batch: &Batch) -> Result<CommitNo, CommitError> {
        self.transact("committing to", |transaction| {
            let (commit, now) = leadership::commit(transaction, epoch, now)?;
            let mut writer = Writer::new(transaction);
            let mut along = Along::new(commit, batch);
            history::append(&mut writer, &along.lines)?;
            events::append(&mut writer, commit, now, &batch.history)?;
            batch.rows.iter().try_for_each(|row| write(&mut writer, row, &mut along))?;
            Ok(commit)
        })
    }
}

impl RollbackStore for SqliteStore {
    fn note_rollback(&mut self, epoch: Epoch, seen: (Generation, CommitNo)) -> Result<(), CommitError> {
        self.transact("noting in", |transaction| {
            // At the store's own time: nothing else changes.
            leadership::hold(transaction, epoch, Timestamp::default())?;
            leadership::note_rollback(transaction, seen)?;
            Ok(())
        })
    }

    fn accept_rollback(&mut self, above: Option<Generation>) -> Result<Generation, StoreError> {
        let accepted = self.transact("raising the generation of", |transaction| {
            Ok(leadership::accept_rollback(transaction, above.unwrap_or_default())?)
        });
        accepted.map_err(plain)
    }
}

impl RetentionStore for SqliteStore {
    fn sweep(&mut self, epoch: Epoch, now: Timestamp, policy: &RetentionPolicy) -> Result<Swept, CommitError> {
        self.transact("sweeping", |transaction| {
            leadership::hold(transaction, epoch, now)?;
            sweep(transaction, now, policy)
        })
    }
}

/// Of what is not fenced: only the store itself can fail.
fn plain(error: CommitError) -> StoreError {
    match error {
        CommitError::Store(error) => error,
        other => StoreError::new("writing without a leadership", other),
    }
}

fn write<'b>(writer: &mut Writer<'_>, row: &'b Row, along: &mut Along<'b>) -> Written {
    match row {
        Row::Counters(row) => counters::put(writer, row),
        Row::NewTask(new) => tasks::insert(writer, new, along),
        Row::Task(row) => tasks::update(writer, row, along),
        Row::Element(row) => elements::put(writer, row),
        Row::Attempt(row) if along.firsts.is_taken(row) => Ok(()),
        Row::Attempt(row) => attempts::put(writer, row),
        Row::Result(row) => results::put(writer, row),
        Row::Artifact(row) => artifacts::put(writer, row),
        Row::NewRun(new) => runs::insert(writer, new),
        Row::Run(row) => runs::update(writer, row),
        Row::Node(row) => nodes::put(writer, row),
        Row::Worker(row) => workers::put(writer, row),
        Row::WorkerGone(id) => workers::remove(writer, *id),
        Row::Resource(row) => resources::put(writer, row),
        Row::ResourceGone(name) => resources::remove(writer, name),
        Row::Namespace(row) => namespaces::put(writer, row),
        Row::Rate(row) => namespaces::put_rate(writer, row),
        Row::Gang(row) => gangs::put(writer, row),
        Row::GangGone(id) => gangs::remove(writer, *id),
        Row::Key(row) => keys::insert(writer, row),
        Row::Pause(row) => pauses::put(writer, row),
        Row::Token(token) => tokens::put(writer, token),
        Row::TokenGone(hash) => tokens::remove(writer, hash),
        Row::TaskGone(task) => tasks::forget(writer, *task),
    }
}

/// Hands over everything that has not ended, in the order of [`Loaded`].
fn load(connection: &Connection, each: &mut dyn FnMut(Loaded)) -> rusqlite::Result<()> {
    each(Loaded::Counters(counters::read(connection)?));
    workers::by_id(connection)?.into_iter().for_each(|row| each(Loaded::Worker(Box::new(row))));
    pauses::all(connection)?.into_iter().for_each(|row| each(Loaded::Pause(row)));
    tokens::all(connection)?.into_iter().for_each(|token| each(Loaded::Token(token)));
    resources::all(connection)?.into_iter().for_each(|row| each(Loaded::Resource(Box::new(row))));
    namespaces::all(connection)?.into_iter().for_each(|row| each(Loaded::Namespace(Box::new(row))));
    namespaces::rates(connection)?.into_iter().for_each(|row| each(Loaded::Rate(row)));
    gangs::all(connection)?.into_iter().for_each(|row| each(Loaded::Gang(Box::new(row))));
    runs::load(connection, each)?;
    nodes::load(connection, each)?;
    let mut about = tasks::load(connection, each)?;
    elements::load(connection, &about, each)?;
    attempts::load(connection, &mut about, each)?;
    for task in about.needed {
        if let Some(state) = ended_state(connection, task)? {
            each(Loaded::Ended(task, state));
        }
    }
    if let Some(hashes) = keys::hashes(connection, KEYS_LOADED_MAX)? {
        each(Loaded::Keys(hashes));
    }
    Ok(())
}

/// The state of a task that has ended, or of an element of one.
fn ended_state(connection: &Connection, of: TaskRef) -> rusqlite::Result<Option<StateKind>> {
    let TaskRef { task, index } = of;
    let Some(whole) = state_if_ended(connection, task)? else { return Ok(None) };
    let element = index.map(|index| elements::state(connection, task, index)).transpose()?.flatten();
    Ok(Some(element.unwrap_or(whole)).filter(|state| state.is_ended()))
}

fn state_if_ended(connection: &Connection, task: TaskId) -> rusqlite::Result<Option<StateKind>> {
    Ok(tasks::state(connection, task)?.filter(|state| state.is_ended()))
}
