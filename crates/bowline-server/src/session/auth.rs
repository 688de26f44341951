//! Whether a worker's key opens its door: the hash that was stored when it enrolled.
//!
//! A key opens one identity, or a pool: any identity of it that is free. Each call costs one read by an
//! index, whether the key is right or wrong, so a wrong key costs no more than a right one.

use std::sync::Arc;

use bowline_core::input::{Token, TokenRole};
use bowline_core::row::WorkerRow;
use bowline_leader::Leader;
use bowline_protocol::call::Caller;
use bowline_store::{ReadStore, StoreError};
use tonic::Status;

/// Looks up keys.
#[derive(Debug)]
pub(crate) struct Keys {
    leader: Leader,
}

impl Keys {
    pub(crate) fn new(leader: Leader) -> Self {
        Self { leader }
    }

    /// Whether the caller's key opens what he names. Says its hash.
    pub(crate) async fn check(&self, caller: &Caller) -> Result<[u8; 32], Status> {
        let hash = blake3::hash(caller.key.as_bytes());
        let (reader, asked): (Arc<_>, _) = (self.leader.reader(), caller.clone());
        let opens = tokio::task::spawn_blocking(move || opens(&*reader, &asked, hash)).await;
        let opens = opens.map_err(|_| Status::internal("reading the worker's key failed"))?.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a worker's key could not be read");
            Status::unavailable("the server's store cannot be read at the moment")
        })?;
        if opens {
            return Ok(*hash.as_bytes());
        }
        let what = match &caller.pool {
            Some(pool) => format!("the pool `{pool}`"),
            None => format!("the worker `{}`", caller.worker),
        };
        Err(Status::unauthenticated(format!(
            "the key does not open {what} here: enrol it again with a token of this server"
        )))
    }
}

fn opens(store: &dyn ReadStore, caller: &Caller, hash: blake3::Hash) -> Result<bool, StoreError> {
    // Comparing two `Hash`es takes constant time.
    if let Some(pool) = &caller.pool {
        let is_member = |token: &Token| token.role == TokenRole::Member && token.pool.as_ref() == Some(pool);
        return Ok(store.token(hash.as_bytes())?.is_some_and(|token| is_member(&token)));
    }
    // An identity of a pool is opened by the pool's keys alone.
    let is_its = |row: &WorkerRow| row.pool.is_none() && blake3::Hash::from_bytes(row.key) == hash;
    Ok(store.worker(&caller.worker)?.is_some_and(|row| is_its(&row)))
}
