//! Which children a house has: their arguments, folders and logs.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bowline_core::name::WorkerName;

use super::ServerReady;
use crate::process::Launch;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// Here.
    At(String),
    /// On this machine alone, on a port that is free.
    Free,
}

/// What the house is to be like.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The folder of everything: the server's data, the worker's state below it, logs.
    pub(crate) data: PathBuf,
    /// Where the server listens.
    pub(crate) address: Address,
    /// More arguments for the server.
    pub(crate) server_args: Vec<OsString>,
    /// More arguments for the worker.
    pub(crate) worker_args: Vec<OsString>,
    /// Variables for both, beside those that this process has.
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// The name under which the worker acts.
    pub(crate) identity: WorkerName,
}

impl Plan {
    /// Makes the folders.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        for folder in [self.data.clone(), self.logs()] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("The data folder `{}` cannot be used.", folder.display()))?;
        }
        Ok(())
    }

    /// Where the children's logs lie.
    pub(crate) fn logs(&self) -> PathBuf {
        self.data.join("log")
    }

    /// Where the worker's supervisor keeps its own.
    pub(super) fn supervisor(&self) -> PathBuf {
        worker_state(&self.data).join("supervisor")
    }

    /// The server.
    pub(super) fn server(&self) -> (Launch, fn(Launch, &str) -> Launch) {
        let listen = match &self.address {
            Address::At(address) => address.clone(),
            Address::Free => "127.0.0.1:0".to_owned(),
        };
        let mut args: Vec<OsString> =
            ["server", "start", "--json", "--stop-with-parent", "--data"].map(Into::into).into();
        args.push(self.data.clone().into());
        args.extend(self.server_args.iter().cloned());
        args.push(format!("--listen={listen}").into());
        let log = self.logs().join("server.log");
        (Launch { name: "server", args, env: self.env.clone(), log }, same_port)
    }

    /// The worker of that server.
    pub(super) fn worker(&self, server: &ServerReady) -> (Launch, fn(Launch, &str) -> Launch) {
        let mut args: Vec<OsString> =
            ["worker", "start", "--on-term=release", "--stop-with-parent", "--state"].map(Into::into).into();
        args.push(worker_state(&self.data).into());
        args.push("--server".into());
        args.push((&server.server).into());
        args.push("--token-file".into());
        args.push(server.token_file.clone().into());
        args.extend(self.worker_args.iter().cloned());
        let log = self.logs().join("worker.log");
        (Launch { name: "worker", args, env: self.env.clone(), log }, |launch, _| launch)
    }
}

/// Where the house's worker keeps its state.
fn worker_state(data: &Path) -> PathBuf {
    data.join("worker")
}

/// A server that got a free port keeps it when it is started again: workers and people know it.
fn same_port(mut launch: Launch, line: &str) -> Launch {
    let Ok(ready) = serde_json::from_str::<ServerReady>(line) else { return launch };
    let Some(address) = ready.server.split_once("://").map(|(_, rest)| rest.trim_end_matches('/')) else {
        return launch;
    };
    launch.args.pop();
    launch.args.push(format!("--listen={address}").into());
    launch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_a_free_port_keeps_it() {
        let plan = Plan {
            data: "/d".into(),
            address: Address::Free,
            server_args: vec![],
            worker_args: vec![],
            env: vec![],
            identity: WorkerName::new("w").unwrap(),
        };
        let (launch, again) = plan.server();
        assert_eq!(launch.args.last().unwrap(), "--listen=127.0.0.1:0");
        let line = r#"{"server":"http://127.0.0.1:4567","token_file":"/d/token"}"#;
        assert_eq!(again(launch, line).args.last().unwrap(), "--listen=127.0.0.1:4567");
    }
}
