//! An own server and worker for one run, in a temporary folder.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bowline_client::Client;
use tempfile::TempDir;

use super::{Args, Setting};
use crate::commands::server::passed_on;
use crate::connect::{self, Located};
use crate::house::{Address, House, Incident, Plan, Urgency};
use crate::signals;

/// Both, and their folder.
#[derive(Debug)]
pub(super) struct Local {
    house: House,
    folder: Folder,
}

#[derive(Debug)]
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}

impl Local {
    /// Starts both.
    pub(super) async fn start(on: &Setting, args: &Args) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("bowline-run-")
            .tempdir()
            .context("No temporary folder can be made for the run.")?;
        let folder = if args.keep { Folder::Kept(folder.keep()) } else { Folder::Temporary(folder) };
        let mut worker_args = passed_on(on);
        worker_args.extend(args.worker.as_arguments(on)?);
        let plan = Plan {
            data: folder.path().join("data"),
            address: Address::Free,
            server_args: passed_on(on),
            worker_args,
            env: Vec::new(),
            identity: args.worker.identity(on)?,
        };
        let house = House::start(&plan).await?;
        Ok(Self { house, folder })
    }

    /// A client of that server.
    pub(super) fn client(&self, on: &Setting) -> anyhow::Result<Client> {
        let server = &self.house.server;
        let located = Located {
            url: server.server.clone(),
            token_file: Some(server.token_file.clone()),
            how: "brought by this run".to_owned(),
        };
        connect::client_of(on, &located)
    }

    /// Resolves when one of them has ended for good.
    pub(super) async fn broken(&mut self) -> anyhow::Error {
        loop {
            if let Incident::Over(ended) = self.house.incident().await {
                return ended.into_error();
            }
        }
    }

    /// Stops both, and removes the folder.
    pub(super) async fn stop(mut self, on: &Setting, stop: &mut signals::Stop) {
        let hurry = self.house.hurry();
        let left = self.house.stop(Urgency::Drain);
        tokio::pin!(left);
        loop {
            tokio::select! {
                () = &mut left => break,
                () = stop.asked() => hurry.more(),
            }
        }
        match self.folder {
            Folder::Temporary(folder) => {
                if let Err(error) = folder.close() {
                    on.out.note(format!("note: the run's temporary folder could not be removed: {error}."));
                }
            }
            Folder::Kept(path) => on.out.note(format!("kept {}", path.display())),
        }
    }
}
