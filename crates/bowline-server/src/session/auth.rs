//! Whether a worker's key opens its door: the hash that was stored when it enrolled.

use std::collections::HashMap;
use std::sync::Arc;

use bowline_core::id::WorkerId;
use bowline_core::name::WorkerName;
use bowline_leader::Leader;
use bowline_protocol::call::Caller;
use tokio::sync::Mutex;
use tonic::Status;

/// The keys' hashes, as they were read last.
#[derive(Debug)]
pub(crate) struct Keys {
    leader: Leader,
    known: Mutex<HashMap<WorkerName, (WorkerId, blake3::Hash)>>,
}

impl Keys {
    pub(crate) fn new(leader: Leader) -> Self {
        Self { leader, known: Mutex::default() }
    }

    /// The identity that the caller's key opens. A key that is not known, or not any more, makes the
    /// store be read again: one reading at a time.
    pub(crate) async fn check(&self, caller: &Caller) -> Result<WorkerId, Status> {
        let hash = blake3::hash(caller.key.as_bytes());
        // Comparing two `Hash`es takes constant time.
        let opens = |known: &HashMap<WorkerName, (WorkerId, blake3::Hash)>| {
            known.get(&caller.worker).filter(|(_, stored)| *stored == hash).map(|(id, _)| *id)
        };
        let mut known = self.known.lock().await;
        if let Some(id) = opens(&known) {
            return Ok(id);
        }
        *known = self.read().await?;
        opens(&known).ok_or_else(|| {
            Status::unauthenticated(format!(
                "the key does not open the worker `{}` here: enrol it again with a token of this server",
                caller.worker
            ))
        })
    }

    async fn read(&self) -> Result<HashMap<WorkerName, (WorkerId, blake3::Hash)>, Status> {
        let reader: Arc<_> = self.leader.reader();
        let workers = tokio::task::spawn_blocking(move || reader.workers()).await;
        let workers = workers.map_err(|_| Status::internal("reading the workers' keys failed"))?.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "workers' keys could not be read");
            Status::unavailable("the server's store cannot be read at the moment")
        })?;
        Ok(workers.into_iter().map(|row| (row.name, (row.id, blake3::Hash::from_bytes(row.key)))).collect())
    }
}
