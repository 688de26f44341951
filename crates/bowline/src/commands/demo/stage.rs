//! Where the demo plays: a temporary folder with a server, a worker and their supervisor, of which
//! nothing is left.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bowline_client::Client;
use bowline_core::name::WorkerName;
use tempfile::TempDir;

use super::processes::{Kin, Left};
use crate::commands::Setting;
use crate::commands::server::passed_on;
use crate::connect::{self, Located};
use crate::house::{Address, House, Incident, Plan, Urgency};
use crate::signals;

/// The worker's name.
pub(super) const WORKER: &str = "demo";
/// How long a server may be away while it is asked something.
const AWAY_MAX: Duration = Duration::from_mins(1);
/// A process that was stopped may take so long to vanish.
const VANISH_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The folder, and who lives in it.
#[derive(Debug)]
pub(super) struct Stage {
    folder: TempDir,
    kin: Arc<Kin>,
    house: Option<House>,
    /// Jobs at a time.
    pub(super) slots: usize,
}

impl Stage {
    /// The folder alone.
    pub(super) fn new(slots: usize) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("bowline-demo-")
            .tempdir()
            .context("No temporary folder can be made for the demo.")?;
        // Processes name their folders with links resolved.
        let path = std::fs::canonicalize(folder.path())?;
        Ok(Self { folder, kin: Arc::new(Kin::new(path)), house: None, slots })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Its processes.
    pub(super) fn kin(&self) -> Arc<Kin> {
        Arc::clone(&self.kin)
    }

    /// Starts server and worker.
    pub(super) async fn start(&mut self, on: &Setting) -> anyhow::Result<()> {
        let mut worker_args = passed_on(on);
        worker_args.extend([format!("--identity={WORKER}"), format!("--slots={}", self.slots)].map(OsString::from));
        let plan = Plan {
            data: self.kin.folder().join("data"),
            address: Address::Free,
            server_args: passed_on(on),
            worker_args,
            // Other commands of this user are not to take it for the server that they want.
            env: vec![("XDG_RUNTIME_DIR", self.kin.folder().join("run").into())],
            identity: WorkerName::new(WORKER)?,
        };
        self.house = Some(House::start(&plan).await?);
        Ok(())
    }

    /// A client that bears with a server that is away for a while.
    pub(super) fn client(&self, on: &Setting) -> anyhow::Result<Client> {
        let server = &self.house.as_ref().context("The demo's server has not been started.")?.server;
        let located = Located {
            url: server.server.clone(),
            token_file: Some(server.token_file.clone()),
            how: "brought by the demo".to_owned(),
        };
        // Whatever namespace the user works in: it is not here.
        Ok(connect::client_of(on, &located)?.with_namespace("default").with_patience(AWAY_MAX))
    }

    /// Resolves when server or worker has ended for good.
    pub(super) async fn broken(&mut self) -> anyhow::Error {
        let Some(house) = &mut self.house else { return std::future::pending().await };
        loop {
            if let Incident::Over(ended) = house.incident().await {
                return ended.into_error();
            }
        }
    }

    /// Stops everything and removes the folder. What was still there after that is told, and killed.
    pub(super) async fn leave(mut self, on: &Setting, stop: &mut signals::Stop) -> Vec<Left> {
        if let Some(house) = &mut self.house {
            let hurry = house.hurry();
            let left = house.stop(Urgency::Drain);
            tokio::pin!(left);
            loop {
                tokio::select! {
                    () = &mut left => break,
                    () = stop.asked() => hurry.more(),
                }
            }
        }
        let left = self.vanished().await;
        for process in &left {
            process.kill();
        }
        if let Err(error) = self.folder.close() {
            on.out.note(format!("note: the demo's temporary folder could not be removed: {error}."));
        }
        left
    }

    /// Waits until none of its processes is there, with a bound; those that are.
    async fn vanished(&self) -> Vec<Left> {
        let looks = VANISH_MAX.as_millis() / LOOK_EVERY.as_millis();
        let mut left = self.kin.left();
        for _ in 0..looks {
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            left = self.kin.left();
        }
        left
    }
}
