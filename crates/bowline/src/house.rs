//! A server and a worker as child processes of this one, for `up` and for a local `run`: started,
//! started again should one of them die, and stopped in order.
//!
//! ```text
//! start ► serving ► draining(worker) ► draining(server) ► over
//!            │ a child dies: again, after a growing pause
//!            └ a child ends for good (fenced, wrong settings): told to whoever owns the house
//! ```
//!
//! A `kill -9` of server or worker disturbs no job: jobs belong to the worker's supervisor, and both
//! find their state again. When this process itself is killed, server and worker notice (see
//! [`crate::process`]), stop the jobs, give them back, and end: the next `up` on the same data folder
//! goes on where they stopped.

mod keeper;
mod plan;

pub(crate) use keeper::{Ended, Incident, Order as Urgency};
pub(crate) use plan::{Address, Plan};

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bowline_api::{ConnectionState, EventQuery, Worker};
use bowline_client::Client;
use bowline_core::name::WorkerName;
use bowline_supervisor::client::Supervisor;
use bowline_supervisor::wire::{Request, ShutdownMode};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use keeper::{Keeper, Order};

/// Incidents that wait to be told.
const INCIDENTS_MAX: usize = 64;

/// How long a worker may take to connect for the first time.
const CONNECT_MAX: Duration = Duration::from_mins(1);
/// How long a supervisor that was left behind may take to answer, and between two of its words.
const SUPERVISOR_MAX: Duration = Duration::from_secs(15);

/// What a server says of itself, on one line of its standard output, when it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerReady {
    /// `http://127.0.0.1:7420`.
    pub(crate) server: String,
    /// Its administrator's token.
    pub(crate) token_file: PathBuf,
}

/// Both, alive.
#[derive(Debug)]
pub(crate) struct House {
    /// What the server said.
    pub(crate) server: ServerReady,
    /// The worker's name.
    pub(crate) worker: WorkerName,
    supervisor: PathBuf,
    server_orders: watch::Sender<Order>,
    worker_orders: watch::Sender<Order>,
    servers: JoinSet<Ended>,
    workers: JoinSet<Ended>,
    incidents: mpsc::Receiver<Incident>,
}

impl House {
    /// Starts both, and waits until the worker is connected.
    pub(crate) async fn start(plan: &Plan) -> anyhow::Result<Self> {
        plan.prepare()?;
        let (tell, incidents) = mpsc::channel(INCIDENTS_MAX);
        let (server_orders, orders) = watch::channel(Order::Keep);
        let mut servers = JoinSet::new();
        let (keeper, ready) = Keeper::new(plan.server(), orders, tell.clone());
        servers.spawn(keeper.run());
        let server: ServerReady = first_words(ready, &mut servers).await?;

        let (worker_orders, orders) = watch::channel(Order::Keep);
        let mut workers = JoinSet::new();
        let (keeper, _) = Keeper::new(plan.worker(&server), orders, tell);
        workers.spawn(keeper.run());
        let worker = plan.identity.clone();
        let supervisor = plan.supervisor();
        let mut house = Self { server, worker, supervisor, server_orders, worker_orders, servers, workers, incidents };
        match house.connected().await {
            Ok(()) => Ok(house),
            Err(error) => {
                house.stop(Order::Hurry).await;
                Err(error)
            }
        }
    }

    /// Waits until the server sees the worker.
    async fn connected(&mut self) -> anyhow::Result<()> {
        let token = crate::connect::read_token(&self.server.token_file)?;
        let client = Client::new(&self.server.server, Some(&token))?.with_patience(CONNECT_MAX);
        let name = self.worker.to_string();
        let seen = async {
            let mut events = client.events(EventQuery { namespace: Some("*".to_owned()), ..EventQuery::default() });
            loop {
                // Each time the stream opens, and after each event: is it there?
                events.next().await?;
                let workers = client.workers().await?.items;
                let is_there = |worker: &Worker| worker.name == name && worker.connection == ConnectionState::Connected;
                if workers.iter().any(is_there) {
                    return anyhow::Ok(());
                }
            }
        };
        tokio::select! {
            seen = tokio::time::timeout(CONNECT_MAX, seen) => {
                seen.context("The worker did not connect to the server in time; see the logs in the data folder.")?
            }
            Some(ended) = self.workers.join_next() => Err(joined(ended).into_error()),
            Some(ended) = self.servers.join_next() => Err(joined(ended).into_error()),
        }
    }

