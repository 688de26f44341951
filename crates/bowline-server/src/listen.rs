//! One port for gRPC and HTTP: connections are accepted up to a bound, served over HTTP/1.1 and
//! HTTP/2 without prior upgrade, and ended in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bowline_protocol::limits::{FRAME_BYTES_MAX, KEEPALIVE_EVERY, KEEPALIVE_TIMEOUT};
use bowline_protocol::wire::fleet_server::FleetServer;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::session::{Service, Sessions};

/// How long a client may take to send its request's head.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// What may be under way on one HTTP/2 connection, in bytes.
const WINDOW_BYTES: u32 = 4 << 20;
/// Largest frame of HTTP/2 that is taken: logs and results come in messages of up to a megabyte.
const HTTP2_FRAME_BYTES: u32 = 1 << 20;
/// The wait after an error of accepting: too many open files, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections have to end in order.
const END_WAIT_MAX: Duration = Duration::from_millis(400);

/// All routes: gRPC under its service's path, everything else HTTP's, whose fallback answers what is
/// not known.
pub(crate) fn routes(sessions: &Arc<Sessions>) -> Router {
    let fleet = FleetServer::new(Service(Arc::clone(sessions)))
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let grpc = Router::new().route_service("/bowline.v1.Fleet/{method}", fleet);
    api::router_with(sessions.state.clone(), grpc)
}

/// Accepts and serves until it is cancelled; then gives connections a moment to end in order.
pub(crate) async fn serve(listener: TcpListener, routes: Router, connections_max: usize, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(connections_max));
    let (graceful, tasks) = (GracefulShutdown::new(), TaskTracker::new());
    let builder = Arc::new(builder());
    let end = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let (builder, routes, watcher, end) = (Arc::clone(&builder), routes.clone(), graceful.watcher(), end.clone());
        tasks.spawn(async move {
            let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
            tokio::select! {
                served = watcher.watch(connection.into_owned()) => if let Err(error) = served {
                    tracing::debug!(%peer, error, "connection ended");
                },
                () = end.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(END_WAIT_MAX, graceful.shutdown()).await.is_err() {
        tracing::debug!(left = tasks.len(), "connections cut off");
    }
    end.cancel();
    tasks.close();
    tasks.wait().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "connection without TCP_NODELAY");
            }
            Some((stream, peer, place))
        }
        Err(error) => {
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT_MAX).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_frame_size(HTTP2_FRAME_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    builder
}
