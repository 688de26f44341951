//! A thousand workers that come back at once, in one process, over the real protocol and with the pauses that real
//! workers make. They belong to a server of their own, with the leases of every day.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bowline_core::name::WorkerName;
use bowline_protocol::call::{self, Caller};
use bowline_protocol::limits;
use bowline_protocol::wire::fleet_client::FleetClient;
use bowline_protocol::wire::{self, server_message, worker_message};
use bowline_worker::Backoff;
use futures::StreamExt as _;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Endpoint;

use crate::clock::{Stopwatch, boot_ns};
use crate::parts::{Keeper, Part, Spec};
use crate::rest::Rest;
use crate::site::reach;

const WORKERS: usize = 1_000;
/// Before anything happens to them they are all there within this: no promise, and no measure.
const SETTLED_WITHIN: Duration = Duration::from_mins(3);
/// All are back within this.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// At most so many of a hundred of them try again in any 100 ms. They lose their server at the same moment, and wait
/// up to 250 ms before their first try: 40 of a hundred is what full jitter makes of that, without any it is all of
/// them. What counts is when they try, not when they are welcome: a server that begins gathers those who came
/// meanwhile, and a slow disk those of one commit, and either welcomes them at once.
const TRIES_PERCENT_MAX: usize = 60;
/// The server stands still for so long before it dies.
const AWAY: Duration = Duration::from_millis(1_500);
const ENROLLED_AT_ONCE: usize = 64;
const LISTEN: &str = "127.0.0.1:7440";
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When workers tried again and were welcomed, and how many are connected.
#[derive(Debug, Default)]
struct Seen {
    tries_ns: Vec<u64>,
    arrivals_ns: Vec<u64>,
    connected: usize,
}

type Shared = Arc<Mutex<Seen>>;

/// Starts a server and the herd, kills the server, and measures how they come back.
pub(crate) async fn comes_back(
    room: &Path,
    program: &Path,
    keeper: &Keeper,
    findings: &mut Vec<String>,
) -> Result<String> {
    let data = room.join("herd");
    let args = ["server", "start", "--data", &data.to_string_lossy(), "--listen", LISTEN].map(str::to_owned);
    let server = keeper.keep(Spec {
        name: "herd".to_owned(),
        program: program.to_owned(),
        args: args.into(),
        env: Vec::new(),
        network_of: None,
        room: room.to_owned(),
    })?;
    let outcome = scattered(&server, &data, findings).await;
    server.stop().await?;
    std::fs::remove_dir_all(&data).context("removing the herd's server")?;
    outcome
}

/// The herd gathers, is scattered by its server's death, and comes back.
async fn scattered(server: &Part, data: &Path, findings: &mut Vec<String>) -> Result<String> {
    let rest = reach(LISTEN, &data.join("token")).await?;
    let seen = Shared::default();
    let mut herd = JoinSet::new();
    let names: Vec<String> = (0..WORKERS).map(|number| format!("herd-{number}")).collect();
    enrol(&rest, &names).await?;
    for name in &names {
        herd.spawn(live(name.clone(), Arc::clone(&seen)));
    }
    until_all(&seen, SETTLED_WITHIN).await.context("the herd was never all there")?;
    // It stands still, then dies: all of them notice at the same moment.
    server.signal(Signal::STOP);
    tokio::time::sleep(AWAY).await;
    {
        let mut seen = lock(&seen);
        seen.arrivals_ns.clear();
        seen.tries_ns.clear();
    }
    server.signal(Signal::KILL);
    let watch = Stopwatch::start();
    let (back, slowest) = tokio::join!(until_all_left_and_came(&seen), slowest_answer(&rest, watch));
    let took = watch.elapsed();
    let (tries, arrivals) = {
        let seen = lock(&seen);
        (peak_per_100_ms(&seen.tries_ns), peak_per_100_ms(&seen.arrivals_ns))
    };
    herd.shutdown().await;
    if back.is_err() {
        findings.push(format!(
            "only {} of {WORKERS} workers were back within {} s",
            lock(&seen).connected,
            BACK_WITHIN.as_secs()
        ));
    }
    if tries * 100 > WORKERS * TRIES_PERCENT_MAX {
        findings.push(format!("a stampede: {tries} of {WORKERS} workers tried again within 100 ms"));
    }
    Ok(format!(
        "{WORKERS} workers back in {:.1} s; in any 100 ms at most {tries} tried and {arrivals} were welcomed; the slowest answer meanwhile {} ms",
        took.as_secs_f64(),
        slowest.as_millis()
    ))
}