    /// The next thing worth telling. Never resolves while all is quiet.
    pub(crate) async fn incident(&mut self) -> Incident {
        loop {
            tokio::select! {
                Some(incident) = self.incidents.recv() => return incident,
                Some(ended) = self.servers.join_next() => return Incident::Over(joined(ended)),
                Some(ended) = self.workers.join_next() => return Incident::Over(joined(ended)),
                else => std::future::pending::<()>().await,
            }
        }
    }

    /// Makes a stop that is under way more urgent.
    pub(crate) fn hurry(&self) -> Hurry {
        Hurry { orders: [self.worker_orders.clone(), self.server_orders.clone()] }
    }

    /// A worker that had to be killed leaves its supervisor and the jobs behind: they are stopped here.
    async fn stop_supervisor(&self) {
        let socket = bowline_supervisor::socket_path(&self.supervisor);
        let stop = tokio::task::spawn_blocking(move || {
            // Nobody answers: it has gone with its worker, as it should.
            let Ok(supervisor) = Supervisor::connect(&socket, SUPERVISOR_MAX) else { return };
            if supervisor.send(&Request::Shutdown(ShutdownMode::StopJobs)).is_err() {
                return;
            }
            // It hangs up when it is gone.
            while let Ok(Some(_)) = supervisor.receive(Some(SUPERVISOR_MAX)) {}
        });
        // A panic in there has been told already.
        drop(stop.await);
    }

    /// Stops the worker, then the server; when it returns nothing of the house is left.
    pub(crate) async fn stop(&mut self, order: Order) {
        raise(&self.worker_orders, order);
        while self.workers.join_next().await.is_some() {}
        self.stop_supervisor().await;
        // The worker has delivered what it could: nothing is gained by waiting for the server.
        raise(&self.server_orders, order);
        while self.servers.join_next().await.is_some() {}
    }
}

/// Makes a stop more urgent.
#[derive(Debug)]
pub(crate) struct Hurry {
    orders: [watch::Sender<Order>; 2],
}

impl Hurry {
    /// One step: from draining to hurrying, from hurrying to killing.
    pub(crate) fn more(&self) {
        let [worker, server] = &self.orders;
        let next = match *worker.borrow() {
            Order::Keep | Order::Drain => Order::Hurry,
            Order::Hurry | Order::Kill => Order::Kill,
        };
        raise(worker, next);
        // A server that is not yet asked to stop goes on until the worker is gone.
        if *server.borrow() > Order::Keep {
            raise(server, next);
        }
    }
}

/// Orders can only become more urgent.
fn raise(orders: &watch::Sender<Order>, to: Order) {
    orders.send_if_modified(|now| {
        let more = to > *now;
        if more {
            *now = to;
        }
        more
    });
}

/// The first line that a child says, or why it ended without one.
async fn first_words<T: serde::de::DeserializeOwned>(
    mut ready: mpsc::Receiver<String>,
    keepers: &mut JoinSet<Ended>,
) -> anyhow::Result<T> {
    tokio::select! {
        biased;
        Some(line) = ready.recv() => {
            serde_json::from_str(&line).with_context(|| format!("A child process announced `{line}`, which is no announcement."))
        }
        Some(ended) = keepers.join_next() => Err(joined(ended).into_error()),
    }
}

fn joined(ended: Result<Ended, tokio::task::JoinError>) -> Ended {
    ended.unwrap_or_else(|error| Ended::broken("keeper", &error.to_string()))
}
