//! Workers that do nothing, played by the bench: each has a session over TCP, and says that it is there.

use anyhow::{Context, Result};
use bowline_api::Enrol;
use bowline_client::Client;
use bowline_core::name::WorkerName;
use bowline_protocol::call::{self, Caller};
use bowline_protocol::limits::HEARTBEAT_EVERY;
use bowline_protocol::wire::fleet_client::FleetClient;
use bowline_protocol::wire::{self, worker_message};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Endpoint;

/// Messages of one of them on their way.
const FRAMES_MAX: usize = 4;

/// Connects so many; they stay for as long as the set does.
pub(crate) async fn connect(client: &Client, count: u32) -> Result<JoinSet<Result<()>>> {
    let mut fleet = JoinSet::new();
    for number in 0..count {
        let (name, key) = (format!("idle-{number}"), format!("{:064x}", number + 1));
        let enrol = Enrol { name: name.clone(), pool: None, key: key.clone() };
        client.enrol(&enrol).await.with_context(|| format!("enrolling {name}"))?;
        fleet.spawn(live(client.base_url().to_owned(), name, key));
    }
    Ok(fleet)
}

/// One of them, until its connection ends.
async fn live(url: String, name: String, key: String) -> Result<()> {
    let mut client = FleetClient::new(Endpoint::from_shared(url)?.tcp_nodelay(true).connect().await?);
    let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
    frames.send(frame(worker_message::Kind::Hello(hello(&name)))).await?;
    let mut request = Request::new(ReceiverStream::new(outgoing));
    call::put(request.metadata_mut(), &Caller { worker: WorkerName::new(&*name)?, pool: None, key })?;
    let mut stream = client.session(request).await?.into_inner();
    let mut heartbeat = tokio::time::interval(HEARTBEAT_EVERY);
    heartbeat.tick().await;
    loop {
        tokio::select! {
            _ = heartbeat.tick() => frames.send(frame(worker_message::Kind::Heartbeat(wire::Heartbeat::default()))).await?,
            got = stream.message() => {
                if got?.is_none() {
                    return Ok(());
                }
            }
        }
    }
}

fn frame(kind: worker_message::Kind) -> wire::WorkerFrame {
    wire::WorkerFrame { messages: vec![wire::WorkerMessage { kind: Some(kind), delivery: None }] }
}

fn hello(name: &str) -> wire::Hello {
    wire::Hello {
        name: name.to_owned(),
        state_dir: format!("state-{name}"),
        boot_id: "bench".to_owned(),
        process: format!("process-{name}"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        actions: vec!["noop".to_owned()],
        room: Some(wire::Room { slots: 1, amounts: Vec::new() }),
        ..wire::Hello::default()
    }
}