fn lock(seen: &Shared) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn enrol(rest: &Rest, names: &[String]) -> Result<()> {
    let asks = futures::stream::iter(names).map(|name| async move {
        let body = json!({ "name": name, "key": key(name) });
        let answer = rest.post_surely("/workers/enrol", &body, "").await?;
        ensure!(answer.is_good(), "enrolling {name}: {}", answer.body);
        Ok(())
    });
    asks.buffer_unordered(ENROLLED_AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// The key of one of the herd: 32 bytes in hex.
fn key(name: &str) -> String {
    let number: u64 = name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    format!("{number:064x}")
}

async fn until_all(seen: &Shared, within: Duration) -> Result<()> {
    let watch = Stopwatch::start();
    while lock(seen).connected < WORKERS {
        ensure!(watch.elapsed() < within, "{} of {WORKERS} after {} s", lock(seen).connected, within.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn until_all_left_and_came(seen: &Shared) -> Result<()> {
    let watch = Stopwatch::start();
    while lock(seen).arrivals_ns.len() < WORKERS {
        ensure!(watch.elapsed() < BACK_WITHIN, "not all were back");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    until_all(seen, watch.left_of(BACK_WITHIN)).await
}

/// The longest that a question waited, from when the server answers again until the time is over.
async fn slowest_answer(rest: &Rest, watch: Stopwatch) -> Duration {
    let mut slowest = Duration::ZERO;
    while !rest.is_ready().await && watch.elapsed() < BACK_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for _ in 0..20 {
        let asked = Stopwatch::start();
        // An answer that never comes takes longest.
        drop(rest.get("/queue").await);
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    slowest
}

/// The most of these moments within any 100 ms.
fn peak_per_100_ms(moments_ns: &[u64]) -> usize {
    let mut sorted = moments_ns.to_vec();
    sorted.sort_unstable();
    let within = |from: usize| sorted[from..].iter().take_while(|at| **at - sorted[from] < 100_000_000).count();
    (0..sorted.len()).map(within).max().unwrap_or_default()
}

/// One of the herd: connects, says Hello and that it is there, and begins again when that breaks.
async fn live(name: String, seen: Shared) {
    let mut backoff = Backoff::new();
    loop {
        let mut was_welcome = false;
        // Whatever broke: it tries again after a pause.
        drop(session(&name, &seen, &mut was_welcome).await);
        if was_welcome {
            lock(&seen).connected -= 1;
            backoff.reset();
        }
        let pause = backoff.next();
        // When it is due: a busy machine may wake them later, and together.
        lock(&seen).tries_ns.push(boot_ns() + u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
        tokio::time::sleep(pause).await;
    }
}

async fn session(name: &str, seen: &Shared, was_welcome: &mut bool) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{LISTEN}"))?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEPALIVE_EVERY)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let mut client = FleetClient::new(endpoint.connect().await?);
    let (frames, outgoing) = mpsc::channel(4);
    frames.send(frame(worker_message::Kind::Hello(hello(name)))).await?;
    let mut request = Request::new(ReceiverStream::new(outgoing));
    let caller = Caller { worker: WorkerName::new(name)?, pool: None, key: key(name) };
    call::put(request.metadata_mut(), &caller)?;
    let response = tokio::time::timeout(limits::WELCOME_TIMEOUT, client.session(request)).await??;
    let mut stream = response.into_inner();
    let mut heartbeat = tokio::time::interval(limits::HEARTBEAT_EVERY);
    heartbeat.tick().await;
    loop {
        tokio::select! {
            _ = heartbeat.tick() => frames.send(frame(worker_message::Kind::Heartbeat(wire::Heartbeat::default()))).await?,
            got = stream.message() => {
                let Some(got) = got? else { return Ok(()) };
                let is_welcome = |message: &wire::ServerMessage| matches!(message.kind, Some(server_message::Kind::Welcome(_)));
                if !*was_welcome && got.messages.iter().any(is_welcome) {
                    *was_welcome = true;
                    let mut seen = lock(seen);
                    seen.arrivals_ns.push(boot_ns());
                    seen.connected += 1;
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
        boot_id: "herd".to_owned(),
        process: format!("process-{name}"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        actions: vec!["noop".to_owned()],
        room: Some(wire::Room { slots: 1, amounts: Vec::new() }),
        ..wire::Hello::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_of_any_100_ms() {
        let ms = |all: &[u64]| all.iter().map(|at| at * 1_000_000).collect::<Vec<_>>();
        assert_eq!(peak_per_100_ms(&[]), 0);
        assert_eq!(peak_per_100_ms(&ms(&[0, 90, 110, 150, 180, 400])), 4);
        assert_ne!(key("herd-1"), key("herd-2"));
    }
}
