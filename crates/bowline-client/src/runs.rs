//! Runs and workflows.

use bowline_api::{
    HistoryEntry, List, NewRun, PageQuery, Run, RunArtifact, RunExplanation, RunQuery, RunStarted, Task, TaskQuery,
    Workflow,
};
use bowline_core::id::RunId;
use bowline_core::input::RunVerb;
use reqwest::Method;

use crate::error::ClientError;
use crate::http::Client;
use crate::tasks::Write;

fn id_text(run: RunId) -> String {
    format!("r{run}")
}

impl Client {
    /// Starts a run. Mistakes in the workflow file come back as [`crate::ApiError::mistakes`].
    pub async fn start_run(&self, run: &NewRun, write: &Write) -> Result<RunStarted, ClientError> {
        let mut call = self.call(Method::POST, &["runs"]).key(write.key()).json(run)?;
        if write.dry_run {
            call = call.pair("dry_run", "true");
        }
        call.read().await
    }

    /// One page of runs, newest first.
    pub async fn runs(&self, query: &RunQuery) -> Result<List<Run>, ClientError> {
        self.call(Method::GET, &["runs"]).query(query)?.read().await
    }

    /// One run, with its steps and how far each is.
    pub async fn run(&self, run: RunId) -> Result<Run, ClientError> {
        self.call(Method::GET, &["runs", &id_text(run)]).read().await
    }

    /// Why it has not ended, step by step.
    pub async fn explain_run(&self, run: RunId) -> Result<RunExplanation, ClientError> {
        self.call(Method::GET, &["runs", &id_text(run), "explain"]).read().await
    }

    /// One page of its tasks. `run` in the query is set by this.
    pub async fn run_tasks(&self, run: RunId, query: &TaskQuery) -> Result<List<Task>, ClientError> {
        self.call(Method::GET, &["runs", &id_text(run), "tasks"]).query(query)?.read().await
    }

    /// One page of its history, oldest first.
    pub async fn run_history(&self, run: RunId, page: &PageQuery) -> Result<List<HistoryEntry>, ClientError> {
        self.call(Method::GET, &["runs", &id_text(run), "history"]).query(page)?.read().await
    }

    /// Files that its tasks left.
    pub async fn run_artifacts(&self, run: RunId) -> Result<List<RunArtifact>, ClientError> {
        self.call(Method::GET, &["runs", &id_text(run), "artifacts"]).read().await
    }

    /// One verb on a run; what comes back is the run after it.
    pub async fn run_verb(&self, run: RunId, verb: RunVerb) -> Result<Run, ClientError> {
        let name = match verb {
            RunVerb::Cancel => "cancel",
            RunVerb::Retry => "retry",
            RunVerb::Pause => "pause",
            RunVerb::Resume => "resume",
        };
        self.call(Method::POST, &["runs", &id_text(run), name]).read().await
    }

    /// One page of the workflows that were run.
    pub async fn workflows(&self, page: &PageQuery) -> Result<List<Workflow>, ClientError> {
        self.call(Method::GET, &["workflows"]).query(page)?.read().await
    }

    /// One of them, with its text.
    pub async fn workflow(&self, name: &str) -> Result<Workflow, ClientError> {
        self.call(Method::GET, &["workflows", name]).read().await
    }
}
