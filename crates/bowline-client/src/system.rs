//! Workers, resources, tokens, pauses, and the server itself.

use bowline_api::{
    Enrol, Enrolled, List, NamespaceChange, NamespaceDoc, NewGeneration, NewToken, PauseRequest, Queue, Resource,
    ResourceChange, ResourceEntry, Token, TokenIssued, Version, Worker, WorkerBulk, WorkerBulkAnswer,
    WorkerExplanation,
};
use bowline_core::message::Paused;
use reqwest::Method;

use crate::error::ClientError;
use crate::http::Client;
use crate::tasks::ByteStream;

/// What is to be in a backup beside the store and the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupContents {
    /// Nothing.
    Store,
    /// Logs and artifacts.
    All,
}

fn verb(paused: Paused) -> &'static str {
    match paused {
        Paused::Yes => "pause",
        Paused::No => "resume",
    }
}

/// How long a server may copy its store before a backup begins.
const COPY_MAX: std::time::Duration = std::time::Duration::from_hours(2);

impl Client {
    /// All workers, by name.
    pub async fn workers(&self) -> Result<List<Worker>, ClientError> {
        self.call(Method::GET, &["workers"]).read().await
    }

    /// One worker.
    pub async fn worker(&self, name: &str) -> Result<Worker, ClientError> {
        self.call(Method::GET, &["workers", name]).read().await
    }

    /// Why it is idle, or takes no more than it has.
    pub async fn explain_worker(&self, name: &str) -> Result<WorkerExplanation, ClientError> {
        self.call(Method::GET, &["workers", name, "explain"]).read().await
    }

    /// Pauses a worker, or lets it go on.
    pub async fn pause_worker(&self, name: &str, paused: Paused) -> Result<(), ClientError> {
        self.call(Method::POST, &["workers", name, verb(paused)]).done().await
    }

    /// One verb on many workers. With `dry_run` it says which it would touch, and touches none.
    pub async fn workers_verb(&self, bulk: &WorkerBulk) -> Result<WorkerBulkAnswer, ClientError> {
        self.call(Method::POST, &["workers", "bulk"]).json(bulk)?.read().await
    }

    /// A backup as it is made: a tar file, and about how many bytes of it are the store's (0 where the
    /// server did not say). The first bytes come when the store has been copied.
    pub async fn backup(&self, contents: BackupContents) -> Result<(ByteStream, u64), ClientError> {
        let with_blobs = contents == BackupContents::All;
        let call = self.call(Method::GET, &["backup"]).pair("with_blobs", &with_blobs.to_string());
        let response = call.endless().begins_within(COPY_MAX).send().await?;
        let size = response.headers().get("bowline-backup-bytes").and_then(|size| size.to_str().ok()?.parse().ok());
        Ok((ByteStream::new(self.clone(), response), size.unwrap_or(0)))
    }

    /// The store was put back to an earlier state, and that is to stand.
    pub async fn accept_rollback(&self) -> Result<NewGeneration, ClientError> {
        self.call(Method::POST, &["accept-rollback"]).read().await
    }

    /// Makes an identity with a key of its own. The same name and key again is fine.
    pub async fn enrol(&self, enrol: &Enrol) -> Result<Enrolled, ClientError> {
        self.call(Method::POST, &["workers", "enrol"]).json(enrol)?.read().await
    }

    /// All resources, by name.
    pub async fn resources(&self) -> Result<List<ResourceEntry>, ClientError> {
        self.call(Method::GET, &["resources"]).read().await
    }

    /// One resource: who holds it, and who is next.
    pub async fn resource(&self, name: &str) -> Result<Resource, ClientError> {
        self.call(Method::GET, &["resources", name]).read().await
    }

    /// Declares a resource, or changes it.
    pub async fn set_resource(&self, name: &str, change: &ResourceChange) -> Result<Resource, ClientError> {
        self.call(Method::PUT, &["resources", name]).json(change)?.read().await
    }

    /// Removes a declared resource that nobody holds or waits for. As it was.
    pub async fn delete_resource(&self, name: &str) -> Result<Resource, ClientError> {
        self.call(Method::DELETE, &["resources", name]).read().await
    }

    /// Namespaces of which something is set, that are paused, or that have tasks.
    pub async fn namespaces(&self) -> Result<List<NamespaceDoc>, ClientError> {
        self.call(Method::GET, &["namespaces"]).read().await
    }

    /// One namespace: what is set, and what it uses.
    pub async fn one_namespace(&self, name: &str) -> Result<NamespaceDoc, ClientError> {
        self.call(Method::GET, &["namespaces", name]).read().await
    }

    /// Sets quotas and shares of a namespace.
    pub async fn set_namespace(&self, name: &str, change: &NamespaceChange) -> Result<NamespaceDoc, ClientError> {
        self.call(Method::PUT, &["namespaces", name]).json(change)?.read().await
    }

    /// Makes a token. Its secret is told this once.
    pub async fn create_token(&self, token: &NewToken) -> Result<TokenIssued, ClientError> {
        self.call(Method::POST, &["tokens"]).json(token)?.read().await
    }

    /// All tokens, without their secrets.
    pub async fn tokens(&self) -> Result<List<Token>, ClientError> {
        self.call(Method::GET, &["tokens"]).read().await
    }

    /// Pauses this namespace, or everything, or lets it go on.
    pub async fn pause(&self, what: &PauseRequest, paused: Paused) -> Result<(), ClientError> {
        self.call(Method::POST, &[verb(paused)]).json(what)?.done().await
    }

    /// Counts as they are now.
    pub async fn queue(&self) -> Result<Queue, ClientError> {
        self.call(Method::GET, &["queue"]).read().await
    }

    /// What answers.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.call(Method::GET, &["version"]).read().await
    }

    /// Whether the server takes requests now. An error says why not.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.call_root(Method::GET, &["readyz"]).done().await
    }
}
